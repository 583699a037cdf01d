//! Operators with subgraphs, and sequences.

mod body;
mod if_;
mod loop_;
mod scan;
mod sequence;
#[cfg(test)]
mod testing;

use crate::Op;

/// The operators of this family.
pub(crate) const OPS: &[&dyn Op] = &[
    &if_::If,
    &loop_::Loop,
    &scan::Scan,
    &sequence::ConcatFromSequence,
    &sequence::SequenceAt,
    &sequence::SequenceConstruct,
    &sequence::SequenceEmpty,
    &sequence::SequenceErase,
    &sequence::SequenceInsert,
    &sequence::SequenceLength,
    &sequence::SplitToSequence,
];
