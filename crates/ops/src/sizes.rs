//! Small pieces of typing over sizes that movement, shape and gather operators share.
//!
//! Refuses to know operators. Sizes that only the data decides become fresh symbols.

use crate::op::{Infer, Inferred};
use crate::{Cost, Shapes};
use fusebox_ir::{DType, Dim, Shape, TensorType};

/// `count` sizes that nothing is known about.
pub(crate) fn fresh_dims(cx: &Infer<'_>, count: usize) -> Shape {
    (0..count).map(|_| (cx.fresh)()).collect()
}

/// Number of elements of a vector input, when known.
pub(crate) fn length_of(cx: &Infer<'_>, index: usize) -> Option<usize> {
    match cx.tensor(index)?.shape.as_deref()? {
        [length] => usize::try_from(length.value()?).ok().filter(|length| *length <= 64),
        _ => None,
    }
}

/// Symbolic elements of input `index` for an output of type `ty` that holds the same elements in the same order.
pub(crate) fn vector_dims(cx: &Infer<'_>, index: usize, ty: &TensorType) -> Option<Vec<Dim>> {
    let fits = ty.rank().is_some_and(|rank| rank <= 1) && is_index(ty.dtype);
    fits.then(|| crate::inference::elements(cx, index))?
}

/// Whether elements of the type may be sizes.
pub(crate) fn is_index(dtype: DType) -> bool {
    matches!(dtype, DType::I64 | DType::I32)
}

/// Unknown types for all outputs.
pub(crate) fn unknown(cx: &Infer<'_>) -> Vec<Inferred> {
    vec![Inferred::default(); cx.outputs]
}

/// Sizes of two shapes that must be equal, joined; `None` where they contradict.
pub(crate) fn same_size(a: &Dim, b: &Dim) -> Option<Dim> {
    match (a.value(), b.value()) {
        (Some(x), Some(y)) if x != y => None,
        (Some(_), _) => Some(a.clone()),
        (None, Some(_)) => Some(b.clone()),
        (None, None) => Some(a.clone()),
    }
}

/// Cost of an operator whose result the executor sees as another view of its input.
pub(crate) fn view_cost() -> Cost {
    Cost::default()
}

/// Cost of copying what is written, however much larger the input is.
pub(crate) fn copy_cost(shapes: &Shapes<'_>) -> Cost {
    let written = |(index, ty): (usize, &Option<&TensorType>)| {
        ty.map_or(0.0, |ty| shapes.output_elements(index) * ty.dtype.bits() as f64 / 8.0)
    };
    Cost { flops: 0.0, bytes: 2.0 * shapes.outputs.iter().enumerate().map(written).sum::<f64>() }
}

/// Elements of a vector of sizes: as expressions where they are known, fresh ones where only their number is.
pub(crate) fn sizes_or_fresh(cx: &Infer<'_>, index: usize) -> Option<Vec<Dim>> {
    cx.dims(index).or_else(|| Some(fresh_dims(cx, length_of(cx, index)?).to_vec()))
}

#[cfg(test)]
pub(crate) mod testing {
    //! Typing of one node over symbolic inputs.

    use crate::InferError;
    use crate::op::{Arg, Infer, Inferred, Op};
    use fusebox_ir::{Attrs, DType, Dim, TensorType, Type};
    use std::cell::Cell;

    /// A type over symbols.
    pub(crate) fn symbolic(dtype: DType, dims: &[Dim]) -> Type {
        TensorType::new(dtype, dims.iter().cloned()).into()
    }

    /// All outputs of a node whose inputs have these types and symbolic elements.
    pub(crate) fn infer_all(
        op: &dyn Op,
        attrs: &Attrs,
        inputs: &[(&Type, Option<&[Dim]>)],
        outputs: usize,
    ) -> Result<Vec<Inferred>, InferError> {
        let inputs: Vec<Option<Arg<'_>>> =
            inputs.iter().map(|(ty, dims)| Some(Arg::new(ty, None, *dims))).collect();
        let count = Cell::new(0);
        let fresh = || {
            count.set(count.get() + 1);
            Dim::symbol(format!("fresh{}", count.get()))
        };
        op.infer(&Infer { attrs, inputs: &inputs, outputs, regions: &[], fresh: &fresh })
    }

    /// The first output.
    pub(crate) fn infer_one(
        op: &dyn Op,
        attrs: &Attrs,
        inputs: &[(&Type, Option<&[Dim]>)],
    ) -> Result<Inferred, InferError> {
        infer_all(op, attrs, inputs, 1).map(|mut outputs| outputs.remove(0))
    }
}
