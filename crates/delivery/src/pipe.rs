//! Delivery to a program, which reads the message from its standard input.
//!
//! The message lies in a file without a name before the program starts: whole,
//! and compared with the digest of what was accepted. So a program never sees
//! the half of one, even where Lazaret goes down beside it. No shell must ever
//! be involved.

mod arguments;
mod config;
mod run;
mod status;
#[cfg(test)]
mod tests;
mod user;

pub use arguments::CommandError;
pub use config::{PIPE_RECIPIENTS_MAX, PipeConfig};
pub use user::UserError;

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;

use lazaret_envelope::{Address, Line, Span};
use tracing::warn;

use crate::copy::{CopyError, copy};
use crate::cutoff::CutOff;
use crate::outcome::{Handled, Outcome};
use crate::parcel::{Damaged, Parcel};
use arguments::{Arguments, Unsafe};
use run::{End, Limits, Ran, run};
use user::Identity;

/// Where programs that a program starts are looked for.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// A transport that delivers to a program.
#[derive(Debug)]
pub(crate) struct Pipe {
    name: String,
    config: PipeConfig,
    arguments: Arguments,
    identity: Identity,
    hostname: String,
    cut_off: Arc<CutOff>,
}

/// Why a table `[transport.NAME]` makes no pipe.
#[derive(Debug, thiserror::Error)]
pub enum PipeError {
    /// What stands for the program and its arguments.
    #[error("command: {0}")]
    Command(#[from] CommandError),
    /// As whom it would run.
    #[error(transparent)]
    User(#[from] UserError),
    /// Relative to what is nobody's guess.
    #[error("directory: {0:?} is not an absolute path")]
    Directory(std::path::PathBuf),
    /// A field for one recipient where there may be several.
    #[error("delivered_to = true names one recipient: set per_recipient = true, too")]
    DeliveredTo,
    /// A limit that nothing could keep.
    #[error("{0}: must be more than nothing, and cpu_time whole seconds")]
    Limit(&'static str),
}

impl PipeError {
    /// The key that is wrong.
    pub(crate) fn key(&self) -> &'static str {
        match self {
            Self::Command(_) => "command",
            Self::User(error) => error.key(),
            Self::Directory(_) => "directory",
            Self::DeliveredTo => "delivered_to",
            Self::Limit(key) => key,
        }
    }
}

impl PipeConfig {
    /// Whether there is somebody as whom it runs.
    pub(crate) fn runs_as_somebody(&self) -> Result<(), PipeError> {
        Ok(Identity::of(self).map(drop)?)
    }

    /// Whether its keys fit each other.
    pub(crate) fn fits(&self) -> Result<(), PipeError> {
        Arguments::parse(&self.command, self.per_recipient)?;
        if !self.directory.is_absolute() {
            return Err(PipeError::Directory(self.directory.clone()));
        }
        if self.delivered_to && !self.per_recipient {
            return Err(PipeError::DeliveredTo);
        }
        let odd_cpu = |Span(time): &Span| time.as_secs() == 0 || time.subsec_nanos() != 0;
        let limits = [
            ("timeout", self.timeout.is_zero()),
            ("memory", self.memory.is_some_and(|memory| memory.0 == 0)),
            ("cpu_time", self.cpu_time.as_ref().is_some_and(odd_cpu)),
        ];
        limits.into_iter().find(|(_, odd)| *odd).map_or(Ok(()), |(key, _)| Err(PipeError::Limit(key)))
    }

    /// Most recipients of one run.
    pub(crate) fn recipients_max(&self) -> usize {
        if self.per_recipient { 1 } else { self.recipients_per_transaction }
    }
}

impl Pipe {
    pub(crate) fn new(
        config: &PipeConfig,
        name: &str,
        hostname: &str,
        cut_off: &Arc<CutOff>,
    ) -> Result<Self, PipeError> {
        Ok(Self {
            name: name.to_owned(),
            arguments: Arguments::parse(&config.command, config.per_recipient)?,
            identity: Identity::of(config)?,
            config: config.clone(),
            hostname: hostname.to_owned(),
            cut_off: Arc::clone(cut_off),
        })
    }

    pub(crate) fn recipients_max(&self) -> usize {
        self.config.recipients_max()
    }

    /// Runs the program for the recipients at these places of the envelope, but
    /// for those who can't be passed to it.
    pub(crate) fn transaction(&self, parcel: &Parcel<'_>, places: &[usize]) -> Result<Handled, Damaged> {
        let transaction = &parcel.message.envelope.transaction;
        let sender = &transaction.sender.path;
        let addresses = || places.iter().map(|&place| &transaction.recipients[place].address);
        let refused: Vec<Option<Unsafe>> =
            addresses().map(|to| self.arguments.refuses(sender, to, &self.hostname)).collect();
        let passed: Vec<&Address> =
            addresses().zip(&refused).filter(|(_, refused)| refused.is_none()).map(|(to, _)| to).collect();
        let outcome = match passed.as_slice() {
            [] => None,
            passed => match self.run(parcel, passed)? {
                Ok(ran) => Some(self.outcome(ran)),
                Err(trouble) => {
                    warn!(transport = %self.name, why = %trouble, "program can't be run");
                    return Ok(Handled { outcomes: Vec::new(), trouble: Some(trouble) });
                }
            },
        };
        let outcomes = addresses().zip(&refused).map(|(to, refused)| match (refused, &outcome) {
            (Some(refused), _) => Outcome::Permanent(refused.reply(to, sender)),
            (None, Some(outcome)) => outcome.clone(),
            (None, None) => unreachable!("the program runs if anybody is not refused"),
        });
        Ok(Handled { outcomes: outcomes.collect(), trouble: None })
    }

    /// Runs the program; if that can't be done, says why.
    fn run(&self, parcel: &Parcel<'_>, recipients: &[&Address]) -> Result<Result<Ran, Line>, Damaged> {
        let program = self.arguments.program();
        let input = match self.input(parcel, recipients) {
            Ok(input) => input,
            Err(CopyError::Damaged(damaged)) => return Err(damaged),
            Err(CopyError::Write(error)) => {
                let folder = std::env::temp_dir();
                let what =
                    format!("failed to copy the message for {program} into {}: {error}", folder.display());
                return Ok(Err(Line::escaped(what)));
            }
        };
        let limits = Limits {
            timeout: self.config.timeout,
            memory: self.config.memory.map(|memory| memory.0),
            cpu_seconds: self.config.cpu_time.map(|Span(time)| time.as_secs()),
        };
        let ran = run(self.command(parcel, recipients, input), limits, &self.cut_off);
        Ok(ran.map_err(|error| Line::escaped(format!("failed to run {program}: {error}"))))
    }

    /// The message as the program reads it, verified.
    fn input(&self, parcel: &Parcel<'_>, recipients: &[&Address]) -> Result<File, CopyError> {
        let mut file = tempfile::tempfile().map_err(CopyError::Write)?;
        copy(parcel, &self.top(parcel, recipients), self.config.line_ends, &mut file)?;
        file.seek(SeekFrom::Start(0)).map_err(CopyError::Write)?;
        Ok(file)
    }

    /// What stands on top of the message.
    fn top(&self, parcel: &Parcel<'_>, recipients: &[&Address]) -> String {
        let sender = &parcel.message.envelope.transaction.sender.path;
        // RFC 5321 section 4.4: the return path goes "at the beginning of the mail
        // data".
        let return_path =
            if self.config.return_path { format!("Return-Path: {sender}\r\n") } else { String::new() };
        let delivered_to = match recipients {
            [only] if self.config.delivered_to => format!("Delivered-To: {only}\r\n"),
            _ => String::new(),
        };
        [&return_path, &delivered_to, parcel.trace].concat()
    }

    fn command(&self, parcel: &Parcel<'_>, recipients: &[&Address], input: File) -> Command {
        let envelope = &parcel.message.envelope;
        let sender = &envelope.transaction.sender.path;
        let mut command = Command::new(self.arguments.program());
        command
            .args(self.arguments.filled(sender, recipients, &self.hostname))
            .env_clear()
            .env("PATH", PATH)
            .env("SENDER", sender.as_str())
            .env("MESSAGE_ID", envelope.id.to_string())
            .current_dir(&self.config.directory)
            .stdin(input);
        if let [only] = recipients {
            command.env("RECIPIENT", only.as_str());
        }
        if let Some(group) = self.identity.group {
            command.gid(group);
        }
        if let Some(user) = self.identity.user {
            command.uid(user);
        }
        command
    }

    fn outcome(&self, ran: Ran) -> Outcome {
        let told = |why: String| {
            let output = Line::escaped(ran.output.trim_ascii());
            let colon = if output.as_str().is_empty() { "" } else { ": " };
            Outcome::Transient(Line::escaped(format!("{why}{colon}{output}")))
        };
        match ran.end {
            End::Itself(status) => status::outcome(status, &ran.output),
            End::TimedOut => {
                let limit = Span(self.config.timeout);
                warn!(transport = %self.name, program = ?self.arguments.program(), %limit, "program hangs, ended");
                told(format!("not done after {limit}, ended"))
            }
            End::CutOff => told("ended because deliveries are being stopped".to_owned()),
        }
    }
}
