//! Failures and their exit codes.

use fusebox::Kind;
use miette::Diagnostic;
use std::path::PathBuf;

/// Exit codes with their meaning, as `--help` and the book print them.
pub(crate) const EXIT_CODES: &[(u8, &str)] = &[
    (0, "done"),
    (1, "a verification or comparison found a difference past the tolerance"),
    (2, "the arguments do not fit the program or the model"),
    (3, "a model, rule or tensor file is not valid"),
    (4, "a file cannot be read or written"),
    (5, "the model is valid but cannot be run or written as asked"),
    (130, "interrupted; files that were being written are removed"),
];

/// A failed command.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub(crate) enum Failure {
    /// The library says what.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Fusebox(#[from] fusebox::Error),
    /// Arguments that do not fit together.
    #[error("{message}")]
    #[diagnostic(code(fusebox::usage), help("{help}"))]
    Usage {
        /// What is wrong.
        message: String,
        /// What to do.
        help: String,
    },
    /// A file of tensors that is not what it should be.
    #[error("{path:?} is not a tensor that can be read: {reason}")]
    #[diagnostic(code(fusebox::tensor), help("{help}"))]
    Tensor {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
        /// What to do.
        help: String,
    },
    /// A file that cannot be read or written.
    #[error("cannot {what} {path:?}")]
    #[diagnostic(
        code(fusebox::io),
        help("check the path, its permissions and the space left; nothing was changed")
    )]
    File {
        /// `read` or `write`.
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Two models that differ past the tolerance.
    #[error("{message}")]
    #[diagnostic(code(fusebox::verify), help("{help}"))]
    Mismatch {
        /// How far they are apart.
        message: String,
        /// What to do.
        help: String,
    },
    /// Nobody reads what is written.
    #[error("cannot write the result")]
    Output(#[source] std::io::Error),
}

impl Failure {
    pub(crate) fn usage(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), help: help.into() }
    }

    /// Exit code of the failure.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Fusebox(error) => match error.kind() {
                Kind::Mismatch => 1,
                Kind::Usage => 2,
                Kind::Invalid => 3,
                Kind::Io => 4,
                Kind::Unsupported => 5,
            },
            Self::Mismatch { .. } => 1,
            Self::Usage { .. } => 2,
            Self::Tensor { .. } => 3,
            Self::File { .. } => 4,
            // A reader that has seen enough, such as `head`, is no failure.
            Self::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe => 0,
            Self::Output(_) => 4,
        }
    }
}

impl From<fusebox::ExecError> for Failure {
    fn from(error: fusebox::ExecError) -> Self {
        Self::Fusebox(error.into())
    }
}

/// The table of exit codes as `--help` shows it.
pub(crate) fn exit_code_help() -> String {
    let rows: Vec<String> =
        EXIT_CODES.iter().map(|(code, meaning)| format!("{code:>3}  {meaning}")).collect();
    format!("Exit codes:\n{}", rows.join("\n"))
}
