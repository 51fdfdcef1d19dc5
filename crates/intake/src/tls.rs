//! What a listener needs for TLS: certificate and key, read from files at the start
//! and at each reload.
//!
//! An error names the file and the reason. The key must never be shown, not even in
//! part.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

pub use lazaret_tls::{Identity, TlsError};

/// `tls` of a `[[listen]]`. Relative paths start from the folder of the
/// configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// A PEM file with the certificate, and those of its issuers behind it.
    pub certificate: PathBuf,
    /// A PEM file with the certificate's private key.
    pub key: PathBuf,
}

impl TlsConfig {
    /// The same with absolute paths.
    #[must_use]
    pub fn based_on(&self, base: &Path) -> Self {
        Self { certificate: base.join(&self.certificate), key: base.join(&self.key) }
    }

    /// Reads both files, and holds them against each other.
    ///
    /// # Errors
    /// A file can't be read, holds nothing of its kind, or the two don't belong
    /// together.
    pub fn read(&self) -> Result<Identity, TlsError> {
        Identity::read(&self.certificate, &self.key)
    }
}

/// The identity that new sessions use; all clones share it.
#[derive(Clone)]
pub(crate) struct Tls {
    config: TlsConfig,
    identity: Arc<Mutex<Identity>>,
}

impl Tls {
    /// Reads the files for the first time.
    pub(crate) fn new(config: &TlsConfig) -> Result<Self, TlsError> {
        Ok(Self { config: config.clone(), identity: Arc::new(Mutex::new(config.read()?)) })
    }

    /// Reads the files again; nothing changes yet.
    pub(crate) fn read(&self) -> Result<Identity, TlsError> {
        self.config.read()
    }

    /// Sessions that begin from now on use `identity`.
    pub(crate) fn replace(&self, identity: Identity) {
        *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = identity;
    }

    /// What a session that begins now uses.
    pub(crate) fn current(&self) -> Identity {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use rustls::pki_types::CertificateDer;

    /// Writes a certificate for `mx.example` and its key into `folder`; gives its DER.
    pub(crate) fn identity(folder: &Path) -> (TlsConfig, CertificateDer<'static>) {
        let made = rcgen::generate_simple_self_signed(["mx.example".to_owned()]).unwrap();
        let tls = TlsConfig { certificate: folder.join("cert.pem"), key: folder.join("key.pem") };
        std::fs::write(&tls.certificate, made.cert.pem()).unwrap();
        std::fs::write(&tls.key, made.signing_key.serialize_pem()).unwrap();
        (tls, made.cert.der().clone())
    }
}
