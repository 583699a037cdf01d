//! Runs one operator in a test, and on the way checks its typing against what it computed.
//!
//! Typing is tried three times: with all types known, with a symbol for every size, and with nothing known. Whatever
//! it claims must agree with the evaluated outputs.

use crate::op::{Arg, Eval, Infer};
use crate::{Datum, EvalError, Interpreter, Op};
use fusebox_ir::tensor::Element;
use fusebox_ir::{Attrs, Dim, Tensor, TensorType, Type};
use std::cell::Cell;

/// What typing is told of an input.
type Claim<'a> = &'a dyn Fn(usize, &Tensor) -> Type;

/// A tensor of a shape and its elements.
pub(crate) fn t<T: Element>(shape: &[usize], elements: &[T]) -> Tensor {
    Tensor::from_vec(shape.to_vec(), elements.to_vec()).expect("test data fits its shape")
}

/// A tensor of `f(0), f(1), …`.
pub(crate) fn from_fn(shape: &[usize], f: impl Fn(usize) -> f32) -> Tensor {
    let count = shape.iter().product();
    t(shape, &(0..count).map(f).collect::<Vec<f32>>())
}

/// The first output of an operator whose inputs are all present.
pub(crate) fn run(op: &dyn Op, attrs: &Attrs, inputs: &[Tensor]) -> Tensor {
    let inputs: Vec<Option<Tensor>> = inputs.iter().cloned().map(Some).collect();
    run_all(op, attrs, &inputs, 1).expect("the operator evaluates").remove(0)
}

/// The message with which evaluation fails.
pub(crate) fn refusal(op: &dyn Op, attrs: &Attrs, inputs: &[Tensor]) -> String {
    let inputs: Vec<Option<Tensor>> = inputs.iter().cloned().map(Some).collect();
    eval(op, attrs, &inputs, 1).expect_err("the operator refuses").to_string()
}

/// All outputs, checked against all typings.
pub(crate) fn run_all(
    op: &dyn Op,
    attrs: &Attrs,
    inputs: &[Option<Tensor>],
    outputs: usize,
) -> Result<Vec<Tensor>, EvalError> {
    let results = eval(op, attrs, inputs, outputs)?;
    check_typing(op, attrs, inputs, outputs, &results);
    Ok(results)
}

fn eval(
    op: &dyn Op,
    attrs: &Attrs,
    inputs: &[Option<Tensor>],
    outputs: usize,
) -> Result<Vec<Tensor>, EvalError> {
    let data: Vec<Option<Datum>> = inputs.iter().map(|i| i.clone().map(Datum::from)).collect();
    let data: Vec<Option<&Datum>> = data.iter().map(Option::as_ref).collect();
    let interpreter = &Interpreter::new(&[]);
    let cx = Eval { attrs, inputs: &data, outputs, regions: &[], captures: &[], interpreter };
    op.eval(&cx)?.into_iter().map(Datum::into_tensor).collect()
}

fn check_typing(op: &dyn Op, attrs: &Attrs, inputs: &[Option<Tensor>], outputs: usize, results: &[Tensor]) {
    let sizes = |name: &str| sizes_of(name, inputs);
    let symbolic = |index: usize, tensor: &Tensor| {
        let dim = |(axis, size): (usize, &usize)| match size {
            0 | 1 => Dim::known(*size as i64),
            _ => Dim::symbol(format!("i{index}_{axis}")),
        };
        TensorType::new(tensor.dtype(), tensor.shape().iter().enumerate().map(dim)).into()
    };
    let known = |_: usize, tensor: &Tensor| Type::from(tensor.ty());
    let nothing = |_: usize, _: &Tensor| Type::Unknown;
    let modes: [Claim<'_>; 3] = [&known, &symbolic, &nothing];
    for mode in modes {
        let types: Vec<Option<Type>> =
            inputs.iter().enumerate().map(|(i, t)| t.as_ref().map(|t| mode(i, t))).collect();
        let args: Vec<Option<Arg<'_>>> = types
            .iter()
            .zip(inputs)
            .map(|(ty, tensor)| {
                let constant = tensor.as_ref().filter(|t| t.integers().is_some());
                ty.as_ref().map(|ty| Arg { ty, constant, dims: None })
            })
            .collect();
        let count = Cell::new(0);
        let fresh = || {
            count.set(count.get() + 1);
            Dim::symbol(format!("fresh{}", count.get()))
        };
        let cx = Infer { attrs, inputs: &args, outputs, regions: &[], fresh: &fresh };
        let inferred = op.infer(&cx).expect("typing accepts what evaluation accepts");
        assert_eq!(inferred.len(), outputs, "one type per output slot");
        for (result, inferred) in results.iter().zip(&inferred) {
            agree(result, &inferred.ty, inferred.dims.as_deref(), &sizes);
        }
    }
}

fn sizes_of(name: &str, inputs: &[Option<Tensor>]) -> Option<Dim> {
    let (input, axis) = name.strip_prefix('i')?.split_once('_')?;
    let tensor = inputs.get(input.parse::<usize>().ok()?)?.as_ref()?;
    Some(Dim::known(tensor.shape()[axis.parse::<usize>().ok()?] as i64))
}

fn agree(result: &Tensor, ty: &Type, dims: Option<&[Dim]>, sizes: &dyn Fn(&str) -> Option<Dim>) {
    let Type::Tensor(ty) = ty else { return assert_eq!(*ty, Type::Unknown) };
    assert_eq!(ty.dtype, result.dtype());
    let claims = |dim: &Dim, value: i64| {
        let claim = dim.substitute(sizes).value();
        assert!(claim.is_none_or(|c| c == value), "typing says {dim} where evaluation gives {value}");
    };
    if let Some(shape) = &ty.shape {
        assert_eq!(shape.len(), result.shape().len(), "typed as {ty}, computed {:?}", result.shape());
        shape.iter().zip(result.shape()).for_each(|(dim, size)| claims(dim, *size as i64));
    }
    if let (Some(dims), Some(values)) = (dims, result.integers()) {
        assert_eq!(dims.len(), values.len());
        dims.iter().zip(values).for_each(|(dim, value)| claims(dim, value));
    }
}

/// Asserts that a float tensor has these elements within `1e-5` of their magnitude.
pub(crate) fn close(result: &Tensor, expected: &[f64]) {
    let found = result.floats().expect("a float tensor");
    assert_eq!(found.len(), expected.len(), "found {found:?}");
    for (a, b) in found.iter().zip(expected) {
        let near = (a - b).abs() <= 1e-5 * b.abs().max(1.0);
        assert!(near || a == b || (a.is_nan() && b.is_nan()), "found {found:?}, expected {expected:?}");
    }
}
