//! Why a message is not in a Maildir.
//!
//! A failure of the disk must never be taken for a damaged message, nor the other
//! way round.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::parcel::Damaged;

/// An operation on a Maildir failed.
#[derive(Debug)]
pub(super) struct FolderError {
    operation: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl fmt::Display for FolderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed to {} {}: {}", self.operation, self.path.display(), self.source)
    }
}

/// Why there is no file in `new/`.
#[derive(Debug)]
pub(super) enum Failure {
    /// It may work later.
    Folder(FolderError),
    /// The bytes are not those that were accepted.
    Damaged(Damaged),
}

/// Adds the operation and the path to an error of the operating system.
pub(super) fn at<T>(operation: &'static str, path: &Path, result: io::Result<T>) -> Result<T, Failure> {
    result.map_err(|source| Failure::Folder(FolderError { operation, path: path.to_owned(), source }))
}
