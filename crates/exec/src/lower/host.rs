//! Nodes without a kernel: their reference evaluation as a single-threaded step.

use super::{Lower, Pending};
use crate::view::{BufferId, View};
use fusebox_ir::{DType, NodeId, Tensor};
use fusebox_kernels::program::HostBody;
use fusebox_kernels::{HostStep, Span};
use fusebox_ops::{Datum, Interpreter};
use std::sync::Arc;

/// How the body gets an input.
enum Slot {
    Absent,
    Constant(Datum),
    Buffer { position: usize, dtype: DType, dims: Vec<usize> },
}

struct Slots {
    slots: Vec<Slot>,
    views: Vec<View>,
}

impl Slots {
    fn add(&mut self, cx: &mut Lower<'_>, value: fusebox_ir::ValueId) {
        if let Some(tensor) = cx.constant(value) {
            self.slots.push(Slot::Constant(Datum::Tensor(tensor.clone())));
            return;
        }
        let view = cx.view(value);
        let view = cx.dense(view);
        // A view of a constant has no buffer that the body could be given.
        let view = cx.in_arena(view);
        let (dtype, dims) = (view.dtype, view.dims().to_vec());
        self.slots.push(Slot::Buffer { position: self.views.len(), dtype, dims });
        self.views.push(view);
    }
}

pub(super) fn lower(cx: &mut Lower<'_>, id: NodeId, reason: String) {
    let node = cx.graph.node(id).clone();
    let mut inputs = Slots { slots: Vec::new(), views: Vec::new() };
    for slot in &node.inputs {
        match slot {
            Some(value) => inputs.add(cx, *value),
            None => inputs.slots.push(Slot::Absent),
        }
    }
    let captures: Vec<usize> = node.regions.iter().map(|r| r.captures.len()).collect();
    for value in node.regions.iter().flat_map(|r| &r.captures) {
        inputs.add(cx, *value);
    }
    let mut targets: Vec<Option<(usize, DType, Vec<usize>)>> = Vec::new();
    let mut outputs: Vec<BufferId> = Vec::new();
    for index in 0..node.outputs.len() {
        if node.output(index).is_none() {
            targets.push(None);
            continue;
        }
        let view = cx.output(id, index);
        targets.push(Some((outputs.len(), view.dtype, view.dims().to_vec())));
        outputs.extend(view.buffer());
        cx.set_output(id, index, view);
    }
    let name = format!("reference.{}", node.op);
    let arity = node.inputs.len();
    let slots = inputs.slots;
    let functions = cx.functions.clone();
    let body: HostBody = Arc::new(move |sources: &[&[u8]], sinks: &mut [&mut [u8]]| {
        let data: Vec<Option<Datum>> = slots.iter().map(|s| read(s, sources)).collect::<Result<_, _>>()?;
        let (given, mut rest) = data.split_at(arity);
        let given: Vec<Option<&Datum>> = given.iter().map(Option::as_ref).collect();
        let mut captured = Vec::new();
        for count in &captures {
            let (mine, others) = rest.split_at(*count);
            captured.push(mine.iter().flatten().cloned().collect());
            rest = others;
        }
        let results =
            Interpreter::new(&functions).node(&node, &given, &captured).map_err(|e| e.to_string())?;
        for (result, target) in results.iter().zip(&targets) {
            if let Some((position, dtype, dims)) = target {
                write(result, *dtype, dims, sinks[*position])?;
            }
        }
        Ok(())
    });
    let reads: Vec<BufferId> = inputs.views.iter().filter_map(View::buffer).collect();
    let (sources, sinks) = (inputs.views, outputs.clone());
    let build = move |spans: &super::Spans<'_>| {
        let sources = sources.iter().map(|view| spans.exactly(view)).collect::<Result<Vec<Span>, _>>()?;
        let sinks = sinks.iter().map(|id| spans.of(*id)).collect();
        Ok(Box::new(HostStep::new(name, sources, sinks, body)) as Box<dyn fusebox_kernels::Step>)
    };
    let fallback = Some(reason);
    cx.steps.push(Pending { nodes: vec![id], reads, writes: outputs, fallback, build: Box::new(build) });
}

fn read(slot: &Slot, sources: &[&[u8]]) -> Result<Option<Datum>, String> {
    Ok(match slot {
        Slot::Absent => None,
        Slot::Constant(datum) => Some(datum.clone()),
        Slot::Buffer { position, dtype, dims } => {
            let bytes = sources[*position].to_vec();
            Some(Datum::Tensor(
                Tensor::from_bytes(*dtype, dims.clone(), bytes.into()).map_err(|e| e.to_string())?,
            ))
        }
    })
}

fn write(result: &Datum, dtype: DType, dims: &[usize], sink: &mut [u8]) -> Result<(), String> {
    let tensor = result.tensor().map_err(|e| e.to_string())?;
    if tensor.dtype() != dtype || tensor.shape() != dims {
        let found = tensor.ty();
        return Err(format!("typing promised {dtype}{dims:?} but evaluation gave {found}"));
    }
    sink.copy_from_slice(tensor.data());
    Ok(())
}
