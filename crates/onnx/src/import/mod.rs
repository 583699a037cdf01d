//! Reads a model: maps the file, checks the wire format, parses it without copying weights, builds the IR.
//!
//! `scan` looks at the bytes, `graph` resolves names into values, `node` reads nodes and attributes, `tensor`,
//! `external` and `seeded` give the data, `types` the types. Never panics and never takes unbounded memory, whatever
//! the bytes. Every fault is an [`ImportError`] that says what, where and what to do.

mod error;
mod external;
mod function;
mod graph;
mod node;
mod order;
mod scan;
mod seeded;
mod sparse;
mod tensor;
#[cfg(test)]
mod tests;
mod types;
mod value;

pub use error::ImportError;
pub(crate) use function::check_calls;
pub use value::load_value;

use crate::entries::{carry, carry_unknown, opset_imports, pairs};
use bytes::Bytes;
use external::DataFolder;
use fusebox_ir::{Model, OpsetImport};
use onnx_ir::{Message, ModelProto};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Limits and permissions of import.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Most bytes that generated (seeded) and sparse tensors may take once filled in.
    pub max_generated: u64,
    /// Most bytes that the parts of the model other than weights may take in memory.
    pub max_overhead: u64,
    /// Whether nodes are brought to the newest form of their operators, which all other crates expect. Without it the
    /// model is what the file says to the letter, to be written again with [`Opset::AsWritten`](crate::Opset).
    pub upgrade: bool,
    /// A folder that external data may lie in besides the model's own.
    pub data_root: Option<PathBuf>,
}

impl Default for LoadOptions {
    /// 8 GiB generated, 2 GiB of parts, upgraded, data in the model's folder only.
    fn default() -> Self {
        Self { max_generated: 8 << 30, max_overhead: 2 << 30, upgrade: true, data_root: None }
    }
}

/// Reads a model file. The file stays mapped for as long as any constant of it lives.
///
/// # Errors
/// When the file cannot be read or is not a valid model.
pub fn load(path: impl AsRef<Path>, options: &LoadOptions) -> Result<Model, ImportError> {
    let path = path.as_ref();
    let read = |source| ImportError::Read { path: path.to_owned(), source };
    let bytes = fusebox_kernels::mapped::open(path).map_err(read)?;
    let folder = DataFolder::of(path, options.data_root.as_deref());
    Importer::new(options, Some(folder)).read_model(&bytes)
}

/// Reads a model from memory. Its constants share the bytes; external data is refused.
///
/// # Errors
/// When the bytes are not a valid model.
pub fn load_bytes(bytes: &Bytes, options: &LoadOptions) -> Result<Model, ImportError> {
    Importer::new(options, None).read_model(bytes)
}

/// State of one import.
struct Importer<'a> {
    options: &'a LoadOptions,
    folder: Option<DataFolder>,
    /// Bytes generated so far.
    generated: u64,
    /// Unnamed sizes met so far.
    unnamed: usize,
    /// Domain and name of every model-local function.
    functions: BTreeSet<(String, String)>,
    /// Opset imports in force, and whose they are.
    opsets: Vec<OpsetImport>,
    owner: String,
}

impl<'a> Importer<'a> {
    fn new(options: &'a LoadOptions, folder: Option<DataFolder>) -> Self {
        let (functions, opsets, owner) = (BTreeSet::new(), Vec::new(), "the model".into());
        Self { options, folder, generated: 0, unnamed: 0, functions, opsets, owner }
    }

    fn read_model(&mut self, bytes: &Bytes) -> Result<Model, ImportError> {
        scan::scan(bytes, self.options.max_overhead)?;
        let parsed = ModelProto::parse_from_tokio_bytes(bytes);
        let mut proto = parsed.map_err(|error| ImportError::Wire { reason: error.to_string() })?;
        let Some(graph) = proto.graph.take() else { return Err(ImportError::NoGraph) };
        self.functions = function::names(&proto);
        self.opsets = opset_imports!(proto.opset_import);
        if self.opsets.is_empty() && proto.ir_version < 3 {
            // Before IR version 3 there were no opset imports; all operators were of the first set.
            self.opsets.push(OpsetImport { domain: String::new(), version: 1 });
        }
        check_opsets("the model", &self.opsets)?;
        let mut model = Model {
            opsets: self.opsets.clone(),
            ir_version: proto.ir_version,
            producer_name: std::mem::take(&mut proto.producer_name),
            producer_version: std::mem::take(&mut proto.producer_version),
            domain: std::mem::take(&mut proto.domain),
            model_version: proto.model_version,
            doc: std::mem::take(&mut proto.doc_string),
            metadata: pairs!(proto.metadata_props),
            ..Model::default()
        };
        model.carried.extend(proto.training_info.iter().map(|m| carry("training_info", m)));
        model.carried.extend(proto.configuration.iter().map(|m| carry("configuration", m)));
        model.carried.extend(carry_unknown(&proto));
        // Before IR version 4 every initializer had to be listed as an input without being one.
        model.graph = self.read_graph(graph, proto.ir_version < 4)?;
        // With those that nodes turned out to need.
        model.opsets.clone_from(&self.opsets);
        for index in 0..proto.functions.len() {
            model.functions.push(self.read_function(&mut proto, index)?);
        }
        check_calls(&model.graph, &model.functions)?;
        if self.options.upgrade {
            crate::upgrade::upgrade(&mut model)?;
        }
        Ok(model)
    }
}

/// One version per domain, and none below one.
fn check_opsets(owner: &str, opsets: &[OpsetImport]) -> Result<(), ImportError> {
    let mut seen = std::collections::BTreeMap::new();
    for OpsetImport { domain, version } in opsets {
        let plain = if domain == "ai.onnx" { "" } else { domain };
        let other = seen.insert(plain, *version).filter(|other| other != version);
        if other.is_some() || *version < 1 {
            let (owner, domain) = (owner.into(), domain.clone());
            return Err(ImportError::BadOpset { owner, domain, version: *version, other });
        }
    }
    Ok(())
}
