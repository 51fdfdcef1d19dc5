//! A listener: accepts connections and gives each a thread of its own.
//!
//! Stopping has three steps: no new connections, and a 421 for sessions that
//! are not in the middle of a message; time for those that are; then every
//! socket is shut down. It must never accept more sessions than configured.

mod bind;
mod hangup;
mod receiver;
mod session;
mod sessions;
mod socket;
#[cfg(test)]
mod tests;
mod wire;

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use lazaret_smtp::{Reply, server};
use lazaret_spool::{Spool, Throttle};
use rustix::io::Errno;
use rustix::net::{Shutdown, SocketFlags};
use rustix::process::{getpriority_process, setpriority_process};
use tracing::{debug, info, warn};

use crate::config::{ListenAddress, ListenConfig, ListenProtocol};
use crate::gate::{IntakeGate, OUT_OF_FILES, Reason};
use crate::network::{Clients, Peer};
use crate::size_max::SizeMax;
use crate::tls::{Identity, Tls, TlsError};
use bind::{Bound, SocketFile};
use session::{Conversation, Limits};
use sessions::{Place, Sessions, Share, Turned};
use socket::Socket;

/// Pause before accept(2) is tried again after it failed for want of memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How much nicer sessions are than the rest of the daemon (nice(2)): in a fight for
/// a processor they get about a third of what the others do.
const NICENESS: i32 = 5;

/// A listener that is bound but does not accept anything yet.
pub struct Listener {
    socket: Arc<OwnedFd>,
    address: ListenAddress,
    file: Option<SocketFile>,
    protocol: ListenProtocol,
    spool: Spool,
    gate: Arc<IntakeGate>,
    smtp: server::Config,
    /// If STARTTLS is offered.
    tls: Option<Tls>,
    /// Who may use XFORWARD.
    xforward: Vec<Clients>,
    size_max: SizeMax,
    limits: Limits,
    sessions: Arc<Sessions>,
    /// Clients for whom there is no session.
    crowded: Throttle,
}

impl Listener {
    /// Binds the configured address. `size_max` is the largest message in bytes.
    ///
    /// # Errors
    /// The configuration makes no sense, or the address can't be used.
    pub fn bind(
        config: &ListenConfig,
        spool: Spool,
        hostname: String,
        size_max: impl Into<SizeMax>,
        gate: Arc<IntakeGate>,
    ) -> io::Result<Self> {
        let size_max = size_max.into();
        config.check().map_err(|text| io::Error::new(io::ErrorKind::InvalidInput, text))?;
        let tls = config.tls.as_ref().map(Tls::new).transpose().map_err(io::Error::other)?;
        let Bound { socket, address, file } = Bound::bind(&config.address, config.socket_mode)?;
        let smtp = server::Config {
            dialect: config.protocol.into(),
            hostname,
            size_max: size_max.get(),
            recipients_max: config.recipients.get(),
            bare: config.bare_line_ends.into(),
            errors_max: config.errors.get(),
            commands_max: config.commands.get(),
            starttls: config.starttls(),
            ..server::Config::default()
        };
        Ok(Self {
            socket: Arc::new(socket),
            address,
            file,
            protocol: config.protocol,
            spool,
            smtp,
            tls,
            xforward: config.xforward.clone(),
            size_max,
            limits: Limits {
                idle: config.idle_timeout,
                session: config.session_time,
                bytes: config.session_bytes.0,
            },
            sessions: Arc::new(Sessions::new(Share::of(config), Arc::clone(&gate))),
            gate,
            crowded: Throttle::default(),
        })
    }

    /// Where it listens, with the port that the kernel chose.
    #[must_use]
    pub fn local_address(&self) -> &ListenAddress {
        &self.address
    }

    /// Starts to accept.
    ///
    /// # Errors
    /// There can be no thread for it.
    pub fn start(mut self) -> io::Result<ListenerHandle> {
        let (socket, address, protocol) = (Arc::clone(&self.socket), self.address.clone(), self.protocol);
        let (sessions, file, tls) = (Arc::clone(&self.sessions), self.file.take(), self.tls.clone());
        info!(%address, %protocol, "listening");
        let thread = thread::Builder::new().name("accept".into()).spawn(move || self.accept_all())?;
        Ok(ListenerHandle { socket, address, file, tls, protocol, sessions, thread })
    }

    /// What holds for a session that begins now.
    fn smtp(&self, peer: Peer) -> Arc<server::Config> {
        let xforward = self.xforward.iter().any(|clients| clients.contain(peer));
        Arc::new(server::Config { size_max: self.size_max.get(), xforward, ..self.smtp.clone() })
    }

    fn accept_all(&self) {
        let (failing, without_files) = (Throttle::default(), Throttle::default());
        // Holds a descriptor's place, so that a client for whom there is none can
        // be told so instead of being left to wait.
        let mut spare = spare();
        loop {
            match rustix::net::acceptfrom_with(&self.socket, SocketFlags::CLOEXEC) {
                Ok((fd, peer)) => {
                    let socket = Socket::new(fd, peer.as_ref());
                    spare = spare.or_else(self::spare);
                    if spare.is_some() {
                        self.welcome(socket);
                        continue;
                    }
                    if let Some(unsaid) = without_files.say() {
                        warn!(address = %self.address, unsaid, "too many open files, clients are turned away: {OUT_OF_FILES}");
                    }
                    self.turn_away(&Place::new(socket), Reason::NoFiles, "too many open files");
                    spare = self::spare();
                }
                Err(_) if self.sessions.is_stopping() => return,
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(Errno::MFILE | Errno::NFILE) if spare.take().is_some() => {}
                Err(error) => {
                    if let Some(unsaid) = failing.say() {
                        warn!(address = %self.address, %error, unsaid, "failed to accept a connection");
                    }
                    thread::sleep(ACCEPT_PAUSE);
                }
            }
        }
    }

    /// Gives a connection its thread, or says why there is none for it.
    fn welcome(&self, socket: Socket) {
        let place = Arc::new(Place::new(socket));
        if let Some(pause) = self.gate.paused() {
            return self.turn_away(&place, Reason::Paused, &format!("intake is {}", pause.words()));
        }
        let ticket = match self.sessions.enter(Arc::clone(&place)) {
            Ok(ticket) => ticket,
            Err(Turned::Stopping) => return self.turn_away(&place, Reason::Paused, hangup::STOPPING),
            Err(Turned::TooManyOfOne) => {
                return self.turn_away(
                    &place,
                    Reason::TooManySessions,
                    "too many sessions from your address",
                );
            }
            Err(Turned::TooMany) => {
                if let Some(unsaid) = self.crowded.say() {
                    warn!(address = %self.address, unsaid,
                        "too many sessions, clients are turned away: let the MTA open fewer, or raise listen.sessions");
                }
                return self.turn_away(&place, Reason::TooManySessions, "too many sessions");
            }
        };
        let conversation = Conversation::new(self, Arc::clone(&place));
        let spawned = thread::Builder::new().name("session".into()).spawn(move || {
            go_behind_mail_that_is_here();
            conversation.run();
            // Last of all: whoever waits for the sessions may then stop.
            drop(ticket);
        });
        if let Err(error) = spawned {
            warn!(%error, "no thread for a session");
            self.turn_away(&place, Reason::TooManySessions, "too many sessions");
        }
    }

    fn turn_away(&self, place: &Place, reason: Reason, why: &str) {
        self.gate.count_refused(reason);
        let peer = place.socket.name();
        debug!(?peer, reason = reason.word(), "connection refused");
        place.socket.say_at_once(&bytes(&self.smtp.closing_reply(why)));
    }
}

/// Has this thread come after those that route and deliver whenever there is more
/// to do than the processors can: otherwise mail comes in faster than it goes out,
/// and all of it waits. A client that is kept waiting sends less.
fn go_behind_mail_that_is_here() {
    // Of this thread alone (setpriority(2), "C library/kernel differences").
    let lowered = getpriority_process(None).and_then(|own| setpriority_process(None, own + NICENESS));
    if let Err(error) = lowered {
        debug!(%error, "a session is as urgent as the mail that is here");
    }
}

/// A descriptor that is good for nothing.
fn spare() -> Option<OwnedFd> {
    fs::File::open("/dev/null").ok().map(OwnedFd::from)
}

fn bytes(reply: &Reply) -> Vec<u8> {
    let mut bytes = Vec::new();
    reply.write(&mut bytes);
    bytes
}

/// A listener at work.
pub struct ListenerHandle {
    socket: Arc<OwnedFd>,
    address: ListenAddress,
    file: Option<SocketFile>,
    tls: Option<Tls>,
    protocol: ListenProtocol,
    sessions: Arc<Sessions>,
    thread: JoinHandle<()>,
}

impl ListenerHandle {
    /// Where it listens.
    #[must_use]
    pub fn local_address(&self) -> &ListenAddress {
        &self.address
    }

    /// What is spoken there.
    #[must_use]
    pub fn protocol(&self) -> ListenProtocol {
        self.protocol
    }

    /// Reads certificate and key again, if it has some; nothing changes yet.
    ///
    /// # Errors
    /// As [`TlsConfig::read`](crate::TlsConfig::read).
    pub fn read_identity(&self) -> Result<Option<Identity>, TlsError> {
        self.tls.as_ref().map(Tls::read).transpose()
    }

    /// Sessions that begin from now on use another certificate.
    pub fn replace_identity(&self, identity: Identity) {
        if let Some(tls) = &self.tls {
            tls.replace(identity);
        }
    }

    /// Takes no more connections, and ends the sessions that are not in the
    /// middle of a message. Waits for nothing, so that several listeners can be
    /// closed before the first is waited for.
    pub fn close(&self) {
        self.sessions.close();
        // On Linux this ends an accept(2) that another thread is waiting in.
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
        if let Some(file) = &self.file {
            file.remove();
        }
    }

    /// Closes, waits for the sessions at most `grace`, then cuts off the rest.
    /// When this returns, no session is left.
    pub fn stop(self, grace: Duration) {
        self.close();
        if self.thread.join().is_err() {
            warn!(address = %self.address, "the accepting thread had panicked");
        }
        if !self.sessions.wait(Instant::now() + grace) {
            self.sessions.cut_and_wait();
        }
        info!(address = %self.address, "listener stopped");
    }
}
