//! Cases as `generate.py` lists them, and their data.

use bytes::Bytes;
use fusebox_ir::{Graph, ValueId};
use fusebox_ops::Datum;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// One backend test.
#[derive(Clone, Debug, Deserialize)]
pub struct Case {
    /// `node`, `simple`, `light`, `pytorch-operator` or `pytorch-converted`.
    pub group: String,
    /// Name in onnx.
    pub name: String,
    /// Relative tolerance.
    pub rtol: f64,
    /// Absolute tolerance.
    pub atol: f64,
    /// The rule that takes it out of the count.
    pub excluded: Option<String>,
    /// Whether only types and shapes of the outputs are defined.
    pub random: bool,
}

/// Inputs and the outputs that they must give, each in the order of the model's file.
#[derive(Clone, Debug)]
pub struct DataSet {
    /// Inputs.
    pub inputs: Vec<Datum>,
    /// Outputs.
    pub outputs: Vec<Datum>,
}

impl Case {
    /// `group/name`.
    pub fn id(&self) -> String {
        format!("{}/{}", self.group, self.name)
    }

    /// Where the case lies below the folder of cases.
    pub fn folder(&self, cases: &Path) -> PathBuf {
        cases.join(&self.group).join(&self.name)
    }
}

impl DataSet {
    /// The inputs in the order of the graph's, absent where there is no data for one.
    pub fn in_order(&self, graph: &Graph) -> Vec<Option<Datum>> {
        let fed = fed_inputs(graph, self.inputs.len());
        let datum = |id| fed.iter().position(|f| *f == id).and_then(|at| self.inputs.get(at).cloned());
        graph.inputs.iter().map(|id| datum(*id)).collect()
    }
}

/// Reads the list of cases.
///
/// # Errors
/// When it is not there or is no such list.
pub fn list(folder: &Path) -> Result<Vec<Case>, String> {
    let path = folder.join("cases.json");
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))
}

/// Inputs of a graph that test data is given for: those with a default only when there is data for all.
pub fn fed_inputs(graph: &Graph, count: usize) -> Vec<ValueId> {
    let required = |id: &ValueId| graph.value(*id).constant.is_none();
    let all = graph.inputs.clone();
    if count > all.iter().copied().filter(|id| required(id)).count() {
        return all;
    }
    all.into_iter().filter(required).collect()
}

/// Reads the data sets of a case in order.
///
/// # Errors
/// A file that cannot be read or is not the message that the model's types announce.
pub fn data_sets(folder: &Path, graph: &Graph) -> Result<Vec<DataSet>, String> {
    let mut sets = Vec::new();
    for number in 0.. {
        let set = folder.join(format!("test_data_set_{number}"));
        if !set.is_dir() {
            break;
        }
        let inputs = values(&set, "input", |count| fed_inputs(graph, count), graph)?;
        let outputs = values(&set, "output", |_| graph.outputs.clone(), graph)?;
        sets.push(DataSet { inputs, outputs });
    }
    if sets.is_empty() { Err(format!("no data in {}", folder.display())) } else { Ok(sets) }
}

fn values(
    folder: &Path,
    prefix: &str,
    ids: impl Fn(usize) -> Vec<ValueId>,
    graph: &Graph,
) -> Result<Vec<Datum>, String> {
    let file = |index: usize| folder.join(format!("{prefix}_{index}.pb"));
    let count = (0..).take_while(|index| file(*index).is_file()).count();
    let read = |(index, id): (usize, ValueId)| {
        let bytes = std::fs::read(file(index)).map_err(|e| format!("{}: {e}", file(index).display()))?;
        fusebox_onnx::load_value(&Bytes::from(bytes), &graph.value(id).ty)
            .map_err(|e| format!("{}: {e}", file(index).display()))
    };
    ids(count).into_iter().take(count).enumerate().map(read).collect()
}
