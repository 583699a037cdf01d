//! Files as shared bytes: maps a file into memory so that a large model loads without being copied.
//!
//! It lives here because mapping is `unsafe` in Rust and this crate is the only home of that. Knows no file format.
//! The bytes are read-only and stay valid for as long as any slice of them lives, even after the file is renamed
//! over or unlinked.

use bytes::Bytes;
use std::fs::File;
use std::io;
use std::path::Path;

/// Maps a whole file. An empty file gives empty bytes.
///
/// Whoever truncates the file in place while it is mapped makes later reads fault; replacing it by rename, as
/// Fusebox itself and every careful writer does, is safe.
///
/// # Errors
/// When the file cannot be opened, is not a regular file, or cannot be mapped.
pub fn open(path: &Path) -> io::Result<Bytes> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    if metadata.len() == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: the map is private and read-only, and `Bytes` keeps it alive for every slice. That nobody truncates
    // the file in place meanwhile is the documented condition of this function.
    let map = unsafe { memmap2::MmapOptions::new().map_copy_read_only(&file)? };
    Ok(Bytes::from_owner(map))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        std::fs::write(&path, b"abc").unwrap();
        let bytes = open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(&bytes.slice(1..)[..], b"bc");
    }

    #[test]
    fn empty_files_and_folders() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("empty");
        std::fs::write(&path, b"").unwrap();
        assert!(open(&path).unwrap().is_empty());
        assert!(open(folder.path()).is_err());
        assert_eq!(open(&folder.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
