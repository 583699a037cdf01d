//! Multidirectional (NumPy) broadcasting: of symbolic shapes, of sizes, and of arrays.
//!
//! Two different symbols broadcast to `max(a, b)`: they are equal or one of them is 1. The one exception, 0 against 1,
//! exists only for concrete sizes, which are handled exactly.
//! Spec: <https://github.com/onnx/onnx/blob/main/docs/Broadcasting.md>.

use crate::{EvalError, InferError};
use fusebox_ir::tensor::element_count;
use fusebox_ir::{Dim, Shape};
use ndarray::{ArrayBase, ArrayD, ArrayViewD, Data, IxDyn, Zip};

/// Shape that all `shapes` broadcast to; a scalar when there are none.
///
/// # Errors
/// When two known sizes differ and neither is 1; the message names both shapes.
pub fn broadcast_dims(shapes: &[&[Dim]]) -> Result<Shape, InferError> {
    let mut joined: Shape = shapes.first().map(|s| s.iter().cloned().collect()).unwrap_or_default();
    for shape in shapes.iter().skip(1) {
        joined = broadcast_pair(&joined, shape)?;
    }
    Ok(joined)
}

fn broadcast_pair(a: &[Dim], b: &[Dim]) -> Result<Shape, InferError> {
    let rank = a.len().max(b.len());
    let one = Dim::known(1);
    let size = |shape: &[Dim], axis: usize| match (axis + shape.len()).checked_sub(rank) {
        Some(index) => shape[index].clone(),
        None => one.clone(),
    };
    (0..rank)
        .map(|axis| {
            let (x, y) = (size(a, axis), size(b, axis));
            join(&x, &y).ok_or_else(|| {
                InferError::shape(format!(
                    "shapes {a:?} and {b:?} do not broadcast: sizes {x} and {y} at axis {} differ and neither is 1",
                    axis as i64 - rank as i64
                ))
            })
        })
        .collect()
}

/// Size that two sizes broadcast to, `None` when they cannot.
fn join(a: &Dim, b: &Dim) -> Option<Dim> {
    match (a.value(), b.value()) {
        _ if a == b => Some(a.clone()),
        (Some(1), _) => Some(b.clone()),
        (_, Some(1)) => Some(a.clone()),
        (Some(_), Some(_)) => None,
        (Some(_), None) => Some(a.clone()),
        (None, Some(_)) => Some(b.clone()),
        (None, None) => Some(a.larger(b)),
    }
}

/// Elements that a tensor of the reference may have: beyond that only a malformed model asks, and allocating would
/// end the process.
const MAX_ELEMENTS: usize = 1 << 33;

/// Refuses a shape that is too large to be evaluated.
///
/// # Errors
/// When it has more than 2^33 elements.
pub fn check_elements(shape: &[usize]) -> Result<(), InferError> {
    match element_count(shape) {
        Some(count) if count <= MAX_ELEMENTS => Ok(()),
        _ => Err(InferError::shape(format!(
            "a tensor of shape {shape:?} has more elements than the reference evaluates ({MAX_ELEMENTS})"
        ))),
    }
}

/// Sizes that all `shapes` broadcast to.
///
/// # Errors
/// As [`broadcast_dims`].
pub fn broadcast_sizes(shapes: &[&[usize]]) -> Result<Vec<usize>, InferError> {
    let dim = |size: &usize| Dim::known(i64::try_from(*size).unwrap_or(i64::MAX));
    let dims: Vec<Vec<Dim>> = shapes.iter().map(|s| s.iter().map(dim).collect()).collect();
    let joined = broadcast_dims(&dims.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
    let size = |dim: &Dim| dim.value().and_then(|v| usize::try_from(v).ok());
    Ok(joined.iter().map(|d| size(d).expect("joined from known sizes")).collect())
}

/// An array seen as a larger shape, without copying.
///
/// # Errors
/// When the array does not broadcast to that shape.
pub fn broadcast_to<'a, T, S: Data<Elem = T>>(
    array: &'a ArrayBase<S, IxDyn>,
    shape: &[usize],
) -> Result<ArrayViewD<'a, T>, EvalError> {
    array
        .broadcast(IxDyn(shape))
        .ok_or_else(|| EvalError::value(format!("shape {:?} does not broadcast to {shape:?}", array.shape())))
}

/// `f` over two arrays, broadcast against each other.
///
/// # Errors
/// When the shapes do not broadcast.
pub fn zip_map<A, B, C, S: Data<Elem = A>, R: Data<Elem = B>>(
    a: &ArrayBase<S, IxDyn>,
    b: &ArrayBase<R, IxDyn>,
    f: impl Fn(&A, &B) -> C,
) -> Result<ArrayD<C>, EvalError> {
    let shape = broadcast_sizes(&[a.shape(), b.shape()])?;
    check_elements(&shape)?;
    let (a, b) = (broadcast_to(a, &shape)?, broadcast_to(b, &shape)?);
    Ok(Zip::from(a).and(b).map_collect(f))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn known_and_symbolic_sizes_join() {
        let (b, s, one, four) = (Dim::symbol("b"), Dim::symbol("s"), Dim::known(1), Dim::known(4));
        let joined = broadcast_dims(&[&[b.clone(), one.clone(), four.clone()], &[s.clone(), one]]);
        assert_eq!(joined.unwrap().to_vec(), vec![b.clone(), s.clone(), four.clone()]);
        assert_eq!(
            broadcast_dims(&[std::slice::from_ref(&b), std::slice::from_ref(&four)]).unwrap()[0],
            four
        );
        assert_eq!(broadcast_dims(&[&[b], &[s]]).unwrap()[0].to_string(), "max(b, s)");
        assert!(broadcast_dims(&[]).unwrap().is_empty());
    }

    #[test]
    fn clashing_sizes_name_both_shapes() {
        let error = broadcast_sizes(&[&[2, 3], &[4]]).unwrap_err().to_string();
        let expected =
            "shapes [2, 3] and [4] do not broadcast: sizes 3 and 4 at axis -1 differ and neither is 1";
        assert_eq!(error, expected);
        assert_eq!(broadcast_sizes(&[&[0, 3], &[1, 3]]).unwrap(), vec![0, 3]);
        let (a, b) =
            (ndarray::ArrayD::<u8>::zeros(vec![1 << 20, 1]), ndarray::ArrayD::<u8>::zeros(vec![1, 1 << 20]));
        let huge = zip_map(&a, &b, |a, b| a + b).unwrap_err().to_string();
        assert!(huge.contains("more elements than the reference evaluates"), "{huge}");
    }

    #[test]
    fn arrays_are_zipped() {
        let (a, b) = (array![[1], [2]].into_dyn(), array![10, 20].into_dyn());
        assert_eq!(zip_map(&a, &b, |a, b| a + b).unwrap(), array![[11, 21], [12, 22]].into_dyn());
    }
}
