//! The oracle: byte by byte.
//!
//! Looks every byte's row up again; an index out of range is reported at the first byte that needs it.

use super::{BadIndex, RowCopy, resolve};

pub(super) fn gather(copy: &RowCopy<'_>, target: &mut [u8]) -> Result<(), BadIndex> {
    for (at, byte) in target.iter_mut().enumerate() {
        let position = at / copy.row;
        let from = resolve(copy.indices.get(position), position, copy.extent)?;
        *byte = copy.table[from * copy.row + at % copy.row];
    }
    Ok(())
}
