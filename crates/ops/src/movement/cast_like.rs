//! `CastLike`: converts elements to the type of another tensor.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__CastLike.html>.

use super::cast::{cast_rounding, retyped, rounding};
use crate::attributes::{int, text};
use crate::forms::{drop_int, drop_str, existed};
use crate::op::{Edit, Eval, Infer, Inferred, Op, QuantRole, Schema};
use crate::sizes::unknown;
use crate::view::one;
use crate::{Datum, EvalError, InferError, VersionError};

static SCHEMA: Schema = Schema::onnx("CastLike", &[15, 19, 21, 23, 24, 25], (2, 2), (1, 1))
    .with(&[("round_mode", text("up")), ("saturate", int(1))]);

pub(crate) struct CastLike;

impl Op for CastLike {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        Ok(cx.dtype(1)?.map_or_else(|| unknown(cx), |to| vec![retyped(cx, to)]))
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        one(cast_rounding(cx.tensor(0)?, cx.tensor(1)?.dtype(), rounding(cx.attrs)?)?)
    }

    fn quant_role(&self) -> QuantRole {
        QuantRole::Moves
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        existed(&SCHEMA, edit)?;
        if edit.opset < 24 {
            drop_str(&SCHEMA, edit, "round_mode", "up")?;
        }
        if edit.opset < 19 { drop_int(&SCHEMA, edit, "saturate", 1) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{run, t};
    use fusebox_ir::Attrs;

    #[test]
    fn the_second_input_gives_the_type() {
        let inputs = [t(&[2], &[1.9f32, -1.9]), t(&[1], &[0i64])];
        assert_eq!(run(&CastLike, &Attrs::new(), &inputs), t(&[2], &[1i64, -1]));
    }
}
