//! `QuantizeLinear`: `saturate(round(x/scale) + zero_point)`, halves to even, per tensor, axis or block.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html>. The division is done in the type of the scale. Small
//! floats round as in Cast.

use super::affine::{Granularity, check_quantized, packed, range, zero_points};
use crate::attributes::int;
use crate::forms::{drop_int, existed, inexpressible};
use crate::minifloat::{self, Rounding};
use crate::movement::{cast, dtype_attr};
use crate::op::{Edit, Eval, Infer, Inferred, Op, Schema};
use crate::view::one;
use crate::{Datum, EvalError, InferError, VersionError};
use fusebox_ir::{Attrs, DType, TensorType, Type, ValueId};

static SCHEMA: Schema = Schema::onnx("QuantizeLinear", &[10, 13, 19, 21, 23, 24, 25, 28], (2, 3), (1, 1))
    .with(&[
        ("axis", int(1)),
        ("block_size", int(0)),
        ("output_dtype", int(0)),
        ("precision", int(0)),
        ("saturate", int(1)),
    ]);

pub(crate) struct QuantizeLinear;

impl Op for QuantizeLinear {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let given = optional_dtype(cx.attrs, "output_dtype")?;
        let dtype = match cx.input(2) {
            Some(zero) => zero.ty.tensor().map(|ty| ty.dtype).or(given),
            None => Some(given.unwrap_or(DType::U8)),
        };
        let Some(dtype) = dtype else { return Ok(vec![Inferred::default(); cx.outputs]) };
        check_quantized(dtype, 2)?;
        let shape = cx.tensor(0).and_then(|ty| ty.shape.clone());
        Ok(vec![TensorType { dtype, shape }.into()])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let (x, scale, zero) = (cx.tensor(0)?, cx.tensor(1)?, cx.optional(2)?);
        let given = optional_dtype(cx.attrs, "output_dtype")?;
        let to = zero.map_or(given.unwrap_or(DType::U8), fusebox_ir::Tensor::dtype);
        let (axis, block) = (cx.attrs.int_or("axis", 1), cx.attrs.int_or("block_size", 0));
        let granularity = Granularity::new(x.shape(), scale.shape(), axis, block)?;
        let zeros = zero_points(zero, scale)?;
        let precision = optional_dtype(cx.attrs, "precision")?.unwrap_or(scale.dtype());
        let (values, scales) = (cast(x, DType::F32)?, cast(scale, DType::F32)?);
        let (values, scales) = (values.elements::<f32>()?, scales.elements::<f32>()?);
        let saturate = cx.attrs.int_or("saturate", 1) != 0;
        let code = coder(to, Rounding { saturate, ..Rounding::default() })?;
        let quantize = |(place, value): (usize, &f32)| {
            let param = granularity.param(place);
            let ratio = value / scales[param];
            let ratio = match precision {
                DType::F16 => half::f16::from_f32(ratio).to_f32(),
                DType::BF16 => half::bf16::from_f32(ratio).to_f32(),
                _ => ratio,
            };
            code(ratio, zeros[param])
        };
        let quantized: Vec<i32> = values.iter().enumerate().map(quantize).collect();
        one(packed(to, x.shape().to_vec(), &quantized)?)
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        existed(&SCHEMA, edit)?;
        check_form(&SCHEMA, edit)?;
        if edit.opset < 23 {
            drop_int(&SCHEMA, edit, "precision", 0)?;
        }
        if edit.opset < 21 {
            drop_output_type(edit)?;
        }
        if edit.opset < 19 { drop_int(&SCHEMA, edit, "saturate", 1) } else { Ok(()) }
    }
}

/// Gives the code of a real that is already divided by its scale, and of its zero point.
fn coder(to: DType, rounding: Rounding) -> Result<impl Fn(f32, f64) -> i32, EvalError> {
    let bounds = range(to);
    if bounds.is_none() && !minifloat::is_small_float(to) {
        return Err(EvalError::unsupported(format!("quantization to {to}")));
    }
    Ok(move |ratio: f32, zero: f64| match bounds {
        // f64 holds every i32 zero point, and `as` maps NaN to 0 before the range is applied.
        Some((lo, hi)) => {
            (f64::from(ratio.round_ties_even()) + zero).clamp(f64::from(lo), f64::from(hi)) as i32
        }
        None => minifloat::encode(to, f64::from(ratio) + zero, rounding).map_or(0, i32::from),
    })
}

/// A type attribute whose 0 means that it is not given.
pub(super) fn optional_dtype(attrs: &Attrs, name: &str) -> Result<Option<DType>, InferError> {
    if attrs.int(name) == Some(0) { Ok(None) } else { dtype_attr(attrs, name) }
}

/// The attribute may go where the zero point says the same.
fn drop_output_type(edit: &mut Edit<'_>) -> Result<(), VersionError> {
    let given = optional_dtype(&edit.node().attrs, "output_dtype")?;
    let zero = edit.node().input(2).and_then(|value| edit.graph.value(value).ty.tensor().map(|ty| ty.dtype));
    let is_implied = match given {
        None => true,
        Some(dtype) => dtype == zero.unwrap_or(DType::U8),
    };
    if !is_implied {
        return Err(inexpressible(
            &SCHEMA,
            edit,
            "output_dtype does not exist there and no zero point gives it",
        ));
    }
    edit.node().attrs.remove("output_dtype");
    Ok(())
}

/// What both quantization operators lack in old opsets: blocks and codes of 4 and 16 bits before 21, an axis before 13.
pub(super) fn check_form(schema: &'static Schema, edit: &mut Edit<'_>) -> Result<(), VersionError> {
    if edit.opset < 21 {
        drop_int(schema, edit, "block_size", 0)?;
        // Codes are the first input of one operator, the output and the zero point of the other.
        let node = edit.node();
        let ends = [node.input(0), node.input(2), node.output(0)];
        let is_new = |value: &ValueId| {
            let dtype = edit.graph.value(*value).ty.tensor().map(|ty| ty.dtype);
            dtype.is_some_and(|dtype| !dtype.is_float() && matches!(dtype.bits(), 2 | 4 | 16))
        };
        if ends.iter().flatten().any(is_new) {
            return Err(inexpressible(schema, edit, "codes of 2, 4 and 16 bits do not exist there"));
        }
    }
    if edit.opset < 13 {
        let scale = edit.node().input(1);
        let rank = scale.and_then(|value| match &edit.graph.value(value).ty {
            Type::Tensor(ty) => ty.rank(),
            _ => None,
        });
        if rank != Some(0) {
            return Err(inexpressible(schema, edit, "only scalar scales exist there"));
        }
        edit.node().attrs.remove("axis");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{refusal, run, t};
    use crate::forms::testing::downgraded;
    use fusebox_ir::Tensor;

    #[test]
    fn values_round_and_saturate() {
        let x = t(&[6], &[0f32, 1.0, 3.0, 5.0, 1000.0, -254.0]);
        let inputs = [x, Tensor::scalar(2f32), Tensor::scalar(128u8)];
        assert_eq!(run(&QuantizeLinear, &Attrs::new(), &inputs), t(&[6], &[128u8, 128, 130, 130, 255, 1]));
    }

    #[test]
    fn axes_and_small_types() {
        let x = t(&[2, 2], &[1f32, 2.0, 3.0, 40.0]);
        let rows = Attrs::new().with("axis", 0);
        let inputs = [x.clone(), t(&[2], &[1f32, 10.0]), t(&[2], &[0i8, 1])];
        assert_eq!(run(&QuantizeLinear, &rows, &inputs), t(&[2, 2], &[1i8, 2, 1, 5]));
        let nibbles = Attrs::new().with("output_dtype", i64::from(DType::I4.to_onnx()));
        let result = run(&QuantizeLinear, &nibbles, &[x.clone(), Tensor::scalar(1f32)]);
        assert_eq!((result.dtype(), result.data().as_ref()), (DType::I4, &[0x21, 0x73][..]));
        assert!(refusal(&QuantizeLinear, &Attrs::new(), &[x, t(&[3], &[1f32; 3])]).contains("do not fit"));
    }

    #[test]
    fn small_floats() {
        let x = t(&[4], &[0.5f32, 100.0, -2000.0, 3.0]);
        let to = |dtype: DType| Attrs::new().with("output_dtype", i64::from(dtype.to_onnx()));
        let codes =
            |attrs: &Attrs| run(&QuantizeLinear, attrs, &[x.clone(), Tensor::scalar(2f32)]).data().to_vec();
        assert_eq!(codes(&to(DType::F8E4M3FN)), [0x28, 0x64, 0xfe, 0x3c]);
        assert_eq!(codes(&to(DType::F8E4M3FN).with("saturate", 0)), [0x28, 0x64, 0xff, 0x3c]);
        assert_eq!(codes(&to(DType::F4E2M1)), [0x70, 0x3f]);
    }

    #[test]
    fn forms_change() {
        let inputs = [t(&[2], &[1f32, 2.0]), t(&[2], &[1f32, 2.0])];
        assert!(downgraded(&QuantizeLinear, Attrs::new(), &inputs, 10).is_err());
        let attrs = Attrs::new().with("output_dtype", i64::from(DType::U8.to_onnx())).with("saturate", 1);
        let (graph, node) = downgraded(&QuantizeLinear, attrs, &inputs, 13).unwrap();
        assert!(graph.node(node).attrs.is_empty());
        let wide = [t(&[2], &[1f32, 2.0]), Tensor::scalar(1f32), Tensor::scalar(0i16)];
        assert!(downgraded(&QuantizeLinear, Attrs::new(), &wide, 20).is_err());
        assert!(downgraded(&QuantizeLinear, Attrs::new(), &wide, 21).is_ok());
    }
}
