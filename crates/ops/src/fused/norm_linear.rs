//! `NormLinear(x, gamma?, beta?, w, w_scale?, bias?, residual?)`: normalises the last axis of x, then Linear. ai.fusebox,
//! since 1.
//!
//! gamma, beta: `[K]`. Attributes of [`super::linear`] plus `norm` (`layer` by default, or `rms`) and `epsilon` (1e-5).

use super::emit::Emit;
use super::epilogue::{Epilogue, check_vector};
use super::linear::{Operands, emit_linear, infer_linear, linear_flops};
use super::norm::Norm;
use crate::attributes::{FLOAT, float, int, text};
use crate::op::{Body, Infer, Inferred, Op, QuantRole, Schema};
use crate::{InferError, Shapes};
use fusebox_ir::Graph;

/// The operator.
pub struct NormLinear;

static SCHEMA: Schema = Schema::fusebox("NormLinear", (1, 7), (1, 1)).with(&[
    ("activation", text("none")),
    ("alpha", FLOAT),
    ("beta", FLOAT),
    ("epsilon", float(1e-5)),
    ("norm", text("layer")),
    ("residual_first", int(0)),
]);

const OPERANDS: Operands = Operands { w: 3, w_scale: 4, bias: 5, residual: 6 };

impl Op for NormLinear {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        Norm::from_attrs(cx.attrs)?;
        if let Some(k) = cx.tensor(0).and_then(|x| x.shape.as_ref()?.last()) {
            check_vector("gamma", cx.tensor(1), k)?;
            check_vector("beta", cx.tensor(2), k)?;
        }
        infer_linear(cx, &OPERANDS)
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        let norm = Norm::from_attrs(shapes.attrs).map_or(0.0, Norm::flops);
        linear_flops(shapes, &OPERANDS) + shapes.input_elements(0) * norm
    }

    fn quant_role(&self) -> QuantRole {
        QuantRole::Weighted { weight: OPERANDS.w, channel_axis: 1 }
    }

    fn body(&self, cx: &Body<'_>) -> Option<Graph> {
        let epilogue = Epilogue::from_attrs(cx.attrs, false).ok()?;
        let norm = Norm::from_attrs(cx.attrs).ok()?;
        let mut e = Emit::new(cx, &["x", "gamma", "beta", "w", "w_scale", "bias", "residual"])?;
        let x = e.input(0)?;
        let width = e.ty(OPERANDS.w).and_then(|w| usize::try_from(w.shape.as_ref()?.first()?.value()?).ok());
        let (gamma, beta) = (e.float_input(1), e.float_input(2));
        let normal = norm.emit(&mut e, x, gamma, beta, width);
        let y = emit_linear(&mut e, normal, epilogue, &OPERANDS)?;
        Some(e.finish(&[y]))
    }
}
