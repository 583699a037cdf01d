//! `Linear(x, w, w_scale?, bias?, residual?)`: `y = act(x·w + bias) + residual`. ai.fusebox, since 1.
//!
//! x: `[..., K]`; w: `[K, N]` in the type of x, in f16 or bf16 (weights at half width, widened before the product), or
//! in i8 with `w_scale: f32 [N]` (x must be f32; see [`super::quantize`]); bias: `[N]`; residual broadcasts to the
//! result. Attributes `activation`, `alpha`, `beta` ([`Activation`](super::Activation)), `residual_first` (default 0),
//! `granularity` of the quantized x: `row` (default), `tensor`, which is DynamicQuantizeLinear and MatMulInteger, or
//! `static`, which is QuantizeLinear to u8 by `x_scale` and `x_zero_point` and MatMulInteger.

use super::emit::Emit;
use super::epilogue::{Epilogue, check_residual, check_vector, show};
use super::quantize::{emit_matmul, emit_matmul_by_levels, emit_matmul_by_tensor};
use crate::attributes::{FLOAT, INT, int, text};
use crate::op::{Body, Infer, Inferred, Op, QuantRole, Schema};
use crate::{InferError, Shapes};
use fusebox_ir::{Attrs, DType, Dim, Graph, TensorType, ValueId};

/// The operator.
pub struct Linear;

static SCHEMA: Schema = Schema::fusebox("Linear", (2, 5), (1, 1)).with(&[
    ("activation", text("none")),
    ("alpha", FLOAT),
    ("beta", FLOAT),
    ("granularity", text("row")),
    ("residual_first", int(0)),
    ("x_scale", FLOAT),
    ("x_zero_point", INT),
]);

/// Positions of the operands, which NormLinear has elsewhere.
pub(super) struct Operands {
    pub(super) w: usize,
    pub(super) w_scale: usize,
    pub(super) bias: usize,
    pub(super) residual: usize,
}

const OPERANDS: Operands = Operands { w: 1, w_scale: 2, bias: 3, residual: 4 };

impl Op for Linear {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let wrong = |name: &str, expected: &str| {
            Err(InferError::Attribute { name: name.into(), expected: expected.into() })
        };
        match granularity(cx.attrs) {
            Some("row" | "tensor") => {}
            Some("static") if given_levels(cx.attrs).is_some() => {}
            Some("static") => {
                return wrong("x_scale", "a float, and x_zero_point from 0 to 255, as granularity is static");
            }
            _ => return wrong("granularity", "row, tensor or static"),
        }
        infer_linear(cx, &OPERANDS)
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        linear_flops(shapes, &OPERANDS)
    }

    fn quant_role(&self) -> QuantRole {
        QuantRole::Weighted { weight: OPERANDS.w, channel_axis: 1 }
    }

    fn body(&self, cx: &Body<'_>) -> Option<Graph> {
        let epilogue = Epilogue::from_attrs(cx.attrs, false).ok()?;
        let mut e = Emit::new(cx, &["x", "w", "w_scale", "bias", "residual"])?;
        let x = e.input(0)?;
        let is_int8 = e.ty(OPERANDS.w)?.dtype == DType::I8;
        let product = match granularity(cx.attrs)? {
            "tensor" if is_int8 => {
                let (w, w_scale) = (e.input(OPERANDS.w)?, e.input(OPERANDS.w_scale)?);
                emit_matmul_by_tensor(&mut e, x, w, w_scale)
            }
            "static" if is_int8 => {
                let (w, w_scale) = (e.input(OPERANDS.w)?, e.input(OPERANDS.w_scale)?);
                emit_matmul_by_levels(&mut e, x, given_levels(cx.attrs)?, w, w_scale)
            }
            _ => emit_product(&mut e, x, &OPERANDS)?,
        };
        let y = emit_epilogue(&mut e, product, epilogue, &OPERANDS);
        Some(e.finish(&[y]))
    }
}

/// The attribute of that name.
fn granularity(attrs: &Attrs) -> Option<&str> {
    attrs.get("granularity").map_or(Some("row"), |_| attrs.str("granularity"))
}

/// Whether int8 quantizes x by one range for the whole tensor.
pub fn is_by_tensor(attrs: &Attrs) -> bool {
    granularity(attrs) == Some("tensor")
}

/// Scale and zero point of the quantized x where the operator gives them.
pub fn given_levels(attrs: &Attrs) -> Option<(f32, u8)> {
    let zero = u8::try_from(attrs.int("x_zero_point")?).ok()?;
    attrs.float("x_scale").filter(|_| granularity(attrs) == Some("static")).map(|scale| (scale, zero))
}

/// Types the product and checks its operands.
pub(super) fn infer_linear(cx: &Infer<'_>, at: &Operands) -> Result<Vec<Inferred>, InferError> {
    Epilogue::from_attrs(cx.attrs, false)?;
    check_weights(cx, at.w, at.w_scale)?;
    let (Some(x), Some(w)) = (cx.tensor(0), cx.tensor(at.w)) else {
        return Ok(vec![Inferred::default(); cx.outputs]);
    };
    let Some(w_shape) = &w.shape else { return Ok(vec![TensorType::unranked(x.dtype).into()]) };
    let [k, n] = w_shape.as_slice() else {
        return Err(InferError::shape(format!("weights have shape {}, expected [K, N]", show(w_shape))));
    };
    check_vector("bias", cx.tensor(at.bias), n)?;
    check_vector("w_scale", cx.tensor(at.w_scale), n)?;
    let Some(x_shape) = &x.shape else { return Ok(vec![TensorType::unranked(x.dtype).into()]) };
    let Some((last, rows)) = x_shape.split_last() else {
        return Err(InferError::shape("x is a scalar, expected [..., K]"));
    };
    if let (Some(a), Some(b)) = (last.value(), k.value())
        && a != b
    {
        return Err(InferError::shape(format!("x has {a} columns but the weights have {b} rows")));
    }
    let output: Vec<Dim> = rows.iter().chain([n]).cloned().collect();
    check_residual(cx.tensor(at.residual), &output)?;
    Ok(vec![TensorType::new(x.dtype, output).into()])
}

/// Checks the element types of x (input 0), the weights and their scales.
///
/// # Errors
/// A combination that no form of the operator has.
pub(super) fn check_weights(cx: &Infer<'_>, w: usize, w_scale: usize) -> Result<(), InferError> {
    let (x_type, w_type) = (cx.dtype(0)?, cx.dtype(w)?);
    let has_scale = cx.input(w_scale).is_some();
    let wrong = |index: usize, expected: &str, found: DType| {
        Err(InferError::DType { index, expected: expected.into(), found })
    };
    match (x_type, w_type) {
        (_, Some(DType::I8)) if !has_scale => Err(InferError::MissingInput { index: w_scale }),
        (Some(found), Some(DType::I8)) if found != DType::F32 => {
            wrong(0, "f32, as the weights are i8", found)
        }
        (_, Some(found)) if has_scale && found != DType::I8 => wrong(w, "i8, as it has a scale", found),
        (Some(x), Some(w_dtype))
            if x != w_dtype && !matches!(w_dtype, DType::I8 | DType::F16 | DType::BF16) =>
        {
            wrong(w, &format!("{x}, f16, bf16 or i8"), w_dtype)
        }
        _ => Ok(()),
    }
}

/// Spells out product and epilogue for `x`, which is input 0 or was computed from it.
pub(super) fn emit_linear(
    e: &mut Emit<'_>,
    x: ValueId,
    epilogue: Epilogue,
    at: &Operands,
) -> Option<ValueId> {
    let product = emit_product(e, x, at)?;
    Some(emit_epilogue(e, product, epilogue, at))
}

fn emit_product(e: &mut Emit<'_>, x: ValueId, at: &Operands) -> Option<ValueId> {
    if e.ty(at.w)?.dtype == DType::I8 {
        let (w, w_scale) = (e.input(at.w)?, e.input(at.w_scale)?);
        return Some(emit_matmul(e, x, w, w_scale));
    }
    let w = e.float_input(at.w)?;
    Some(e.op("MatMul", &[x, w]))
}

fn emit_epilogue(e: &mut Emit<'_>, product: ValueId, epilogue: Epilogue, at: &Operands) -> ValueId {
    let (bias, residual) = (e.float_input(at.bias), e.float_input(at.residual));
    epilogue.emit(e, product, bias, residual)
}

/// FLOPs of product and epilogue.
pub(super) fn linear_flops(shapes: &Shapes<'_>, at: &Operands) -> f64 {
    let present = |index: usize| shapes.inputs.get(index).is_some_and(Option::is_some);
    let depth = shapes.input(at.w).and_then(|sizes| sizes.first().copied()).unwrap_or(0.0);
    let epilogue = Epilogue::from_attrs(shapes.attrs, false).unwrap_or_default();
    shapes.output_elements(0) * (2.0 * depth + epilogue.flops(present(at.bias), present(at.residual)))
}
