//! Writes bodies of fused operators for a given opset: constants of the activations' type, operators whose form
//! changed between opsets, casts.
//!
//! Refuses to know any fused operator. The oldest opset that bodies are written for is [`OLDEST`].

use crate::op::{Body, Target};
use fusebox_ir::{Attrs, Builder, DType, Graph, OpName, Tensor, TensorType, Type, ValueId};

/// Oldest opset that a body can be written for: its bodies need Clip with inputs and Round.
pub const OLDEST: i64 = 11;

/// Longest vector that is written out.
const MAX_SPLAT: usize = 1 << 24;

/// A body under construction.
pub struct Emit<'a> {
    /// Nodes so far.
    pub b: Builder,
    /// Who runs it.
    pub target: Target,
    /// Element type of the activations, for constants.
    pub dtype: DType,
    inputs: Vec<Option<ValueId>>,
    types: Vec<Option<&'a Type>>,
}

impl<'a> Emit<'a> {
    /// A body with one graph input per present input, named after `names`. `None` when the opset is too old or input 0
    /// is of a type that no fused operator takes.
    pub fn new(cx: &Body<'a>, names: &[&str]) -> Option<Self> {
        let first = cx.inputs.first().copied().flatten().and_then(Type::tensor);
        Self::typed(cx, names, first.map_or(DType::F32, |ty| ty.dtype))
    }

    /// As [`Emit::new`], with the element type of constants given: for operators whose first input is an integer.
    pub fn typed(cx: &Body<'a>, names: &[&str], dtype: DType) -> Option<Self> {
        let is_bf16 = |ty: &&Type| ty.tensor().is_some_and(|tensor| tensor.dtype == DType::BF16);
        // The operators that bodies use take bf16 since opset 13.
        let oldest = if cx.inputs.iter().flatten().any(is_bf16) { 13 } else { OLDEST };
        if cx.target.opset() < oldest {
            return None;
        }
        let mut b = Builder::new();
        let declare = |(index, name): (usize, &&str)| {
            let ty = cx.inputs.get(index).copied().flatten();
            ty.map(|ty| b.input(name, ty.clone()))
        };
        let inputs = names.iter().enumerate().map(declare).collect();
        let types: Vec<Option<&Type>> = cx.inputs.to_vec();
        let is_float = matches!(dtype, DType::F32 | DType::F64 | DType::F16 | DType::BF16);
        is_float.then_some(Self { b, target: cx.target, dtype, inputs, types })
    }

    /// Opset that may be used.
    pub fn opset(&self) -> i64 {
        self.target.opset()
    }

    /// Whether com.microsoft operators may be used.
    pub fn is_onnxruntime(&self) -> bool {
        matches!(self.target, Target::OnnxRuntime { .. })
    }

    /// Input `index`, when present.
    pub fn input(&self, index: usize) -> Option<ValueId> {
        self.inputs.get(index).copied().flatten()
    }

    /// Tensor type of input `index`, when present and known.
    pub fn ty(&self, index: usize) -> Option<&'a TensorType> {
        self.types.get(index).copied().flatten().and_then(Type::tensor)
    }

    /// A scalar constant of the activations' type.
    pub fn scalar(&mut self, value: f64) -> ValueId {
        let tensor = match self.dtype {
            DType::F64 => Tensor::scalar(value),
            DType::F16 => Tensor::scalar(half::f16::from_f64(value)),
            DType::BF16 => Tensor::scalar(half::bf16::from_f64(value)),
            _ => Tensor::scalar(value as f32),
        };
        self.b.constant(tensor)
    }

    /// A constant vector of the activations' type, every element the same. A length that only a damaged model has is
    /// left to whoever runs it.
    pub fn splat(&mut self, value: f64, len: usize) -> ValueId {
        if len > MAX_SPLAT {
            let (value, len) = (self.scalar(value), self.b.i64s(&[i64::try_from(len).unwrap_or(i64::MAX)]));
            return self.op("Expand", &[value, len]);
        }
        let shape = vec![len];
        let tensor = match self.dtype {
            DType::F64 => Tensor::from_vec(shape, vec![value; len]),
            DType::F16 => Tensor::from_vec(shape, vec![half::f16::from_f64(value); len]),
            DType::BF16 => Tensor::from_vec(shape, vec![half::bf16::from_f64(value); len]),
            _ => Tensor::from_vec(shape, vec![value as f32; len]),
        };
        self.b.constant(tensor.expect("the vector has `len` elements"))
    }

    /// A standard operator without attributes.
    pub fn op(&mut self, name: &str, inputs: &[ValueId]) -> ValueId {
        self.b.op(name, inputs)
    }

    /// A standard operator with attributes.
    pub fn op_with(&mut self, name: &str, inputs: &[ValueId], attrs: Attrs) -> ValueId {
        self.b.op_with(name, inputs, attrs)
    }

    /// An operator of com.microsoft with one output.
    pub fn microsoft(&mut self, name: &str, inputs: &[ValueId], attrs: Attrs) -> ValueId {
        let inputs: Vec<_> = inputs.iter().copied().map(Some).collect();
        self.b.node(OpName::new("com.microsoft", name), &inputs, 1, attrs)[0]
    }

    /// A cast.
    pub fn cast(&mut self, value: ValueId, to: DType) -> ValueId {
        self.op_with("Cast", &[value], Attrs::new().with("to", i64::from(to.to_onnx())))
    }

    /// A float input as the activations' type: cast when it is stored in another one (half-width weights).
    pub fn float_input(&mut self, index: usize) -> Option<ValueId> {
        let value = self.input(index)?;
        let to = self.dtype;
        let differs = self.ty(index).is_some_and(|ty| ty.dtype != to);
        Some(if differs { self.cast(value, to) } else { value })
    }

    /// A reduction that keeps the reduced axes; they are an attribute in old opsets and an input in new ones.
    pub fn reduce(&mut self, name: &str, value: ValueId, axes: &[i64]) -> ValueId {
        let input_since = if name == "ReduceSum" { 13 } else { 18 };
        let attrs = Attrs::new().with("keepdims", 1);
        if self.opset() >= input_since {
            let axes = self.b.i64s(axes);
            self.op_with(name, &[value, axes], attrs)
        } else {
            self.op_with(name, &[value], attrs.with("axes", axes.to_vec()))
        }
    }

    /// Inserts axes of size one; the axes are an attribute before opset 13.
    pub fn unsqueeze(&mut self, value: ValueId, axes: &[i64]) -> ValueId {
        if self.opset() >= 13 {
            let axes = self.b.i64s(axes);
            self.op("Unsqueeze", &[value, axes])
        } else {
            self.op_with("Unsqueeze", &[value], Attrs::new().with("axes", axes.to_vec()))
        }
    }

    /// Permutes axes.
    pub fn transpose(&mut self, value: ValueId, perm: &[i64]) -> ValueId {
        self.op_with("Transpose", &[value], Attrs::new().with("perm", perm.to_vec()))
    }

    /// Reshapes; 0 copies a size, -1 is computed.
    pub fn reshape(&mut self, value: ValueId, shape: &[i64]) -> ValueId {
        let shape = self.b.i64s(shape);
        self.op("Reshape", &[value, shape])
    }

    /// Size of one axis as an i64 scalar.
    pub fn size_of(&mut self, value: ValueId, axis: i64) -> ValueId {
        let shape = self.op("Shape", &[value]);
        let index = self.b.constant(Tensor::scalar(axis));
        self.op("Gather", &[shape, index])
    }

    /// Ends the body.
    pub fn finish(self, outputs: &[ValueId]) -> Graph {
        self.b.finish(outputs)
    }
}
