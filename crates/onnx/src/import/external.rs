//! Data outside the model file: finds it, keeps it inside the model's folder, maps each file once.

use super::tensor::{Header, Owner, from_raw};
use super::{ImportError, Importer, seeded};
use bytes::Bytes;
use fusebox_ir::Tensor;
use onnx_ir::TensorProto;
use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};

/// Folders that data may lie in, and files already mapped.
#[derive(Debug)]
pub(super) struct DataFolder {
    /// Where relative paths begin.
    base: PathBuf,
    /// Real paths that a data file's real path must begin with.
    roots: Vec<PathBuf>,
    /// Whether the user allowed a folder of its own: then a path may lead there, however it is written.
    is_wide: bool,
    mapped: BTreeMap<String, (PathBuf, Bytes)>,
}

impl DataFolder {
    /// The folder of a model file. The file may be a link: then data may also lie where the link leads.
    pub(super) fn of(model: &Path, extra: Option<&Path>) -> Self {
        let base = match model.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        let real_model = model.canonicalize().ok();
        let beside = real_model.as_deref().and_then(Path::parent).map(Path::to_owned);
        let canonical = |path: &Path| path.canonicalize().ok();
        let roots = [canonical(&base), beside, extra.and_then(canonical)].into_iter().flatten().collect();
        Self { base, roots, is_wide: extra.is_some(), mapped: BTreeMap::new() }
    }
}

/// The `external_data` entries that matter.
struct Reference {
    location: String,
    offset: u64,
    length: Option<u64>,
}

impl Importer<'_> {
    /// Reads a tensor whose data lies elsewhere or is generated.
    pub(super) fn read_external(
        &mut self,
        proto: &TensorProto,
        header: Header,
        owner: Owner<'_>,
    ) -> Result<Tensor, ImportError> {
        let entries: BTreeMap<&str, &str> =
            proto.external_data.iter().map(|e| (e.key.as_str(), e.value.as_str())).collect();
        if entries.get("location") == Some(&seeded::LOCATION) {
            return self.read_seeded(&entries, header, owner);
        }
        let reference = reference(&entries, owner)?;
        let needed = if header.dtype.is_six_bits() {
            Some(crate::six_bits::packed_len(header.count))
        } else {
            header.dtype.bytes_for(header.count)
        };
        let Some(needed) = needed else {
            let reason = "which cannot hold strings";
            let dtype = header.dtype;
            return Err(ImportError::DataField { tensor: owner(), dtype, field: "external data", reason });
        };
        let length = reference.length.unwrap_or(needed as u64);
        let (path, data) = self.map_external(&reference, length, owner)?;
        let end = reference.offset.saturating_add(length);
        let range = usize::try_from(reference.offset).ok().zip(usize::try_from(end).ok());
        match range {
            Some((start, end)) if end <= data.len() => from_raw(header, data.slice(start..end), owner),
            _ => {
                let (offset, present) = (reference.offset, data.len() as u64);
                Err(ImportError::ExternalShort { tensor: owner(), path, offset, end, present })
            }
        }
    }

    fn map_external(
        &mut self,
        reference: &Reference,
        length: u64,
        owner: Owner<'_>,
    ) -> Result<(PathBuf, Bytes), ImportError> {
        let location = reference.location.clone();
        let Some(folder) = &mut self.folder else {
            return Err(ImportError::ExternalWithoutFolder { tensor: owner(), location });
        };
        if let Some(found) = folder.mapped.get(&location) {
            return Ok(found.clone());
        }
        let outside =
            |reason| ImportError::ExternalOutside { tensor: owner(), location: location.clone(), reason };
        if let Err(reason) = check_relative(&location) {
            let may_lead_elsewhere = folder.is_wide && !location.is_empty() && !location.contains('\0');
            may_lead_elsewhere.then_some(()).ok_or_else(|| outside(reason))?;
        }
        let path = folder.base.join(&location);
        let (offset, end) = (reference.offset, reference.offset.saturating_add(length));
        let missing = |source: io::Error| ImportError::ExternalMissing {
            tensor: owner(),
            path: path.clone(),
            offset,
            end,
            source,
        };
        let real = path.canonicalize().map_err(missing)?;
        if !folder.roots.iter().any(|root| real.starts_with(root)) {
            return Err(outside("which leads out of the folders that data may lie in"));
        }
        let data = fusebox_kernels::mapped::open(&real).map_err(missing)?;
        folder.mapped.insert(location.clone(), (path.clone(), data.clone()));
        Ok((path, data))
    }
}

/// Refuses locations that are not plain relative paths, before the file system is asked anything.
fn check_relative(location: &str) -> Result<(), &'static str> {
    if location.is_empty() {
        return Err("which is empty");
    }
    if location.contains('\0') {
        return Err("which contains a zero byte");
    }
    // A backslash separates on Windows and `C:` is a drive there: a model must mean the same everywhere.
    let plain = |c: Component<'_>| matches!(c, Component::Normal(_) | Component::CurDir);
    if location.split(['/', '\\']).any(|part| part == "..") {
        return Err("a path that climbs out of the model's folder");
    }
    let drive = location.as_bytes().get(1) == Some(&b':');
    if drive || location.starts_with(['/', '\\']) || !Path::new(location).components().all(plain) {
        return Err("an absolute path");
    }
    Ok(())
}

fn reference(entries: &BTreeMap<&str, &str>, owner: Owner<'_>) -> Result<Reference, ImportError> {
    let number = |key: &str| {
        let Some(value) = entries.get(key) else { return Ok(None) };
        value.parse::<u64>().map(Some).map_err(|_| ImportError::ExternalEntry {
            tensor: owner(),
            key: key.into(),
            value: (*value).into(),
            expected: "a number of bytes",
        })
    };
    let location = entries.get("location").copied().unwrap_or_default().to_owned();
    Ok(Reference { location, offset: number("offset")?.unwrap_or(0), length: number("length")? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::LoadOptions;
    use fusebox_ir::DType;
    use onnx_ir::Message;

    fn proto(entries: &[(&str, &str)]) -> TensorProto {
        let mut proto =
            TensorProto { data_type: DType::F32.to_onnx(), dims: vec![2], ..TensorProto::default() };
        for (key, value) in entries {
            proto.external_data.push(Default::default());
            let entry = proto.external_data.last_mut().unwrap();
            (entry.key, entry.value) = ((*key).into(), (*value).into());
        }
        // The enum cannot be named: field 14 as wire bytes.
        proto.merge_from_bytes(&[14 << 3, 1]).unwrap();
        proto
    }

    fn read_in(folder: &Path, entries: &[(&str, &str)]) -> Result<Tensor, ImportError> {
        let options = LoadOptions::default();
        let data = DataFolder::of(&folder.join("model.onnx"), None);
        Importer::new(&options, Some(data)).read_tensor(&mut proto(entries), &|| "tensor \"w\"".into())
    }

    #[test]
    fn slices_of_one_mapping() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("w.data"), [0u8; 16]).unwrap();
        let entries = [("location", "./w.data"), ("offset", "8"), ("length", "8")];
        assert_eq!(read_in(folder.path(), &entries).unwrap().elements::<f32>().unwrap().as_ref(), [0.0, 0.0]);
        assert!(read_in(folder.path(), &[("location", "w.data")]).is_ok());
    }

    #[test]
    fn missing_short_and_outside_are_told_apart() {
        let outer = tempfile::tempdir().unwrap();
        std::fs::write(outer.path().join("secret"), [0u8; 16]).unwrap();
        let folder = outer.path().join("model");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("w"), [0u8; 12]).unwrap();
        let fault = |entries: &[(&str, &str)]| read_in(&folder, entries).unwrap_err();
        assert!(matches!(fault(&[("location", "none")]), ImportError::ExternalMissing { end: 8, .. }));
        assert!(matches!(
            fault(&[("location", "w"), ("offset", "8")]),
            ImportError::ExternalShort { offset: 8, end: 16, present: 12, .. }
        ));
        assert!(matches!(
            fault(&[("location", "w"), ("offset", "18446744073709551615"), ("length", "8")]),
            ImportError::ExternalShort { .. }
        ));
        assert!(matches!(fault(&[("location", "w"), ("length", "-1")]), ImportError::ExternalEntry { .. }));
        assert!(matches!(fault(&[("location", "w"), ("length", "4")]), ImportError::DataLength { .. }));
        for bad in ["../secret", "a/../../secret", "..\\secret", "/etc/passwd", "C:\\x", "", "a\0b"] {
            assert!(matches!(fault(&[("location", bad)]), ImportError::ExternalOutside { .. }), "{bad:?}");
        }
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("../secret", folder.join("link")).unwrap();
            assert!(matches!(fault(&[("location", "link")]), ImportError::ExternalOutside { .. }));
        }
    }

    #[test]
    fn a_linked_model_may_have_its_data_where_the_link_leads() {
        #[cfg(unix)]
        {
            let outer = tempfile::tempdir().unwrap();
            let (blobs, snapshot) = (outer.path().join("blobs"), outer.path().join("snapshot"));
            std::fs::create_dir(&blobs).unwrap();
            std::fs::create_dir(&snapshot).unwrap();
            std::fs::write(blobs.join("m"), b"").unwrap();
            std::fs::write(blobs.join("d"), [0u8; 8]).unwrap();
            std::os::unix::fs::symlink("../blobs/m", snapshot.join("model.onnx")).unwrap();
            std::os::unix::fs::symlink("../blobs/d", snapshot.join("w")).unwrap();
            assert!(read_in(&snapshot, &[("location", "w")]).is_ok());
        }
    }
}
