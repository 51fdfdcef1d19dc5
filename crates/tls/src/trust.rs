//! Whom a client believes: the issuers of a file, or anybody.
//!
//! Without issuers TLS keeps out who only listens, and nobody who can put himself
//! between (RFC 7435). What is encrypted so must never be called verified.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{self, CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::files::{TlsError, certificates};

/// Whose certificates are taken. Clones share it, and what sessions may be resumed.
#[derive(Clone)]
pub struct Trust {
    pub(crate) config: Arc<ClientConfig>,
    verifies: bool,
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("verifies", &self.verifies).finish_non_exhaustive()
    }
}

/// What a server's certificate must bear: a host's name or an IP address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerName(pub(crate) ServerName<'static>);

impl PeerName {
    /// Reads `mx.example.org`, `192.0.2.1` or `2001:db8::1`; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        ServerName::try_from(text.to_owned()).ok().map(Self)
    }
}

impl Trust {
    /// Only certificates that one of the issuers in a PEM file has signed, for the
    /// name that is asked for (RFC 5280, RFC 6125).
    ///
    /// # Errors
    /// The file can't be read, or there is no issuer's certificate in it.
    pub fn read(file: &Path) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        // A system's collection may hold some that are too odd; each of them is one
        // less to be believed.
        if let (0, odd) = roots.add_parsable_certificates(certificates(file)?) {
            return Err(TlsError::new(file, format_args!("none of its {odd} certificates can be used")));
        }
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::new(file, error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { config: Arc::new(config), verifies: true })
    }

    /// Any certificate of anybody.
    #[must_use]
    pub fn blind() -> Self {
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("ring has suites for TLS 1.2 and 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
            .with_no_client_auth();
        Self { config: Arc::new(config), verifies: false }
    }

    /// Whether who has passed is who he says.
    #[must_use]
    pub const fn verifies(&self) -> bool {
        self.verifies
    }
}

/// Takes every certificate, but no handshake that its key has not signed.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::tests::made;

    #[test]
    fn what_is_wrong_with_a_file_of_issuers_is_named() {
        let folder = made("mx.example");
        assert!(Trust::read(&folder.path("cert.pem")).unwrap().verifies());
        let odd = folder.path("odd.pem");
        std::fs::write(&odd, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        for (file, what) in [
            (folder.path("gone"), "can't be read: No such file"),
            (folder.path("key.pem"), "no certificate in it"),
            (odd, "none of its 1 certificates can be used"),
        ] {
            let error = Trust::read(&file).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("TLS: {}: ", file.display())) && error.contains(what),
                "{error}"
            );
        }
    }

    #[test]
    fn names_are_hosts_or_addresses() {
        for text in ["mx.example.org", "localhost", "192.0.2.1", "2001:db8::1"] {
            assert!(PeerName::parse(text).is_some(), "{text}");
        }
        for text in ["", "a b", "mx.example.org:25", "[::1]", "-x."] {
            assert!(PeerName::parse(text).is_none(), "{text}");
        }
    }
}
