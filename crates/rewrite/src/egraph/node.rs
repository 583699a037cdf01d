//! E-nodes: the language that egg sees, and the tables behind its numbers.
//!
//! An e-node is an operator code, the number of an interned attribute record, a tag and operands; tensors and attribute
//! values never enter the e-graph, so comparing and hashing an e-node touches a few integers. The operator code is the
//! discriminant: egg's index by operator then has one entry per operator.

use egg::{Id, Language};
use fusebox_ir::{Attr, Attrs, OpName, Tensor, Type};
use fusebox_ops::OpId;
use smallvec::SmallVec;
use std::collections::HashMap;

/// Operator code of an e-node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Code(pub u32);

impl Code {
    /// An absent optional operand.
    pub const NONE: Self = Self(0);
    /// A constant; the tag is its number in [`Tables`].
    pub const CONST: Self = Self(1);
    /// A value defined outside: input, capture; the tag is its value id.
    pub const INPUT: Self = Self(2);
    /// Output `tag` of an e-node with several outputs.
    pub const PROJ: Self = Self(3);
    /// A node that is carried through untouched; the tag is its number in [`Tables`].
    pub const OPAQUE: Self = Self(4);
    const FIRST: u32 = 8;

    /// Code of an operator of the table.
    pub fn op(id: OpId) -> Self {
        Self(Self::FIRST + id.0)
    }

    /// Position in the operator table, for operators.
    pub fn index(self) -> Option<usize> {
        self.0.checked_sub(Self::FIRST).map(|i| i as usize)
    }
}

/// An e-node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ENode {
    /// Operator. First, so that the order keeps equal operators together, as egg's search in large classes needs.
    pub code: Code,
    /// Attribute record, 0 for none.
    pub attrs: u32,
    /// Payload of leaves; the salt of random operators.
    pub tag: u32,
    /// Outputs that the node has; with more than one its class is a tuple.
    pub outputs: u32,
    /// Operands.
    pub children: SmallVec<[Id; 6]>,
}

impl ENode {
    /// A leaf.
    pub fn leaf(code: Code, tag: u32) -> Self {
        Self { code, attrs: 0, tag, outputs: 1, children: SmallVec::new() }
    }
}

impl Language for ENode {
    type Discriminant = Code;

    fn discriminant(&self) -> Code {
        self.code
    }

    fn matches(&self, other: &Self) -> bool {
        (self.code, self.attrs, self.tag, self.outputs, self.children.len())
            == (other.code, other.attrs, other.tag, other.outputs, other.children.len())
    }

    fn children(&self) -> &[Id] {
        &self.children
    }

    fn children_mut(&mut self) -> &mut [Id] {
        &mut self.children
    }
}

/// What the numbers in e-nodes stand for. Filled in order of first use, so numbers are the same in every run.
#[derive(Debug, Default)]
pub struct Tables {
    records: Vec<Attrs>,
    record_of: HashMap<Vec<u8>, u32>,
    constants: Vec<Tensor>,
    constant_of: HashMap<u128, u32>,
    constant_bytes: usize,
    /// Types of the outputs of opaque nodes and of inputs.
    pub opaque: Vec<Vec<Type>>,
}

impl Tables {
    /// Number of an attribute record.
    pub fn record(&mut self, attrs: Attrs) -> u32 {
        let next = u32::try_from(self.records.len()).expect("fewer than 2^32 records");
        let number = *self.record_of.entry(key(&attrs)).or_insert(next);
        if number == next {
            self.records.push(attrs);
        }
        number
    }

    /// An attribute record.
    pub fn attrs(&self, record: u32) -> &Attrs {
        &self.records[record as usize]
    }

    /// Number of a constant by its content.
    pub fn constant(&mut self, tensor: &Tensor) -> u32 {
        let hash = tensor.content_hash();
        self.constant_hashed(tensor, hash)
    }

    /// As [`Tables::constant`], with the content hash already computed.
    pub fn constant_hashed(&mut self, tensor: &Tensor, hash: u128) -> u32 {
        let next = u32::try_from(self.constants.len()).expect("fewer than 2^32 constants");
        let number = *self.constant_of.entry(hash).or_insert(next);
        if number == next {
            self.constants.push(tensor.clone());
            self.constant_bytes += tensor.data().len();
        }
        number
    }

    /// Bytes of all constants together.
    pub fn constant_bytes(&self) -> usize {
        self.constant_bytes
    }

    /// A constant.
    pub fn tensor(&self, constant: u32) -> &Tensor {
        &self.constants[constant as usize]
    }
}

/// Bytes that are equal exactly when the records are.
fn key(attrs: &Attrs) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, attr) in attrs.iter() {
        bytes.extend((name.len() as u32).to_le_bytes());
        bytes.extend(name.as_bytes());
        match attr {
            Attr::Int(value) => bytes.extend([&[1][..], &value.to_le_bytes()].concat()),
            Attr::Float(value) => bytes.extend([&[2][..], &value.to_bits().to_le_bytes()].concat()),
            Attr::Ints(values) => {
                bytes.extend([&[3][..], &(values.len() as u32).to_le_bytes()].concat());
                values.iter().for_each(|v| bytes.extend(v.to_le_bytes()));
            }
            Attr::Tensor(tensor) => bytes.extend([&[4][..], &tensor.content_hash().to_le_bytes()].concat()),
            other => {
                let text = format!("{other:?}");
                bytes.extend([&[5][..], &(text.len() as u32).to_le_bytes()].concat());
                bytes.extend(text.as_bytes());
            }
        }
    }
    bytes
}

/// The code of an operator by name, when the table knows it.
pub fn code(name: &OpName) -> Option<Code> {
    fusebox_ops::find(name).map(Code::op)
}
