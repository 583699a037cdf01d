//! Typing rules that many operators share: which element types an input may have, outputs typed like the first
//! input, elementwise broadcasting, and arithmetic on symbolic sizes.
//!
//! Unknown inputs give unknown outputs; only a proved contradiction is an error.

use crate::InferError;
use crate::broadcast::broadcast_dims;
use crate::op::{Infer, Inferred};
use fusebox_ir::{DType, Dim, Tensor, TensorType, Type};

/// Sizes beyond which a constant is not treated as a shape.
const MAX_DIMS: usize = 64;

/// A set of element types with the name that messages use.
#[derive(Clone, Copy, Debug)]
pub struct Kinds {
    /// As in "input 0 must be …".
    pub name: &'static str,
    /// The types.
    pub types: &'static [DType],
}

/// f16, bf16, f32, f64.
pub const FLOATS: Kinds =
    Kinds { name: "a float type", types: &[DType::F32, DType::F64, DType::F16, DType::BF16] };
/// Floats of any width from a byte on, for operators that look at their bits or carry them along.
pub const FLOATS_AND_F8: Kinds = Kinds {
    name: "a float type",
    types: &[
        DType::F32,
        DType::F64,
        DType::F16,
        DType::BF16,
        DType::F8E4M3FN,
        DType::F8E4M3FNUZ,
        DType::F8E5M2,
        DType::F8E5M2FNUZ,
    ],
};
/// All integers of at least a byte.
pub const INTEGERS: Kinds = Kinds {
    name: "an integer type",
    types: &[DType::I8, DType::I16, DType::I32, DType::I64, DType::U8, DType::U16, DType::U32, DType::U64],
};
/// Floats and signed integers.
pub const SIGNED: Kinds = Kinds {
    name: "a signed number type",
    types: &[DType::F32, DType::F64, DType::F16, DType::BF16, DType::I8, DType::I16, DType::I32, DType::I64],
};
/// Floats and integers.
pub const NUMBERS: Kinds = Kinds {
    name: "a number type",
    types: &[
        DType::F32,
        DType::F64,
        DType::F16,
        DType::BF16,
        DType::I8,
        DType::I16,
        DType::I32,
        DType::I64,
        DType::U8,
        DType::U16,
        DType::U32,
        DType::U64,
    ],
};
/// Booleans.
pub const BOOLS: Kinds = Kinds { name: "bool", types: &[DType::Bool] };

/// Checks the element type of an input that is present and typed.
///
/// # Errors
/// When it is not one of `kinds`.
pub fn expect(cx: &Infer<'_>, index: usize, kinds: Kinds) -> Result<(), InferError> {
    match cx.tensor(index) {
        Some(ty) if !kinds.types.contains(&ty.dtype) => {
            Err(InferError::DType { index, expected: kinds.name.into(), found: ty.dtype })
        }
        _ => Ok(()),
    }
}

/// Checks that two inputs, where typed, have one element type.
///
/// # Errors
/// When they differ.
pub fn expect_same(cx: &Infer<'_>, first: usize, second: usize) -> Result<(), InferError> {
    match (cx.tensor(first), cx.tensor(second)) {
        (Some(a), Some(b)) if a.dtype != b.dtype => Err(InferError::DType {
            index: second,
            expected: format!("{} like input {first}", a.dtype),
            found: b.dtype,
        }),
        _ => Ok(()),
    }
}

/// The first output has the type of the first input; other outputs are unknown.
///
/// # Errors
/// When the element type is not one of `kinds`.
pub fn same_as_first(cx: &Infer<'_>, kinds: Kinds) -> Result<Vec<Inferred>, InferError> {
    expect(cx, 0, kinds)?;
    Ok(first_is(cx, cx.input(0).map_or(Type::Unknown, |arg| arg.ty.clone()).into()))
}

/// `first` as output 0, unknown types for the node's other outputs.
pub fn first_is(cx: &Infer<'_>, first: Inferred) -> Vec<Inferred> {
    let mut outputs = vec![first];
    outputs.resize(cx.outputs.max(1), Inferred::default());
    outputs
}

/// Type of an output of element type `dtype` over the broadcast of the inputs at `indices`.
///
/// # Errors
/// When the shapes do not broadcast.
pub fn broadcast_type(cx: &Infer<'_>, indices: &[usize], dtype: Option<DType>) -> Result<Type, InferError> {
    let Some(dtype) = dtype else { return Ok(Type::Unknown) };
    let shape = |index: &usize| cx.tensor(*index).and_then(|ty| ty.shape.as_deref());
    let shapes: Vec<Option<&[Dim]>> = indices.iter().map(shape).collect();
    let known: Vec<&[Dim]> = shapes.iter().flatten().copied().collect();
    // Joined even when one is unknown: two known shapes that clash are an error either way.
    let joined = broadcast_dims(&known)?;
    let complete = known.len() == shapes.len();
    Ok(TensorType { dtype, shape: complete.then_some(joined) }.into())
}

/// Output type of an elementwise operator whose inputs share an element type of `kinds` and broadcast.
///
/// # Errors
/// When element types differ or shapes do not broadcast.
pub fn elementwise(cx: &Infer<'_>, kinds: Kinds) -> Result<Type, InferError> {
    let dtype = shared_dtype(cx, kinds)?;
    broadcast_type(cx, &(0..cx.inputs.len()).collect::<Vec<_>>(), dtype)
}

/// Output type of a comparison: bool over the broadcast of inputs that share an element type of `kinds`.
///
/// # Errors
/// When element types differ or shapes do not broadcast.
pub fn comparison(cx: &Infer<'_>, kinds: Kinds) -> Result<Type, InferError> {
    shared_dtype(cx, kinds)?;
    broadcast_type(cx, &(0..cx.inputs.len()).collect::<Vec<_>>(), Some(DType::Bool))
}

fn shared_dtype(cx: &Infer<'_>, kinds: Kinds) -> Result<Option<DType>, InferError> {
    let typed = (0..cx.inputs.len()).find(|index| cx.tensor(*index).is_some());
    for index in 0..cx.inputs.len() {
        expect(cx, index, kinds)?;
        expect_same(cx, typed.unwrap_or(0), index)?;
    }
    Ok(typed.and_then(|index| cx.tensor(index)).map(|ty| ty.dtype))
}

/// Elements of a small integer or boolean scalar or vector as expressions; booleans are 0 and 1.
pub fn elements(cx: &Infer<'_>, index: usize) -> Option<Vec<Dim>> {
    let arg = cx.input(index)?;
    if let Some(dims) = arg.dims {
        return Some(dims.to_vec());
    }
    let constant = arg.constant.filter(|c| c.shape().len() <= 1 && c.len() <= MAX_DIMS)?;
    if constant.dtype() == DType::Bool {
        return Some(constant.data().iter().map(|byte| Dim::known(i64::from(*byte != 0))).collect());
    }
    Some(Tensor::integers(constant)?.into_iter().map(Dim::known).collect())
}

/// Elements of an elementwise result over all inputs, where every input is known as expressions and `ty` is a scalar
/// or vector. `f` sees one element of each input and may say that it does not know.
pub fn map_elements(cx: &Infer<'_>, ty: &Type, f: impl Fn(&[&Dim]) -> Option<Dim>) -> Option<Vec<Dim>> {
    let ty = ty.tensor()?;
    if ty.rank()? > 1 || !matches!(ty.dtype, DType::I64 | DType::I32 | DType::Bool) {
        return None;
    }
    let inputs: Vec<Vec<Dim>> =
        (0..cx.inputs.len()).map(|index| elements(cx, index)).collect::<Option<_>>()?;
    // A vector of one element broadcasts, an empty one wins over it.
    let count = inputs.iter().map(Vec::len).find(|len| *len != 1).unwrap_or(1);
    (0..count)
        .map(|position| {
            let at: Option<Vec<&Dim>> =
                inputs.iter().map(|i| if i.len() == 1 { i.first() } else { i.get(position) }).collect();
            let at = at?;
            f(&at).filter(|result| at.contains(&result) || !overflows(result, ty.dtype))
        })
        .collect()
}

/// Whether a known result left the element type: sizes saturate where integers wrap, so it would be wrong.
fn overflows(result: &Dim, dtype: DType) -> bool {
    let Some(value) = result.value() else { return false };
    match dtype {
        DType::I32 => i32::try_from(value).is_err(),
        _ => value == i64::MAX || value == i64::MIN,
    }
}

/// A dim for a truth value.
pub fn truth(value: bool) -> Dim {
    Dim::known(i64::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::Arg;
    use fusebox_ir::Attrs;

    fn with<R>(inputs: &[Type], f: impl Fn(&Infer<'_>) -> R) -> R {
        let args: Vec<Option<Arg<'_>>> =
            inputs.iter().map(|ty| Some(Arg { ty, constant: None, dims: None })).collect();
        let attrs = Attrs::new();
        f(&Infer { attrs: &attrs, inputs: &args, outputs: 1, regions: &[], fresh: &|| Dim::symbol("f") })
    }

    #[test]
    fn elementwise_types_broadcast_and_refuse_mixtures() {
        let f = |sizes: &[usize]| Type::from(TensorType::known(DType::F32, sizes));
        let ty = with(&[f(&[2, 1]), f(&[3])], |cx| elementwise(cx, NUMBERS)).unwrap();
        assert_eq!(ty.to_string(), "f32[2, 3]");
        let ty = with(&[f(&[2]), Type::Unknown], |cx| elementwise(cx, NUMBERS)).unwrap();
        assert_eq!(ty.to_string(), "f32[..]");
        let mixed = [f(&[2]), TensorType::known(DType::I64, &[2]).into()];
        let error = with(&mixed, |cx| elementwise(cx, NUMBERS)).unwrap_err();
        assert_eq!(error.to_string(), "input 1 must be f32 like input 0, found i64");
        let error = with(&[f(&[2])], |cx| elementwise(cx, INTEGERS)).unwrap_err();
        assert_eq!(error.to_string(), "input 0 must be an integer type, found f32");
    }
}
