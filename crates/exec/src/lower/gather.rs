//! Gathers and scatters: along one axis, by elements, by tuples of indices.

use super::{Lower, Lowered, Row};
use crate::view::View;
use fusebox_ir::{Attrs, DType, NodeId};
use fusebox_kernels::gather::{
    AddressedGather, AddressedScatter, Addresses, GatherSpec, GatherStep, Meeting,
};
use fusebox_kernels::{Element, Layout, Operand, Span, SpecError};

pub(super) static ROWS: &[Row] = &[
    Row::onnx("Gather", gather),
    Row::onnx("GatherElements", |cx, id| addressed(cx, id, by_element)),
    Row::onnx("GatherND", |cx, id| addressed(cx, id, by_tuple)),
    Row::onnx("ScatterElements", |cx, id| scatter(cx, id, by_element)),
    Row::onnx("ScatterND", |cx, id| scatter(cx, id, by_tuple)),
];

/// How a list of rows lies in a table: dims with steps, and extent and step of each index of a tuple; rows of the table,
/// elements of a row.
struct Form {
    list: Layout,
    axes: Vec<(usize, usize)>,
    rows: usize,
    row: usize,
}

type FormFn = fn(&Attrs, &[usize], &[usize]) -> Option<Form>;

/// An index replaces one coordinate of its own place.
fn by_element(attrs: &Attrs, table: &[usize], indices: &[usize]) -> Option<Form> {
    let at = super::movement::axis(attrs.int_or("axis", 0), table.len())?;
    let mut list = Layout::contiguous(table);
    let step = usize::try_from(list.strides[at]).ok()?;
    list.strides[at] = 0;
    list.dims = indices.to_vec();
    let fits = |axis: usize| axis == at || indices[axis] <= table[axis];
    let fits = table.len() == indices.len() && (0..table.len()).all(fits);
    fits.then(|| Form { list, axes: vec![(table[at], step)], rows: table.iter().product(), row: 1 })
}

/// Tuples, behind axes that table and indices share.
fn by_tuple(attrs: &Attrs, table: &[usize], indices: &[usize]) -> Option<Form> {
    let batch = usize::try_from(attrs.int_or("batch_dims", 0)).ok()?;
    let (depth, tuples) = indices.split_last()?;
    let end = batch.checked_add(*depth)?;
    if end > table.len() || batch > tuples.len() || tuples[..batch] != table[..batch] {
        return None;
    }
    let steps = Layout::contiguous(&table[..end]).strides;
    let mut list = Layout { dims: tuples.to_vec(), strides: vec![0; tuples.len()], offset: 0 };
    list.strides[..batch].copy_from_slice(&steps[..batch]);
    let axis = |at: usize| Some((table[at], usize::try_from(steps[at]).ok()?));
    let axes = (batch..end).map(axis).collect::<Option<_>>()?;
    Some(Form { list, axes, rows: table[..end].iter().product(), row: table[end..].iter().product() })
}

/// Addresses without operands, and the dense views of table and indices.
fn addresses(
    cx: &mut Lower<'_>,
    id: NodeId,
    form: FormFn,
) -> std::result::Result<(Addresses, View, View), String> {
    let (table, indices) = (cx.input(id, 0), cx.input(id, 1));
    let index_element = match indices.dtype {
        DType::I64 => Element::I64,
        DType::I32 => Element::I32,
        other => return Err(format!("indices of {other}")),
    };
    if table.dtype.bits() < 8 || table.is_empty() || indices.is_empty() {
        return Err(format!("no kernel for {}, or for what is empty", table.dtype));
    }
    let form = form(&cx.graph.node(id).attrs, table.dims(), indices.dims());
    let Form { list, axes, rows, row } = form.ok_or("indices that do not fit the data")?;
    let row_bytes = row * table.element_size();
    let (table, indices) = (cx.dense(table), cx.dense(indices));
    let nowhere = Operand::Arena(Span { offset: 0, len: 0 });
    Ok((Addresses { list, axes, rows, row_bytes, index_element, indices: nowhere }, table, indices))
}

fn addressed(cx: &mut Lower<'_>, id: NodeId, form: FormFn) -> Result<Lowered, SpecError> {
    let (mut spec, table, indices) = match addresses(cx, id, form) {
        Ok(found) => found,
        Err(reason) => return Ok(Lowered::Declined(reason)),
    };
    let target = cx.output(id, 0);
    let (t, i, sink) = (table.clone(), indices.clone(), target.clone());
    cx.push(&[&table, &indices], &[&target], None, move |spans| {
        spec.indices = spans.operand(&i);
        Ok(Box::new(AddressedGather::new(spec, spans.operand(&t), spans.tail(&sink)?)?))
    });
    cx.set_output(id, 0, target);
    Ok(Lowered::Done)
}

fn scatter(cx: &mut Lower<'_>, id: NodeId, form: FormFn) -> Result<Lowered, SpecError> {
    let reduction = cx.graph.node(id).attrs.str("reduction").unwrap_or("none").to_owned();
    let meeting = match (&reduction[..], cx.input(id, 0).dtype) {
        ("none", _) => Meeting::Replace,
        ("add", DType::F32) => Meeting::Add,
        (other, dtype) => return Ok(Lowered::Declined(format!("no kernel scatters {dtype} by {other}"))),
    };
    let (mut spec, table, indices) = match addresses(cx, id, form) {
        Ok(found) => found,
        Err(reason) => return Ok(Lowered::Declined(reason)),
    };
    let updates = cx.input(id, 2);
    let wanted = spec.list.dims.iter().product::<usize>() * spec.row_bytes;
    if updates.dtype != table.dtype || updates.len() * updates.element_size() != wanted {
        return Ok(Lowered::Declined("updates that do not fit the indices".into()));
    }
    let updates = cx.dense(updates);
    let target = cx.output(id, 0);
    let (t, i, u, sink) = (table.clone(), indices.clone(), updates.clone(), target.clone());
    cx.push(&[&table, &indices, &updates], &[&target], None, move |spans| {
        spec.indices = spans.operand(&i);
        let (table, updates, target) = (spans.operand(&t), spans.operand(&u), spans.tail(&sink)?);
        Ok(Box::new(AddressedScatter::new(spec, meeting, table, updates, target)?))
    });
    cx.set_output(id, 0, target);
    Ok(Lowered::Done)
}

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
