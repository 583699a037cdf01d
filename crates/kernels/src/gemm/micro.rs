//! The micro-kernel contract and the tables that selection, tests and benches walk.
//!
//! elements of C: f32 sums, or i32 sums for int8. It knows no prologue, no epilogue and no edge: rows beyond M have
//! their own MR, columns beyond N are padding of the panel. Measured: packing A as well costs more than it saves.

use super::packed::Precision;
use super::{portable, reference};
#[cfg(target_arch = "x86_64")]
use super::{x86_avx2, x86_avx512};
use crate::isa::{Isa, IsaError, Kernel, select};

/// Operands of one micro-kernel call. Strides in elements of the operand's own type.
#[derive(Clone, Copy)]
pub(crate) struct Block {
    /// Depth, in groups of `Precision::k_group` consecutive k.
    pub(crate) groups: usize,
    /// First element of A.
    pub(crate) a: *const u8,
    /// Elements from one row of A to the next.
    pub(crate) a_row: usize,
    /// First element of the first panel's block.
    pub(crate) b: *const u8,
    /// Elements from one panel to the next.
    pub(crate) b_panel: usize,
    /// First element of C: f32, or i32 for int8.
    pub(crate) c: *mut f32,
    /// Elements from one row of C to the next.
    pub(crate) c_row: usize,
    /// Whether C holds the sum of the preceding blocks of K.
    pub(crate) accumulate: bool,
}

/// A micro-kernel of fixed MR and NV.
///
/// # Safety
/// The CPU has the table's features; A has MR rows and B has NV panels of `groups` groups behind their pointers, and
/// MR×16·NV elements of C are writable and touched by nobody else.
pub(crate) type Micro = unsafe fn(&Block);

/// Tile shapes and their micro-kernels for one precision on one instruction set.
pub(crate) struct Micros {
    /// (NV, largest MR), widest first; every smaller MR exists too, and NV = 1 is among them.
    pub(crate) shapes: &'static [(usize, usize)],
    /// The micro-kernel of that (NV, MR).
    pub(crate) get: fn(usize, usize) -> Option<Micro>,
    /// Registers that 16 columns of one row take: what a multiplication of one panel costs.
    pub(crate) panel_registers: usize,
}

/// Lists the (NV, MR) instances of a const-generic micro-kernel body.
macro_rules! instances {
    ($body:ident; $($nv:literal: $($mr:literal)+;)+) => {
        |nv: usize, mr: usize| -> Option<$crate::gemm::micro::Micro> {
            match (nv, mr) {
                $($(($nv, $mr) => Some($body::<$mr, $nv>),)+)+
                _ => None,
            }
        }
    };
}
pub(super) use instances;

/// The rows of one precision, best first.
pub(crate) fn kernels(precision: Precision) -> &'static [Kernel<&'static Micros>] {
    match precision {
        Precision::F32 => F32,
        Precision::F16 => F16,
        Precision::Bf16 => BF16,
        Precision::Bf16Dot => BF16_DOT,
        Precision::Int8 => INT8,
    }
}

/// The best micro-kernels of a precision that the CPU and the override allow.
pub(crate) fn micros(precision: Precision, force: Option<Isa>) -> Result<(Isa, &'static Micros), IsaError> {
    select(kernels(precision), force)
}

static F32: &[Kernel<&'static Micros>] = &[
    #[cfg(target_arch = "x86_64")]
    Kernel { isa: Isa::Avx512, get: x86_avx512::f32 },
    #[cfg(target_arch = "x86_64")]
    Kernel { isa: Isa::Avx2, get: x86_avx2::f32 },
    Kernel { isa: Isa::Portable, get: portable::f32 },
    Kernel { isa: Isa::Reference, get: reference::f32 },
];

static F16: &[Kernel<&'static Micros>] = &[
    #[cfg(target_arch = "x86_64")]
    Kernel { isa: Isa::Avx512, get: x86_avx512::f16 },
    #[cfg(target_arch = "x86_64")]
    Kernel { isa: Isa::Avx2, get: x86_avx2::f16 },
    Kernel { isa: Isa::Portable, get: portable::f16 },
    Kernel { isa: Isa::Reference, get: reference::f16 },
];

static BF16: &[Kernel<&'static Micros>] = &[
    #[cfg(target_arch = "x86_64")]
    Kernel { isa: Isa::Avx512, get: x86_avx512::bf16 },
    #[cfg(target_arch = "x86_64")]
    Kernel { isa: Isa::Avx2, get: x86_avx2::bf16 },
    Kernel { isa: Isa::Portable, get: portable::bf16 },
    Kernel { isa: Isa::Reference, get: reference::bf16 },
];

static BF16_DOT: &[Kernel<&'static Micros>] = &[
    #[cfg(target_arch = "x86_64")]
    Kernel { isa: Isa::Avx512, get: x86_avx512::bf16_dot },
    Kernel { isa: Isa::Portable, get: portable::bf16_dot },
    Kernel { isa: Isa::Reference, get: reference::bf16_dot },
];

static INT8: &[Kernel<&'static Micros>] = &[
    #[cfg(target_arch = "x86_64")]
    Kernel { isa: Isa::Avx512, get: x86_avx512::int8 },
    #[cfg(target_arch = "x86_64")]
    Kernel { isa: Isa::Avx2, get: x86_avx2::int8 },
    Kernel { isa: Isa::Portable, get: portable::int8 },
    Kernel { isa: Isa::Reference, get: reference::int8 },
];
