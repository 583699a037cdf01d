//! `RandomNormal`, `RandomUniform` and their `…Like` forms: tensors of random numbers.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__RandomNormal.html>. ONNX fixes the distribution but not the numbers: the
//! reference draws them as NumPy does, seeded by the attribute `seed` (0 when absent), so that runs repeat.

use super::source::Source;
use crate::attributes::{Attributes, FLOAT, INT, INTS, float, int};
use crate::movement::{cast, dtype_attr};
use crate::op::{Eval, Infer, Inferred, Op, Purity, Schema};
use crate::select::checked_count;
use crate::sizes::unknown;
use crate::view::one;
use crate::{Datum, EvalError, InferError};
use fusebox_ir::{Attrs, DType, Dim, Tensor, TensorType};

const fn schema(name: &'static str, inputs: usize, attributes: Attributes) -> Schema {
    Schema { purity: Purity::Random, attributes, ..Schema::onnx(name, &[1, 22], (inputs, inputs), (1, 1)) }
}

static NORMAL: Schema = schema(
    "RandomNormal",
    0,
    &[("dtype", int(1)), ("mean", float(0.0)), ("scale", float(1.0)), ("seed", FLOAT), ("shape", INTS)],
);
static NORMAL_LIKE: Schema = schema(
    "RandomNormalLike",
    1,
    &[("dtype", INT), ("mean", float(0.0)), ("scale", float(1.0)), ("seed", FLOAT)],
);
static UNIFORM: Schema = schema(
    "RandomUniform",
    0,
    &[("dtype", int(1)), ("high", float(1.0)), ("low", float(0.0)), ("seed", FLOAT), ("shape", INTS)],
);
static UNIFORM_LIKE: Schema = schema(
    "RandomUniformLike",
    1,
    &[("dtype", INT), ("high", float(1.0)), ("low", float(0.0)), ("seed", FLOAT)],
);

/// One of the four.
pub(crate) struct Random {
    schema: &'static Schema,
    is_normal: bool,
}

/// Normal numbers of a given shape.
pub(crate) static RANDOM_NORMAL: Random = Random { schema: &NORMAL, is_normal: true };
/// Normal numbers of the shape of a tensor.
pub(crate) static RANDOM_NORMAL_LIKE: Random = Random { schema: &NORMAL_LIKE, is_normal: true };
/// Uniform numbers of a given shape.
pub(crate) static RANDOM_UNIFORM: Random = Random { schema: &UNIFORM, is_normal: false };
/// Uniform numbers of the shape of a tensor.
pub(crate) static RANDOM_UNIFORM_LIKE: Random = Random { schema: &UNIFORM_LIKE, is_normal: false };

impl Random {
    fn is_like(&self) -> bool {
        self.schema.inputs.0 == 1
    }
}

impl Op for Random {
    fn schema(&self) -> &'static Schema {
        self.schema
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let given = dtype_attr(cx.attrs, "dtype")?;
        if !self.is_like() {
            let shape = shape(cx.attrs)?;
            let dims = shape.iter().map(|size| Dim::known(*size as i64));
            return Ok(vec![TensorType::new(given.unwrap_or(DType::F32), dims).into()]);
        }
        let Some(x) = cx.tensor(0) else { return Ok(unknown(cx)) };
        Ok(vec![TensorType { dtype: given.unwrap_or(x.dtype), shape: x.shape.clone() }.into()])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let given = dtype_attr(cx.attrs, "dtype")?;
        let (shape, dtype) = if self.is_like() {
            let x = cx.tensor(0)?;
            (x.shape().to_vec(), given.unwrap_or(x.dtype()))
        } else {
            (shape(cx.attrs)?, given.unwrap_or(DType::F32))
        };
        let count = checked_count(DType::F64, &shape)?;
        let mut source = Source::new(cx.attrs);
        let value = |name: &str, default: f32| f64::from(cx.attrs.float_or(name, default));
        let values: Vec<f64> = if self.is_normal {
            let (mean, scale) = (value("mean", 0.0), value("scale", 1.0));
            (0..count).map(|_| mean + scale * source.normal()).collect()
        } else {
            let (low, high) = (value("low", 0.0), value("high", 1.0));
            (0..count).map(|_| low + (high - low) * source.uniform()).collect()
        };
        one(cast(&Tensor::from_vec(shape, values)?, dtype)?)
    }
}

fn shape(attrs: &Attrs) -> Result<Vec<usize>, InferError> {
    let wrong =
        || InferError::Attribute { name: "shape".into(), expected: "sizes that are not negative".into() };
    let sizes = attrs.ints("shape").ok_or_else(wrong)?;
    sizes.iter().map(|size| usize::try_from(*size).map_err(|_| wrong())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{refusal, run, t};

    #[test]
    fn moments_are_as_asked() {
        let attrs = Attrs::new().with("shape", vec![100, 100]).with("mean", 3f32).with("scale", 2f32);
        let values = run(&RANDOM_NORMAL, &attrs, &[]).floats().unwrap();
        let mean = values.iter().sum::<f64>() / 1e4;
        let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 1e4;
        assert!((mean - 3.0).abs() < 0.1 && (variance - 4.0).abs() < 0.2, "{mean} {variance}");
        let attrs = Attrs::new().with("low", -1f32).with("high", 1f32).with("seed", 7f32);
        let x = t(&[1000], &[0f32; 1000]);
        let values = run(&RANDOM_UNIFORM_LIKE, &attrs, std::slice::from_ref(&x));
        assert_eq!(values, run(&RANDOM_UNIFORM_LIKE, &attrs, &[x]));
        let values = values.floats().unwrap();
        assert!(values.iter().all(|x| (-1.0..1.0).contains(x)) && values.iter().sum::<f64>().abs() < 100.0);
    }

    #[test]
    fn types_follow_the_input_or_the_attribute() {
        let half = t(&[2], &[half::f16::ONE; 2]);
        assert_eq!(run(&RANDOM_NORMAL_LIKE, &Attrs::new(), &[half]).dtype(), DType::F16);
        let absurd = Attrs::new().with("shape", vec![1 << 40]);
        assert!(refusal(&RANDOM_UNIFORM, &absurd, &[]).contains("more than 16 GiB"));
        assert!(refusal(&RANDOM_UNIFORM, &Attrs::new(), &[]).contains("\"shape\""));
    }
}
