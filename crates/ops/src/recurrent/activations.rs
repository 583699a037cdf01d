//! Activation functions that recurrent layers name by strings, with their optional `alpha` and `beta`.
//!
//! The lists `activation_alpha` and `activation_beta` are consumed in the order of the functions that take such a value,
//! as ONNX Runtime reads them; the defaults are those of the operators of the same name. Names are compared without case.

use crate::InferError;
use fusebox_ir::{Attr, Attrs};

/// A function with its parameters, 0 where it takes none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Activation {
    /// The function.
    pub function: Function,
    /// First parameter.
    pub alpha: f64,
    /// Second parameter.
    pub beta: f64,
}

/// A function that a recurrent layer may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// `max(x, 0)`.
    Relu,
    /// Hyperbolic tangent.
    Tanh,
    /// `1/(1 + e^−x)`.
    Sigmoid,
    /// `alpha·x + beta`.
    Affine,
    /// `x` from zero on, `alpha·x` below.
    LeakyRelu,
    /// `x` from `alpha` on, 0 below.
    ThresholdedRelu,
    /// `alpha·tanh(beta·x)`.
    ScaledTanh,
    /// `clip(alpha·x + beta, 0, 1)`.
    HardSigmoid,
    /// `x` from zero on, `alpha·(e^x − 1)` below.
    Elu,
    /// `x/(1 + |x|)`.
    Softsign,
    /// `ln(1 + e^x)`.
    Softplus,
}

/// Name, function, defaults of alpha and beta where it takes them.
const TABLE: &[(&str, Function, Option<f64>, Option<f64>)] = &[
    ("relu", Function::Relu, None, None),
    ("tanh", Function::Tanh, None, None),
    ("sigmoid", Function::Sigmoid, None, None),
    ("affine", Function::Affine, Some(1.0), Some(0.0)),
    ("leakyrelu", Function::LeakyRelu, Some(0.01), None),
    ("thresholdedrelu", Function::ThresholdedRelu, Some(1.0), None),
    ("scaledtanh", Function::ScaledTanh, Some(1.0), Some(1.0)),
    ("hardsigmoid", Function::HardSigmoid, Some(0.2), Some(0.5)),
    ("elu", Function::Elu, Some(1.0), None),
    ("softsign", Function::Softsign, None, None),
    ("softplus", Function::Softplus, None, None),
];

impl Activation {
    /// The value at `x`.
    pub(super) fn at(self, x: f64) -> f64 {
        let Self { function, alpha, beta } = self;
        match function {
            Function::Relu => x.max(0.0),
            Function::Tanh => x.tanh(),
            Function::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Function::Affine => alpha * x + beta,
            Function::LeakyRelu => {
                if x >= 0.0 {
                    x
                } else {
                    alpha * x
                }
            }
            Function::ThresholdedRelu => {
                if x >= alpha {
                    x
                } else {
                    0.0
                }
            }
            Function::ScaledTanh => alpha * (beta * x).tanh(),
            Function::HardSigmoid => (alpha * x + beta).clamp(0.0, 1.0),
            Function::Elu => {
                if x >= 0.0 {
                    x
                } else {
                    alpha * x.exp_m1()
                }
            }
            Function::Softsign => x / (1.0 + x.abs()),
            Function::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
        }
    }
}

/// The functions of all directions, direction by direction; `defaults` are those of one direction.
///
/// # Errors
/// When a name is unknown or their number is not that of the layer.
pub(super) fn read(
    attrs: &Attrs,
    defaults: &[&str],
    directions: usize,
) -> Result<Vec<Activation>, InferError> {
    let count = defaults.len() * directions;
    let wrong = || {
        let names: Vec<&str> = TABLE.iter().map(|row| row.0).collect();
        let expected = format!("{count} names of {}", names.join(", "));
        InferError::Attribute { name: "activations".into(), expected }
    };
    let names: Vec<String> = match attrs.get("activations") {
        Some(Attr::Strings(given)) => {
            given.iter().map(|name| String::from_utf8_lossy(name).to_ascii_lowercase()).collect()
        }
        Some(_) => return Err(wrong()),
        None => defaults.iter().map(|name| name.to_ascii_lowercase()).cycle().take(count).collect(),
    };
    if names.len() < count {
        return Err(wrong());
    }
    let (mut alphas, mut betas) = (values(attrs, "activation_alpha"), values(attrs, "activation_beta"));
    let activation = |name: &String| {
        let (_, function, alpha, beta) = TABLE.iter().find(|row| row.0 == *name).ok_or_else(wrong)?;
        let next = |default: &Option<f64>, given: &mut dyn Iterator<Item = f64>| {
            default.map_or(0.0, |default| given.next().unwrap_or(default))
        };
        Ok(Activation { function: *function, alpha: next(alpha, &mut alphas), beta: next(beta, &mut betas) })
    };
    // The schema of RNN lists two functions by default, of which one direction reads the first.
    names.iter().take(count).map(activation).collect()
}

fn values<'a>(attrs: &'a Attrs, name: &str) -> Box<dyn Iterator<Item = f64> + 'a> {
    match attrs.get(name) {
        Some(Attr::Floats(values)) => Box::new(values.iter().map(|value| f64::from(*value))),
        _ => Box::new(std::iter::empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Attr {
        Attr::Strings(names.iter().map(|name| name.as_bytes().to_vec()).collect())
    }

    #[test]
    fn parameters_are_consumed_by_those_that_take_them() {
        let mut attrs = Attrs::new().with("activation_alpha", vec![0.5f32, 0.25]);
        attrs.set("activations", names(&["LeakyRelu", "Tanh", "HardSigmoid"]));
        let read = read(&attrs, &["Sigmoid", "Tanh", "Tanh"], 1).unwrap();
        assert_eq!(read[0].at(-2.0), -1.0);
        assert_eq!(read[1].at(0.5), 0.5f64.tanh());
        assert_eq!(read[2].at(1.0), 0.75);
    }

    #[test]
    fn values_of_every_function() {
        let at = |name: &str, x: f64| {
            let mut attrs = Attrs::new();
            attrs.set("activations", names(&[name]));
            read(&attrs, &["Tanh"], 1).unwrap()[0].at(x)
        };
        assert_eq!((at("Relu", -1.0), at("Sigmoid", 0.0), at("Affine", 3.0)), (0.0, 0.5, 3.0));
        assert_eq!((at("LeakyRelu", -1.0), at("ThresholdedRelu", 0.5)), (-0.01, 0.0));
        assert_eq!((at("ScaledTanh", 0.3), at("Softsign", -1.0)), (0.3f64.tanh(), -0.5));
        assert_eq!((at("Elu", -1.0), at("Softplus", 0.0)), ((-1f64).exp_m1(), 2f64.ln()));
        let mut attrs = Attrs::new();
        attrs.set("activations", names(&["Gelu"]));
        assert!(read(&attrs, &["Tanh"], 1).unwrap_err().to_string().contains("1 names of relu, tanh"));
    }
}
