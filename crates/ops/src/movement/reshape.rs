//! `Reshape`: the same elements under another shape; 0 copies a size (unless `allowzero`), -1 is computed.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Reshape.html>.

use crate::attributes::int;
use crate::forms::{constant_integers, drop_int, inexpressible, input_to_ints, ints_to_input};
use crate::inference::elements;
use crate::op::{Edit, Eval, Infer, Inferred, Op, QuantRole, Schema};
use crate::sizes::{fresh_dims, length_of, vector_dims, view_cost};
use crate::view::one;
use crate::{Cost, Datum, EvalError, InferError, Shapes, VersionError};
use fusebox_ir::tensor::element_count;
use fusebox_ir::{Dim, TensorType};

static SCHEMA: Schema = Schema::onnx("Reshape", &[1, 5, 13, 14, 19, 21, 23, 24, 25], (2, 2), (1, 1))
    .with(&[("allowzero", int(0))]);

pub(crate) struct Reshape;

impl Op for Reshape {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let Some(x) = cx.tensor(0) else { return Ok(vec![Inferred::default(); cx.outputs]) };
        let allow_zero = cx.attrs.int_or("allowzero", 0) != 0;
        let ty = match elements(cx, 1) {
            Some(target) => TensorType::new(x.dtype, target_shape(cx, x, &target, allow_zero)?),
            None => TensorType { dtype: x.dtype, shape: length_of(cx, 1).map(|n| fresh_dims(cx, n)) },
        };
        let dims = vector_dims(cx, 0, &ty);
        Ok(vec![Inferred { ty: ty.into(), dims }])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let (x, target) = (cx.tensor(0)?, cx.integers(1)?.unwrap_or_default());
        let allow_zero = cx.attrs.int_or("allowzero", 0) != 0;
        one(x.reshaped(resolve(x.shape(), &target, allow_zero)?)?)
    }

    fn cost(&self, _shapes: &Shapes<'_>) -> Cost {
        view_cost()
    }

    fn quant_role(&self) -> QuantRole {
        QuantRole::Moves
    }

    fn upgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        if edit.opset < 5 {
            ints_to_input(edit, "shape", 1);
        }
        Ok(())
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        if edit.opset < 14 {
            let has_zero = constant_integers(edit, 1).is_none_or(|shape| shape.contains(&0));
            if has_zero {
                drop_int(&SCHEMA, edit, "allowzero", 0)?;
            }
            edit.node().attrs.remove("allowzero");
        }
        if edit.opset < 5 {
            input_to_ints(&SCHEMA, edit, 1, "shape")?;
        }
        if edit.opset < 1 {
            return Err(inexpressible(&SCHEMA, edit, "it exists since opset 1"));
        }
        Ok(())
    }
}

fn show(shape: &[Dim]) -> String {
    format!("{shape:?}")
}

/// Output shape of symbolic sizes.
fn target_shape(
    cx: &Infer<'_>,
    x: &TensorType,
    target: &[Dim],
    allow_zero: bool,
) -> Result<Vec<Dim>, InferError> {
    let copied = |(axis, dim): (usize, &Dim)| match (dim.value(), &x.shape) {
        (Some(0), Some(shape)) if !allow_zero => shape.get(axis).cloned().ok_or_else(|| {
            InferError::shape(format!("0 at axis {axis} copies a size, but the input is {}", show(shape)))
        }),
        (Some(0), None) if !allow_zero => Ok((cx.fresh)()),
        (Some(value), _) if value < -1 => {
            Err(InferError::shape(format!("size {value} at axis {axis} of the new shape {}", show(target))))
        }
        _ => Ok(dim.clone()),
    };
    let mut shape: Vec<Dim> = target.iter().enumerate().map(copied).collect::<Result<_, _>>()?;
    let open: Vec<usize> = (0..shape.len()).filter(|axis| target[*axis].value() == Some(-1)).collect();
    let product = |dims: &[Dim]| dims.iter().fold(Dim::known(1), |product, dim| product.mul(dim));
    match (open.as_slice(), x.elements()) {
        ([_, _, ..], _) => return Err(InferError::shape(format!("{} has -1 twice", show(target)))),
        ([axis], total) => {
            shape[*axis] = Dim::known(1);
            let (mut total, mut rest) = (total, product(&shape));
            if let (Some(0), Some(from)) = (rest.value(), &x.shape) {
                (total, rest) =
                    beside_copies(from, &shape, |axis| !allow_zero && target[axis].value() == Some(0));
            }
            shape[*axis] = match total {
                Some(total) if rest.value() != Some(0) => quotient(&total, &rest, x, target)?,
                _ => (cx.fresh)(),
            };
        }
        ([], Some(total)) => {
            if let (Some(a), Some(b)) = (total.value(), product(&shape).value())
                && a != b
            {
                let reason = format!("{x} has {a} elements, the new shape {} has {b}", show(target));
                return Err(InferError::shape(reason));
            }
        }
        ([], None) => {}
    }
    Ok(shape)
}

/// Elements of the input and of the new shape without the axes that the new shape copies: what decides -1 where one of
/// these is empty, which any size would fit.
fn beside_copies(from: &[Dim], to: &[Dim], is_copy: impl Fn(usize) -> bool) -> (Option<Dim>, Dim) {
    let product = |dims: &[Dim]| {
        let left = dims.iter().enumerate().filter(|(axis, _)| *axis >= to.len() || !is_copy(*axis));
        left.fold(Dim::known(1), |product, (_, dim)| product.mul(dim))
    };
    (Some(product(from)), product(to))
}

fn quotient(total: &Dim, rest: &Dim, x: &TensorType, target: &[Dim]) -> Result<Dim, InferError> {
    if let (Some(a), Some(b)) = (total.value(), rest.value())
        && a % b != 0
    {
        let reason = format!("{x} has {a} elements, which the new shape {} cannot hold", show(target));
        return Err(InferError::shape(reason));
    }
    Ok(total.floor_div(rest))
}

/// Output shape of known sizes.
///
/// Where an empty axis is copied, -1 is what it would be for other sizes of that axis: an empty batch keeps its width.
///
/// # Errors
/// When the element counts differ or the target is malformed.
pub(crate) fn resolve(shape: &[usize], target: &[i64], allow_zero: bool) -> Result<Vec<usize>, EvalError> {
    let wrong = || EvalError::value(format!("a tensor of shape {shape:?} cannot be reshaped to {target:?}"));
    let mut open = None;
    let mut sizes = Vec::with_capacity(target.len());
    for (axis, size) in target.iter().enumerate() {
        sizes.push(match *size {
            0 if !allow_zero => *shape.get(axis).ok_or_else(wrong)?,
            -1 if open.replace(axis).is_none() => 1,
            size => usize::try_from(size).map_err(|_| wrong())?,
        });
    }
    if let Some(axis) = open {
        let is_copy = |axis: usize| !allow_zero && target.get(axis) == Some(&0);
        let beside = |sizes: &[usize]| -> Vec<usize> {
            let left = sizes.iter().enumerate().filter(|(axis, _)| !is_copy(*axis));
            left.map(|(_, size)| *size).collect()
        };
        let total = element_count(&beside(shape)).ok_or_else(wrong)?;
        let rest = element_count(&beside(&sizes)).filter(|rest| *rest != 0 && total % rest == 0);
        sizes[axis] = total / rest.ok_or_else(wrong)?;
    }
    if element_count(&sizes) == element_count(shape) { Ok(sizes) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{refusal, run, t};
    use crate::forms::testing::{downgraded, upgraded};
    use crate::sizes::testing::{infer_one, symbolic};
    use fusebox_ir::{Attrs, DType, Tensor};

    fn target(shape: &[i64]) -> Tensor {
        Tensor::vector(shape.to_vec())
    }

    #[test]
    fn zero_copies_and_minus_one_is_computed() {
        let x = t(&[2, 3, 4], &[0u8; 24]);
        let shape =
            |attrs: &Attrs, to: &[i64]| run(&Reshape, attrs, &[x.clone(), target(to)]).shape().to_vec();
        assert_eq!(shape(&Attrs::new(), &[0, -1]), [2, 12]);
        assert_eq!(shape(&Attrs::new(), &[4, 0, -1]), [4, 3, 2]);
        let empty = t::<f32>(&[0, 3], &[]);
        let allow = Attrs::new().with("allowzero", 1);
        assert_eq!(run(&Reshape, &allow, &[empty, target(&[3, 0])]).shape(), [3, 0]);
    }

    #[test]
    fn an_empty_batch_keeps_its_width() {
        let x = symbolic(DType::F32, &[0.into(), 5.into(), 6.into()]);
        for (to, expected) in
            [([0, 0, 3, -1], [0, 5, 3, 2]), ([0, -1, 3, 2], [0, 5, 3, 2]), ([-1, 5, 2, 3], [0, 5, 2, 3])]
        {
            let empty = t::<f32>(&[0, 5, 6], &[]);
            assert_eq!(run(&Reshape, &Attrs::new(), &[empty, target(&to)]).shape(), expected, "{to:?}");
            let dims = to.map(Dim::known);
            let shape = symbolic(DType::I64, &[4.into()]);
            let typed = infer_one(&Reshape, &Attrs::new(), &[(&x, None), (&shape, Some(&dims))]).unwrap();
            assert_eq!(typed.ty.tensor().unwrap().sizes().unwrap(), expected, "{to:?}");
        }
        // Nothing says what -1 is where the empty axis is not copied.
        let allow = Attrs::new().with("allowzero", 1);
        let refused = refusal(&Reshape, &allow, &[t::<f32>(&[0, 6], &[]), target(&[-1, 0])]);
        assert!(refused.contains("cannot be reshaped"), "{refused}");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let refuse = |to: &[i64]| refusal(&Reshape, &Attrs::new(), &[t(&[2, 3], &[0f32; 6]), target(to)]);
        assert_eq!(refuse(&[4, 2]), "a tensor of shape [2, 3] cannot be reshaped to [4, 2]");
        for wrong in [&[-1, -1][..], &[-2, 3], &[4, -1], &[1, 6, 0], &[i64::MAX, i64::MAX]] {
            assert!(refuse(wrong).contains("cannot be reshaped"), "{wrong:?}");
        }
    }

    #[test]
    fn symbolic_sizes_divide_out() {
        let (b, s) = (Dim::symbol("b"), Dim::symbol("s"));
        let x = symbolic(DType::F32, &[b.clone(), s.clone(), Dim::known(768)]);
        let dims = [b, s, Dim::known(12), Dim::known(-1)];
        let result = infer_one(
            &Reshape,
            &Attrs::new(),
            &[(&x, None), (&symbolic(DType::I64, &[4.into()]), Some(&dims))],
        );
        assert_eq!(result.unwrap().ty.to_string(), "f32[b, s, 12, 64]");
        let flat = [Dim::known(-1), Dim::known(768)];
        let result = infer_one(
            &Reshape,
            &Attrs::new(),
            &[(&x, None), (&symbolic(DType::I64, &[2.into()]), Some(&flat))],
        );
        assert_eq!(result.unwrap().ty.to_string(), "f32[b*s, 768]");
    }

    #[test]
    fn forms_change() {
        let attrs = Attrs::new().with("shape", vec![2, 3]);
        let (graph, node) = upgraded(&Reshape, attrs, &[Tensor::vector(vec![0f32; 6])], 1).unwrap();
        assert_eq!(crate::forms::testing::input_ints(&graph, node, 1), Some(vec![2, 3]));
        let attrs = Attrs::new().with("allowzero", 1);
        let inputs = [Tensor::vector(Vec::<f32>::new()), target(&[0, 3])];
        assert!(downgraded(&Reshape, attrs, &inputs, 13).is_err());
    }
}
