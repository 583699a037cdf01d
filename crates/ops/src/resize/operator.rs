//! `Resize`: interpolates along axes to given scales or sizes. Separable, so it is done axis by axis, in f64.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Resize.html>.

use super::geometry::{Axis, Method, Mode, Taps, Transform};
use super::target::{self, Asked, Target};
use crate::attributes::{INTS, float, int, text};
use crate::forms::{constant_of, drop_int, drop_str, existed, inexpressible, set_constant, set_input};
use crate::number::Number;
use crate::op::{Edit, Eval, Infer, Inferred, Op, Schema};
use crate::select::{checked_count, select, span, strides};
use crate::sizes::unknown;
use crate::view::{dispatch, one};
use crate::{Datum, EvalError, InferError, Shapes, VersionError};
use fusebox_ir::{Attrs, DType, Node, Tensor, TensorType, Type};

static SCHEMA: Schema = Schema::onnx("Resize", &[10, 11, 13, 18, 19], (1, 4), (1, 1)).with(&[
    ("antialias", int(0)),
    ("axes", INTS),
    ("coordinate_transformation_mode", text("half_pixel")),
    ("cubic_coeff_a", float(-0.75)),
    ("exclude_outside", int(0)),
    ("extrapolation_value", float(0.0)),
    ("keep_aspect_ratio_policy", text("stretch")),
    ("mode", text("nearest")),
    ("nearest_mode", text("round_prefer_floor")),
]);

pub(crate) struct Resize;

impl Op for Resize {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        Method::from_attrs(cx.attrs)?;
        let Some(x) = cx.tensor(0) else { return Ok(unknown(cx)) };
        let Some(shape) = &x.shape else { return Ok(vec![TensorType::unranked(x.dtype).into()]) };
        Ok(vec![TensorType::new(x.dtype, target::dims(cx, shape)?).into()])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let (x, method) = (cx.tensor(0)?, Method::from_attrs(cx.attrs)?);
        let asked = Asked { roi: cx.optional(1)?, scales: cx.optional(2)?, sizes: cx.optional(3)? };
        let (shape, taps) = taps(cx.attrs, &method, x.shape(), &asked)?;
        checked_count(DType::F64, &shape)?;
        if x.is_empty() && span(&shape) > 0 {
            return Err(EvalError::value(format!("an empty tensor cannot be resized to {shape:?}")));
        }
        let is_cropping = method.transform == Transform::CropAndResize;
        if matches!(method.mode, Mode::Nearest(_)) && !is_cropping {
            return one(nearest(x, &shape, &taps)?);
        }
        let outside = f64::from(cx.attrs.float_or("extrapolation_value", 0.0));
        one(dispatch!(numbers, x.dtype(), T => interpolated::<T>(x, &shape, &taps, outside))?)
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        4.0 * shapes.output_elements(0)
    }

    fn upgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        if edit.opset < 11 {
            let scales = edit.node().input(1);
            set_input(edit, 1, None);
            set_input(edit, 2, scales);
            asymmetric(edit);
            round_up_where_smaller(edit);
        } else if edit.opset < 13 {
            for position in [1, 2] {
                let value = edit.node().input(position);
                let is_empty = |tensor: &Tensor| tensor.is_empty();
                if value.and_then(|value| edit.graph.constant(value)).is_some_and(is_empty) {
                    set_input(edit, position, None);
                }
            }
        }
        Ok(())
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        existed(&SCHEMA, edit)?;
        if edit.opset < 11 {
            return Err(inexpressible(&SCHEMA, edit, "its coordinates are of a later opset"));
        }
        let transform = edit.node().attrs.str("coordinate_transformation_mode").map(str::to_owned);
        if edit.opset < 19 && transform.as_deref() == Some("half_pixel_symmetric") {
            return Err(inexpressible(&SCHEMA, edit, "half_pixel_symmetric does not exist there"));
        }
        if edit.opset < 18 {
            drop_int(&SCHEMA, edit, "antialias", 0)?;
            drop_str(&SCHEMA, edit, "keep_aspect_ratio_policy", "stretch")?;
            if edit.node().attrs.get("axes").is_some() {
                return Err(inexpressible(&SCHEMA, edit, "axes does not exist there"));
            }
        }
        if edit.opset < 13 {
            for position in [1, 2] {
                if edit.node().input(position).is_none() {
                    set_constant(edit, position, Tensor::vector(Vec::<f32>::new()));
                }
            }
        }
        Ok(())
    }
}

/// What opset 10 and Upsample mean by their coordinates.
pub(super) fn asymmetric(edit: &mut Edit<'_>) {
    let attrs = &mut edit.node().attrs;
    attrs.set("coordinate_transformation_mode", "asymmetric");
    attrs.set("nearest_mode", "floor");
}

/// Opset 10 took the nearest element from above where an axis shrinks, and from below where it grows. A node that does
/// both becomes two: nearest elements are found axis by axis. Scales that are not constant are taken to grow.
fn round_up_where_smaller(edit: &mut Edit<'_>) {
    let node = edit.node();
    let (x, scales) = (node.input(0), node.input(2));
    let scales = scales
        .and_then(|value| constant_of(edit.graph, value))
        .and_then(|t| Some(t.elements::<f32>().ok()?.into_owned()));
    let (Some(x), Some(scales)) = (x, scales) else { return };
    let is_nearest = edit.node().attrs.str("mode").unwrap_or("nearest") == "nearest";
    if !is_nearest || scales.iter().all(|scale| *scale >= 1.0) {
        return;
    }
    if scales.iter().any(|scale| *scale > 1.0) {
        let only = |keep: fn(f32, f32) -> f32| Tensor::vector(scales.iter().map(|s| keep(*s, 1.0)).collect());
        let grown = edit.graph.add_constant("", only(f32::max));
        let between = edit.graph.add_typed(Type::Unknown);
        let (op, attrs) = (edit.node().op.clone(), edit.node().attrs.clone());
        edit.graph.add_node(Node::new(op, [Some(x), None, Some(grown)], [Some(between)], attrs));
        set_input(edit, 0, Some(between));
        set_constant(edit, 2, only(f32::min));
    }
    edit.node().attrs.set("nearest_mode", "ceil");
}

/// Per axis; `None` is one that stays as it is.
type Axes<T> = Vec<Option<T>>;

/// For each element along a resized axis, the elements that it is made of and their weights.
pub type AxisTaps = Vec<Vec<(usize, f64)>>;

/// The shape after, and for each axis that changes the taps of its elements.
fn taps(
    attrs: &Attrs,
    method: &Method,
    own: &[usize],
    asked: &Asked<'_>,
) -> Result<(Vec<usize>, Axes<Vec<Taps>>), EvalError> {
    let Target { shape, scales, rois } = target::sizes(attrs, own, asked)?;
    checked_count(DType::F64, &shape)?;
    let is_cropping = method.transform == Transform::CropAndResize;
    let taps = |at: usize| {
        let axis = Axis { input: own[at], output: shape[at], scale: scales[at], roi: rois[at] };
        // An axis that keeps its size under scale 1 maps to itself in every mode but the cropping one.
        let stays = axis.input == axis.output && axis.scale == 1.0;
        if stays && !is_cropping { None } else { Some(axis.taps(method)) }
    };
    let taps = (0..shape.len()).map(taps).collect();
    Ok((shape, taps))
}

/// For each axis that `Resize` changes, elements of the input with weights that make each element of the output: axes
/// are independent. `inputs` are the operator's, from the second on: roi, scales, sizes.
///
/// # Errors
/// When attributes or inputs do not fit, or the region of interest reaches beyond the input.
pub fn resize_taps(
    attrs: &Attrs,
    dims: &[usize],
    inputs: [Option<&Tensor>; 3],
) -> Result<Axes<AxisTaps>, EvalError> {
    let asked = Asked { roi: inputs[0], scales: inputs[1], sizes: inputs[2] };
    let (_, taps) = taps(attrs, &Method::from_attrs(attrs)?, dims, &asked)?;
    let inside = |axis: Vec<Taps>| axis.into_iter().collect::<Option<Vec<_>>>();
    let outside = || EvalError::value("the region of interest reaches beyond the input");
    let axis = |axis: Option<Vec<Taps>>| axis.map(|axis| inside(axis).ok_or_else(outside)).transpose();
    taps.into_iter().map(axis).collect()
}

/// Moves elements: holds for every type.
fn nearest(x: &Tensor, shape: &[usize], taps: &[Option<Vec<Taps>>]) -> Result<Tensor, EvalError> {
    let (own, out) = (strides(x.shape()), strides(shape));
    let source = |place: usize| {
        let along = |at: usize| {
            let index = place / out[at].unsigned_abs() % shape[at];
            let tap = taps[at].as_ref().map_or(Some(index), |taps| Some(taps[index].as_ref()?.first()?.0));
            tap.unwrap_or(0) * own[at].unsigned_abs()
        };
        (0..shape.len()).map(along).sum()
    };
    select(x, shape.to_vec(), (0..span(shape)).map(source))
}

fn interpolated<T: Number>(
    x: &Tensor,
    shape: &[usize],
    taps: &[Option<Vec<Taps>>],
    outside: f64,
) -> Result<Tensor, EvalError> {
    let mut values: Vec<f64> = x.elements::<T>()?.iter().map(|value| value.to_f64()).collect();
    let mut sizes = x.shape().to_vec();
    for (at, taps) in taps.iter().enumerate() {
        let Some(taps) = taps else { continue };
        let (outer, inner) = (span(&sizes[..at]), span(&sizes[at + 1..]));
        let (before, after) = (sizes[at], shape[at]);
        checked_count(DType::F64, &[outer, after, inner])?;
        let mut next = Vec::with_capacity(outer * after * inner);
        for row in 0..outer {
            for taps in taps {
                let from =
                    |position: usize, column: usize| values[(row * before + position) * inner + column];
                let value = |column: usize| match taps {
                    Some(taps) => {
                        taps.iter().map(|(position, weight)| weight * from(*position, column)).sum()
                    }
                    None => outside,
                };
                next.extend((0..inner).map(value));
            }
        }
        sizes[at] = after;
        values = next;
    }
    Ok(Tensor::from_vec(sizes, values.into_iter().map(T::from_f64).collect())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, refusal, run_all, t};
    use crate::forms::testing::{downgraded, upgraded};

    fn resize(attrs: &Attrs, x: &Tensor, scales: Option<&[f32]>, sizes: Option<&[i64]>) -> Tensor {
        let scales = scales.map(|scales| Tensor::vector(scales.to_vec()));
        let sizes = sizes.map(|sizes| Tensor::vector(sizes.to_vec()));
        run_all(&Resize, attrs, &[Some(x.clone()), None, scales, sizes], 1).unwrap().remove(0)
    }

    #[test]
    fn nearest_repeats_and_drops() {
        let x = t(&[1, 1, 2, 2], &[1i32, 2, 3, 4]);
        let doubled = resize(&Attrs::new(), &x, Some(&[1., 1., 2., 1.]), None);
        assert_eq!(doubled, t(&[1, 1, 4, 2], &[1i32, 2, 1, 2, 3, 4, 3, 4]));
        let attrs =
            Attrs::new().with("coordinate_transformation_mode", "asymmetric").with("nearest_mode", "floor");
        assert_eq!(resize(&attrs, &x, None, Some(&[1, 1, 1, 2])), t(&[1, 1, 1, 2], &[1i32, 2]));
    }

    #[test]
    fn linear_and_cubic_interpolate() {
        let x = t(&[1, 4], &[1f32, 2.0, 3.0, 4.0]);
        let linear = Attrs::new().with("mode", "linear");
        close(&resize(&linear, &x, Some(&[1., 2.]), None), &[1.0, 1.25, 1.75, 2.25, 2.75, 3.25, 3.75, 4.0]);
        close(&resize(&linear, &x, Some(&[1., 0.5]), None), &[1.5, 3.5]);
        let smooth = linear.clone().with("antialias", 1);
        close(&resize(&smooth, &x, Some(&[1., 0.5]), None), &[1.625, 3.375]);
        let corners = linear.with("coordinate_transformation_mode", "align_corners");
        close(&resize(&corners, &x, None, Some(&[1, 2])), &[1.0, 4.0]);
        let cubic = Attrs::new().with("mode", "cubic");
        close(&resize(&cubic, &x, Some(&[1., 0.5]), None), &[1.40625, 3.59375]);
    }

    #[test]
    fn opset_10_rounds_up_where_it_shrinks() {
        let x = t(&[2, 4], &[1f32, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        for (scales, expected) in [
            (vec![1f32, 0.6], t(&[2, 2], &[1f32, 3.0, 5.0, 7.0])),
            (vec![1.5, 0.6], t(&[3, 2], &[1f32, 3.0, 1.0, 3.0, 5.0, 7.0])),
            (vec![1.0, 1.5], t(&[2, 6], &[1f32, 1.0, 2.0, 3.0, 3.0, 4.0, 5.0, 5.0, 6.0, 7.0, 7.0, 8.0])),
        ] {
            let (mut graph, node) =
                upgraded(&Resize, Attrs::new(), &[x.clone(), Tensor::vector(scales)], 10).unwrap();
            graph.outputs = vec![graph.node(node).output(0).unwrap()];
            let y = crate::Interpreter::new(&[]).run(&graph, &[], &[]).unwrap().remove(0);
            assert_eq!(y, expected.into());
        }
    }

    #[test]
    fn axes_and_aspect_ratio() {
        let x = t(&[1, 1, 2, 4], &[0f32; 8]);
        let attrs = Attrs::new().with("axes", vec![2, 3]).with("keep_aspect_ratio_policy", "not_larger");
        assert_eq!(resize(&attrs, &x, None, Some(&[7, 8])).shape(), [1, 1, 4, 8]);
        let attrs = attrs.with("keep_aspect_ratio_policy", "not_smaller");
        assert_eq!(resize(&attrs, &x, None, Some(&[7, 8])).shape(), [1, 1, 7, 14]);
        let inputs = [x, Tensor::vector(Vec::<f32>::new()), Tensor::vector(vec![1e30f32, 1.0])];
        assert!(
            refusal(&Resize, &Attrs::new().with("axes", vec![2, 3]), &inputs).contains("more than 16 GiB")
        );
    }

    #[test]
    fn forms_change() {
        let inputs = [t(&[1, 2], &[1f32, 2.0]), Tensor::vector(vec![1f32, 2.0])];
        let (graph, node) = upgraded(&Resize, Attrs::new(), &inputs, 10).unwrap();
        let node = graph.node(node);
        assert!(node.input(1).is_none() && node.input(2).is_some());
        assert_eq!(node.attrs.str("nearest_mode"), Some("floor"));
        let inputs = [inputs[0].clone(), Tensor::vector(Vec::<f32>::new()), inputs[1].clone()];
        let (graph, node) = upgraded(&Resize, Attrs::new(), &inputs, 11).unwrap();
        assert!(graph.node(node).input(1).is_none());
        assert!(downgraded(&Resize, Attrs::new(), &inputs, 10).is_err());
    }
}
