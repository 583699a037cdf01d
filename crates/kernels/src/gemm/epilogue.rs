//! What happens to a tile of C between its last multiplication and leaving the cache.
//!
//! `c = activation(alpha·x + bias [+ residual]) [+ residual]`, where x is the f32 sum, or for int8 the exact i32 sum
//! minus the zero point's share, times the two scales. One pass over rows that are still in the cache.

use crate::arena::Span;
use crate::isa::Level;
use crate::math::{Activation, Identity, Lane, LaneVisitor, i32_to_f32};
use pulp::Simd;
use std::sync::Arc;

/// Where a residual joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResidualOrder {
    /// `activation(x + residual)`: a ResNet block.
    BeforeActivation,
    /// `activation(x) + residual`: a transformer block.
    AfterActivation,
}

/// A second operand of the shape of C, added elementwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Residual {
    /// f32 elements. Must not overlap C.
    pub span: Span,
    /// Elements from one row to the next.
    pub row_stride: usize,
    /// Before or after the activation.
    pub order: ResidualOrder,
}

/// The fused tail of a GEMM.
#[derive(Clone, Debug)]
pub struct Epilogue {
    /// Factor on the product, applied before the bias.
    pub alpha: f32,
    /// One value per column.
    pub bias: Option<Arc<[f32]>>,
    /// Elementwise function.
    pub activation: Option<Activation>,
    /// Elementwise second operand.
    pub residual: Option<Residual>,
}

impl Default for Epilogue {
    fn default() -> Self {
        Self { alpha: 1.0, bias: None, activation: None, residual: None }
    }
}

/// How one quantized row of A maps back to real values: `real = scale·(q − zero_point)`.
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct RowQuant {
    pub(crate) scale: f32,
    pub(crate) zero_point: i32,
}

/// Int8 operands of a block: one entry of `rows` per row, scales and sums from the block's first column on, readable
/// up to the end of the last panel.
#[derive(Clone, Copy)]
pub(crate) struct Dequant<'a> {
    pub(crate) rows: &'a [RowQuant],
    pub(crate) scales: &'a [f32],
    pub(crate) sums: &'a [i32],
}

/// One block of C to finish. Pointers stand at its first element.
#[derive(Clone, Copy)]
pub(crate) struct Finish<'a> {
    pub(crate) c: *mut f32,
    pub(crate) c_row: usize,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) alpha: f32,
    /// From the block's first column on, padded to whole panels.
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) residual: Option<(*const f32, usize, ResidualOrder)>,
    pub(crate) activation: Option<Activation>,
    pub(crate) dequant: Option<Dequant<'a>>,
}

impl Finish<'_> {
    /// Runs the epilogue.
    ///
    /// # Safety
    /// The rows of C and of the residual lie behind their pointers and nobody else touches those of C.
    pub(crate) unsafe fn run(self, level: Level) {
        let idle = self.bias.is_none()
            && self.residual.is_none()
            && self.activation.is_none()
            && self.dequant.is_none()
            && self.alpha == 1.0;
        if !idle {
            level.dispatch(self);
        }
    }
}

impl pulp::WithSimd for Finish<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let rows = Rows { simd, finish: self };
        match self.activation {
            None => rows.visit(Identity),
            Some(activation) => activation.visit(simd, rows),
        }
    }
}

struct Rows<'a, S> {
    simd: S,
    finish: Finish<'a>,
}

impl<S: Simd> LaneVisitor<S> for Rows<'_, S> {
    type Output = ();
    #[inline(always)]
    fn visit(self, f: impl Lane<S>) {
        let finish = self.finish;
        for r in 0..finish.rows {
            // SAFETY: `run`'s caller vouches for every row of C and of the residual.
            unsafe {
                let c = finish.c.add(r * finish.c_row);
                let residual = finish.residual.map_or(std::ptr::null(), |(p, row, _)| p.add(r * row));
                let whole = finish.columns / S::F32_LANES * S::F32_LANES;
                for at in (0..whole).step_by(S::F32_LANES) {
                    self.lanes(f, r, at, c.add(at), residual.wrapping_add(at));
                }
                let tail = finish.columns - whole;
                if tail > 0 {
                    // A register's worth of padding instead of masks: the same code computes the tail.
                    let (mut c_tail, mut residual_tail) = ([0.0f32; 16], [0.0f32; 16]);
                    c.add(whole).copy_to_nonoverlapping(c_tail.as_mut_ptr(), tail);
                    if finish.residual.is_some() {
                        residual.add(whole).copy_to_nonoverlapping(residual_tail.as_mut_ptr(), tail);
                    }
                    self.lanes(f, r, whole, c_tail.as_mut_ptr(), residual_tail.as_ptr());
                    c.add(whole).copy_from_nonoverlapping(c_tail.as_ptr(), tail);
                }
            }
        }
    }
}

impl<S: Simd> Rows<'_, S> {
    /// Finishes one register of row `r` at column `at`.
    ///
    /// # Safety
    /// One register is readable and writable at `c`, and readable at `residual` when there is one.
    #[inline(always)]
    unsafe fn lanes(&self, f: impl Lane<S>, r: usize, at: usize, c: *mut f32, residual: *const f32) {
        let (simd, finish) = (self.simd, &self.finish);
        let load = |p: *const f32| {
            // SAFETY: the caller vouches for c and residual; bias and scales are padded to whole panels.
            unsafe { p.cast::<S::f32s>().read_unaligned() }
        };
        let mut x = load(c);
        let mut alpha = simd.splat_f32s(finish.alpha);
        if let Some(dequant) = &finish.dequant {
            let RowQuant { scale, zero_point } = dequant.rows[r];
            // SAFETY: sums are padded to whole panels.
            let sums = unsafe { dequant.sums.as_ptr().add(at).cast::<S::u32s>().read_unaligned() };
            let shift = simd.mul_u32s(sums, simd.splat_u32s(zero_point as u32));
            let exact = simd.sub_u32s(simd.transmute_u32s_f32s(x), shift);
            x = i32_to_f32(simd, simd.transmute_i32s_u32s(exact));
            let scale = simd.mul_f32s(alpha, simd.splat_f32s(scale));
            alpha = simd.mul_f32s(scale, load(dequant.scales.as_ptr().wrapping_add(at)));
        }
        x = match finish.bias {
            Some(bias) => simd.mul_add_e_f32s(x, alpha, load(bias.as_ptr().wrapping_add(at))),
            None => simd.mul_f32s(x, alpha),
        };
        let order = finish.residual.map(|(_, _, order)| order);
        if order == Some(ResidualOrder::BeforeActivation) {
            x = simd.add_f32s(x, load(residual));
        }
        x = f.apply(x);
        if order == Some(ResidualOrder::AfterActivation) {
            x = simd.add_f32s(x, load(residual));
        }
        // SAFETY: the caller vouches for one register at c.
        unsafe { c.cast::<S::f32s>().write_unaligned(x) };
    }
}
