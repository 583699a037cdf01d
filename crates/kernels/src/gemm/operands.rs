//! Operands of a spec: their extents, strides, batches and scratch, checked before anything runs.
//!
//! Everything that the unsafe code of the step relies on is established here: every element lies in its span, and no
//! two elements of C share a place.

use super::packed::{PANEL, Precision};
use super::{BatchDim, GemmError, GemmSpec, Rhs};
use crate::arena::{ALIGN, Span};

/// Byte offsets of the parts of scratch.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ScratchLayout {
    /// Bytes of one prepared row of A, 0 when A is read in place.
    pub(super) a_row: usize,
    /// Offset of the int8 row parameters.
    pub(super) quants: usize,
    /// Offset of the ranges of blocks of rows, when all rows share one.
    pub(super) ranges: usize,
    /// Offset of packed B.
    pub(super) b: usize,
    /// Bytes in all.
    pub(crate) total: usize,
}

impl ScratchLayout {
    pub(crate) fn of(spec: &GemmSpec) -> Option<Self> {
        let precision = spec.precision();
        let prepares = spec.prologue.is_some() || precision.activation_bytes() < 4;
        let entries = |pick: fn(&BatchDim) -> usize| {
            let sizes = spec.batch.iter().filter(|dim| pick(dim) > 0);
            sizes.map(|dim| dim.size).try_fold(1usize, usize::checked_mul)
        };
        let mut layout = Self::default();
        if prepares {
            let rows = entries(|dim| dim.a)?.checked_mul(spec.m)?;
            let row = precision.padded_k(spec.k).checked_mul(precision.activation_bytes())?;
            layout.a_row = row.checked_next_multiple_of(ALIGN)?;
            layout.quants = rows.checked_mul(layout.a_row)?;
            let quants = if precision == Precision::Int8 { rows.checked_mul(8)? } else { 0 };
            layout.ranges = layout.quants.checked_add(quants)?;
            let ranges = if spec.shared_range { rows.checked_mul(8)? } else { 0 };
            layout.b = layout.ranges.checked_add(ranges)?.checked_next_multiple_of(ALIGN)?;
        }
        layout.total = layout.b;
        if matches!(spec.b, Rhs::Dynamic { .. }) {
            let panel = spec.k.checked_mul(PANEL * 4)?;
            let matrix = panel.checked_mul(spec.n.div_ceil(PANEL))?;
            layout.total = layout.b.checked_add(matrix.checked_mul(entries(|dim| dim.b)?)?)?;
        }
        Some(layout)
    }
}

/// Element offsets of one batch entry, and its place among the distinct matrices of A and B.
#[derive(Clone, Copy, Default)]
pub(super) struct Entry {
    pub(super) a: usize,
    pub(super) b: usize,
    pub(super) c: usize,
    pub(super) residual: usize,
    pub(super) prepared_a: usize,
    pub(super) packed_b: usize,
}

/// Turns batch dimensions that share weights and follow on from the rows into rows: fewer, larger products.
pub(super) fn fold_batch(spec: &mut GemmSpec) {
    while let Some(&dim) = spec.batch.last() {
        if spec.m == 1 {
            // A single row has no stride of its own: the batch's becomes it.
            (spec.a.row_stride, spec.c.row_stride) = (dim.a, dim.c);
            if let Some(residual) = &mut spec.epilogue.residual {
                residual.row_stride = dim.residual;
            }
        }
        let shares_b = dim.b == 0 || matches!(spec.b, Rhs::Packed(_));
        let follows = |stride: usize, row: usize| spec.m.checked_mul(row) == Some(stride);
        let residual = spec.epilogue.residual.is_none_or(|r| follows(dim.residual, r.row_stride));
        let single = dim.size == 1;
        let rows = follows(dim.a, spec.a.row_stride) && follows(dim.c, spec.c.row_stride) && residual;
        let Some(m) = spec.m.checked_mul(dim.size) else { return };
        if !(single || shares_b && rows) {
            return;
        }
        spec.m = m;
        spec.batch.pop();
    }
}

/// Offsets of every batch entry, outermost dimension slowest.
pub(super) fn entries(spec: &GemmSpec) -> Vec<Entry> {
    let mut entries = vec![Entry::default()];
    for dim in &spec.batch {
        let shares_b = matches!(spec.b, Rhs::Packed(_)) || dim.b == 0;
        let (distinct_a, distinct_b) =
            (if dim.a > 0 { dim.size } else { 1 }, if shares_b { 1 } else { dim.size });
        entries = entries
            .iter()
            .flat_map(|outer| {
                (0..dim.size).map(move |i| Entry {
                    a: outer.a + i * dim.a,
                    b: outer.b + i * dim.b,
                    c: outer.c + i * dim.c,
                    residual: outer.residual + i * dim.residual,
                    prepared_a: outer.prepared_a * distinct_a + if dim.a > 0 { i } else { 0 },
                    packed_b: outer.packed_b * distinct_b + if shares_b { 0 } else { i },
                })
            })
            .collect();
    }
    entries
}

/// Checks a spec and returns its scratch layout.
pub(super) fn check(spec: &GemmSpec) -> Result<ScratchLayout, GemmError> {
    let (m, n, k) = (spec.m, spec.n, spec.k);
    if let Rhs::Packed(packed) = &spec.b
        && (packed.k(), packed.n()) != (k, n)
    {
        return Err(GemmError::WeightShape { expected: (k, n), given: (packed.k(), packed.n()) });
    }
    if spec.shared_range && (spec.precision() != Precision::Int8 || spec.prologue.is_some()) {
        let reason = "only int8 without a prologue quantizes all rows by one range";
        return Err(GemmError::Unsupported { reason });
    }
    if spec.levels.is_some() && (spec.precision() != Precision::Int8 || spec.shared_range) {
        let reason = "only int8 takes levels, and then finds no range";
        return Err(GemmError::Unsupported { reason });
    }
    for (what, vector) in spec.prologue.vectors() {
        if let Some(vector) = vector.filter(|v| v.len() != k) {
            return Err(GemmError::VectorLength { what, expected: k, given: vector.len() });
        }
    }
    if let Some(bias) = spec.epilogue.bias.as_ref().filter(|bias| bias.len() != n) {
        return Err(GemmError::VectorLength { what: "bias", expected: n, given: bias.len() });
    }
    let batch = |stride: fn(&BatchDim) -> usize| {
        spec.batch.iter().map(|dim| (dim.size, stride(dim))).collect::<Vec<_>>()
    };
    let with = |mut dims: Vec<(usize, usize)>, own: [(usize, usize); 2]| {
        dims.extend(own);
        dims
    };
    extent("A", spec.a.span, &with(batch(|d| d.a), [(m, spec.a.row_stride), (k, 1)]))?;
    if let Rhs::Dynamic { span, row_stride, column_stride } = spec.b {
        extent("B", span, &with(batch(|d| d.b), [(k, row_stride), (n, column_stride)]))?;
    }
    if let Some(residual) = spec.epilogue.residual {
        extent(
            "the residual",
            residual.span,
            &with(batch(|d| d.residual), [(m, residual.row_stride), (n, 1)]),
        )?;
    }
    let c = with(batch(|d| d.c), [(m, spec.c.row_stride), (n, 1)]);
    extent("C", spec.c.span, &c)?;
    if !is_injective(&c) {
        return Err(GemmError::OverlappingC);
    }
    let layout = ScratchLayout::of(spec).ok_or(GemmError::TooLarge { k, n })?;
    let scratch = spec.scratch.unwrap_or(Span { offset: 0, len: 0 });
    if scratch.len < layout.total {
        return Err(GemmError::Extent { what: "scratch", needed: layout.total, given: scratch.len });
    }
    if layout.total > 0 && !scratch.offset.is_multiple_of(ALIGN) {
        return Err(GemmError::Misaligned { what: "scratch", span: scratch });
    }
    Ok(layout)
}

/// Checks that the elements addressed by dimensions of (size, stride) lie in a span of f32.
pub(crate) fn extent(what: &'static str, span: Span, dims: &[(usize, usize)]) -> Result<(), GemmError> {
    if !span.offset.is_multiple_of(4) {
        return Err(GemmError::Misaligned { what, span });
    }
    let empty = dims.iter().any(|&(size, _)| size == 0);
    let last = dims.iter().try_fold(0usize, |sum, &(size, stride)| {
        sum.checked_add(size.saturating_sub(1).checked_mul(stride)?)
    });
    let needed = match last {
        _ if empty => 0,
        Some(last) => last.checked_add(1).and_then(|count| count.checked_mul(4)).unwrap_or(usize::MAX),
        None => usize::MAX,
    };
    if needed > span.len { Err(GemmError::Extent { what, needed, given: span.len }) } else { Ok(()) }
}

/// Whether no two index tuples address the same element. Sufficient: sorted by stride, each stride clears all below it.
pub(crate) fn is_injective(dims: &[(usize, usize)]) -> bool {
    if dims.iter().any(|dim| dim.0 == 0) {
        return true;
    }
    let mut dims: Vec<_> = dims.iter().filter(|dim| dim.0 > 1).collect();
    dims.sort_by_key(|dim| dim.1);
    let mut reach = 0;
    dims.iter().all(|&&(size, stride)| {
        let clear = stride > reach;
        reach += (size - 1) * stride;
        clear
    })
}
