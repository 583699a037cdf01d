//! `SkipLayerNorm(x, skip, gamma?, beta?) → (y, sum)`: `sum = x + skip`, `y = norm(sum)·gamma + beta`. ai.fusebox,
//! since 1.
//!
//! x and skip broadcast against each other; gamma, beta: `[K]`. Attributes `norm` (`layer` by default, or `rms`) and
//! `epsilon` (1e-5); the normalised axis is the last.

use super::emit::Emit;
use super::epilogue::check_vector;
use super::norm::Norm;
use crate::attributes::{float, text};
use crate::op::{Body, Infer, Inferred, Op, Schema};
use crate::{InferError, Shapes};
use fusebox_ir::{Attrs, Graph, OpName, TensorType};

/// The operator.
pub struct SkipLayerNorm;

static SCHEMA: Schema = Schema::fusebox("SkipLayerNorm", (2, 4), (1, 2))
    .with(&[("epsilon", float(1e-5)), ("norm", text("layer"))]);

impl Op for SkipLayerNorm {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        Norm::from_attrs(cx.attrs)?;
        let (Some(x), Some(skip)) = (cx.tensor(0), cx.tensor(1)) else {
            return Ok(vec![Inferred::default(); cx.outputs]);
        };
        if x.dtype != skip.dtype {
            let expected = x.dtype.to_string();
            return Err(InferError::DType { index: 1, expected, found: skip.dtype });
        }
        let ty = match (&x.shape, &skip.shape) {
            (Some(a), Some(b)) => TensorType::new(x.dtype, crate::broadcast::broadcast_dims(&[a, b])?),
            _ => TensorType::unranked(x.dtype),
        };
        if let Some(k) = ty.shape.as_ref().and_then(|shape| shape.last()) {
            check_vector("gamma", cx.tensor(2), k)?;
            check_vector("beta", cx.tensor(3), k)?;
        }
        Ok(vec![ty.into(); cx.outputs])
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        let norm = Norm::from_attrs(shapes.attrs).map_or(0.0, Norm::flops);
        shapes.output_elements(0) * (1.0 + norm)
    }

    fn body(&self, cx: &Body<'_>) -> Option<Graph> {
        let norm = Norm::from_attrs(cx.attrs).ok()?;
        let mut e = Emit::new(cx, &["x", "skip", "gamma", "beta"])?;
        let (x, skip) = (e.input(0)?, e.input(1)?);
        let (gamma, beta) = (e.float_input(2), e.float_input(3));
        let is_plain = e.ty(0)?.rank() == Some(3) && e.ty(0)?.shape == e.ty(1)?.shape;
        if e.is_onnxruntime() && is_plain && gamma.is_some() && (norm.is_layer || beta.is_none()) {
            let name =
                if norm.is_layer { "SkipLayerNormalization" } else { "SkipSimplifiedLayerNormalization" };
            let attrs = Attrs::new().with("epsilon", norm.epsilon);
            let inputs = [Some(x), Some(skip), gamma, beta];
            let inputs = if beta.is_some() { &inputs[..] } else { &inputs[..3] };
            let outputs = e.b.node(OpName::new("com.microsoft", name), inputs, 4, attrs);
            return Some(e.finish(&[outputs[0], outputs[3]][..cx.outputs.clamp(1, 2)]));
        }
        let sum = e.op("Add", &[x, skip]);
        let width = e.ty(0).and_then(|x| usize::try_from(x.shape.as_ref()?.last()?.value()?).ok());
        let y = norm.emit(&mut e, sum, gamma, beta, width);
        Some(e.finish(&[y, sum][..cx.outputs.clamp(1, 2)]))
    }
}
