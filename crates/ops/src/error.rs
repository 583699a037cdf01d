//! What can go wrong while typing, evaluating or converting a node.

use fusebox_ir::DType;
use fusebox_ir::tensor::TensorError;

/// A node whose inputs contradict its operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InferError {
    /// A required input is absent.
    #[error("input {index} is required but absent")]
    MissingInput {
        /// Position.
        index: usize,
    },
    /// Number of inputs outside the schema.
    #[error("takes {expected} inputs, found {found}")]
    Arity {
        /// What the schema says, e.g. `2 to 3`.
        expected: String,
        /// Inputs present.
        found: usize,
    },
    /// A required attribute is absent or has another kind.
    #[error("attribute {name:?} must be {expected}")]
    Attribute {
        /// Name.
        name: String,
        /// What it must be.
        expected: String,
    },
    /// An element type that the operator does not take there.
    #[error("input {index} must be {expected}, found {found}")]
    DType {
        /// Position.
        index: usize,
        /// What it must be.
        expected: String,
        /// What it is.
        found: DType,
    },
    /// Shapes that do not fit together.
    #[error("{reason}")]
    Shape {
        /// Which sizes disagree, with the sizes.
        reason: String,
    },
}

impl InferError {
    /// A shape error.
    pub fn shape(reason: impl Into<String>) -> Self {
        Self::Shape { reason: reason.into() }
    }
}

/// A node that could not be evaluated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// Same faults as in typing.
    #[error(transparent)]
    Infer(#[from] InferError),
    /// Bytes and shape disagree.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// Nothing in the table or among the model's functions has that name.
    #[error("operator {op} is not known: Fusebox carries it through `optimize` but cannot run it")]
    UnknownOperator {
        /// Domain and name.
        op: String,
    },
    /// Known operator, but this use of it has no evaluation.
    #[error("{what} is not supported")]
    Unsupported {
        /// Which use.
        what: String,
    },
    /// A run-time value that the operator rejects: an index out of bounds, a negative size.
    #[error("{reason}")]
    Value {
        /// What is wrong with it.
        reason: String,
    },
    /// An output that is larger than the evaluation may make.
    #[error(
        "its output {ty} takes more than the limit of {limit} bytes; if the model really means it, give smaller inputs or \
         raise the limit, else look at the sizes that this node reads"
    )]
    TooLarge {
        /// Type of the output.
        ty: String,
        /// Bytes that a node's outputs may take.
        limit: u64,
    },
    /// More memory than there is.
    #[error("evaluating this node takes about {needed} bytes of memory, and the system has {available} left")]
    OutOfMemory {
        /// Bytes that the evaluation would take.
        needed: u64,
        /// Bytes that the system can still give.
        available: u64,
    },
    /// More work than the evaluation may do.
    #[error("the evaluation takes more than the limit of {limit} operations; a loop may not end")]
    TooMuchWork {
        /// Floating-point operations and bytes moved.
        limit: u64,
    },
    /// An error inside a node, with the node's name.
    #[error("node {node}: {source}")]
    AtNode {
        /// The node as messages name it.
        node: String,
        /// What happened there.
        #[source]
        source: Box<EvalError>,
    },
}

impl EvalError {
    /// A rejected value.
    pub fn value(reason: impl Into<String>) -> Self {
        Self::Value { reason: reason.into() }
    }

    /// An unsupported use.
    pub fn unsupported(what: impl Into<String>) -> Self {
        Self::Unsupported { what: what.into() }
    }
}

impl From<ndarray::ShapeError> for EvalError {
    fn from(error: ndarray::ShapeError) -> Self {
        Self::Value { reason: format!("shapes do not fit: {error}") }
    }
}

/// A node that cannot be moved to another opset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// The old form has a meaning that the newest cannot express, or the other way round.
    #[error("{op} cannot be expressed in opset {opset}: {reason}")]
    NotExpressible {
        /// Operator.
        op: String,
        /// Opset asked for.
        opset: i64,
        /// Why.
        reason: String,
    },
    /// The node is malformed.
    #[error(transparent)]
    Infer(#[from] InferError),
}
