//! Activation functions that recurrent layers name by strings, with their optional `alpha` and `beta`.
//!
//! The lists `activation_alpha` and `activation_beta` are consumed in the order of the functions that take such a value,
//! as ONNX Runtime reads them; the defaults are those of the operators of the same name. Names are compared without case.

use crate::InferError;
use fusebox_ir::{Attr, Attrs};

/// A function with its parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Activation {
    kind: Kind,
    alpha: f64,
    beta: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Relu,
    Tanh,
    Sigmoid,
    Affine,
    LeakyRelu,
    ThresholdedRelu,
    ScaledTanh,
    HardSigmoid,
    Elu,
    Softsign,
    Softplus,
}

/// Name, function, defaults of alpha and beta where it takes them.
const TABLE: &[(&str, Kind, Option<f64>, Option<f64>)] = &[
    ("relu", Kind::Relu, None, None),
    ("tanh", Kind::Tanh, None, None),
    ("sigmoid", Kind::Sigmoid, None, None),
    ("affine", Kind::Affine, Some(1.0), Some(0.0)),
    ("leakyrelu", Kind::LeakyRelu, Some(0.01), None),
    ("thresholdedrelu", Kind::ThresholdedRelu, Some(1.0), None),
    ("scaledtanh", Kind::ScaledTanh, Some(1.0), Some(1.0)),
    ("hardsigmoid", Kind::HardSigmoid, Some(0.2), Some(0.5)),
    ("elu", Kind::Elu, Some(1.0), None),
    ("softsign", Kind::Softsign, None, None),
    ("softplus", Kind::Softplus, None, None),
];

impl Activation {
    /// The value at `x`.
    pub(super) fn at(self, x: f64) -> f64 {
        let Self { kind, alpha, beta } = self;
        match kind {
            Kind::Relu => x.max(0.0),
            Kind::Tanh => x.tanh(),
            Kind::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Kind::Affine => alpha * x + beta,
            Kind::LeakyRelu => {
                if x >= 0.0 {
                    x
                } else {
                    alpha * x
                }
            }
            Kind::ThresholdedRelu => {
                if x >= alpha {
                    x
                } else {
                    0.0
                }
            }
            Kind::ScaledTanh => alpha * (beta * x).tanh(),
            Kind::HardSigmoid => (alpha * x + beta).clamp(0.0, 1.0),
            Kind::Elu => {
                if x >= 0.0 {
                    x
                } else {
                    alpha * x.exp_m1()
                }
            }
            Kind::Softsign => x / (1.0 + x.abs()),
            Kind::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
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
        let (_, kind, alpha, beta) = TABLE.iter().find(|row| row.0 == *name).ok_or_else(wrong)?;
        let next = |default: &Option<f64>, given: &mut dyn Iterator<Item = f64>| {
            default.map_or(0.0, |default| given.next().unwrap_or(default))
        };
        Ok(Activation { kind: *kind, alpha: next(alpha, &mut alphas), beta: next(beta, &mut betas) })
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
