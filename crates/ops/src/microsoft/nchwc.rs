//! Operators of com.microsoft.nchwc, which ONNX Runtime writes at `ORT_ENABLE_ALL`: channels in blocks of 8 or 16.
//!
//! Blocks are an order in memory. Between `ReorderInput` and `ReorderOutput` the values are the same, so they are read
//! as in their plain order, and pooling is plain pooling. Weights of `Conv` are stored in blocks whose size the file does
//! not say, it is that of the machine that wrote it: such a convolution is refused.

use super::quantized_pools::{channels_first, channels_last, shared};
use super::{Defined, per_element};
use crate::attention::rotary_embedding::cut;
use crate::op::{Body, Infer, Inferred, Op, QuantRole, Schema};
use crate::{Datum, EvalError, InferError};
use fusebox_ir::{DType, Graph};

const fn schema(name: &'static str, inputs: (usize, usize)) -> Schema {
    Schema { domain: "com.microsoft.nchwc", ..Schema::onnx(name, &[1], inputs, (1, 1)) }
}

const fn defined(schema: &'static Schema, define: for<'a> fn(&Body<'a>) -> Option<Graph>) -> Defined {
    Defined { schema, flops: per_element, role: QuantRole::Moves, define }
}

static INPUT: Schema = schema("ReorderInput", (1, 1));
static OUTPUT: Schema = schema("ReorderOutput", (1, 1));
static MAX: Schema = schema("MaxPool", (1, 1));
static AVERAGE: Schema = schema("AveragePool", (1, 1));
static GLOBAL_MAX: Schema = schema("GlobalMaxPool", (1, 1));
static GLOBAL_AVERAGE: Schema = schema("GlobalAveragePool", (1, 1));
static CONV_SCHEMA: Schema = schema("Conv", (2, 4));

/// Into blocks.
pub(crate) static REORDER_INPUT: Defined = defined(&INPUT, |cx| {
    let mut e = super::emit_as(cx, &["X"], DType::F32)?;
    let mut y = e.input(0)?;
    if cx.attrs.int_or("channels_last", 0) != 0 {
        let rank = e.ty(0)?.rank()?;
        y = channels_first(&mut e, y, rank);
    } else {
        y = e.op("Identity", &[y]);
    }
    Some(e.finish(&[y]))
});
/// Out of blocks; channels that only filled the last block are left out.
pub(crate) static REORDER_OUTPUT: Defined = defined(&OUTPUT, |cx| {
    let mut e = super::emit_as(cx, &["X"], DType::F32)?;
    let rank = e.ty(0)?.rank()?;
    let x = e.input(0)?;
    let (last, channels) = (channels_last(&mut e, x, rank), cx.attrs.int("channels").filter(|c| *c > 0)?);
    let mut y = cut(&mut e, last, 0, channels, 1);
    if cx.attrs.int_or("channels_last", 0) == 0 {
        y = channels_first(&mut e, y, rank);
    }
    Some(e.finish(&[y]))
});
/// Pooling.
pub(crate) static MAX_POOL: Defined = defined(&MAX, |cx| plain(cx, "MaxPool"));
/// Pooling.
pub(crate) static AVERAGE_POOL: Defined = defined(&AVERAGE, |cx| plain(cx, "AveragePool"));
/// Pooling of whole channels.
pub(crate) static GLOBAL_MAX_POOL: Defined = defined(&GLOBAL_MAX, |cx| plain(cx, "GlobalMaxPool"));
/// Pooling of whole channels.
pub(crate) static GLOBAL_AVERAGE_POOL: Defined =
    defined(&GLOBAL_AVERAGE, |cx| plain(cx, "GlobalAveragePool"));

fn plain(cx: &Body<'_>, name: &str) -> Option<Graph> {
    let mut e = super::emit_as(cx, &["X"], DType::F32)?;
    let x = e.input(0)?;
    let y = e.op_with(name, &[x], shared(cx.attrs, &[]));
    Some(e.finish(&[y]))
}

/// The convolution, which is refused.
pub(crate) struct Conv;

/// Its row.
pub(crate) static CONV: Conv = Conv;

const REFUSAL: &str = "a convolution whose weights are in the memory order of the machine that wrote the file, which \
                       the file does not name; write the model with ORT_ENABLE_EXTENDED instead of ORT_ENABLE_ALL";

impl Op for Conv {
    fn schema(&self) -> &'static Schema {
        &CONV_SCHEMA
    }

    fn infer(&self, _: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        Err(InferError::shape(REFUSAL))
    }

    fn eval(&self, _: &crate::op::Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        Err(EvalError::unsupported(REFUSAL))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, refusal, run, t};
    use fusebox_ir::Attrs;

    #[test]
    fn blocks_mean_plain_values_and_convolutions_are_refused() {
        let x = t(&[1, 2, 1, 2], &[1f32, 2.0, 3.0, 4.0]);
        assert_eq!(run(&REORDER_INPUT, &Attrs::new(), std::slice::from_ref(&x)), x);
        close(
            &run(&REORDER_OUTPUT, &Attrs::new().with("channels", 1), std::slice::from_ref(&x)),
            &[1.0, 2.0],
        );
        close(
            &run(&MAX_POOL, &Attrs::new().with("kernel_shape", vec![1, 2]), std::slice::from_ref(&x)),
            &[2.0, 4.0],
        );
        assert!(refusal(&CONV, &Attrs::new(), &[x.clone(), x]).contains("ORT_ENABLE_EXTENDED"));
    }
}
