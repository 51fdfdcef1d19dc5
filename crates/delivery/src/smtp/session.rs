//! One connection to a next hop: does what the protocol says, in time.
//!
//! It must never send the end of a message whose bytes are not those that were
//! accepted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lazaret_envelope::{Line, Span};
use lazaret_smtp::Dialect;
use lazaret_smtp::client::{Client, Content, Do, Finished, Mail, Outcome, Setup, Step};
use tracing::debug;

use super::security::Security;
use super::wire::{QUIT_WAIT, Wire, WireError};
use crate::next_hop::NextHop;
use crate::parcel::{Damaged, Parcel};

/// Bytes of replies received at a time.
const REPLY_BYTES: usize = 4 << 10;

/// What is told of a connection that ended without a word.
const CLOSED: &str = "the next hop closed the connection";

/// How long a next hop that takes no more data is listened to: it may say why.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A connection, somewhere in its conversation.
#[derive(Debug)]
pub(crate) struct Session {
    client: Client,
    wire: Wire,
    next_hop: Arc<NextHop>,
    security: Arc<Security>,
    /// When it became free.
    free_since: Instant,
    /// What the next hop is asked for just now, and by when.
    asked: Option<(Step, Instant)>,
    /// By when the line of a reply must end that has begun.
    line_ends: Option<Instant>,
    /// What went wrong with the connection.
    ended: Option<Ended>,
}

/// Why a connection is of no more use.
#[derive(Debug, Clone)]
pub(super) struct Ended {
    pub(super) why: Line,
    /// The next hop was silent for too long.
    pub(super) deadline: bool,
}

/// Why no transaction can start.
#[derive(Debug)]
pub(super) struct NotReady {
    pub(super) why: Line,
    /// All went well up to the handshake of TLS, which failed.
    pub(super) in_handshake: bool,
}

/// Why the content was not sent to its end.
enum Unsent {
    Damaged(Damaged),
    Wire(WireError),
}

impl Session {
    pub(super) fn new(
        wire: Wire,
        next_hop: &Arc<NextHop>,
        security: &Arc<Security>,
        (hostname, dialect, setup): (&str, Dialect, Setup),
    ) -> Self {
        Self {
            client: Client::new(hostname, dialect, setup),
            wire,
            next_hop: Arc::clone(next_hop),
            security: Arc::clone(security),
            free_since: Instant::now(),
            asked: None,
            line_ends: None,
            ended: None,
        }
    }

    /// Whether the next hop tells senders itself what they want to be told.
    pub(super) fn takes_over_dsn(&self) -> bool {
        self.client.offer().dsn
    }

    /// Whether the next hop takes content whose length it is told before.
    pub(super) fn takes_chunks(&self) -> bool {
        self.client.offer().chunking
    }

    pub(super) fn next_hop(&self) -> &Arc<NextHop> {
        &self.next_hop
    }

    /// Until when the connection is kept for another message.
    pub(crate) fn idle_until(&self) -> Instant {
        self.free_since + self.wire.timeouts.idle
    }

    /// Brings the conversation to where a transaction can start, or says why
    /// that will never be. `whole` is the deadline of it all.
    pub(super) fn ready(&mut self, whole: Instant) -> Result<(), NotReady> {
        let mut in_handshake = false;
        loop {
            match self.client.next() {
                Do::Send(bytes) => self.send(&bytes, whole),
                Do::Receive(step) => self.receive(step, whole),
                Do::Secure(_) => in_handshake = !self.secure(whole),
                Do::Ready(_) => return Ok(()),
                Do::Refused(why) => {
                    // It is polite to say QUIT, but nobody waits for an answer.
                    if let Do::Send(bytes) = self.client.next() {
                        self.send(&bytes, whole);
                    }
                    return Err(NotReady { why: Line::escaped(why.to_string()), in_handshake });
                }
                Do::Content(_) | Do::Done(_) | Do::Close => {
                    return Err(NotReady { why: self.why(), in_handshake });
                }
            }
        }
    }

    /// Performs the handshake of TLS; whether it succeeded.
    fn secure(&mut self, whole: Instant) -> bool {
        let Some(name) = self.security.name_of(self.next_hop.endpoint()) else {
            self.over("its name can't stand in a certificate; tls_name can say another".to_owned(), false);
            return false;
        };
        let deadline = whole.min(Instant::now() + self.wire.timeouts.command);
        match self.wire.secure(self.security.trust(), &name, deadline) {
            Ok(how) => {
                debug!(next_hop = %self.next_hop, %how, "encrypted");
                if let Do::Secure(secure) = self.client.next() {
                    secure.established(self.security.trust().verifies());
                }
                true
            }
            Err(error) => {
                self.over(self.wire.unsecured(&error), matches!(error, WireError::Deadline));
                false
            }
        }
    }

    /// One transaction, once [`ready`](Self::ready). Says also why the
    /// connection ended, if it did.
    pub(super) fn transact(
        &mut self,
        mail: Mail,
        parcel: &Parcel<'_>,
        whole: Instant,
    ) -> Result<(Finished, Option<Ended>), Damaged> {
        let mut mail = Some(mail);
        loop {
            match self.client.next() {
                Do::Ready(ready) => match mail.take() {
                    Some(mail) => ready.start(mail),
                    None => unreachable!("a transaction ends with its outcomes"),
                },
                Do::Send(bytes) => self.send(&bytes, whole),
                Do::Receive(step) => self.receive(step, whole),
                Do::Content(content) => match stream(content, parcel, &mut self.wire, whole) {
                    Ok(()) => {}
                    Err(Unsent::Damaged(damaged)) => return Err(damaged),
                    Err(Unsent::Wire(error)) => {
                        self.unsent(&error, &self.wire.slowness(), whole);
                    }
                },
                Do::Done(finished) => {
                    self.free_since = Instant::now();
                    let ended = self.ended.take().or_else(|| unavailable(&finished));
                    return Ok((finished, ended));
                }
                Do::Secure(_) | Do::Refused(_) | Do::Close => {
                    unreachable!("a transaction ends with its outcomes")
                }
            }
        }
    }

    /// Ends the conversation politely, if that is possible at once.
    pub(crate) fn quit(mut self) {
        let whole = Instant::now() + QUIT_WAIT;
        loop {
            match self.client.next() {
                Do::Send(bytes) => self.send(&bytes, whole),
                Do::Receive(step) => self.receive(step, whole),
                Do::Ready(ready) => ready.quit(),
                Do::Secure(_) => self.client.broken("nothing to secure any more"),
                Do::Refused(_) | Do::Content(_) | Do::Done(_) => {}
                Do::Close => return self.wire.close(whole),
            }
        }
    }

    fn why(&mut self) -> Line {
        let closed = || Line::escaped(CLOSED);
        self.ended.take().map_or_else(closed, |ended| ended.why)
    }

    fn send(&mut self, bytes: &[u8], whole: Instant) {
        self.asked = None;
        let limit = self.wire.timeouts.command;
        if let Err(error) = self.wire.send(bytes, whole.min(Instant::now() + limit)) {
            self.unsent(&error, &format!("takes no commands for {}", Span(limit)), whole);
        }
    }

    fn receive(&mut self, step: Step, whole: Instant) {
        let deadline = match self.asked {
            Some((asked, deadline)) if asked == step => deadline,
            _ => whole.min(Instant::now() + self.wire.limit(step)),
        };
        self.asked = Some((step, deadline));
        let mut buffer = [0; REPLY_BYTES];
        let line_ends = self.line_ends.filter(|&line_ends| line_ends < deadline);
        match self.wire.receive(&mut buffer, line_ends.unwrap_or(deadline)) {
            Ok(count) => self.received(step, &buffer[..count]),
            Err(error) if line_ends.is_some() => {
                let limit = Span(self.wire.timeouts.line);
                let what = format!("begins a line of its reply to {step} and does not end it for {limit}");
                self.broken(&error, &what, whole);
            }
            Err(error) => self.broken(&error, &self.wire.silence(step), whole),
        }
    }

    fn received(&mut self, step: Step, bytes: &[u8]) {
        let begun = bytes.last().is_some_and(|&last| last != b'\n');
        let limit = self.wire.timeouts.line;
        self.line_ends = begun.then(|| match self.line_ends {
            Some(line_ends) if !bytes.contains(&b'\n') => line_ends,
            _ => Instant::now() + limit,
        });
        // The one step with many replies: each has its own deadline.
        if step == Step::Rcpt && bytes.contains(&b'\n') {
            self.asked = None;
        }
        if let Err(error) = self.client.received(bytes) {
            self.ended = Some(Ended { why: Line::escaped(error.to_string()), deadline: false });
        }
    }

    /// Something could not be sent: the next hop may have said why before.
    fn unsent(&mut self, error: &WireError, silence: &str, whole: Instant) {
        let mut buffer = [0; REPLY_BYTES];
        if let Ok(count) = self.wire.receive(&mut buffer, Instant::now() + LAST_WORDS) {
            debug!(next_hop = %self.next_hop, said = %Line::escaped(&buffer[..count]), "last words");
            // Nonsense changes nothing: the connection is given up anyway.
            let _ = self.client.received(&buffer[..count]);
        }
        self.broken(error, silence, whole);
    }

    fn broken(&mut self, error: &WireError, silence: &str, whole: Instant) {
        let deadline = matches!(error, WireError::Deadline);
        let why = match error {
            WireError::Deadline if Instant::now() >= whole => {
                format!("not done after {}", Span(self.wire.timeouts.transaction))
            }
            WireError::Deadline => silence.to_owned(),
            WireError::Closed => CLOSED.to_owned(),
            WireError::Io(error) => format!("the connection broke: {error}"),
        };
        self.over(why, deadline);
    }

    fn over(&mut self, why: String, deadline: bool) {
        self.client.broken(&why);
        self.ended = Some(Ended { why: Line::escaped(why), deadline });
    }
}

/// RFC 5321 section 3.8: a server that answers 421 closes the connection.
fn unavailable(finished: &Finished) -> Option<Ended> {
    finished.deliveries.iter().find_map(|delivery| match &delivery.outcome {
        Outcome::Transient(reply) if reply.code == 421 => {
            Some(Ended { why: Line::escaped(reply.to_string()), deadline: false })
        }
        _ => None,
    })
}

/// Sends the field on top and the message; without its last block and its end where
/// its bytes are not the right ones. Of a message whose length was told before, the
/// last byte is the end.
fn stream(
    mut content: Content<'_>,
    parcel: &Parcel<'_>,
    wire: &mut Wire,
    whole: Instant,
) -> Result<(), Unsent> {
    let mut out = Vec::new();
    content.encode(parcel.trace.as_bytes(), &mut out);
    let mut blocks = parcel.blocks();
    let mut progress = wire.progress();
    let mut begun = false;
    while let Some(block) = blocks.next().map_err(Unsent::Damaged)? {
        if begun {
            wire.send_content(&out, &mut progress, whole).map_err(Unsent::Wire)?;
            out.clear();
        }
        begun = true;
        content.encode(block, &mut out);
    }
    wire.send_content(&out, &mut progress, whole).map_err(Unsent::Wire)?;
    content.finish();
    Ok(())
}
