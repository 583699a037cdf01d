//! ONNX files byte by byte: what no exporter writes, and what our own export would refuse to.
//!
//! Only the fields that faults are about; numbers are those of onnx.proto.

/// Element type of f32 in ONNX.
pub(crate) const FLOAT: u64 = 1;
/// Element type of i64 in ONNX.
pub(crate) const INT64: u64 = 7;

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn bytes(field: u64, content: &[u8]) -> Vec<u8> {
    [varint(field << 3 | 2), varint(content.len() as u64), content.to_vec()].concat()
}

fn text(field: u64, content: &str) -> Vec<u8> {
    bytes(field, content.as_bytes())
}

fn entry(key: &str, value: &str) -> Vec<u8> {
    [text(1, key), text(2, value)].concat()
}

/// A node in the making: operator, inputs, outputs, its name that of its first output with `make_` before it.
pub(crate) fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> Vec<u8> {
    node_of("", op, inputs, outputs)
}

/// A node of any domain.
pub(crate) fn node_of(domain: &str, op: &str, inputs: &[&str], outputs: &[&str]) -> Vec<u8> {
    let reads = inputs.iter().flat_map(|name| text(1, name));
    let writes = outputs.iter().flat_map(|name| text(2, name));
    let name = text(3, &format!("make_{}", outputs[0]));
    reads.chain(writes).chain(name).chain(text(4, op)).chain(text(7, domain)).collect()
}

/// A tensor of f32 with external data.
pub(crate) fn external(name: &str, sizes: &[u64], location: &str) -> Vec<u8> {
    let dims: Vec<u8> = sizes.iter().flat_map(|size| number(1, *size)).collect();
    let length = 4 * sizes.iter().product::<u64>();
    let data = [bytes(13, &entry("location", location)), bytes(13, &entry("length", &length.to_string()))];
    [dims, number(2, FLOAT), text(8, name), data.concat(), number(14, 1)].concat()
}

/// A tensor of f32, all of one value.
pub(crate) fn filled(name: &str, sizes: &[u64], value: f32) -> Vec<u8> {
    let dims: Vec<u8> = sizes.iter().flat_map(|size| number(1, *size)).collect();
    let data = value.to_le_bytes().repeat(sizes.iter().product::<u64>() as usize);
    [dims, number(2, FLOAT), text(8, name), bytes(9, &data)].concat()
}

/// An input or output.
fn value(name: &str, dtype: u64, sizes: &[u64]) -> Vec<u8> {
    let shape: Vec<u8> = sizes.iter().flat_map(|size| bytes(1, &number(1, *size))).collect();
    let tensor = [number(1, dtype), bytes(2, &shape)].concat();
    [text(1, name), bytes(2, &bytes(1, &tensor))].concat()
}

/// A model with input `x`, output `y`, opset 20 of ai.onnx.
pub(crate) struct Draft {
    pub(crate) nodes: Vec<Vec<u8>>,
    pub(crate) initializers: Vec<Vec<u8>>,
    pub(crate) input: (u64, Vec<u64>),
    pub(crate) output: (u64, Vec<u64>),
    /// Domains with their opsets.
    pub(crate) opsets: Vec<(&'static str, u64)>,
}

impl Draft {
    /// f32[2, 4] to f32[2, 4].
    pub(crate) fn new(nodes: &[Vec<u8>]) -> Self {
        Self {
            nodes: nodes.to_vec(),
            initializers: Vec::new(),
            input: (FLOAT, vec![2, 4]),
            output: (FLOAT, vec![2, 4]),
            opsets: vec![("", 20)],
        }
    }

    /// With constants.
    pub(crate) fn with(self, initializers: &[Vec<u8>]) -> Self {
        Self { initializers: initializers.to_vec(), ..self }
    }

    /// The file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut graph: Vec<u8> = self.nodes.iter().flat_map(|node| bytes(1, node)).collect();
        graph.extend(text(2, "main_graph"));
        graph.extend(self.initializers.iter().flat_map(|tensor| bytes(5, tensor)));
        graph.extend(bytes(11, &value("x", self.input.0, &self.input.1)));
        graph.extend(bytes(12, &value("y", self.output.0, &self.output.1)));
        let opsets = self
            .opsets
            .iter()
            .flat_map(|(domain, version)| bytes(8, &[text(1, domain), number(2, *version)].concat()));
        [number(1, 10), text(2, "test"), bytes(7, &graph)].into_iter().flatten().chain(opsets).collect()
    }
}
