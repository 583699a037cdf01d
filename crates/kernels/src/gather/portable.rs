//! Whole rows at a time.
//!
//! Rows of one 32- or 64-bit element are moves of constant length; all others are block copies.

use super::{BadIndex, RowCopy, resolve};

pub(super) fn gather(copy: &RowCopy<'_>, target: &mut [u8]) -> Result<(), BadIndex> {
    match copy.row {
        0 => Ok(()),
        // Rows of one element: a copy of constant length is one move.
        4 => sized::<4>(copy, target),
        8 => sized::<8>(copy, target),
        row => {
            for (position, slot) in target.chunks_exact_mut(row).enumerate() {
                let from = resolve(copy.indices.get(position), position, copy.extent)?;
                slot.copy_from_slice(&copy.table[from * row..][..row]);
            }
            Ok(())
        }
    }
}

fn sized<const N: usize>(copy: &RowCopy<'_>, target: &mut [u8]) -> Result<(), BadIndex> {
    for (position, slot) in target.as_chunks_mut::<N>().0.iter_mut().enumerate() {
        let from = resolve(copy.indices.get(position), position, copy.extent)?;
        *slot = copy.table.as_chunks::<N>().0[from];
    }
    Ok(())
}
