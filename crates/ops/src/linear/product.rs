//! The matrix product of every number type, which MatMul, Gemm, Einsum and the convolutions stand on.
//!
//! f32 and f64 accumulate in their own type (blocked, through `ndarray`), half types in f32 with one rounding at the
//! end, integers wrap.

use crate::number::Number;
use half::{bf16, f16};
use ndarray::{Array2, ArrayView2};

/// A number type whose matrices multiply.
pub(crate) trait MatrixElement: Number {
    /// `a · b` for `a` of shape `[m, k]` and `b` of shape `[k, n]`. Panics when the inner sizes differ.
    fn product(a: ArrayView2<'_, Self>, b: ArrayView2<'_, Self>) -> Array2<Self>;
}

macro_rules! floats {
    ($($t:ty),*) => { $(impl MatrixElement for $t {
        fn product(a: ArrayView2<'_, Self>, b: ArrayView2<'_, Self>) -> Array2<Self> { a.dot(&b) }
    })* };
}
floats! { f32, f64 }

macro_rules! halves {
    ($($t:ty),*) => { $(impl MatrixElement for $t {
        fn product(a: ArrayView2<'_, Self>, b: ArrayView2<'_, Self>) -> Array2<Self> {
            a.mapv(<$t>::to_f32).dot(&b.mapv(<$t>::to_f32)).mapv(<$t>::from_f32)
        }
    })* };
}
halves! { f16, bf16 }

macro_rules! integers {
    ($($t:ty),*) => { $(impl MatrixElement for $t {
        fn product(a: ArrayView2<'_, Self>, b: ArrayView2<'_, Self>) -> Array2<Self> { wrapping(&a, &b) }
    })* };
}
integers! { i8, i16, i32, i64, u8, u16, u32, u64 }

fn wrapping<T: Number>(a: &ArrayView2<'_, T>, b: &ArrayView2<'_, T>) -> Array2<T> {
    assert_eq!(a.ncols(), b.nrows(), "inner sizes of a matrix product");
    let mut result = Array2::from_elem((a.nrows(), b.ncols()), T::ZERO);
    for (mut out, row) in result.outer_iter_mut().zip(a.outer_iter()) {
        for (x, column) in row.iter().zip(b.outer_iter()) {
            out.zip_mut_with(&column, |sum, y| *sum = sum.plus(x.times(*y)));
        }
    }
    result
}
