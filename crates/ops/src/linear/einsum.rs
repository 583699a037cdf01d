//! `Einsum`: sums of products of tensors, by an equation over axis labels.
//!
//! Operands are contracted two at a time, from the left, each as one batched matrix product: labels that later terms or
//! the result need are kept, the others summed. Spec: <https://onnx.ai/onnx/operators/onnx__Einsum.html>.

use super::equation::{Equation, Label};
use super::matmul::batched_product;
use super::product::MatrixElement;
use crate::attributes::TEXT;
use crate::broadcast::{broadcast_dims, check_elements};
use crate::inference::{NUMBERS, expect, expect_same, first_is};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::view::{dispatch, one, tensor, view};
use crate::{Datum, EvalError, InferError, Shapes};
use fusebox_ir::{Attrs, Dim, TensorType};
use ndarray::{ArrayD, Axis, IxDyn};
use std::collections::BTreeMap;

static SCHEMA: Schema =
    Schema::onnx("Einsum", &[12, 28], (1, usize::MAX), (1, 1)).with(&[("equation", TEXT)]);

pub(crate) struct Einsum;

fn equation(attrs: &Attrs, ranks: &[usize]) -> Result<Equation, InferError> {
    let missing = || InferError::Attribute { name: "equation".into(), expected: "present".into() };
    Equation::parse(attrs.str("equation").ok_or_else(missing)?, ranks)
}

/// Size of every label.
fn sizes(equation: &Equation, shapes: &[&[Dim]]) -> Result<BTreeMap<Label, Dim>, InferError> {
    let mut sizes: BTreeMap<Label, Dim> = BTreeMap::new();
    for (labels, shape) in equation.operands.iter().zip(shapes) {
        for (label, dim) in labels.iter().zip(*shape) {
            let joined = match sizes.get(label) {
                Some(other) => {
                    let (a, b) = (std::slice::from_ref(other), std::slice::from_ref(dim));
                    broadcast_dims(&[a, b])?[0].clone()
                }
                None => dim.clone(),
            };
            sizes.insert(*label, joined);
        }
    }
    Ok(sizes)
}

/// A tensor with a label per axis, no label twice.
struct Labelled<T> {
    array: ArrayD<T>,
    labels: Vec<Label>,
}

impl<T: MatrixElement> Labelled<T> {
    /// Takes the diagonal of every pair of axes with one label.
    fn new(mut array: ArrayD<T>, mut labels: Vec<Label>) -> Self {
        while let Some((first, second)) = repeated(&labels) {
            let size = array.len_of(Axis(first)).min(array.len_of(Axis(second)));
            let slices: Vec<ArrayD<T>> = (0..size)
                .map(|i| array.index_axis(Axis(second), i).index_axis(Axis(first), i).to_owned())
                .collect();
            let views: Vec<_> = slices.iter().map(|slice| slice.view()).collect();
            array =
                ndarray::stack(Axis(first), &views).unwrap_or_else(|_| empty_diagonal(&array, first, second));
            labels.remove(second);
        }
        Self { array, labels }
    }

    /// Sums the axes whose labels are not kept.
    fn sum_all_but(mut self, keep: &dyn Fn(&Label) -> bool) -> Self {
        while let Some(axis) = self.labels.iter().position(|label| !keep(label)) {
            self.array = self.array.fold_axis(Axis(axis), T::ZERO, |sum, x| sum.plus(*x));
            self.labels.remove(axis);
        }
        self
    }

    /// Axes in the order of three groups of labels, each group one axis; labels that are missing have size 1.
    fn grouped(&self, groups: [&[Label]; 3], size: &dyn Fn(&Label) -> usize) -> Result<ArrayD<T>, EvalError> {
        let all: Vec<Label> = groups.concat();
        let mut view = self.array.view();
        let mut labels = self.labels.clone();
        for label in &all {
            if !labels.contains(label) {
                view = view.insert_axis(Axis(labels.len()));
                labels.push(*label);
            }
        }
        let order: Vec<usize> = all.iter().filter_map(|l| labels.iter().position(|o| o == l)).collect();
        let target: Vec<usize> = all.iter().map(size).collect();
        let view = view.permuted_axes(IxDyn(&order));
        let shape: Vec<usize> = groups.iter().map(|g| g.iter().map(size).product()).collect();
        check_elements(&shape)?;
        let wide = crate::broadcast::broadcast_to(&view, &target)?;
        Ok(wide.as_standard_layout().into_owned().into_shape_with_order(IxDyn(&shape))?)
    }
}

fn repeated(labels: &[Label]) -> Option<(usize, usize)> {
    labels.iter().enumerate().find_map(|(second, label)| {
        labels[..second].iter().position(|other| other == label).map(|first| (first, second))
    })
}

fn empty_diagonal<T: MatrixElement>(array: &ArrayD<T>, first: usize, second: usize) -> ArrayD<T> {
    let mut shape = array.shape().to_vec();
    shape[first] = 0;
    shape.remove(second);
    ArrayD::from_elem(IxDyn(&shape), T::ZERO)
}

/// Contracts two tensors; `keep` says which labels are still needed.
fn contract<T: MatrixElement>(
    a: Labelled<T>,
    b: Labelled<T>,
    keep: &dyn Fn(&Label) -> bool,
    size: &dyn Fn(&Label) -> usize,
) -> Result<Labelled<T>, EvalError> {
    let a = {
        let shared = b.labels.clone();
        a.sum_all_but(&|l| keep(l) || shared.contains(l))
    };
    let b = {
        let shared = a.labels.clone();
        b.sum_all_but(&|l| keep(l) || shared.contains(l))
    };
    let both: Vec<Label> = a.labels.iter().copied().filter(|l| b.labels.contains(l)).collect();
    let (batch, inner): (Vec<Label>, Vec<Label>) = both.iter().partition(|l| keep(l));
    let only =
        |x: &Labelled<T>| -> Vec<Label> { x.labels.iter().copied().filter(|l| !both.contains(l)).collect() };
    let (rows, columns) = (only(&a), only(&b));
    let left = a.grouped([&batch, &rows, &inner], size)?;
    let right = b.grouped([&batch, &inner, &columns], size)?;
    let product = batched_product(left.view(), right.view())?;
    let labels = [batch, rows, columns].concat();
    let shape: Vec<usize> = labels.iter().map(size).collect();
    Ok(Labelled { array: product.into_shape_with_order(IxDyn(&shape))?, labels })
}

fn evaluate<T: MatrixElement>(
    equation: &Equation,
    operands: Vec<ArrayD<T>>,
    size: &dyn Fn(&Label) -> usize,
) -> Result<ArrayD<T>, EvalError> {
    let mut rest = operands.into_iter().zip(&equation.operands);
    let missing = || EvalError::Infer(InferError::MissingInput { index: 0 });
    let (array, labels) = rest.next().ok_or_else(missing)?;
    let mut result = Labelled::new(array, labels.clone());
    for (position, (array, labels)) in rest.enumerate() {
        let later = &equation.operands[position + 2..];
        let keep = |label: &Label| equation.result.contains(label) || later.iter().any(|l| l.contains(label));
        result = contract(result, Labelled::new(array, labels.clone()), &keep, size)?;
    }
    let result = result.sum_all_but(&|label| equation.result.contains(label));
    let target: Vec<usize> = equation.result.iter().map(size).collect();
    let flat = result.grouped([&equation.result, &[], &[]], size)?;
    Ok(flat.into_shape_with_order(IxDyn(&target))?)
}

impl Op for Einsum {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        for index in 0..cx.inputs.len() {
            expect(cx, index, NUMBERS)?;
            expect_same(cx, 0, index)?;
        }
        let Some(dtype) = cx.dtype(0)? else { return Ok(first_is(cx, Inferred::default())) };
        let shapes: Option<Vec<&[Dim]>> =
            (0..cx.inputs.len()).map(|i| cx.tensor(i).and_then(|ty| ty.shape.as_deref())).collect();
        let Some(shapes) = shapes else { return Ok(first_is(cx, TensorType::unranked(dtype).into())) };
        let equation = equation(cx.attrs, &shapes.iter().map(|s| s.len()).collect::<Vec<_>>())?;
        let sizes = sizes(&equation, &shapes)?;
        let result = equation.result.iter().filter_map(|label| sizes.get(label).cloned());
        Ok(first_is(cx, TensorType::new(dtype, result).into()))
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let inputs = (0..cx.inputs.len()).map(|i| cx.tensor(i)).collect::<Result<Vec<_>, _>>()?;
        let shapes: Vec<Vec<Dim>> =
            inputs.iter().map(|t| t.shape().iter().map(|s| Dim::known(*s as i64)).collect()).collect();
        let equation = equation(cx.attrs, &inputs.iter().map(|t| t.shape().len()).collect::<Vec<_>>())?;
        let sizes = sizes(&equation, &shapes.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
        let size = |label: &Label| sizes.get(label).and_then(Dim::value).map_or(1, |v| v as usize);
        let Some(first) = inputs.first() else { return Err(InferError::MissingInput { index: 0 }.into()) };
        dispatch!(numbers, first.dtype(), T => {
            let operands = inputs.iter().map(|t| Ok(view::<T>(t)?.into_owned())).collect::<Result<Vec<_>, EvalError>>()?;
            one(tensor(evaluate(&equation, operands, &size)?)?)
        })
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        let ranks: Option<Vec<usize>> =
            shapes.inputs.iter().map(|ty| ty.as_ref().and_then(|ty| ty.rank())).collect();
        let Some(equation) = ranks.and_then(|ranks| equation(shapes.attrs, &ranks).ok()) else {
            return shapes.output_elements(0);
        };
        // One multiply-add for every combination of labels.
        let mut sizes: BTreeMap<Label, f64> = BTreeMap::new();
        for (index, labels) in equation.operands.iter().enumerate() {
            for (label, size) in labels.iter().zip(shapes.input(index).unwrap_or_default()) {
                let slot = sizes.entry(*label).or_insert(1.0);
                *slot = slot.max(size);
            }
        }
        2.0 * sizes.values().product::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{from_fn, refusal, run, t};
    use fusebox_ir::Tensor;

    fn einsum(equation: &str, inputs: &[Tensor]) -> Tensor {
        run(&Einsum, &Attrs::new().with("equation", equation), inputs)
    }

    #[test]
    fn contracts_as_a_matrix_product_does() {
        let (a, b) = (from_fn(&[2, 3, 4], |i| i as f32), from_fn(&[2, 4, 2], |i| (i % 5) as f32));
        let product = run(&crate::linear::matmul::MatMul, &Attrs::new(), &[a.clone(), b.clone()]);
        assert_eq!(einsum("bij,bjk->bik", &[a.clone(), b.clone()]), product);
        assert_eq!(einsum("...ij,...jk", &[a, b]), product);
    }

    #[test]
    fn transposes_sums_and_takes_diagonals() {
        let x = t(&[2, 2], &[1f32, 2.0, 3.0, 4.0]);
        let one = std::slice::from_ref(&x);
        assert_eq!(einsum("ij->ji", one), t(&[2, 2], &[1f32, 3.0, 2.0, 4.0]));
        assert_eq!(einsum("ij->i", one), t(&[2], &[3f32, 7.0]));
        assert_eq!(einsum("ii->i", one), t(&[2], &[1f32, 4.0]));
        assert_eq!(einsum("ii", one), t(&[], &[5f32]));
        let outer = einsum("i,j->ij", &[t(&[2], &[1f32, 2.0]), t(&[2], &[3f32, 4.0])]);
        assert_eq!(outer, t(&[2, 2], &[3f32, 4.0, 6.0, 8.0]));
    }

    #[test]
    fn more_operands_and_broadcast_ellipses() {
        let (a, b, c) =
            (from_fn(&[2, 3], |i| i as f32), from_fn(&[3, 2], |i| i as f32), t(&[2], &[1f32, 10.0]));
        assert_eq!(einsum("ij,jk,k->i", &[a, b, c]), t(&[2], &[140f32, 428.0]));
        let scaled =
            einsum("...i,...i->...i", &[from_fn(&[1, 2], |i| i as f32), from_fn(&[2, 2], |i| i as f32)]);
        assert_eq!(scaled, t(&[2, 2], &[0f32, 1.0, 0.0, 3.0]));
    }

    #[test]
    fn sizes_of_one_letter_must_agree() {
        let inputs = [t(&[2], &[1f32; 2]), t(&[3], &[1f32; 3])];
        let message = refusal(&Einsum, &Attrs::new().with("equation", "i,i->i"), &inputs);
        assert!(message.contains("[2] and [3] do not broadcast"), "{message}");
    }
}
