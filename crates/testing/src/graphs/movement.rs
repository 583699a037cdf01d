//! What moves or renames data without computing: transposes, reshapes, casts, identities, and shapes computed in the
//! graph as tracing exporters do.

use super::{Flow, Sketch};
use fusebox_ir::{Attrs, DType, Tensor, ValueId};

/// A chain that moves data; all of them give back their input's shape and, but for casts to less, its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chain {
    /// Two transposes that undo each other.
    TransposePair,
    /// Three transposes that undo each other only together; an elementwise operator between them.
    TransposeAround,
    /// Reshape to a vector per item and back.
    ReshapePair,
    /// Unsqueeze and Squeeze.
    UnsqueezeSqueeze,
    /// Two Identity nodes.
    Identity,
    /// To f64 and back: exact.
    CastWiden,
    /// To f32, which it is already.
    CastSame,
    /// To f16 and back: loses bits, so it must not be removed.
    CastNarrow,
    /// Split into two and joined again, where the last axis is even.
    SplitConcat,
    /// A slice that keeps everything.
    SliceAll,
}

impl Chain {
    /// Every chain.
    pub const ALL: &'static [Self] = &[
        Self::TransposePair,
        Self::TransposeAround,
        Self::ReshapePair,
        Self::UnsqueezeSqueeze,
        Self::Identity,
        Self::CastWiden,
        Self::CastSame,
        Self::CastNarrow,
        Self::SplitConcat,
        Self::SliceAll,
    ];
}

fn cast(s: &mut Sketch, x: ValueId, to: DType) -> ValueId {
    s.op_with("Cast", &[x], Attrs::new().with("to", i64::from(to.to_onnx())))
}

/// A chain of movements.
pub fn chain(s: &mut Sketch, x: &Flow, which: Chain) -> Flow {
    let value = match which {
        Chain::TransposePair | Chain::TransposeAround => return transposes(s, x, which),
        Chain::ReshapePair => {
            let flat = s.reshape_rest(x, &[x.shape[1..].iter().product()]);
            return s.reshape_rest(&flat, &x.shape[1..]);
        }
        Chain::UnsqueezeSqueeze => {
            let axes = s.integers(&[1]);
            let wider = s.op("Unsqueeze", &[x.value, axes]);
            s.op("Squeeze", &[wider, axes])
        }
        Chain::Identity => {
            let once = s.op("Identity", &[x.value]);
            s.op("Identity", &[once])
        }
        Chain::CastWiden | Chain::CastNarrow => {
            let other = cast(s, x.value, if which == Chain::CastWiden { DType::F64 } else { DType::F16 });
            cast(s, other, DType::F32)
        }
        Chain::CastSame => cast(s, x.value, DType::F32),
        Chain::SplitConcat => {
            let half = x.width() / 2;
            let sizes = s.integers(&[half as i64, (x.width() - half) as i64]);
            let parts = s.ops("Split", &[x.value, sizes], 2, Attrs::new().with("axis", -1));
            s.op_with("Concat", &parts, Attrs::new().with("axis", -1))
        }
        Chain::SliceAll => {
            let (start, end) = (s.integers(&[0]), s.integers(&[i64::MAX]));
            let axes = s.integers(&[-1]);
            s.op("Slice", &[x.value, start, end, axes])
        }
    };
    x.with(value)
}

fn transposes(s: &mut Sketch, x: &Flow, which: Chain) -> Flow {
    // A rotation of the axes behind the batch; its inverse rotates back.
    let rank = x.rank();
    let there: Vec<usize> = std::iter::once(0).chain(2..rank).chain((rank > 1).then_some(1)).collect();
    let mut back = vec![0; rank];
    there.iter().enumerate().for_each(|(place, axis)| back[*axis] = place);
    let mut y = s.transpose(x, &there);
    if which == Chain::TransposeAround {
        let value = s.op("Relu", &[y.value]);
        y = y.with(value);
    }
    s.transpose(&y, &back)
}

/// How a shape is computed in the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShapeChain {
    /// Shape, Gather, Unsqueeze, Concat with constants, Reshape: TorchScript.
    Gather,
    /// Shape, Slice, Concat, Reshape.
    Slice,
    /// Shape with start and end, Concat, Reshape: dynamo.
    StartEnd,
    /// The whole shape of the input, used as it is.
    Whole,
    /// Shape, Gather, arithmetic (a product and a quotient that cancel), Unsqueeze, Concat, Reshape.
    Arithmetic,
}

impl ShapeChain {
    /// Every way.
    pub const ALL: &'static [Self] =
        &[Self::Gather, Self::Slice, Self::StartEnd, Self::Whole, Self::Arithmetic];
}

/// A reshape that swaps in sizes computed from the input's own shape: the last two axes joined and split again, or the
/// shape as it is.
pub fn shape_chain(s: &mut Sketch, x: &Flow, how: ShapeChain) -> Flow {
    let target = match how {
        ShapeChain::Whole => {
            let flat = s.reshape_rest(x, &[x.shape[1..].iter().product()]);
            let shape = s.op("Shape", &[x.value]);
            let value = s.op("Reshape", &[flat.value, shape]);
            return x.with(value);
        }
        ShapeChain::Gather | ShapeChain::Arithmetic => {
            let shape = s.op("Shape", &[x.value]);
            let index = s.constant(Tensor::scalar(0i64));
            let mut batch = s.op_with("Gather", &[shape, index], Attrs::new().with("axis", 0));
            if how == ShapeChain::Arithmetic {
                let four = s.constant(Tensor::scalar(4i64));
                let product = s.op("Mul", &[batch, four]);
                batch = s.op("Div", &[product, four]);
            }
            let axes = s.integers(&[0]);
            s.op("Unsqueeze", &[batch, axes])
        }
        ShapeChain::Slice => {
            let shape = s.op("Shape", &[x.value]);
            let (start, end, axes) = (s.integers(&[0]), s.integers(&[1]), s.integers(&[0]));
            s.op("Slice", &[shape, start, end, axes])
        }
        ShapeChain::StartEnd => s.op_with("Shape", &[x.value], Attrs::new().with("start", 0).with("end", 1)),
    };
    let rest: Vec<i64> = x.shape[1..].iter().map(|size| *size as i64).collect();
    let joined: i64 = rest.iter().product();
    let flat = s.integers(&[joined]);
    let flat = s.op_with("Concat", &[target, flat], Attrs::new().with("axis", 0));
    let flat = s.op("Reshape", &[x.value, flat]);
    let rest = s.integers(&rest);
    let full = s.op_with("Concat", &[target, rest], Attrs::new().with("axis", 0));
    let value = s.op("Reshape", &[flat, full]);
    x.with(value)
}
