//! `lazaret submit`, also under the name `sendmail`.
//!
//! Needs no daemon: it puts the message into the spool by the daemon's own
//! steps. Any problem of our own ends with 75, because anything else makes an
//! MTA bounce the message; it must never end with 0 before the message is safe.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;

use lazaret_intake::{Mode, SendmailArgs, converse, submit};
use lazaret_spool::{OpenError, Spool};
use rustix::fs::OFlags;

use crate::config::{self, Config};
use crate::control;
use crate::{exit, mailq, paths};

/// What is said when all went well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Voice {
    /// A reply as SMTP gives it, which Postfix's pipe(8) puts into its log.
    Reply,
    /// Nothing, as sendmail; cron mails whatever is said.
    Silent,
}

/// The options that a name of the program stands for, as with every sendmail;
/// `None` for names of our own.
pub fn implied_by(name: &OsStr) -> Option<&'static [&'static str]> {
    match name.to_str()? {
        "sendmail" => Some(&[]),
        "mailq" => Some(&["-bp"]),
        "newaliases" => Some(&["-bi"]),
        _ => None,
    }
}

/// Parses the arguments and takes the message from standard input. A
/// configuration file among the arguments goes before `config`.
pub fn main(arguments: &[OsString], config: Option<&Path>, voice: Voice) -> ExitCode {
    match run(arguments, config, voice) {
        Ok(()) => ExitCode::SUCCESS,
        Err((status, text)) => {
            let _ = writeln!(io::stderr(), "lazaret submit: {text}");
            ExitCode::from(status)
        }
    }
}

/// The spool, which must be there: mail in one that no daemon serves would lie
/// there unseen.
fn open(config: &Config) -> Result<Spool, String> {
    Spool::open(&config.spool).map_err(|error| {
        let from = match (&error, &config.file) {
            (OpenError::Missing { .. }, None) => format!(
                " (no configuration was named by --config or LAZARET_CONFIG, and there is none at {}: \
                 the embedded default holds)",
                paths::SYSTEM_FILE
            ),
            (OpenError::Missing { .. }, Some(file)) => format!(" (the configuration is {})", file.display()),
            _ => String::new(),
        };
        format!("{error}{from}")
    })
}

/// Whether standard input was closed by the caller. The runtime opens /dev/null for
/// it then, for reading and writing, as nobody does who wants an empty message.
fn is_input_closed() -> bool {
    let input = io::stdin();
    let null = fs::metadata("/dev/null").map(|null| null.rdev());
    let is_null =
        rustix::fs::fstat(&input).ok().zip(null.ok()).is_some_and(|(stat, null)| stat.st_rdev == null);
    let flags = rustix::fs::fcntl_getfl(&input);
    is_null && flags.is_ok_and(|flags| flags.contains(OFlags::RDWR))
}

fn run(arguments: &[OsString], config: Option<&Path>, voice: Voice) -> Result<(), (u8, String)> {
    let arguments = SendmailArgs::parse(arguments.iter().cloned())
        .map_err(|error| (error.exit_code(), error.to_string()))?;
    let ours = |error: &dyn std::fmt::Display| (exit::TEMPORARY, error.to_string());
    let mode = arguments.mode;
    // There is no alias table.
    if mode == Mode::Aliases {
        return Ok(());
    }
    let named = arguments.config.clone().or_else(|| config.map(Path::to_owned));
    let named = config::named(named).map_err(|failure| ours(&failure.text()))?;
    let config = config::load(named.as_deref()).map_err(|error| ours(&error))?;
    if mode == Mode::Queue {
        return control::retry(&config).map_err(|failure| ours(&failure.text()));
    }
    let spool = open(&config).map_err(|text| (exit::TEMPORARY, text))?;
    if mode == Mode::List {
        return mailq::print(&spool).map_err(|failure| (failure.status(), failure.text().to_owned()));
    }
    let speak = voice == Voice::Reply || arguments.verbose;
    let submission =
        arguments.into_submission(config.hostname, config.workers.max_size.0, config.intake.reserve());
    if mode == Mode::Smtp {
        let talked = converse(&spool, &submission, io::stdin().lock(), io::stdout().lock());
        return talked.map_err(|error| (error.exit_code(), error.to_string()));
    }
    if is_input_closed() {
        let text = "standard input is closed, so there is no message; an empty one is </dev/null";
        return Err((exit::TEMPORARY, text.to_owned()));
    }
    let queued = submit(&spool, &submission, io::stdin().lock())
        .map_err(|error| (error.exit_code(), error.to_string()))?;
    if speak {
        let reply = match queued.id {
            Some(id) => format!("2.0.0 queued as {id}\n"),
            None => "2.0.0 put into drop/\n".to_owned(),
        };
        // The message is safe; that nobody listens changes nothing.
        let _ = io::stdout().write_all(reply.as_bytes());
    }
    Ok(())
}
