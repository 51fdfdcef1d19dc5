//! How connections to next hops are kept private, and who we are there: what the
//! configuration names, read from its files.
//!
//! Read at the start and at each reload, so that a certificate or a password can be
//! replaced. A password must never come from a file that everybody may read, nor be
//! shown.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lazaret_smtp::client::{Login, Secret, Setup, StartTls};
use lazaret_tls::{PeerName, TlsError, Trust};
use rustix::fs::{Mode, OFlags};

use super::config::{SmtpConfig, TlsLevel};
use crate::endpoint::{Endpoint, Place};

/// Longest password in bytes.
const PASSWORD_BYTES_MAX: usize = 1024;

/// The bits of a mode that let others read a file, write it or run it.
const OTHERS: u32 = 0o007;

/// What a Unix socket's certificate bears where nothing else is said.
const NOBODY: &str = "localhost";

/// What a transport knows of privacy.
#[derive(Debug, Clone)]
pub(crate) struct Security {
    level: TlsLevel,
    trust: Trust,
    name: Option<PeerName>,
    login: Option<Arc<Login>>,
    login_unencrypted: bool,
}

/// What is wrong with a file that a transport needs.
#[derive(Debug, thiserror::Error)]
pub enum SecurityError {
    /// The issuers.
    #[error("tls_ca: {0}")]
    Issuers(TlsError),
    /// The password.
    #[error("password_file: {}: {what}", file.display())]
    Password {
        /// Which file.
        file: PathBuf,
        /// What is wrong.
        what: String,
    },
}

impl SecurityError {
    /// The key that names the file.
    pub(crate) fn key(&self) -> &'static str {
        match self {
            Self::Issuers(_) => "tls_ca",
            Self::Password { .. } => "password_file",
        }
    }
}

impl Security {
    /// Reads the files that are named.
    pub(crate) fn read(config: &SmtpConfig) -> Result<Self, SecurityError> {
        let trust = match config.tls {
            TlsLevel::Verified => Trust::read(&config.tls_ca).map_err(SecurityError::Issuers)?,
            TlsLevel::Off | TlsLevel::Opportunistic | TlsLevel::Required => Trust::blind(),
        };
        let login = match (&config.user, &config.password_file) {
            (Some(user), Some(file)) => Login::new(user, password(file)?).map(Arc::new),
            _ => None,
        };
        Ok(Self {
            level: config.tls,
            trust,
            name: config.tls_name.as_deref().and_then(PeerName::parse),
            login,
            login_unencrypted: config.auth_unencrypted,
        })
    }

    /// What has to be done on a connection to this place before mail goes.
    pub(super) fn setup(&self, place: &Place) -> Setup {
        let starttls = match self.level {
            TlsLevel::Off => StartTls::Never,
            TlsLevel::Opportunistic => StartTls::IfOffered,
            TlsLevel::Required | TlsLevel::Verified => StartTls::Always,
        };
        let login_unencrypted = self.login_unencrypted && place.is_local();
        Setup { starttls, login: self.login.clone(), login_unencrypted }
    }

    /// The same without TLS, where mail may go so: for a next hop that offers TLS and
    /// can't do it.
    pub(super) fn setup_without_tls(&self, place: &Place) -> Option<Setup> {
        let may = self.level == TlsLevel::Opportunistic;
        may.then(|| Setup { starttls: StartTls::Never, ..self.setup(place) })
    }

    /// Whose certificates are believed.
    pub(super) fn trust(&self) -> &Trust {
        &self.trust
    }

    /// What the certificate of a next hop must bear.
    pub(super) fn name_of(&self, endpoint: &Endpoint) -> Option<PeerName> {
        self.name.clone().or_else(|| PeerName::parse(endpoint.host().unwrap_or(NOBODY)))
    }
}

fn password(file: &Path) -> Result<Secret, SecurityError> {
    let wrong =
        |what: &dyn fmt::Display| SecurityError::Password { file: file.to_owned(), what: what.to_string() };
    let text = read(file)
        .map_err(|error| wrong(&format_args!("can't be read: {error}")))?
        .map_err(|what| wrong(&what))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    let secret = Secret::new(line).filter(|_| !line.contains(['\r', '\n']));
    secret.ok_or_else(|| wrong(&"must have one line with the password, and nothing else"))
}

/// The text of a file that others may not read, or what is wrong with it.
fn read(file: &Path) -> io::Result<Result<String, String>> {
    // Not to wait for somebody who would write to a pipe of that name.
    let opened = rustix::fs::open(file, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty());
    let mut opened = File::from(opened?);
    let metadata = opened.metadata()?;
    if !metadata.is_file() {
        return Ok(Err("is no file".into()));
    }
    let mode = metadata.permissions().mode();
    if mode & OTHERS != 0 {
        let what = format!("is open to everybody (mode {:04o}): chmod 0640, or less", mode & 0o7777);
        return Ok(Err(what));
    }
    let mut text = Vec::new();
    (&mut opened).take(PASSWORD_BYTES_MAX as u64 + 2).read_to_end(&mut text)?;
    if text.len() > PASSWORD_BYTES_MAX + 1 {
        return Ok(Err(format!("is longer than {PASSWORD_BYTES_MAX} bytes")));
    }
    Ok(String::from_utf8(text).map_err(|_| "is not UTF-8".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn config(text: &str) -> SmtpConfig {
        toml::from_str(&format!("next_hops = ['mx.example:25']\n{text}")).unwrap()
    }

    #[test]
    fn a_password_is_read_from_a_file_that_is_not_open_to_everybody() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        let text = format!("tls = 'required'\nuser = 'alma'\npassword_file = {file:?}");
        let error = || Security::read(&config(&text)).map(drop).unwrap_err().to_string();
        assert!(error().contains("/password: can't be read: No such file"), "{}", error());
        let long = "x".repeat(PASSWORD_BYTES_MAX + 1) + "\n";
        for (content, mode, expected) in [
            ("open sesame\n", 0o644, Some("is open to everybody (mode 0644): chmod 0640")),
            ("open sesame\n", 0o602, Some("mode 0602")),
            ("\n", 0o600, Some("one line with the password")),
            ("a\nb\n", 0o600, Some("one line with the password")),
            ("a\0b", 0o600, Some("one line with the password")),
            (&long, 0o600, Some("is longer than 1024 bytes")),
            (&long[1..], 0o600, None),
            ("open sesame", 0o640, None),
            ("open sesame\r\n", 0o400, None),
        ] {
            fs::write(&file, content).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            match expected {
                Some(expected) => {
                    let error = error();
                    assert!(error.contains(expected) && error.starts_with("password_file: "), "{error}");
                    assert!(!error.contains("sesame"), "{error}");
                }
                None => {
                    let security = Security::read(&config(&text)).unwrap();
                    assert!(!format!("{security:?}").contains("sesame"));
                    assert!(security.login.is_some());
                }
            }
            fs::remove_file(&file).unwrap();
        }
        fs::create_dir(&file).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o700)).unwrap();
        assert!(error().ends_with("is no file"), "{}", error());
    }

    #[test]
    fn issuers_are_read_only_where_they_matter() {
        let gone = "tls_ca = '/nowhere/ca.pem'\n";
        for level in ["off", "opportunistic", "required"] {
            assert!(Security::read(&config(&format!("{gone}tls = '{level}'"))).is_ok());
        }
        let error = Security::read(&config(&format!("{gone}tls = 'verified'"))).map(drop).unwrap_err();
        assert_eq!(
            error.to_string(),
            "tls_ca: TLS: /nowhere/ca.pem: can't be read: No such file or directory (os error 2)"
        );
    }

    #[test]
    fn the_password_goes_unencrypted_to_this_host_only() {
        let security = Security::read(&config("auth_unencrypted = true")).unwrap();
        for (place, local) in [
            (Place::Tcp("127.0.0.9:25".parse().unwrap()), true),
            (Place::Tcp("[::ffff:127.0.0.1]:25".parse().unwrap()), true),
            (Place::Tcp("192.0.2.1:25".parse().unwrap()), false),
            (Place::Unix("/x".into()), true),
        ] {
            assert_eq!(security.setup(&place).login_unencrypted, local, "{place}");
            assert!(security.setup_without_tls(&place).is_none(), "nothing to fall back to");
        }
        let place = Place::Unix("/x".into());
        for (level, starttls, falls_back) in [
            ("off", StartTls::Never, false),
            ("opportunistic", StartTls::IfOffered, true),
            ("required", StartTls::Always, false),
        ] {
            let security = Security::read(&config(&format!("tls = '{level}'"))).unwrap();
            assert_eq!(security.setup(&place).starttls, starttls);
            assert_eq!(security.setup_without_tls(&place).is_some(), falls_back);
            assert!(!security.setup(&place).login_unencrypted);
        }
    }

    #[test]
    fn a_certificate_must_bear_what_is_configured_or_the_host() {
        let name = |text: &str, next_hop: &str| {
            let security = Security::read(&config(text)).unwrap();
            security.name_of(&Endpoint::parse(next_hop).unwrap())
        };
        assert_eq!(name("", "mx.example:25"), PeerName::parse("mx.example"));
        assert_eq!(name("", "[::1]:25"), PeerName::parse("::1"));
        assert_eq!(name("tls_name = 'other.example'", "mx.example:25"), PeerName::parse("other.example"));
        assert!(name("", "unix:/x").is_some());
    }
}
