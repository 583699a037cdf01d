//! Moves ranges of strided operands into slots and slots into strided outputs, converting elements on the way.
//!
//! A range is a run of flat output positions; each operand walks it through its own merged layout, so a contiguous
//! operand is one copy, a broadcast row a few, a broadcast column a few fills.

use super::chain::Kind;
use crate::arena::Pod;
use crate::element::{Element, Scalar, Truth, convert};
use crate::layout::{Layout, Odometer, to_signed};
use crate::scratch::Slot;
use half::{bf16, f16};

/// The kind that elements of a type are computed in.
pub fn kind_of(element: Element) -> Kind {
    match element {
        Element::F32 | Element::F64 | Element::F16 | Element::Bf16 => Kind::Float,
        Element::Bool => Kind::Truth,
        _ => Kind::Int,
    }
}

/// Splits `count` positions from `start` into runs of one stride: calls `run(done, offset, stride, length)`.
#[inline(always)]
fn runs(layout: &Layout, start: usize, count: usize, mut run: impl FnMut(usize, isize, isize, usize)) {
    match (layout.dims.as_slice(), layout.strides.as_slice()) {
        ([], _) => run(0, to_signed(layout.offset), 0, count),
        ([_], [stride]) => run(0, to_signed(layout.offset) + to_signed(start) * stride, *stride, count),
        ([outer @ .., inner], [steps @ .., stride]) => {
            let mut walk = Odometer::new(outer, [steps], [layout.offset], start / inner);
            let (mut done, mut within) = (0, start % inner);
            while done < count {
                let length = (inner - within).min(count - done);
                run(done, walk.at[0] + to_signed(within) * stride, *stride, length);
                done += length;
                within = 0;
                walk.advance();
            }
        }
        _ => unreachable!("layouts have a stride per dim"),
    }
}

/// Reads elements `start..start + into.len()` of the layout's order.
///
/// # Safety
/// Those positions are inside the layout, whose elements are readable from `source` and not being written.
#[inline(always)]
unsafe fn gather<A: Pod, B: Pod>(
    source: *const A,
    layout: &Layout,
    start: usize,
    into: &mut [B],
    convert: impl Fn(A) -> B,
) {
    let count = into.len();
    runs(layout, start, count, |done, offset, stride, length| {
        let into = &mut into[done..done + length];
        // SAFETY: runs stay inside the layout; the caller vouches for its elements.
        unsafe {
            let source = source.offset(offset);
            match stride {
                0 => into.fill(convert(*source)),
                1 => {
                    let values = std::slice::from_raw_parts(source, length);
                    into.iter_mut().zip(values).for_each(|(slot, value)| *slot = convert(*value));
                }
                _ => {
                    let mut at = 0;
                    for slot in into {
                        *slot = convert(*source.offset(at));
                        at += stride;
                    }
                }
            }
        }
    });
}

/// Writes `from` to elements `start..` of the layout's order.
///
/// # Safety
/// Those positions are inside the layout, whose elements at `target` nothing else accesses.
#[inline(always)]
unsafe fn scatter<A: Pod, B: Pod>(
    from: &[A],
    target: *mut B,
    layout: &Layout,
    start: usize,
    convert: impl Fn(A) -> B,
) {
    runs(layout, start, from.len(), |done, offset, stride, length| {
        let from = &from[done..done + length];
        // SAFETY: runs stay inside the layout; the caller vouches for its elements.
        unsafe {
            let target = target.offset(offset);
            if stride == 1 {
                let slots = std::slice::from_raw_parts_mut(target, length);
                slots.iter_mut().zip(from).for_each(|(slot, value)| *slot = convert(*value));
            } else {
                let mut at = 0;
                for value in from {
                    *target.offset(at) = convert(*value);
                    at += stride;
                }
            }
        }
    });
}

macro_rules! by_element {
    ($element:expr, $t:ident, float: $float:expr, int: $int:expr, truth: $truth:expr) => {
        match $element {
            Element::F32 => {
                type $t = f32;
                $float
            }
            Element::F64 => {
                type $t = f64;
                $float
            }
            Element::F16 => {
                type $t = f16;
                $float
            }
            Element::Bf16 => {
                type $t = bf16;
                $float
            }
            Element::I8 => {
                type $t = i8;
                $int
            }
            Element::I16 => {
                type $t = i16;
                $int
            }
            Element::I32 => {
                type $t = i32;
                $int
            }
            Element::I64 => {
                type $t = i64;
                $int
            }
            Element::U8 => {
                type $t = u8;
                $int
            }
            Element::U16 => {
                type $t = u16;
                $int
            }
            Element::U32 => {
                type $t = u32;
                $int
            }
            Element::U64 => {
                type $t = u64;
                $int
            }
            Element::Bool => {
                type $t = Truth;
                $truth
            }
        }
    };
}

/// Fills `count` lanes of a slot from an operand.
///
/// # Safety
/// As for [`gather`], with `source` pointing to elements of type `element`.
pub(super) unsafe fn load(
    element: Element,
    source: *const u8,
    layout: &Layout,
    start: usize,
    count: usize,
    slot: &mut Slot,
) {
    // SAFETY: in every arm the caller's promise.
    unsafe {
        by_element!(element, T,
            float: gather(source.cast::<T>(), layout, start, &mut slot.floats_mut()[..count], into_f32::<T>),
            int: gather(source.cast::<T>(), layout, start, &mut slot.ints_mut()[..count], convert::<T, i64>),
            truth: gather(source.cast::<T>(), layout, start, &mut slot.floats_mut()[..count], truth_to_f32));
    }
}

/// Stores `count` lanes of a slot to an output.
///
/// # Safety
/// As for [`scatter`], with `target` pointing to elements of type `element`.
pub(super) unsafe fn store(
    element: Element,
    slot: &Slot,
    target: *mut u8,
    layout: &Layout,
    start: usize,
    count: usize,
) {
    // SAFETY: in every arm the caller's promise.
    unsafe {
        by_element!(element, T,
            float: scatter(&slot.floats()[..count], target.cast::<T>(), layout, start, from_f32::<T>),
            int: scatter(&slot.ints()[..count], target.cast::<T>(), layout, start, convert::<i64, T>),
            truth: scatter(&slot.floats()[..count], target.cast::<T>(), layout, start, |v: f32| Truth(u8::from(v != 0.0))));
    }
}

/// To f32 without a detour where the type is f32 already; the compiler sees through the comparison of types.
#[inline(always)]
fn into_f32<T: Scalar>(value: T) -> f32 {
    convert::<T, f32>(value)
}

#[inline(always)]
fn from_f32<T: Scalar>(value: f32) -> T {
    convert::<f32, T>(value)
}

#[inline(always)]
fn truth_to_f32(value: Truth) -> f32 {
    f32::from(u8::from(value.0 != 0))
}
