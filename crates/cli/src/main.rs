//! The `fusebox` command: reads arguments, runs one verb of the library, shows what it found.
//!
//! Owns texts, colours, files of tensors and exit codes; refuses to know how anything is done. One file per command in
//! [`commands`], one row each in its table. Results go to stdout, everything else to stderr.

mod commands;
mod context;
mod failure;
mod options;
mod progress;
mod tensors;

use context::Context;
use failure::Failure;
use std::process::ExitCode;

/// Exit code after an interrupt: 128 and the number of the signal, as shells have it.
const INTERRUPTED: i32 = 130;

fn main() -> ExitCode {
    let matches = match commands::parser().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return usage(&error),
    };
    // Without a handler the program is interrupted all the same, only less tidily.
    drop(ctrlc::set_handler(|| {
        fusebox::discard_unfinished();
        std::process::exit(INTERRUPTED);
    }));
    let Some((name, own)) = matches.subcommand() else { return ExitCode::from(2) };
    let globals = options::Globals::of(&matches);
    let cx = Context::new(name, &globals);
    let Some(command) = commands::find(name) else { return ExitCode::from(2) };
    match (command.run)(own, &cx) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => cx.fail(&failure),
    }
}

/// Shows what clap found wrong, or the help that was asked for.
fn usage(error: &clap::Error) -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).take_while(|argument| argument != "--");
    if error.use_stderr() && arguments.any(|argument| argument == "--json") {
        let mut words = std::env::args_os().skip(1).filter_map(|word| word.into_string().ok());
        let command = words.find(|word| commands::find(word).is_some());
        let cx = Context::new(
            command.as_deref().unwrap_or("fusebox"),
            &options::Globals { json: true, ..Default::default() },
        );
        let text = error.to_string();
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        return cx.fail(&Failure::usage(message, "`--help` after the command lists its arguments"));
    }
    // Nothing can be said when the terminal is gone.
    drop(error.print());
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}
