//! The commands: one file each, one row each in [`COMMANDS`].

mod bench;
mod completions;
mod decoding;
mod diff;
mod fill;
mod inspect;
mod optimize;
mod rules;
mod run;
mod verify;

use crate::context::Context;
use crate::failure::{Failure, exit_code_help};
use crate::options::Globals;
use clap::{ArgMatches, Args, FromArgMatches};

/// A command as its file defines it. The doc comment of the type is its help.
pub(crate) trait Verb: Args + FromArgMatches {
    /// Name on the command line.
    const NAME: &'static str;
    /// What it does, in one line.
    const ABOUT: &'static str;

    /// Does it.
    fn run(self, cx: &Context) -> Result<(), Failure>;
}

/// A row of the table.
pub(crate) struct Command {
    /// Name on the command line.
    pub(crate) name: &'static str,
    build: fn() -> clap::Command,
    /// Does it.
    pub(crate) run: fn(&ArgMatches, &Context) -> Result<(), Failure>,
}

const fn row<V: Verb>() -> Command {
    Command { name: V::NAME, build: build::<V>, run: run::<V> }
}

fn build<V: Verb>() -> clap::Command {
    V::augment_args(clap::Command::new(V::NAME)).about(V::ABOUT)
}

fn run<V: Verb>(matches: &ArgMatches, cx: &Context) -> Result<(), Failure> {
    let verb = V::from_arg_matches(matches)
        .map_err(|error| Failure::usage(error.to_string(), format!("see `fusebox {} --help`", V::NAME)))?;
    verb.run(cx)
}

/// Every command, in the order of the help.
static COMMANDS: &[Command] = &[
    row::<optimize::Optimize>(),
    row::<run::Run>(),
    row::<verify::Verify>(),
    row::<bench::Bench>(),
    row::<inspect::Inspect>(),
    row::<diff::Diff>(),
    row::<rules::Rules>(),
    row::<fill::Fill>(),
    row::<completions::Completions>(),
];

/// The parser of the whole command line.
pub(crate) fn parser() -> clap::Command {
    let program = clap::Command::new("fusebox")
        .version(env!("CARGO_PKG_VERSION"))
        .after_help(exit_code_help())
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(COMMANDS.iter().map(|command| (command.build)()));
    // Shared options bring a description of their own, so the program's comes last.
    Globals::augment_args(program).about("Optimize, quantize, verify and run ONNX models on a CPU")
}

/// A command by name.
pub(crate) fn find(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name == name)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_parser_is_consistent() {
        super::parser().debug_assert();
    }
}
