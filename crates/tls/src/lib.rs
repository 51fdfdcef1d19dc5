//! TLS for both sides of SMTP: what is read from PEM files, and encrypted bytes over
//! whatever carries them.
//!
//! A listener has an [`Identity`], a client a [`Trust`]; a [`Channel`] is the same to
//! both once the handshake is over. Sockets and their waiting are the caller's: each
//! call is given a deadline to pass on. This crate is the only one that names rustls.
//! It must never show a key, nor take bytes for encrypted that were not.

#![forbid(unsafe_code)]

mod channel;
mod files;
mod identity;
mod trust;

pub use channel::{Carrier, Channel};
pub use files::TlsError;
pub use identity::Identity;
pub use trust::{PeerName, Trust};
