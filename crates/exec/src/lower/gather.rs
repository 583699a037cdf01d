//! Gather along one axis.

use super::{Lower, Lowered, Row};
use fusebox_ir::{DType, NodeId};
use fusebox_kernels::gather::{GatherSpec, GatherStep};
use fusebox_kernels::{Element, SpecError};

pub(super) static ROWS: &[Row] = &[Row::onnx("Gather", gather)];

fn gather(cx: &mut Lower<'_>, id: NodeId) -> Result<Lowered, SpecError> {
    let (table, indices) = (cx.input(id, 0), cx.input(id, 1));
    let Some(axis) = super::movement::axis(cx.graph.node(id).attrs.int_or("axis", 0), table.dims().len())
    else {
        return Ok(Lowered::Declined("axis out of range".into()));
    };
    let index_element = match indices.dtype {
        DType::I64 => Element::I64,
        DType::I32 => Element::I32,
        other => return Ok(Lowered::Declined(format!("indices of {other}"))),
    };
    // One index known beforehand is a view, not a copy.
    if let Some(position) = constant_index(cx, id, table.dims()[axis]) {
        let mut view = table.narrowed(axis, position, 1, 1);
        view.layout.dims.remove(axis);
        view.layout.strides.remove(axis);
        if indices.dims().is_empty() {
            cx.set_output(id, 0, view);
            return Ok(Lowered::Done);
        }
    }
    let (table, indices) = (cx.dense(table), cx.dense(indices));
    let target = cx.output(id, 0);
    let outer = table.dims()[..axis].iter().product();
    let row_bytes = table.dims()[axis + 1..].iter().product::<usize>() * table.element_size();
    let (extent, count, isa) = (table.dims()[axis], indices.len(), cx.isa);
    let (t, i, sink) = (table.clone(), indices.clone(), target.clone());
    cx.push(&[&table, &indices], &[&target], None, move |spans| {
        let (table, indices, target) = (spans.operand(&t), spans.operand(&i), spans.tail(&sink)?);
        let spec = GatherSpec { outer, extent, row_bytes, table, count, indices, index_element, target };
        Ok(Box::new(GatherStep::new(spec, isa)?))
    });
    cx.set_output(id, 0, target);
    Ok(Lowered::Done)
}

fn constant_index(cx: &Lower<'_>, id: NodeId, extent: usize) -> Option<usize> {
    let tensor = cx.constant(cx.graph.node(id).input(1)?).filter(|t| t.len() == 1)?;
    let index = tensor.integers()?[0];
    let extent = i64::try_from(extent).ok()?;
    let index = if index < 0 { index + extent } else { index };
    (0..extent).contains(&index).then(|| usize::try_from(index).ok()).flatten()
}
