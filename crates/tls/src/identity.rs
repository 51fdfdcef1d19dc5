//! Who a listener is: a certificate with its private key.
//!
//! The two are held against each other when they are read. The key must never be
//! shown, not even in part.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;

use crate::files::{TlsError, certificates};

/// A certificate with its key. Clones share it.
#[derive(Clone)]
pub struct Identity(pub(crate) Arc<ServerConfig>);

impl Identity {
    /// Reads both from PEM files; behind the certificate may stand those of its
    /// issuers.
    ///
    /// # Errors
    /// A file can't be read, holds nothing of its kind, or the two don't belong
    /// together.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let chain = certificates(certificate)?;
        let private =
            PrivateKeyDer::from_pem_file(key).map_err(|error| TlsError::lacks(key, "private key", &error))?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private))
            .map_err(|error| {
                let what = format!("the key of {} does not go with it: {error}", key.display());
                TlsError::new(certificate, what)
            })?;
        Ok(Self(Arc::new(config)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::tests::made;

    #[test]
    fn what_is_wrong_with_a_file_is_named() {
        let (one, other) = (made("mx.example"), made("mx.example"));
        let (certificate, key) = (one.path("cert.pem"), one.path("key.pem"));
        Identity::read(&certificate, &key).map(drop).unwrap();
        let (empty, gone) = (one.path("empty"), one.path("gone"));
        std::fs::write(&empty, "no PEM\n").unwrap();
        for (certificate, key, file, what) in [
            (&gone, &key, &gone, "can't be read: No such file"),
            (&certificate, &gone, &gone, "can't be read: No such file"),
            (&empty, &key, &empty, "no certificate in it"),
            (&key, &key, &key, "no certificate in it"),
            (&certificate, &certificate, &certificate, "no private key in it"),
            (&certificate, &other.path("key.pem"), &certificate, "does not go with it"),
        ] {
            let error = Identity::read(certificate, key).err().expect("it is refused").to_string();
            let start = format!("TLS: {}: ", file.display());
            assert!(error.starts_with(&start) && error.contains(what), "{error}");
        }
    }
}
