//! The operator trait and the contexts its methods see.

use crate::attributes::Attributes;
use crate::{Cost, Datum, EvalError, InferError, Interpreter, Shapes, VersionError};
use fusebox_ir::{Attrs, DType, Dim, Graph, Node, NodeId, OpName, Region, Tensor, TensorType, Type};

/// Whether two nodes with equal inputs have equal outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purity {
    /// Same inputs, same outputs: may be merged and folded.
    Pure,
    /// Draws random numbers: never merged, never folded.
    Random,
}

/// What lowering precision does to an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuantRole {
    /// Multiplies activations with weights (input `weight`, contracted over `contracted`-th axis from the front when
    /// laid out as the schema says): worth quantizing.
    Weighted {
        /// Input position of the weights.
        weight: usize,
        /// Axis of the weights that indexes output channels; negative counts from the back.
        channel_axis: i64,
    },
    /// Multiplies by weights in every step of a sequence, a state that the step before made: no precision is lowered.
    Recurrent,
    /// Only moves elements: keeps whatever precision its input has.
    Moves,
    /// Needs f32: normalisations, softmax, reductions, everything else.
    StaysFloat,
}

/// Static facts about an operator.
#[derive(Debug)]
pub struct Schema {
    /// Domain, `""` for ai.onnx.
    pub domain: &'static str,
    /// Operator type.
    pub name: &'static str,
    /// Opset versions in which its definition changed, ascending. The last one is the form we hold internally.
    pub since: &'static [i64],
    /// Fewest and most inputs; `usize::MAX` is variadic.
    pub inputs: (usize, usize),
    /// Fewest and most outputs.
    pub outputs: (usize, usize),
    /// Whether equal inputs give equal outputs.
    pub purity: Purity,
    /// Attributes that rules may name, with the defaults that an absent one stands for.
    pub attributes: Attributes,
}

impl Schema {
    /// A pure standard operator.
    pub const fn onnx(
        name: &'static str,
        since: &'static [i64],
        inputs: (usize, usize),
        outputs: (usize, usize),
    ) -> Self {
        Self { domain: "", name, since, inputs, outputs, purity: Purity::Pure, attributes: &[] }
    }

    /// A fused operator of `ai.fusebox`.
    pub const fn fusebox(name: &'static str, inputs: (usize, usize), outputs: (usize, usize)) -> Self {
        Self { domain: fusebox_ir::graph::FUSEBOX, ..Self::onnx(name, &[1], inputs, outputs) }
    }

    /// The same with attributes, sorted by name.
    pub const fn with(self, attributes: Attributes) -> Self {
        Self { attributes, ..self }
    }

    /// Domain and name.
    pub fn op_name(&self) -> OpName {
        OpName::new(self.domain, self.name)
    }
}

/// What is known about an input while typing.
#[derive(Clone, Copy, Debug)]
pub struct Arg<'a> {
    /// Its type.
    pub ty: &'a Type,
    /// Its value, when constant.
    pub constant: Option<&'a Tensor>,
    /// Its elements as expressions, when it is an integer scalar or vector that holds sizes.
    pub dims: Option<&'a [Dim]>,
}

impl<'a> Arg<'a> {
    /// What is known of an input. The elements of an integer vector of length zero are known whatever computes it.
    pub fn new(ty: &'a Type, constant: Option<&'a Tensor>, dims: Option<&'a [Dim]>) -> Self {
        let is_index = |t: &&TensorType| matches!(t.dtype, DType::I64 | DType::I32);
        let is_empty = || ty.tensor().filter(is_index).and_then(TensorType::sizes).is_some_and(|s| s == [0]);
        Self { ty, constant, dims: dims.or_else(|| is_empty().then_some(&[])) }
    }
}

/// Type of an output, and its elements where they are sizes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inferred {
    /// Type.
    pub ty: Type,
    /// Elements as expressions (integer scalars and vectors only).
    pub dims: Option<Vec<Dim>>,
}

impl From<TensorType> for Inferred {
    fn from(ty: TensorType) -> Self {
        Self { ty: ty.into(), dims: None }
    }
}

impl From<Type> for Inferred {
    fn from(ty: Type) -> Self {
        Self { ty, dims: None }
    }
}

/// Context of type inference.
pub struct Infer<'a> {
    /// Attributes.
    pub attrs: &'a Attrs,
    /// Inputs; `None` is absent.
    pub inputs: &'a [Option<Arg<'a>>],
    /// Number of output slots of the node (trailing ones may be unused).
    pub outputs: usize,
    /// Subgraphs.
    pub regions: &'a [Region],
    /// Makes a symbol that is used nowhere else, for sizes that only the data decides.
    pub fresh: &'a dyn Fn() -> Dim,
}

impl<'a> Infer<'a> {
    /// Input `index`, when present.
    pub fn input(&self, index: usize) -> Option<&Arg<'a>> {
        self.inputs.get(index).and_then(Option::as_ref)
    }

    /// Tensor type of input `index`; `None` when absent or its type is not known to be a tensor.
    pub fn tensor(&self, index: usize) -> Option<&'a TensorType> {
        self.input(index).and_then(|arg| arg.ty.tensor())
    }

    /// Element type of a required input; `None` when its type is unknown.
    ///
    /// # Errors
    /// When the input is absent.
    pub fn dtype(&self, index: usize) -> Result<Option<DType>, InferError> {
        let arg = self.input(index).ok_or(InferError::MissingInput { index })?;
        Ok(arg.ty.tensor().map(|t| t.dtype))
    }

    /// Integers of a constant input: axes, pads, a shape.
    pub fn integers(&self, index: usize) -> Option<Vec<i64>> {
        let arg = self.input(index)?;
        let from_dims = || arg.dims?.iter().map(Dim::value).collect();
        arg.constant.and_then(Tensor::integers).or_else(from_dims)
    }

    /// Elements of an integer input as expressions, from its constant or from symbolic evaluation.
    pub fn dims(&self, index: usize) -> Option<Vec<Dim>> {
        let arg = self.input(index)?;
        match arg.dims {
            Some(dims) => Some(dims.to_vec()),
            None => Some(arg.constant?.integers()?.into_iter().map(Dim::known).collect()),
        }
    }
}

/// Context of reference evaluation.
pub struct Eval<'a> {
    /// Attributes.
    pub attrs: &'a Attrs,
    /// Inputs; `None` is absent.
    pub inputs: &'a [Option<&'a Datum>],
    /// Number of output slots of the node.
    pub outputs: usize,
    /// Subgraphs.
    pub regions: &'a [Region],
    /// Values of each region's captures, in order.
    pub captures: &'a [Vec<Datum>],
    /// Evaluates bodies.
    pub interpreter: &'a Interpreter<'a>,
}

impl<'a> Eval<'a> {
    /// A required tensor input.
    ///
    /// # Errors
    /// When it is absent or not a tensor.
    pub fn tensor(&self, index: usize) -> Result<&'a Tensor, EvalError> {
        self.optional(index)?.ok_or(EvalError::Infer(InferError::MissingInput { index }))
    }

    /// An optional tensor input.
    ///
    /// # Errors
    /// When it is present but not a tensor.
    pub fn optional(&self, index: usize) -> Result<Option<&'a Tensor>, EvalError> {
        self.inputs.get(index).copied().flatten().map(Datum::tensor).transpose()
    }

    /// Integers of an optional input (axes, pads, a shape).
    ///
    /// # Errors
    /// When it is present but not an integer tensor.
    pub fn integers(&self, index: usize) -> Result<Option<Vec<i64>>, EvalError> {
        let Some(tensor) = self.optional(index)? else { return Ok(None) };
        let wrong = || InferError::DType { index, expected: "i64 or i32".into(), found: tensor.dtype() };
        Ok(Some(tensor.integers().ok_or_else(wrong)?))
    }
}

/// What a fused operator's body is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Standard operators of the given opset only.
    Onnx {
        /// ai.onnx opset version that the body may use.
        opset: i64,
    },
    /// Standard and com.microsoft operators.
    OnnxRuntime {
        /// ai.onnx opset version that the body may use.
        opset: i64,
    },
}

impl Target {
    /// ai.onnx opset version that a body may use.
    pub fn opset(self) -> i64 {
        match self {
            Self::Onnx { opset } | Self::OnnxRuntime { opset } => opset,
        }
    }
}

/// Context in which a body is made.
#[derive(Clone, Copy, Debug)]
pub struct Body<'a> {
    /// Attributes of the call.
    pub attrs: &'a Attrs,
    /// Types of the inputs; `None` is absent. The body has one graph input per *present* input, in order.
    pub inputs: &'a [Option<&'a Type>],
    /// Number of output slots.
    pub outputs: usize,
    /// Who runs it.
    pub target: Target,
}

/// A node being moved between opsets.
pub struct Edit<'a> {
    /// The graph that holds it; constants may be added.
    pub graph: &'a mut Graph,
    /// The node.
    pub node: NodeId,
    /// Opset that the node is written in (upgrade) or must be written in (downgrade).
    pub opset: i64,
}

impl Edit<'_> {
    /// The node.
    pub fn node(&mut self) -> &mut Node {
        self.graph.node_mut(self.node)
    }
}

/// An operator.
pub trait Op: Sync {
    /// Static facts.
    fn schema(&self) -> &'static Schema;

    /// Types of all outputs (exactly `cx.outputs` entries). Unknown inputs give unknown outputs, never an error;
    /// an error means that the model is wrong. The default types the body.
    ///
    /// # Errors
    /// The contradiction.
    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        crate::typing::infer_body(self.body_of_infer(cx), cx)
    }

    /// Reference evaluation. The default evaluates the body.
    ///
    /// # Errors
    /// What is wrong with the inputs.
    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        crate::interpret::eval_body(self, cx)
    }

    /// Floating-point operations of one evaluation; a multiply-add counts two. The default is one per output element.
    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        shapes.output_elements(0)
    }

    /// FLOPs and bytes moved. The default reads every input and writes every output once.
    fn cost(&self, shapes: &Shapes<'_>) -> Cost {
        Cost { flops: self.flops(shapes), bytes: shapes.bytes() }
    }

    /// What lowering precision does to it.
    fn quant_role(&self) -> QuantRole {
        QuantRole::StaysFloat
    }

    /// Rewrites a node written for `edit.opset` into the newest form.
    ///
    /// # Errors
    /// When the old form has no equivalent.
    fn upgrade(&self, _edit: &mut Edit<'_>) -> Result<(), VersionError> {
        Ok(())
    }

    /// Rewrites a node in the newest form so that it is valid in `edit.opset`. The default holds for operators whose
    /// form never changed: it only checks that the operator existed.
    ///
    /// # Errors
    /// When that opset cannot express the node.
    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        let (schema, opset) = (self.schema(), edit.opset);
        if schema.since.first().is_some_and(|first| *first <= opset) {
            return Ok(());
        }
        let reason = format!("it exists since opset {}", schema.since.first().copied().unwrap_or(0));
        Err(VersionError::NotExpressible { op: schema.name.into(), opset, reason })
    }

    /// Definition in other operators, for fused operators and for those that ONNX defines as functions.
    fn body(&self, _cx: &Body<'_>) -> Option<Graph> {
        None
    }

    #[doc(hidden)]
    fn body_of_infer(&self, cx: &Infer<'_>) -> Option<Graph> {
        let types: Vec<Option<&Type>> = cx.inputs.iter().map(|i| i.as_ref().map(|a| a.ty)).collect();
        let target = Target::Onnx { opset: i64::MAX };
        self.body(&Body { attrs: cx.attrs, inputs: &types, outputs: cx.outputs, target })
    }
}
