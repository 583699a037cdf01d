//! Functions that guards and computed attributes call. One row each: name, operands, meaning.
//!
//! A function returns `None` for "not known", also for operands of the wrong kind: a guard then does not hold.

use crate::egraph::analysis::{Egg, Known};
use crate::shapes;
use crate::value::{Operand, Value};
use fusebox_ir::{Attrs, DType, Dim, Tensor};
use fusebox_ops::window::{AutoPad, Window};
use std::collections::BTreeSet;

/// A function of the table.
#[derive(Debug)]
pub struct Function {
    /// Name.
    pub name: &'static str,
    /// Fewest and most operands.
    pub arity: (usize, usize),
    /// What it gives, for the book.
    pub doc: &'static str,
    /// The computation.
    pub call: fn(&Egg, &[Value]) -> Option<Value>,
}

/// All functions, by name.
pub static FUNCTIONS: &[Function] = &[
    Function { name: "SQRT", arity: (1, 1), doc: "square root", call: sqrt },
    Function {
        name: "around_transpose",
        arity: (4, 4),
        doc: "for Reshape(Transpose[perm](Reshape(x))) with the shapes of the inner Reshape and of the result: the coarsest shape to give x and the perm after it",
        call: around_transpose,
    },
    Function {
        name: "automatic_pads",
        arity: (5, 5),
        doc: "the pads that auto_pad, the first argument, means for an input, weights, strides and dilations",
        call: automatic_pads,
    },
    Function {
        name: "axes",
        arity: (2, 2),
        doc: "axes of a tensor of the given rank, from the front, ascending",
        call: axes,
    },
    Function {
        name: "axis",
        arity: (2, 2),
        doc: "an axis of a tensor of the given rank, from the front",
        call: axis,
    },
    Function {
        name: "before_transpose",
        arity: (3, 3),
        doc: "for Reshape(Transpose[perm](x)) with the result's shape: the shape to give x, the perm after it, and whether no Reshape is left",
        call: before_transpose,
    },
    Function {
        name: "between_axes",
        arity: (3, 3),
        doc: "for Squeeze(Transpose[perm](Unsqueeze(x))): the perm that does the same alone, when the axes taken away are those added; axes from the front",
        call: between_axes,
    },
    Function {
        name: "broadcasts",
        arity: (2, 2),
        doc: "whether an operand broadcasts to a shape without enlarging it",
        call: broadcasts,
    },
    Function {
        name: "const",
        arity: (1, usize::MAX),
        doc: "whether all operands are constants",
        call: constant,
    },
    Function {
        name: "contraction",
        arity: (1, 1),
        doc: "of an Einsum equation over two operands that is one product of matrices: the perms of the operands before it and of the result behind it, and the axes of either operand that have the same sizes in the other's",
        call: contraction,
    },
    Function { name: "dim", arity: (2, 2), doc: "size along an axis", call: dim },
    Function {
        name: "dims",
        arity: (2, 2),
        doc: "for each operand of a group its size along an axis",
        call: dims,
    },
    Function { name: "dtype", arity: (1, 1), doc: "name of the element type", call: dtype },
    Function {
        name: "elements",
        arity: (1, 1),
        doc: "elements of an integer vector, known or symbolic",
        call: elements,
    },
    Function {
        name: "expressible",
        arity: (2, 2),
        doc: "whether a constant can say to Reshape how to get the shape from the operand",
        call: expressible,
    },
    Function {
        name: "float",
        arity: (1, 1),
        doc: "whether elements are floating-point numbers",
        call: float,
    },
    Function {
        name: "holds",
        arity: (2, 2),
        doc: "whether an element type has every value of another",
        call: holds,
    },
    Function { name: "integer", arity: (1, 1), doc: "whether elements are integers", call: integer },
    Function { name: "inverse", arity: (1, 1), doc: "the permutation that undoes another", call: inverse },
    Function { name: "iota", arity: (1, 1), doc: "[0, 1, … n-1]", call: iota },
    Function { name: "len", arity: (1, 1), doc: "length of a list", call: len },
    Function {
        name: "lower_triangle",
        arity: (1, 1),
        doc: "whether a constant mask hides exactly the keys after each query",
        call: lower_triangle,
    },
    Function { name: "max", arity: (1, 1), doc: "largest element of a constant", call: largest },
    Function { name: "min", arity: (1, 1), doc: "smallest element of a constant", call: smallest },
    Function {
        name: "moved",
        arity: (1, 1),
        doc: "the zero point, in u8, of levels moved from the type of a zero point (u8 or i8) to u8",
        call: moved,
    },
    Function { name: "product", arity: (1, 1), doc: "product of a list of sizes", call: product },
    Function { name: "rank", arity: (1, 1), doc: "number of axes", call: rank },
    Function { name: "rep", arity: (2, 2), doc: "a value n times", call: rep },
    Function {
        name: "reshape",
        arity: (2, 2),
        doc: "the constant that tells Reshape how to get the shape from the operand, with 0 and -1",
        call: reshape,
    },
    Function {
        name: "resized",
        arity: (3, 3),
        doc: "the shape with another size along an axis",
        call: resized,
    },
    Function {
        name: "running",
        arity: (1, 1),
        doc: "sums of the elements before each position, and of all",
        call: running,
    },
    Function { name: "shape", arity: (1, 1), doc: "sizes along all axes", call: shape },
    Function {
        name: "slice_before_reshape",
        arity: (3, 3),
        doc: "for a slice of Reshape(x) along an axis: the axis of x and the factor of the bounds",
        call: slice_before_reshape,
    },
    Function {
        name: "uniform",
        arity: (1, 1),
        doc: "the element that all elements of a constant equal",
        call: uniform,
    },
    Function {
        name: "wide",
        arity: (1, 1),
        doc: "whether elements are floats whose range f32 or a wider type has, so that a scale may move; f16 overflows at 65504",
        call: wide,
    },
    Function {
        name: "without",
        arity: (2, 2),
        doc: "a list without the elements at given positions",
        call: without,
    },
    Function {
        name: "without_axis",
        arity: (2, 2),
        doc: "the permutation of the axes that are left when one is taken out",
        call: without_axis,
    },
];

/// A function by name.
pub fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|f| f.name == name)
}

fn known<'a>(egraph: &'a Egg, value: &Value) -> Option<&'a Known> {
    match value {
        Value::Operand(Operand::Class(id)) => Some(&egraph[*id].data),
        _ => None,
    }
}

fn tensor<'a>(egraph: &'a Egg, value: &Value) -> Option<&'a Tensor> {
    known(egraph, value)?.value.map(|v| egraph.analysis.tables.tensor(v))
}

/// Shape of an operand, or a list of sizes as it is.
fn sizes(egraph: &Egg, value: &Value) -> Option<Vec<Dim>> {
    match value {
        Value::List(_) => value.as_dims(),
        _ => Some(known(egraph, value)?.shape()?.to_vec()),
    }
}

fn sqrt(_: &Egg, args: &[Value]) -> Option<Value> {
    Some(Value::Float(args[0].as_float()?.sqrt()))
}

fn from_front(axis: i64, rank: i64) -> Option<i64> {
    let axis = if axis < 0 { axis + rank } else { axis };
    (0..rank).contains(&axis).then_some(axis)
}

fn axis(_: &Egg, args: &[Value]) -> Option<Value> {
    from_front(args[0].as_int()?, args[1].as_int()?).map(Value::from)
}

fn axes(_: &Egg, args: &[Value]) -> Option<Value> {
    let rank = args[1].as_int()?;
    let mut axes: Vec<i64> =
        args[0].as_ints()?.into_iter().map(|a| from_front(a, rank)).collect::<Option<_>>()?;
    axes.sort_unstable();
    Some(Value::ints(axes))
}

fn before_transpose(egraph: &Egg, args: &[Value]) -> Option<Value> {
    let perm: Vec<usize> =
        args[1].as_ints()?.into_iter().map(|a| usize::try_from(a).ok()).collect::<Option<_>>()?;
    let (shape, perm, exact) =
        shapes::before_transpose(&sizes(egraph, &args[0])?, &perm, &sizes(egraph, &args[2])?)?;
    let perm = Value::ints(perm.into_iter().map(|a| a as i64));
    Some(Value::List(vec![Value::dims(shape), perm, Value::Bool(exact)]))
}

fn around_transpose(egraph: &Egg, args: &[Value]) -> Option<Value> {
    let perm: Vec<usize> =
        args[2].as_ints()?.into_iter().map(|a| usize::try_from(a).ok()).collect::<Option<_>>()?;
    let (x, inner, y) = (sizes(egraph, &args[0])?, sizes(egraph, &args[1])?, sizes(egraph, &args[3])?);
    let (shape, perm) = shapes::around_transpose(&x, &inner, &perm, &y)?;
    Some(Value::List(vec![Value::dims(shape), Value::ints(perm.into_iter().map(|a| a as i64))]))
}

/// Strides of 1 need no sizes: the padding is what the window is larger than an element.
fn automatic_pads(egraph: &Egg, args: &[Value]) -> Option<Value> {
    let Value::Str(kind) = &args[0] else { return None };
    let (input, weights) = (sizes(egraph, &args[1])?, sizes(egraph, &args[2])?);
    let mut attrs = Attrs::new().with("auto_pad", kind.as_str());
    for (name, value) in [("strides", &args[3]), ("dilations", &args[4])] {
        if *value != Value::None {
            attrs.set(name, value.as_ints()?);
        }
    }
    let window = Window::read(&attrs, weights.get(2..)?).ok()?;
    let size = |(dim, stride): (&Dim, &i64)| match (dim.value(), window.auto_pad, stride) {
        (Some(size), ..) => usize::try_from(size).ok(),
        (None, AutoPad::Valid, _) | (None, _, 1) => usize::try_from(1 << 20).ok(),
        _ => None,
    };
    let spatial: Vec<usize> = input.get(2..)?.iter().zip(&window.strides).map(size).collect::<Option<_>>()?;
    let axes = window.axes(&spatial).ok()?;
    Some(Value::ints(axes.iter().map(|a| a.begin).chain(axes.iter().map(|a| a.end))))
}

fn contraction(_: &Egg, args: &[Value]) -> Option<Value> {
    let Value::Str(equation) = &args[0] else { return None };
    let lists = shapes::contraction(equation)?;
    let list = |axes: Vec<usize>| Value::ints(axes.into_iter().map(|a| a as i64));
    Some(Value::List(lists.into_iter().map(list).collect()))
}

fn between_axes(_: &Egg, args: &[Value]) -> Option<Value> {
    let positions = |value: &Value| -> Option<Vec<usize>> {
        value.as_ints()?.into_iter().map(|a| usize::try_from(a).ok()).collect()
    };
    let (added, perm, taken) = (positions(&args[0])?, positions(&args[1])?, positions(&args[2])?);
    let gone: Option<BTreeSet<usize>> = taken.iter().map(|axis| perm.get(*axis).copied()).collect();
    if gone? != added.iter().copied().collect() {
        return None;
    }
    let kept = perm.iter().filter(|axis| !added.contains(axis));
    let moved = kept.map(|axis| (axis - added.iter().filter(|a| *a < axis).count()) as i64);
    Some(Value::ints(moved))
}

fn holds(_: &Egg, args: &[Value]) -> Option<Value> {
    let (Value::Str(wide), Value::Str(narrow)) = (&args[0], &args[1]) else { return None };
    let (wide, narrow) = (DType::from_name(wide)?, DType::from_name(narrow)?);
    let exact = |d: DType| match d {
        DType::F64 => (true, 53),
        DType::F32 => (true, 24),
        DType::F16 => (true, 11),
        DType::BF16 => (true, 8),
        DType::Bool => (false, 1),
        d => (false, d.bits()),
    };
    let signed = |d: DType| d.name().starts_with('i');
    let ((wide_float, wide_bits), (float, bits)) = (exact(wide), exact(narrow));
    let holds = match (wide_float, float) {
        (true, true) => {
            wide == narrow || (wide_bits > bits && !(wide == DType::F16 && narrow == DType::BF16))
        }
        (true, false) => wide_bits >= bits,
        (false, true) => false,
        (false, false) => wide_bits > bits || (wide_bits == bits && signed(wide) == signed(narrow)),
    };
    Some(Value::Bool(holds && (float || wide_float || signed(wide) || !signed(narrow))))
}

fn resized(egraph: &Egg, args: &[Value]) -> Option<Value> {
    let mut shape = sizes(egraph, &args[0])?;
    let axis = from_front(args[1].as_int()?, shape.len() as i64)?;
    shape[axis as usize] = args[2].as_dim()?.clone();
    Some(Value::dims(shape))
}

fn slice_before_reshape(egraph: &Egg, args: &[Value]) -> Option<Value> {
    let (x, y) = (sizes(egraph, &args[0])?, sizes(egraph, &args[1])?);
    let axis = from_front(args[2].as_int()?, y.len() as i64)?;
    let (axis, factor) = shapes::slice_before_reshape(&x, &y, axis as usize)?;
    Some(Value::ints([axis as i64, factor]))
}

fn broadcasts(egraph: &Egg, args: &[Value]) -> Option<Value> {
    if matches!(args[0], Value::None | Value::Operand(Operand::Absent)) {
        return Some(Value::Bool(true));
    }
    shapes::broadcasts(&sizes(egraph, &args[0])?, &sizes(egraph, &args[1])?).map(Value::Bool)
}

fn constant(egraph: &Egg, args: &[Value]) -> Option<Value> {
    let mut all = true;
    for arg in args {
        all &= match arg {
            Value::Operand(Operand::Absent) | Value::None => true,
            Value::List(items) => {
                items.iter().all(|i| constant(egraph, std::slice::from_ref(i)) == Some(Value::Bool(true)))
            }
            _ => known(egraph, arg)?.constant,
        };
    }
    Some(Value::Bool(all))
}

fn dim(egraph: &Egg, args: &[Value]) -> Option<Value> {
    let shape = sizes(egraph, &args[0])?;
    let axis = from_front(args[1].as_int()?, shape.len() as i64)?;
    Some(Value::Int(shape[axis as usize].clone()))
}

fn dims(egraph: &Egg, args: &[Value]) -> Option<Value> {
    let of = |operand: &Value| dim(egraph, &[operand.clone(), args[1].clone()]);
    args[0].as_list()?.iter().map(of).collect::<Option<_>>().map(Value::List)
}

fn dtype(egraph: &Egg, args: &[Value]) -> Option<Value> {
    Some(Value::Str(known(egraph, &args[0])?.tensor()?.dtype.name().into()))
}

fn elements(egraph: &Egg, args: &[Value]) -> Option<Value> {
    let known = known(egraph, &args[0])?;
    if let Some(dims) = known.outputs.first()?.dims.clone() {
        return Some(Value::dims(dims));
    }
    tensor(egraph, &args[0])?.integers().map(Value::ints)
}

fn kind(egraph: &Egg, value: &Value, of: fn(DType) -> bool) -> Option<Value> {
    Some(Value::Bool(of(known(egraph, value)?.tensor()?.dtype)))
}

fn float(egraph: &Egg, args: &[Value]) -> Option<Value> {
    kind(egraph, &args[0], DType::is_float)
}

fn wide(egraph: &Egg, args: &[Value]) -> Option<Value> {
    kind(egraph, &args[0], |dtype| matches!(dtype, DType::F32 | DType::F64 | DType::BF16))
}

fn integer(egraph: &Egg, args: &[Value]) -> Option<Value> {
    kind(egraph, &args[0], DType::is_integer)
}

fn inverse(_: &Egg, args: &[Value]) -> Option<Value> {
    let perm = args[0].as_ints()?;
    let position = |axis: i64| perm.iter().position(|p| *p == axis).map(|p| p as i64);
    (0..perm.len() as i64).map(position).collect::<Option<Vec<_>>>().map(Value::ints)
}

/// Lists in rules have at most this many elements: they are ranks and counts of outputs.
const MAX_LIST: i64 = 64;

fn iota(_: &Egg, args: &[Value]) -> Option<Value> {
    let count = args[0].as_int().filter(|n| (0..=MAX_LIST).contains(n))?;
    Some(Value::ints(0..count))
}

fn len(_: &Egg, args: &[Value]) -> Option<Value> {
    Some(Value::from(args[0].as_list()?.len() as i64))
}

fn floats(egraph: &Egg, value: &Value) -> Option<Vec<f64>> {
    let tensor = tensor(egraph, value)?;
    let bytes = || match tensor.dtype() {
        DType::U8 => Some(tensor.data().iter().map(|v| f64::from(*v)).collect()),
        DType::I8 => Some(tensor.data().iter().map(|v| f64::from(v.cast_signed())).collect()),
        _ => None,
    };
    let integers = || Some(tensor.integers()?.into_iter().map(|v| v as f64).collect());
    tensor.floats().or_else(integers).or_else(bytes)
}

fn largest(egraph: &Egg, args: &[Value]) -> Option<Value> {
    floats(egraph, &args[0])?.into_iter().reduce(f64::max).map(Value::Float)
}

fn smallest(egraph: &Egg, args: &[Value]) -> Option<Value> {
    let values = floats(egraph, &args[0])?;
    values.iter().all(|v| !v.is_nan()).then(|| values.into_iter().reduce(f64::min).map(Value::Float))?
}

fn uniform(egraph: &Egg, args: &[Value]) -> Option<Value> {
    let values = floats(egraph, &args[0])?;
    let first = *values.first()?;
    values.iter().all(|v| v.to_bits() == first.to_bits()).then_some(Value::Float(first))
}

fn moved(egraph: &Egg, args: &[Value]) -> Option<Value> {
    let Some(Value::Float(zero)) = uniform(egraph, args) else { return None };
    match known(egraph, &args[0])?.tensor()?.dtype {
        DType::U8 => Some(Value::from(zero as i64)),
        DType::I8 => Some(Value::from(zero as i64 + 128)),
        _ => None,
    }
}

/// Scores below which softmax gives exactly 0 beside any finite score.
const HIDDEN: f64 = -1e30;

fn lower_triangle(egraph: &Egg, args: &[Value]) -> Option<Value> {
    let mask = tensor(egraph, &args[0])?;
    let shape = mask.shape();
    let (rows, columns) = (*shape.get(shape.len().checked_sub(2)?)?, *shape.last()?);
    if shape.iter().rev().skip(2).any(|s| *s != 1) || rows != columns {
        return Some(Value::Bool(false));
    }
    let seen: Vec<bool> = match mask.dtype() {
        DType::Bool => mask.data().iter().map(|b| *b != 0).collect(),
        _ => {
            let values = mask.floats()?;
            if values.iter().any(|v| *v != 0.0 && (v.is_nan() || *v > HIDDEN)) {
                return Some(Value::Bool(false));
            }
            values.iter().map(|v| *v == 0.0).collect()
        }
    };
    let causal = seen.iter().enumerate().all(|(i, seen)| *seen == (i % columns <= i / columns));
    Some(Value::Bool(causal))
}

fn product(_: &Egg, args: &[Value]) -> Option<Value> {
    Some(Value::Int(args[0].as_dims()?.iter().fold(Dim::known(1), |p, d| p.mul(d))))
}

fn rank(egraph: &Egg, args: &[Value]) -> Option<Value> {
    Some(Value::from(known(egraph, &args[0])?.shape()?.len() as i64))
}

fn rep(_: &Egg, args: &[Value]) -> Option<Value> {
    let count = args[1].as_int().filter(|n| (0..=MAX_LIST).contains(n))?;
    Some(Value::List(vec![args[0].clone(); count as usize]))
}

fn expressible(egraph: &Egg, args: &[Value]) -> Option<Value> {
    Some(Value::Bool(reshape(egraph, args).is_some()))
}

fn reshape(egraph: &Egg, args: &[Value]) -> Option<Value> {
    let from = sizes(egraph, &args[0])?;
    shapes::reshape_constant(&from, &sizes(egraph, &args[1])?).map(Value::ints)
}

fn running(_: &Egg, args: &[Value]) -> Option<Value> {
    let mut sum = Dim::known(0);
    let mut sums = vec![sum.clone()];
    for dim in args[0].as_dims()? {
        sum = sum.add(&dim);
        sums.push(sum.clone());
    }
    Some(Value::dims(sums))
}

fn shape(egraph: &Egg, args: &[Value]) -> Option<Value> {
    sizes(egraph, &args[0]).map(Value::dims)
}

fn without(_: &Egg, args: &[Value]) -> Option<Value> {
    let positions = args[1].as_ints()?;
    let items = args[0].as_list()?.iter().enumerate();
    let left = items.filter(|(i, _)| !positions.contains(&(*i as i64)));
    Some(Value::List(left.map(|(_, v)| v.clone()).collect()))
}

fn without_axis(_: &Egg, args: &[Value]) -> Option<Value> {
    let perm = args[0].as_ints()?;
    let axis = from_front(args[1].as_int()?, perm.len() as i64)?;
    let gone = perm[axis as usize];
    let left = perm.iter().filter(|p| **p != gone).map(|p| p - i64::from(*p > gone));
    Some(Value::ints(left))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_documented() {
        assert!(FUNCTIONS.is_sorted_by_key(|f| f.name));
        assert!(FUNCTIONS.iter().all(|f| !f.doc.is_empty() && f.arity.0 <= f.arity.1));
    }
}
