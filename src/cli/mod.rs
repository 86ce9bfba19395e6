//! The command line: one file a subcommand. The only floor that prints or exits.

use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;
use std::str::FromStr;

use clap::{Parser, Subcommand};

use crate::tasks::{Task, TaskError, mini};

mod bench;
mod check;
mod compare;
mod convert;
mod data;
mod device;
mod fill;
mod ls;
mod pretrain;
mod progress;
mod recompute;
mod report;
mod run;
mod score;
mod show;
mod tables;
mod validate;
mod verify;

/// Fine-tunes and evaluates GLM and its rivals on language benchmarks.
#[derive(Debug, Parser)]
#[command(
    name = "glm-eval",
    version,
    max_term_width = 100,
    after_help = "Exit codes: 0 done; 1 a check, \
    comparison or verification failed; 2 it could not run (usage, bad input, a missing file, an interrupt); 3 inconclusive, \
    with --strict."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<run::Run>),
    Ls(ls::Ls),
    Show(show::Show),
    Data(data::Data),
    Validate(validate::Validate),
    Score(score::Score),
    Fill(Box<fill::Fill>),
    Convert(convert::Convert),
    Pretrain(pretrain::Pretrain),
    Verify(verify::Verify),
    Bench(bench::Bench),
    Recompute(recompute::Recompute),
    Compare(compare::Compare),
    Check(check::Check),
    Report(report::Report),
}

/// Exit code of a command that could not run: wrong usage, bad input, a missing file.
const COULD_NOT_RUN: u8 = 2;

/// Parses the arguments, runs the command, and turns an error into one message and an exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse_from(arguments());
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .without_time()
        .with_target(false)
        .with_ansi(false)
        .with_env_filter(
            tracing_subscriber::EnvFilter::builder()
                .with_env_var("GLM_EVAL_LOG")
                .try_from_env()
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn")),
        )
        .init();
    if let Err(unknown) = crate::nn::instructions() {
        message(&format!("error: {unknown}"));
        return ExitCode::from(COULD_NOT_RUN);
    }
    let result = match cli.command {
        Command::Run(command) => command.exec(),
        Command::Ls(command) => command.exec(),
        Command::Show(command) => command.exec(),
        Command::Data(command) => command.exec(),
        Command::Validate(command) => command.exec(),
        Command::Score(command) => command.exec(),
        Command::Fill(command) => command.exec(),
        Command::Convert(command) => command.exec(),
        Command::Pretrain(command) => command.exec(),
        Command::Verify(command) => command.exec(),
        Command::Bench(command) => command.exec(),
        Command::Recompute(command) => command.exec(),
        Command::Compare(command) => command.exec(),
        Command::Check(command) => command.exec(),
        Command::Report(command) => command.exec(),
    };
    result.unwrap_or_else(|error| {
        // The reader of a pipe has seen enough (`glm-eval show … | head`): that is no failure.
        if error.chain().any(is_closed_pipe) {
            return ExitCode::SUCCESS;
        }
        message(&format!("error: {}", with_causes(error.as_ref())));
        ExitCode::from(COULD_NOT_RUN)
    })
}

/// A whole number that an option counts with.
fn above_zero<T: FromStr + PartialOrd + Default>(text: &str) -> Result<T, String> {
    text.parse().ok().filter(|n| *n > T::default()).ok_or_else(|| "expected a whole number above 0".into())
}

/// Writes a line to stderr; where stderr is closed there is nobody to tell.
fn message(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// What a user should know, beside the result.
fn notes(notes: &[String]) {
    for note in notes {
        message(&format!("note: {note}"));
    }
}

/// The tasks, or those of `superglue-mini` where there is no data for them; says so.
fn or_mini(tasks: Vec<Task>, data_dir: Option<&Path>) -> Result<Vec<Task>, TaskError> {
    let (tasks, looked_at) = mini::or_mini(tasks, data_dir)?;
    if let Some(places) = looked_at {
        message(&format!(
            "note: no data of SuperGLUE in {places}: this is superglue-mini, rows made by this program, which is not \
             SuperGLUE; --data-dir names the folder of real data"
        ));
    }
    Ok(tasks)
}

/// What became of the output of a command that ends in a verdict: a closed pipe ends the output, not the verdict.
fn unless_closed(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

fn is_closed_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref().is_some_and(|error: &io::Error| error.kind() == ErrorKind::BrokenPipe)
}

/// An error and its causes in one message; a cause that the text before it spells out already is left out.
fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut message = error.to_string();
    for cause in std::iter::successors(error.source(), |&cause| cause.source()) {
        let cause = cause.to_string();
        if !message.ends_with(&cause) {
            message = format!("{message}: {cause}");
        }
    }
    message
}

/// The words of the command line, with `_` for `-` in the names of long flags.
fn arguments() -> Vec<OsString> {
    let dashed = |word: OsString| match word.to_str().and_then(|word| word.strip_prefix("--")) {
        Some(flag) => {
            let (name, value) = flag.split_at(flag.find('=').unwrap_or(flag.len()));
            format!("--{}{value}", name.replace('_', "-")).into()
        }
        None => word,
    };
    std::env::args_os().map(dashed).collect()
}

/// The command line for a record: folders of this machine are cut down to their last part.
fn arguments_without_folders() -> Vec<String> {
    let last_part = |word: OsString| {
        let word = word.to_string_lossy().into_owned();
        let (flag, value) = match word.split_once('=') {
            Some((flag, value)) if flag.starts_with("--") => (format!("{flag}="), value.to_string()),
            _ => (String::new(), word.clone()),
        };
        let name =
            value.contains(['/', '\\']).then(|| value.rsplit(['/', '\\']).find(|part| !part.is_empty()));
        format!("{flag}{}", name.flatten().unwrap_or(&value))
    };
    std::env::args_os().map(last_part).collect()
}
