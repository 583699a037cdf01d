//! `MaxPool`: the largest element of every window, and where asked for its position in the whole input.
//!
//! Padding never wins. Spec: <https://onnx.ai/onnx/operators/onnx__MaxPool.html>.

use super::windows::{self, Windows};
use crate::attributes::{INTS, int, text};
use crate::inference::NUMBERS;
use crate::number::Number;
use crate::op::{Edit, Eval, Infer, Inferred, Op, QuantRole, Schema};
use crate::versions::refuse;
use crate::view::dispatch;
use crate::{Datum, EvalError, InferError, Shapes, VersionError};
use fusebox_ir::{DType, Tensor, Type};

static SCHEMA: Schema = Schema::onnx("MaxPool", &[1, 8, 10, 11, 12, 22], (1, 1), (1, 2)).with(&[
    ("auto_pad", text("NOTSET")),
    ("ceil_mode", int(0)),
    ("dilations", INTS),
    ("kernel_shape", INTS),
    ("pads", INTS),
    ("storage_order", int(0)),
    ("strides", INTS),
]);

pub(crate) struct MaxPool;

/// Position of the largest element, the first of equals.
fn best<T: Number>(plane: &[T], positions: &[usize]) -> Option<usize> {
    positions.iter().copied().reduce(|best, next| {
        let wins = plane[next] > plane[best] || (plane[next].nan() && !plane[best].nan());
        if wins { next } else { best }
    })
}

/// A position in a plane counted with the first spatial axis fastest.
fn column_major(mut position: usize, spatial: &[usize]) -> usize {
    let mut digits: Vec<usize> = Vec::with_capacity(spatial.len());
    for size in spatial.iter().rev() {
        digits.push(position % size);
        position /= size;
    }
    digits.iter().zip(spatial.iter().rev()).fold(0, |sum, (digit, size)| sum * size + digit)
}

impl Op for MaxPool {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let mut outputs = windows::infer(cx, NUMBERS)?;
        let indices = match &outputs[0].ty {
            Type::Tensor(ty) => {
                Type::from(fusebox_ir::TensorType { dtype: DType::I64, shape: ty.shape.clone() })
            }
            _ => Type::Unknown,
        };
        outputs.iter_mut().skip(1).for_each(|slot| slot.ty = indices.clone());
        Ok(outputs)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let x = cx.tensor(0)?;
        let windows = Windows::new(cx.attrs, x.shape())?;
        let by_column = cx.attrs.int_or("storage_order", 0) != 0;
        let (count, spatial) = (windows.planes * windows.pixels, &x.shape()[2..]);
        let mut indices = vec![0i64; count];
        let values = dispatch!(numbers, x.dtype(), T => {
            let elements = x.elements::<T>()?;
            let mut values = vec![T::from_f64(f64::NEG_INFINITY); count];
            windows.each(|window| {
                for plane in 0..windows.planes {
                    let source = &elements[plane * windows.area..][..windows.area];
                    let Some(position) = best(source, window.positions) else { continue };
                    let slot = plane * windows.pixels + window.pixel;
                    values[slot] = source[position];
                    let place = if by_column { column_major(position, spatial) } else { position };
                    indices[slot] = (plane * windows.area + place) as i64;
                }
            });
            Tensor::from_vec(windows.shape.clone(), values).map_err(EvalError::from)
        })?;
        Ok(vec![values.into(), Tensor::from_vec(windows.shape, indices)?.into()])
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        let taps: i64 = shapes.attrs.ints("kernel_shape").unwrap_or(&[1]).iter().product();
        taps as f64 * shapes.output_elements(0)
    }

    fn quant_role(&self) -> QuantRole {
        QuantRole::Moves
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        if edit.opset < 8 && edit.node().output(1).is_some() {
            return Err(refuse(edit, "positions came with opset 8"));
        }
        if edit.opset < 8 {
            edit.node().attrs.remove("storage_order");
        }
        windows::downgrade(edit, 10, 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{from_fn, run, run_all, t};
    use fusebox_ir::Attrs;

    #[test]
    fn takes_the_largest_and_its_position() {
        let x = from_fn(&[1, 1, 4, 4], |i| ((i * 7) % 16) as f32);
        let attrs = Attrs::new().with("kernel_shape", vec![2i64, 2]).with("strides", vec![2i64, 2]);
        let found = run_all(&MaxPool, &attrs, &[Some(x.clone())], 2).unwrap();
        assert_eq!(found[0], t(&[1, 1, 2, 2], &[12f32, 14.0, 15.0, 13.0]));
        assert_eq!(found[1], t(&[1, 1, 2, 2], &[4i64, 2, 9, 11]));
        let columns = attrs.with("storage_order", 1i64);
        let found = run_all(&MaxPool, &columns, &[Some(x)], 2).unwrap();
        assert_eq!(found[1], t(&[1, 1, 2, 2], &[1i64, 8, 6, 14]));
    }

    #[test]
    fn padding_never_wins() {
        let attrs = Attrs::new().with("kernel_shape", vec![3i64]).with("pads", vec![1i64, 1]);
        let result = run(&MaxPool, &attrs, &[t(&[1, 1, 3], &[-5f32, -1.0, -3.0])]);
        assert_eq!(result, t(&[1, 1, 3], &[-1f32, -1.0, -1.0]));
    }

    #[test]
    fn ceil_mode_and_dilation() {
        let x = from_fn(&[1, 1, 6], |i| i as f32);
        let ceil =
            Attrs::new().with("kernel_shape", vec![3i64]).with("strides", vec![2i64]).with("ceil_mode", 1i64);
        assert_eq!(run(&MaxPool, &ceil, std::slice::from_ref(&x)), t(&[1, 1, 3], &[2f32, 4.0, 5.0]));
        let dilated = Attrs::new().with("kernel_shape", vec![2i64]).with("dilations", vec![3i64]);
        assert_eq!(run(&MaxPool, &dilated, &[x]), t(&[1, 1, 3], &[3f32, 4.0, 5.0]));
    }
}
