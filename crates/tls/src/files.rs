//! PEM files, and what is wrong with one in words.
//!
//! An error names the file and the reason. What is in a file must never be shown.

use std::fmt;
use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};

/// Why there can be no TLS.
#[derive(Debug, thiserror::Error)]
#[error("TLS: {}: {what}", file.display())]
pub struct TlsError {
    file: PathBuf,
    what: String,
}

impl TlsError {
    pub(crate) fn new(file: &Path, what: impl fmt::Display) -> Self {
        Self { file: file.to_owned(), what: what.to_string() }
    }

    /// A file that holds no `thing`.
    pub(crate) fn lacks(file: &Path, thing: &str, error: &pem::Error) -> Self {
        match error {
            pem::Error::Io(error) => Self::new(file, format_args!("can't be read: {error}")),
            pem::Error::NoItemsFound => {
                Self::new(file, format_args!("there is no {thing} in it (expected PEM)"))
            }
            error => Self::new(file, format_args!("is no {thing}: {error}")),
        }
    }
}

/// All certificates of a file, at least one.
pub(crate) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let lacks = |error| TlsError::lacks(file, "certificate", &error);
    let found: Vec<_> = CertificateDer::pem_file_iter(file).and_then(Iterator::collect).map_err(lacks)?;
    if found.is_empty() { Err(lacks(pem::Error::NoItemsFound)) } else { Ok(found) }
}
