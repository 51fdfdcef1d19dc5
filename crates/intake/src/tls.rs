//! What a listener needs for TLS: certificate and key, read from files at the start
//! and at each reload.
//!
//! An error names the file and the reason. The key must never be shown, not even in
//! part.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};

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

/// Why there can be no TLS.
#[derive(Debug, thiserror::Error)]
#[error("TLS: {}: {what}", file.display())]
pub struct TlsError {
    file: PathBuf,
    what: String,
}

impl TlsError {
    fn new(file: &Path, what: impl fmt::Display) -> Self {
        Self { file: file.to_owned(), what: what.to_string() }
    }
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
        let certificate = |error| TlsError::new(&self.certificate, in_words(&error, "certificate"));
        let chain: Vec<_> = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(Iterator::collect)
            .map_err(certificate)?;
        if chain.is_empty() {
            return Err(certificate(pem::Error::NoItemsFound));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|error| TlsError::new(&self.key, in_words(&error, "private key")))?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(|error| {
                let what = format!("the key of {} does not go with it: {error}", self.key.display());
                TlsError::new(&self.certificate, what)
            })?;
        Ok(Identity(Arc::new(config)))
    }
}

fn in_words(error: &pem::Error, what: &str) -> String {
    match error {
        pem::Error::Io(error) => format!("can't be read: {error}"),
        pem::Error::NoItemsFound => format!("there is no {what} in it (expected PEM)"),
        error => format!("is no {what}: {error}"),
    }
}

/// A certificate with its key.
#[derive(Clone)]
pub struct Identity(Arc<ServerConfig>);

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
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.identity.lock().unwrap_or_else(PoisonError::into_inner).0)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Writes a certificate for `mx.example` and its key into `folder`; gives its DER.
    pub(crate) fn identity(folder: &Path) -> (TlsConfig, CertificateDer<'static>) {
        let made = rcgen::generate_simple_self_signed(["mx.example".to_owned()]).unwrap();
        let tls = TlsConfig { certificate: folder.join("cert.pem"), key: folder.join("key.pem") };
        std::fs::write(&tls.certificate, made.cert.pem()).unwrap();
        std::fs::write(&tls.key, made.signing_key.serialize_pem()).unwrap();
        (tls, made.cert.der().clone())
    }

    #[test]
    fn what_is_wrong_with_a_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (tls, _) = identity(folder.path());
        tls.read().unwrap();
        let (empty, gone) = (folder.path().join("empty"), folder.path().join("gone"));
        std::fs::write(&empty, "no PEM\n").unwrap();
        let other = tempfile::tempdir().unwrap();
        let (other, _) = identity(other.path());
        let with =
            |certificate: &Path, key: &Path| TlsConfig { certificate: certificate.into(), key: key.into() };
        for (tls, file, what) in [
            (with(&gone, &tls.key), &gone, "can't be read: No such file"),
            (with(&tls.certificate, &gone), &gone, "can't be read: No such file"),
            (with(&empty, &tls.key), &empty, "no certificate in it"),
            (with(&tls.key, &tls.key), &tls.key, "no certificate in it"),
            (with(&tls.certificate, &tls.certificate), &tls.certificate, "no private key in it"),
            (with(&tls.certificate, &other.key), &tls.certificate, "does not go with it"),
        ] {
            let error = tls.read().err().expect("it is refused").to_string();
            assert!(
                error.starts_with(&format!("TLS: {}: ", file.display())) && error.contains(what),
                "{error}"
            );
        }
    }
}
