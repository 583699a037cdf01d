//! What can go wrong between a path and a result: one kind per exit code, with a hint at what to do.
//!
//! Refuses to print and to exit. Causes are kept as sources, so a front end shows the chain.

use crate::compare::OutputComparison;
use crate::sizes::Sizes;
use crate::verification::Verification;
use fusebox_exec::ExecError;
use fusebox_ir::VerifyError;
use fusebox_onnx::{ExpandError, ExportError, ImportError};
use fusebox_ops::EvalError;
use fusebox_ops::typing::TypeError;
use fusebox_rewrite::RewriteError;
use miette::Diagnostic;
use std::path::PathBuf;

/// What a failure means for the caller; the command line has one exit code for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A comparison or verification found a difference past the tolerance.
    Mismatch,
    /// What was asked does not fit the model: a name, a size, an option.
    Usage,
    /// A model, rule or tensor file is not what it should be.
    Invalid,
    /// The file system refused.
    Io,
    /// The model is sound, but it cannot be run here.
    Unsupported,
}

/// A failed verb.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum Error {
    /// A model that cannot be read.
    #[error("cannot open model {path:?}")]
    #[diagnostic(code(fusebox::model), help("{}", source.help()))]
    Open {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<ImportError>,
    },
    /// A model that cannot be written.
    #[error("cannot write the model")]
    #[diagnostic(code(fusebox::save), help("{}", source.help()))]
    Save {
        /// What happened.
        source: Box<ExportError>,
    },
    /// Function calls that cannot be expanded.
    #[error("cannot expand the functions of the model")]
    #[diagnostic(code(fusebox::functions), help("let the exporter write the model without functions"))]
    Expand {
        /// What happened.
        source: Box<ExpandError>,
    },
    /// A rule file that is refused, or a rewriting that failed.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Rewrite(Box<RewriteError>),
    /// An optimized model that differs from the original.
    #[error("the optimized model differs from the original: {}", difference(.0))]
    #[diagnostic(
        code(fusebox::verify),
        help(
            "nothing was written; `--tolerance` states other limits, `--disable RULE` leaves a rule out, `--no-verify` writes the file for a closer look"
        )
    )]
    NotVerified(Box<Verification>),
    /// A model that cannot be stepped token by token.
    #[error("the model cannot decode step by step: {reason}")]
    #[diagnostic(
        code(fusebox::decode),
        help(
            "decoding feeds outputs named `present…` back as inputs named `past…` with a dim that may grow"
        )
    )]
    NoCache {
        /// What is missing.
        reason: String,
    },
    /// Types that contradict each other.
    #[error("the model is not well typed")]
    #[diagnostic(
        code(fusebox::types),
        help(
            "two parts of the model disagree about a type or a size: export it again, or check the tool that edited it"
        )
    )]
    Type(#[source] Box<TypeError>),
    /// A pass that broke the graph.
    #[error("pass `{pass}` left a broken graph")]
    #[diagnostic(
        code(fusebox::pass),
        help("this is a fault of Fusebox: please report it with the model; `--disable` may avoid it")
    )]
    BrokenByPass {
        /// The pass.
        pass: &'static str,
        /// What is broken.
        source: VerifyError,
    },
    /// An executor or plan error.
    #[error("cannot run the model")]
    #[diagnostic(code(fusebox::run), help("{}", run_help(source)))]
    Run {
        /// What happened.
        source: Box<ExecError>,
    },
    /// The reference evaluation failed.
    #[error("cannot evaluate the model")]
    #[diagnostic(code(fusebox::evaluate), help("{}", eval_help(source)))]
    Evaluate {
        /// What happened.
        source: Box<EvalError>,
    },
    /// A model whose values do not fit into memory together.
    #[error(
        "evaluating the model takes at least {needed} bytes of memory at once, and the system has {available} left"
    )]
    #[diagnostic(
        code(fusebox::memory),
        help(
            "choose smaller sizes with `--dim NAME=N` where the inputs have names for them; `fusebox optimize --no-verify` writes a model without evaluating it"
        )
    )]
    TooLarge {
        /// Bytes of values alive at once.
        needed: u64,
        /// Bytes that the system can still give.
        available: u64,
    },
    /// `--dim` for a symbol that no input has.
    #[error("no input of the model has a dim named {name:?}")]
    #[diagnostic(code(fusebox::dim), help("{}", known_dims(known)))]
    UnknownDim {
        /// The name given.
        name: String,
        /// The names that exist.
        known: Vec<String>,
    },
    /// A node to be left alone that is not there.
    #[error("no node of the model is named {name:?}, and none was made from one of that name")]
    #[diagnostic(code(fusebox::node), help("`fusebox diff` and the layers that `-v` lists name the nodes"))]
    NoSuchNode {
        /// The name given.
        name: String,
    },
    /// A size that no tensor can have.
    #[error("dim {name:?} cannot have size {size}")]
    #[diagnostic(code(fusebox::dim), help("a size is a whole number, zero or more"))]
    BadDim {
        /// The name given.
        name: String,
        /// The size given.
        size: i64,
    },
    /// A model that does not run on any sizes that were tried for its symbolic dims.
    #[error("the model runs on none of the sizes that were tried for its symbolic dims")]
    #[diagnostic(code(fusebox::dim), help("{}", example_of(open)))]
    NoSizes {
        /// The dims that were left open, with the sizes that were tried first.
        open: Sizes,
        /// What went wrong with the first sizes.
        source: Box<Error>,
    },
    /// An input for which no tensor can be drawn.
    #[error("no input can be drawn for {name:?}, which is {ty}")]
    #[diagnostic(code(fusebox::inputs), help("give it as a file: --input {name}=FILE.npy"))]
    NotDrawable {
        /// The input.
        name: String,
        /// Its type.
        ty: String,
    },
    /// Two models that cannot be compared.
    #[error("the models cannot be compared: {reason}")]
    #[diagnostic(code(fusebox::compare), help("compare models with the same inputs and outputs"))]
    Incomparable {
        /// What differs in their interface.
        reason: String,
    },
}

fn difference(verification: &Verification) -> String {
    let failed = verification.failed().into_iter().flat_map(|comparison| &comparison.outputs);
    let text =
        |output: &OutputComparison| Some(format!("output {:?}: {}", output.name, output.failure.as_ref()?));
    failed.filter_map(text).collect::<Vec<_>>().join("; ")
}

fn known_dims(known: &[String]) -> String {
    if known.is_empty() {
        return "all sizes of its inputs are fixed".into();
    }
    format!("its symbolic dims are {}", known.join(", "))
}

/// How to choose the dims that are open.
fn example_of(open: &Sizes) -> String {
    let names: Vec<&str> = open.keys().map(|name| &**name).collect();
    let example: Vec<String> = open.iter().map(|(name, size)| format!("--dim {name}={size}")).collect();
    format!(
        "exporters freeze some sizes that the file calls dynamic: give those of {} that the model was made for, in the \
         form of {}",
        names.join(", "),
        example.join(" ")
    )
}

fn run_help(error: &ExecError) -> &'static str {
    match error {
        ExecError::UnknownInput { .. } | ExecError::MissingInput { .. } => {
            "`fusebox inspect MODEL` lists the inputs with their types"
        }
        ExecError::InputType { .. } | ExecError::InputShape { .. } => {
            "`fusebox inspect MODEL` lists the inputs with their types; sizes with a name may be chosen, but alike everywhere"
        }
        ExecError::UnknownOperator { .. } => {
            "the model can be optimized and inspected; to run it, use the runtime that defines this operator"
        }
        ExecError::Threads(_) => "choose fewer with --threads; 0 is one per core",
        ExecError::TooLarge { .. } | ExecError::OutOfMemory { .. } => "choose smaller sizes with --dim",
        ExecError::Type(_) | ExecError::Graph(_) => {
            "two parts of the model disagree about a type or a size: export it again"
        }
        ExecError::Lowering { .. } | ExecError::Step { .. } | ExecError::Eval(_) => FITS,
    }
}

/// For values that a node cannot take.
const FITS: &str = "check the inputs (indices within their tables, sizes that fit: exporters freeze some that the file calls dynamic, and `--dim name=N` gives those); else please report it with the model";

fn eval_help(error: &EvalError) -> &'static str {
    match error.innermost() {
        EvalError::UnknownOperator { .. } | EvalError::Unsupported { .. } => {
            "the model can be optimized and inspected; to run it, use the runtime that defines this operator"
        }
        EvalError::OutOfMemory { .. } | EvalError::TooLarge { .. } => {
            "choose smaller sizes with `--dim NAME=N` where the inputs have names for them, or a machine with more memory; `fusebox optimize --no-verify` writes a model without evaluating it"
        }
        _ => FITS,
    }
}

/// The error inside nested nodes.
trait Innermost {
    fn innermost(&self) -> &EvalError;
}

impl Innermost for EvalError {
    fn innermost(&self) -> &EvalError {
        let mut error = self;
        while let EvalError::AtNode { source, .. } = error {
            error = source;
        }
        error
    }
}

/// Whether an evaluation failed because an operator, or a use of it, has no evaluation.
pub(crate) fn is_unsupported(error: &EvalError) -> bool {
    matches!(error.innermost(), EvalError::UnknownOperator { .. } | EvalError::Unsupported { .. })
}

/// `?` from the errors of the crates below; boxed, so that results stay small.
macro_rules! from_boxed {
    ($($error:ty => $make:expr),* $(,)?) => { $(impl From<$error> for Error {
        fn from(error: $error) -> Self {
            $make(Box::new(error))
        }
    })* };
}
from_boxed! {
    TypeError => Error::Type,
    ExportError => |source| Error::Save { source },
    ExpandError => |source| Error::Expand { source },
    ExecError => |source| Error::Run { source },
    EvalError => |source| Error::Evaluate { source },
    RewriteError => Error::Rewrite,
}

impl Error {
    /// Names the file that the caller asked for, where a temporary one is meant.
    pub(crate) fn about(self, path: &std::path::Path) -> Self {
        match self {
            Self::Save { mut source } => {
                if let ExportError::Write { path: temporary, .. } = &mut *source {
                    *temporary = path.to_owned();
                }
                Self::Save { source }
            }
            other => other,
        }
    }

    /// What the failure means for the caller.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Open { source, .. }
                if matches!(**source, ImportError::Read { .. } | ImportError::ExternalMissing { .. }) =>
            {
                Kind::Io
            }
            Self::Open { .. } | Self::Type(_) | Self::Expand { .. } => Kind::Invalid,
            Self::Save { source } => match **source {
                ExportError::Write { .. } | ExportError::NotAFile { .. } => Kind::Io,
                ExportError::NoSuchOpset { .. } | ExportError::DataName { .. } => Kind::Usage,
                _ => Kind::Unsupported,
            },
            Self::Rewrite(error) => match **error {
                RewriteError::Rule(_) | RewriteError::Type { .. } | RewriteError::Conflict { .. } => {
                    Kind::Invalid
                }
                RewriteError::Verify { .. } => Kind::Invalid,
                RewriteError::Read { .. } => Kind::Io,
                RewriteError::NoSuchRule { .. } => Kind::Usage,
            },
            Self::NotVerified(_) => Kind::Mismatch,
            Self::BrokenByPass { .. } => Kind::Unsupported,
            Self::Run { source } => match **source {
                ExecError::UnknownInput { .. }
                | ExecError::MissingInput { .. }
                | ExecError::InputType { .. }
                | ExecError::InputShape { .. } => Kind::Usage,
                ExecError::Type(_) | ExecError::Graph(_) => Kind::Invalid,
                _ => Kind::Unsupported,
            },
            Self::NoSizes { source, .. } => source.kind(),
            Self::Evaluate { .. } | Self::TooLarge { .. } => Kind::Unsupported,
            Self::UnknownDim { .. }
            | Self::NoSuchNode { .. }
            | Self::BadDim { .. }
            | Self::NotDrawable { .. }
            | Self::NoCache { .. } => Kind::Usage,
            Self::Incomparable { .. } => Kind::Usage,
        }
    }
}
