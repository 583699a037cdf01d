//! `Gelu`: `x · Φ(x)` with the normal distribution function Φ, or its tanh approximation, elementwise.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Gelu.html>.

use crate::attributes::text;
use crate::elementwise::unary;
use crate::inference::{FLOATS, same_as_first};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::{Datum, EvalError, InferError, Shapes};
use fusebox_ir::Attrs;
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

static SCHEMA: Schema = Schema::onnx("Gelu", &[20], (1, 1), (1, 1)).with(&[("approximate", text("none"))]);

pub(crate) struct Gelu;

fn tanh_asked(attrs: &Attrs) -> Result<bool, InferError> {
    match attrs.str("approximate").unwrap_or("none") {
        "none" => Ok(false),
        "tanh" => Ok(true),
        _ => Err(InferError::Attribute { name: "approximate".into(), expected: "none or tanh".into() }),
    }
}

/// Through the complement, which keeps its precision where Φ is tiny.
fn exact(x: f64) -> f64 {
    0.5 * x * libm::erfc(-x * FRAC_1_SQRT_2)
}

/// `√(2/π)` is `(2/√π) · (1/√2)`.
fn tanh_form(x: f64) -> f64 {
    0.5 * x * (1.0 + (FRAC_2_SQRT_PI * FRAC_1_SQRT_2 * (x + 0.044715 * x * x * x)).tanh())
}

impl Op for Gelu {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        tanh_asked(cx.attrs)?;
        same_as_first(cx, FLOATS)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let tanh = tanh_asked(cx.attrs)?;
        unary::eval(cx, move |x| if tanh { tanh_form(x) } else { exact(x) })
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        unary::transcendental_flops(shapes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, run, t};

    #[test]
    fn known_values() {
        let x = t(&[5], &[-6.0f32, -1.0f32, 0.0f32, 0.5f32, 3.0f32]);
        close(
            &run(&Gelu, &Attrs::new(), &[x]),
            &[-5.919525870226207e-09, -0.15865525393145707, 0.0, 0.34573123063700656, 2.99595030590511],
        );
    }

    #[test]
    fn the_approximation_is_another_function() {
        let tanh = Attrs::new().with("approximate", "tanh");
        close(
            &run(&Gelu, &tanh, &[t(&[3], &[-1f32, 1.0, 3.0])]),
            &[-0.15880800939172324, 0.8411919906082768, 2.996362607918227],
        );
        let message =
            crate::check::refusal(&Gelu, &Attrs::new().with("approximate", "fast"), &[t(&[1], &[1f32])]);
        assert_eq!(message, "attribute \"approximate\" must be none or tanh");
    }
}
