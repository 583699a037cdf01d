//! `SpaceToDepth`: moves blocks of height and width into channels, the inverse of DepthToSpace.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__SpaceToDepth.html>.

use super::depth_to_space::{block_of, divided, four, infer_blocks, permuted};
use crate::attributes::{INT, text};
use crate::forms::drop_str;
use crate::op::{Edit, Eval, Infer, Inferred, Op, QuantRole, Schema};
use crate::sizes::copy_cost;
use crate::view::one;
use crate::{Cost, Datum, EvalError, InferError, Shapes, VersionError};
use fusebox_ir::Dim;

static SCHEMA: Schema = Schema::onnx("SpaceToDepth", &[1, 13, 28], (1, 1), (1, 1))
    .with(&[("blocksize", INT), ("mode", text("DCR"))]);

pub(crate) struct SpaceToDepth;

impl Op for SpaceToDepth {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let (block, _) = block_of(cx.attrs)?;
        let block = Dim::known(block as i64);
        infer_blocks(cx, |[n, c, h, w]| {
            let (h, w) = (divided(h, &block, "rows", cx)?, divided(w, &block, "columns", cx)?);
            Ok([n.clone(), c.mul(&block).mul(&block), h, w])
        })
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let (x, (block, is_dcr)) = (cx.tensor(0)?, block_of(cx.attrs)?);
        let [n, c, h, w] = four(x)?;
        let (rows, columns) = (h / block, w / block);
        if rows * block != h || columns * block != w {
            return Err(EvalError::value(format!("{h} rows and {w} columns are no multiples of {block}")));
        }
        let split = [n, c, rows, block, columns, block];
        let perm = if is_dcr { [0, 3, 5, 1, 2, 4] } else { [0, 1, 3, 5, 2, 4] };
        let channels = c.saturating_mul(block * block);
        one(permuted(x, &split, &perm, vec![n, channels, rows, columns])?)
    }

    fn cost(&self, shapes: &Shapes<'_>) -> Cost {
        copy_cost(shapes)
    }

    fn quant_role(&self) -> QuantRole {
        QuantRole::Moves
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        if edit.opset < 28 { drop_str(&SCHEMA, edit, "mode", "DCR") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{refusal, run, t};
    use crate::movement::depth_to_space::DepthToSpace;
    use fusebox_ir::Attrs;

    #[test]
    fn it_inverts_depth_to_space() {
        let x = t(&[1, 2, 2, 4], &(0..16).collect::<Vec<i32>>());
        for mode in ["DCR", "CRD"] {
            let attrs = Attrs::new().with("blocksize", 2).with("mode", mode);
            let depth = run(&SpaceToDepth, &attrs, std::slice::from_ref(&x));
            assert_eq!(depth.shape(), [1, 8, 1, 2]);
            assert_eq!(run(&DepthToSpace, &attrs, &[depth]), x);
        }
        let attrs = Attrs::new().with("blocksize", 3);
        assert!(refusal(&SpaceToDepth, &attrs, &[x]).contains("no multiples of 3"));
    }
}
