//! From the greeting to where mail can go: hello, STARTTLS, hello again, AUTH.
//!
//! What was learned before TLS is forgotten under it (RFC 3207 section 4.2). A
//! password must never be said, nor mail sent, on a connection that is not as it has
//! to be.

use std::sync::Arc;

use lazaret_envelope::Line;

use super::connection::{News, State};
use super::login::{Conversation, Login};
use super::{Client, Offer, ProtocolError, Step};
use crate::Dialect;
use crate::reply::{Reply, ReplyParser};

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

/// The next hop waits for the handshake. Behind it nothing that was read before may
/// be looked at. Should it fail: [`Client::broken`].
#[derive(Debug)]
pub struct Secure<'c> {
    client: &'c mut Client,
}

impl<'c> Secure<'c> {
    pub(super) fn new(client: &'c mut Client) -> Self {
        Self { client }
    }

    /// The handshake is over; whether it has `verified` who the next hop is.
    pub fn established(self, verified: bool) {
        let client = self.client;
        client.privacy = if verified { Privacy::Verified } else { Privacy::Encrypted };
        client.offer = Offer::default();
        client.replies = ReplyParser::default();
        client.hello();
    }
}

impl Client {
    /// RFC 3207 section 4.2: hello is said again under TLS.
    pub(super) fn hello(&mut self) {
        let verb = match self.dialect {
            Dialect::Smtp => "EHLO",
            Dialect::Lmtp => "LHLO",
        };
        self.say(&format!("{verb} {}", self.hostname), State::Hello);
    }

    /// It has said what it offers.
    pub(super) fn offered(&mut self, offer: Offer) {
        let verified = self.privacy == Privacy::Verified;
        self.offer = Offer { requiretls: offer.requiretls && verified, ..offer };
        match (self.privacy, self.setup.starttls) {
            (Privacy::Plain, StartTls::IfOffered | StartTls::Always) if offer.starttls => {
                self.say("STARTTLS", State::StartTls);
            }
            (Privacy::Plain, StartTls::Always) => self.useless(Refusal::NoTls),
            _ => self.log_in(),
        }
    }

    /// The answer to STARTTLS.
    pub(super) fn starttls_reply(&mut self, reply: Reply) -> Result<(), ProtocolError> {
        match reply.code {
            220 => self.state = State::Secure,
            400..600 if self.setup.starttls == StartTls::IfOffered => self.log_in(),
            _ => return self.refused(Step::StartTls, reply),
        }
        Ok(())
    }

    fn log_in(&mut self) {
        let Some(login) = self.setup.login.clone() else {
            self.state = State::Ready;
            return;
        };
        let user = login.user();
        if self.privacy == Privacy::Plain && !self.setup.login_unencrypted {
            return self.useless(Refusal::NotPrivate { user });
        }
        match login.begin(&self.offer) {
            Some(mut conversation) => {
                self.outbox.0.extend_from_slice(&conversation.command());
                self.state = State::Auth(conversation);
            }
            None => self.useless(Refusal::NoLogin { user }),
        }
    }

    /// The answer to AUTH or to one of its responses.
    pub(super) fn auth_reply(
        &mut self,
        mut conversation: Conversation,
        reply: Reply,
    ) -> Result<(), ProtocolError> {
        let Some(login) = self.setup.login.clone() else { return Ok(()) };
        let reply = login.hide(&self.offer, reply).shortened();
        match (reply.code, reply.code / 100) {
            (334, _) => match conversation.respond() {
                Some(response) => {
                    self.outbox.0.extend_from_slice(&response);
                    self.state = State::Auth(conversation);
                    Ok(())
                }
                None => Err(ProtocolError::Unexpected { step: Step::Auth, reply }),
            },
            (_, 2) => {
                self.state = State::Ready;
                Ok(())
            }
            (_, 4 | 5) => {
                self.useless(Refusal::Login { user: login.user(), reply });
                Ok(())
            }
            _ => Err(ProtocolError::Unexpected { step: Step::Auth, reply }),
        }
    }

    /// Says good-bye.
    pub(super) fn useless(&mut self, why: Refusal) {
        self.news = Some(News::Refused(why));
        self.say("QUIT", State::Quit);
    }
}
