//! The shape that Resize goes to: from scales or from sizes, for all axes or some, keeping the aspect ratio or not.
//!
//! Refuses to know values. Scales that sizes imply are the ratios of the sizes.

use crate::inference::elements;
use crate::op::Infer;
use crate::{EvalError, InferError, axis};
use fusebox_ir::{Attrs, Dim, Tensor};

/// Shape, scales and regions of interest, one entry per axis.
pub(super) struct Target {
    pub(super) shape: Vec<usize>,
    pub(super) scales: Vec<f64>,
    pub(super) rois: Vec<(f64, f64)>,
}

/// Largest size of an axis: beyond it the product overflows or memory ends.
const MAX_SIZE: f64 = (1u64 << 40) as f64;

fn axes(attrs: &Attrs, rank: usize) -> Result<Vec<usize>, InferError> {
    match attrs.ints("axes") {
        None => Ok((0..rank).collect()),
        Some(axes) => {
            axis::normalize_all(axes, rank)?;
            axes.iter().map(|axis| axis::normalize(*axis, rank)).collect()
        }
    }
}

fn wrong_count(what: &str, found: usize, axes: usize) -> InferError {
    InferError::shape(format!("{found} {what} are given for {axes} axes"))
}

/// What the inputs behind the tensor ask for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked<'a> {
    pub(super) roi: Option<&'a Tensor>,
    pub(super) scales: Option<&'a Tensor>,
    pub(super) sizes: Option<&'a Tensor>,
}

/// The target of known sizes.
///
/// # Errors
/// When neither scales nor sizes are given, or they do not fit.
pub(super) fn sizes(attrs: &Attrs, own: &[usize], asked: &Asked<'_>) -> Result<Target, EvalError> {
    let (rank, axes) = (own.len(), axes(attrs, own.len())?);
    let mut target = Target { shape: own.to_vec(), scales: vec![1.0; rank], rois: vec![(0.0, 1.0); rank] };
    let is_given = |tensor: &&Tensor| !tensor.is_empty();
    if let Some(roi) = asked.roi.filter(is_given) {
        let roi = roi.floats().filter(|roi| roi.len() == 2 * axes.len());
        let roi = roi.ok_or_else(|| EvalError::value("roi must hold a start and an end per axis"))?;
        axes.iter().enumerate().for_each(|(at, axis)| target.rois[*axis] = (roi[at], roi[at + axes.len()]));
    }
    if let Some(scales) = asked.scales.filter(is_given) {
        let scales = scales.floats().unwrap_or_default();
        if scales.len() != axes.len() {
            return Err(wrong_count("scales", scales.len(), axes.len()).into());
        }
        let is_cropping = attrs.str("coordinate_transformation_mode") == Some("tf_crop_and_resize");
        for (axis, scale) in axes.iter().zip(scales) {
            let (start, end) = if is_cropping { target.rois[*axis] } else { (0.0, 1.0) };
            target.shape[*axis] = size(own[*axis] as f64 * (end - start) * scale)?;
            target.scales[*axis] = positive(scale)?;
        }
        return Ok(target);
    }
    let sizes = asked.sizes.and_then(Tensor::integers);
    let sizes = sizes.ok_or_else(|| EvalError::value("neither scales nor sizes are given"))?;
    if sizes.len() != axes.len() {
        return Err(wrong_count("sizes", sizes.len(), axes.len()).into());
    }
    let own: Vec<f64> = axes.iter().map(|axis| own[*axis] as f64).collect();
    let (sizes, scales) = from_sizes(attrs, &own, &sizes)?;
    for (at, axis) in axes.iter().enumerate() {
        target.shape[*axis] = size(sizes[at])?;
        target.scales[*axis] = if own[at] == 0.0 { 1.0 } else { positive(scales[at])? };
    }
    Ok(target)
}

/// Sizes and scales under the policy for the aspect ratio.
fn from_sizes(attrs: &Attrs, own: &[f64], sizes: &[i64]) -> Result<(Vec<f64>, Vec<f64>), InferError> {
    let ratios: Vec<f64> = sizes.iter().zip(own).map(|(size, own)| *size as f64 / own).collect();
    let scale = match attrs.str("keep_aspect_ratio_policy").unwrap_or("stretch") {
        "stretch" => return Ok((sizes.iter().map(|size| *size as f64).collect(), ratios)),
        "not_larger" => ratios.iter().copied().fold(f64::INFINITY, f64::min),
        "not_smaller" => ratios.iter().copied().fold(0.0, f64::max),
        _ => {
            let (name, expected) =
                ("keep_aspect_ratio_policy".into(), "stretch, not_larger or not_smaller".into());
            return Err(InferError::Attribute { name, expected });
        }
    };
    Ok((own.iter().map(|own| (own * scale + 0.5).floor()).collect(), vec![scale; own.len()]))
}

fn positive(scale: f64) -> Result<f64, EvalError> {
    if scale > 0.0 { Ok(scale) } else { Err(EvalError::value(format!("scale {scale} is not positive"))) }
}

fn size(size: f64) -> Result<usize, EvalError> {
    if size.is_nan() || size < 0.0 {
        return Err(EvalError::value(format!("{size} is not a size")));
    }
    // Larger sizes are refused where the whole shape is known.
    Ok(size.floor().min(MAX_SIZE) as usize)
}

/// The target over symbolic sizes.
///
/// # Errors
/// When scales or sizes do not fit the axes.
pub(super) fn dims(cx: &Infer<'_>, shape: &[Dim]) -> Result<Vec<Dim>, InferError> {
    let axes = axes(cx.attrs, shape.len())?;
    let mut result = shape.to_vec();
    let is_given =
        |index: usize| cx.input(index).is_some_and(|arg| arg.constant.is_none_or(|c| !c.is_empty()));
    let is_cropping = cx.attrs.str("coordinate_transformation_mode") == Some("tf_crop_and_resize");
    let keeps_ratio = cx.attrs.str("keep_aspect_ratio_policy").is_some_and(|policy| policy != "stretch");
    let scales = cx.input(2).and_then(|arg| arg.constant).and_then(Tensor::floats).filter(|_| is_given(2));
    let sizes = elements(cx, 3).filter(|_| !is_given(2) && !keeps_ratio);
    if let Some(sizes) = sizes {
        if sizes.len() != axes.len() {
            return Err(wrong_count("sizes", sizes.len(), axes.len()));
        }
        axes.iter().zip(sizes).for_each(|(axis, size)| result[*axis] = size);
    } else if let Some(scales) = scales.filter(|_| !is_cropping) {
        if scales.len() != axes.len() {
            return Err(wrong_count("scales", scales.len(), axes.len()));
        }
        for (axis, scale) in axes.iter().zip(scales) {
            result[*axis] = scaled(&shape[*axis], scale).unwrap_or_else(|| (cx.fresh)());
        }
    } else {
        axes.iter().for_each(|axis| result[*axis] = (cx.fresh)());
    }
    Ok(result)
}

fn scaled(dim: &Dim, scale: f64) -> Option<Dim> {
    match dim.value() {
        Some(size) => Some(Dim::known((size as f64 * scale).floor().clamp(0.0, MAX_SIZE) as i64)),
        None if scale.fract() == 0.0 && (1.0..1e6).contains(&scale) => {
            Some(dim.mul(&Dim::known(scale as i64)))
        }
        None => None,
    }
}
