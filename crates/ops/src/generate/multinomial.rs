//! `Multinomial`: classes drawn by the unnormalised log-probabilities of each row.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Multinomial.html>. Drawn as the other random operators draw.

use super::source::Source;
use crate::attributes::{FLOAT, int};
use crate::inference::{FLOATS, expect};
use crate::movement::{cast, dtype_attr};
use crate::op::{Eval, Infer, Inferred, Op, Purity, Schema};
use crate::select::checked_count;
use crate::view::{one, to_f64};
use crate::{Datum, EvalError, InferError};
use fusebox_ir::{Attrs, DType, Dim, Tensor, TensorType};

static SCHEMA: Schema = Schema {
    purity: Purity::Random,
    ..Schema::onnx("Multinomial", &[7, 22], (1, 1), (1, 1)).with(&[
        ("dtype", int(6)),
        ("sample_size", int(1)),
        ("seed", FLOAT),
    ])
};

pub(crate) struct Multinomial;

fn options(attrs: &Attrs) -> Result<(usize, DType), InferError> {
    let wrong =
        |name: &str, expected: &str| InferError::Attribute { name: name.into(), expected: expected.into() };
    let count =
        usize::try_from(attrs.int_or("sample_size", 1)).map_err(|_| wrong("sample_size", "not negative"))?;
    let dtype = dtype_attr(attrs, "dtype")?.unwrap_or(DType::I32);
    match dtype {
        DType::I32 | DType::I64 => Ok((count, dtype)),
        _ => Err(wrong("dtype", "i32 or i64")),
    }
}

/// First class whose share of the running sum exceeds `at`.
fn draw(running: &[f64], at: f64) -> usize {
    running.partition_point(|sum| *sum <= at).min(running.len().saturating_sub(1))
}

impl Op for Multinomial {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        expect(cx, 0, FLOATS)?;
        let (count, dtype) = options(cx.attrs)?;
        let batch = cx.tensor(0).and_then(|ty| ty.shape.as_ref()?.first().cloned());
        let batch = batch.unwrap_or_else(|| (cx.fresh)());
        Ok(vec![TensorType::new(dtype, [batch, Dim::known(count as i64)]).into()])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let x = cx.tensor(0)?;
        let (count, dtype) = options(cx.attrs)?;
        let &[batch, classes] = x.shape() else {
            return Err(EvalError::value(format!(
                "the input must be [batch, classes], it is {:?}",
                x.shape()
            )));
        };
        let size = checked_count(DType::I64, &[batch, count])?;
        if classes == 0 && size > 0 {
            return Err(EvalError::value("there is no class to draw from"));
        }
        let (mut source, mut drawn) = (Source::new(cx.attrs), Vec::with_capacity(size));
        for row in to_f64(x)?.rows() {
            let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let add = |sum: &mut f64, log: &f64| {
                *sum += (log - largest).exp();
                Some(*sum)
            };
            let running: Vec<f64> = row.iter().scan(0.0, add).collect();
            let total = running.last().copied().unwrap_or(0.0);
            drawn.extend((0..count).map(|_| draw(&running, source.uniform() * total) as i64));
        }
        one(cast(&Tensor::from_vec(vec![batch, count], drawn)?, dtype)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{refusal, run, t};

    #[test]
    fn classes_are_drawn_by_their_chances() {
        let x = t(&[2, 3], &[0f32, f32::NEG_INFINITY, 3f32.ln(), f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY]);
        let drawn = run(&Multinomial, &Attrs::new().with("sample_size", 1000), std::slice::from_ref(&x));
        let drawn = drawn.elements::<i32>().unwrap();
        let count = |class: i32| drawn[..1000].iter().filter(|drawn| **drawn == class).count();
        assert_eq!(count(1), 0);
        assert!((200..300).contains(&count(0)), "{}", count(0));
        assert!(drawn[1000..].iter().all(|drawn| *drawn == 1));
        assert!(refusal(&Multinomial, &Attrs::new().with("dtype", 1), &[x]).contains("i32 or i64"));
    }
}
