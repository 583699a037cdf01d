//! `QLinearAdd`, `QLinearMul`, `QLinearWhere`, `QLinearConcat`, `QLinearSigmoid`, `QLinearLeakyRelu`, `QLinearSoftmax` and
//! `QLinearReduceMean`: the operators on the reals that their operands stand for, quantized again.

use super::affine::{dtype_of, real, stored};
use super::{Defined, per_element};
use crate::fused::emit::Emit;
use crate::op::{Body, QuantRole, Schema};
use fusebox_ir::{Attr, Attrs, DType, Graph, OpName, ValueId};

const fn quantized(schema: &'static Schema, define: for<'a> fn(&Body<'a>) -> Option<Graph>) -> Defined {
    Defined { schema, flops: per_element, role: QuantRole::StaysFloat, define }
}

static ADD_SCHEMA: Schema = super::schema("QLinearAdd", (2, 8), (1, 1));
static MUL_SCHEMA: Schema = super::schema("QLinearMul", (2, 8), (1, 1));
static WHERE_SCHEMA: Schema = super::schema("QLinearWhere", (3, 9), (1, 1));
static CONCAT_SCHEMA: Schema = super::schema("QLinearConcat", (1, usize::MAX), (1, 1));
static SIGMOID_SCHEMA: Schema = super::schema("QLinearSigmoid", (2, 5), (1, 1));
static LEAKY_RELU_SCHEMA: Schema = super::schema("QLinearLeakyRelu", (2, 5), (1, 1));
static SOFTMAX_SCHEMA: Schema = super::schema("QLinearSoftmax", (2, 5), (1, 1));
static REDUCE_MEAN_SCHEMA: Schema = super::schema("QLinearReduceMean", (2, 5), (1, 1));

/// `A + B`.
pub(crate) static ADD: Defined = quantized(&ADD_SCHEMA, |cx| binary(cx, "Add"));
/// `A · B`.
pub(crate) static MUL: Defined = quantized(&MUL_SCHEMA, |cx| binary(cx, "Mul"));
/// `condition ? X : Y`.
pub(crate) static WHERE: Defined = quantized(&WHERE_SCHEMA, choice);
/// Operands of different scales, joined along an axis.
pub(crate) static CONCAT: Defined = quantized(&CONCAT_SCHEMA, concat);
/// `1/(1 + exp(-x))`.
pub(crate) static SIGMOID: Defined =
    quantized(&SIGMOID_SCHEMA, |cx| unary(cx, |e, x| Some(e.op("Sigmoid", &[x]))));
/// `x` above zero, `alpha·x` below.
pub(crate) static LEAKY_RELU: Defined = quantized(&LEAKY_RELU_SCHEMA, |cx| {
    let alpha = cx.attrs.float_or("alpha", 0.01);
    unary(cx, |e, x| Some(e.op_with("LeakyRelu", &[x], Attrs::new().with("alpha", alpha))))
});
/// Softmax along an axis, or before opset 13 over all axes from it on.
pub(crate) static SOFTMAX: Defined =
    quantized(&SOFTMAX_SCHEMA, |cx| unary(cx, |e, x| softmax(e, x, cx.attrs)));
/// Mean over axes.
pub(crate) static REDUCE_MEAN: Defined =
    quantized(&REDUCE_MEAN_SCHEMA, |cx| unary(cx, |e, x| mean(e, x, cx.attrs)));

fn binary(cx: &Body<'_>, name: &str) -> Option<Graph> {
    let names = ["A", "A_scale", "A_zero_point", "B", "B_scale", "B_zero_point", "C_scale", "C_zero_point"];
    let mut e = super::emit_as(cx, &names, dtype_of(cx, 1)?)?;
    let (a, b) = (real(&mut e, 0, 1, 2)?, real(&mut e, 3, 4, 5)?);
    let y = e.op(name, &[a, b]);
    let y = stored(&mut e, y, 6, 7, dtype_of(cx, 0)?)?;
    Some(e.finish(&[y]))
}

fn unary(cx: &Body<'_>, f: impl FnOnce(&mut Emit<'_>, ValueId) -> Option<ValueId>) -> Option<Graph> {
    let names = ["X", "X_scale", "X_zero_point", "Y_scale", "Y_zero_point"];
    let mut e = super::emit_as(cx, &names, dtype_of(cx, 1)?)?;
    let x = real(&mut e, 0, 1, 2)?;
    let y = f(&mut e, x)?;
    let y = stored(&mut e, y, 3, 4, dtype_of(cx, 0)?)?;
    Some(e.finish(&[y]))
}

fn choice(cx: &Body<'_>) -> Option<Graph> {
    let names =
        ["condition", "X", "x_scale", "x_zero_point", "Y", "y_scale", "y_zero_point", "z_scale", "z_zero"];
    let mut e = super::emit_as(cx, &names, dtype_of(cx, 2)?)?;
    let (condition, x, y) = (e.input(0)?, real(&mut e, 1, 2, 3)?, real(&mut e, 4, 5, 6)?);
    let z = e.op("Where", &[condition, x, y]);
    let z = stored(&mut e, z, 7, 8, dtype_of(cx, 1)?)?;
    Some(e.finish(&[z]))
}

/// Inputs: scale and zero point of the result, then values, scale and zero point of each operand.
fn concat(cx: &Body<'_>) -> Option<Graph> {
    let names: Vec<String> = (0..cx.inputs.len()).map(|index| format!("input_{index}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut e = super::emit_as(cx, &names, dtype_of(cx, 0)?)?;
    let parts: Option<Vec<ValueId>> =
        (2..cx.inputs.len()).step_by(3).map(|at| real(&mut e, at, at + 1, at + 2)).collect();
    let y = e.op_with("Concat", &parts?, Attrs::new().with("axis", cx.attrs.int("axis")?));
    let y = stored(&mut e, y, 0, 1, dtype_of(cx, 1).unwrap_or(DType::U8))?;
    Some(e.finish(&[y]))
}

fn softmax(e: &mut Emit<'_>, x: ValueId, attrs: &Attrs) -> Option<ValueId> {
    let axis = attrs.int_or("axis", -1);
    if attrs.int_or("opset", 13) >= 13 {
        return Some(e.op_with("Softmax", &[x], Attrs::new().with("axis", axis)));
    }
    let flat = e.op_with("Flatten", &[x], Attrs::new().with("axis", axis));
    let y = e.op_with("Softmax", &[flat], Attrs::new().with("axis", -1));
    let shape = e.op("Shape", &[x]);
    Some(e.op("Reshape", &[y, shape]))
}

fn mean(e: &mut Emit<'_>, x: ValueId, attrs: &Attrs) -> Option<ValueId> {
    let keep = Attrs::new().with("keepdims", attrs.int_or("keepdims", 1));
    if e.opset() < 18 {
        let axes = attrs.get("axes").map_or(keep.clone(), |axes| keep.clone().with("axes", axes.clone()));
        return Some(e.op_with("ReduceMean", &[x], axes));
    }
    let axes = match attrs.get("axes") {
        Some(Attr::Ints(axes)) => Some(e.b.i64s(axes)),
        _ => None,
    };
    Some(e.b.node(OpName::onnx("ReduceMean"), &[Some(x), axes], 1, keep)[0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{run, run_all, t};
    use fusebox_ir::Tensor;

    fn s(x: f32) -> Tensor {
        Tensor::scalar(x)
    }

    #[test]
    fn sums_and_products_change_scales() {
        let (a, b) = (t(&[2], &[130u8, 126]), t(&[2], &[10u8, 20]));
        let inputs = [
            a,
            s(0.5),
            Tensor::scalar(128u8),
            b,
            s(0.25),
            Tensor::scalar(0u8),
            s(0.5),
            Tensor::scalar(100u8),
        ];
        assert_eq!(run(&ADD, &Attrs::new(), &inputs), t(&[2], &[107u8, 108]));
        assert_eq!(run(&MUL, &Attrs::new(), &inputs), t(&[2], &[105u8, 90]));
    }

    #[test]
    fn absent_zero_points_are_zero_and_the_type_is_the_first_operands() {
        let inputs = [Some(t(&[2], &[4i8, -4])), Some(s(1.0)), None, Some(s(0.5))];
        let attrs = Attrs::new().with("alpha", 0.5f32);
        let y = run_all(&LEAKY_RELU, &attrs, &inputs, 1).unwrap().remove(0);
        assert_eq!(y, t(&[2], &[8i8, -4]));
    }

    #[test]
    fn parts_keep_their_own_scales() {
        let (scale, zero) = (s(0.5), Tensor::scalar(0u8));
        let (a, b) = (t(&[1], &[8u8]), t(&[2], &[1u8, 2]));
        let inputs = [scale, zero.clone(), a, s(0.25), zero.clone(), b, s(1.0), zero];
        assert_eq!(run(&CONCAT, &Attrs::new().with("axis", 0), &inputs), t(&[3], &[4u8, 2, 4]));
    }
}
