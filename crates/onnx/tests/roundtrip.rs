//! Generated models: written and read again they say the same, with every kind of attribute, element type, region,
//! function and metadata.
#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap as tests do")]

use fusebox_ir::text::{PrintOptions, print_model};
use fusebox_ir::{
    Attr, Attrs, DType, Dim, Function, Graph, Model, Node, OpName, OpsetImport, Region, Tensor, TensorType,
    Type, Value, ValueId,
};
use fusebox_onnx::{DataFile, LoadOptions, Opset, SaveOptions, load, load_bytes, save, to_bytes};
use proptest::prelude::*;

const DTYPES: &[DType] = &[
    DType::F32,
    DType::U8,
    DType::I8,
    DType::U16,
    DType::I16,
    DType::I32,
    DType::I64,
    DType::String,
    DType::Bool,
    DType::F16,
    DType::F64,
    DType::U32,
    DType::U64,
    DType::C64,
    DType::C128,
    DType::BF16,
    DType::F8E4M3FN,
    DType::F8E4M3FNUZ,
    DType::F8E5M2,
    DType::F8E5M2FNUZ,
    DType::U4,
    DType::I4,
    DType::F4E2M1,
    DType::F8E8M0,
    DType::U2,
    DType::I2,
    DType::F6E2M3,
    DType::F6E3M2,
];

/// Draws choices from a list of bytes, so that proptest can shrink the list.
struct Choices<'a> {
    bytes: std::slice::Iter<'a, u8>,
    names: usize,
    /// Whether nodes may call the function `Fancy`.
    calls: bool,
}

impl Choices<'_> {
    fn pick(&mut self, bound: usize) -> usize {
        usize::from(*self.bytes.next().unwrap_or(&0)) % bound
    }

    fn maybe(&mut self) -> bool {
        self.pick(2) == 1
    }

    fn name(&mut self, prefix: &str) -> String {
        self.names += 1;
        // Names are kept to the letter, also odd ones.
        let odd = self.pick(3);
        format!("{prefix}/{}:é {odd}", self.names)
    }

    fn text(&mut self) -> String {
        ["", "doc", "two\nlines", "ünï"][self.pick(4)].into()
    }

    fn metadata(&mut self) -> Vec<(String, String)> {
        (0..self.pick(3)).map(|i| (format!("key{i}"), self.text())).collect()
    }

    fn tensor(&mut self) -> Tensor {
        let dtype = DTYPES[self.pick(DTYPES.len())];
        let shape: Vec<usize> = (0..self.pick(3)).map(|_| self.pick(4)).collect();
        let count = shape.iter().product();
        if dtype == DType::String {
            let strings = (0..count).map(|_| self.text().into_bytes()).collect();
            return Tensor::from_strings(shape, strings).unwrap();
        }
        let bound = match dtype {
            DType::Bool => 2,
            dtype if dtype.is_six_bits() => 64,
            _ => 256,
        };
        let bytes: Vec<u8> = (0..dtype.bytes_for(count).unwrap()).map(|_| self.pick(bound) as u8).collect();
        Tensor::from_bytes(dtype, shape, bytes.into()).unwrap()
    }

    fn dim(&mut self) -> Dim {
        let (batch, seq) = (Dim::symbol("batch"), Dim::symbol("a \"quoted\" name"));
        match self.pick(6) {
            0 => batch,
            1 => seq,
            2 => batch.mul(&seq).add(&Dim::known(-1)),
            3 => batch.add(&Dim::known(3)).floor_div(&Dim::known(2)),
            4 => batch.smaller(&Dim::known(512)),
            _ => Dim::known(self.pick(5) as i64),
        }
    }

    fn ty(&mut self) -> Type {
        match self.pick(6) {
            0 => Type::Unknown,
            1 => Type::Sequence(Box::new(self.tensor_type().into())),
            2 => Type::Optional(Box::new(Type::Sequence(Box::new(self.tensor_type().into())))),
            _ => self.tensor_type().into(),
        }
    }

    fn tensor_type(&mut self) -> TensorType {
        let dtype = DTYPES[self.pick(DTYPES.len())];
        if self.pick(4) == 0 {
            return TensorType::unranked(dtype);
        }
        let rank = self.pick(4);
        TensorType::new(dtype, (0..rank).map(|_| self.dim()).collect::<Vec<_>>())
    }

    fn attrs(&mut self) -> Attrs {
        let mut attrs = Attrs::new();
        for index in 0..self.pick(4) {
            let attr = match self.pick(9) {
                0 => Attr::Int(self.pick(256) as i64 - 128),
                1 => Attr::Float(self.pick(256) as f32 / 8.0 - 4.0),
                2 => Attr::String(vec![self.pick(256) as u8; self.pick(3)]),
                3 => Attr::Tensor(self.tensor()),
                4 => Attr::Ints((0..self.pick(4)).map(|i| i as i64 - 1).collect()),
                5 => Attr::Floats(vec![0.5; self.pick(3)]),
                6 => Attr::Strings(vec![b"s".to_vec(); self.pick(3)]),
                7 => Attr::Tensors(vec![self.tensor()]),
                _ => Attr::Type(self.tensor_type().into()),
            };
            attrs.set(&format!("attr{index}"), attr);
        }
        attrs
    }

    /// A graph whose nodes may read `outer`; returns it with the outer values that it captures.
    fn graph(&mut self, depth: usize, outer: &[Value]) -> (Graph, Vec<usize>) {
        let mut graph = Graph::new();
        (graph.name, graph.doc) = (self.name("graph"), self.text());
        graph.metadata = self.metadata();
        let mut captures: Vec<usize> = Vec::new();
        for _ in 0..=self.pick(2) {
            let (name, ty) = (self.name("in"), self.ty());
            let id = graph.add_input(name, ty);
            graph.value_mut(id).doc = self.text();
            graph.value_mut(id).metadata = self.metadata();
        }
        for _ in 0..self.pick(3) {
            let (name, tensor) = (self.name("const"), self.tensor());
            let id = graph.add_constant(name, tensor);
            graph.value_mut(id).doc = self.text();
            graph.value_mut(id).metadata = self.metadata();
        }
        let mut readable: Vec<ValueId> = graph.values().map(|(id, _)| id).collect();
        for _ in 0..self.pick(4).min(outer.len()) {
            let source = self.pick(outer.len());
            if !captures.contains(&source) {
                let Value { name, ty, .. } = outer[source].clone();
                let id = graph.add_value(Value { name, ty, ..Value::default() });
                graph.captured.push(id);
                captures.push(source);
                readable.push(id);
            }
        }
        // Import captures what is read, in the order in which it is read: let one node read it all first.
        let read: Vec<_> = graph.captured.iter().copied().map(Some).collect();
        let last = graph.add_value(Value { name: self.name("gathered"), ..Value::default() });
        graph.add_node(Node::new(OpName::new("custom", "Gather"), read, [Some(last)], Attrs::new()));
        for _ in 0..=self.pick(4) {
            self.node(&mut graph, &mut readable, depth);
        }
        graph.outputs = vec![last, readable[self.pick(readable.len())]];
        graph.outputs.dedup();
        (graph, captures)
    }

    fn node(&mut self, graph: &mut Graph, readable: &mut Vec<ValueId>, depth: usize) {
        let mut inputs: Vec<Option<ValueId>> = (0..self.pick(4))
            .map(|_| if self.pick(4) == 0 { None } else { Some(readable[self.pick(readable.len())]) })
            .collect();
        while inputs.last() == Some(&None) {
            inputs.pop();
        }
        let mut outputs = Vec::new();
        for _ in 0..=self.pick(2) {
            let (name, ty, doc) = (self.name("v"), self.ty(), self.text());
            let id = graph.add_value(Value { name, ty, doc, metadata: self.metadata(), ..Value::default() });
            outputs.push(Some(id).filter(|_| self.pick(5) > 0));
        }
        let name = ["Relu", "If", if self.calls { "Fancy" } else { "Plain" }][self.pick(3)];
        let mut node = Node::new(OpName::new("custom", name), inputs, outputs.clone(), self.attrs());
        (node.name, node.doc, node.metadata) = (self.name("node"), self.text(), self.metadata());
        if depth < 2 && self.pick(3) == 0 {
            for region in ["a_branch", "b_branch"].iter().take(1 + self.pick(2)) {
                let outer: Vec<Value> = readable.iter().map(|id| graph.value(*id).clone()).collect();
                let (inner, captures) = self.graph(depth + 1, &outer);
                let captures = captures.into_iter().map(|index| readable[index]).collect();
                node.regions.push(Region { name: (*region).into(), graph: inner, captures });
            }
        }
        graph.add_node(node);
        readable.extend(outputs.into_iter().flatten());
    }

    fn model(&mut self) -> Model {
        let opset = |domain: &str, version| OpsetImport { domain: domain.into(), version };
        let opsets = vec![opset("", 17), opset("custom", 3)];
        let mut model = Model { opsets: opsets.clone(), ir_version: 14, ..Model::default() };
        (model.producer_name, model.doc, model.metadata) = (self.text(), self.text(), self.metadata());
        model.graph = self.graph(0, &[]).0;
        if self.maybe() {
            self.calls = false;
            let mut graph = self.graph(1, &[]).0;
            // A function has no initializers, and its graph no name and doc of its own.
            (graph.name, graph.doc, graph.metadata) = Default::default();
            let constants: Vec<_> =
                graph.values().filter(|(_, v)| v.constant.is_some()).map(|(id, _)| id).collect();
            for id in constants {
                graph.value_mut(id).constant = None;
                graph.add_node(Node::new(OpName::onnx("Constant"), [], [Some(id)], Attrs::new()));
            }
            let defaults = self.attrs();
            let required = vec!["alpha".into()];
            let (domain, name) = ("custom".into(), "Fancy".into());
            model.functions.push(Function {
                domain,
                name,
                graph,
                required,
                defaults,
                opsets,
                ..Function::default()
            });
        }
        model
    }
}

fn generate(bytes: &[u8]) -> Model {
    Choices { bytes: bytes.iter(), names: 0, calls: true }.model()
}

fn raw() -> LoadOptions {
    LoadOptions { upgrade: false, ..LoadOptions::default() }
}

fn as_written() -> SaveOptions {
    SaveOptions { opset: Opset::AsWritten, ..SaveOptions::default() }
}

/// Everything that the text form says, every element included.
fn text(model: &Model) -> String {
    print_model(model, &PrintOptions { names: true, ..PrintOptions::complete() })
}

/// Name, doc string, metadata and type of a value.
type Detail = (String, String, Vec<(String, String)>, Type);

/// What the text form leaves out: doc strings, metadata and exact names of values.
fn details(graph: &Graph) -> Vec<Detail> {
    let mut values: Vec<_> = graph
        .values()
        .filter(|(id, v)| v.producer.is_some() || graph.inputs.contains(id) || v.constant.is_some())
        .map(|(_, v)| (v.name.clone(), v.doc.clone(), v.metadata.clone(), v.ty.clone()))
        .collect();
    values.sort();
    values
}

/// Lines of the texts that differ.
fn differing(left: &str, right: &str) -> Vec<(String, String)> {
    let mut right = right.lines();
    let mut lines: Vec<_> =
        left.lines().map(|l| (l.to_owned(), right.next().unwrap_or("").to_owned())).collect();
    lines.extend(right.map(|r| (String::new(), r.to_owned())));
    lines.retain(|(l, r)| l != r);
    lines
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn generated_models_survive(bytes in prop::collection::vec(any::<u8>(), 0..900)) {
        let model = generate(&bytes);
        model.graph.verify().unwrap();
        let written = to_bytes(&model, &as_written()).unwrap();
        let read = load_bytes(&written.clone().into(), &raw()).unwrap();
        prop_assert_eq!(differing(&text(&model), &text(&read)), vec![]);
        prop_assert_eq!(details(&model.graph), details(&read.graph));
        // What was read is in the importer's own order: from here on the round trip is exact.
        let again = load_bytes(&to_bytes(&read, &as_written()).unwrap().into(), &raw()).unwrap();
        prop_assert!(read == again);
        prop_assert_eq!(written, to_bytes(&model, &as_written()).unwrap());
    }

    #[test]
    fn data_files_change_nothing(bytes in prop::collection::vec(any::<u8>(), 0..300), size in 200usize..2000) {
        let mut model = generate(&bytes);
        let big = Tensor::vector(vec![0.25f32; size]);
        let id = model.graph.add_constant("big", big);
        model.graph.outputs.push(id);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.onnx");
        let options = SaveOptions { data: DataFile::Named("m.weights".into()), ..as_written() };
        let report = save(&model, &path, &options).unwrap();
        prop_assert_eq!(report.data_bytes > 0, size * 4 >= 1024);
        prop_assert_eq!(differing(&text(&model), &text(&load(&path, &raw()).unwrap())), vec![]);
    }
}
