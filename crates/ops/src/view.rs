//! Tensors as `ndarray` arrays and back, and the dispatch from an element type to a Rust type.
//!
//! A view borrows the tensor's bytes where they are aligned. `dispatch!` runs a generic body with the Rust type of a
//! run-time [`DType`]; `raw` looks at elements as plain words of their width, for operators that
//! only move them.

use crate::number::Number;
use crate::{Datum, EvalError};
use fusebox_ir::tensor::{Element, TensorError};
use fusebox_ir::{DType, Tensor};
use ndarray::{ArrayD, ArrayView, CowArray, IxDyn};
use std::borrow::Cow;

/// Runs `$body` (a `Result<_, EvalError>`) with `$T` standing for the Rust type of `$dtype`, within a set of types:
/// `floats` (f32 f64 f16 bf16), `integers` (i8…i64 u8…u64), `signed` (floats and i8…i64), `numbers` (floats and
/// integers), `widths` (u8 u16 u32 u64 by element width, for `view_raw`). Other types are an error.
macro_rules! dispatch {
    (floats, $dtype:expr, $T:ident => $body:expr) => {
        $crate::view::dispatch!(@ $dtype, "a float type", $T => $body, F32 f32, F64 f64, F16 half::f16, BF16 half::bf16)
    };
    (integers, $dtype:expr, $T:ident => $body:expr) => {
        $crate::view::dispatch!(@ $dtype, "an integer type", $T => $body,
            I8 i8, I16 i16, I32 i32, I64 i64, U8 u8, U16 u16, U32 u32, U64 u64)
    };
    (signed, $dtype:expr, $T:ident => $body:expr) => {
        $crate::view::dispatch!(@ $dtype, "a signed number type", $T => $body,
            F32 f32, F64 f64, F16 half::f16, BF16 half::bf16, I8 i8, I16 i16, I32 i32, I64 i64)
    };
    (numbers, $dtype:expr, $T:ident => $body:expr) => {
        $crate::view::dispatch!(@ $dtype, "a number type", $T => $body,
            F32 f32, F64 f64, F16 half::f16, BF16 half::bf16,
            I8 i8, I16 i16, I32 i32, I64 i64, U8 u8, U16 u16, U32 u32, U64 u64)
    };
    (widths, $dtype:expr, $T:ident => $body:expr) => {
        match $dtype.bits() {
            8 => { type $T = u8; $body }
            16 => { type $T = u16; $body }
            32 => { type $T = u32; $body }
            64 => { type $T = u64; $body }
            _ => Err($crate::EvalError::unsupported(format!("element type {} here", $dtype))),
        }
    };
    (@ $dtype:expr, $expected:literal, $T:ident => $body:expr, $($D:ident $R:ty),+) => {
        match $dtype {
            $(fusebox_ir::DType::$D => { type $T = $R; $body })+
            found => Err($crate::EvalError::Infer($crate::InferError::DType {
                index: 0, expected: $expected.into(), found,
            })),
        }
    };
}
pub(crate) use dispatch;

/// Elements of a tensor as an array.
///
/// # Errors
/// When the element type is another one.
pub fn view<T: Element>(tensor: &Tensor) -> Result<CowArray<'_, T, IxDyn>, EvalError> {
    shaped(tensor.shape(), tensor.elements::<T>()?)
}

/// Booleans of a tensor as bytes; any byte but 0 is true.
///
/// # Errors
/// When the element type is not bool.
pub fn view_bools(tensor: &Tensor) -> Result<CowArray<'_, u8, IxDyn>, EvalError> {
    if tensor.dtype() != DType::Bool {
        return Err(TensorError::WrongType { expected: DType::Bool, found: tensor.dtype() }.into());
    }
    shaped(tensor.shape(), Cow::Borrowed(tensor.data()))
}

/// Strings of a tensor.
///
/// # Errors
/// When the element type is not string.
pub fn view_strings(tensor: &Tensor) -> Result<CowArray<'_, Vec<u8>, IxDyn>, EvalError> {
    let wrong = TensorError::WrongType { expected: DType::String, found: tensor.dtype() };
    shaped(tensor.shape(), Cow::Borrowed(tensor.strings().ok_or(wrong)?))
}

/// Elements of any type that is as wide as `T`, as words: for operators that move elements without reading them.
///
/// # Errors
/// When the elements have another width (strings and types below a byte included).
pub fn view_raw<T: Element>(tensor: &Tensor) -> Result<CowArray<'_, T, IxDyn>, EvalError> {
    if tensor.dtype().bits() != size_of::<T>() * 8 {
        return Err(TensorError::WrongType { expected: T::DTYPE, found: tensor.dtype() }.into());
    }
    let elements = match bytemuck::try_cast_slice(tensor.data()) {
        Ok(slice) => Cow::Borrowed(slice),
        Err(_) => Cow::Owned(bytemuck::pod_collect_to_vec(tensor.data())),
    };
    shaped(tensor.shape(), elements)
}

fn shaped<'a, T: Clone>(
    shape: &[usize],
    elements: Cow<'a, [T]>,
) -> Result<CowArray<'a, T, IxDyn>, EvalError> {
    Ok(match elements {
        Cow::Borrowed(slice) => ArrayView::from_shape(IxDyn(shape), slice)?.into(),
        Cow::Owned(vec) => ArrayD::from_shape_vec(IxDyn(shape), vec)?.into(),
    })
}

/// A tensor of an array's elements; copies only when the array is not in row-major order.
///
/// # Errors
/// When the shape has more elements than memory can hold.
pub fn tensor<T: Element>(array: ArrayD<T>) -> Result<Tensor, EvalError> {
    let shape = array.shape().to_vec();
    Ok(Tensor::from_vec(shape, into_elements(array))?)
}

/// A tensor of booleans.
///
/// # Errors
/// When the shape has more elements than memory can hold.
pub fn tensor_bools(array: ArrayD<bool>) -> Result<Tensor, EvalError> {
    let shape = array.shape().to_vec();
    Ok(Tensor::from_bools(shape, into_elements(array))?)
}

/// A tensor of strings.
///
/// # Errors
/// When the shape has more elements than memory can hold.
pub fn tensor_strings(array: ArrayD<Vec<u8>>) -> Result<Tensor, EvalError> {
    let shape = array.shape().to_vec();
    Ok(Tensor::from_strings(shape, into_elements(array))?)
}

/// A tensor of type `dtype` whose elements are the array's words.
///
/// # Errors
/// When the width of `dtype` is not that of `T`.
pub fn tensor_raw<T: Element>(dtype: DType, array: ArrayD<T>) -> Result<Tensor, EvalError> {
    let words = tensor(array)?;
    Ok(Tensor::from_bytes(dtype, words.shape().to_vec(), words.data().clone())?)
}

fn into_elements<T: Clone>(array: ArrayD<T>) -> Vec<T> {
    if !array.is_standard_layout() {
        return array.iter().cloned().collect();
    }
    let count = array.len();
    let (mut elements, offset) = array.into_raw_vec_and_offset();
    // A sliced array may keep the vector of the array that it was cut from.
    elements.drain(..offset.unwrap_or(0));
    elements.truncate(count);
    elements
}

/// Elements of any number tensor as f64, exact but for 64-bit integers.
///
/// # Errors
/// When it is not a number tensor.
pub fn to_f64(tensor: &Tensor) -> Result<ArrayD<f64>, EvalError> {
    dispatch!(numbers, tensor.dtype(), T => Ok(view::<T>(tensor)?.mapv(Number::to_f64)))
}

/// A tensor of a number type from f64: floats round once, integers truncate and saturate.
///
/// # Errors
/// When `dtype` is not a number type.
pub fn from_f64(dtype: DType, array: &ArrayD<f64>) -> Result<Tensor, EvalError> {
    dispatch!(numbers, dtype, T => tensor(array.mapv(T::from_f64)))
}

/// Elements of a float tensor as f32; f64 is rounded.
///
/// # Errors
/// When it is not a float tensor.
pub fn to_f32(tensor: &Tensor) -> Result<ArrayD<f32>, EvalError> {
    if tensor.dtype() == DType::F32 {
        return Ok(view::<f32>(tensor)?.into_owned());
    }
    dispatch!(floats, tensor.dtype(), T => Ok(view::<T>(tensor)?.mapv(|x| Number::to_f64(x) as f32)))
}

/// A tensor of a float type from row-major f32 elements, rounded once.
///
/// # Errors
/// When `dtype` is not a float type or the shape does not fit.
pub fn from_f32(dtype: DType, shape: Vec<usize>, elements: Vec<f32>) -> Result<Tensor, EvalError> {
    if dtype == DType::F32 {
        return Ok(Tensor::from_vec(shape, elements)?);
    }
    dispatch!(floats, dtype, T => {
        Ok(Tensor::from_vec(shape, elements.into_iter().map(|x| T::from_f64(f64::from(x))).collect::<Vec<T>>())?)
    })
}

/// The outputs of an operator that has one.
///
/// # Errors
/// Never; the type is that of `eval`.
pub fn one(tensor: Tensor) -> Result<Vec<Datum>, EvalError> {
    Ok(vec![tensor.into()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_borrow_and_round_trip() {
        let original = Tensor::from_vec(vec![2, 2], vec![1f32, 2.0, 3.0, 4.0]).unwrap();
        let seen = view::<f32>(&original).unwrap();
        assert!(seen.is_view());
        let transposed = tensor(seen.t().to_owned()).unwrap();
        assert_eq!(transposed.elements::<f32>().unwrap().as_ref(), &[1.0, 3.0, 2.0, 4.0]);
        assert!(view::<i32>(&original).is_err());
    }

    #[test]
    fn sliced_arrays_keep_only_their_elements() {
        let array = ArrayD::from_shape_vec(IxDyn(&[4]), vec![1i64, 2, 3, 4]).unwrap();
        let cut = array.slice_move(ndarray::s![1..3]).into_dyn();
        assert_eq!(tensor(cut).unwrap().integers().unwrap(), vec![2, 3]);
    }

    #[test]
    fn raw_views_carry_any_type_of_the_width() {
        let bools = Tensor::from_bools(vec![3], [true, false, true]).unwrap();
        let words = view_raw::<u8>(&bools).unwrap().to_owned();
        assert_eq!(tensor_raw(DType::Bool, words).unwrap(), bools);
        assert!(view_raw::<u16>(&bools).is_err());
        let width: Result<usize, EvalError> = dispatch!(widths, DType::F64, T => Ok(size_of::<T>()));
        assert_eq!(width.unwrap(), 8);
        let refused: Result<(), EvalError> =
            dispatch!(floats, DType::I32, T => { let _: Option<T> = None; Ok(()) });
        assert_eq!(refused.unwrap_err().to_string(), "input 0 must be a float type, found i32");
    }
}
