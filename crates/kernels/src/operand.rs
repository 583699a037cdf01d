//! What a step reads: a span of the arena or a constant that lives outside it.
//!
//! Owns the check that bytes suffice and are aligned. A `Source` re-checks both on every run, because a constant's
//! owner is foreign code; the steps' unchecked accesses rely on it.

use crate::arena::{Memory, Pod, Span};
use crate::element::Element;
use crate::isa::IsaError;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// Bytes that do not change: weights, tables, masks. Shared, never copied unless their alignment demands it.
#[derive(Clone)]
pub struct Constant(Arc<dyn AsRef<[u8]> + Send + Sync>);

impl Constant {
    /// Shares the owner's bytes.
    pub fn new(owner: Arc<dyn AsRef<[u8]> + Send + Sync>) -> Self {
        Self(owner)
    }

    /// Copies a slice.
    pub fn from_slice<T: Pod>(values: &[T]) -> Self {
        Self(Arc::new(Elements(values.to_vec())))
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        (*self.0).as_ref()
    }

    fn aligned_for<T: Pod>(self) -> Self {
        let bytes = self.bytes();
        if bytes.as_ptr().cast::<T>().is_aligned() {
            return self;
        }
        let mut values = vec![T::zeroed(); bytes.len() / size_of::<T>()];
        let whole = values.len() * size_of::<T>();
        bytemuck::cast_slice_mut(&mut values).copy_from_slice(&bytes[..whole]);
        Self(Arc::new(Elements(values)))
    }
}

impl fmt::Debug for Constant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Constant({} bytes)", self.bytes().len())
    }
}

struct Elements<T>(Vec<T>);

impl<T: Pod> AsRef<[u8]> for Elements<T> {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

/// Where an input's bytes are.
#[derive(Clone, Debug)]
pub enum Operand {
    /// In the arena.
    Arena(Span),
    /// Outside it.
    Constant(Constant),
}

impl Operand {
    /// The span, `None` for a constant.
    pub fn span(&self) -> Option<Span> {
        match self {
            Self::Arena(span) => Some(*span),
            Self::Constant(_) => None,
        }
    }

    /// Length in bytes.
    pub fn len_bytes(&self) -> usize {
        match self {
            Self::Arena(span) => span.len,
            Self::Constant(constant) => constant.bytes().len(),
        }
    }
}

impl From<Span> for Operand {
    fn from(span: Span) -> Self {
        Self::Arena(span)
    }
}

impl From<Constant> for Operand {
    fn from(constant: Constant) -> Self {
        Self::Constant(constant)
    }
}

/// An operand of `T` elements that was checked to hold at least `needed` of them.
#[derive(Clone, Debug)]
pub(crate) struct Source<T> {
    operand: Operand,
    needed: usize,
    align: usize,
    element: PhantomData<fn() -> T>,
}

impl<T: Pod> Source<T> {
    /// Checks size and alignment; copies a misaligned constant.
    pub(crate) fn new(operand: Operand, needed: usize, what: &str) -> Result<Self, SpecError> {
        let operand = match operand {
            Operand::Arena(span) => {
                check_alignment::<T>(span, what)?;
                Operand::Arena(span)
            }
            Operand::Constant(constant) => Operand::Constant(constant.aligned_for::<T>()),
        };
        let held = operand.len_bytes() / size_of::<T>();
        if held < needed {
            return Err(SpecError::new(format!("{what} holds {held} elements, {needed} are needed")));
        }
        Ok(Self { operand, needed, align: align_of::<T>(), element: PhantomData })
    }

    pub(crate) fn span(&self) -> Option<Span> {
        self.operand.span()
    }

    /// Pointer to at least `needed` readable, aligned elements.
    pub(crate) fn locate(&self, memory: &Memory<'_>) -> *const T {
        let (pointer, held) = match &self.operand {
            Operand::Arena(span) => {
                let (pointer, held) = memory.locate::<T>(*span);
                (pointer.cast_const(), held)
            }
            Operand::Constant(constant) => {
                let bytes = constant.bytes();
                (bytes.as_ptr().cast::<T>(), bytes.len() / size_of::<T>())
            }
        };
        let aligned = pointer.addr().is_multiple_of(self.align);
        assert!(held >= self.needed && aligned, "a constant changed its length or its place");
        pointer
    }
}

impl Source<u8> {
    /// Bytes that hold elements of a type known at run time: `locate` gives a pointer aligned for it.
    pub(crate) fn for_elements(
        operand: Operand,
        element: Element,
        needed_bytes: usize,
        what: &str,
    ) -> Result<Self, SpecError> {
        let operand = match (operand, element.size()) {
            (Operand::Arena(span), size) => {
                check_multiple(span, size, what)?;
                Operand::Arena(span)
            }
            (Operand::Constant(constant), 2) => Operand::Constant(constant.aligned_for::<u16>()),
            (Operand::Constant(constant), 4) => Operand::Constant(constant.aligned_for::<u32>()),
            (Operand::Constant(constant), 8) => Operand::Constant(constant.aligned_for::<u64>()),
            (constant, _) => constant,
        };
        let mut source = Self::new(operand, needed_bytes, what)?;
        source.align = element.size();
        Ok(source)
    }
}

/// A written span of `T` elements that was checked to hold at least `needed` of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<T> {
    span: Span,
    element: PhantomData<fn() -> T>,
}

impl<T: Pod> Target<T> {
    /// Checks size and alignment.
    pub(crate) fn new(span: Span, needed: usize, what: &str) -> Result<Self, SpecError> {
        check_alignment::<T>(span, what)?;
        let held = span.len / size_of::<T>();
        if held < needed {
            return Err(SpecError::new(format!("{what} holds {held} elements, {needed} are needed")));
        }
        Ok(Self { span, element: PhantomData })
    }

    pub(crate) fn span(&self) -> Span {
        self.span
    }

    /// Pointer to at least `needed` aligned elements.
    pub(crate) fn locate(&self, memory: &Memory<'_>) -> *mut T {
        memory.locate::<T>(self.span).0
    }
}

fn check_alignment<T>(span: Span, what: &str) -> Result<(), SpecError> {
    check_multiple(span, align_of::<T>(), what)
}

fn check_multiple(span: Span, need: usize, what: &str) -> Result<(), SpecError> {
    if span.offset.is_multiple_of(need) {
        return Ok(());
    }
    Err(SpecError::new(format!("{what} begins at byte {}, not a multiple of {need}", span.offset)))
}

impl Target<u8> {
    /// Bytes that will hold elements of a type known at run time.
    pub(crate) fn for_elements(
        span: Span,
        element: Element,
        needed_bytes: usize,
        what: &str,
    ) -> Result<Self, SpecError> {
        check_multiple(span, element.size(), what)?;
        Self::new(span, needed_bytes, what)
    }
}

/// Why a step cannot be built: operands too small, layouts that overlap, parameters out of range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecError {
    /// What is wrong and where.
    pub reason: String,
}

impl SpecError {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for SpecError {}

impl From<IsaError> for SpecError {
    fn from(error: IsaError) -> Self {
        Self { reason: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misaligned_constant_is_copied_into_place() {
        struct Odd(Vec<u8>);
        impl AsRef<[u8]> for Odd {
            fn as_ref(&self) -> &[u8] {
                &self.0[1..]
            }
        }
        let mut bytes = vec![0_u8];
        bytes.extend(bytemuck::cast_slice::<f32, u8>(&[1.5, -2.0]));
        let constant = Constant::new(Arc::new(Odd(bytes))).aligned_for::<f32>();
        assert_eq!(bytemuck::cast_slice::<u8, f32>(constant.bytes()), [1.5, -2.0]);
    }

    #[test]
    fn too_few_elements_are_refused() {
        let error = Source::<f32>::new(Span { offset: 0, len: 8 }.into(), 3, "gamma").unwrap_err();
        assert_eq!(error.reason, "gamma holds 2 elements, 3 are needed");
        let error = Target::<f32>::new(Span { offset: 2, len: 8 }, 2, "output").unwrap_err();
        assert_eq!(error.reason, "output begins at byte 2, not a multiple of 4");
    }
}
