//! Moves elements of any type: every movement, gather and scatter is a list of source positions.
//!
//! Refuses to know operators. Strings and types below a byte are moved like all others. Nothing is allocated before its
//! size is checked against [`MAX_BYTES`].

use crate::{EvalError, InferError};
use fusebox_ir::tensor::element_count;
use fusebox_ir::{DType, Tensor};

/// Largest tensor that the reference evaluation makes: a wrong size in a file is an error and not an allocation.
pub const MAX_BYTES: usize = 1 << 34;

/// Number of elements of a shape that may be allocated.
///
/// # Errors
/// When a tensor of that shape takes more than [`MAX_BYTES`].
pub fn checked_count(dtype: DType, shape: &[usize]) -> Result<usize, EvalError> {
    let bits = if dtype == DType::String { 192 } else { dtype.bits() };
    let count = element_count(shape);
    let fits = |count: &usize| count.checked_mul(bits).is_some_and(|bits| bits / 8 <= MAX_BYTES);
    count.filter(fits).ok_or_else(|| {
        let limit = MAX_BYTES >> 30;
        EvalError::value(format!("a {dtype} tensor of shape {shape:?} takes more than {limit} GiB"))
    })
}

/// Product of sizes, saturating: an empty tensor may claim sizes whose product overflows.
pub fn span(sizes: &[usize]) -> usize {
    element_count(sizes).unwrap_or(usize::MAX)
}

/// Row-major positions of a strided box: `offset + Σ index·stride` for every index within `sizes`.
#[derive(Clone, Debug)]
pub struct Walk {
    sizes: Vec<usize>,
    strides: Vec<isize>,
    index: Vec<usize>,
    at: isize,
    left: usize,
}

impl Walk {
    /// A walk; the caller guarantees that all positions are inside the source.
    ///
    /// # Errors
    /// When the box has more positions than memory can hold.
    pub fn new(offset: isize, sizes: &[usize], strides: &[isize]) -> Result<Self, EvalError> {
        let left = checked_count(DType::U8, sizes)?;
        let (sizes, strides) = (sizes.to_vec(), strides.to_vec());
        Ok(Self { index: vec![0; sizes.len()], sizes, strides, at: offset, left })
    }
}

impl Iterator for Walk {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        let at = self.at;
        for axis in (0..self.sizes.len()).rev() {
            self.index[axis] += 1;
            self.at += self.strides[axis];
            if self.index[axis] < self.sizes[axis] {
                break;
            }
            self.at -= self.strides[axis] * self.sizes[axis].cast_signed();
            self.index[axis] = 0;
        }
        usize::try_from(at).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

/// Row-major strides of a shape, in elements.
pub fn strides(shape: &[usize]) -> Vec<isize> {
    let mut strides = vec![1isize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis].cast_signed());
    }
    strides
}

/// A tensor of `shape` whose elements are those of `source` at the given positions.
///
/// # Errors
/// When the result is too large or a position is outside the source.
pub fn select(
    source: &Tensor,
    shape: Vec<usize>,
    positions: impl IntoIterator<Item = usize>,
) -> Result<Tensor, EvalError> {
    pick(&[source], shape, positions.into_iter().map(|position| (0, position)))
}

/// A tensor of `shape` whose elements come from several sources of one type: pairs of source and position.
///
/// # Errors
/// When the sources differ in type, the result is too large or a position is outside its source.
pub fn pick(
    sources: &[&Tensor],
    shape: Vec<usize>,
    positions: impl IntoIterator<Item = (usize, usize)>,
) -> Result<Tensor, EvalError> {
    let dtype = sources.first().map_or(DType::F32, |s| s.dtype());
    if let Some((index, other)) = sources.iter().enumerate().find(|(_, s)| s.dtype() != dtype) {
        let (expected, found) = (format!("{dtype} like the first"), other.dtype());
        return Err(InferError::DType { index, expected, found }.into());
    }
    let count = checked_count(dtype, &shape)?;
    match dtype.bits() {
        0 => pick_strings(sources, shape, positions, count),
        8 => pick_words::<1>(sources, dtype, shape, positions, count),
        16 => pick_words::<2>(sources, dtype, shape, positions, count),
        32 => pick_words::<4>(sources, dtype, shape, positions, count),
        64 => pick_words::<8>(sources, dtype, shape, positions, count),
        128 => pick_words::<16>(sources, dtype, shape, positions, count),
        bits => pick_packed(sources, dtype, shape, positions, count, bits),
    }
}

fn outside(position: usize) -> EvalError {
    EvalError::value(format!("position {position} is outside the tensor"))
}

fn reserve<T>(count: usize) -> Result<Vec<T>, EvalError> {
    let mut elements = Vec::new();
    let failed = |_| EvalError::OutOfMemory {
        needed: (count as u64).saturating_mul(size_of::<T>() as u64),
        available: crate::memory::available(),
    };
    elements.try_reserve_exact(count).map_err(failed)?;
    Ok(elements)
}

fn pick_words<const W: usize>(
    sources: &[&Tensor],
    dtype: DType,
    shape: Vec<usize>,
    positions: impl IntoIterator<Item = (usize, usize)>,
    count: usize,
) -> Result<Tensor, EvalError> {
    let sources: Vec<&[[u8; W]]> = sources.iter().map(|s| s.data().as_chunks::<W>().0).collect();
    let mut words: Vec<[u8; W]> = reserve(count)?;
    for (source, position) in positions.into_iter().take(count) {
        words.push(*sources[source].get(position).ok_or_else(|| outside(position))?);
    }
    Ok(Tensor::from_bytes(dtype, shape, words.into_flattened().into())?)
}

fn pick_strings(
    sources: &[&Tensor],
    shape: Vec<usize>,
    positions: impl IntoIterator<Item = (usize, usize)>,
    count: usize,
) -> Result<Tensor, EvalError> {
    let sources: Vec<&[Vec<u8>]> = sources.iter().map(|s| s.strings().unwrap_or(&[])).collect();
    let mut strings = reserve(count)?;
    for (source, position) in positions.into_iter().take(count) {
        strings.push(sources[source].get(position).ok_or_else(|| outside(position))?.clone());
    }
    Ok(Tensor::from_strings(shape, strings)?)
}

/// Types of 4 and 2 bits, packed from the low end of each byte.
fn pick_packed(
    sources: &[&Tensor],
    dtype: DType,
    shape: Vec<usize>,
    positions: impl IntoIterator<Item = (usize, usize)>,
    count: usize,
    bits: usize,
) -> Result<Tensor, EvalError> {
    let per_byte = 8 / bits;
    let mask = (1u8 << bits) - 1;
    let mut bytes: Vec<u8> = reserve(count.div_ceil(per_byte))?;
    for (index, (source, position)) in positions.into_iter().take(count).enumerate() {
        if position >= sources[source].len() {
            return Err(outside(position));
        }
        let byte = sources[source].data()[position / per_byte];
        let value = byte >> (position % per_byte * bits) & mask;
        if index % per_byte == 0 {
            bytes.push(0);
        }
        *bytes.last_mut().expect("pushed at the byte's first element") |= value << (index % per_byte * bits);
    }
    Ok(Tensor::from_bytes(dtype, shape, bytes.into())?)
}

/// A scalar zero (empty string, false) of a type.
pub fn zero(dtype: DType) -> Result<Tensor, EvalError> {
    if dtype == DType::String {
        return Ok(Tensor::from_strings(vec![], vec![Vec::new()])?);
    }
    Ok(Tensor::from_bytes(dtype, vec![], vec![0; dtype.bits().div_ceil(8)].into())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_transposes_and_reverses() {
        let positions: Vec<usize> = Walk::new(0, &[3, 2], &[1, 3]).unwrap().collect();
        assert_eq!(positions, [0, 3, 1, 4, 2, 5]);
        let positions: Vec<usize> = Walk::new(2, &[3], &[-1]).unwrap().collect();
        assert_eq!(positions, [2, 1, 0]);
        assert_eq!(Walk::new(0, &[], &[]).unwrap().collect::<Vec<_>>(), [0]);
        assert_eq!(Walk::new(0, &[2, 0], &[0, 1]).unwrap().count(), 0);
    }

    #[test]
    fn all_widths_move() {
        let nibbles = Tensor::from_bytes(DType::U4, vec![3], vec![0x21, 0x03].into()).unwrap();
        let reversed = select(&nibbles, vec![3], [2, 1, 0]).unwrap();
        assert_eq!(reversed.data().as_ref(), [0x23, 0x01]);
        let strings = Tensor::from_strings(vec![2], vec![b"a".to_vec(), b"b".to_vec()]).unwrap();
        assert_eq!(select(&strings, vec![1], [1]).unwrap().strings().unwrap(), [b"b".to_vec()]);
        let halves = Tensor::vector(vec![1u16, 2, 3]);
        assert_eq!(select(&halves, vec![2], [2, 0]).unwrap(), Tensor::vector(vec![3u16, 1]));
    }

    #[test]
    fn absurd_sizes_and_wrong_positions_are_errors() {
        let one = Tensor::vector(vec![1f32]);
        let error = select(&one, vec![1 << 20, 1 << 20], std::iter::repeat(0)).unwrap_err();
        assert!(error.to_string().contains("takes more than 16 GiB"), "{error}");
        assert!(select(&one, vec![1], [1]).is_err());
        assert!(checked_count(DType::U8, &[usize::MAX, 2]).is_err());
        assert_eq!(checked_count(DType::U8, &[1 << 40, 0]).unwrap(), 0);
    }
}
