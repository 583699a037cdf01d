//! `DFT`: the discrete Fourier transform along an axis; the last axis holds real, or real and imaginary parts.
//!
//! `onesided` keeps the bins that a real signal determines; with `inverse` it reads those and gives the real signal.
//! The axis was an attribute until opset 19. Spec: <https://onnx.ai/onnx/operators/onnx__DFT.html>.

use super::fourier::{Complex, transform};
use super::{integer, size};
use crate::attributes::int;
use crate::forms::{constant_integers, set_constant, set_input};
use crate::inference::{FLOATS, expect};
use crate::op::{Edit, Eval, Infer, Inferred, Op, Schema};
use crate::select::checked_count;
use crate::sizes::unknown;
use crate::versions::{exists, refuse};
use crate::view::{from_f64, one, to_f64};
use crate::{Datum, EvalError, InferError, Shapes, VersionError, axis};
use fusebox_ir::{DType, Dim, Shape, Tensor, TensorType};
use ndarray::{Array, ArrayD, Axis, IxDyn};

static SCHEMA: Schema =
    Schema::onnx("DFT", &[17, 20], (1, 3), (1, 1)).with(&[("inverse", int(0)), ("onesided", int(0))]);

pub(crate) struct Dft;

/// Transform of every lane along `at` of `[…, 1 or 2]`, padded with zeros or cut to `length`.
///
/// # Errors
/// When the last axis is neither 1 nor 2 long.
pub(super) fn along(
    x: &ArrayD<f64>,
    at: usize,
    length: usize,
    inverse: bool,
    onesided: bool,
) -> Result<ArrayD<f64>, EvalError> {
    let last = x.ndim() - 1;
    let parts = x.shape()[last];
    if parts != 1 && parts != 2 {
        let reason = format!("the last axis must hold 1 or 2 parts of a number, it holds {parts}");
        return Err(EvalError::value(reason));
    }
    let restores = inverse && onesided;
    let bins = if onesided && !inverse { length / 2 + 1 } else { length };
    let mut shape = x.shape().to_vec();
    shape[at] = bins;
    shape[last] = if restores { 1 } else { 2 };
    checked_count(DType::F64, &shape)?;
    checked_count(DType::F64, &[length, 2])?;
    let mut result: ArrayD<f64> = Array::zeros(IxDyn(&shape));
    // Both arrays without the last axis: lanes of equal number belong together.
    let imaginary = (parts == 2).then(|| x.index_axis(Axis(last), 1));
    let real = x.index_axis(Axis(last), 0);
    let outputs = result.lanes_mut(Axis(at)).into_iter();
    let outputs: Vec<_> = outputs.collect();
    let per_lane = shape[last];
    let mut outputs = outputs.into_iter();
    let imaginary: Vec<_> = imaginary.iter().flat_map(|part| part.lanes(Axis(at))).collect();
    for (number, lane) in real.lanes(Axis(at)).into_iter().enumerate() {
        let value = |n: usize| -> Complex {
            let part = |lane: &ndarray::ArrayView1<'_, f64>| lane.get(n).copied().unwrap_or(0.0);
            (part(&lane), imaginary.get(number).map_or(0.0, part))
        };
        // The other half of a onesided spectrum is its mirror, conjugated.
        let mirrored = |n: usize| {
            if n <= length / 2 { value(n) } else { (value(length - n).0, -value(length - n).1) }
        };
        let signal: Vec<Complex> =
            (0..length).map(|n| if restores { mirrored(n) } else { value(n) }).collect();
        let scale = if inverse { 1.0 / length as f64 } else { 1.0 };
        let spectrum = transform(&signal, inverse);
        let of_part = [|c: &Complex| c.0, |c: &Complex| c.1];
        for part in of_part.iter().take(per_lane) {
            let Some(mut lane) = outputs.next() else { break };
            lane.iter_mut().zip(&spectrum).for_each(|(slot, bin)| *slot = part(bin) * scale);
        }
    }
    Ok(result)
}

/// Axis of a signal of rank `rank`; the last axis holds parts of numbers.
fn signal_axis(given: i64, rank: usize) -> Result<usize, InferError> {
    let at = axis::normalize(given, rank)?;
    if at + 1 == rank {
        return Err(InferError::shape(format!("axis {given} is that of the real and imaginary parts")));
    }
    Ok(at)
}

/// Type when the axis is known at run time only: which size changes is open, the number of parts is not.
fn along_unknown(cx: &Infer<'_>, dtype: DType, shape: &Shape) -> TensorType {
    let onesided = cx.attrs.int_or("onesided", 0) != 0;
    let parts = if onesided && cx.attrs.int_or("inverse", 0) != 0 { 1 } else { 2 };
    let changes = onesided || cx.input(1).is_some();
    let signal = &shape[..shape.len().saturating_sub(1)];
    let size = |dim: &Dim| if changes { (cx.fresh)() } else { dim.clone() };
    TensorType::new(dtype, signal.iter().map(size).chain([Dim::known(parts)]))
}

impl Op for Dft {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        expect(cx, 0, FLOATS)?;
        let Some(x) = cx.tensor(0) else { return Ok(unknown(cx)) };
        let at =
            if cx.input(2).is_some() { cx.integers(2).and_then(|a| a.first().copied()) } else { Some(-2) };
        let Some(shape) = &x.shape else { return Ok(vec![TensorType::unranked(x.dtype).into()]) };
        let Some(at) = at else { return Ok(vec![along_unknown(cx, x.dtype, shape).into()]) };
        let at = signal_axis(at, shape.len())?;
        let inverse = cx.attrs.int_or("inverse", 0) != 0;
        let onesided = cx.attrs.int_or("onesided", 0) != 0;
        let (one, two) = (Dim::known(1), Dim::known(2));
        let length = if cx.input(1).is_some() {
            cx.dims(1).and_then(|dims| dims.first().cloned()).unwrap_or_else(|| (cx.fresh)())
        } else if inverse && onesided {
            shape[at].sub(&one).mul(&two)
        } else {
            shape[at].clone()
        };
        let mut result = shape.clone();
        result[at] = if onesided && !inverse { length.floor_div(&two).add(&one) } else { length };
        result[shape.len() - 1] = if onesided && inverse { one } else { two };
        Ok(vec![TensorType { dtype: x.dtype, shape: Some(result) }.into()])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let x = cx.tensor(0)?;
        let at = signal_axis(integer(cx, 2)?.unwrap_or(-2), x.shape().len())?;
        let inverse = cx.attrs.int_or("inverse", 0) != 0;
        let onesided = cx.attrs.int_or("onesided", 0) != 0;
        let length = match cx.optional(1)? {
            Some(_) => size(cx, 1, "dft_length", 1)?,
            None if inverse && onesided => 2 * x.shape()[at].saturating_sub(1),
            None => x.shape()[at],
        };
        one(from_f64(x.dtype(), &along(&to_f64(x)?, at, length, inverse, onesided)?)?)
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        let elements = shapes.output_elements(0);
        5.0 * elements * elements.max(2.0).log2()
    }

    fn upgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        if edit.opset < 20 {
            let at = edit.node().attrs.int_or("axis", 1);
            edit.node().attrs.remove("axis");
            set_constant(edit, 2, Tensor::scalar(at));
        }
        Ok(())
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        exists(self, edit)?;
        if edit.opset >= 20 {
            return Ok(());
        }
        let attrs = &edit.node().attrs;
        if attrs.int_or("inverse", 0) != 0 && attrs.int_or("onesided", 0) != 0 {
            return Err(refuse(edit, "the inverse of a onesided spectrum came with opset 20"));
        }
        let at = match edit.node().input(2) {
            None => -2,
            Some(_) => match constant_integers(edit, 2).as_deref() {
                Some([at]) => *at,
                _ => return Err(refuse(edit, "its axis must be constant there")),
            },
        };
        set_input(edit, 2, None);
        edit.node().attrs.set("axis", at);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, from_fn, refusal, run, run_all, t};
    use crate::forms::testing::{downgraded, input_ints, upgraded};
    use fusebox_ir::Attrs;

    #[test]
    fn a_signal_and_its_spectrum() {
        let x = t(&[1, 4, 1], &[1f32, 2.0, 3.0, 4.0]);
        let spectrum = run(&Dft, &Attrs::new(), std::slice::from_ref(&x));
        close(&spectrum, &[10., 0., -2., 2., -2., 0., -2., -2.]);
        let half = run(&Dft, &Attrs::new().with("onesided", 1), std::slice::from_ref(&x));
        assert_eq!(half.shape(), [1, 3, 2]);
        let inverse = Attrs::new().with("inverse", 1);
        close(&run(&Dft, &inverse, &[spectrum]), &[1., 0., 2., 0., 3., 0., 4., 0.]);
        let restored = run(&Dft, &inverse.with("onesided", 1), &[half]);
        assert_eq!(restored.shape(), [1, 4, 1]);
        close(&restored, &[1., 2., 3., 4.]);
    }

    #[test]
    fn lanes_along_any_axis_keep_their_parts() {
        let x = from_fn(&[3, 2, 2], |i| i as f32);
        let inputs = [Some(x.clone()), None, Some(t(&[], &[0i64]))];
        let along_first = run_all(&Dft, &Attrs::new(), &inputs, 1).unwrap().remove(0);
        assert_eq!(along_first.shape(), [3, 2, 2]);
        close(
            &run(
                &Dft,
                &Attrs::new().with("inverse", 1),
                &[along_first.clone(), t(&[], &[3i64]), t(&[], &[0i64])],
            ),
            &x.floats().unwrap(),
        );
        // The zeroth bin is the sum over the axis.
        close(
            &along_first,
            &[
                12.,
                15.,
                18.,
                21.,
                -6. - 3.4641016151377544,
                -6. + 3.4641016151377544,
                -6. - 3.4641016151377544,
                -6. + 3.4641016151377544,
                -6. + 3.4641016151377544,
                -6. - 3.4641016151377544,
                -6. + 3.4641016151377544,
                -6. - 3.4641016151377544,
            ],
        );
        let cut = run(&Dft, &Attrs::new(), &[t(&[1, 4, 1], &[1f32, 2.0, 3.0, 4.0]), t(&[], &[2i64])]);
        close(&cut, &[3., 0., -1., 0.]);
        let message = refusal(&Dft, &Attrs::new(), &[x, t(&[], &[3i64]), t(&[], &[-1i64])]);
        assert!(message.contains("is that of the real and imaginary parts"), "{message}");
    }

    #[test]
    fn the_axis_moves_between_attribute_and_input() {
        let x = t(&[1, 4, 1], &[0f32; 4]);
        let (graph, node) = upgraded(&Dft, Attrs::new(), std::slice::from_ref(&x), 17).unwrap();
        assert_eq!(input_ints(&graph, node, 2), Some(vec![1]));
        let (graph, node) =
            downgraded(&Dft, Attrs::new(), &[x.clone(), t(&[], &[4i64]), t(&[], &[1i64])], 17).unwrap();
        assert_eq!((graph.node(node).attrs.int("axis"), graph.node(node).inputs.len()), (Some(1), 2));
        assert!(downgraded(&Dft, Attrs::new(), &[x], 16).is_err());
    }
}
