//! Valid random inputs for a graph: indices within their table, masks of zeros and large negatives, symbols bound alike.
//!
//! Looks at who reads an input, not at any model's conventions, except that a float input whose name has `mask` in it
//! is an additive mask.

use crate::Draw;
use fusebox_ir::{DType, Dim, Graph, Tensor, TensorType, ValueId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Sizes that symbols may get.
const SIZES: &[i64] = &[1, 2, 3, 5];

/// One tensor per input of the graph, in its order. A symbol has one size throughout.
///
/// # Panics
/// On an input that is no tensor of known rank, of strings, or of an element type without arithmetic: a test has no use
/// for it.
pub fn inputs_for(graph: &Graph, seed: u64) -> Vec<Tensor> {
    let mut draw = Draw::new(seed);
    let mut sizes: BTreeMap<Arc<str>, i64> = BTreeMap::new();
    let mut tensors = Vec::new();
    for input in &graph.inputs {
        let value = graph.value(*input);
        let ty = value.ty.tensor().unwrap_or_else(|| panic!("input {:?} is no tensor", value.name));
        let shape = sizes_of(ty, &mut sizes, &mut draw);
        let bound = index_bound(graph, *input, &sizes);
        tensors.push(tensor(ty.dtype, &shape, bound, value.name.contains("mask"), &mut draw));
    }
    tensors
}

fn sizes_of(ty: &TensorType, sizes: &mut BTreeMap<Arc<str>, i64>, draw: &mut Draw) -> Vec<usize> {
    let shape = ty.shape.as_ref().expect("an input of known rank");
    for symbol in shape.iter().flat_map(Dim::symbols) {
        sizes.entry(symbol).or_insert_with(|| *draw.pick(SIZES));
    }
    shape.iter().map(|dim| resolve(dim, sizes)).collect()
}

fn resolve(dim: &Dim, sizes: &BTreeMap<Arc<str>, i64>) -> usize {
    let bound = dim.substitute(&|symbol| sizes.get(symbol).map(|size| Dim::known(*size)));
    bound.value().and_then(|value| usize::try_from(value).ok()).unwrap_or(1)
}

/// How many rows the table has that an integer input indexes, when some node gathers with it.
fn index_bound(graph: &Graph, input: ValueId, sizes: &BTreeMap<Arc<str>, i64>) -> Option<usize> {
    let tables = graph.nodes().filter_map(|(_, node)| {
        let gathers = ["Gather", "GatherElements"].iter().any(|op| node.op.is(op));
        if !gathers || node.input(1) != Some(input) {
            return None;
        }
        let shape = graph.value(node.input(0)?).ty.tensor()?.shape.as_ref()?;
        let axis = node.attrs.int_or("axis", 0);
        let axis = if axis < 0 { axis + shape.len() as i64 } else { axis };
        shape.get(usize::try_from(axis).ok()?).map(|dim| resolve(dim, sizes))
    });
    tables.min()
}

fn tensor(dtype: DType, shape: &[usize], bound: Option<usize>, mask: bool, draw: &mut Draw) -> Tensor {
    let count: usize = shape.iter().product();
    let floats = match mask {
        // Not all of a row may be masked, so the first of each row is open.
        true => (0..count)
            .map(|i| {
                let open = i % shape.last().copied().unwrap_or(1).max(1) == 0 || draw.chance(0.7);
                if open { 0.0 } else { -10_000.0 }
            })
            .collect::<Vec<f32>>(),
        false => (0..count).map(|_| draw.normal()).collect(),
    };
    let integers = |draw: &mut Draw| (0..count).map(|_| draw.below(bound.unwrap_or(8))).collect::<Vec<_>>();
    let shape = shape.to_vec();
    let result = match dtype {
        DType::F32 => Tensor::from_vec(shape, floats),
        DType::F64 => Tensor::from_vec(shape, floats.into_iter().map(f64::from).collect()),
        DType::F16 => Tensor::from_vec(shape, floats.into_iter().map(half::f16::from_f32).collect()),
        DType::BF16 => Tensor::from_vec(shape, floats.into_iter().map(half::bf16::from_f32).collect()),
        DType::Bool => Tensor::from_bools(shape, (0..count).map(|_| draw.chance(0.7)).collect::<Vec<_>>()),
        DType::I64 => Tensor::from_vec(shape, integers(draw).into_iter().map(|v| v as i64).collect()),
        DType::I32 => Tensor::from_vec(shape, integers(draw).into_iter().map(|v| v as i32).collect()),
        DType::I8 => Tensor::from_vec(shape, integers(draw).into_iter().map(|v| v as i8).collect()),
        DType::U8 => Tensor::from_vec(shape, integers(draw).into_iter().map(|v| v as u8).collect()),
        other => panic!("no random inputs of {other}"),
    };
    result.expect("as many elements as the shape has")
}

#[cfg(test)]
mod tests {
    use super::*;
    use fusebox_ir::{Attrs, Builder};

    #[test]
    fn inputs_are_typed_bound_and_repeatable() {
        let mut b = Builder::new();
        let n = Dim::symbol("n");
        let ids = b.input("ids", TensorType::new(DType::I64, [n.clone(), Dim::known(4)]));
        let table = b.constant(Tensor::from_vec(vec![3, 2], vec![0f32; 6]).unwrap());
        let mask = b.input("mask", TensorType::new(DType::F32, [n.mul(&Dim::known(2)), Dim::known(4)]));
        let y = b.op_with("Gather", &[table, ids], Attrs::new().with("axis", 0));
        let graph = b.finish(&[y, mask]);
        for seed in 0..20 {
            let inputs = inputs_for(&graph, seed);
            assert_eq!(inputs[1].shape()[0], 2 * inputs[0].shape()[0]);
            assert!(inputs[0].integers().unwrap().iter().all(|i| (0..3).contains(i)));
            assert!(inputs[1].floats().unwrap().iter().all(|v| *v == 0.0 || *v == -10_000.0));
            assert_eq!(inputs, inputs_for(&graph, seed));
        }
    }
}
