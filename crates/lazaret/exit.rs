//! How commands end: exit statuses, and errors as a person wants to read them.
//!
//! The statuses are those of sysexits(3) where it has one. A failure must never
//! end without a sentence that says what to do.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use lazaret_delivery::BounceError;
use lazaret_spool::{OpenError, OperatorError, Severity, SpoolError, TakeError};
use serde::Serialize;

/// `run --drain`: mail is left waiting or was deferred; `check`: something is wrong.
pub const LEFT_OVER: u8 = 1;
/// EX_USAGE: the command line is wrong.
pub const USAGE: u8 = 64;
/// EX_NOINPUT: what was named is not there.
pub const NO_INPUT: u8 = 66;
/// EX_OSERR: the operating system refuses something that is always needed.
pub const OS: u8 = 71;
/// EX_CANTCREAT: a file can't be made.
pub const CANT_CREATE: u8 = 73;
/// EX_IOERR: the spool can't keep its promises. A service manager should not
/// restart the daemon at once.
pub const BROKEN: u8 = 74;
/// EX_TEMPFAIL: try again later.
pub const TEMPORARY: u8 = 75;
/// EX_NOPERM: this user may not do this.
pub const FORBIDDEN: u8 = 77;
/// EX_CONFIG: the configuration is wrong.
pub const CONFIG: u8 = 78;

/// Why a command failed, and with which status.
#[derive(Debug, Clone)]
pub struct Failure {
    status: u8,
    text: String,
}

impl Failure {
    /// A failure with a sentence of its own.
    pub fn new(status: u8, text: impl fmt::Display) -> Self {
        Self { status, text: text.to_string() }
    }

    /// The sentence.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The exit status.
    pub fn status(&self) -> u8 {
        self.status
    }

    /// Says what went wrong on standard error.
    pub fn report(&self) -> ExitCode {
        // Where nobody reads standard error the status must do.
        let _ = writeln!(io::stderr(), "lazaret: {}", self.text);
        ExitCode::from(self.status)
    }
}

/// The status for what the operating system refused.
fn refused(error: &io::Error) -> u8 {
    if error.kind() == io::ErrorKind::PermissionDenied { FORBIDDEN } else { OS }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let status = match error {
            OpenError::Missing { .. } => NO_INPUT,
            OpenError::Version { .. } => CONFIG,
            OpenError::Io { ref source, .. } => refused(source),
        };
        Self::new(status, error)
    }
}

impl From<TakeError> for Failure {
    fn from(error: TakeError) -> Self {
        let status = match error {
            TakeError::Held { .. } => TEMPORARY,
            TakeError::Io { ref source, .. } => refused(source),
        };
        Self::new(status, error)
    }
}

impl From<SpoolError> for Failure {
    fn from(error: SpoolError) -> Self {
        let status = match error.severity() {
            Severity::NoRoom | Severity::Gone => TEMPORARY,
            Severity::Forbidden => FORBIDDEN,
            Severity::Broken => BROKEN,
        };
        Self::new(status, error)
    }
}

impl From<OperatorError> for Failure {
    fn from(error: OperatorError) -> Self {
        match error {
            OperatorError::Spool(error) => error.into(),
            OperatorError::Missing(_) => Self::new(NO_INPUT, error),
            _ => Self::new(LEFT_OVER, error),
        }
    }
}

impl From<BounceError> for Failure {
    fn from(error: BounceError) -> Self {
        match error {
            BounceError::Spool(error) => error.into(),
            BounceError::Unreadable { .. } | BounceError::Nobody(_) => Self::new(LEFT_OVER, error),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(OS, error)
    }
}

/// Prints a text to standard output. A reader that has gone away (a pager that
/// was left) is no failure.
pub fn print(text: impl fmt::Display) -> Result<(), Failure> {
    match write!(io::stdout().lock(), "{text}").and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(OS, format!("failed to write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints a value as JSON.
pub fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    print(serde_json::to_string_pretty(value).expect("numbers and strings are JSON") + "\n")
}
