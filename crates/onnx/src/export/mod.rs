//! Writes a model: chooses the opset, lowers fused operators, builds the message over shared weights, and puts the
//! file into place in one step.
//!
//! `lower` decides what the nodes look like, `names` what values are called, `graph`, `node`, `function`, `tensor`
//! and `types` build messages, `file` touches the disk. The same model gives the same bytes. Weights are never
//! copied: the message refers to the bytes that the IR holds.

mod error;
mod file;
mod function;
mod graph;
mod lower;
mod names;
mod node;
mod tensor;
mod types;
mod unfinished;

pub use error::ExportError;
pub use unfinished::{Unfinished, discard_unfinished};

use crate::entries::{UNKNOWN, push_opsets, push_pair};
use fusebox_ir::{DType, Graph, Model};
use graph::Writer;
use names::Names;
use onnx_ir::{Message, ModelProto};
use std::io;
use std::path::Path;
use tensor::Layout;

/// Who is to run the written model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// Any ONNX runtime; fused operators are calls of functions that the file defines.
    #[default]
    Fusebox,
    /// Any ONNX runtime, also one without functions: fused operators are written out in standard operators.
    Onnx,
    /// ONNX Runtime: fused operators are written out with operators of com.microsoft.
    OnnxRuntime,
}

/// Opset of ai.onnx in the written file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Opset {
    /// The lowest that holds the model, but not below the one it came with.
    #[default]
    Lowest,
    /// This one.
    Exactly(i64),
    /// The nodes are written as they are: for models that were loaded without upgrade.
    AsWritten,
}

/// Where the weights go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DataFile {
    /// Into the model, or into `<model>.data` when protobuf cannot hold it.
    #[default]
    WhenNeeded,
    /// Into a file of this name beside the model.
    Named(String),
}

/// How to write.
#[derive(Clone, Debug)]
pub struct SaveOptions {
    /// Who is to run it.
    pub target: Target,
    /// Opset.
    pub opset: Opset,
    /// Where the weights go.
    pub data: DataFile,
    /// Size in bytes beyond which the weights go into a file of their own.
    pub max_model_bytes: u64,
}

impl Default for SaveOptions {
    fn default() -> Self {
        let (target, opset, data) = (Target::default(), Opset::default(), DataFile::default());
        Self { target, opset, data, max_model_bytes: MAX_PROTOBUF }
    }
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SaveReport {
    /// Bytes of the model file.
    pub model_bytes: u64,
    /// Nodes in the file, those of bodies included: operators that the target lacks are written in several.
    pub nodes: usize,
    /// Bytes of the data file, 0 when there is none.
    pub data_bytes: u64,
    /// Opset of ai.onnx, when the model uses it.
    pub opset: Option<i64>,
    /// ONNX IR version.
    pub ir_version: i64,
    /// Functions that the file defines.
    pub functions: usize,
}

/// What protobuf can hold.
const MAX_PROTOBUF: u64 = (1 << 31) - 1;

/// Writes a model to a file, and its data file when there is one. Takes little memory beyond the model itself.
///
/// # Errors
/// When the model cannot be expressed or the disk refuses; then the folder is as it was.
pub fn save(model: &Model, path: impl AsRef<Path>, options: &SaveOptions) -> Result<SaveReport, ExportError> {
    let path = path.as_ref();
    let lowered = prepare(model, options)?;
    let mut layout = match &options.data {
        DataFile::WhenNeeded => None,
        DataFile::Named(name) => Some(Layout::new(check_data_name(name, path)?)),
    };
    let keep = options.opset == Opset::AsWritten;
    let mut proto = write_model(&lowered, layout.as_mut(), keep)?;
    let mut size = proto.compute_size();
    let limit = options.max_model_bytes.min(MAX_PROTOBUF);
    if size > limit && layout.is_none() {
        let file_name = path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        let external = layout.insert(Layout::new(check_data_name(&format!("{file_name}.data"), path)?));
        proto = write_model(&lowered, Some(external), keep)?;
        size = proto.compute_size();
    }
    if size > limit {
        return Err(ExportError::TooLarge { bytes: size, limit });
    }
    let fill = |out: &mut dyn io::Write| write_message(&proto, out);
    file::write_files(path, &fill, layout.as_ref())?;
    Ok(report(&proto, lowered.graph.total_node_count(), size, layout.as_ref()))
}

/// Writes a model to memory, weights included.
///
/// # Errors
/// When the model cannot be expressed or is larger than protobuf can hold.
pub fn to_bytes(model: &Model, options: &SaveOptions) -> Result<Vec<u8>, ExportError> {
    let lowered = prepare(model, options)?;
    let proto = write_model(&lowered, None, options.opset == Opset::AsWritten)?;
    let (bytes, limit) = (proto.compute_size(), options.max_model_bytes.min(MAX_PROTOBUF));
    if bytes > limit {
        return Err(ExportError::TooLarge { bytes, limit });
    }
    Ok(proto.write_to_bytes().expect("writing to memory cannot fail below the limit of protobuf"))
}

fn prepare(model: &Model, options: &SaveOptions) -> Result<Model, ExportError> {
    let invalid = |source| ExportError::Invalid { owner: "the graph".into(), source };
    model.graph.verify().map_err(invalid)?;
    lower::lower(model, options.opset, options.target)
}

fn check_data_name(name: &str, model: &Path) -> Result<String, ExportError> {
    let plain = Path::new(name).file_name().is_some_and(|n| n == name) && !name.contains(['\\', '\0']);
    let differs = model.file_name().is_none_or(|n| n != name);
    if plain && differs { Ok(name.into()) } else { Err(ExportError::DataName { name: name.into() }) }
}

fn write_message(proto: &ModelProto, mut out: &mut dyn io::Write) -> io::Result<()> {
    proto.write_to_writer(&mut out).map_err(io::Error::from)?;
    out.flush()
}

fn report(proto: &ModelProto, nodes: usize, model_bytes: u64, layout: Option<&Layout>) -> SaveReport {
    let standard = proto.opset_import.iter().find(|o| o.domain.is_empty() || o.domain == "ai.onnx");
    SaveReport {
        model_bytes,
        nodes,
        data_bytes: layout.map_or(0, |layout| layout.length),
        opset: standard.map(|o| o.version),
        ir_version: proto.ir_version,
        functions: proto.functions.len(),
    }
}

fn write_model(
    model: &Model,
    layout: Option<&mut Layout>,
    verbatim: bool,
) -> Result<ModelProto, ExportError> {
    let mut proto = ModelProto {
        ir_version: model.ir_version.max(needed_ir_version(model)),
        producer_name: model.producer_name.clone(),
        producer_version: model.producer_version.clone(),
        domain: model.domain.clone(),
        model_version: model.model_version,
        doc_string: model.doc.clone(),
        ..ModelProto::default()
    };
    push_opsets!(proto.opset_import, &model.opsets);
    for (key, value) in &model.metadata {
        push_pair!(proto.metadata_props, key.as_str(), value.as_str());
    }
    let mut writer = Writer { names: Names::of(&model.graph), layout, verbatim };
    proto.graph = Some(writer.write_graph(&model.graph, &[])?).into();
    model.functions.iter().try_for_each(|f| function::push_function(&mut proto, f))?;
    for part in &model.carried {
        let damaged = |reason: String| {
            let owner = "the model".into();
            ExportError::Carried { owner, field: part.field.clone(), reason }
        };
        match part.field.as_str() {
            "training_info" => {
                let parsed = Message::parse_from_bytes(&part.bytes).map_err(|e| damaged(e.to_string()))?;
                proto.training_info.push(parsed);
            }
            "configuration" => {
                let parsed = Message::parse_from_bytes(&part.bytes).map_err(|e| damaged(e.to_string()))?;
                proto.configuration.push(parsed);
            }
            UNKNOWN => proto.merge_from_bytes(&part.bytes).map_err(|e| damaged(e.to_string()))?,
            _ => {}
        }
    }
    Ok(proto)
}

/// Lowest IR version that has what the model uses. Metadata of nodes does not count: readers of older versions skip it.
fn needed_ir_version(model: &Model) -> i64 {
    let overloaded = model.functions.iter().any(|f| !f.overload.is_empty());
    // 4: initializers need not be inputs. 8: functions. 10: overloads.
    let structure = if overloaded {
        10
    } else if model.functions.is_empty() {
        4
    } else {
        8
    };
    let functions = model.functions.iter().map(|f| needed_by_types(&f.graph));
    functions.chain([needed_by_types(&model.graph)]).fold(structure, i64::max)
}

fn needed_by_types(graph: &Graph) -> i64 {
    let needed = |dtype: DType| match dtype {
        DType::F8E4M3FN | DType::F8E4M3FNUZ | DType::F8E5M2 | DType::F8E5M2FNUZ => 9,
        DType::U4 | DType::I4 => 10,
        DType::F4E2M1 => 11,
        DType::F8E8M0 => 12,
        DType::U2 | DType::I2 => 13,
        DType::F6E2M3 | DType::F6E3M2 => 14,
        _ => 3,
    };
    let values = graph.values().filter_map(|(_, v)| v.ty.tensor()).map(|t| needed(t.dtype));
    let regions = graph.nodes().flat_map(|(_, n)| &n.regions).map(|r| needed_by_types(&r.graph));
    values.chain(regions).max().unwrap_or(3)
}
