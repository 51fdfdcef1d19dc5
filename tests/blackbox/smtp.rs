//! A small SMTP client of the tests' own, so that a mistake of the program's
//! client can't hide one of its server.
//!
//! Every read and write has a time limit. It must never repair what it is told
//! to send.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Longest time for one read or write.
const IO_TIME_MAX: Duration = Duration::from_secs(60);

/// Longest reply line that is read.
const REPLY_LINE_BYTES_MAX: u64 = 4096;

/// Most lines of one reply.
const REPLY_LINES_MAX: usize = 100;

/// A reply: its code and its text, lines joined by newlines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Three digits.
    pub code: u16,
    /// What follows them.
    pub text: String,
}

/// Why a message was not taken.
#[derive(Debug)]
pub enum Failure {
    /// The server said so.
    Refused(Reply),
    /// The connection broke.
    Broken(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(Reply { code, text }) => write!(f, "refused: {code} {text}"),
            Self::Broken(error) => write!(f, "the connection broke: {error}"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

/// A connection to a server.
pub struct Client<S = TcpStream> {
    reader: BufReader<S>,
}

impl Client {
    /// Connects, reads the greeting and says EHLO.
    ///
    /// # Errors
    /// The connection, or a reply that is not 2xx.
    pub fn connect(address: SocketAddr) -> Result<Self, Failure> {
        let mut client = Self::dial(address)?;
        let greeting = client.reply()?;
        expect(greeting, 220)?;
        expect(client.command("EHLO client.example.net")?, 250)?;
        Ok(client)
    }

    /// Our port.
    pub fn port(&self) -> u16 {
        self.reader.get_ref().local_addr().expect("a connection has an address").port()
    }

    /// Connects and says nothing.
    ///
    /// # Errors
    /// The connection.
    pub fn dial(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, IO_TIME_MAX)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(IO_TIME_MAX))?;
        stream.set_write_timeout(Some(IO_TIME_MAX))?;
        Ok(Self::on(stream))
    }

    /// Goes away in the middle of whatever it was.
    pub fn vanish(self) {
        let _ = self.reader.get_ref().shutdown(Shutdown::Both);
    }

    /// Sends nothing more, and reads whatever comes until the server has closed.
    pub fn hear_out(mut self) {
        let _ = self.reader.get_ref().shutdown(Shutdown::Write);
        read_to_end(&mut self.reader);
    }
}

/// Reads until the end, or until the connection breaks.
///
/// # Panics
/// If the server neither closes nor says anything for too long.
fn read_to_end(reader: &mut impl Read) {
    if let Err(error) = io::copy(reader, &mut io::sink()) {
        let slow = [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut].contains(&error.kind());
        assert!(!slow, "the server does not close: {error}");
    }
}

impl Client<UnixStream> {
    /// Connects to a Unix socket and says nothing.
    ///
    /// # Errors
    /// The connection.
    pub fn dial_unix(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(IO_TIME_MAX))?;
        stream.set_write_timeout(Some(IO_TIME_MAX))?;
        Ok(Self::on(stream))
    }

    /// Sends nothing more, and reads whatever comes until the server has closed.
    pub fn hear_out(mut self) {
        let _ = self.reader.get_ref().shutdown(Shutdown::Write);
        read_to_end(&mut self.reader);
    }
}

impl<S: Read + Write> Client<S> {
    fn on(stream: S) -> Self {
        Self { reader: BufReader::new(stream) }
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// The connection.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    /// Reads one reply.
    ///
    /// # Errors
    /// The connection, its end, or something that is no reply.
    pub fn reply(&mut self) -> io::Result<Reply> {
        let mut texts = Vec::new();
        while texts.len() < REPLY_LINES_MAX {
            let mut line = String::new();
            if (&mut self.reader).take(REPLY_LINE_BYTES_MAX).read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let odd = || io::Error::new(io::ErrorKind::InvalidData, format!("no reply: {line:?}"));
            let end = line.strip_suffix("\r\n").ok_or_else(odd)?;
            let code = end.get(..3).and_then(|code| code.parse().ok()).ok_or_else(odd)?;
            texts.push(end.get(4..).unwrap_or("").to_owned());
            match end.as_bytes().get(3) {
                Some(b'-') => {}
                Some(b' ') | None => return Ok(Reply { code, text: texts.join("\n") }),
                Some(_) => return Err(odd()),
            }
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "the reply does not end"))
    }

    /// Sends a command and reads the reply.
    ///
    /// # Errors
    /// The connection.
    pub fn command(&mut self, command: &str) -> io::Result<Reply> {
        self.send(format!("{command}\r\n").as_bytes())?;
        self.reply()
    }

    /// Says MAIL, RCPT and DATA, up to the 354.
    ///
    /// # Errors
    /// The connection, or a reply that stops it.
    pub fn begin(&mut self, from: &str, to: &[&str]) -> Result<(), Failure> {
        expect(self.command(&format!("MAIL FROM:<{from}> BODY=8BITMIME"))?, 250)?;
        for to in to {
            expect(self.command(&format!("RCPT TO:<{to}>"))?, 250)?;
        }
        expect(self.command("DATA")?, 354)?;
        Ok(())
    }

    /// One transaction; the id under which the message was queued.
    ///
    /// # Errors
    /// The connection, or a reply that stops it.
    pub fn deliver(&mut self, from: &str, to: &[&str], wire: &[u8]) -> Result<String, Failure> {
        self.deliver_stuffed(from, to, &[&stuffed(wire)])
    }

    /// One transaction with a message that is [`stuffed`] already, in parts.
    ///
    /// # Errors
    /// The connection, or a reply that stops it.
    pub fn deliver_stuffed(&mut self, from: &str, to: &[&str], parts: &[&[u8]]) -> Result<String, Failure> {
        self.begin(from, to)?;
        for part in parts.iter().filter(|part| !part.is_empty()) {
            self.send(part)?;
        }
        let reply = expect(self.reply()?, 250)?;
        let id = reply.text.strip_prefix("2.0.0 queued as ").map(str::to_owned);
        id.ok_or(Failure::Refused(reply))
    }
}

fn expect(reply: Reply, code: u16) -> Result<Reply, Failure> {
    if reply.code == code { Ok(reply) } else { Err(Failure::Refused(reply)) }
}

/// A message as it follows a 354: a dot before each dot at the start of a line
/// (RFC 5321 section 4.5.2), a last line end if there is none, and the end.
pub fn stuffed(wire: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(wire.len() + 64);
    for &byte in wire {
        if byte == b'.' && (out.is_empty() || out.ends_with(b"\r\n")) {
            out.push(b'.');
        }
        out.push(byte);
    }
    if !out.is_empty() && !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
    out
}

/// One message in a connection of its own.
///
/// # Errors
/// The connection, or a reply that stops it.
pub fn deliver(address: SocketAddr, from: &str, to: &[&str], wire: &[u8]) -> Result<String, Failure> {
    Client::connect(address)?.deliver(from, to, wire)
}
