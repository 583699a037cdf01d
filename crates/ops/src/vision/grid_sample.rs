//! `GridSample`: the input at places that a grid gives in -1..=1, between elements by interpolation.
//!
//! Places are computed in the precision of the grid, so that `nearest` rounds as every runtime does. Until opset 19 there
//! were two spatial axes and the modes were called bilinear and bicubic.
//! Spec: <https://onnx.ai/onnx/operators/onnx__GridSample.html>.

use crate::attributes::{int, text};
use crate::inference::{FLOATS, expect};
use crate::movement::cast;
use crate::op::{Edit, Eval, Infer, Inferred, Op, Schema};
use crate::select::{checked_count, pick, zero};
use crate::sizes::unknown;
use crate::versions::{exists, input_rank, refuse};
use crate::view::{from_f64, one, to_f64};
use crate::{Datum, EvalError, InferError, Shapes, VersionError};
use fusebox_ir::{Attrs, DType, Dim, TensorType};
use ndarray::{ArrayD, IxDyn};

static SCHEMA: Schema = Schema::onnx("GridSample", &[16, 20, 22], (2, 2), (1, 1)).with(&[
    ("align_corners", int(0)),
    ("mode", text("linear")),
    ("padding_mode", text("zeros")),
]);

pub(crate) struct GridSample;

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Nearest,
    Linear,
    Cubic,
}

#[derive(Clone, Copy, PartialEq)]
enum Padding {
    Zeros,
    Border,
    Reflection,
}

/// How one spatial axis is read.
#[derive(Clone, Copy)]
struct Axis {
    size: usize,
    align_corners: bool,
    padding: Padding,
}

fn read(attrs: &Attrs) -> Result<(Mode, Padding), InferError> {
    let wrong =
        |name: &str, expected: &str| InferError::Attribute { name: name.into(), expected: expected.into() };
    let mode = match attrs.str("mode").unwrap_or("linear") {
        "nearest" => Mode::Nearest,
        "linear" | "bilinear" => Mode::Linear,
        "cubic" | "bicubic" => Mode::Cubic,
        _ => return Err(wrong("mode", "linear, nearest or cubic")),
    };
    let padding = match attrs.str("padding_mode").unwrap_or("zeros") {
        "zeros" => Padding::Zeros,
        "border" => Padding::Border,
        "reflection" => Padding::Reflection,
        _ => return Err(wrong("padding_mode", "zeros, border or reflection")),
    };
    Ok((mode, padding))
}

/// Largest place that is told from others; beyond it everything is padding.
const FAR: f64 = 1e9;

impl Axis {
    /// First and last place that belongs to the axis.
    fn borders(self) -> (f64, f64) {
        let last = self.size as f64 - 1.0;
        if self.align_corners { (0.0, last) } else { (-0.5, last + 0.5) }
    }

    /// Place in elements of a place in -1..=1.
    fn place(self, at: f64, is_wide: bool) -> f64 {
        let size = self.size as f64;
        if is_wide {
            return if self.align_corners {
                (at + 1.0) / 2.0 * (size - 1.0)
            } else {
                ((at + 1.0) * size - 1.0) / 2.0
            };
        }
        let (at, size) = (at as f32, size as f32);
        f64::from(if self.align_corners {
            (at + 1.0) / 2.0 * (size - 1.0)
        } else {
            ((at + 1.0) * size - 1.0) / 2.0
        })
    }

    /// Moves a place outside the borders back, as the padding says.
    fn padded(self, place: f64) -> f64 {
        let (low, high) = self.borders();
        match self.padding {
            _ if (low..=high).contains(&place) => place,
            Padding::Zeros => place,
            Padding::Border => place.max(0.0).min(self.size as f64 - 1.0),
            Padding::Reflection => reflect(place, low, high),
        }
    }

    /// Element at an index, `None` in padding of zeros.
    fn element(self, index: i64) -> Option<usize> {
        let last = self.size as i64 - 1;
        let index = match self.padding {
            Padding::Zeros => index,
            Padding::Border => index.clamp(0, last.max(0)),
            Padding::Reflection => {
                let (low, high) = self.borders();
                reflect(index as f64, low, high) as i64
            }
        };
        usize::try_from(index).ok().filter(|index| *index < self.size)
    }

    /// Elements that a place is interpolated from, with their weights.
    fn taps(self, place: f64, mode: Mode) -> Vec<(Option<usize>, f64)> {
        let first = place.floor();
        let rest = place - first;
        let (start, weights) = match mode {
            Mode::Nearest => return vec![(self.element(place as i64), 1.0)],
            Mode::Linear => (0, vec![1.0 - rest, rest]),
            Mode::Cubic => (-1, cubic(rest).to_vec()),
        };
        let tap = |(offset, weight): (i64, f64)| (self.element(first as i64 + offset), weight);
        (start..).zip(weights).map(tap).collect()
    }
}

/// A place reflected at the borders until it lies between them.
fn reflect(place: f64, low: f64, high: f64) -> f64 {
    let range = high - low;
    if (low..=high).contains(&place) || range <= 0.0 {
        return place.max(low).min(high);
    }
    let beyond = if place < low { low - place } else { place - high };
    let turns = (beyond / range).trunc();
    let rest = beyond - turns * range;
    let comes_back_low = (place < low) == (turns % 2.0 == 0.0);
    if comes_back_low { low + rest } else { high - rest }
}

/// Weights of the four elements around a place that lies `x` past the second (Keys, a = -0.75).
fn cubic(x: f64) -> [f64; 4] {
    const A: f64 = -0.75;
    let near = |x: f64| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f64| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    [far(x + 1.0), near(x), near(1.0 - x), far(2.0 - x)]
}

/// Positions in a plane with the product of their weights; those in padding of zeros are left out.
fn positions(axes: &[Axis], places: &[f64], mode: Mode) -> Vec<(usize, f64)> {
    let mut found = vec![(0usize, 1f64)];
    for (axis, place) in axes.iter().zip(places) {
        let taps = axis.taps(*place, mode);
        let extend = |(at, weight): &(usize, f64)| {
            let (at, weight) = (*at, *weight);
            let tap = |(element, share): &(Option<usize>, f64)| {
                element.map(|element| (at * axis.size + element, weight * share))
            };
            taps.iter().filter_map(tap).collect::<Vec<_>>()
        };
        found = found.iter().flat_map(extend).collect();
    }
    found
}

/// Shape of the output.
fn output(x: &[usize], grid: &[usize]) -> Result<Vec<usize>, EvalError> {
    let rank = x.len().saturating_sub(2);
    let fits = rank > 0 && grid.len() == x.len() && grid[0] == x[0] && grid[grid.len() - 1] == rank;
    if !fits {
        let reason = format!("a grid of shape {grid:?} does not fit an input of shape {x:?}");
        return Err(EvalError::value(reason));
    }
    Ok(x[..2].iter().chain(&grid[1..=rank]).copied().collect())
}

impl Op for GridSample {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        read(cx.attrs)?;
        expect(cx, 1, FLOATS)?;
        let Some(x) = cx.tensor(0) else { return Ok(unknown(cx)) };
        let grid = cx.tensor(1).and_then(|ty| ty.shape.as_ref());
        let (Some(shape), Some(grid)) = (&x.shape, grid) else {
            return Ok(vec![TensorType::unranked(x.dtype).into()]);
        };
        if shape.len() < 3 || grid.len() != shape.len() {
            let reason = format!("a grid of shape {grid:?} does not fit an input of shape {shape:?}");
            return Err(InferError::shape(reason));
        }
        let dims: Vec<Dim> = shape[..2].iter().chain(&grid[1..grid.len() - 1]).cloned().collect();
        Ok(vec![TensorType::new(x.dtype, dims).into()])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let (x, grid) = (cx.tensor(0)?, cx.tensor(1)?);
        let (mode, padding) = read(cx.attrs)?;
        let shape = output(x.shape(), grid.shape())?;
        let count = checked_count(DType::F64, &shape)?;
        let align_corners = cx.attrs.int_or("align_corners", 0) != 0;
        let spatial = &x.shape()[2..];
        let axes: Vec<Axis> =
            spatial.iter().map(|size| Axis { size: *size, align_corners, padding }).collect();
        let is_wide = grid.dtype() == DType::F64;
        let grid: Vec<f64> = to_f64(grid)?.into_iter().collect();
        let (area, rank, channels) = (spatial.iter().product::<usize>(), spatial.len(), shape[1]);
        let pixels: usize = shape[2..].iter().product();
        let taps_at = |n: usize, pixel: usize| {
            let at = &grid[(n * pixels + pixel) * rank..][..rank];
            // The grid names the last axis first.
            let places = axes.iter().zip(at.iter().rev()).map(|(axis, at)| {
                let place = axis.place(*at, is_wide);
                let place = if mode == Mode::Nearest { place.round_ties_even() } else { place };
                axis.padded(if place.is_nan() { -FAR } else { place.clamp(-FAR, FAR) })
            });
            positions(&axes, &places.collect::<Vec<_>>(), mode)
        };
        let mut chosen = vec![(1usize, 0usize); if mode == Mode::Nearest { count } else { 0 }];
        let is_bool = x.dtype() == DType::Bool;
        let numbers = if is_bool { cast(x, DType::F64)? } else { x.clone() };
        let elements = if mode == Mode::Nearest { ArrayD::zeros(IxDyn(&[0])) } else { to_f64(&numbers)? };
        let elements: Vec<f64> = elements.into_iter().collect();
        let mut sums = vec![0f64; if mode == Mode::Nearest { 0 } else { count }];
        for n in 0..shape[0] {
            for pixel in 0..pixels {
                let taps = taps_at(n, pixel);
                for plane in n * channels..(n + 1) * channels {
                    let slot = plane * pixels + pixel;
                    match (mode, taps.first()) {
                        (Mode::Nearest, Some((at, _))) => chosen[slot] = (0, plane * area + at),
                        (Mode::Nearest, None) => {}
                        _ => sums[slot] = taps.iter().map(|(at, w)| w * elements[plane * area + at]).sum(),
                    }
                }
            }
        }
        if mode == Mode::Nearest {
            return one(pick(&[x, &zero(x.dtype())?], shape, chosen)?);
        }
        let sums = from_f64(numbers.dtype(), &ArrayD::from_shape_vec(IxDyn(&shape), sums)?)?;
        one(if is_bool { cast(&sums, DType::Bool)? } else { sums })
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        let rank = shapes.input(0).map_or(2, |sizes| sizes.len().saturating_sub(2));
        let taps =
            if shapes.attrs.str("mode").is_some_and(|mode| mode.contains("cubic")) { 4f64 } else { 2.0 };
        2.0 * taps.powi(rank as i32) * shapes.output_elements(0)
    }

    fn upgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        if edit.opset < 20 {
            rename(edit, &[("bilinear", "linear"), ("bicubic", "cubic")]);
        }
        Ok(())
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        exists(self, edit)?;
        if edit.opset < 20 {
            if input_rank(edit, 0) != Some(4) {
                return Err(refuse(edit, "inputs of other ranks than 4 came with opset 20"));
            }
            rename(edit, &[("linear", "bilinear"), ("cubic", "bicubic")]);
        }
        Ok(())
    }
}

fn rename(edit: &mut Edit<'_>, names: &[(&str, &str)]) {
    let attrs = &mut edit.node().attrs;
    let new = attrs.str("mode").and_then(|mode| names.iter().find(|(old, _)| *old == mode));
    if let Some((_, new)) = new {
        attrs.set("mode", *new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, from_fn, refusal, run, t};
    use crate::forms::testing::{downgraded, upgraded};
    use fusebox_ir::Tensor;

    fn sample(attrs: &Attrs, places: &[f32]) -> Tensor {
        let x = from_fn(&[1, 1, 4], |i| (i as f32 + 1.0).powi(2));
        run(&GridSample, attrs, &[x, t(&[1, places.len(), 1], places)])
    }

    #[test]
    fn modes_between_elements() {
        let aligned = Attrs::new().with("align_corners", 1);
        close(&sample(&aligned, &[-1.0, 0.0, 1.0]), &[1.0, 6.5, 16.0]);
        close(&sample(&aligned.clone().with("mode", "cubic"), &[0.0]), &[-0.09375 * 17.0 + 0.59375 * 13.0]);
        // Half way between elements 1 and 2, and between 0 and 1: the even one.
        close(&sample(&aligned.with("mode", "nearest"), &[0.0, -2.0 / 3.0]), &[9.0, 1.0]);
        close(&sample(&Attrs::new(), &[-0.75, 0.0]), &[1.0, 6.5]);
    }

    #[test]
    fn paddings_outside() {
        let at = [-1.0f32, 1.5];
        close(&sample(&Attrs::new(), &at), &[0.5, 0.0]);
        close(&sample(&Attrs::new().with("padding_mode", "border"), &at), &[1.0, 16.0]);
        close(&sample(&Attrs::new().with("padding_mode", "reflection"), &at), &[1.0, 12.5]);
        let nearest = Attrs::new().with("mode", "nearest");
        close(&sample(&nearest, &[f32::NAN, f32::INFINITY]), &[0.0, 0.0]);
        close(&sample(&nearest.with("padding_mode", "reflection"), &[-1.5]), &[4.0]);
    }

    #[test]
    fn planes_keep_the_order_of_the_grid() {
        let x = from_fn(&[1, 1, 2, 3], |i| i as f32);
        let grid = t(&[1, 1, 2, 2], &[1f32, -1., -1., 1.]);
        close(&run(&GridSample, &Attrs::new().with("align_corners", 1), &[x.clone(), grid]), &[2.0, 3.0]);
        let message = refusal(&GridSample, &Attrs::new(), &[x, t(&[1, 2, 2], &[0f32; 4])]);
        assert_eq!(message, "a grid of shape [1, 2, 2] does not fit an input of shape [1, 1, 2, 3]");
    }

    #[test]
    fn modes_were_named_for_two_axes() {
        let (x, grid) = (t(&[1, 1, 1, 1], &[1f32]), t(&[1, 1, 1, 2], &[0f32; 2]));
        let attrs = Attrs::new().with("mode", "bicubic");
        let (graph, node) = upgraded(&GridSample, attrs.clone(), &[x.clone(), grid.clone()], 16).unwrap();
        let newest = graph.node(node).attrs.clone();
        assert_eq!(newest.str("mode"), Some("cubic"));
        let (graph, node) = downgraded(&GridSample, newest, &[x, grid], 18).unwrap();
        assert_eq!(graph.node(node).attrs, attrs);
        let (x, grid) = (t(&[1, 1, 1], &[1f32]), t(&[1, 1, 1], &[0f32]));
        assert!(downgraded(&GridSample, attrs, &[x, grid], 18).is_err());
    }
}
