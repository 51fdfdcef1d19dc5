//! A next hop for tests: an SMTP server that does at each step what a script
//! says, and remembers what it took.
//!
//! Everything is bounded and ends when the sink is dropped. It must never send
//! mail on.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Longest wait for the client's next line, and longest hang.
const IO_TIME_MAX: Duration = Duration::from_secs(120);

/// Longest line that is read.
const LINE_BYTES_MAX: u64 = 64 << 20;

/// Largest message that is kept.
const MESSAGE_BYTES_MAX: usize = 128 << 20;

/// The pause between two bytes of a server that has nothing to say.
const DRIP_EVERY: Duration = Duration::from_millis(20);

/// Most sessions at a time.
const SESSIONS_MAX: usize = 200;

/// A point of the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Before the greeting.
    Greeting,
    /// EHLO, HELO or LHLO.
    Hello,
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

/// What the sink does, by step; a recipient narrows a rule for RCPT.
type Script = Vec<(Step, Option<&'static str>, Behaviour)>;

/// Hears of each message right before it is answered for with a 250.
type Hook = Box<dyn Fn(&Taken) + Send + Sync>;

/// What sessions share.
struct Shared {
    script: Mutex<Script>,
    hook: Hook,
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

    /// Starts one that tells of each message before it answers for it.
    pub fn telling(script: Script, hook: Hook) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("failed to listen");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            script: Mutex::new(script),
            hook,
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

    /// How many messages it took so far.
    pub fn count(&self) -> usize {
        lock(&self.shared.taken).len()
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

/// One connection.
struct Session {
    reader: BufReader<TcpStream>,
    shared: Arc<Shared>,
    sender: String,
    recipients: Vec<String>,
    /// The client has said LHLO: each recipient gets a reply of its own.
    lmtp: bool,
}

impl Session {
    fn new(stream: TcpStream, shared: Arc<Shared>) -> io::Result<Self> {
        stream.set_read_timeout(Some(IO_TIME_MAX))?;
        stream.set_write_timeout(Some(IO_TIME_MAX))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            reader: BufReader::new(stream),
            shared,
            sender: String::new(),
            recipients: Vec::new(),
            lmtp: false,
        })
    }

    fn run(&mut self) -> io::Result<()> {
        self.step(Step::Greeting, "", "220 sink.example.net ESMTP")?;
        loop {
            let line = String::from_utf8_lossy(&self.line()?).trim_end().to_owned();
            let verb = line.split([' ', ':']).next().unwrap_or("").to_ascii_uppercase();
            match verb.as_str() {
                "EHLO" | "LHLO" => {
                    self.lmtp = verb == "LHLO";
                    let offers =
                        "250-sink.example.net\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 SIZE";
                    self.step(Step::Hello, "", offers)?;
                }
                "HELO" => drop(self.step(Step::Hello, "", "250 sink.example.net")?),
                "MAIL" => {
                    self.sender = path(&line);
                    self.recipients.clear();
                    self.step(Step::Mail, "", "250 2.1.0 ok")?;
                }
                "RCPT" => {
                    let recipient = path(&line);
                    if self.step(Step::Recipient, &recipient, "250 2.1.5 ok")? {
                        self.recipients.push(recipient);
                    }
                }
                "DATA" if self.recipients.is_empty() => self.say("503 5.5.1 no recipients")?,
                "DATA" => self.data()?,
                "RSET" | "NOOP" => self.say("250 2.0.0 ok")?,
                "QUIT" => return self.say("221 2.0.0 bye"),
                _ => self.say("500 5.5.2 what?")?,
            }
        }
    }

    fn data(&mut self) -> io::Result<()> {
        if !self.step(Step::Data, "", "354 go on")? {
            return Ok(());
        }
        let mut content = Vec::new();
        loop {
            let line = self.line()?;
            if line == b".\r\n" {
                break;
            }
            content.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
            if content.len() > MESSAGE_BYTES_MAX {
                return Err(io::Error::other("the message is too large for a test"));
            }
        }
        if let Some(behaviour) = self.rule(Step::Dot, "") {
            return self.act(behaviour).map(drop);
        }
        let recipients = std::mem::take(&mut self.recipients);
        let replies = if self.lmtp { recipients.len() } else { 1 };
        let message = Taken { sender: self.sender.clone(), recipients, content };
        (self.shared.hook)(&message);
        // As a server does: it is kept before anybody is told so.
        let number = {
            let mut taken = lock(&self.shared.taken);
            taken.push(message);
            taken.len() - 1
        };
        self.shared.took.notify_all();
        (0..replies).try_for_each(|_| self.say(&format!("250 2.0.0 sunk as {number}")))
    }

    /// Goes on with `usual` unless the script knows better; says whether it did.
    fn step(&mut self, step: Step, recipient: &str, usual: &str) -> io::Result<bool> {
        match self.rule(step, recipient) {
            None => self.say(usual).map(|()| true),
            Some(Behaviour::ReplyNaming(line)) => self.say(&format!("{line} <{recipient}>")).map(|()| false),
            Some(behaviour) => self.act(behaviour).map(|()| false),
        }
    }

    /// What the script says instead of going on.
    fn rule(&self, step: Step, recipient: &str) -> Option<Behaviour> {
        let fits = |only: &Option<&str>| only.is_none_or(|only| only == recipient);
        let script = lock(&self.shared.script);
        let &(.., behaviour) = script.iter().find(|(at, only, _)| *at == step && fits(only))?;
        match behaviour {
            Behaviour::ReplyEvery(times, line) => {
                let occasion = self.shared.occasions.fetch_add(1, Ordering::Relaxed);
                occasion.is_multiple_of(times).then_some(Behaviour::Reply(line))
            }
            Behaviour::Pause(time) => {
                drop(script);
                std::thread::sleep(time);
                None
            }
            behaviour => Some(behaviour),
        }
    }

    fn act(&mut self, behaviour: Behaviour) -> io::Result<()> {
        match behaviour {
            Behaviour::Reply(line) | Behaviour::ReplyNaming(line) | Behaviour::ReplyEvery(_, line) => {
                self.say(line)
            }
            Behaviour::Pause(_) => Ok(()),
            Behaviour::Close => Err(io::ErrorKind::ConnectionAborted.into()),
            Behaviour::Drip => loop {
                self.reader.get_mut().write_all(b"2")?;
                std::thread::sleep(DRIP_EVERY);
            },
            // Swallows what comes until the client goes away or we are stopped.
            Behaviour::Hang => loop {
                self.line()?;
            },
        }
    }

    fn say(&mut self, line: &str) -> io::Result<()> {
        self.reader.get_mut().write_all(format!("{line}\r\n").as_bytes())
    }

    /// A line with its end, which is CRLF: an LF alone does not end it.
    fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let left = LINE_BYTES_MAX.saturating_sub(line.len() as u64);
            if (&mut self.reader).take(left).read_until(b'\n', &mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(line)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // The list of streams holds a second descriptor, which would keep it open.
        let _ = self.reader.get_ref().shutdown(Shutdown::Both);
    }
}

/// What stands between the angle brackets.
fn path(line: &str) -> String {
    let inside = line.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inside.map_or("", |(path, _)| path).to_owned()
}
