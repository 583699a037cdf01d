//! What attention is over: shapes, strided operands, masks; and their checks.
//!
//! Owns every proof that the kernel's unchecked accesses rest on; computes nothing. [`AttentionSpec`] is what callers
//! fill in, [`Bound`] what has passed.

use crate::arena::Span;
use crate::gemm::PANEL;
use crate::layout::{Layout, to_signed};
use crate::operand::{Operand, Source, SpecError, Target};

/// Extents of an attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AttentionShape {
    /// Sequences.
    pub batch: usize,
    /// Heads of q.
    pub heads: usize,
    /// Heads of k and v; divides `heads`, and query head `h` reads head `h / (heads / kv_heads)`.
    pub kv_heads: usize,
    /// Rows of q per head.
    pub queries: usize,
    /// Rows of k and v per head.
    pub keys: usize,
    /// Elements of a row of q and k.
    pub depth: usize,
    /// Elements of a row of v.
    pub value_depth: usize,
}

impl AttentionShape {
    /// Whether the queries are so few that k and v are not packed.
    pub(super) fn is_direct(&self) -> bool {
        self.queries <= super::direct::QUERIES
    }

    /// Bytes of scratch that the packed k and v need.
    ///
    /// # Errors
    /// The extents overflow.
    pub fn scratch_bytes(&self) -> Result<usize, SpecError> {
        if self.is_direct() {
            return Ok(0);
        }
        let overflow = || SpecError::new(format!("attention: the extents of {self:?} overflow"));
        let head =
            self.packed_keys().and_then(|k| k.checked_add(self.packed_values()?)).ok_or_else(overflow)?;
        let heads = self.batch.checked_mul(self.kv_heads).ok_or_else(overflow)?;
        let bytes = head.checked_mul(heads).and_then(|n| n.checked_mul(size_of::<f32>()));
        bytes.filter(|&n| isize::try_from(n).is_ok()).ok_or_else(overflow)
    }

    /// Elements of one packed head of k.
    fn packed_keys(&self) -> Option<usize> {
        self.keys.checked_next_multiple_of(PANEL)?.checked_mul(self.depth)
    }

    /// Elements of one packed head of v.
    fn packed_values(&self) -> Option<usize> {
        self.value_depth.checked_next_multiple_of(PANEL)?.checked_mul(self.keys)
    }
}

/// Rows of f32 per batch and head; a row's elements are contiguous. Strides in elements.
#[derive(Clone, Debug)]
pub struct HeadView {
    /// The bytes.
    pub operand: Operand,
    /// First element.
    pub offset: usize,
    /// From one sequence to the next.
    pub batch: usize,
    /// From one head to the next.
    pub head: usize,
    /// From one row to the next.
    pub row: usize,
}

/// [`HeadView`] of what is written.
#[derive(Clone, Copy, Debug)]
pub struct HeadViewMut {
    /// The bytes.
    pub span: Span,
    /// First element.
    pub offset: usize,
    /// From one sequence to the next.
    pub batch: usize,
    /// From one head to the next.
    pub head: usize,
    /// From one row to the next.
    pub row: usize,
}

/// How a mask acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MaskKind {
    /// f32, added to the scores.
    Additive,
    /// Bytes; zero hides the key.
    Bool,
}

/// A mask over `[batch, heads, queries, keys]`.
#[derive(Clone, Debug)]
pub struct AttentionMask {
    /// How it acts.
    pub kind: MaskKind,
    /// The bytes.
    pub operand: Operand,
    /// Layout with those dims; stride 0 broadcasts.
    pub layout: Layout,
}

/// An attention and its operands.
#[derive(Clone, Debug)]
pub struct AttentionSpec {
    /// Extents.
    pub shape: AttentionShape,
    /// Factor of the scores.
    pub scale: f32,
    /// Replaces scores `s` by `softcap·tanh(s/softcap)` before the mask; 0 for none.
    pub softcap: f32,
    /// `Some(offset)`: query `i` sees keys `j ≤ i + offset`. 0 aligns at the first key, `keys − queries` at the last.
    pub causal: Option<isize>,
    /// Rows without a finite largest score become zero instead of NaN.
    pub nan_to_zero: bool,
    /// After the cap.
    pub mask: Option<AttentionMask>,
    /// `queries` rows of `depth` per head.
    pub q: HeadView,
    /// `keys` rows of `depth` per key head.
    pub k: HeadView,
    /// `keys` rows of `value_depth` per key head.
    pub v: HeadView,
    /// `queries` rows of `value_depth` per head.
    pub output: HeadViewMut,
    /// [`AttentionShape::scratch_bytes`] bytes, contents irrelevant.
    pub scratch: Span,
}

/// Checked view of rows.
pub(super) struct View {
    pub(super) source: Source<f32>,
    offset: usize,
    batch: usize,
    head: usize,
    pub(super) row: usize,
}

impl View {
    /// Offset of row 0.
    pub(super) fn start(&self, batch: usize, head: usize) -> usize {
        self.offset + batch * self.batch + head * self.head
    }
}

/// Checked mask.
pub(super) enum Mask {
    Additive(Source<f32>, Layout),
    Bool(Source<u8>, Layout),
}

/// A checked spec.
pub(super) struct Bound {
    pub(super) shape: AttentionShape,
    pub(super) scale: f32,
    pub(super) softcap: f32,
    causal: Option<isize>,
    pub(super) nan_to_zero: bool,
    pub(super) mask: Option<Mask>,
    pub(super) q: View,
    pub(super) k: View,
    pub(super) v: View,
    pub(super) output: Target<f32>,
    output_view: HeadViewMut,
    pub(super) scratch: Target<f32>,
}

impl Bound {
    pub(super) fn new(spec: AttentionSpec) -> Result<Self, SpecError> {
        let AttentionSpec { shape, scale, softcap, causal, nan_to_zero, mask, q, k, v, output, scratch } =
            spec;
        let AttentionShape { batch, heads, kv_heads, queries, keys, depth, value_depth } = shape;
        if kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
            return Err(SpecError::new(format!("attention: {heads} heads of q for {kv_heads} of k and v")));
        }
        if softcap.is_nan() || softcap < 0.0 {
            return Err(SpecError::new(format!("attention: softcap {softcap} is below zero")));
        }
        let view = |view: HeadView, heads: usize, rows: usize, depth: usize, what: &str| {
            let HeadView { operand, offset, batch: batches, head, row } = view;
            let reach = layout([batch, heads, rows, depth], [batches, head, row], offset).reach(what)?;
            let source = Source::new(operand, reach, what)?;
            Ok::<_, SpecError>(View { source, offset, batch: batches, head, row })
        };
        let written = layout(
            [batch, heads, queries, value_depth],
            [output.batch, output.head, output.row],
            output.offset,
        );
        let reach = written.reach("attention output")?;
        if !written.is_injective() && reach > 0 {
            return Err(SpecError::new(format!("attention output: {written:?} writes elements twice")));
        }
        let elements = shape.scratch_bytes()?.div_ceil(size_of::<f32>());
        Ok(Self {
            shape,
            scale,
            softcap,
            causal,
            nan_to_zero,
            mask: mask.map(|mask| bind_mask(mask, &shape)).transpose()?,
            q: view(q, heads, queries, depth, "attention q")?,
            k: view(k, kv_heads, keys, depth, "attention k")?,
            v: view(v, kv_heads, keys, value_depth, "attention v")?,
            output: Target::new(output.span, reach, "attention output")?,
            output_view: output,
            scratch: Target::new(scratch, elements, "attention scratch")?,
        })
    }

    /// Number of keys that a query sees, as far as causality goes.
    pub(super) fn visible(&self, query: usize) -> usize {
        self.causal.map_or(self.shape.keys, |offset| {
            let end = to_signed(query).saturating_add(offset).saturating_add(1);
            end.clamp(0, to_signed(self.shape.keys)).unsigned_abs()
        })
    }

    /// Head of k and v that a query head reads.
    pub(super) fn kv_head(&self, head: usize) -> usize {
        head / (self.shape.heads / self.shape.kv_heads)
    }

    /// Offset of an output row.
    pub(super) fn output_row(&self, batch: usize, head: usize, query: usize) -> usize {
        let view = &self.output_view;
        view.offset + batch * view.batch + head * view.head + query * view.row
    }

    /// Offset of the packed k of a head in scratch; v follows at the second.
    pub(super) fn packed(&self, batch: usize, kv_head: usize) -> (usize, usize) {
        let keys = self.shape.keys.next_multiple_of(PANEL) * self.shape.depth;
        let values = self.shape.value_depth.next_multiple_of(PANEL) * self.shape.keys;
        let start = (batch * self.shape.kv_heads + kv_head) * (keys + values);
        (start, start + keys)
    }

    pub(super) fn reads(&self) -> Vec<Span> {
        let views = [&self.q, &self.k, &self.v].into_iter().filter_map(|view| view.source.span());
        let mask = self.mask.as_ref().and_then(|mask| match mask {
            Mask::Additive(source, _) => source.span(),
            Mask::Bool(source, _) => source.span(),
        });
        views.chain(mask).collect()
    }

    pub(super) fn writes(&self) -> Vec<Span> {
        vec![self.output.span(), self.scratch.span()]
    }
}

fn layout(dims: [usize; 4], strides: [usize; 3], offset: usize) -> Layout {
    let mut strides: Vec<isize> = strides.into_iter().map(to_signed).collect();
    strides.push(1);
    Layout { dims: dims.to_vec(), strides, offset }
}

fn bind_mask(mask: AttentionMask, shape: &AttentionShape) -> Result<Mask, SpecError> {
    let AttentionMask { kind, operand, layout } = mask;
    let what = "attention mask";
    let dims = [shape.batch, shape.heads, shape.queries, shape.keys];
    if layout.dims != dims {
        return Err(SpecError::new(format!("{what} has dims {:?}, the scores {dims:?}", layout.dims)));
    }
    let reach = layout.reach(what)?;
    Ok(match kind {
        MaskKind::Additive => Mask::Additive(Source::new(operand, reach, what)?, layout),
        MaskKind::Bool => Mask::Bool(Source::new(operand, reach, what)?, layout),
    })
}
