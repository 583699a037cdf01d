//! What can be wrong with a model file, each as a fact with its place, and a hint at what to do.

use fusebox_ir::{DType, VerifyError};
use std::path::PathBuf;

/// Why a model could not be imported.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages name every field")]
pub enum ImportError {
    /// The file cannot be opened or mapped.
    #[error("cannot read {path:?}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    /// Not protobuf, or protobuf of something else.
    #[error("this is not an ONNX model: at byte {offset}, {reason}")]
    NotOnnx { offset: usize, reason: &'static str },
    /// The file ends early.
    #[error(
        "the file is cut off at byte {offset}: inside {inside}, {needed} more bytes are announced and {present} are there"
    )]
    Truncated { offset: usize, inside: &'static str, needed: u64, present: u64 },
    /// Subgraphs or types nested beyond reason.
    #[error("messages nest more than {limit} levels deep at byte {offset}")]
    TooDeep { offset: usize, limit: usize },
    /// More small parts than memory should be spent on.
    #[error(
        "at byte {offset}, the nodes, attributes and names of the file would take more than {limit} bytes of memory"
    )]
    TooManyParts { offset: usize, limit: u64 },
    /// The protobuf parser refuses the bytes.
    #[error("this is not an ONNX model: {reason}")]
    Wire { reason: String },
    /// No graph in the model.
    #[error("the model has no graph")]
    NoGraph,
    /// A domain that is used but not imported.
    #[error("{owner} imports no opset for domain {domain:?}, which node {node} needs")]
    UndeclaredOpset { owner: String, domain: String, node: String, op: String },
    /// Two versions for one domain, or a version below one.
    #[error("{owner} imports opset {version} of domain {domain:?}{}", conflict(*.other))]
    BadOpset { owner: String, domain: String, version: i64, other: Option<i64> },
    /// A value that is read but never defined.
    #[error("in {graph}, {reader} reads {value:?}, which no node, input or initializer defines")]
    Undefined { graph: String, reader: String, value: String },
    /// A value that is defined twice.
    #[error("in {graph}, {value:?} is defined twice: by {first} and by {second}")]
    DefinedTwice { graph: String, value: String, first: String, second: String },
    /// A cycle.
    #[error("{graph} is cyclic: node {node} reads its own output, directly or through other nodes")]
    Cyclic { graph: String, node: String },
    /// Another broken invariant.
    #[error("{graph} is not a valid graph: {source}")]
    Invalid { graph: String, source: VerifyError },
    /// Two attributes of one name.
    #[error("node {node} has two attributes named {attribute:?}")]
    AttributeTwice { node: String, attribute: String },
    /// An attribute whose kind is unknown or whose value is absent.
    #[error("attribute {attribute:?} of node {node}: {reason}")]
    Attribute { node: String, attribute: String, reason: String },
    /// A function defined twice.
    #[error("function {function} is defined twice")]
    FunctionTwice { function: String },
    /// A function that calls itself.
    #[error("function {function} calls itself: {chain}")]
    RecursiveFunction { function: String, chain: String },
    /// Functions whose calls multiply.
    #[error("written out, the functions that the model calls make more than {limit} nodes")]
    TooManyCalls { limit: usize },
    /// An element type number that ONNX does not have.
    #[error("{owner} has element type {number}, which ONNX does not define")]
    UnknownDType { owner: String, number: i32 },
    /// Negative sizes, or more elements than memory can hold.
    #[error("{tensor} has shape {dims:?}, {reason}")]
    Shape { tensor: String, dims: Vec<i64>, reason: &'static str },
    /// Data that does not fit type and shape.
    #[error("{tensor} is {dtype}{dims:?}, which takes {needed} {unit}, but holds {present}")]
    DataLength {
        tensor: String,
        dtype: DType,
        dims: Vec<usize>,
        unit: &'static str,
        needed: usize,
        present: usize,
    },
    /// Data in a field that does not belong to the element type, or in two fields.
    #[error("{tensor} of type {dtype} has its data in {field}, {reason}")]
    DataField { tensor: String, dtype: DType, field: &'static str, reason: &'static str },
    /// An element that its type cannot hold.
    #[error("element {index} of {tensor} is {value}, which {dtype} cannot hold")]
    Element { tensor: String, dtype: DType, index: usize, value: i64 },
    /// A sparse tensor whose parts do not fit together.
    #[error("{tensor}: {reason}")]
    Sparse { tensor: String, reason: String },
    /// External data of a model that has no folder.
    #[error("{tensor} keeps its data in {location:?}, but the model was not read from a file")]
    ExternalWithoutFolder { tensor: String, location: String },
    /// An entry of the reference that cannot be read.
    #[error("{tensor}: external data entry {key:?} is {value:?}, which is not {expected}")]
    ExternalEntry { tensor: String, key: String, value: String, expected: &'static str },
    /// A path that leaves the model's folder.
    #[error("{tensor} keeps its data in {location:?}, {reason}")]
    ExternalOutside { tensor: String, location: String, reason: &'static str },
    /// The data file cannot be read.
    #[error(
        "{tensor} keeps its data in {path:?}, which cannot be read: {source}; bytes {offset}..{end} are needed"
    )]
    ExternalMissing { tensor: String, path: PathBuf, offset: u64, end: u64, source: std::io::Error },
    /// The data file is too short.
    #[error("{tensor} needs bytes {offset}..{end} of {path:?}, which has only {present} bytes")]
    ExternalShort { tensor: String, path: PathBuf, offset: u64, end: u64, present: u64 },
    /// Generated data beyond the limit.
    #[error("{tensor} brings the data to be generated to {needed} bytes, more than the limit of {limit}")]
    TooMuchGenerated { tensor: String, needed: u64, limit: u64 },
    /// A model that is newer than the operator table.
    #[error("{owner} uses opset {version} of ai.onnx; the newest known is {newest}")]
    OpsetTooNew { owner: String, version: i64, newest: i64 },
    /// A node that has no equivalent in the newest opset.
    #[error("node {node} cannot be brought from opset {opset} to the newest form: {source}")]
    Upgrade { node: String, opset: i64, source: fusebox_ops::VersionError },
}

fn conflict(other: Option<i64>) -> String {
    other.map_or(" (versions begin at 1)".into(), |other| format!(" and opset {other} of the same domain"))
}

impl ImportError {
    /// What the reader can do about it.
    pub fn help(&self) -> String {
        match self {
            Self::Read { .. } => "check the path and its permissions",
            Self::NotOnnx { .. } | Self::Wire { .. } => {
                "give a file that an exporter wrote with onnx.save or torch.onnx.export; text, .pt, .safetensors and git-lfs pointers are not ONNX"
            }
            Self::Truncated { .. } => "download or copy the file again, or run `git lfs pull` if it lies in a repository",
            Self::TooDeep { .. } => "no ONNX reader accepts such nesting; export the model with less deeply nested If and Loop bodies",
            Self::TooManyParts { .. } => "if the model is really that large, raise the limit (`LoadOptions::max_overhead`)",
            Self::NoGraph => "the file may hold a single tensor or only functions; give the model itself",
            Self::UndeclaredOpset { .. } => "add the domain to opset_import, or a model-local function that defines the operator",
            Self::BadOpset { .. } => "keep one opset_import entry per domain, with a version of at least 1",
            Self::Undefined { .. } => "the graph was cut or renamed incompletely; `onnx.checker.check_model` reports the same",
            Self::DefinedTwice { .. } => "ONNX graphs are in single-assignment form: rename one of the two",
            Self::Cyclic { .. } => "a loop must be a Loop or Scan node; check the tool that rewired this graph",
            Self::Invalid { .. } => "check the tool that edited this graph",
            Self::AttributeTwice { .. } | Self::Attribute { .. } => "run `onnx.checker.check_model` on the file and fix the exporter",
            Self::FunctionTwice { .. } => "remove one of the definitions, or give them different overloads",
            Self::RecursiveFunction { .. } => "ONNX functions must not be recursive: express the repetition as Loop or Scan",
            Self::TooManyCalls { .. } => "functions that call others twice grow by powers of two: let the exporter write the model without functions",
            Self::UnknownDType { .. } => "the file is damaged or newer than this version of Fusebox",
            Self::Shape { .. } | Self::DataLength { .. } | Self::DataField { .. } | Self::Element { .. } | Self::Sparse { .. } => {
                "the file is damaged or its writer is at fault: export it again"
            }
            Self::ExternalWithoutFolder { .. } => "load the model by its path, so that its data can be found beside it",
            Self::ExternalEntry { .. } => "the file is damaged or its writer is at fault: export it again",
            Self::ExternalOutside { .. } => {
                "data must lie in the model's folder: move it there, or allow another folder with `--data-root DIR` (`LoadOptions::data_root`)"
            }
            Self::ExternalMissing { .. } => "copy the data file to where the model expects it, beside the model",
            Self::ExternalShort { .. } => "the data file is cut off or belongs to another model: copy it again",
            Self::TooMuchGenerated { .. } => "if the model is really that large, raise the limit (`LoadOptions::max_generated`)",
            Self::OpsetTooNew { .. } => "export the model for an older opset, or update Fusebox",
            Self::Upgrade { .. } => "export the model again for opset 11 or newer",
        }
        .into()
    }
}
