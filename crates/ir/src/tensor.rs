//! Tensors: element type, sizes and shared bytes.
//!
//! The bytes may be a slice of a memory-mapped file, so they may be unaligned and must not be copied just to be
//! looked at. Elements are little-endian, row-major, as in ONNX `raw_data`; strings are kept apart.

use crate::{DType, TensorType};
use bytes::Bytes;
use std::borrow::Cow;
use std::sync::Arc;

/// A constant or a run-time value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    data: Bytes,
    strings: Option<Arc<[Vec<u8>]>>,
}

/// Why bytes do not form a tensor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// Product of the sizes overflows.
    #[error("shape {shape:?} has more elements than memory can hold")]
    TooLarge {
        /// The shape.
        shape: Vec<usize>,
    },
    /// Length and shape disagree.
    #[error("{dtype} tensor of shape {shape:?} takes {expected} bytes, found {found}")]
    Length {
        /// Element type.
        dtype: DType,
        /// The shape.
        shape: Vec<usize>,
        /// Bytes that the shape needs.
        expected: usize,
        /// Bytes present.
        found: usize,
    },
    /// Typed access with the wrong type.
    #[error("expected a tensor of {expected}, found {found}")]
    WrongType {
        /// Type asked for.
        expected: DType,
        /// Type present.
        found: DType,
    },
}

/// Number of elements of a shape, or `None` when no memory could hold them.
pub fn element_count(shape: &[usize]) -> Option<usize> {
    // A zero makes the tensor empty, but strides over the other sizes must still be representable.
    let mut sizes = shape.iter().filter(|size| **size != 0);
    let span = sizes.try_fold(1usize, |product, size| product.checked_mul(*size))?;
    let is_addressable = span <= isize::MAX as usize / 16;
    is_addressable.then_some(if shape.contains(&0) { 0 } else { span })
}

/// Rust types that are ONNX element types.
pub trait Element: bytemuck::Pod + Send + Sync {
    /// The ONNX type.
    const DTYPE: DType;
}

macro_rules! elements {
    ($($rust:ty => $dtype:ident),* $(,)?) => { $(impl Element for $rust { const DTYPE: DType = DType::$dtype; })* };
}
elements! { f32 => F32, f64 => F64, half::f16 => F16, half::bf16 => BF16, i8 => I8, i16 => I16, i32 => I32, i64 => I64, u8 => U8, u16 => U16, u32 => U32, u64 => U64 }

impl Tensor {
    /// A tensor over shared bytes.
    ///
    /// # Errors
    /// When the byte count is not what type and shape need.
    pub fn from_bytes(dtype: DType, shape: Vec<usize>, data: Bytes) -> Result<Self, TensorError> {
        let count = element_count(&shape).ok_or_else(|| TensorError::TooLarge { shape: shape.clone() })?;
        let expected =
            dtype.bytes_for(count).ok_or_else(|| TensorError::TooLarge { shape: shape.clone() })?;
        if expected != data.len() {
            return Err(TensorError::Length { dtype, shape, expected, found: data.len() });
        }
        Ok(Self { dtype, shape, data, strings: None })
    }

    /// A tensor of elements.
    ///
    /// # Errors
    /// When the element count is not what the shape needs.
    pub fn from_vec<T: Element>(shape: Vec<usize>, elements: Vec<T>) -> Result<Self, TensorError> {
        Self::from_bytes(T::DTYPE, shape, Bytes::from_owner(Elements(elements)))
    }

    /// A tensor of booleans.
    ///
    /// # Errors
    /// When the element count is not what the shape needs.
    pub fn from_bools(
        shape: Vec<usize>,
        elements: impl IntoIterator<Item = bool>,
    ) -> Result<Self, TensorError> {
        Self::from_bytes(DType::Bool, shape, elements.into_iter().map(u8::from).collect::<Vec<u8>>().into())
    }

    /// A tensor of strings (bytes, not necessarily UTF-8).
    ///
    /// # Errors
    /// When the element count is not what the shape needs.
    pub fn from_strings(shape: Vec<usize>, strings: Vec<Vec<u8>>) -> Result<Self, TensorError> {
        let expected = element_count(&shape).ok_or_else(|| TensorError::TooLarge { shape: shape.clone() })?;
        if expected != strings.len() {
            return Err(TensorError::Length { dtype: DType::String, shape, expected, found: strings.len() });
        }
        Ok(Self { dtype: DType::String, shape, data: Bytes::new(), strings: Some(strings.into()) })
    }

    /// A scalar.
    pub fn scalar<T: Element>(value: T) -> Self {
        Self::from_vec(vec![], vec![value]).expect("a scalar has one element")
    }

    /// A vector.
    pub fn vector<T: Element>(values: Vec<T>) -> Self {
        Self::from_vec(vec![values.len()], values).expect("a vector's length is its element count")
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Sizes.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        element_count(&self.shape).expect("checked at construction")
    }

    /// Whether the tensor has no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Raw little-endian bytes, empty for strings.
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// Strings, for string tensors.
    pub fn strings(&self) -> Option<&[Vec<u8>]> {
        self.strings.as_deref()
    }

    /// The type.
    pub fn ty(&self) -> TensorType {
        TensorType::known(self.dtype, &self.shape)
    }

    /// The same elements under another shape.
    ///
    /// # Errors
    /// When the element counts differ.
    pub fn reshaped(&self, shape: Vec<usize>) -> Result<Self, TensorError> {
        match &self.strings {
            Some(strings) => Self::from_strings(shape, strings.to_vec()),
            None => Self::from_bytes(self.dtype, shape, self.data.clone()),
        }
    }

    /// Elements, borrowed where the bytes are aligned for them.
    ///
    /// # Errors
    /// When the element type is another one.
    pub fn elements<T: Element>(&self) -> Result<Cow<'_, [T]>, TensorError> {
        if self.dtype != T::DTYPE {
            return Err(TensorError::WrongType { expected: T::DTYPE, found: self.dtype });
        }
        Ok(match bytemuck::try_cast_slice(&self.data) {
            Ok(slice) => Cow::Borrowed(slice),
            Err(_) => Cow::Owned(bytemuck::pod_collect_to_vec(&self.data)),
        })
    }

    /// Elements of a small integer tensor (i64 or i32) as i64: shapes, axes, pads, perms.
    pub fn integers(&self) -> Option<Vec<i64>> {
        match self.dtype {
            DType::I64 => Some(self.elements::<i64>().ok()?.into_owned()),
            DType::I32 => Some(self.elements::<i32>().ok()?.iter().map(|x| i64::from(*x)).collect()),
            _ => None,
        }
    }

    /// Elements of a float tensor as f64 (f16, bf16, f32, f64).
    pub fn floats(&self) -> Option<Vec<f64>> {
        match self.dtype {
            DType::F32 => Some(self.elements::<f32>().ok()?.iter().map(|x| f64::from(*x)).collect()),
            DType::F64 => Some(self.elements::<f64>().ok()?.into_owned()),
            DType::F16 => Some(self.elements::<half::f16>().ok()?.iter().map(|x| f64::from(*x)).collect()),
            DType::BF16 => Some(self.elements::<half::bf16>().ok()?.iter().map(|x| f64::from(*x)).collect()),
            _ => None,
        }
    }

    /// 128-bit content hash of type, shape and elements.
    pub fn content_hash(&self) -> u128 {
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        hasher.update(&[u8::try_from(self.dtype.to_onnx()).unwrap_or(u8::MAX)]);
        for size in &self.shape {
            hasher.update(&size.to_le_bytes());
        }
        hasher.update(&u64::MAX.to_le_bytes());
        hasher.update(&self.data);
        for string in self.strings.iter().flat_map(|s| s.iter()) {
            hasher.update(&string.len().to_le_bytes());
            hasher.update(string);
        }
        hasher.digest128()
    }
}

/// Lets a typed vector own the bytes, so its alignment survives.
struct Elements<T>(Vec<T>);

impl<T: bytemuck::Pod> AsRef<[u8]> for Elements<T> {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_checked() {
        assert!(Tensor::from_vec(vec![2, 3], vec![0f32; 5]).is_err());
        assert!(Tensor::from_bytes(DType::F32, vec![usize::MAX, 2], Bytes::new()).is_err());
        assert_eq!(Tensor::from_bytes(DType::F32, vec![1 << 40, 0], Bytes::new()).unwrap().len(), 0);
        assert!(Tensor::from_bytes(DType::F32, vec![usize::MAX, 0], Bytes::new()).is_err());
    }

    #[test]
    fn unaligned_bytes_are_still_readable() {
        let mut raw = vec![0u8];
        raw.extend_from_slice(bytemuck::cast_slice(&[1.5f32, -2.0]));
        let tensor = Tensor::from_bytes(DType::F32, vec![2], Bytes::from(raw).slice(1..)).unwrap();
        assert_eq!(tensor.elements::<f32>().unwrap().as_ref(), &[1.5, -2.0]);
        assert!(tensor.elements::<i32>().is_err());
    }
}
