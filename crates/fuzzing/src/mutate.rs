//! Mutations that know what a model file looks like: dims, attributes, edges, element types, operators, initializers.
//!
//! A mutated file is nearly a model, so it gets past the importer and reaches inference, rules and kernels. The same
//! seed makes the same change on every machine. Bytes that are no protobuf are left to blunter tools ([`bytes()`]).

use crate::wire::{Content, Field, Kind, Message};
use fusebox_ir::DType;
use fusebox_testing::draw::Draw;

/// Sizes, axes and counts at which things break.
const NUMBERS: &[i64] = &[
    0,
    1,
    2,
    3,
    4,
    5,
    7,
    8,
    13,
    16,
    64,
    100,
    1000,
    -1,
    -2,
    -3,
    -5,
    1 << 20,
    1 << 31,
    (1 << 31) - 1,
    1 << 32,
    -(1 << 31),
    1 << 40,
    i64::MAX,
    i64::MAX - 1,
    i64::MIN,
    i64::MIN + 1,
    i64::MAX / 2,
    i64::MAX / 8,
];

/// Attribute names with the ONNX number of their type.
const ATTRIBUTES: &[(&str, i64)] = &[
    ("axis", 2),
    ("axes", 7),
    ("perm", 7),
    ("pads", 7),
    ("strides", 7),
    ("dilations", 7),
    ("kernel_shape", 7),
    ("group", 2),
    ("alpha", 1),
    ("beta", 1),
    ("epsilon", 1),
    ("keepdims", 2),
    ("mode", 3),
    ("to", 2),
    ("k", 2),
    ("auto_pad", 3),
    ("blocksize", 2),
    ("num_heads", 2),
    ("transA", 2),
    ("transB", 2),
    ("ceil_mode", 2),
    ("output_shape", 7),
    ("split_size", 2),
    ("num_outputs", 2),
    ("batch_dims", 2),
    ("hidden_size", 2),
    ("direction", 3),
    ("equation", 3),
    ("block_size", 2),
    ("allowzero", 2),
    ("size", 2),
    ("shape", 7),
    ("dtype", 2),
    ("sparse_value", 11),
    ("value_ints", 7),
    ("value_int", 2),
    ("value_floats", 6),
    ("num_scan_inputs", 2),
];

/// Words that operators read: modes, directions, padding rules.
const WORDS: &[&str] = &[
    "",
    "SAME_UPPER",
    "SAME_LOWER",
    "VALID",
    "linear",
    "cubic",
    "nearest",
    "reflect",
    "edge",
    "wrap",
    "constant",
    "bidirectional",
    "reverse",
    "forward",
    "tanh",
    "none",
    "add",
    "mul",
    "min",
    "max",
    "ij,jk->ik",
    "...i,i->...",
    "ii->i",
    "DCR",
    "CRD",
    "align_corners",
    "tf_crop_and_resize",
    "batch",
    "a/b",
    "../x",
    "gelu",
    "relu",
];

/// One to four changes to a model file; `None` when the bytes are no protobuf or the result would be too long.
pub fn model(bytes: &[u8], max_size: usize, seed: u64) -> Option<Vec<u8>> {
    let mut draw = Draw::new(seed);
    if draw.below(16) == 0 {
        return None;
    }
    let mut model = Message::model(bytes).filter(|model| !model.fields.is_empty())?;
    for _ in 0..=draw.below(4) {
        change(&mut model, &mut draw);
    }
    Some(model.to_bytes()).filter(|bytes| bytes.len() <= max_size)
}

/// A blunt change to any bytes: bits, cuts, copies, words of a dictionary.
pub fn bytes(input: &[u8], words: &[&str], draw: &mut Draw) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=draw.below(4) {
        let at = draw.below(bytes.len() + 1);
        let end = (at + 1 + draw.below(24)).min(bytes.len());
        match draw.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << draw.below(8),
            1 => drop(bytes.drain(at.min(end)..end)),
            2 => {
                let copy = bytes[at.min(end)..end].to_vec();
                let to = draw.below(bytes.len() + 1);
                bytes.splice(to..to, copy);
            }
            3 => bytes.truncate(at),
            4 if !words.is_empty() => drop(bytes.splice(at..at, draw.pick(words).bytes())),
            5 => drop(bytes.splice(at..at, draw.pick(NUMBERS).to_string().into_bytes())),
            _ => {
                let byte = (32 + draw.below(95)) as u8;
                bytes.insert(at, byte);
            }
        }
    }
    bytes
}

type Change = fn(&mut Message, &mut Draw);

/// What to change, where: changes listed twice are twice as likely.
const CHANGES: &[(Kind, Change)] = &[
    (Kind::Node, operator),
    (Kind::Graph, rewire),
    (Kind::Graph, rewire),
    (Kind::Graph, insert_node),
    (Kind::Graph, insert_node),
    (Kind::Graph, outputs),
    (Kind::Node, attribute),
    (Kind::Node, attribute),
    (Kind::Attribute, numbers),
    (Kind::Attribute, numbers),
    (Kind::Attribute, word),
    (Kind::Tensor, reshape),
    (Kind::Tensor, reshape),
    (Kind::Tensor, elements),
    (Kind::Tensor, elements),
    (Kind::Dimension, dimension),
    (Kind::Dimension, dimension),
    (Kind::Shape, rank),
    (Kind::TensorType, element_type),
    (Kind::Opset, opset),
    (Kind::Model, shuffle),
    (Kind::Graph, shuffle),
    (Kind::Node, shuffle),
    (Kind::Attribute, shuffle),
    (Kind::Tensor, shuffle),
    (Kind::Type, shuffle),
    (Kind::Function, shuffle),
    (Kind::Sparse, shuffle),
    (Kind::Wrapped, shuffle),
    (Kind::Pair, shuffle),
    (Kind::Model, transplant),
];

fn change(model: &mut Message, draw: &mut Draw) {
    let (kind, change) = *draw.pick(CHANGES);
    if kind == Kind::Model {
        return change(model, draw);
    }
    let mut count = 0;
    model.visit(&mut |message| count += usize::from(message.kind == kind));
    let mut left = draw.below(count);
    model.visit_mut(&mut |message| {
        if message.kind == kind {
            if left == 0 {
                change(message, draw);
            }
            left = left.wrapping_sub(1);
        }
    });
}

fn number(draw: &mut Draw) -> i64 {
    if draw.below(2) == 0 { draw.below(6) as i64 } else { *draw.pick(NUMBERS) }
}

fn operator(node: &mut Message, draw: &mut Draw) {
    let schema = draw.pick(fusebox_ops::ops()).schema();
    node.set(4, [Field::bytes(4, schema.name)]);
    node.set(7, (!schema.domain.is_empty()).then(|| Field::bytes(7, schema.domain)));
}

/// Names of the values of a graph, in order of appearance.
fn values(graph: &Message) -> Vec<Vec<u8>> {
    let mut names = vec![Vec::new()];
    for field in &graph.fields {
        let Content::Message(inner) = &field.content else { continue };
        match inner.kind {
            Kind::Node => names.extend(inner.all(2).filter_map(Field::as_bytes).map(<[u8]>::to_vec)),
            Kind::Tensor => names.push(inner.text(8).to_vec()),
            Kind::ValueInfo => names.push(inner.text(1).to_vec()),
            _ => {}
        }
    }
    names
}

fn nodes(graph: &mut Message) -> Vec<&mut Message> {
    graph
        .fields
        .iter_mut()
        .filter_map(|field| match &mut field.content {
            Content::Message(message) if message.kind == Kind::Node => Some(message),
            _ => None,
        })
        .collect()
}

/// Makes an input of a node read another value, adds one, or drops one.
fn rewire(graph: &mut Message, draw: &mut Draw) {
    let name = draw.pick(&values(graph)).clone();
    let mut nodes = nodes(graph);
    if nodes.is_empty() {
        return;
    }
    let at = draw.below(nodes.len());
    let node = &mut nodes[at];
    let mut inputs: Vec<Field> = node.all(1).cloned().collect();
    let at = draw.below(inputs.len() + 1);
    match draw.below(8) {
        0 => inputs.insert(at, Field::bytes(1, name)),
        1 if at < inputs.len() => drop(inputs.remove(at)),
        _ if at < inputs.len() => inputs[at] = Field::bytes(1, name),
        _ => inputs.push(Field::bytes(1, name)),
    }
    node.set(1, inputs);
}

/// Puts a node behind a value; it becomes an output of the graph or takes over one reader.
fn insert_node(graph: &mut Message, draw: &mut Draw) {
    let names = values(graph);
    let schema = draw.pick(fusebox_ops::ops()).schema();
    let fresh = format!("new{}", draw.below(1 << 20));
    let (least, most) = schema.inputs;
    let count = (least + draw.below(3)).min(most).max(1);
    let mut fields: Vec<Field> = (0..count).map(|_| Field::bytes(1, draw.pick(&names).clone())).collect();
    fields.push(Field::bytes(2, fresh.as_bytes()));
    fields.extend((1..schema.outputs.0.min(8)).map(|i| Field::bytes(2, format!("{fresh}_{i}"))));
    fields.push(Field::bytes(4, schema.name));
    if !schema.domain.is_empty() {
        fields.push(Field::bytes(7, schema.domain));
    }
    let mut node = Message { kind: Kind::Node, fields };
    for _ in 0..draw.below(3) {
        attribute(&mut node, draw);
    }
    if draw.below(2) == 0 {
        let mut nodes = nodes(graph);
        if !nodes.is_empty() {
            let at = draw.below(nodes.len());
            if let Some(slot) = nodes[at].fields.iter_mut().find(|field| field.number == 1) {
                *slot = Field::bytes(1, fresh.as_bytes());
            }
        }
    } else {
        let info = vec![Field::bytes(1, fresh.as_bytes())];
        graph.fields.push(Field::message(12, Kind::ValueInfo, info));
    }
    graph.fields.push(Field { number: 1, content: Content::Message(node) });
}

/// Makes a value an output of the graph, in the place of another or beside them.
fn outputs(graph: &mut Message, draw: &mut Draw) {
    let info = vec![Field::bytes(1, draw.pick(&values(graph)).clone())];
    if draw.below(2) == 0 {
        graph.set(12, []);
    }
    graph.fields.push(Field::message(12, Kind::ValueInfo, info));
}

/// Adds or replaces an attribute.
fn attribute(node: &mut Message, draw: &mut Draw) {
    let (name, kind) = *draw.pick(ATTRIBUTES);
    let kind = if draw.below(8) == 0 { 1 + draw.below(14) as i64 } else { kind };
    let mut fields = vec![Field::bytes(1, name), Field::int(20, kind)];
    match kind {
        1 => fields.push(Field { number: 2, content: Content::Four(float(draw)) }),
        2 => fields.push(Field::int(3, number(draw))),
        3 => fields.push(Field::bytes(4, *draw.pick(WORDS))),
        6 => fields
            .extend((0..draw.below(4)).map(|_| Field { number: 7, content: Content::Four(float(draw)) })),
        7 => fields.extend((0..draw.below(6)).map(|_| Field::int(8, number(draw)))),
        _ => {}
    }
    node.fields
        .retain(|field| !matches!(&field.content, Content::Message(m) if m.text(1) == name.as_bytes()));
    node.fields.push(Field::message(5, Kind::Attribute, fields));
}

fn float(draw: &mut Draw) -> [u8; 4] {
    let values =
        [0.0, 1.0, -1.0, 0.5, 1e-5, 1e30, -1e30, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e-40, 3.0];
    draw.pick(&values).to_le_bytes()
}

/// Changes the integers of an attribute: one of them, or how many there are.
fn numbers(attribute: &mut Message, draw: &mut Draw) {
    let number = number(draw);
    match draw.below(4) {
        0 => attribute.fields.push(Field::int(8, number)),
        1 => {
            if let Some(at) = attribute.fields.iter().position(|field| field.number == 8) {
                attribute.fields.remove(at);
            }
        }
        _ => {
            let is_value = |field: &&mut Field| matches!(field.number, 3 | 8);
            let count = attribute.fields.iter_mut().filter(is_value).count();
            let at = draw.below(count);
            if let Some(field) = attribute.fields.iter_mut().filter(is_value).nth(at) {
                *field = Field::int(field.number, number);
            }
        }
    }
}

fn word(attribute: &mut Message, draw: &mut Draw) {
    let word = *draw.pick(WORDS);
    if attribute.all(4).next().is_some() {
        attribute.set(4, [Field::bytes(4, word)]);
    } else if let Some(field) = attribute.fields.iter_mut().find(|field| field.number == 9) {
        *field = Field::bytes(9, word);
    }
}

/// Gives a tensor other dims or another element type, and as many bytes as they take.
fn reshape(tensor: &mut Message, draw: &mut Draw) {
    let mut dims: Vec<i64> = tensor.all(1).filter_map(Field::as_int).collect();
    let mut dtype = tensor.int(2);
    match draw.below(5) {
        0 => dtype = 1 + draw.below(25) as i64,
        1 => dims.insert(draw.below(dims.len() + 1), draw.below(4) as i64),
        2 if !dims.is_empty() => drop(dims.remove(draw.below(dims.len()))),
        _ if !dims.is_empty() => {
            let at = draw.below(dims.len());
            dims[at] = draw.below(9) as i64;
        }
        _ => dims.push(draw.below(4) as i64),
    }
    tensor.set(1, dims.iter().map(|dim| Field::int(1, *dim)).collect::<Vec<_>>());
    tensor.set(2, [Field::int(2, dtype)]);
    let count = dims.iter().try_fold(1usize, |n, dim| n.checked_mul(usize::try_from(*dim).ok()?));
    let dtype = i32::try_from(dtype).ok().and_then(DType::from_onnx);
    let bytes = dtype.and_then(|dtype| dtype.bytes_for(count?)).filter(|bytes| *bytes < 4096);
    let Some(bytes) = bytes else { return };
    let mut data = tensor.text(9).to_vec();
    if data.is_empty() {
        data = vec![0, 0, 128, 63];
    }
    let data: Vec<u8> = data.into_iter().cycle().take(bytes).collect();
    tensor.fields.retain(|field| matches!(field.number, 1 | 2 | 8));
    tensor.fields.push(Field::bytes(9, data));
}

/// Changes an element of a tensor, as an integer or as bytes.
fn elements(tensor: &mut Message, draw: &mut Draw) {
    let value = number(draw);
    let size = if tensor.int(2) == 7 { 8 } else { 4 };
    let is_list = |field: &&mut Field| matches!(field.number, 5 | 7 | 11);
    let count = tensor.fields.iter_mut().filter(is_list).count();
    let at = draw.below(count);
    if let Some(field) = tensor.fields.iter_mut().filter(is_list).nth(at) {
        *field = Field::int(field.number, value);
        return;
    }
    for field in &mut tensor.fields {
        if let (9, Content::Bytes(data)) = (field.number, &mut field.content)
            && data.len() >= size
        {
            let at = draw.below(data.len() / size) * size;
            let bytes = if tensor_is_float(size, draw) {
                float(draw).to_vec()
            } else {
                value.to_le_bytes()[..size].to_vec()
            };
            data[at..at + size].copy_from_slice(&bytes);
        }
    }
}

fn tensor_is_float(size: usize, draw: &mut Draw) -> bool {
    size == 4 && draw.below(2) == 0
}

fn dimension(dimension: &mut Message, draw: &mut Draw) {
    dimension.fields.clear();
    match draw.below(4) {
        0 => dimension
            .fields
            .push(Field::bytes(2, *draw.pick(&["n", "m", "n*2", "floordiv(n, 2)", "n - 1", "n + m"]))),
        1 => {}
        _ => dimension.fields.push(Field::int(1, number(draw))),
    }
}

fn rank(shape: &mut Message, draw: &mut Draw) {
    let dim = vec![Field::int(1, draw.below(5) as i64)];
    let at = draw.below(shape.fields.len() + 1);
    if draw.below(2) == 0 || shape.fields.is_empty() {
        shape.fields.insert(at, Field::message(1, Kind::Dimension, dim));
    } else {
        shape.fields.remove(at.min(shape.fields.len() - 1));
    }
}

fn element_type(ty: &mut Message, draw: &mut Draw) {
    ty.set(1, [Field::int(1, draw.below(26) as i64)]);
}

fn opset(opset: &mut Message, draw: &mut Draw) {
    opset.set(2, [Field::int(2, 1 + draw.below(28) as i64)]);
}

/// Removes, doubles or moves a field.
fn shuffle(message: &mut Message, draw: &mut Draw) {
    if message.fields.is_empty() {
        return;
    }
    let (from, to) = (draw.below(message.fields.len()), draw.below(message.fields.len()));
    match draw.below(3) {
        0 => drop(message.fields.remove(from)),
        1 => message.fields.insert(to, message.fields[from].clone()),
        _ => message.fields.swap(from, to),
    }
}

/// Puts a copy of one message in the place of another of its kind: a graph into its own branch, a tensor for a tensor.
fn transplant(model: &mut Message, draw: &mut Draw) {
    let mut all = Vec::new();
    model.visit(&mut |message| all.push(message.clone()));
    let source = draw.pick(&all[1.min(all.len() - 1)..]).clone();
    let twins = all.iter().filter(|message| message.kind == source.kind).count();
    let mut left = draw.below(twins);
    if source.kind == Kind::Model {
        return;
    }
    model.visit_mut(&mut |message| {
        if message.kind == source.kind {
            if left == 0 {
                message.clone_from(&source);
            }
            left = left.wrapping_sub(1);
        }
    });
}
