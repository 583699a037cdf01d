//! The affine maps of the standard quantization: `real = scale·(q − zero_point)` per tensor, per axis or per block.
//!
//! Refuses to know operators. Integers of up to 16 bits and floats of up to eight, those below a byte packed as ONNX
//! packs them.

use crate::movement::cast;
use crate::select::{span, strides};
use crate::{EvalError, InferError, axis};
use fusebox_ir::{DType, Tensor};

/// Least and greatest value of a quantized type, `None` for types that are none.
pub(super) fn range(dtype: DType) -> Option<(i32, i32)> {
    Some(match dtype {
        DType::U8 => (0, 255),
        DType::I8 => (-128, 127),
        DType::U16 => (0, 65535),
        DType::I16 => (-32768, 32767),
        DType::U4 => (0, 15),
        DType::I4 => (-8, 7),
        DType::U2 => (0, 3),
        DType::I2 => (-2, 1),
        _ => return None,
    })
}

/// Checks that a type can hold quantized values (i32 too, which is only dequantized).
///
/// # Errors
/// When it cannot.
pub(super) fn check_quantized(dtype: DType, index: usize) -> Result<(), InferError> {
    if range(dtype).is_some() || dtype == DType::I32 || dtype.bits() <= 8 && dtype.is_float() {
        return Ok(());
    }
    Err(InferError::DType { index, expected: "a quantized type".into(), found: dtype })
}

/// Elements of an integer tensor as i32.
///
/// # Errors
/// When they are no integers that fit.
pub(super) fn integers(x: &Tensor) -> Result<Vec<i32>, EvalError> {
    if range(x.dtype()).is_none() && x.dtype() != DType::I32 {
        return Err(EvalError::unsupported(format!("quantization with {}", x.dtype())));
    }
    Ok(cast(x, DType::I32)?.elements::<i32>()?.into_owned())
}

/// Elements of a quantized tensor, or of zero points, as reals.
///
/// # Errors
/// When they are neither integers nor small floats.
pub(super) fn reals(x: &Tensor) -> Result<Vec<f64>, EvalError> {
    if crate::minifloat::is_small_float(x.dtype()) {
        return Ok(cast(x, DType::F32)?.elements::<f32>()?.iter().map(|x| f64::from(*x)).collect());
    }
    Ok(integers(x)?.into_iter().map(f64::from).collect())
}

/// Elements of a factor of an integer product: at most 16 bits, so that differences of two of them fit an i32.
///
/// # Errors
/// When they are of another type.
pub(super) fn factors(x: &Tensor) -> Result<Vec<i32>, EvalError> {
    if x.dtype() == DType::I32 {
        return Err(EvalError::unsupported("an integer product of i32"));
    }
    integers(x)
}

/// A tensor of values that are in the range of `dtype`.
///
/// # Errors
/// When the type is no quantized integer or the count is not the shape's.
pub(crate) fn packed(dtype: DType, shape: Vec<usize>, values: &[i32]) -> Result<Tensor, EvalError> {
    let bits = dtype.bits();
    let bytes: Vec<u8> = match bits {
        16 => values.iter().flat_map(|value| (*value as u16).to_le_bytes()).collect(),
        8 => values.iter().map(|value| *value as u8).collect(),
        2 | 4 => {
            let mask = (1u8 << bits) - 1;
            let byte = |part: &[i32]| {
                let low = part.iter().enumerate();
                low.fold(0u8, |byte, (i, value)| byte | (*value as u8 & mask) << (i * bits))
            };
            values.chunks(8 / bits).map(byte).collect()
        }
        _ => return Err(EvalError::unsupported(format!("quantization to {dtype}"))),
    };
    Ok(Tensor::from_bytes(dtype, shape, bytes.into())?)
}

/// Which parameter belongs to which element.
pub(super) enum Granularity {
    /// One for all.
    Tensor,
    /// One per index of an axis: elements below the axis, size of the axis.
    Axis { inner: usize, size: usize },
    /// One per block of an axis: shape and strides of the values, strides of the parameters, axis, block.
    Block { shape: Vec<usize>, own: Vec<isize>, params: Vec<isize>, axis: usize, block: usize },
}

impl Granularity {
    /// Reads it off the shapes of the values and of the scale.
    ///
    /// # Errors
    /// When they do not fit together.
    pub(super) fn new(shape: &[usize], scale: &[usize], at: i64, block: i64) -> Result<Self, EvalError> {
        let wrong = || {
            EvalError::value(format!(
                "scales of shape {scale:?} do not fit values of shape {shape:?} (axis {at}, block {block})"
            ))
        };
        if scale.is_empty() || (block == 0 && scale == [1]) {
            return Ok(Self::Tensor);
        }
        let axis = axis::normalize(at, shape.len())?;
        if block == 0 {
            if scale != [shape[axis]] {
                return Err(wrong());
            }
            return Ok(Self::Axis { inner: span(&shape[axis + 1..]), size: shape[axis] });
        }
        let block = usize::try_from(block).map_err(|_| wrong())?;
        let fits = |at: usize| scale[at] == if at == axis { shape[at].div_ceil(block) } else { shape[at] };
        if scale.len() != shape.len() || !(0..shape.len()).all(fits) {
            return Err(wrong());
        }
        Ok(Self::Block { shape: shape.to_vec(), own: strides(shape), params: strides(scale), axis, block })
    }

    /// Position of the parameter of the element at `place`.
    pub(super) fn param(&self, place: usize) -> usize {
        match self {
            Self::Tensor => 0,
            Self::Axis { inner, size } => place / inner % size,
            Self::Block { shape, own, params, axis, block } => (0..shape.len())
                .map(|at| {
                    let index = place / own[at].unsigned_abs() % shape[at];
                    params[at].unsigned_abs() * if at == *axis { index / block } else { index }
                })
                .sum(),
        }
    }
}

/// Zero points of a parameter tensor, zeros when absent.
///
/// # Errors
/// When their shape is not that of the scale.
pub(super) fn zero_points(zero: Option<&Tensor>, scale: &Tensor) -> Result<Vec<f64>, EvalError> {
    match zero {
        None => Ok(vec![0.0; scale.len()]),
        Some(zero) if zero.len() == scale.len() => reals(zero),
        Some(zero) => {
            let (a, b) = (zero.shape(), scale.shape());
            Err(EvalError::value(format!("zero points of shape {a:?} do not fit scales of shape {b:?}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_types_are_packed_from_the_low_end() {
        let packed4 = packed(DType::I4, vec![3], &[-1, -8, 7]).unwrap();
        assert_eq!(packed4.data().as_ref(), [0x8f, 0x07]);
        assert_eq!(integers(&packed4).unwrap(), [-1, -8, 7]);
        let packed2 = packed(DType::U2, vec![5], &[0, 1, 2, 3, 1]).unwrap();
        assert_eq!(integers(&packed2).unwrap(), [0, 1, 2, 3, 1]);
        assert!(integers(&Tensor::scalar(1f32)).is_err());
    }

    #[test]
    fn parameters_follow_axis_and_block() {
        let per_axis = Granularity::new(&[2, 3], &[3], 1, 0).unwrap();
        assert_eq!((0..6).map(|i| per_axis.param(i)).collect::<Vec<_>>(), [0, 1, 2, 0, 1, 2]);
        let blocks = Granularity::new(&[2, 3], &[2, 2], 1, 2).unwrap();
        assert_eq!((0..6).map(|i| blocks.param(i)).collect::<Vec<_>>(), [0, 0, 1, 2, 2, 3]);
        assert!(Granularity::new(&[2, 3], &[2], 1, 0).is_err());
        assert!(Granularity::new(&[2, 3], &[2, 1], 1, 2).is_err());
    }
}
