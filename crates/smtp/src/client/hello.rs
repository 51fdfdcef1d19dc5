//! From the greeting to where mail can go: hello, STARTTLS, hello again, AUTH.
//!
//! What was learned before TLS is forgotten under it (RFC 3207 section 4.2). A
//! password must never be said, nor mail sent, on a connection that is not as it has
//! to be.

use super::connection::{Client, News, State};
use super::login::Conversation;
use super::setup::{Privacy, Refusal, StartTls};
use super::{Offer, ProtocolError, Step};
use crate::Dialect;
use crate::reply::Reply;

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
