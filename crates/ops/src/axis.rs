//! Axes as ONNX writes them: negative values count from the back.
//!
//! Owns the one place that turns an axis attribute or input into an index, with the message for one out of range.

use crate::InferError;

/// Index of an axis of a tensor of rank `rank`.
///
/// # Errors
/// When the axis is outside `-rank..rank`.
pub fn normalize(axis: i64, rank: usize) -> Result<usize, InferError> {
    let signed = i64::try_from(rank).unwrap_or(i64::MAX);
    let index = if axis < 0 { axis.saturating_add(signed) } else { axis };
    usize::try_from(index).ok().filter(|index| *index < rank).ok_or_else(|| {
        InferError::shape(format!(
            "axis {axis} is out of range for a tensor of rank {rank}: it must be within {}..={}",
            -signed,
            signed - 1
        ))
    })
}

/// Index of an axis that may also point one past the last (Flatten, Unsqueeze-like splits): `-rank..=rank`.
///
/// # Errors
/// When the axis is outside that range.
pub fn normalize_end(axis: i64, rank: usize) -> Result<usize, InferError> {
    if usize::try_from(axis).is_ok_and(|index| index == rank) { Ok(rank) } else { normalize(axis, rank) }
}

/// Ascending indices of several axes.
///
/// # Errors
/// When one is out of range or named twice.
pub fn normalize_all(axes: &[i64], rank: usize) -> Result<Vec<usize>, InferError> {
    let mut indices = axes.iter().map(|axis| normalize(*axis, rank)).collect::<Result<Vec<_>, _>>()?;
    indices.sort_unstable();
    match indices.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(InferError::shape(format!("axes {axes:?} name axis {} twice", pair[0]))),
        None => Ok(indices),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negative_axes_count_from_the_back() {
        assert_eq!(normalize(-1, 3), Ok(2));
        assert_eq!(normalize(0, 3), Ok(0));
        assert_eq!(normalize_end(3, 3), Ok(3));
        assert_eq!(normalize_all(&[-1, 0], 3), Ok(vec![0, 2]));
    }

    #[test]
    fn axes_out_of_range_and_repeated_are_refused() {
        let error = normalize(3, 3).unwrap_err().to_string();
        assert_eq!(error, "axis 3 is out of range for a tensor of rank 3: it must be within -3..=2");
        assert!(normalize(i64::MIN, 2).is_err());
        assert!(normalize(0, 0).is_err());
        assert_eq!(normalize_all(&[1, -1], 2).unwrap_err().to_string(), "axes [1, -1] name axis 1 twice");
    }
}
