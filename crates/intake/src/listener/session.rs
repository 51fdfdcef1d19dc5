//! One session: bytes from the socket into the protocol, replies back.
//!
//! Replies are sent when the input is used up (RFC 2920 section 3.2), and before
//! anything that takes time. Memory is a fixed read buffer, bounded replies and
//! the message's own buffer; it must never read ahead of a question that is not
//! answered.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lazaret_envelope::Line;
use lazaret_smtp::Reply;
use lazaret_smtp::server::{Config, DATA_STEP_BYTES_MAX, Event, Session};
use lazaret_tls::Identity;
use tracing::debug;

use super::Listener;
use super::hangup::Hangup;
use super::receiver::Receiver;
use super::sessions::Place;
use super::wire::Wire;
use crate::config::PROGRESS_BYTES;
use crate::tls::Tls;

/// Bytes read at a time: as many as the protocol takes in at one step.
const READ_BYTES: usize = DATA_STEP_BYTES_MAX;

/// How long a session may last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Longest silence.
    pub(super) idle: Duration,
    /// Longest session.
    pub(super) session: Duration,
    /// Most bytes of a session.
    pub(super) bytes: u64,
}

/// A session with its client.
pub(super) struct Conversation {
    config: Arc<Config>,
    session: Session,
    receiver: Receiver,
    client: Client,
    /// For STARTTLS, if that is offered.
    tls: Option<Identity>,
}

/// The client: its socket, what it is to be told, and how long it may take.
struct Client {
    place: Arc<Place>,
    wire: Wire,
    out: Vec<u8>,
    idle: Duration,
    deadline: Instant,
    bytes: u64,
    bytes_max: u64,
    progress: Progress,
}

/// The last time that a client has brought something to its end, or a good part of it.
struct Progress {
    at: Instant,
    /// What the session counted then.
    count: u64,
    /// What the client had sent then.
    bytes: u64,
}

impl Conversation {
    pub(super) fn new(listener: &Listener, place: Arc<Place>) -> Self {
        let receiver = Receiver::new(listener.spool.clone(), Arc::clone(&listener.gate), Arc::clone(&place));
        let config = listener.smtp(place.socket.peer());
        let client = Client {
            place,
            wire: Wire::Plain,
            out: Vec::new(),
            idle: listener.limits.idle,
            deadline: Instant::now() + listener.limits.session,
            bytes: 0,
            bytes_max: listener.limits.bytes,
            progress: Progress { at: Instant::now(), count: 0, bytes: 0 },
        };
        let tls = listener.tls.as_ref().map(Tls::current);
        Self { session: Session::new(Arc::clone(&config)), config, receiver, client, tls }
    }

    /// Talks with the client until one of the two has enough.
    pub(super) fn run(mut self) {
        let place = Arc::clone(&self.client.place);
        let peer = place.socket.name();
        debug!(?peer, "session opened");
        let Err(hangup) = self.talk();
        let bytes = self.client.bytes;
        self.client.say_goodbye(hangup.reply(&self.config));
        debug!(?peer, bytes, why = %hangup, "session closed");
    }

    fn talk(&mut self) -> Result<Infallible, Hangup> {
        self.client.place.socket.prepare(self.client.idle).map_err(Hangup::Lost)?;
        let mut buffer = vec![0; READ_BYTES];
        let mut count = 0;
        loop {
            self.feed(&buffer[..count])?;
            count = self.client.read(&mut buffer, self.session.progress())?;
        }
    }

    /// Gives the protocol what was read, and does what it asks for.
    fn feed(&mut self, mut input: &[u8]) -> Result<(), Hangup> {
        let Self { session, receiver, client, tls, .. } = self;
        loop {
            match session.step(&mut input, &mut client.out) {
                Event::NeedInput => return client.send(),
                Event::Flush => client.send()?,
                Event::Offer(offer) => receiver.offer(offer, &mut client.out),
                Event::Begin(begin) => receiver.begin(begin, &mut client.out)?,
                Event::Content(bytes) => receiver.content(bytes),
                Event::Abandon(refusal) => receiver.abandon(refusal),
                Event::End(end) => {
                    client.send()?;
                    receiver.end(end, &mut client.out)?;
                }
                Event::StartTls(starttls) => {
                    client.send()?;
                    starttls.established(client.secure(tls.as_ref().ok_or(Hangup::Closed)?)?);
                }
                Event::Close => {
                    client.send()?;
                    return Err(Hangup::Closed);
                }
            }
        }
    }
}

impl Client {
    /// Notes progress, or its absence for too long.
    fn look_for_progress(&mut self, count: u64) -> Result<(), Hangup> {
        let now = Instant::now();
        if count != self.progress.count || self.bytes - self.progress.bytes >= PROGRESS_BYTES {
            self.progress = Progress { at: now, count, bytes: self.bytes };
        }
        if now >= self.progress.at + self.idle { Err(Hangup::Idle) } else { Ok(()) }
    }

    /// Reads, unless it is time to end. What the client sent before it was told
    /// to stop is answered with 421 like everything else. `count` is what it has
    /// brought to its end.
    fn read(&mut self, buffer: &mut [u8], count: u64) -> Result<usize, Hangup> {
        self.look_for_progress(count)?;
        if let Some(ending) = self.place.wait_for_client(self.progress.at) {
            return Err(ending.into());
        }
        let deadline = self.deadline.min(self.progress.at + self.idle);
        let read = self.wire.read(&self.place.socket, buffer, deadline);
        if let Some(ending) = self.place.see_to_client() {
            return Err(ending.into());
        }
        match read {
            Ok(0) => Err(Hangup::Gone),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(Hangup::Idle),
            Err(error) => Err(Hangup::Lost(error)),
            Ok(_) if Instant::now() >= self.deadline => Err(Hangup::OutOfTime),
            Ok(count) => {
                self.bytes += count as u64;
                if self.bytes > self.bytes_max { Err(Hangup::TooManyBytes) } else { Ok(count) }
            }
        }
    }

    /// Sends the replies that have gathered: a client has the time of a silence to take
    /// them in, and who does not is waited for like one who is silent.
    fn send(&mut self) -> Result<(), Hangup> {
        if !self.out.is_empty() {
            // Whether the session has to end is asked before it reads on.
            let _ = self.place.wait_for_client(self.progress.at);
            let deadline = self.patience();
            let sent = self.wire.write_all(&self.place.socket, &self.out, deadline);
            let _ = self.place.see_to_client();
            sent.map_err(Hangup::Lost)?;
            self.out.clear();
        }
        Ok(())
    }

    /// Performs the handshake; version and cipher suite.
    fn secure(&mut self, identity: &Identity) -> Result<Line, Hangup> {
        let deadline = self.patience();
        self.wire.secure(&self.place.socket, identity, deadline).map_err(Hangup::Handshake)
    }

    /// Until when something may take that is to happen now.
    fn patience(&self) -> Instant {
        self.deadline.min(Instant::now() + self.idle)
    }

    /// Sends the last words.
    fn say_goodbye(mut self, words: Option<Reply>) {
        if let Some(reply) = words {
            reply.write(&mut self.out);
            // Should the connection fail now, there is nobody left to tell.
            let _ = self.wire.write_all(&self.place.socket, &self.out, self.deadline);
        }
        self.wire.close(&self.place.socket, self.deadline);
    }
}
