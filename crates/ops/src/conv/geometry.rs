//! Shapes of convolutions: batch, channels, groups and spatial axes of the data and of the weights.
//!
//! Refuses shapes that disagree, naming both.

use crate::InferError;
use fusebox_ir::{Attrs, Dim, TensorType};

/// The `group` attribute.
///
/// # Errors
/// When it is below 1.
pub(super) fn groups(attrs: &Attrs) -> Result<i64, InferError> {
    let groups = attrs.int_or("group", 1);
    if groups < 1 {
        return Err(InferError::Attribute { name: "group".into(), expected: "at least 1".into() });
    }
    Ok(groups)
}

/// Dims of data and of weights.
pub(super) type Pair<'a> = (&'a [Dim], &'a [Dim]);

/// Dims of data and weights, where both are known; checks that they have one rank of at least 3.
///
/// # Errors
/// When they have not.
pub(super) fn shapes<'a>(
    data: Option<&'a TensorType>,
    weights: Option<&'a TensorType>,
) -> Result<Option<Pair<'a>>, InferError> {
    let dims = |ty: Option<&'a TensorType>| ty.and_then(|ty| ty.shape.as_deref());
    let (Some(data), Some(weights)) = (dims(data), dims(weights)) else { return Ok(None) };
    if data.len() != weights.len() || data.len() < 3 {
        return Err(InferError::shape(format!(
            "data of shape {data:?} and weights of shape {weights:?} must have one rank, at least 3"
        )));
    }
    Ok(Some((data, weights)))
}

/// Checks that two channel counts agree where both are known.
///
/// # Errors
/// When they differ; `what` says what they count.
pub(super) fn agree(what: &str, expected: &Dim, found: &Dim) -> Result<(), InferError> {
    match (expected.value(), found.value()) {
        (Some(a), Some(b)) if a != b => {
            Err(InferError::shape(format!("{what}: expected {expected}, found {found}")))
        }
        _ => Ok(()),
    }
}

/// Checks `kernel_shape` against the spatial sizes of the weights.
///
/// # Errors
/// When they differ.
pub(super) fn kernel_agrees(attrs: &Attrs, spatial: &[Dim]) -> Result<(), InferError> {
    let Some(kernel) = attrs.ints("kernel_shape") else { return Ok(()) };
    let differs = |(k, dim): (&i64, &Dim)| dim.value().is_some_and(|v| v != *k);
    if kernel.len() != spatial.len() || kernel.iter().zip(spatial).any(differs) {
        let expected = format!("the spatial sizes {spatial:?} of the weights, it is {kernel:?}");
        return Err(InferError::Attribute { name: "kernel_shape".into(), expected });
    }
    Ok(())
}
