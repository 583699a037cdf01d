//! Per-thread working memory, kept between runs so that steady state allocates nothing.
//!
//! Owns alignment and reuse; what lies in it is whatever the last user left.

use crate::arena::{ALIGN, Line};
use std::cell::RefCell;

/// A slot of [`with_slots`]: aligned floats, or the same bytes as integers.
#[derive(Default)]
pub(crate) struct Slot(Vec<Line>);

impl Slot {
    pub(crate) fn floats(&self) -> &[f32] {
        bytemuck::cast_slice(&self.0)
    }
    pub(crate) fn floats_mut(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(&mut self.0)
    }
    pub(crate) fn ints(&self) -> &[i64] {
        bytemuck::cast_slice(&self.0)
    }
    pub(crate) fn ints_mut(&mut self) -> &mut [i64] {
        bytemuck::cast_slice_mut(&mut self.0)
    }
}

thread_local! {
    static SLOTS: RefCell<Vec<Slot>> = const { RefCell::new(Vec::new()) };
}

/// Lends `count` slots of at least `bytes` each. A nested call gets fresh ones.
pub(crate) fn with_slots<R>(count: usize, bytes: usize, body: impl FnOnce(&mut [Slot]) -> R) -> R {
    let mut slots =
        SLOTS.with(|cell| cell.try_borrow_mut().map(|mut s| std::mem::take(&mut *s))).unwrap_or_default();
    if slots.len() < count {
        slots.resize_with(count, Slot::default);
    }
    let lines = bytes.div_ceil(size_of::<Line>());
    for slot in &mut slots[..count] {
        if slot.0.len() < lines {
            slot.0.resize(lines, Line([0; ALIGN]));
        }
    }
    let result = body(&mut slots[..count]);
    SLOTS.with(|cell| {
        if let Ok(mut kept) = cell.try_borrow_mut() {
            *kept = slots;
        }
    });
    result
}
