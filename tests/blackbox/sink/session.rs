//! One session of a sink: what it says, hears and takes.
//!
//! It must never wait for a client for ever.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustls::{ServerConnection, StreamOwned};

use super::{Behaviour, Shared, Skills, Step, Taken, lock};

/// Longest wait for the client's next line, and longest hang.
const IO_TIME_MAX: Duration = Duration::from_secs(120);

/// Longest line that is read.
const LINE_BYTES_MAX: u64 = 64 << 20;

/// Largest message that is kept.
const MESSAGE_BYTES_MAX: usize = 128 << 20;

/// The pause between two bytes of a server that has nothing to say.
const DRIP_EVERY: Duration = Duration::from_millis(20);

/// Most commands that are remembered.
const HEARD_MAX: usize = 10_000;

/// What a session reads from and writes to.
enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// One connection.
pub(super) struct Session {
    reader: BufReader<Stream>,
    socket: TcpStream,
    secured: bool,
    logged_in: bool,
    shared: Arc<Shared>,
    sender: String,
    recipients: Vec<String>,
    /// The client has said LHLO: each recipient gets a reply of its own.
    lmtp: bool,
}

impl Session {
    pub(super) fn new(stream: TcpStream, shared: Arc<Shared>) -> io::Result<Self> {
        stream.set_read_timeout(Some(IO_TIME_MAX))?;
        stream.set_write_timeout(Some(IO_TIME_MAX))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            socket: stream.try_clone()?,
            reader: BufReader::new(Stream::Plain(stream)),
            secured: false,
            logged_in: false,
            shared,
            sender: String::new(),
            recipients: Vec::new(),
            lmtp: false,
        })
    }

    pub(super) fn run(&mut self) -> io::Result<()> {
        self.step(Step::Greeting, "", "220 sink.example.net ESMTP")?;
        loop {
            let line = String::from_utf8_lossy(&self.line()?).trim_end().to_owned();
            self.hear(&line);
            let verb = line.split([' ', ':']).next().unwrap_or("").to_ascii_uppercase();
            match verb.as_str() {
                "EHLO" | "LHLO" => {
                    self.lmtp = verb == "LHLO";
                    let offers = self.offers();
                    self.step(Step::Hello, "", &offers)?;
                }
                "STARTTLS" if self.offers_tls() => {
                    if self.step(Step::StartTls, "", "220 2.0.0 go on")? {
                        self.secure()?;
                    }
                }
                "AUTH" if self.shared.skills.login.is_some() => self.log_in(line)?,
                "MAIL" if self.shared.skills.login.is_some() && !self.logged_in => {
                    self.say("530 5.7.0 log in first")?;
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
                "BDAT" => self.chunk(&line)?,
                "RSET" | "NOOP" => self.say("250 2.0.0 ok")?,
                "QUIT" => return self.say("221 2.0.0 bye"),
                _ => self.say("500 5.5.2 what?")?,
            }
        }
    }

    fn hear(&self, line: &str) {
        let mut heard = lock(&self.shared.heard);
        if heard.len() < HEARD_MAX {
            heard.push(if self.secured { format!("tls {line}") } else { line.to_owned() });
        }
    }

    fn offers_tls(&self) -> bool {
        self.shared.skills.tls.is_some() && !self.secured
    }

    /// The answer to EHLO.
    fn offers(&self) -> String {
        let Skills { login, offers, .. } = &self.shared.skills;
        let mut lines = vec!["sink.example.net", "PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE"];
        if self.offers_tls() {
            lines.push("STARTTLS");
        } else {
            lines.extend(login.map(|lines| lines[0]).map(|auth| auth.split_at(10).0));
            lines.extend(*offers);
        }
        let last = lines.len() - 1;
        let lines = lines.iter().enumerate();
        let lines = lines.map(|(at, line)| format!("250{}{line}", if at == last { ' ' } else { '-' }));
        lines.collect::<Vec<_>>().join("\r\n")
    }

    /// Goes on encrypted, by the client's handshake.
    fn secure(&mut self) -> io::Result<()> {
        if let Some(behaviour) = self.rule(Step::Handshake, "") {
            return self.act(behaviour);
        }
        let Some(config) = self.shared.skills.tls.clone() else { return Ok(()) };
        assert!(self.reader.buffer().is_empty(), "a client waits for the reply to STARTTLS");
        let connection = ServerConnection::new(config).map_err(io::Error::other)?;
        let stream = StreamOwned::new(connection, self.socket.try_clone()?);
        self.reader = BufReader::new(Stream::Tls(Box::new(stream)));
        self.secured = true;
        Ok(())
    }

    fn log_in(&mut self, mut line: String) -> io::Result<()> {
        let lines = self.shared.skills.login.unwrap_or_default();
        for (at, expected) in lines.iter().enumerate() {
            if line != *expected {
                return self.say("535 5.7.8 who are you?");
            }
            if at + 1 < lines.len() {
                self.say("334 ")?;
                line = String::from_utf8_lossy(&self.line()?).trim_end().to_owned();
            }
        }
        self.logged_in = self.step(Step::Auth, "", "235 2.7.0 welcome")?;
        Ok(())
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
        self.take(content)
    }

    /// The one chunk that a message has here, `BDAT length LAST`.
    fn chunk(&mut self, line: &str) -> io::Result<()> {
        let length = line.strip_prefix("BDAT ").and_then(|rest| rest.strip_suffix(" LAST"));
        let length = length.and_then(|length| length.parse::<usize>().ok());
        let Some(length) = length.filter(|&length| length <= MESSAGE_BYTES_MAX) else {
            return Err(io::Error::other(format!("not the one and last chunk: {line}")));
        };
        let mut content = vec![0; length];
        self.reader.read_exact(&mut content)?;
        if self.recipients.is_empty() { self.say("503 5.5.1 no recipients") } else { self.take(content) }
    }

    /// The message is there.
    fn take(&mut self, content: Vec<u8>) -> io::Result<()> {
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
                self.reader.get_mut().flush()?;
                std::thread::sleep(DRIP_EVERY);
            },
            // Swallows what comes until the client goes away or we are stopped.
            Behaviour::Hang => loop {
                self.line()?;
            },
        }
    }

    fn say(&mut self, line: &str) -> io::Result<()> {
        self.reader.get_mut().write_all(format!("{line}\r\n").as_bytes())?;
        self.reader.get_mut().flush()
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
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

/// What stands between the angle brackets.
fn path(line: &str) -> String {
    let inside = line.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inside.map_or("", |(path, _)| path).to_owned()
}
