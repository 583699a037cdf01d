//! `NonMaxSuppression`: per image and class, boxes from the best score down, without those that overlap a chosen one.
//!
//! Computed in f32, as thresholds are given; equal scores keep the order of the boxes.
//! Spec: <https://onnx.ai/onnx/operators/onnx__NonMaxSuppression.html>.

use crate::attributes::int;
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::view::one;
use crate::{Datum, EvalError, InferError};
use fusebox_ir::{DType, Dim, Tensor, TensorType};

static SCHEMA: Schema =
    Schema::onnx("NonMaxSuppression", &[10, 11], (2, 5), (1, 1)).with(&[("center_point_box", int(0))]);

pub(crate) struct NonMaxSuppression;

/// Edges of a box.
#[derive(Clone, Copy)]
struct Rectangle {
    low: [f32; 2],
    high: [f32; 2],
}

impl Rectangle {
    /// From two opposite corners, or from centre and size (`x, y, width, height`).
    fn read(numbers: &[f32], is_centred: bool) -> Self {
        let [a, b, c, d] = [numbers[0], numbers[1], numbers[2], numbers[3]];
        if is_centred {
            Self { low: [a - c / 2.0, b - d / 2.0], high: [a + c / 2.0, b + d / 2.0] }
        } else {
            Self { low: [a.min(c), b.min(d)], high: [a.max(c), b.max(d)] }
        }
    }

    fn area(self) -> f32 {
        (self.high[0] - self.low[0]) * (self.high[1] - self.low[1])
    }

    /// Whether intersection over union exceeds the threshold.
    fn overlaps(self, other: Self, threshold: f32) -> bool {
        let side = |axis: usize| self.high[axis].min(other.high[axis]) - self.low[axis].max(other.low[axis]);
        let (width, height) = (side(0), side(1));
        if !(width > 0.0 && height > 0.0) {
            return false;
        }
        let (intersection, a, b) = (width * height, self.area(), other.area());
        let union = a + b - intersection;
        a > 0.0 && b > 0.0 && union > 0.0 && intersection / union > threshold
    }
}

/// The one float of an optional input.
fn float(cx: &Eval<'_>, index: usize) -> Result<Option<f32>, EvalError> {
    let Some(tensor) = cx.optional(index)? else { return Ok(None) };
    match *tensor.elements::<f32>()? {
        [value] => Ok(Some(value)),
        _ => Err(EvalError::value(format!(
            "input {index} must be one float, its shape is {:?}",
            tensor.shape()
        ))),
    }
}

impl Op for NonMaxSuppression {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        for index in [0, 1, 3, 4] {
            match cx.tensor(index) {
                Some(ty) if ty.dtype != DType::F32 => {
                    return Err(InferError::DType { index, expected: "f32".into(), found: ty.dtype });
                }
                _ => {}
            }
        }
        Ok(vec![TensorType::new(DType::I64, [(cx.fresh)(), Dim::known(3)]).into()])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let (boxes, scores) = (cx.tensor(0)?, cx.tensor(1)?);
        let (&[batch, count, 4], &[images, classes, scored]) = (boxes.shape(), scores.shape()) else {
            let (a, b) = (boxes.shape(), scores.shape());
            let reason =
                format!("boxes must be [n, boxes, 4] and scores [n, classes, boxes], found {a:?} and {b:?}");
            return Err(EvalError::value(reason));
        };
        if (batch, count) != (images, scored) {
            let reason = format!("{batch} × {count} boxes do not fit {images} × {scored} scores");
            return Err(EvalError::value(reason));
        }
        let most = cx.integers(2)?.and_then(|most| most.first().copied()).unwrap_or(0).max(0);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let (overlap, least) = (float(cx, 3)?.unwrap_or(0.0), float(cx, 4)?);
        let is_centred = cx.attrs.int_or("center_point_box", 0) != 0;
        let (boxes, scores) = (boxes.elements::<f32>()?, scores.elements::<f32>()?);
        let mut found: Vec<i64> = Vec::new();
        for row in 0..batch * classes {
            let (image, class) = (row / classes, row % classes);
            let score = |at: &usize| scores[row * count + at];
            let mut order: Vec<usize> =
                (0..count).filter(|at| least.is_none_or(|least| score(at) > least)).collect();
            order.sort_by(|a, b| score(b).total_cmp(&score(a)).then(a.cmp(b)));
            let mut chosen: Vec<Rectangle> = Vec::new();
            for at in order {
                if chosen.len() >= most {
                    break;
                }
                let candidate = Rectangle::read(&boxes[(image * count + at) * 4..][..4], is_centred);
                if !chosen.iter().any(|other| candidate.overlaps(*other, overlap)) {
                    chosen.push(candidate);
                    found.extend([image as i64, class as i64, at as i64]);
                }
            }
        }
        one(Tensor::from_vec(vec![found.len() / 3, 3], found)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{refusal, run, run_all, t};
    use fusebox_ir::Attrs;

    fn boxes() -> Tensor {
        t(&[1, 3, 4], &[0f32, 0., 1., 1., 1., 0.9, 0., -0.1, 5., 5., 6., 6.])
    }

    #[test]
    fn overlapping_boxes_lose_to_better_ones() {
        let scores = t(&[1, 1, 3], &[0.8f32, 0.9, 0.1]);
        let run = |most: i64, overlap: f32, least: Option<f32>| {
            let limit = least.map(|least| t(&[1], &[least]));
            let inputs = [
                Some(boxes()),
                Some(scores.clone()),
                Some(t(&[1], &[most])),
                Some(t(&[1], &[overlap])),
                limit,
            ];
            run_all(&NonMaxSuppression, &Attrs::new(), &inputs, 1).unwrap().remove(0)
        };
        assert_eq!(run(3, 0.5, None), t(&[2, 3], &[0i64, 0, 1, 0, 0, 2]));
        assert_eq!(run(3, 0.5, Some(0.5)), t(&[1, 3], &[0i64, 0, 1]));
        assert_eq!(run(3, 0.9, None).shape(), [3, 3]);
        assert_eq!(run(1, 0.9, None).shape(), [1, 3]);
    }

    #[test]
    fn nothing_is_chosen_by_default() {
        let scores = t(&[1, 1, 3], &[0.8f32, 0.9, 0.1]);
        assert_eq!(run(&NonMaxSuppression, &Attrs::new(), &[boxes(), scores]).shape(), [0, 3]);
        let message = refusal(&NonMaxSuppression, &Attrs::new(), &[boxes(), t(&[1, 1, 2], &[0f32; 2])]);
        assert_eq!(message, "1 × 3 boxes do not fit 1 × 2 scores");
    }

    #[test]
    fn boxes_may_be_given_by_their_centres() {
        let boxes = t(&[1, 2, 4], &[0.5f32, 0.5, 1., 1., 0.5, 0.4, 1., 1.]);
        let inputs = [boxes, t(&[1, 1, 2], &[0.1f32, 0.2]), t(&[], &[5i64]), t(&[], &[0.5f32])];
        let found = run(&NonMaxSuppression, &Attrs::new().with("center_point_box", 1), &inputs);
        assert_eq!(found, t(&[1, 3], &[0i64, 0, 1]));
    }
}
