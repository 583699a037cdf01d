//! Interpolation axis by axis: rows picked by taps, and their weighted sum where there is more than one.

use super::movement::memory_order;
use super::{Lower, Lowered, Row, chain};
use crate::view::View;
use fusebox_ir::{DType, NodeId, Tensor};
use fusebox_kernels::elementwise::{Binary, Op};
use fusebox_kernels::gather::{GatherSpec, GatherStep};
use fusebox_kernels::{Element, SpecError};
use fusebox_ops::{AxisTaps, resize_taps};

pub(super) static ROWS: &[Row] = &[Row::onnx("Resize", resize)];

/// Taps per element up to which an axis is done by gathers: cubic interpolation has four.
const MAX_TAPS: usize = 4;

fn resize(cx: &mut Lower<'_>, id: NodeId) -> Result<Lowered, SpecError> {
    let view = cx.input(id, 0);
    let node = cx.graph.node(id);
    let slots = [1, 2, 3].map(|index| node.input(index));
    let constants = slots.map(|slot| slot.and_then(|value| cx.constant(value)));
    if slots.iter().zip(&constants).any(|(slot, constant)| slot.is_some() && constant.is_none()) {
        return Ok(Lowered::Declined("scales or sizes depend on data".into()));
    }
    if view.dtype != DType::F32 || view.is_empty() {
        return Ok(Lowered::Declined(format!("no kernel resizes {}, or what is empty", view.dtype)));
    }
    let taps = match resize_taps(&node.attrs, view.dims(), constants) {
        Ok(taps) => taps,
        Err(reason) => return Ok(Lowered::Declined(reason.to_string())),
    };
    if taps.iter().flatten().flatten().any(|taps| taps.is_empty() || taps.len() > MAX_TAPS) {
        return Ok(Lowered::Declined("more taps per element than the kernel takes".into()));
    }
    // Channels-last images stay channels-last.
    let order = memory_order(&view.layout).filter(|_| view.layout.offset == 0);
    let view = if order.is_some() { cx.in_arena(view) } else { cx.dense(view) };
    let order = order.unwrap_or_else(|| (0..taps.len()).collect());
    let mut current = view.permuted(&order);
    for (position, axis) in order.iter().enumerate() {
        if let Some(taps) = &taps[*axis] {
            current = along(cx, &current, position, taps)?;
        }
    }
    let mut back = vec![0; order.len()];
    order.iter().enumerate().for_each(|(position, axis)| back[*axis] = position);
    cx.set_output(id, 0, current.permuted(&back));
    Ok(Lowered::Done)
}

/// One axis of a gapless view in row-major order.
fn along(cx: &mut Lower<'_>, view: &View, axis: usize, taps: &AxisTaps) -> Result<View, SpecError> {
    let count = taps.iter().map(Vec::len).max().unwrap_or(1);
    let mut picked = Vec::new();
    for tap in 0..count {
        let index = |taps: &Vec<(usize, f64)>| taps.get(tap).map_or(0, |tap| tap.0);
        picked.push(pick(cx, view, axis, taps.iter().map(index).collect())?);
    }
    if taps.iter().all(|taps| matches!(taps[..], [(_, weight)] if weight == 1.0)) {
        return Ok(picked.swap_remove(0));
    }
    let dims = picked[0].dims().to_vec();
    let mut shape = vec![1; dims.len()];
    shape[axis] = dims[axis];
    for tap in 0..count {
        #[allow(clippy::cast_possible_truncation, reason = "the sum is computed in f32")]
        let weight = |taps: &Vec<(usize, f64)>| taps.get(tap).map_or(0.0, |tap| tap.1) as f32;
        let weights = Tensor::from_vec(shape.clone(), taps.iter().map(weight).collect());
        let weights = cx.constant_view(&weights.map_err(|e| SpecError { reason: e.to_string() })?);
        picked.push(weights.broadcast(&dims).expect("one weight per element of the axis broadcasts"));
    }
    let mut building = chain::Building::over(picked);
    let chain = &mut building.chain;
    let mut sum = None;
    for tap in 0..count {
        let (value, weight) = (chain.input(tap)?, chain.input(count + tap)?);
        let term = chain.push(Op::Binary(Binary::Mul, value, weight))?;
        sum = Some(match sum {
            Some(sum) => chain.push(Op::Binary(Binary::Add, sum, term))?,
            None => term,
        });
    }
    let target = cx.allocate(DType::F32, &dims);
    chain::push(cx, building, sum.expect("every element has a tap"), &target);
    Ok(target)
}

fn pick(cx: &mut Lower<'_>, view: &View, axis: usize, indices: Vec<usize>) -> Result<View, SpecError> {
    let mut dims = view.dims().to_vec();
    let (extent, count) = (dims[axis], indices.len());
    let outer = dims[..axis].iter().product();
    let row_bytes = dims[axis + 1..].iter().product::<usize>() * view.element_size();
    dims[axis] = count;
    let target = cx.allocate(view.dtype, &dims);
    let indices: Vec<i64> = indices.into_iter().map(|i| i64::try_from(i).unwrap_or(i64::MAX)).collect();
    let indices = cx.constant_view(&Tensor::vector(indices));
    let (isa, table, sink) = (cx.isa, view.clone(), target.clone());
    cx.push(&[view], &[&target], None, move |spans| {
        let (table, indices, target) = (spans.operand(&table), spans.operand(&indices), spans.tail(&sink)?);
        let index_element = Element::I64;
        let spec = GatherSpec { outer, extent, row_bytes, table, count, indices, index_element, target };
        Ok(Box::new(GatherStep::new(spec, isa)?))
    });
    Ok(target)
}
