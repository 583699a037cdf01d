//! `QLinearAveragePool` and `QLinearGlobalAveragePool`: averages of the reals that the operand stands for, quantized
//! again; the attribute `channels_last` puts channels behind the pixels.

use super::affine::{dtype_of, real, stored};
use super::{Defined, per_element};
use crate::fused::emit::Emit;
use crate::op::{Body, QuantRole};
use fusebox_ir::{Attrs, Graph, ValueId};

/// Averages of windows.
pub(crate) static AVERAGE: Defined = Defined {
    schema: &super::schema("QLinearAveragePool", (2, 5), (1, 1)),
    flops: per_element,
    role: QuantRole::StaysFloat,
    define: |cx| pool(cx, "AveragePool"),
};

/// Averages of whole channels.
pub(crate) static GLOBAL_AVERAGE: Defined = Defined {
    schema: &super::schema("QLinearGlobalAveragePool", (2, 5), (1, 1)),
    flops: |shapes| shapes.input_elements(0),
    role: QuantRole::StaysFloat,
    define: |cx| pool(cx, "GlobalAveragePool"),
};

fn pool(cx: &Body<'_>, name: &str) -> Option<Graph> {
    let names = ["X", "x_scale", "x_zero_point", "y_scale", "y_zero_point"];
    let mut e = super::emit_as(cx, &names, dtype_of(cx, 1)?)?;
    let is_last = cx.attrs.int_or("channels_last", 0) != 0;
    let rank = if is_last { e.ty(0)?.rank()? } else { 0 };
    let mut x = real(&mut e, 0, 1, 2)?;
    if is_last {
        x = channels_first(&mut e, x, rank);
    }
    let attrs: Attrs = shared(cx.attrs, &["channels_last"]);
    let mut y = e.op_with(name, &[x], attrs);
    if is_last {
        y = channels_last(&mut e, y, rank);
    }
    let y = stored(&mut e, y, 3, 4, dtype_of(cx, 0)?)?;
    Some(e.finish(&[y]))
}

/// Attributes without some.
pub(super) fn shared(attrs: &Attrs, without: &[&str]) -> Attrs {
    let kept = attrs.iter().filter(|(name, _)| !without.contains(name));
    kept.map(|(name, attr)| (name.into(), attr.clone())).collect()
}

/// `[N, …, C]` to `[N, C, …]`.
pub(super) fn channels_first(e: &mut Emit<'_>, x: ValueId, rank: usize) -> ValueId {
    let rank = rank as i64;
    let perm: Vec<i64> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
    e.transpose(x, &perm)
}

/// `[N, C, …]` to `[N, …, C]`.
pub(super) fn channels_last(e: &mut Emit<'_>, x: ValueId, rank: usize) -> ValueId {
    let perm: Vec<i64> = [0].into_iter().chain(2..rank as i64).chain([1]).collect();
    e.transpose(x, &perm)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{run, t};
    use fusebox_ir::Tensor;

    #[test]
    fn channels_may_come_last() {
        let x = t(&[1, 2, 1, 2], &[1u8, 10, 3, 30]);
        let (one, zero) = (Tensor::scalar(1f32), Tensor::scalar(0u8));
        let inputs = [x, one.clone(), zero.clone(), one, zero];
        let last = Attrs::new().with("channels_last", 1);
        assert_eq!(run(&GLOBAL_AVERAGE, &last, &inputs), t(&[1, 1, 1, 2], &[2u8, 20]));
        let windows = last.with("kernel_shape", vec![2, 1]);
        assert_eq!(run(&AVERAGE, &windows, &inputs), t(&[1, 1, 1, 2], &[2u8, 20]));
        let first = Attrs::new().with("kernel_shape", vec![1, 2]);
        assert_eq!(run(&AVERAGE, &first, &inputs), t(&[1, 2, 1, 1], &[6u8, 16]));
    }
}
