//! A next hop for tests: an SMTP server that does at each step what a script
//! says, and remembers what it took.
//!
//! Everything is bounded and ends when the sink is dropped. It must never send
//! mail on.

mod session;

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::ServerConfig;

use session::Session;

/// Most sessions at a time.
const SESSIONS_MAX: usize = 200;

/// A point of the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Before the greeting.
    Greeting,
    /// EHLO, HELO or LHLO.
    Hello,
    /// STARTTLS.
    StartTls,
    /// After STARTTLS, instead of the handshake.
    Handshake,
    /// The last line of AUTH.
    Auth,
    /// MAIL.
    Mail,
    /// RCPT.
    Recipient,
    /// DATA, before the message.
    Data,
    /// After the final dot.
    Dot,
}

/// What is done at a step instead of going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Answers with this line, such as `451 4.3.0 not now`.
    Reply(&'static str),
    /// Answers with this line and the recipient.
    ReplyNaming(&'static str),
    /// Says nothing more, and keeps the connection.
    Hang,
    /// Says a byte now and then, for as long as the client listens.
    Drip,
    /// Closes the connection.
    Close,
    /// Goes on, after a while.
    Pause(Duration),
    /// Answers with this line at the first occasion, and at every so many-th from
    /// there; goes on at the others.
    ReplyEvery(usize, &'static str),
}

/// A message that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The reverse path, without brackets and parameters.
    pub sender: String,
    /// The accepted recipients, likewise.
    pub recipients: Vec<String>,
    /// The content, without the dots that the transfer added.
    pub content: Vec<u8>,
}

/// What the sink can do beyond taking mail.
#[derive(Default)]
pub struct Skills {
    /// It offers STARTTLS.
    pub tls: Option<Arc<ServerConfig>>,
    /// It takes no mail from who has not logged in by saying these lines, the first of
    /// them being `AUTH` with a mechanism.
    pub login: Option<&'static [&'static str]>,
    /// Further lines of its offer under TLS, or without where it has none.
    pub offers: &'static [&'static str],
}

/// What the sink does, by step; a recipient narrows a rule for RCPT.
type Script = Vec<(Step, Option<&'static str>, Behaviour)>;

/// Hears of each message right before it is answered for with a 250.
type Hook = Box<dyn Fn(&Taken) + Send + Sync>;

/// What sessions share.
struct Shared {
    script: Mutex<Script>,
    hook: Hook,
    skills: Skills,
    heard: Mutex<Vec<String>>,
    /// How often it was asked for a behaviour that is not for every occasion.
    occasions: AtomicUsize,
    taken: Mutex<Vec<Taken>>,
    /// Told when something is taken.
    took: Condvar,
    stopped: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The server.
pub struct Sink {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

impl Sink {
    /// Starts one. An empty script accepts everything.
    pub fn start(script: Script) -> Self {
        Self::telling(script, Box::new(|_| {}))
    }

    /// Starts one that can do more.
    pub fn skilled(script: Script, skills: Skills) -> Self {
        Self::with(script, Box::new(|_| {}), skills)
    }

    /// Starts one that tells of each message before it answers for it.
    pub fn telling(script: Script, hook: Hook) -> Self {
        Self::with(script, hook, Skills::default())
    }

    fn with(script: Script, hook: Hook, skills: Skills) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("failed to listen");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            script: Mutex::new(script),
            hook,
            skills,
            heard: Mutex::default(),
            occasions: AtomicUsize::new(0),
            taken: Mutex::default(),
            took: Condvar::new(),
            stopped: AtomicBool::new(false),
        });
        let all = Arc::clone(&shared);
        let listener = std::thread::spawn(move || listen(&listener, &all));
        Self { address, shared, listener: Some(listener) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Goes by another script from now on.
    pub fn follow(&self, script: Script) {
        *lock(&self.shared.script) = script;
    }

    /// What it took so far.
    pub fn taken(&self) -> Vec<Taken> {
        lock(&self.shared.taken).clone()
    }

    /// The first commands that it was told, of all sessions; behind `tls ` what came
    /// encrypted.
    pub fn heard(&self) -> Vec<String> {
        lock(&self.shared.heard).clone()
    }

    /// How many messages it took so far.
    pub fn count(&self) -> usize {
        lock(&self.shared.taken).len()
    }

    /// How many recipients it was given messages for so far.
    pub fn recipients(&self) -> usize {
        lock(&self.shared.taken).iter().map(|taken| taken.recipients.len()).sum()
    }

    /// Waits until it has taken more than so many messages, and says if it has.
    /// The client that brought the last one may not have its reply yet.
    pub fn takes_more_than(&self, count: usize, limit: Duration) -> bool {
        let none = |taken: &mut Vec<Taken>| taken.len() <= count;
        let waited = self.shared.took.wait_timeout_while(lock(&self.shared.taken), limit, none);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the listener, which then ends the sessions.
        drop(TcpStream::connect(self.address));
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

fn listen(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut sessions: Vec<(JoinHandle<()>, TcpStream)> = Vec::new();
    for stream in listener.incoming().map_while(Result::ok) {
        if shared.stopped.load(Ordering::SeqCst) {
            break;
        }
        sessions.retain(|(session, _)| !session.is_finished());
        let Ok(copy) = stream.try_clone() else { continue };
        if sessions.len() < SESSIONS_MAX {
            let all = Arc::clone(shared);
            let session = std::thread::spawn(move || {
                // A client that goes away is the client's affair.
                let _ = Session::new(stream, all).and_then(|mut session| session.run());
            });
            sessions.push((session, copy));
        }
    }
    for (_, stream) in &sessions {
        let _ = stream.shutdown(Shutdown::Both);
    }
    for (session, _) in sessions {
        let _ = session.join();
    }
}
