//! `FusedMatMul` and `FusedConv` of com.microsoft: a product of scaled, transposed matrices; a convolution with a residual
//! and an activation.
//!
//! `transBatchA` and `transBatchB` move the first axis before the last: `[M, B, K]` is read as `[B, M, K]`.

use crate::Shapes;
use crate::fused::Activation;
use crate::fused::emit::Emit;
use crate::op::{Body, Op, QuantRole, Schema};
use fusebox_ir::{Attr, Attrs, Graph, OpName, ValueId};

static MATMUL: Schema = super::schema("FusedMatMul", (2, 2), (1, 1));
static CONV: Schema = super::schema("FusedConv", (2, 4), (1, 1));

pub(crate) struct FusedMatMul;
pub(crate) struct FusedConv;

impl Op for FusedMatMul {
    fn schema(&self) -> &'static Schema {
        &MATMUL
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        let inner = shapes.input(0).and_then(|a| {
            let from_end = if shapes.attrs.int_or("transA", 0) == 0 { 1 } else { 2 };
            a.get(a.len().checked_sub(from_end)?).copied()
        });
        2.0 * inner.unwrap_or(0.0) * shapes.output_elements(0)
    }

    fn body(&self, cx: &Body<'_>) -> Option<Graph> {
        let mut e = super::emit(cx, &["A", "B"])?;
        let mut side = |index: usize, trans: &str, batch: &str| {
            let value = e.input(index)?;
            let flag = |name: &str| cx.attrs.int_or(name, 0) != 0;
            if !flag(trans) && !flag(batch) {
                return Some(value);
            }
            let rank = e.ty(index)?.rank()?;
            let mut perm: Vec<i64> = (0..rank as i64).collect();
            if rank >= 3 && flag(batch) {
                perm[..rank - 1].rotate_left(1);
            }
            if rank >= 2 && flag(trans) {
                perm.swap(rank - 1, rank - 2);
            }
            Some(e.transpose(value, &perm))
        };
        let (a, b) = (side(0, "transA", "transBatchA")?, side(1, "transB", "transBatchB")?);
        let mut y = e.op("MatMul", &[a, b]);
        let alpha = cx.attrs.float_or("alpha", 1.0);
        if alpha != 1.0 {
            let alpha = e.scalar(f64::from(alpha));
            y = e.op("Mul", &[y, alpha]);
        }
        Some(e.finish(&[y]))
    }
}

impl Op for FusedConv {
    fn schema(&self) -> &'static Schema {
        &CONV
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        let taps: f64 = shapes.input(1).map_or(0.0, |w| w.iter().skip(1).product());
        2.0 * taps * shapes.output_elements(0)
    }

    fn quant_role(&self) -> QuantRole {
        QuantRole::Weighted { weight: 1, channel_axis: 0 }
    }

    fn body(&self, cx: &Body<'_>) -> Option<Graph> {
        let mut e = super::emit(cx, &["X", "W", "B", "Z"])?;
        let shared = |(name, _): &(&str, &Attr)| !name.starts_with("activation");
        let geometry: Attrs =
            cx.attrs.iter().filter(shared).map(|(name, attr)| (name.into(), attr.clone())).collect();
        let inputs = [e.input(0), e.input(1), e.input(2)];
        let mut y = e.b.node(OpName::onnx("Conv"), &inputs, 1, geometry)[0];
        if let Some(residual) = e.input(3) {
            y = e.op("Add", &[y, residual]);
        }
        let y = activate(&mut e, cx.attrs, y)?;
        Some(e.finish(&[y]))
    }
}

pub(super) fn activate(e: &mut Emit<'_>, attrs: &Attrs, y: ValueId) -> Option<ValueId> {
    let params = match attrs.get("activation_params") {
        Some(Attr::Floats(params)) => params.as_slice(),
        _ => &[],
    };
    let params = [params.first().copied(), params.get(1).copied()];
    Some(activation(attrs.str("activation").unwrap_or(""), params)?.emit(e, y))
}

/// An activation by the name that ONNX Runtime gives it, with its parameters where they are given.
pub(super) fn activation(name: &str, [alpha, beta]: [Option<f32>; 2]) -> Option<Activation> {
    Some(match name {
        "" => Activation::None,
        "Relu" => Activation::Relu,
        "Tanh" => Activation::Tanh,
        "Sigmoid" => Activation::Sigmoid,
        "LeakyRelu" => Activation::LeakyRelu { alpha: alpha.unwrap_or(0.01) },
        "Clip" => {
            Activation::Clip { lo: alpha.unwrap_or(f32::NEG_INFINITY), hi: beta.unwrap_or(f32::INFINITY) }
        }
        "HardSigmoid" => Activation::HardSigmoid { alpha: alpha.unwrap_or(0.2), beta: beta.unwrap_or(0.5) },
        "Gelu" => Activation::Gelu,
        "HardSwish" => Activation::HardSwish,
        "Swish" | "Silu" => Activation::Silu,
        "QuickGelu" => Activation::QuickGelu { alpha: alpha.unwrap_or(1.702) },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, run, t};

    #[test]
    fn matrices_are_transposed_and_scaled() {
        let (a, b) = (t(&[1, 2, 1], &[1f32, 2.0]), t(&[2, 2], &[1f32, 2.0, 3.0, 4.0]));
        let attrs = Attrs::new().with("transA", 1).with("transB", 1).with("alpha", 0.5f32);
        let y = run(&FusedMatMul, &attrs, &[a, b]);
        assert_eq!(y.shape(), [1, 1, 2]);
        close(&y, &[2.5, 5.5]);
    }

    #[test]
    fn residuals_come_before_the_activation() {
        let inputs = [
            t(&[1, 1, 2], &[1f32, -1.0]),
            t(&[1, 1, 1], &[2f32]),
            t(&[1], &[0.5f32]),
            t(&[1, 1, 2], &[-1f32, 0.0]),
        ];
        let attrs = Attrs::new().with("activation", "LeakyRelu").with("activation_params", vec![0.1f32]);
        close(&run(&FusedConv, &attrs, &inputs), &[1.5, -0.15]);
    }
}
