//! `lazaret submit`, also under the name `sendmail`.
//!
//! Needs no daemon: it puts the message into the spool by the daemon's own
//! steps. Any problem of our own ends with 75, because anything else makes an
//! MTA bounce the message; it must never end with 0 before the message is safe.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use lazaret_intake::{Mode, SendmailArgs, converse, submit};
use lazaret_spool::{OpenError, Spool};

use crate::config::{self, Config};
use crate::control::{self, Request};
use crate::{exit, mailq};

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

/// The spool; made if it is not there yet, so that mail can be put in before the
/// daemon has ever run. That is said, for it may be the wrong place.
fn open(config: &Config) -> Result<Spool, OpenError> {
    match Spool::open(&config.spool) {
        Err(OpenError::Missing { path }) => {
            let spool = Spool::create(&path)?;
            let _ = writeln!(io::stderr(), "lazaret submit: made a new spool at {}", path.display());
            Ok(spool)
        }
        other => other,
    }
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
    let named = named.or_else(|| std::env::var_os("LAZARET_CONFIG").map(Into::into));
    let config = config::load(named.as_deref()).map_err(|error| ours(&error))?;
    if mode == Mode::Queue {
        return control::tell(&config, &Request::Retry).map(drop).map_err(|failure| ours(&failure.text()));
    }
    let spool = open(&config).map_err(|error| ours(&error))?;
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
