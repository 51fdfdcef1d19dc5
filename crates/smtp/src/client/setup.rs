//! What a connection has to be before mail goes over it, and why it may be of no use.
//!
//! A refusal must never tell a password.

use std::sync::Arc;

use lazaret_envelope::Line;

use super::Step;
use super::login::Login;
use crate::reply::Reply;

/// What has to be done before mail goes over a connection.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// When TLS is asked for.
    pub starttls: StartTls,
    /// Who we are to the next hop.
    pub login: Option<Arc<Login>>,
    /// The password may be said without TLS: nobody can listen.
    pub login_unencrypted: bool,
}

/// When STARTTLS is said (RFC 3207).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StartTls {
    /// Never.
    #[default]
    Never,
    /// Where it is offered. Where it is refused all the same, it goes on without.
    IfOffered,
    /// In any case: without TLS the connection is of no use.
    Always,
}

/// How far others are kept out of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Privacy {
    /// Not at all.
    Plain,
    /// Who only listens.
    Encrypted,
    /// Who is not the next hop.
    Verified,
}

/// Why a connection is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The next hop does not want it.
    #[error("refused at {step}: {reply}")]
    Reply {
        /// At which step.
        step: Step,
        /// What it said.
        reply: Reply,
    },
    /// There has to be TLS. Somebody between may have taken the offer away.
    #[error("does not offer STARTTLS, and no mail goes there without TLS")]
    NoTls,
    /// It has to know who we are.
    #[error("does not offer AUTH PLAIN or AUTH LOGIN, and user {user:?} was to log in")]
    NoLogin {
        /// Who was to log in.
        user: Line,
    },
    /// It has to know who we are, and others could listen.
    #[error("is not encrypted, and the password of user {user:?} is not said so")]
    NotPrivate {
        /// Who was to log in.
        user: Line,
    },
    /// It does not know us.
    #[error("refused the login of user {user:?}: {reply}")]
    Login {
        /// Who was to log in.
        user: Line,
        /// What it said.
        reply: Reply,
    },
}
