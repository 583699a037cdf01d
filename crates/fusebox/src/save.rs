//! Writes a model, and for an optimized one only after the written file was verified.
//!
//! The file is first written into a hidden folder beside its place, opened from there and compared with the original;
//! only then it is moved. Whatever fails, nothing is left behind.

use crate::verification::{self, Verification, VerifyOptions};
use crate::{Error, Model};
use fusebox_onnx::{ExportError, SaveOptions, SaveReport, Unfinished};
use std::path::{Path, PathBuf};

impl Model {
    /// Writes the model. The file appears whole or not at all.
    ///
    /// # Errors
    /// A model that the target or opset cannot express, or what the file system says.
    pub fn save(&self, path: impl AsRef<Path>, options: &SaveOptions) -> Result<SaveReport, Error> {
        fusebox_onnx::save(self, path, options).map_err(Error::from)
    }
}

/// What was written.
#[derive(Clone, Debug)]
pub struct Written {
    /// Sizes and versions.
    pub file: SaveReport,
    /// How it was verified, or why it could not be.
    pub verification: Verification,
}

/// Writes an optimized model after comparing the written file with the original.
///
/// # Errors
/// [`Error::NotVerified`] when it differs past the tolerance; nothing is written then. Else as [`Model::save`].
pub fn save_verified(
    original: &Model,
    optimized: &Model,
    path: impl AsRef<Path>,
    save: &SaveOptions,
    verify: &VerifyOptions,
) -> Result<Written, Error> {
    let path = path.as_ref();
    let fault = |source| Error::from(ExportError::write(path, source));
    if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(ExportError::NotAFile { path: path.to_owned() }.into());
    }
    let name = path.file_name().ok_or_else(|| ExportError::NotAFile { path: path.to_owned() })?;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let stage = tempfile::Builder::new().prefix(".fusebox-").tempdir_in(&parent).map_err(fault)?;
    let _listed = Unfinished::new(stage.path());
    let staged = stage.path().join(name);
    let file = optimized.save(&staged, save).map_err(|error| error.about(path))?;
    // What verification needs besides the models shall not come on top of what was only read once.
    original.release_pages();
    let reopened = Model::open(&staged)?;
    let verification = verification::verify_written(original, optimized, &reopened, verify)?;
    if !verification.passed() {
        return Err(Error::NotVerified(Box::new(verification)));
    }
    drop(reopened);
    move_into_place(stage.path(), &parent, name).map_err(fault)?;
    Ok(Written { file, verification })
}

/// Moves the staged files, the model last: a model never stands without its data.
fn move_into_place(stage: &Path, parent: &Path, model: &std::ffi::OsStr) -> std::io::Result<()> {
    let mut fresh = Vec::new();
    for entry in std::fs::read_dir(stage)? {
        let name = entry?.file_name();
        if name != model {
            let target = parent.join(&name);
            let was_there = target.exists();
            std::fs::rename(stage.join(&name), &target)?;
            if !was_there {
                fresh.push(target);
            }
        }
    }
    std::fs::rename(stage.join(model), parent.join(model)).inspect_err(|_| {
        fresh.iter().for_each(|data| drop(std::fs::remove_file(data)));
    })
}
