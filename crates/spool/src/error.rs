//! What can go wrong with a spool, and how badly.
//!
//! An error names the operation and the thing. It must never be answered by
//! trying an fsync again: after a failed one the kernel calls the pages clean.

use std::io;

use rustix::io::Errno;

use crate::layout::Dir;

/// What an error means for whoever meets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// No room on the disk (ENOSPC, EDQUOT) or no descriptor left: try later.
    NoRoom,
    /// The file is not there any more: somebody else moved it.
    Gone,
    /// The caller may not do this (EACCES, EPERM).
    Forbidden,
    /// Nothing that the spool promises can be kept: stop.
    Broken,
}

/// An operation on the spool failed.
#[derive(Debug, thiserror::Error)]
#[error("failed to {operation}: {source}")]
pub struct SpoolError {
    operation: String,
    #[source]
    source: io::Error,
    /// A sync of a directory failed: nobody knows what is durable now.
    unsure: bool,
}

impl SpoolError {
    /// An error of an operation such as `rename incoming/a to claimed/1/b`.
    pub(crate) fn new(operation: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self { operation: operation.into(), source: source.into(), unsure: false }
    }

    /// An error that leaves it open what is durable.
    pub(crate) fn unsure(self) -> Self {
        Self { unsure: true, ..self }
    }

    /// A directory is not where it was any more.
    pub(crate) fn displaced(dir: Dir) -> Self {
        let source = io::Error::other("it was removed or renamed away; put it back and start again");
        Self::new(format!("find {dir}"), source).unsure()
    }

    /// How bad it is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        if self.unsure {
            return Severity::Broken;
        }
        match self.source.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOSPC | Errno::DQUOT | Errno::MFILE | Errno::NFILE) => Severity::NoRoom,
            Some(Errno::NOENT) => Severity::Gone,
            Some(Errno::ACCESS | Errno::PERM) => Severity::Forbidden,
            _ => Severity::Broken,
        }
    }

    /// Whether it is for want of descriptors, in this process or on the machine,
    /// and not of room on the disk.
    #[must_use]
    pub fn is_out_of_files(&self) -> bool {
        let errno = self.source.raw_os_error().map(Errno::from_raw_os_error);
        matches!(errno, Some(Errno::MFILE | Errno::NFILE))
    }

    /// The error of the operating system.
    #[must_use]
    pub fn io(&self) -> &io::Error {
        &self.source
    }
}

/// Adds the operation to an error of the operating system.
pub(crate) trait Context<T> {
    /// `operation` completes the sentence "failed to …".
    fn context<S: Into<String>>(self, operation: impl FnOnce() -> S) -> Result<T, SpoolError>;
}

impl<T, E: Into<io::Error>> Context<T> for Result<T, E> {
    fn context<S: Into<String>>(self, operation: impl FnOnce() -> S) -> Result<T, SpoolError> {
        self.map_err(|error| SpoolError::new(operation(), error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_as_bad_as_what_they_leave_in_doubt() {
        for (errno, severity, files) in [
            (Errno::NOSPC, Severity::NoRoom, false),
            (Errno::DQUOT, Severity::NoRoom, false),
            (Errno::MFILE, Severity::NoRoom, true),
            (Errno::NFILE, Severity::NoRoom, true),
            (Errno::NOENT, Severity::Gone, false),
            (Errno::ACCESS, Severity::Forbidden, false),
            (Errno::IO, Severity::Broken, false),
            (Errno::ROFS, Severity::Broken, false),
        ] {
            let error = || SpoolError::new("x", errno);
            assert_eq!((error().severity(), error().is_out_of_files()), (severity, files), "{errno}");
            assert_eq!(error().unsure().severity(), Severity::Broken, "{errno}, a directory's sync");
        }
    }
}
