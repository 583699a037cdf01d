//! `Cast`: converts elements to another type. Floats round to nearest even, integers wrap, floats to integers truncate and
//! saturate, anything but zero is true.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Cast.html>. Floats of eight bits and less follow [`crate::minifloat`]. Not
//! evaluated: complex numbers.

use crate::attributes::{INT, int, text};
use crate::forms::{drop_int, drop_str, inexpressible};
use crate::inference::elements;
use crate::minifloat::{self, RoundMode, Rounding, is_small_float};
use crate::number::Number;
use crate::op::{Edit, Eval, Infer, Inferred, Op, QuantRole, Schema};
use crate::sizes::is_index;
use crate::view::{dispatch, one};
use crate::{Datum, EvalError, InferError, VersionError};
use fusebox_ir::tensor::Element;
use fusebox_ir::{Attr, Attrs, DType, Tensor, TensorType};
use num_traits::AsPrimitive;

static SCHEMA: Schema = Schema::onnx("Cast", &[1, 6, 9, 13, 19, 21, 23, 24, 25, 28], (1, 1), (1, 1)).with(&[
    ("round_mode", text("up")),
    ("saturate", int(1)),
    ("to", INT),
]);

pub(crate) struct Cast;

impl Op for Cast {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        Ok(vec![retyped(cx, target(cx.attrs)?)])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        one(cast_rounding(cx.tensor(0)?, target(cx.attrs)?, rounding(cx.attrs)?)?)
    }

    fn quant_role(&self) -> QuantRole {
        QuantRole::Moves
    }

    fn upgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        if edit.opset < 6
            && let Some(name) = edit.node().attrs.str("to").map(str::to_ascii_uppercase)
        {
            let number = OLD_NAMES.iter().find(|row| row.0 == name).map(|row| row.1.to_onnx());
            let number =
                number.ok_or_else(|| inexpressible(&SCHEMA, edit, format!("type {name:?} is unknown")))?;
            edit.node().attrs.set("to", i64::from(number));
        }
        Ok(())
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        if edit.opset < 28 {
            drop_str(&SCHEMA, edit, "round_mode", "up")?;
        }
        if edit.opset < 19 {
            drop_int(&SCHEMA, edit, "saturate", 1)?;
        }
        if edit.opset < 13 && target(&edit.node().attrs)? == DType::BF16 {
            return Err(inexpressible(&SCHEMA, edit, "bf16 does not exist there"));
        }
        if edit.opset < 6 {
            return Err(inexpressible(&SCHEMA, edit, "that form names types by strings"));
        }
        Ok(())
    }
}

/// Names by which opsets before 6 spell types.
const OLD_NAMES: &[(&str, DType)] = &[
    ("FLOAT", DType::F32),
    ("DOUBLE", DType::F64),
    ("FLOAT16", DType::F16),
    ("INT8", DType::I8),
    ("INT16", DType::I16),
    ("INT32", DType::I32),
    ("INT64", DType::I64),
    ("UINT8", DType::U8),
    ("UINT16", DType::U16),
    ("UINT32", DType::U32),
    ("UINT64", DType::U64),
    ("BOOL", DType::Bool),
];

fn target(attrs: &Attrs) -> Result<DType, InferError> {
    dtype_attr(attrs, "to")?.ok_or_else(|| wrong_type("to"))
}

fn wrong_type(name: &str) -> InferError {
    InferError::Attribute { name: name.into(), expected: "the number of an element type".into() }
}

/// An attribute that holds an element type's number.
pub(crate) fn dtype_attr(attrs: &Attrs, name: &str) -> Result<Option<DType>, InferError> {
    match attrs.get(name) {
        None => Ok(None),
        Some(Attr::Int(number)) => {
            let dtype = i32::try_from(*number).ok().and_then(DType::from_onnx);
            dtype.map(Some).ok_or_else(|| wrong_type(name))
        }
        Some(_) => Err(wrong_type(name)),
    }
}

/// What the attributes `saturate` and `round_mode` say.
pub(super) fn rounding(attrs: &Attrs) -> Result<Rounding, InferError> {
    let mode = match attrs.get("round_mode").map(|_| attrs.str("round_mode")) {
        None | Some(Some("up")) => RoundMode::Up,
        Some(Some("down")) => RoundMode::Down,
        Some(Some("nearest")) => RoundMode::Nearest,
        Some(_) => {
            let expected = "up, down or nearest".into();
            return Err(InferError::Attribute { name: "round_mode".into(), expected });
        }
    };
    Ok(Rounding { saturate: attrs.int_or("saturate", 1) != 0, mode })
}

/// The type of input 0 with another element type; sizes stay sizes.
pub(super) fn retyped(cx: &Infer<'_>, to: DType) -> Inferred {
    let Some(x) = cx.tensor(0) else { return TensorType::unranked(to).into() };
    let keeps = is_index(to) && (is_index(x.dtype) || x.dtype == DType::Bool);
    let is_small = x.rank().is_some_and(|rank| rank <= 1);
    let dims = (keeps && is_small).then(|| elements(cx, 0)).flatten();
    Inferred { ty: TensorType { dtype: to, shape: x.shape.clone() }.into(), dims }
}

/// Converts a tensor; what does not fit into a small float saturates.
///
/// # Errors
/// When there is no evaluation for the pair of types.
pub(crate) fn cast(x: &Tensor, to: DType) -> Result<Tensor, EvalError> {
    cast_rounding(x, to, Rounding::default())
}

/// Converts a tensor.
///
/// # Errors
/// When there is no evaluation for the pair of types.
pub(crate) fn cast_rounding(x: &Tensor, to: DType, rounding: Rounding) -> Result<Tensor, EvalError> {
    if x.dtype() == to {
        return Ok(x.clone());
    }
    match (x.dtype(), to) {
        (from, _) if is_small_float(from) => cast_rounding(&from_small(x)?, to, rounding),
        (from, _) if is_small_float(to) && is_number(from) => into_small(x, to, rounding),
        (DType::Bool, _) => cast_rounding(&truth(x)?, to, rounding),
        (DType::U4 | DType::I4 | DType::U2 | DType::I2, _) => cast_rounding(&widened(x)?, to, rounding),
        (DType::String, _) => from_strings(x, to),
        (from, DType::Bool) => dispatch!(numbers, from, S => {
            let is_true = |value: &S| *value != S::ZERO;
            Ok(Tensor::from_bools(x.shape().to_vec(), x.elements::<S>()?.iter().map(is_true))?)
        }),
        (from, DType::String) => dispatch!(numbers, from, S => {
            let text = |value: &S| value.to_string().into_bytes();
            Ok(Tensor::from_strings(x.shape().to_vec(), x.elements::<S>()?.iter().map(text).collect())?)
        }),
        (_, DType::U4 | DType::I4 | DType::U2 | DType::I2) => {
            let wide = cast(x, DType::I32)?;
            crate::quantize::packed(to, x.shape().to_vec(), &wide.elements::<i32>()?)
        }
        (from, to) if !is_number(from) || !is_number(to) => {
            Err(EvalError::unsupported(format!("a cast from {from} to {to}")))
        }
        (from, to) => dispatch!(numbers, from, S => dispatch!(numbers, to, T => convert::<S, T>(x))),
    }
}

fn is_number(dtype: DType) -> bool {
    crate::inference::NUMBERS.types.contains(&dtype)
}

/// A small float as f32, exact.
fn from_small(x: &Tensor) -> Result<Tensor, EvalError> {
    let bytes = if x.dtype().bits() < 8 { widened(x)? } else { x.clone() };
    let value = |code: &u8| minifloat::decode(x.dtype(), *code).unwrap_or(f32::NAN);
    Ok(Tensor::from_vec(x.shape().to_vec(), bytes.data().iter().map(value).collect::<Vec<f32>>())?)
}

fn into_small(x: &Tensor, to: DType, rounding: Rounding) -> Result<Tensor, EvalError> {
    let codes: Vec<i32> = dispatch!(numbers, x.dtype(), S => {
        let code = |value: &S| minifloat::encode(to, Number::to_f64(*value), rounding).map_or(0, i32::from);
        Ok::<_, EvalError>(x.elements::<S>()?.iter().map(code).collect())
    })?;
    crate::quantize::packed(to, x.shape().to_vec(), &codes)
}

fn truth(x: &Tensor) -> Result<Tensor, EvalError> {
    let bits: Vec<u8> = x.data().iter().map(|byte| u8::from(*byte != 0)).collect();
    Ok(Tensor::from_vec(x.shape().to_vec(), bits)?)
}

fn convert<S: Element + AsPrimitive<T>, T: Element>(x: &Tensor) -> Result<Tensor, EvalError> {
    let values: Vec<T> = x.elements::<S>()?.iter().map(|value| value.as_()).collect();
    Ok(Tensor::from_vec(x.shape().to_vec(), values)?)
}

/// A tensor of a type below a byte, one byte per element.
pub(crate) fn widened(x: &Tensor) -> Result<Tensor, EvalError> {
    let bits = x.dtype().bits();
    let per_byte = 8 / bits;
    let value = |index: usize| x.data()[index / per_byte] >> (index % per_byte * bits) & ((1 << bits) - 1);
    let shape = x.shape().to_vec();
    Ok(if matches!(x.dtype(), DType::I4 | DType::I2) {
        let signed = |index: usize| (value(index) << (8 - bits)).cast_signed() >> (8 - bits);
        Tensor::from_vec(shape, (0..x.len()).map(signed).collect::<Vec<i8>>())?
    } else {
        Tensor::from_vec(shape, (0..x.len()).map(value).collect::<Vec<u8>>())?
    })
}

fn from_strings(x: &Tensor, to: DType) -> Result<Tensor, EvalError> {
    let parse = |bytes: &Vec<u8>| {
        let text = String::from_utf8_lossy(bytes).trim().to_owned();
        let number = text.parse::<f64>();
        number.map_err(|_| EvalError::value(format!("{text:?} is not a number")))
    };
    let numbers: Vec<f64> = x.strings().unwrap_or(&[]).iter().map(parse).collect::<Result<_, _>>()?;
    cast(&Tensor::from_vec(x.shape().to_vec(), numbers)?, to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{refusal, run, t};
    use crate::forms::testing::{downgraded, upgraded};
    use half::{bf16, f16};

    fn to(dtype: DType) -> Attrs {
        Attrs::new().with("to", i64::from(dtype.to_onnx()))
    }

    #[test]
    fn numbers_convert() {
        let x = t(&[4], &[-1.7f32, 0.0, 2.5, 300.0]);
        assert_eq!(run(&Cast, &to(DType::I32), std::slice::from_ref(&x)), t(&[4], &[-1i32, 0, 2, 300]));
        assert_eq!(run(&Cast, &to(DType::Bool), std::slice::from_ref(&x)).data().as_ref(), [1, 0, 1, 1]);
        assert_eq!(run(&Cast, &to(DType::U8), &[t(&[2], &[-56i16, 300])]), t(&[2], &[200u8, 44]));
        assert_eq!(run(&Cast, &to(DType::F16), &[t(&[1], &[1e6f32])]), t(&[1], &[f16::INFINITY]));
        let third = bf16::from_f32(1.0 / 3.0);
        assert_eq!(run(&Cast, &to(DType::BF16), &[t(&[1], &[1f32 / 3.0])]), t(&[1], &[third]));
        let bools = Tensor::from_bools(vec![2], [true, false]).unwrap();
        assert_eq!(run(&Cast, &to(DType::F32), &[bools]), t(&[2], &[1f32, 0.0]));
        assert_eq!(run(&Cast, &to(DType::I64), &[t(&[1], &[i64::MAX - 1])]), t(&[1], &[i64::MAX - 1]));
    }

    #[test]
    fn small_types_and_strings_convert() {
        let nibbles = Tensor::from_bytes(DType::I4, vec![3], vec![0x8f, 0x07].into()).unwrap();
        assert_eq!(run(&Cast, &to(DType::I32), &[nibbles]), t(&[3], &[-1i32, -8, 7]));
        let text = Tensor::from_strings(vec![2], vec![b"1.5".to_vec(), b"-INF".to_vec()]).unwrap();
        assert_eq!(run(&Cast, &to(DType::F32), &[text]), t(&[2], &[1.5f32, f32::NEG_INFINITY]));
        let words = Tensor::from_strings(vec![1], vec![b"hello".to_vec()]).unwrap();
        assert!(refusal(&Cast, &to(DType::F32), &[words]).contains("\"hello\" is not a number"));
    }

    #[test]
    fn small_floats_saturate_or_not() {
        let x = t(&[4], &[1f32, -1000.0, 0.3, f32::INFINITY]);
        let codes = |attrs: &Attrs| run(&Cast, attrs, std::slice::from_ref(&x)).data().to_vec();
        assert_eq!(codes(&to(DType::F8E4M3FN)), [0x38, 0xfe, 0x2a, 0x7e]);
        assert_eq!(codes(&to(DType::F8E4M3FN).with("saturate", 0)), [0x38, 0xff, 0x2a, 0x7f]);
        assert_eq!(codes(&to(DType::F8E8M0).with("round_mode", "down")), [127, 136, 125, 254]);
        assert_eq!(codes(&to(DType::F4E2M1)), [0xf2, 0x71]);
        let quarters = Tensor::from_bytes(DType::F4E2M1, vec![3], vec![0xf2, 0x01].into()).unwrap();
        assert_eq!(run(&Cast, &to(DType::F16), &[quarters]).floats().unwrap(), [1.0, -6.0, 0.5]);
        let wrong = to(DType::F8E8M0).with("round_mode", "sideways");
        assert!(refusal(&Cast, &wrong, &[x]).contains("up, down or nearest"));
    }

    #[test]
    fn forms_change() {
        let (graph, node) =
            upgraded(&Cast, Attrs::new().with("to", "INT64"), &[t(&[1], &[1f32])], 5).unwrap();
        assert_eq!(graph.node(node).attrs.int("to"), Some(7));
        let attrs = to(DType::F32).with("saturate", 1).with("round_mode", "up");
        let (graph, node) = downgraded(&Cast, attrs, &[t(&[1], &[1f32])], 13).unwrap();
        assert_eq!(graph.node(node).attrs.len(), 1);
        assert!(downgraded(&Cast, to(DType::BF16), &[t(&[1], &[1f32])], 12).is_err());
    }
}
