//! The state of one session, and what each command does to it.
//!
//! RFC 5321 section 4.1.4 gives the order of commands. Whatever the client
//! sends, and in whatever pieces, the session must never act on a command out
//! of that order, nor on bytes behind a question that is not answered yet.

mod commands;

use std::sync::Arc;

use lazaret_envelope::{Line, Origin, Protocol, Transaction};

use super::lines::{Found, Lines};
use super::questions::{Begin, End, Offer, StartTls};
use super::{Config, DATA_STEP_BYTES_MAX, Event, REPLIES_BYTES_MAX, Refusal};
use crate::data::{BareLineEnds, Decoder};
use crate::xforward::Told;
use crate::{Command, CommandError, Dialect, Reply};

/// One session with one client.
#[derive(Debug)]
pub struct Session {
    config: Arc<Config>,
    state: State,
    lines: Lines,
    /// How the client said hello, and its name.
    hello: Option<(Protocol, Line)>,
    /// What MAIL and RCPT have said so far.
    transaction: Option<Transaction>,
    /// The size that came with MAIL (RFC 1870).
    announced: Option<u64>,
    /// Version and cipher suite, once the session is encrypted.
    tls: Option<Line>,
    /// What XFORWARD has told for the next transaction.
    told: Told,
    /// Lines that were no commands, since the last message.
    errors: usize,
    /// Commands since the last message, recipients that were taken left out.
    commands: usize,
    /// What the client has brought to its end: lines and messages.
    progress: u64,
    /// The content of the step before.
    content: Vec<u8>,
}

/// Where in the conversation the session is.
#[derive(Debug)]
enum State {
    /// The greeting is not sent yet.
    Connected,
    /// The next line is a command.
    Command,
    /// MAIL was said; the caller has not answered.
    Offering,
    /// DATA was asked for; the caller has not answered.
    Beginning,
    /// The next bytes are data.
    Data(Incoming),
    /// The data is complete; the caller has not answered.
    Ending(Due),
    /// STARTTLS was answered; the caller has not performed the handshake.
    Securing,
    /// Nothing is said or heard any more.
    Closed,
}

/// How many replies are due at the end of the data. RFC 2033 section 4.2:
/// an LMTP server owes one for each RCPT command that it answered positively.
#[derive(Debug, Clone, Copy)]
struct Due(usize);

/// A message on its way in.
#[derive(Debug)]
struct Incoming {
    decoder: Decoder,
    /// Bytes of content so far.
    size: u64,
    refusal: Option<Refusal>,
    complete: bool,
    due: Due,
}

/// An [`Event`] that borrows nothing; there is none where a step goes on by itself.
enum Next {
    NeedInput,
    Offer,
    Begin,
    Content,
    Abandon(Refusal),
    End,
    StartTls,
    Close,
}

impl Session {
    /// A session that has not sent its greeting yet: the first step does.
    #[must_use]
    pub fn new(config: Arc<Config>) -> Self {
        Self {
            config,
            state: State::Connected,
            lines: Lines::default(),
            hello: None,
            transaction: None,
            announced: None,
            tls: None,
            told: Told::default(),
            errors: 0,
            commands: 0,
            progress: 0,
            content: Vec::new(),
        }
    }

    /// What is known about the client: the protocol that it speaks and the
    /// name that it gave itself.
    #[must_use]
    pub fn origin(&self) -> Origin {
        let default = match self.config.dialect {
            Dialect::Smtp => Protocol::Smtp,
            Dialect::Lmtp => Protocol::Lmtp,
        };
        let (protocol, helo) = self.hello.clone().map_or((default, None), |(how, name)| (how, Some(name)));
        let Told { forwarded, ident } = self.told.clone();
        let tls = self.tls.clone();
        Origin { helo, tls, forwarded, upstream_id: ident, ..Origin::from(protocol) }
    }

    /// A number that grows whenever the client has brought something to its end: a
    /// line, or a message. Who only sends bytes makes no progress.
    #[must_use]
    pub const fn progress(&self) -> u64 {
        self.progress
    }

    /// Reads from `input`, appends replies to `out`, and says what to do next.
    pub fn step(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Event<'_> {
        let next = loop {
            if out.len() >= REPLIES_BYTES_MAX {
                return Event::Flush;
            }
            let next = match self.state {
                State::Connected => self.greet(out),
                State::Command => self.line(input, out),
                State::Offering => Some(Next::Offer),
                State::Beginning => Some(Next::Begin),
                State::Data(_) => self.data(input, out),
                State::Ending(_) => Some(Next::End),
                State::Securing => Some(Next::StartTls),
                State::Closed => Some(Next::Close),
            };
            if let Some(next) = next {
                break next;
            }
        };
        match next {
            Next::NeedInput => Event::NeedInput,
            Next::Offer => Event::Offer(Offer::new(self)),
            Next::Begin => Event::Begin(Begin::new(self)),
            Next::Content => Event::Content(&self.content),
            Next::Abandon(refusal) => Event::Abandon(refusal),
            Next::End => Event::End(End::new(self)),
            Next::StartTls => Event::StartTls(StartTls::new(self)),
            Next::Close => Event::Close,
        }
    }

    fn greet(&mut self, out: &mut Vec<u8>) -> Option<Next> {
        let protocol = match self.config.dialect {
            Dialect::Smtp => "ESMTP",
            Dialect::Lmtp => "LMTP",
        };
        Reply::plain(220, format!("{} {protocol} Lazaret", self.config.hostname)).write(out);
        self.state = State::Command;
        None
    }

    /// Reads one command line and answers it.
    fn line(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Option<Next> {
        if input.is_empty() {
            return Some(Next::NeedInput);
        }
        let found = self.lines.take(input);
        if found != Found::Nothing {
            self.progress += 1;
            self.commands += 1;
            if self.commands > self.config.commands_max {
                let text = format!("{} too many commands without a message, closing", self.config.hostname);
                self.close(&Reply::new(421, [4, 7, 0], text), out);
                return None;
            }
        }
        match found {
            Found::Nothing => {}
            Found::Line(line) => match Command::parse(&line) {
                Ok(command) => self.command(command, !input.is_empty(), out),
                Err(CommandError::Http) => self.close(&CommandError::Http.reply(), out),
                Err(error) => self.error(&error.reply(), out),
            },
            Found::TooLong => self.error(&Reply::new(500, [5, 5, 2], "line too long"), out),
            Found::Endless => self.close(&Reply::new(421, [4, 7, 0], "line too long, closing"), out),
            Found::BareLf => {
                let text = "lines must end in <CR><LF>, not in <LF> (RFC 5321 section 2.3.8), closing";
                self.close(&Reply::new(521, [5, 5, 2], text), out);
            }
        }
        None
    }

    /// Obeys a command; `pipelined` says whether there is input behind it.
    fn command(&mut self, command: Command, pipelined: bool, out: &mut Vec<u8>) {
        let reply = match command {
            Command::Ehlo(name) => self.hello(Protocol::Esmtp, name),
            Command::Helo(name) => self.hello(Protocol::Smtp, name),
            Command::Lhlo(name) => self.hello(Protocol::Lmtp, name),
            Command::Mail { sender, size } => match self.mail(sender, size) {
                Err(reply) => reply,
                Ok(()) => {
                    self.state = State::Offering;
                    return;
                }
            },
            Command::Rcpt(recipient) => self.rcpt(recipient),
            Command::Data => match self.data_refusal() {
                Some(reply) => reply,
                None => {
                    self.state = State::Beginning;
                    return;
                }
            },
            Command::Xforward(pairs) => self.xforward(pairs),
            Command::Rset => {
                self.reset();
                Reply::new(250, [2, 0, 0], "ok")
            }
            Command::Noop => Reply::new(250, [2, 0, 0], "ok"),
            Command::Vrfy => Reply::new(252, [2, 5, 2], "send some mail, and see"),
            Command::Help => Reply::new(214, [2, 0, 0], "see RFC 5321, or the manual of Lazaret"),
            Command::StartTls => return self.starttls(pipelined, out),
            Command::Quit => return self.close(&Reply::new(221, [2, 0, 0], "bye"), out),
        };
        reply.write(out);
    }

    /// Reads some data.
    fn data(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Option<Next> {
        let State::Data(incoming) = &mut self.state else { return None };
        if incoming.complete {
            return self.data_complete(out);
        }
        if input.is_empty() {
            return Some(Next::NeedInput);
        }
        let piece = &input[..input.len().min(DATA_STEP_BYTES_MAX)];
        self.content.clear();
        let decoded = incoming.decoder.decode(piece, &mut self.content);
        *input = &input[decoded.consumed..];
        incoming.complete = decoded.finished;
        if incoming.refusal.is_some() {
            return None;
        }
        incoming.size += self.content.len() as u64;
        incoming.refusal = incoming.judge(&self.config);
        match incoming.refusal {
            Some(refusal) => Some(Next::Abandon(refusal)),
            None => Some(Next::Content).filter(|_| !self.content.is_empty()),
        }
    }

    /// Leaves the answer to the caller, or refuses what it was told to abandon.
    fn data_complete(&mut self, out: &mut Vec<u8>) -> Option<Next> {
        let State::Data(Incoming { refusal, due, .. }) = self.state else { return None };
        self.state = State::Ending(due);
        self.content = Vec::new();
        let Some(refusal) = refusal else { return Some(Next::End) };
        self.finish(&refusal.reply(&self.config), out);
        None
    }

    /// What DATA was asked for.
    pub(super) fn transaction(&self) -> &Transaction {
        self.transaction.as_ref().expect("DATA is refused outside of a transaction")
    }

    /// The size that the client has announced.
    pub(super) const fn announced(&self) -> Option<u64> {
        self.announced
    }

    /// Answers 250 to MAIL.
    pub(super) fn accept_offer(&mut self, out: &mut Vec<u8>) {
        Reply::new(250, [2, 1, 0], "sender ok").write(out);
        self.state = State::Command;
    }

    /// Answers 354 to DATA.
    pub(super) fn accept(&mut self, out: &mut Vec<u8>) -> Transaction {
        let transaction = self.reset().expect("DATA is refused outside of a transaction");
        let due = match self.config.dialect {
            Dialect::Smtp => Due(1),
            Dialect::Lmtp => Due(transaction.recipients.len()),
        };
        let decoder = Decoder::new(self.config.bare);
        self.state = State::Data(Incoming { decoder, size: 0, refusal: None, complete: false, due });
        Reply::plain(354, "end data with <CR><LF>.<CR><LF>").write(out);
        transaction
    }

    /// Answers anything else to MAIL or DATA.
    pub(super) fn refuse(&mut self, reply: &Reply, out: &mut Vec<u8>) {
        self.reset();
        reply.write(out);
        self.state = State::after(reply);
    }

    /// Answers at the end of the data.
    pub(super) fn finish(&mut self, reply: &Reply, out: &mut Vec<u8>) {
        let State::Ending(Due(due)) = self.state else { return };
        (0..due).for_each(|_| reply.write(out));
        self.errors = 0;
        self.commands = 0;
        self.progress += 1;
        self.state = State::after(reply);
    }

    /// Answers a line that is no command; too many end the session.
    fn error(&mut self, reply: &Reply, out: &mut Vec<u8>) {
        reply.write(out);
        self.errors += 1;
        if self.errors >= self.config.errors_max {
            let text = format!("{} too many errors, closing", self.config.hostname);
            self.close(&Reply::new(421, [4, 7, 0], text), out);
        }
    }

    fn close(&mut self, reply: &Reply, out: &mut Vec<u8>) {
        reply.write(out);
        self.state = State::Closed;
    }
}

impl State {
    /// RFC 5321 section 4.2.2: 421 means "closing transmission channel".
    const fn after(reply: &Reply) -> Self {
        if reply.code == 421 { Self::Closed } else { Self::Command }
    }
}

impl Incoming {
    /// Why the message can't be accepted, as far as it is known.
    fn judge(&self, config: &Config) -> Option<Refusal> {
        let bare = self.decoder.bare().filter(|_| config.bare == BareLineEnds::Reject);
        let too_large = (self.size > config.size_max).then_some(Refusal::TooLarge);
        too_large.or(bare.map(Refusal::Bare))
    }
}
