//! `Unique`: the different elements, or the different slices along an axis, with where they were first seen, which of
//! them each input is, and how often each occurs.
//!
//! Sorted as NumPy sorts: NaN last and equal to itself, complex numbers by real part first.
//! Spec: <https://onnx.ai/onnx/operators/onnx__Unique.html>.

use crate::attributes::{INT, int};
use crate::op::{Edit, Eval, Infer, Inferred, Op, Schema};
use crate::select::{select, span};
use crate::sizes::unknown;
use crate::versions::{exists, input_type, refuse};
use crate::view::dispatch;
use crate::{Datum, EvalError, InferError, VersionError, axis};
use fusebox_ir::tensor::Element;
use fusebox_ir::{Attr, DType, Tensor, TensorType};
use std::cmp::Ordering;

static SCHEMA: Schema =
    Schema::onnx("Unique", &[11, 28], (1, 1), (1, 4)).with(&[("axis", INT), ("sorted", int(1))]);

pub(crate) struct Unique;

/// Order of two elements.
type Compare<'a> = Box<dyn Fn(usize, usize) -> Ordering + 'a>;

fn order<T: PartialOrd>(a: &T, b: &T) -> Ordering {
    // Only NaN is not equal to itself.
    a.partial_cmp(b).unwrap_or_else(|| (a.partial_cmp(a).is_none()).cmp(&b.partial_cmp(b).is_none()))
}

fn numbers<'a, T: Element + PartialOrd>(x: &'a Tensor, parts: usize) -> Result<Compare<'a>, EvalError> {
    let elements: Vec<T> = match x.dtype() {
        dtype if dtype == T::DTYPE => x.elements::<T>()?.into_owned(),
        _ => bytemuck::pod_collect_to_vec(x.data()),
    };
    let part = move |a: usize, b: usize| {
        let pairs = (0..parts).map(|part| order(&elements[a * parts + part], &elements[b * parts + part]));
        pairs.fold(Ordering::Equal, Ordering::then)
    };
    Ok(Box::new(part))
}

fn compare(x: &Tensor) -> Result<Compare<'_>, EvalError> {
    match x.dtype() {
        DType::String => {
            let strings = x.strings().unwrap_or(&[]);
            Ok(Box::new(|a, b| strings[a].cmp(&strings[b])))
        }
        DType::Bool => numbers::<u8>(x, 1),
        DType::C64 => numbers::<f32>(x, 2),
        DType::C128 => numbers::<f64>(x, 2),
        dtype => dispatch!(numbers, dtype, T => numbers::<T>(x, 1)),
    }
}

/// What is unique: `count` things of `length` elements; element `i` of thing `n` lies at
/// `(i / inner) * outer_step + n * inner + i % inner`.
struct Things {
    count: usize,
    length: usize,
    inner: usize,
    outer_step: usize,
}

impl Things {
    fn position(&self, thing: usize, element: usize) -> usize {
        element / self.inner * self.outer_step + thing * self.inner + element % self.inner
    }
}

fn vector(values: impl Iterator<Item = usize>) -> Datum {
    Tensor::vector(values.map(|value| value as i64).collect::<Vec<i64>>()).into()
}

fn given_axis(attrs: &fusebox_ir::Attrs, rank: usize) -> Result<Option<usize>, InferError> {
    match attrs.get("axis") {
        Some(Attr::Int(at)) => axis::normalize(*at, rank).map(Some),
        _ => Ok(None),
    }
}

impl Op for Unique {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let Some(x) = cx.tensor(0) else { return Ok(unknown(cx)) };
        let found = (cx.fresh)();
        let integers = |dims: [fusebox_ir::Dim; 1]| Inferred::from(TensorType::new(DType::I64, dims));
        let (first, inputs) = match &x.shape {
            Some(shape) => match given_axis(cx.attrs, shape.len())? {
                Some(at) => {
                    let mut result = shape.clone();
                    result[at] = found.clone();
                    (TensorType { dtype: x.dtype, shape: Some(result) }, shape[at].clone())
                }
                None => {
                    (TensorType::new(x.dtype, [found.clone()]), x.elements().unwrap_or_else(|| (cx.fresh)()))
                }
            },
            None if cx.attrs.get("axis").is_some() => (TensorType::unranked(x.dtype), (cx.fresh)()),
            None => (TensorType::new(x.dtype, [found.clone()]), (cx.fresh)()),
        };
        let all = [first.into(), integers([found.clone()]), integers([inputs]), integers([found])];
        Ok(all.into_iter().take(cx.outputs).collect())
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let x = cx.tensor(0)?;
        let at = given_axis(cx.attrs, x.shape().len())?;
        let things = match at {
            None => Things { count: x.len(), length: 1, inner: 1, outer_step: 1 },
            Some(at) => {
                let (count, inner) = (x.shape()[at], span(&x.shape()[at + 1..]));
                let length = span(&x.shape()[..at]).saturating_mul(inner);
                Things { count, length, inner: inner.max(1), outer_step: count.saturating_mul(inner) }
            }
        };
        let elements = compare(x)?;
        let compare = |a: &usize, b: &usize| {
            let pairs = (0..things.length).map(|i| elements(things.position(*a, i), things.position(*b, i)));
            pairs.fold(Ordering::Equal, Ordering::then)
        };
        let mut sorted: Vec<usize> = (0..things.count).collect();
        sorted.sort_by(|a, b| compare(a, b).then(a.cmp(b)));
        // Runs of equal things: the first of each is the one seen first.
        let runs: Vec<&[usize]> = sorted.chunk_by(|a, b| compare(a, b) == Ordering::Equal).collect();
        let mut order: Vec<usize> = (0..runs.len()).collect();
        if cx.attrs.int_or("sorted", 1) == 0 {
            order.sort_by_key(|run| runs[*run][0]);
        }
        let mut inverse = vec![0usize; things.count];
        for (place, run) in order.iter().enumerate() {
            runs[*run].iter().for_each(|thing| inverse[*thing] = place);
        }
        let firsts = || order.iter().map(|run| runs[*run][0]);
        let mut shape = at.map_or(vec![0], |_| x.shape().to_vec());
        shape[at.unwrap_or(0)] = runs.len();
        let chosen: Vec<usize> = firsts().collect();
        let outer = things.length / things.inner;
        let places = (0..outer).flat_map(|block| {
            let things = &things;
            let within = move |thing: &usize| {
                let thing = *thing;
                (0..things.inner).map(move |i| things.position(thing, block * things.inner + i))
            };
            chosen.iter().flat_map(within)
        });
        let y = select(x, shape, places)?;
        let counts = vector(order.iter().map(|run| runs[*run].len()));
        Ok(vec![y.into(), vector(firsts()), vector(inverse.into_iter()), counts])
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        exists(self, edit)?;
        if edit.opset < 28 && input_type(edit, 0).tensor().is_some_and(|ty| ty.dtype == DType::BF16) {
            return Err(refuse(edit, "bf16 came with opset 28"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{run, run_all, t};
    use fusebox_ir::Attrs;

    fn all(attrs: &Attrs, x: Tensor) -> Vec<Tensor> {
        run_all(&Unique, attrs, &[Some(x)], 4).unwrap()
    }

    #[test]
    fn elements_sorted_or_as_they_come() {
        let x = t(&[6], &[2f32, 1.0, 1.0, 3.0, 4.0, 3.0]);
        let found = all(&Attrs::new().with("sorted", 0), x.clone());
        assert_eq!(found[0], t(&[4], &[2f32, 1.0, 3.0, 4.0]));
        assert_eq!(found[1], t(&[4], &[0i64, 1, 3, 4]));
        assert_eq!(found[2], t(&[6], &[0i64, 1, 1, 2, 3, 2]));
        assert_eq!(found[3], t(&[4], &[1i64, 2, 2, 1]));
        let found = all(&Attrs::new(), x);
        assert_eq!((&found[0], &found[1]), (&t(&[4], &[1f32, 2.0, 3.0, 4.0]), &t(&[4], &[1i64, 0, 3, 4])));
    }

    #[test]
    fn slices_along_an_axis() {
        let x = t(&[2, 4, 2], &[1f32, 1., 0., 1., 2., 1., 0., 1., 1., 1., 0., 1., 2., 1., 0., 1.]);
        let found = all(&Attrs::new().with("axis", 1), x);
        assert_eq!(found[0], t(&[2, 3, 2], &[0f32, 1., 1., 1., 2., 1., 0., 1., 1., 1., 2., 1.]));
        assert_eq!(found[1], t(&[3], &[1i64, 0, 2]));
        assert_eq!(found[2], t(&[4], &[1i64, 0, 2, 0]));
        assert_eq!(found[3], t(&[3], &[2i64, 1, 1]));
        assert_eq!(all(&Attrs::new().with("axis", 0), t(&[2, 0], &[0f32; 0]))[0].shape(), [1, 0]);
    }

    #[test]
    fn other_elements() {
        let nan = run(&Unique, &Attrs::new(), &[t(&[3], &[f32::NAN, 1.0, f32::NAN])]);
        assert_eq!(nan.len(), 2);
        let strings =
            Tensor::from_strings(vec![3], ["b", "a", "b"].map(|s| s.as_bytes().to_vec()).into()).unwrap();
        assert_eq!(run(&Unique, &Attrs::new(), &[strings]).strings().unwrap(), [b"a", b"b"]);
        let bools = Tensor::from_bools(vec![3], [true, false, true]).unwrap();
        assert_eq!(run(&Unique, &Attrs::new(), &[bools]).data().as_ref(), [0, 1]);
        let complex = t(&[4], &[1f32, 2.0, 1.0, -2.0]);
        let complex = Tensor::from_bytes(DType::C64, vec![2], complex.data().clone()).unwrap();
        let sorted = run(&Unique, &Attrs::new(), &[complex]);
        assert_eq!(bytemuck::pod_collect_to_vec::<u8, f32>(sorted.data()), [1.0, -2.0, 1.0, 2.0]);
    }
}
