//! `lazaret`: a crash-safe mail router with a quarantine queue.
//!
//! This is the program around the crates: configuration, the supervisor of the
//! daemon's threads, and the operator's commands. It parses the command line
//! and does what one `match` says; it must never touch the spool on its own.

#![forbid(unsafe_code)]

mod access;
mod check;
mod cli;
mod config;
mod control;
mod costs;
mod deferred;
mod differences;
mod dispatch;
mod engine;
mod exit;
mod init;
mod log;
mod mailq;
mod manual;
mod paths;
mod pressure;
mod queue;
mod reload;
mod run;
mod service;
mod shell;
mod status;
mod submit;
mod waiting;
mod watcher;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command, ConfigCommand};
use crate::config::Config;
use crate::control::Request;
use crate::exit::Failure;

/// Counts what a cell allocates, and ends it over its budget.
#[global_allocator]
static ALLOCATOR: lazaret_worker::Allocator = lazaret_worker::Allocator;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_default();
    let arguments: Vec<OsString> = arguments.collect();
    let first = arguments.first().and_then(|first| first.to_str());
    if first == Some(lazaret_worker::CELL_COMMAND) && arguments.len() == 1 {
        lazaret_worker::cell_main();
    }
    if let Some(implied) = Path::new(&program).file_name().and_then(submit::implied_by) {
        let arguments: Vec<OsString> = implied.iter().map(OsString::from).chain(arguments).collect();
        return submit::main(&arguments, None, submit::Voice::Silent);
    }
    if first == Some("submit") && !arguments.iter().any(|argument| argument == "--help") {
        return submit::main(&arguments[1..], None, submit::Voice::Reply);
    }
    match command(Cli::parse()) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

fn command(Cli { config: option, log_format, command }: Cli) -> Result<ExitCode, Failure> {
    let named = config::named(option.clone())?;
    let named = named.as_deref();
    // Commands on the spool: who may not is told who may.
    let on_spool = |act: &dyn Fn(&Config) -> Result<ExitCode, Failure>| {
        let config = config::load(named)?;
        act(&config).map_err(|failure| access::explained(failure, &config))
    };
    match command {
        Command::Run { drain } => {
            log::start(log_format);
            let config = config::load_to_run(named)?;
            run::run(config.clone(), drain).map_err(|failure| access::explained(failure, &config))
        }
        // Options of ours stood before it; what stands behind is sendmail's.
        Command::Submit { arguments } => Ok(submit::main(&arguments, named, submit::Voice::Reply)),
        Command::Status { json } => on_spool(&|config| status::print(config, json)),
        Command::Deferred(command) => on_spool(&|config| deferred::command(config, &command)),
        Command::Pause { part, json } => {
            on_spool(&|config| control::change(config, &Request::Pause(part), part, json))
        }
        Command::Resume { part, json } => {
            on_spool(&|config| control::change(config, &Request::Resume(part), part, json))
        }
        Command::Reload { json } => on_spool(&|config| reload::command(config, json)),
        Command::Check(options) => on_spool(&|config| check::command(config, &options)),
        Command::Init { file } => init::command(&init::target(file, option, named)?),
        Command::Man { folder } => manual::man(&folder),
        Command::Completions { shell } => manual::completions(shell),
        Command::Config(ConfigCommand::Check { json }) => config::check(named, json),
        Command::Config(ConfigCommand::Show { json }) => config::show(named, json),
    }
}
