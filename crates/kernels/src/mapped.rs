//! Files as shared bytes: maps a file into memory so that a large model loads without being copied, and gives the
//! pages back once their content was packed into another form.
//!
//! It lives here because mapping is `unsafe` in Rust and this crate is the only home of that. Knows no file format.
//! The bytes are read-only and stay valid for as long as any slice of them lives, even after the file is renamed
//! over or unlinked.

use bytes::Bytes;
use memmap2::Mmap;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Live maps by their first address: how [`release`] tells bytes of a file from bytes of the heap.
static MAPS: Mutex<BTreeMap<usize, Mapped>> = Mutex::new(BTreeMap::new());

struct Mapped {
    map: Weak<Mmap>,
    /// The file, where it has a canonical name.
    path: Option<PathBuf>,
}

/// A map that leaves the list of live ones when its last slice is dropped.
struct Owner(Arc<Mmap>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        MAPS.lock().unwrap_or_else(PoisonError::into_inner).remove(&(self.0.as_ptr() as usize));
    }
}

/// Maps a whole file. An empty file gives empty bytes.
///
/// Whoever truncates the file in place while it is mapped makes later reads fault; replacing it by rename, as
/// Fusebox itself and every careful writer does, is safe.
///
/// # Errors
/// When the file cannot be opened, is not a regular file, or cannot be mapped.
pub fn open(path: &Path) -> io::Result<Bytes> {
    // Before it is opened, too: opening a pipe waits for someone to write into it.
    let regular = |is_file| match is_file {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
    };
    regular(std::fs::metadata(path)?.is_file())?;
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    regular(metadata.is_file())?;
    if metadata.len() == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: the map is private and read-only, and `Bytes` keeps it alive for every slice. That nobody truncates
    // the file in place meanwhile is the documented condition of this function.
    let map = Arc::new(unsafe { memmap2::MmapOptions::new().map_copy_read_only(&file)? });
    let key = map.as_ptr() as usize;
    MAPS.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(key, Mapped { map: Arc::downgrade(&map), path: path.canonicalize().ok() });
    Ok(Bytes::from_owner(Owner(map)))
}

/// Whether a file is mapped right now: whoever writes to it would replace what is being read.
pub fn is_open(path: &Path) -> bool {
    let Ok(path) = path.canonicalize() else { return false };
    MAPS.lock().unwrap_or_else(PoisonError::into_inner).values().any(|m| m.path.as_ref() == Some(&path))
}

/// Takes the pages of mapped bytes out of memory; the next look at them reads the file again. Bytes that no file
/// backs are left alone, as is everything where the system has no such call.
pub fn release(bytes: &[u8]) {
    let start = bytes.as_ptr() as usize;
    let found = {
        let maps = MAPS.lock().unwrap_or_else(PoisonError::into_inner);
        maps.range(..=start).next_back().and_then(|(_, mapped)| mapped.map.upgrade())
    };
    let Some(map) = found else { return };
    let offset = start - map.as_ptr() as usize;
    if bytes.is_empty() || offset + bytes.len() > map.len() {
        return;
    }
    #[cfg(unix)]
    {
        // SAFETY: the pages lie inside a live private map that was never writable, so dropping them loses nothing:
        // their content comes back from the file. A refusal by the system only keeps the pages.
        let _ =
            unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, offset, bytes.len()) };
    }
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
        let other = folder.path().join("other");
        std::fs::write(&other, b"abc").unwrap();
        assert!(!is_open(&other));
        let kept = open(&other).unwrap().slice(..1);
        assert!(is_open(&other) && is_open(&folder.path().join("./other")));
        drop(kept);
        assert!(!is_open(&other));
    }

    #[test]
    fn released_bytes_come_back_from_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let content: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let bytes = open(&path).unwrap();
        assert_eq!(bytes, content);
        release(&bytes);
        release(&bytes[5000..5001]);
        assert_eq!(bytes, content);
        release(&content);
        release(&[]);
        assert_eq!(bytes, content);
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
