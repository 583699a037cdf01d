//! Padding and cropping as boxes that are copied, in whatever order the dims lie in memory.

use super::movement::{axis, memory_order};
use super::{Lower, Lowered, Row};
use fusebox_ir::{NodeId, Tensor};
use fusebox_kernels::SpecError;
use fusebox_kernels::copy::{CopySpec, CopyStep, PadMode};

pub(super) static ROWS: &[Row] = &[Row::onnx("Pad", pad)];

fn pad(cx: &mut Lower<'_>, id: NodeId) -> Result<Lowered, SpecError> {
    let view = cx.input(id, 0);
    let Some(output) = cx.graph.node(id).output(0) else { return Ok(Lowered::Done) };
    let (dtype, dims) = cx.sizes(output);
    let Some((before, after)) = amounts(cx, id, view.dims().len()) else {
        return Ok(Lowered::Declined("the pads depend on data".into()));
    };
    let mode = cx.graph.node(id).attrs.str("mode").unwrap_or("constant").to_owned();
    // A reflection or repetition that goes over the input more than once is the reference's.
    // The same goes for one of a cropped input: what is cropped may come back.
    let unclear = |at: usize| {
        let (least, most) = (before[at].min(after[at]), before[at].max(after[at]));
        least < 0 || most >= isize::try_from(view.dims()[at]).unwrap_or(0)
    };
    if mode != "constant" && (0..dims.len()).any(unclear) {
        return Ok(Lowered::Declined("a crop, or a padding as large as the input".into()));
    }
    if !matches!(view.element_size(), 1 | 2 | 4 | 8) || view.is_empty() {
        return Ok(Lowered::Declined(format!("no kernel pads {dtype}, or what is empty")));
    }
    let order = memory_order(&view.layout).filter(|_| view.layout.offset == 0);
    let source = if order.is_some() { view } else { cx.dense(view) };
    let order = order.unwrap_or_else(|| (0..dims.len()).collect());
    let value = match cx.graph.node(id).input(2) {
        Some(value) => cx.view(value),
        None => {
            let zero = Tensor::from_bytes(dtype, vec![], vec![0; source.element_size()].into());
            cx.constant_view(&zero.map_err(|e| SpecError { reason: e.to_string() })?)
        }
    };
    let value = cx.dense(value);
    let target = cx.allocate_in(dtype, &dims, &order);
    let permuted = |list: &[isize]| order.iter().map(|at| list[*at]).collect::<Vec<_>>();
    let (before, after, isa, size) = (permuted(&before), permuted(&after), cx.isa, source.element_size());
    let (from, fill, to) = (source.permuted(&order), value.clone(), target.clone());
    cx.push(&[&source, &value], &[&target], None, move |spans| {
        let mode = match mode.as_str() {
            "edge" => PadMode::Edge,
            "reflect" => PadMode::Reflect,
            "wrap" => PadMode::Wrap,
            _ => PadMode::Constant(spans.operand(&fill)),
        };
        let (source, target) = (spans.operand(&from), spans.tail(&to)?);
        let spec = CopySpec::pad(size, source, from.dims(), &before, &after, &mode, target)?;
        Ok(Box::new(CopyStep::new(spec, isa)?))
    });
    cx.set(output, target);
    Ok(Lowered::Done)
}

/// Elements before and after every dim; negative ones crop.
fn amounts(cx: &Lower<'_>, id: NodeId, rank: usize) -> Option<(Vec<isize>, Vec<isize>)> {
    let node = cx.graph.node(id);
    let pads = cx.constant(node.input(1)?)?.integers()?;
    let axes: Vec<usize> = match node.input(3) {
        Some(value) => {
            let given = cx.constant(value)?.integers()?;
            given.into_iter().map(|a| axis(a, rank)).collect::<Option<_>>()?
        }
        None => (0..rank).collect(),
    };
    let (low, high) = pads.split_at_checked(axes.len()).filter(|(_, high)| high.len() == axes.len())?;
    let spread = |list: &[i64]| {
        let mut all = vec![0; rank];
        for (at, amount) in axes.iter().zip(list) {
            all[*at] = isize::try_from(*amount).ok()?;
        }
        Some(all)
    };
    Some((spread(low)?, spread(high)?))
}
