//! Puts finished bytes on disk: everything into temporary files beside the target, then renames. After any error the
//! folder is as it was.

use super::ExportError;
use super::tensor::Layout;
use super::unfinished::Unfinished;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Writes bytes into `out`, wherever that leads.
pub(super) type Fill<'a> = &'a dyn Fn(&mut dyn Write) -> io::Result<()>;

/// Writes the data file (when there is a layout) and the model, and moves both into place.
pub(super) fn write_files(path: &Path, model: Fill<'_>, layout: Option<&Layout>) -> Result<(), ExportError> {
    check_target(path)?;
    let folder = folder_of(path);
    let data = match layout {
        Some(layout) => {
            let data_path = folder.join(&layout.name);
            check_target(&data_path)?;
            let fill = |out: &mut dyn Write| write_layout(layout, out);
            let (data, listed) = temporary(&folder, &data_path, &fill)?;
            Some((data, listed, data_path))
        }
        None => None,
    };
    let (model, _listed) = temporary(&folder, path, model)?;
    let mut fresh_data = None;
    if let Some((data, _listed, data_path)) = data {
        let was_there = data_path.exists();
        persist(data, &data_path)?;
        fresh_data = Some(data_path).filter(|_| !was_there);
    }
    persist(model, path).inspect_err(|_| {
        // The model that should refer to the data is not there: neither may the data be.
        if let Some(data_path) = &fresh_data {
            drop(std::fs::remove_file(data_path));
        }
    })?;
    sync_folder(&folder);
    Ok(())
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Renaming over a device or a folder would destroy it.
fn check_target(path: &Path) -> Result<(), ExportError> {
    match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => Err(ExportError::NotAFile { path: path.to_owned() }),
        _ => Ok(()),
    }
}

fn temporary(folder: &Path, path: &Path, fill: Fill<'_>) -> Result<(NamedTempFile, Unfinished), ExportError> {
    let fault = |source| ExportError::write(path, source);
    let mut builder = tempfile::Builder::new();
    builder.prefix(".fusebox-").suffix(".part");
    // Temporary files are private by default; a model should be as readable as any new file.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder).map_err(fault)?;
    let listed = Unfinished::new(file.path());
    fill(file.as_file_mut()).map_err(fault)?;
    file.as_file().sync_all().map_err(fault)?;
    Ok((file, listed))
}

fn persist(file: NamedTempFile, path: &Path) -> Result<(), ExportError> {
    let fault =
        |error: tempfile::PersistError| ExportError::Write { path: path.to_owned(), source: error.error };
    file.persist(path).map(drop).map_err(fault)
}

/// Makes the renames last; a file system that cannot is no reason to fail.
fn sync_folder(folder: &Path) {
    if let Ok(folder) = std::fs::File::open(folder) {
        drop(folder.sync_all());
    }
}

/// Writes tensors at their offsets, with zeros between.
fn write_layout(layout: &Layout, out: &mut dyn Write) -> io::Result<()> {
    let mut at = 0u64;
    for (offset, data) in &layout.parts {
        let gap = usize::try_from(offset - at).expect("gaps are smaller than a page");
        out.write_all(&[0; 4096][..gap])?;
        out.write_all(data)?;
        at = offset + data.len() as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn layout() -> Layout {
        let mut layout = Layout::new("m.data".into());
        layout.parts = vec![(0, Bytes::from_static(b"ab")), (64, Bytes::from_static(b"c"))];
        layout.length = 65;
        layout
    }

    fn full_disk(out: &mut dyn Write) -> io::Result<()> {
        out.write_all(b"half")?;
        Err(io::ErrorKind::StorageFull.into())
    }

    #[test]
    fn both_files_appear() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.onnx");
        write_files(&path, &|out| out.write_all(b"model"), Some(&layout())).unwrap();
        assert_eq!(names(folder.path()), ["m.data", "m.onnx"]);
        let data = std::fs::read(folder.path().join("m.data")).unwrap();
        assert_eq!((data.len(), &data[..2], data[63], data[64]), (65, &b"ab"[..], 0, b'c'));
    }

    #[test]
    fn a_full_disk_leaves_everything_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.onnx");
        let error = write_files(&path, &full_disk, Some(&layout())).unwrap_err();
        assert!(matches!(&error, ExportError::Write { path: at, .. } if *at == path), "{error}");
        assert!(error.help().contains("free some space"));
        assert!(names(folder.path()).is_empty());
        std::fs::write(&path, b"old").unwrap();
        write_files(&path, &full_disk, None).unwrap_err();
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["m.onnx"]);
    }

    #[test]
    fn only_files_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let error = write_files(folder.path(), &|_| Ok(()), None).unwrap_err();
        assert!(matches!(error, ExportError::NotAFile { .. }));
        let missing = folder.path().join("none/m.onnx");
        assert!(matches!(write_files(&missing, &|_| Ok(()), None), Err(ExportError::Write { .. })));
    }

    #[cfg(unix)]
    #[test]
    fn a_new_model_is_as_readable_as_any_new_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (path, plain) = (folder.path().join("m.onnx"), folder.path().join("plain"));
        write_files(&path, &|_| Ok(()), None).unwrap();
        std::fs::write(&plain, b"").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&path), mode(&plain));
    }
}
