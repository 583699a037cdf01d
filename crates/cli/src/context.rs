//! Where a command writes and how: JSON or text, colours, warnings, failures.

use crate::failure::Failure;
use crate::options::Globals;
use crate::progress::Progress;
use fusebox_report::{Paint, Style, envelope};
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme};
use serde::Serialize;
use serde_json::json;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

/// What a command needs besides its arguments.
pub(crate) struct Context {
    command: String,
    /// Whether the answer is JSON.
    pub(crate) json: bool,
    /// Whether only failures are told.
    pub(crate) quiet: bool,
    /// How much is told: 0 as usual.
    pub(crate) verbose: u8,
    /// What stdout can show.
    pub(crate) style: Style,
    stderr: Style,
}

/// What a stream can show. `NO_COLOR` and dumb terminals are respected.
fn style(is_terminal: bool) -> Style {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    Style { colour: is_terminal && !set("NO_COLOR") && !is_dumb, unicode: is_terminal && !is_dumb }
}

impl Context {
    pub(crate) fn new(command: &str, globals: &Globals) -> Self {
        if globals.verbose > 0 {
            log(globals.verbose);
        }
        Self {
            command: command.to_owned(),
            json: globals.json,
            quiet: globals.quiet,
            verbose: globals.verbose,
            style: style(io::stdout().is_terminal()),
            stderr: style(io::stderr().is_terminal()),
        }
    }

    /// Shows the answer: as JSON, or as the text that `text` makes.
    pub(crate) fn answer(
        &self,
        answer: &impl Serialize,
        text: impl FnOnce(&Style) -> String,
    ) -> Result<(), Failure> {
        if self.json {
            let whole = envelope(&self.command, answer).map_err(|e| Failure::Output(e.into()))?;
            let pretty = serde_json::to_string_pretty(&whole).map_err(|e| Failure::Output(e.into()))?;
            return self.print(&(pretty + "\n"));
        }
        if self.quiet { Ok(()) } else { self.print(&text(&self.style)) }
    }

    /// Writes to stdout as it is.
    pub(crate) fn print(&self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::Output)
    }

    /// Tells something beside the answer, on stderr.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            self.tell(Paint::Faint, "note", text);
        }
    }

    /// Tells that something is not as it should be, on stderr.
    pub(crate) fn warn(&self, text: &str) {
        self.tell(Paint::Warn, "warning", text);
    }

    fn tell(&self, paint: Paint, word: &str, text: &str) {
        // Nothing can be said when stderr is gone.
        drop(writeln!(io::stderr(), "{}: {text}", self.stderr.paint(paint, word)));
    }

    /// A display of what is being done, shown after a second on a terminal.
    pub(crate) fn progress(&self, what: &str) -> Progress {
        Progress::new(what, self.stderr.unicode && !self.quiet)
    }

    /// Shows a failure and gives its exit code.
    pub(crate) fn fail(&self, failure: &Failure) -> ExitCode {
        let code = failure.exit_code();
        if code == 0 {
            return ExitCode::SUCCESS;
        }
        if self.json {
            let error = json!({ "error": {
                "code": failure.code().map(|c| c.to_string()),
                "message": chain(failure),
                "help": failure.help().map(|h| h.to_string()),
                "exit_code": code,
            }});
            if let Ok(whole) = envelope(&self.command, &error) {
                drop(self.print(&format!("{whole:#}\n")));
            }
        }
        let shown = if self.stderr.unicode || failure.labels().is_some() {
            graphical(failure, self.stderr)
        } else {
            plain(failure)
        };
        drop(io::stderr().write_all(shown.as_bytes()));
        ExitCode::from(code)
    }
}

/// The message with its causes, on one line.
fn chain(failure: &Failure) -> String {
    let mut text = failure.to_string();
    let mut cause = std::error::Error::source(failure);
    while let Some(error) = cause {
        let inner = error.to_string();
        // Messages that quote their cause need not repeat it.
        if !text.contains(&inner) {
            text = format!("{text}: {inner}");
        }
        cause = error.source();
    }
    text
}

fn plain(failure: &Failure) -> String {
    let help = failure.help().map(|help| format!("help: {help}\n")).unwrap_or_default();
    format!("error: {}\n{help}", chain(failure))
}

fn graphical(failure: &Failure, style: Style) -> String {
    let theme = match (style.unicode, style.colour) {
        (true, true) => GraphicalTheme::unicode(),
        (true, false) => GraphicalTheme::unicode_nocolor(),
        (false, _) => GraphicalTheme::none(),
    };
    let mut text = String::new();
    let handler = GraphicalReportHandler::new_themed(theme).with_links(false);
    match handler.render_report(&mut text, failure) {
        Ok(()) => text,
        Err(_) => plain(failure),
    }
}

/// Sends the libraries' events to stderr.
fn log(verbose: u8) {
    let level = match verbose {
        1 => tracing::Level::INFO,
        2 => tracing::Level::DEBUG,
        _ => tracing::Level::TRACE,
    };
    let subscriber = tracing_subscriber::fmt().with_max_level(level).with_writer(io::stderr).without_time();
    // Set once per process, before anything else could have.
    drop(subscriber.try_init());
}
