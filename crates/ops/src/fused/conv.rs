//! `Conv(x, w, w_scale?, bias?, residual?)`: `y = act(conv(x, w) + bias + residual)`. ai.fusebox, since 1.
//!
//! x: `[N, C, spatial…]`, w: `[M, C/group, kernel…]`, bias: `[M]`, residual broadcasts to the result; element types as
//! in Linear. i8 weights have `w_scale: f32 [M]`; x is then quantized with one scale and zero point per image (item of
//! N), and padding is the exact zero. Attributes: `kernel_shape`, `strides`, `pads`, `dilations`, `group` as in ONNX
//! Conv (no `auto_pad`), those of the epilogue, `residual_first` (default 1).

use super::emit::Emit;
use super::epilogue::{Epilogue, check_residual, check_vector, show};
use super::linear::check_weights;
use super::quantize::{Quantized, emit_quantize};
use crate::attributes::{FLOAT, INTS, int, text};
use crate::op::{Body, Infer, Inferred, Op, QuantRole, Schema};
use crate::{InferError, Shapes};
use fusebox_ir::{Attr, Attrs, DType, Dim, Graph, OpName, Tensor, TensorType, ValueId};

/// The operator.
pub struct Conv;

static SCHEMA: Schema = Schema::fusebox("Conv", (2, 5), (1, 1)).with(&[
    ("activation", text("none")),
    ("alpha", FLOAT),
    ("beta", FLOAT),
    ("dilations", INTS),
    ("group", int(1)),
    ("kernel_shape", INTS),
    ("pads", INTS),
    ("residual_first", int(1)),
    ("strides", INTS),
]);

const W: usize = 1;
const W_SCALE: usize = 2;
const BIAS: usize = 3;
const RESIDUAL: usize = 4;

impl Op for Conv {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        Epilogue::from_attrs(cx.attrs, true)?;
        check_weights(cx, W, W_SCALE)?;
        let (Some(x), Some(w)) = (cx.tensor(0), cx.tensor(W)) else {
            return Ok(vec![Inferred::default(); cx.outputs]);
        };
        let (Some(x_shape), Some(w_shape)) = (&x.shape, &w.shape) else {
            return Ok(vec![TensorType::unranked(x.dtype).into()]);
        };
        let output = output_shape(x_shape, w_shape, cx.attrs)?;
        check_vector("bias", cx.tensor(BIAS), &w_shape[0])?;
        check_vector("w_scale", cx.tensor(W_SCALE), &w_shape[0])?;
        check_residual(cx.tensor(RESIDUAL), &output)?;
        Ok(vec![TensorType::new(x.dtype, output).into()])
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        let present = |index: usize| shapes.inputs.get(index).is_some_and(Option::is_some);
        let taps: f64 = shapes.input(W).map_or(0.0, |w| w.iter().skip(1).product());
        let epilogue = Epilogue::from_attrs(shapes.attrs, true).unwrap_or_default();
        shapes.output_elements(0) * (2.0 * taps + epilogue.flops(present(BIAS), present(RESIDUAL)))
    }

    fn quant_role(&self) -> QuantRole {
        QuantRole::Weighted { weight: W, channel_axis: 0 }
    }

    fn body(&self, cx: &Body<'_>) -> Option<Graph> {
        let epilogue = Epilogue::from_attrs(cx.attrs, true).ok()?;
        let mut e = Emit::new(cx, &["x", "w", "w_scale", "bias", "residual"])?;
        let (x, residual) = (e.input(0)?, e.float_input(RESIDUAL));
        let geometry = geometry(cx.attrs);
        let bias = e.float_input(BIAS);
        let y = if e.ty(W)?.dtype == DType::I8 {
            let rank = e.ty(W)?.rank()?;
            let product = emit_integer(&mut e, x, geometry, rank)?;
            let spatial = spatial_axes(rank);
            let bias = bias.map(|bias| e.unsqueeze(bias, &spatial));
            epilogue.emit(&mut e, product, bias, residual)
        } else {
            let w = e.float_input(W)?;
            let product = e.b.node(OpName::onnx("Conv"), &[Some(x), Some(w), bias], 1, geometry)[0];
            epilogue.emit(&mut e, product, None, residual)
        };
        Some(e.finish(&[y]))
    }
}

/// The attributes that the standard convolutions share.
fn geometry(attrs: &Attrs) -> Attrs {
    let shared = ["dilations", "group", "kernel_shape", "pads", "strides"];
    let keep = |name: &str| attrs.get(name).map(|attr: &Attr| (name.into(), attr.clone()));
    shared.into_iter().filter_map(keep).collect()
}

/// Axes that turn a vector of channels into `[M, 1, …]` for an operand of `rank` axes.
fn spatial_axes(rank: usize) -> Vec<i64> {
    (1..rank.saturating_sub(1)).map(|axis| axis as i64).collect()
}

/// The convolution in integers, scaled back to f32.
fn emit_integer(e: &mut Emit<'_>, x: ValueId, geometry: Attrs, rank: usize) -> Option<ValueId> {
    let (w, w_scale) = (e.input(W)?, e.input(W_SCALE)?);
    let batch = e.ty(0).and_then(|x| x.shape.as_ref()?.first()?.value());
    let (accumulated, scale) = if batch == Some(1) {
        let q = e.b.node(OpName::onnx("DynamicQuantizeLinear"), &[Some(x)], 3, Attrs::new());
        (e.op_with("ConvInteger", &[q[0], w, q[2]], geometry), q[1])
    } else {
        let axes: Vec<i64> = (1..rank as i64).collect();
        let image = emit_quantize(e, x, &axes);
        (emit_per_image(e, &image, x, w, geometry, rank), image.scale)
    };
    let real = e.cast(accumulated, DType::F32);
    let scaled = e.op("Mul", &[real, scale]);
    let w_scale = e.unsqueeze(w_scale, &spatial_axes(rank));
    Some(e.op("Mul", &[scaled, w_scale]))
}

/// `Σ (q - zp)·w` with a zero point per image: the operator's own cannot differ between images, so the weights that
/// fall inside the image are summed by convolving ones, which also leaves the padding exactly zero.
fn emit_per_image(
    e: &mut Emit<'_>,
    image: &Quantized,
    x: ValueId,
    w: ValueId,
    geometry: Attrs,
    rank: usize,
) -> ValueId {
    let product = e.op_with("ConvInteger", &[image.q, w], geometry.clone());
    let shape = e.op("Shape", &[x]);
    let (one, rest) = (e.b.i64s(&[1]), e.b.i64s(&(1..rank as i64).collect::<Vec<_>>()));
    let rest = e.op("Gather", &[shape, rest]);
    let shape = e.op_with("Concat", &[one, rest], Attrs::new().with("axis", 0));
    let value = Attrs::new().with("value", Tensor::vector(vec![1u8]));
    let ones = e.op_with("ConstantOfShape", &[shape], value);
    let window_sums = e.op_with("ConvInteger", &[ones, w], geometry);
    let correction = e.op("Mul", &[image.zero_point, window_sums]);
    e.op("Sub", &[product, correction])
}

/// Shape of the result.
///
/// # Errors
/// Channels, kernel or attributes that contradict each other.
fn output_shape(x: &[Dim], w: &[Dim], attrs: &Attrs) -> Result<Vec<Dim>, InferError> {
    if x.len() != w.len() || x.len() < 3 {
        let reason =
            format!("x has shape {} and w {}, expected [N, C, …] and [M, C/group, …]", show(x), show(w));
        return Err(InferError::shape(reason));
    }
    let group = attrs.int_or("group", 1);
    if let (Some(c), Some(per_group)) = (x[1].value(), w[1].value())
        && per_group.checked_mul(group) != Some(c)
    {
        let reason = format!("x has {c} channels but w takes {per_group} in each of {group} groups");
        return Err(InferError::shape(reason));
    }
    let spatial = x.len() - 2;
    let ints = |name: &str, default: i64, len: usize| match attrs.ints(name) {
        Some(values) if values.len() == len && values.iter().all(|v| *v >= i64::from(name != "pads")) => {
            Ok(values.to_vec())
        }
        Some(_) => Err(InferError::Attribute { name: name.into(), expected: format!("{len} sizes") }),
        None => Ok(vec![default; len]),
    };
    let (strides, dilations) = (ints("strides", 1, spatial)?, ints("dilations", 1, spatial)?);
    let pads = ints("pads", 0, 2 * spatial)?;
    let mut output = vec![x[0].clone(), w[0].clone()];
    for axis in 0..spatial {
        let reach = w[axis + 2].sub(&Dim::known(1)).mul(&Dim::known(dilations[axis])).add(&Dim::known(1));
        let padding = Dim::known(pads[axis].saturating_add(pads[axis + spatial]));
        let room = x[axis + 2].add(&padding).sub(&reach);
        if room.value().is_some_and(|room| room < 0) {
            return Err(InferError::shape(format!("the kernel is larger than the padded axis {}", axis + 2)));
        }
        output.push(room.floor_div(&Dim::known(strides[axis])).add(&Dim::known(1)));
    }
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dims(sizes: &[i64]) -> Vec<Dim> {
        sizes.iter().map(|s| Dim::known(*s)).collect()
    }

    #[test]
    fn output_sizes_follow_padding_stride_and_dilation() {
        let attrs = Attrs::new()
            .with("pads", vec![1, 0, 2, 0])
            .with("strides", vec![2, 1])
            .with("dilations", vec![1, 3]);
        let shape = output_shape(&dims(&[1, 4, 9, 10]), &dims(&[8, 4, 3, 2]), &attrs).unwrap();
        assert_eq!(shape, dims(&[1, 8, 5, 7]));
        let symbolic = [Dim::symbol("n"), Dim::known(4), Dim::symbol("t")];
        let same = Attrs::new().with("pads", vec![1, 1]);
        let shape = output_shape(&symbolic, &dims(&[8, 4, 3]), &same).unwrap();
        assert_eq!(shape, [Dim::symbol("n"), Dim::known(8), Dim::symbol("t")]);
        assert!(output_shape(&dims(&[1, 4, 9]), &dims(&[8, 3, 3]), &same).is_err());
        assert!(output_shape(&dims(&[1, 3, 1]), &dims(&[8, 3, 3]), &Attrs::new()).is_err());
    }
}
