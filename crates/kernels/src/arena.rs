//! The arena: one aligned buffer that every activation of a plan lives in, addressed by byte spans.

use std::marker::PhantomData;

/// Alignment of the arena and of every span the planner hands out: one cache line, one AVX-512 register.
pub const ALIGN: usize = 64;

/// Element types that may be viewed in the arena: plain bits, any pattern valid.
pub trait Pod: bytemuck::Pod + Send + Sync {}
impl<T: bytemuck::Pod + Send + Sync> Pod for T {}

/// A byte range of the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// First byte, a multiple of [`ALIGN`] unless the span is a view into another one.
    pub offset: usize,
    /// Length in bytes.
    pub len: usize,
}

impl Span {
    /// One past the last byte, or `None` when it does not fit a `usize`.
    pub fn end(self) -> Option<usize> {
        self.offset.checked_add(self.len)
    }

    /// Whether the two ranges share a byte.
    pub fn overlaps(self, other: Self) -> bool {
        self.len > 0
            && other.len > 0
            && self.offset < other.offset.saturating_add(other.len)
            && other.offset < self.offset.saturating_add(self.len)
    }
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Line(pub(crate) [u8; ALIGN]);

/// An aligned, zero-initialised byte buffer.
pub struct Arena {
    lines: Vec<Line>,
    len: usize,
}

impl Arena {
    /// An arena of `len` bytes, all zero. Panics when there is no memory for it.
    pub fn new(len: usize) -> Self {
        Self::try_new(len).expect("the caller asks for what it knows to fit")
    }

    /// An arena of `len` bytes, all zero; `None` when there is no memory for it. Pages are taken as they are written.
    pub fn try_new(len: usize) -> Option<Self> {
        let lines = bytemuck::allocation::try_zeroed_vec::<Line>(len.div_ceil(ALIGN)).ok()?;
        Some(Self { lines, len })
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the arena holds no byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of a span. Panics when it is out of bounds, which a checked program excludes.
    pub fn bytes(&self, span: Span) -> &[u8] {
        &bytemuck::cast_slice::<Line, u8>(&self.lines)[span.offset..span.offset + span.len]
    }

    /// Mutable bytes of a span. Panics when it is out of bounds.
    pub fn bytes_mut(&mut self, span: Span) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut::<Line, u8>(&mut self.lines)[span.offset..span.offset + span.len]
    }

    pub(crate) fn memory(&mut self) -> Memory<'_> {
        Memory { base: self.lines.as_mut_ptr().cast(), len: self.len, life: PhantomData }
    }
}

/// Shared access to the arena while a program runs. Only steps see it.
#[derive(Clone, Copy)]
pub struct Memory<'a> {
    base: *mut u8,
    len: usize,
    life: PhantomData<&'a mut [u8]>,
}

// SAFETY: Memory is a pointer to a buffer borrowed for 'a; all access goes through the unsafe methods below, whose
// callers promise that concurrent accesses do not conflict.
unsafe impl Send for Memory<'_> {}
// SAFETY: as for Send.
unsafe impl Sync for Memory<'_> {}

impl<'a> Memory<'a> {
    /// Reads a span as elements of `T`.
    ///
    /// # Safety
    /// No thread may write to the span while the slice lives.
    pub unsafe fn read<T: Pod>(&self, span: Span) -> &'a [T] {
        let (pointer, count) = self.locate::<T>(span);
        // SAFETY: locate checked bounds and alignment; T is plain bits; the caller excludes writers.
        unsafe { std::slice::from_raw_parts(pointer, count) }
    }

    /// Writes to a span as elements of `T`.
    ///
    /// # Safety
    /// No other reference to any byte of the span may live at the same time.
    #[allow(clippy::mut_from_ref, reason = "exclusive access is the caller's promise")]
    pub unsafe fn write<T: Pod>(&self, span: Span) -> &'a mut [T] {
        let (pointer, count) = self.locate::<T>(span);
        // SAFETY: locate checked bounds and alignment; T is plain bits; the caller promises exclusivity.
        unsafe { std::slice::from_raw_parts_mut(pointer, count) }
    }

    /// Pointer to the first element of a span and its element count, bounds and alignment checked. Tiles that write
    /// interleaved rows of one output use it, because their parts cannot be expressed as disjoint slices.
    pub fn locate<T: Pod>(&self, span: Span) -> (*mut T, usize) {
        assert!(
            span.end().is_some_and(|end| end <= self.len),
            "span {span:?} leaves an arena of {} bytes",
            self.len
        );
        // SAFETY: the offset was just checked to lie inside (or one past) the buffer.
        let pointer = unsafe { self.base.add(span.offset) };
        assert!(pointer.cast::<T>().is_aligned(), "span {span:?} is not aligned for its element type");
        (pointer.cast(), span.len / size_of::<T>())
    }
}
