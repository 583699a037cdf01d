//! What can go wrong between a model and its outputs.

use fusebox_kernels::{SpecError, TeamError};
use fusebox_ops::EvalError;
use fusebox_ops::typing::TypeError;

/// A failed compilation or run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExecError {
    /// An input that the model does not have.
    #[error("the model has no input named {name:?}; its inputs are {known}")]
    UnknownInput {
        /// Name given.
        name: String,
        /// Names that exist.
        known: String,
    },
    /// A required input that was not given.
    #[error("input {name:?} ({expected}) was not given")]
    MissingInput {
        /// Name.
        name: String,
        /// Its type.
        expected: String,
    },
    /// An input of the wrong element type.
    #[error("input {name:?} must be {expected}, got {found}")]
    InputType {
        /// Name.
        name: String,
        /// Declared type.
        expected: String,
        /// Type given.
        found: String,
    },
    /// An input of the wrong shape.
    #[error("input {name:?} must be {expected}, got {found}: {reason}")]
    InputShape {
        /// Name.
        name: String,
        /// Declared type.
        expected: String,
        /// Type given.
        found: String,
        /// Which dim disagrees with what.
        reason: String,
    },
    /// Threads that there cannot be.
    #[error(transparent)]
    Threads(#[from] TeamError),
    /// The graph is not well typed under these input shapes.
    #[error(transparent)]
    Type(#[from] TypeError),
    /// The graph breaks an invariant.
    #[error(transparent)]
    Graph(#[from] fusebox_ir::VerifyError),
    /// A node that has no kernel and no reference evaluation either.
    #[error(
        "node {node}: operator {op} is not known: Fusebox carries it through `optimize` but cannot run it"
    )]
    UnknownOperator {
        /// Node as messages name it.
        node: String,
        /// Operator.
        op: String,
    },
    /// A kernel refused its operands: a fault of lowering, reported with the node instead of a panic.
    #[error("node {node}: {reason}")]
    Lowering {
        /// Node as messages name it.
        node: String,
        /// Why.
        reason: String,
    },
    /// The arena would not fit in memory.
    #[error("the plan needs {bytes} bytes of memory for activations, more than the limit of {limit}")]
    TooLarge {
        /// Bytes needed.
        bytes: usize,
        /// Limit.
        limit: usize,
    },
    /// The machine refused the arena.
    #[error("the plan needs {bytes} bytes of memory for activations, which this machine does not give")]
    OutOfMemory {
        /// Bytes needed.
        bytes: usize,
    },
    /// A step failed at run time.
    #[error("node {node}: {reason}")]
    Step {
        /// Node as messages name it.
        node: String,
        /// Why.
        reason: String,
    },
    /// Reference evaluation of the whole graph failed.
    #[error(transparent)]
    Eval(#[from] EvalError),
}

impl ExecError {
    pub(crate) fn lowering(node: impl Into<String>, error: &SpecError) -> Self {
        Self::Lowering { node: node.into(), reason: error.to_string() }
    }
}
