//! What can go wrong while writing a model, each as a fact with its place, and a hint at what to do.

use fusebox_ir::VerifyError;
use std::path::PathBuf;

/// Why a model could not be written. Nothing half-written remains.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages name every field")]
pub enum ExportError {
    /// The file system refuses.
    #[error("cannot write {path:?}: {source}")]
    Write { path: PathBuf, source: std::io::Error },
    /// The target is a folder, a device or the like.
    #[error("cannot write {path:?}: it exists and is not a regular file")]
    NotAFile { path: PathBuf },
    /// A data file name that is not a plain name.
    #[error("{name:?} cannot be the data file: it must be a plain file name, different from the model's")]
    DataName { name: String },
    /// Over the limit of protobuf even with weights kept outside.
    #[error(
        "the model takes {bytes} bytes without its weights, more than the {limit} that protobuf can hold"
    )]
    TooLarge { bytes: u64, limit: u64 },
    /// The graph breaks an invariant.
    #[error("{owner} cannot be written: {source}")]
    Invalid { owner: String, source: VerifyError },
    /// No opset in reach can express a node.
    #[error("node {node} cannot be written for opset {opset}: {reason}")]
    Opset { node: String, opset: i64, reason: String },
    /// An operator that we do not know keeps the model at the opset it came with.
    #[error(
        "opset {opset} is needed, but node {node} has an operator that is known only as opset {imported} defines it"
    )]
    Pinned { node: String, opset: i64, imported: i64 },
    /// An opset beyond the newest known.
    #[error("opset {opset} is asked for; the oldest that can be written is 7, the newest known is {newest}")]
    NoSuchOpset { opset: i64, newest: i64 },
    /// A part carried from another file that does not parse.
    #[error("carried part {field:?} of {owner} is damaged: {reason}")]
    Carried { owner: String, field: String, reason: String },
    /// A call that cannot be replaced by its body.
    #[error(transparent)]
    Expand(#[from] crate::ExpandError),
}

impl ExportError {
    /// A write that the file system refused, told of the file that was asked for: temporary files do not concern the
    /// reader.
    pub fn write(path: &std::path::Path, source: std::io::Error) -> Self {
        // The library for temporary files adds its path to the message and hides the system's own error.
        let names_temporary =
            source.get_ref().is_some_and(|wrapped| wrapped.to_string().contains(" at path "));
        let source = if names_temporary { source.kind().into() } else { source };
        Self::Write { path: path.to_owned(), source }
    }

    /// What the reader can do about it.
    pub fn help(&self) -> String {
        match self {
            Self::Write { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                "free some space or write to another disk; nothing was changed"
            }
            Self::Write { source, .. } if source.kind() == std::io::ErrorKind::FileTooLarge => {
                "the limit on file sizes (`ulimit -f`) or the file system does not allow it; nothing was changed"
            }
            Self::Write { .. } => "check that the folder exists and can be written to; nothing was changed",
            Self::NotAFile { .. } => "give the path of a file",
            Self::DataName { .. } => "the data file is put beside the model: give its name without folders",
            Self::TooLarge { .. } => {
                "constants inside nodes cannot be kept outside the file: turn them into initializers"
            }
            Self::Invalid { .. } => "a pass left the graph broken: please report it with the model",
            Self::Opset { .. } => "ask for a newer opset, or leave the choice to Fusebox",
            Self::Pinned { .. } => {
                "write the model for the opset it came with, or disable the rule that needs the newer one"
            }
            Self::NoSuchOpset { .. } => "ask for an opset in that range, or leave the choice to Fusebox",
            Self::Carried { .. } => "remove the part from the original file",
            Self::Expand(_) => "write the model with its functions instead",
        }
        .into()
    }
}
