//! Casts between element types over contiguous tensors.
//!
//! Contract: ONNX Cast. Towards zero and saturating from floats to integers (NaN to 0), wrapping between integers,
//! nearest-even to narrower floats, non-zero to true.

use crate::arena::{Memory, Pod, Span};
use crate::element::{Element, Scalar, Truth, convert};
use crate::operand::{Operand, Source, SpecError, Target};
use crate::program::{Step, StepError, Tile};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// Elements one tile converts.
const TILE: usize = 16 << 10;

/// A cast of `count` elements.
#[derive(Clone, Debug)]
pub struct CastSpec {
    /// Type of the source.
    pub from: Element,
    /// Type of the target.
    pub to: Element,
    /// Number of elements.
    pub count: usize,
    /// Contiguous source.
    pub source: Operand,
    /// Contiguous target.
    pub target: Span,
}

type CastFn = unsafe fn(*const u8, *mut u8, usize);

/// A [`CastSpec`] ready to run.
pub struct CastStep {
    spec: CastSpec,
    source: Source<u8>,
    target: Target<u8>,
    run: CastFn,
}

impl CastStep {
    /// Checks the spec.
    ///
    /// # Errors
    /// An operand that is too small or misaligned for its type.
    pub fn new(spec: CastSpec) -> Result<Self, SpecError> {
        let bytes = |element: Element| {
            let overflow = || SpecError::new(format!("cast: {} elements overflow", spec.count));
            spec.count.checked_mul(element.size()).ok_or_else(overflow)
        };
        let source = Source::new(spec.source.clone(), bytes(spec.from)?, "cast source in bytes")?;
        let target = Target::new(spec.target, bytes(spec.to)?, "cast target in bytes")?;
        for (what, span, element) in
            [("source", source.span(), spec.from), ("target", Some(spec.target), spec.to)]
        {
            if let Some(span) = span.filter(|span| !span.offset.is_multiple_of(element.size())) {
                let reason = format!("cast {what} at byte {} is no {} address", span.offset, element.name());
                return Err(SpecError::new(reason));
            }
        }
        let run = lookup(spec.from, spec.to);
        Ok(Self { spec, source, target, run })
    }
}

// SAFETY: Source and Target hold `count` elements of their types; tiles are disjoint ranges of both.
unsafe impl Step for CastStep {
    fn name(&self) -> String {
        format!("cast.{}.{}", self.spec.from.name(), self.spec.to.name())
    }
    fn reads(&self) -> Vec<Span> {
        self.source.span().into_iter().collect()
    }
    fn writes(&self) -> Vec<Span> {
        vec![self.target.span()]
    }
    fn tiles(&self, _: usize) -> usize {
        self.spec.count.div_ceil(TILE)
    }
    fn run(&self, tile: Tile, memory: &Memory<'_>) -> Result<(), StepError> {
        let start = tile.index * TILE;
        let count = TILE.min(self.spec.count - start);
        let (source, target) = (self.source.locate(memory), self.target.locate(memory));
        // SAFETY: start + count elements were checked to be there; no other tile touches this range of the target.
        unsafe {
            let source = source.add(start * self.spec.from.size());
            let target = target.add(start * self.spec.to.size());
            (self.run)(source, target, count);
        }
        Ok(())
    }
}

/// # Safety
/// `count` elements of `A` readable and of `B` writable, not overlapping. `A` may be unaligned (constants).
unsafe fn each<A: Scalar, B: Scalar>(source: *const u8, target: *mut u8, count: usize) {
    let source = source.cast::<A>();
    // SAFETY: the caller's promise; CastStep::new checked the target's alignment.
    let target = unsafe { std::slice::from_raw_parts_mut(target.cast::<B>(), count) };
    for (index, slot) in target.iter_mut().enumerate() {
        // SAFETY: index < count.
        *slot = convert(unsafe { source.add(index).read_unaligned() });
    }
}

/// Elements that half-width conversions stage at a time.
const CHUNK: usize = 256;

/// Half width to single through the `half` crate, which knows the CPU's conversion instructions.
///
/// # Safety
/// As for [`each`].
unsafe fn widen<H: Pod>(source: *const u8, target: *mut u8, count: usize)
where
    [H]: HalfFloatSliceExt,
{
    // SAFETY: the caller's promise.
    unsafe { chunked::<H, f32>(source, target, count, HalfFloatSliceExt::convert_to_f32_slice) }
}

/// Single to half width.
///
/// # Safety
/// As for [`each`].
unsafe fn narrow<H: Pod>(source: *const u8, target: *mut u8, count: usize)
where
    [H]: HalfFloatSliceExt,
{
    // SAFETY: the caller's promise.
    unsafe { chunked::<f32, H>(source, target, count, |a, b| b.convert_from_f32_slice(a)) }
}

/// # Safety
/// As for [`each`].
unsafe fn chunked<A: Pod, B: Pod>(
    source: *const u8,
    target: *mut u8,
    count: usize,
    convert: impl Fn(&[A], &mut [B]),
) {
    let source = source.cast::<A>();
    // SAFETY: the caller's promise; CastStep::new checked the target's alignment.
    let target = unsafe { std::slice::from_raw_parts_mut(target.cast::<B>(), count) };
    let mut aligned = [A::zeroed(); CHUNK];
    for (chunk, slots) in target.chunks_mut(CHUNK).enumerate() {
        for (index, value) in aligned[..slots.len()].iter_mut().enumerate() {
            // SAFETY: the element exists; it may be unaligned.
            *value = unsafe { source.add(chunk * CHUNK + index).read_unaligned() };
        }
        convert(&aligned[..slots.len()], slots);
    }
}

macro_rules! table {
    (@to $a:ty, $to:expr; $($element:ident => $t:ty),*) => {
        match $to { $(Element::$element => each::<$a, $t> as CastFn),* }
    };
    ($from:expr, $to:expr; $($element:ident => $t:ty),*) => {
        match $from { $(Element::$element => table!(@to $t, $to; F32 => f32, F64 => f64, F16 => f16, Bf16 => bf16,
            I8 => i8, I16 => i16, I32 => i32, I64 => i64, U8 => u8, U16 => u16, U32 => u32, U64 => u64,
            Bool => Truth)),* }
    };
}

fn lookup(from: Element, to: Element) -> CastFn {
    match (from, to) {
        (Element::F16, Element::F32) => widen::<f16>,
        (Element::F32, Element::F16) => narrow::<f16>,
        (Element::Bf16, Element::F32) => widen::<bf16>,
        (Element::F32, Element::Bf16) => narrow::<bf16>,
        _ => {
            table!(from, to; F32 => f32, F64 => f64, F16 => f16, Bf16 => bf16, I8 => i8, I16 => i16, I32 => i32,
            I64 => i64, U8 => u8, U16 => u16, U32 => u32, U64 => u64, Bool => Truth)
        }
    }
}
