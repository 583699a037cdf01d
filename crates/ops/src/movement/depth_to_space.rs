//! `DepthToSpace`: moves blocks of channels into height and width; `mode` DCR or CRD is the order within the channels.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__DepthToSpace.html>. Also holds what it shares with SpaceToDepth.

use crate::attributes::{INT, text};
use crate::forms::{drop_str, inexpressible};
use crate::op::{Edit, Eval, Infer, Inferred, Op, QuantRole, Schema};
use crate::select::{Walk, select, strides};
use crate::sizes::{copy_cost, fresh_dims, unknown};
use crate::view::one;
use crate::{Cost, Datum, EvalError, InferError, Shapes, VersionError};
use fusebox_ir::{Attrs, Dim, Tensor, TensorType};

static SCHEMA: Schema = Schema::onnx("DepthToSpace", &[1, 11, 13, 28], (1, 1), (1, 1))
    .with(&[("blocksize", INT), ("mode", text("DCR"))]);

pub(crate) struct DepthToSpace;

impl Op for DepthToSpace {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let (block, _) = block_of(cx.attrs)?;
        let block = Dim::known(block as i64);
        infer_blocks(cx, |[n, c, h, w]| {
            let channels = divided(c, &block.mul(&block), "channels", cx)?;
            Ok([n.clone(), channels, h.mul(&block), w.mul(&block)])
        })
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let (x, (block, is_dcr)) = (cx.tensor(0)?, block_of(cx.attrs)?);
        let [n, c, h, w] = four(x)?;
        let depth = c / (block * block);
        if depth * block * block != c {
            return Err(EvalError::value(format!("{c} channels are no multiple of {}", block * block)));
        }
        let split = if is_dcr { [n, block, block, depth, h, w] } else { [n, depth, block, block, h, w] };
        let perm = if is_dcr { [0, 3, 4, 1, 5, 2] } else { [0, 1, 4, 2, 5, 3] };
        one(permuted(x, &split, &perm, vec![n, depth, h * block, w * block])?)
    }

    fn cost(&self, shapes: &Shapes<'_>) -> Cost {
        copy_cost(shapes)
    }

    fn quant_role(&self) -> QuantRole {
        QuantRole::Moves
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        match edit.opset {
            ..1 => Err(inexpressible(&SCHEMA, edit, "it exists since opset 1")),
            1..11 => drop_str(&SCHEMA, edit, "mode", "DCR"),
            _ => Ok(()),
        }
    }
}

/// Block size and whether the order is DCR.
pub(super) fn block_of(attrs: &Attrs) -> Result<(usize, bool), InferError> {
    let wrong =
        |name: &str, expected: &str| InferError::Attribute { name: name.into(), expected: expected.into() };
    // The square of a block must be a size, which also keeps the products below from overflowing.
    let block = attrs.int("blocksize").and_then(|b| u16::try_from(b).ok()).filter(|b| *b > 0);
    let block = block.ok_or_else(|| wrong("blocksize", "between 1 and 65535"))?;
    match attrs.str("mode").unwrap_or("DCR") {
        "DCR" => Ok((block.into(), true)),
        "CRD" => Ok((block.into(), false)),
        _ => Err(wrong("mode", "DCR or CRD")),
    }
}

/// Types a tensor of four axes through `f`.
pub(super) fn infer_blocks(
    cx: &Infer<'_>,
    f: impl Fn([&Dim; 4]) -> Result<[Dim; 4], InferError>,
) -> Result<Vec<Inferred>, InferError> {
    let Some(x) = cx.tensor(0) else { return Ok(unknown(cx)) };
    let shape = match x.shape.as_deref() {
        Some([n, c, h, w]) => f([n, c, h, w])?.into_iter().collect(),
        Some(_) => return Err(InferError::shape(format!("{x} must have four axes"))),
        None => fresh_dims(cx, 4),
    };
    Ok(vec![TensorType { dtype: x.dtype, shape: Some(shape) }.into()])
}

/// A size divided by another that must divide it.
pub(super) fn divided(size: &Dim, by: &Dim, what: &str, cx: &Infer<'_>) -> Result<Dim, InferError> {
    match (size.exact_div(by), size.value()) {
        (Some(exact), _) => Ok(exact),
        (None, Some(size)) => Err(InferError::shape(format!("{size} {what} are no multiple of {by}"))),
        (None, None) => Ok((cx.fresh)()),
    }
}

/// Sizes of a tensor of four axes.
pub(super) fn four(x: &Tensor) -> Result<[usize; 4], EvalError> {
    let wrong = |_| EvalError::value(format!("a tensor of shape {:?} must have four axes", x.shape()));
    x.shape().try_into().map_err(wrong)
}

/// The tensor seen as `split`, its axes permuted, seen as `shape`.
pub(super) fn permuted(
    x: &Tensor,
    split: &[usize; 6],
    perm: &[usize; 6],
    shape: Vec<usize>,
) -> Result<Tensor, EvalError> {
    let own = strides(split);
    let sizes = perm.map(|axis| split[axis]);
    let walk = Walk::new(0, &sizes, &perm.map(|axis| own[axis]))?;
    select(x, shape, walk)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{refusal, run, t};

    #[test]
    fn channels_become_blocks() {
        let x = t(&[1, 8, 1, 1], &[0i32, 1, 2, 3, 4, 5, 6, 7]);
        let dcr = Attrs::new().with("blocksize", 2);
        assert_eq!(
            run(&DepthToSpace, &dcr, std::slice::from_ref(&x)),
            t(&[1, 2, 2, 2], &[0i32, 2, 4, 6, 1, 3, 5, 7])
        );
        let crd = dcr.clone().with("mode", "CRD");
        assert_eq!(
            run(&DepthToSpace, &crd, std::slice::from_ref(&x)),
            t(&[1, 2, 2, 2], &[0i32, 1, 2, 3, 4, 5, 6, 7])
        );
        let three = Attrs::new().with("blocksize", 3);
        assert!(refusal(&DepthToSpace, &three, std::slice::from_ref(&x)).contains("no multiple of 9"));
        assert!(refusal(&DepthToSpace, &Attrs::new(), &[x]).contains("blocksize"));
    }
}
