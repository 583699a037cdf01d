//! `Gelu`, `BiasGelu`, `FastGelu` and `QuickGelu` of com.microsoft: erf, tanh and sigmoid forms, with a bias added first
//! where there is one.
//!
//! Spec: <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md>.

use crate::fused::Activation;
use crate::fused::emit::Emit;
use crate::op::{Body, Infer, Inferred, Op, Schema};
use crate::{InferError, Shapes};
use fusebox_ir::{Graph, Type};

static GELU: Schema = super::schema("Gelu", (1, 1), (1, 1));
static BIAS_GELU: Schema = super::schema("BiasGelu", (2, 2), (1, 1));
static FAST_GELU: Schema = super::schema("FastGelu", (1, 2), (1, 1));
static QUICK_GELU: Schema = super::schema("QuickGelu", (1, 1), (1, 1));

/// One of the four.
pub(crate) struct Gelu {
    schema: &'static Schema,
    form: Activation,
}

/// Erf form.
pub(crate) static ERF: Gelu = Gelu { schema: &GELU, form: Activation::Gelu };
/// Erf form of a sum.
pub(crate) static BIAS: Gelu = Gelu { schema: &BIAS_GELU, form: Activation::Gelu };
/// Tanh form.
pub(crate) static FAST: Gelu = Gelu { schema: &FAST_GELU, form: Activation::GeluTanh };
/// Sigmoid form; its slope is an attribute.
pub(crate) static QUICK: Gelu = Gelu { schema: &QUICK_GELU, form: Activation::QuickGelu { alpha: 1.702 } };

impl Op for Gelu {
    fn schema(&self) -> &'static Schema {
        self.schema
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        crate::inference::expect(cx, 0, crate::inference::FLOATS)?;
        Ok(vec![cx.input(0).map_or(Type::Unknown, |arg| arg.ty.clone()).into()])
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        shapes.output_elements(0) * (self.form.flops() + shapes.inputs.len() as f64 - 1.0)
    }

    fn body(&self, cx: &Body<'_>) -> Option<Graph> {
        let mut e = super::emit(cx, &["x", "bias"])?;
        let mut x = e.input(0)?;
        if let Some(bias) = e.input(1) {
            x = e.op("Add", &[x, bias]);
        }
        let form = match self.form {
            Activation::QuickGelu { alpha } => {
                Activation::QuickGelu { alpha: cx.attrs.float_or("alpha", alpha) }
            }
            form => form,
        };
        let y = form.emit(&mut e, x);
        Some(Emit::finish(e, &[y]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, run, t};
    use fusebox_ir::Attrs;

    #[test]
    fn forms_and_biases() {
        let x = t(&[2], &[1f32, -0.5]);
        close(&run(&ERF, &Attrs::new(), std::slice::from_ref(&x)), &[0.841_344_7, -0.154_268_77]);
        close(&run(&BIAS, &Attrs::new(), &[t(&[2], &[0f32, 0.0]), x.clone()]), &[0.841_344_7, -0.154_268_77]);
        close(&run(&FAST, &Attrs::new(), &[t(&[1], &[0f32]), t(&[1], &[1f32])]), &[0.841_192]);
        close(&run(&QUICK, &Attrs::new().with("alpha", 1f32), &[x]), &[0.731_058_6, -0.188_770_33]);
    }
}
