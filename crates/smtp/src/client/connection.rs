//! The conversation around transactions: greeting, reset, quit, and where in it the
//! client is.
//!
//! A connection ends as soon as the next hop says 421 or something that makes
//! no sense. Commands must never be sent, nor replies believed, behind that.

use lazaret_envelope::Line;

use super::exchange::{Exchange, Progress};
use super::login::{Bytes, Conversation};
use super::setup::{Privacy, Refusal, Setup};
use super::{Do, Finished, Mail, Offer, ProtocolError, Step};
use crate::Dialect;
use crate::reply::{Reply, ReplyParser};

/// One connection to a next hop.
#[derive(Debug)]
pub struct Client {
    pub(super) hostname: Line,
    pub(super) dialect: Dialect,
    pub(super) setup: Setup,
    pub(super) privacy: Privacy,
    pub(super) offer: Offer,
    pub(super) state: State,
    pub(super) replies: ReplyParser,
    /// What is to be sent before anything is received.
    pub(super) outbox: Bytes,
    /// What the caller has to be told before anything else.
    pub(super) news: Option<News>,
}

/// Where in the conversation the client is.
#[derive(Debug)]
pub(super) enum State {
    /// Waits for the greeting.
    Greeting,
    /// Waits for the answer to EHLO or LHLO.
    Hello,
    /// Waits for the answer to HELO.
    Helo,
    /// Waits for the answer to STARTTLS.
    StartTls,
    /// Waits for the handshake of TLS.
    Secure,
    /// Waits for the answer to AUTH or to a response of its conversation.
    Auth(Conversation),
    /// Waits for the caller.
    Ready,
    /// Is in a transaction.
    Exchange(Box<Exchange>),
    /// Waits for the answer to RSET.
    Rset,
    /// Waits for the answer to QUIT.
    Quit,
    /// Waits for nothing.
    Closed,
}

/// What can be told.
#[derive(Debug)]
pub(super) enum News {
    Done(Finished),
    Refused(Refusal),
}

impl Client {
    /// A client on a fresh connection, that will call itself `hostname` and gets it
    /// ready as `setup` says.
    #[must_use]
    pub fn new(hostname: &str, dialect: Dialect, setup: Setup) -> Self {
        Self {
            hostname: Line::escaped(hostname),
            dialect,
            setup,
            privacy: Privacy::Plain,
            offer: Offer::default(),
            state: State::Greeting,
            replies: ReplyParser::default(),
            outbox: Bytes::default(),
            news: None,
        }
    }

    /// What the next hop offers, once it has answered the hello.
    #[must_use]
    pub const fn offer(&self) -> Offer {
        self.offer
    }

    /// What to do next.
    // Not an iterator: it never ends, and what it gives borrows the client.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Do<'_> {
        match self.news.take() {
            Some(News::Done(finished)) => return Do::Done(finished),
            Some(News::Refused(why)) => return Do::Refused(why),
            None => {}
        }
        if !self.outbox.is_empty() {
            return Do::Send(std::mem::take(&mut self.outbox));
        }
        match &self.state {
            State::Greeting => Do::Receive(Step::Greeting),
            State::Hello | State::Helo => Do::Receive(Step::Hello),
            State::StartTls => Do::Receive(Step::StartTls),
            State::Secure => Do::Secure(Secure { client: self }),
            State::Auth(_) => Do::Receive(Step::Auth),
            State::Ready => Do::Ready(Ready { client: self }),
            State::Exchange(exchange) if exchange.wants_content() => Do::Content(Content { client: self }),
            State::Exchange(exchange) => Do::Receive(exchange.step()),
            State::Rset => Do::Receive(Step::Rset),
            State::Quit => Do::Receive(Step::Quit),
            State::Closed => Do::Close,
        }
    }

    /// Takes in what the next hop said.
    ///
    /// # Errors
    /// It makes no sense, and the connection is given up as if it had
    /// [`broken`](Self::broken): go on with [`next`](Self::next).
    pub fn received(&mut self, bytes: &[u8]) -> Result<(), ProtocolError> {
        let result = self.replies(bytes);
        if let Err(error) = &result {
            self.broken(&error.to_string());
        }
        result
    }

    /// The connection broke, or a deadline passed; `why` goes into the outcomes
    /// of a transaction that was under way. Go on with [`next`](Self::next).
    pub fn broken(&mut self, why: &str) {
        if let State::Exchange(exchange) = self.close() {
            self.news = Some(News::Done(exchange.broken(&Reply::new(451, [4, 4, 2], why).shortened())));
        }
    }

    fn replies(&mut self, mut bytes: &[u8]) -> Result<(), ProtocolError> {
        loop {
            if matches!(self.state, State::Secure) && !bytes.is_empty() {
                return Err(ProtocolError::Injected);
            }
            match self.replies.feed(&mut bytes)? {
                Some(reply) => self.reply(reply)?,
                None => return Ok(()),
            }
        }
    }

    fn reply(&mut self, reply: Reply) -> Result<(), ProtocolError> {
        // RFC 5321 section 3.8: 421 may answer any command, and the server
        // closes the connection behind it.
        if reply.code == 421 {
            self.unavailable(reply.shortened());
            return Ok(());
        }
        if !self.outbox.is_empty() {
            return Err(ProtocolError::Unsolicited(reply.shortened()));
        }
        match &mut self.state {
            State::Greeting if reply.is_positive() => self.hello(),
            State::Greeting => self.refused(Step::Greeting, reply)?,
            State::Hello if reply.is_positive() => self.offered(Offer::parse(&reply)),
            // RFC 5321 section 4.1.1.1: a client falls back to HELO where EHLO
            // is not known.
            State::Hello if reply.is_permanent() && self.dialect == Dialect::Smtp => {
                self.say(&format!("HELO {}", self.hostname), State::Helo);
            }
            State::Helo if reply.is_positive() => self.offered(Offer::default()),
            State::Rset if reply.is_positive() => self.state = State::Ready,
            State::Hello | State::Helo => self.refused(Step::Hello, reply)?,
            State::Rset => self.refused(Step::Rset, reply)?,
            State::StartTls => self.starttls_reply(reply)?,
            State::Auth(conversation) => {
                let conversation = std::mem::take(conversation);
                self.auth_reply(conversation, reply)?;
            }
            State::Exchange(_) => self.exchange_reply(reply.shortened())?,
            State::Ready | State::Secure => return Err(ProtocolError::Unsolicited(reply.shortened())),
            State::Quit => drop(self.close()),
            State::Closed => {}
        }
        Ok(())
    }

    fn exchange_reply(&mut self, reply: Reply) -> Result<(), ProtocolError> {
        let State::Exchange(exchange) = &mut self.state else { return Ok(()) };
        let next = match exchange.reply(&reply, &mut self.outbox.0)? {
            Progress::On => return Ok(()),
            Progress::Over => State::Ready,
            Progress::Reset => State::Rset,
            Progress::Abort => State::Closed,
        };
        if matches!(next, State::Rset) {
            self.outbox.0.extend_from_slice(b"RSET\r\n");
        }
        if let State::Exchange(exchange) = std::mem::replace(&mut self.state, next) {
            self.news = Some(News::Done(exchange.finish(&reply)));
        }
        Ok(())
    }

    /// The next hop closes the connection.
    fn unavailable(&mut self, reply: Reply) {
        let step = match self.state {
            State::Greeting => Step::Greeting,
            State::Hello | State::Helo => Step::Hello,
            State::StartTls => Step::StartTls,
            State::Auth(_) => Step::Auth,
            State::Rset => Step::Rset,
            State::Exchange(_) | State::Secure | State::Ready | State::Quit | State::Closed => Step::Quit,
        };
        match self.close() {
            State::Exchange(exchange) => self.news = Some(News::Done(exchange.finish(&reply))),
            _ if step != Step::Quit => self.news = Some(News::Refused(Refusal::Reply { step, reply })),
            _ => {}
        }
    }

    /// The next hop can't be used: say good-bye.
    pub(super) fn refused(&mut self, step: Step, reply: Reply) -> Result<(), ProtocolError> {
        let reply = reply.shortened();
        if !reply.is_transient() && !reply.is_permanent() {
            return Err(ProtocolError::Unexpected { step, reply });
        }
        self.useless(Refusal::Reply { step, reply });
        Ok(())
    }

    pub(super) fn say(&mut self, command: &str, next: State) {
        self.outbox.0.extend_from_slice(command.as_bytes());
        self.outbox.0.extend_from_slice(b"\r\n");
        self.state = next;
    }

    fn close(&mut self) -> State {
        self.outbox.0.clear();
        std::mem::replace(&mut self.state, State::Closed)
    }
}

/// The next hop waits for the handshake. Behind it nothing that was read before may
/// be looked at. Should it fail: [`Client::broken`].
#[derive(Debug)]
pub struct Secure<'c> {
    client: &'c mut Client,
}

impl Secure<'_> {
    /// The handshake is over; whether it has `verified` who the next hop is.
    pub fn established(self, verified: bool) {
        let client = self.client;
        client.privacy = if verified { Privacy::Verified } else { Privacy::Encrypted };
        client.offer = Offer::default();
        client.replies = ReplyParser::default();
        client.hello();
    }
}

/// The connection is free.
#[derive(Debug)]
pub struct Ready<'c> {
    client: &'c mut Client,
}

impl Ready<'_> {
    /// Starts a transaction.
    pub fn start(self, mail: Mail) {
        let client = self.client;
        let mut exchange = Exchange::new(mail, client.offer, client.dialect);
        if exchange.is_decided() {
            let nobody = Reply::new(451, [4, 3, 0], "no recipient is left");
            client.news = Some(News::Done(exchange.finish(&nobody)));
        } else {
            exchange.send(&mut client.outbox.0);
            client.state = State::Exchange(Box::new(exchange));
        }
    }

    /// Ends the conversation.
    pub fn quit(self) {
        self.client.say("QUIT", State::Quit);
    }
}

/// The next hop waits for content: all [`Mail::size`] bytes of it. To give up, close the
/// connection before the last of them and instead of calling [`finish`](Self::finish):
/// without its end nothing is delivered.
#[derive(Debug)]
pub struct Content<'c> {
    client: &'c mut Client,
}

impl Content<'_> {
    /// Appends the wire form of the next bytes of content to `wire`, for the
    /// caller to send: at most two bytes for each.
    pub fn encode(&mut self, content: &[u8], wire: &mut Vec<u8>) {
        if let State::Exchange(exchange) = &mut self.client.state
            && let Some(framing) = exchange.framing()
        {
            framing.encode(content, wire);
        }
    }

    /// All content was sent: the final dot, if there has to be one, is what
    /// [`Client::next`] gives next.
    pub fn finish(self) {
        if let State::Exchange(exchange) = &mut self.client.state {
            exchange.end_content(&mut self.client.outbox.0);
        }
    }
}
