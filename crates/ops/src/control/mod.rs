//! Operators with subgraphs, and sequences.

mod body;
mod flex_attention;
mod if_;
mod loop_;
mod optional;
mod scan;
mod scan_batched;
mod sequence;
mod sequence_map;
#[cfg(test)]
mod testing;

use crate::Op;

/// The operators of this family.
pub(crate) const OPS: &[&dyn Op] = &[
    &flex_attention::FlexAttention,
    &if_::If,
    &loop_::Loop,
    &optional::Optional,
    &optional::OptionalGetElement,
    &optional::OptionalHasElement,
    &scan::Scan,
    &sequence::ConcatFromSequence,
    &sequence::SequenceAt,
    &sequence::SequenceConstruct,
    &sequence::SequenceEmpty,
    &sequence::SequenceErase,
    &sequence::SequenceInsert,
    &sequence::SequenceLength,
    &sequence_map::SequenceMap,
    &sequence::SplitToSequence,
];
