//! A next hop for tests: takes everything, but for what its rules say.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// How long a server sleeps that hears nothing.
const SLEEP: Duration = Duration::from_secs(5);

/// What the server does instead of agreeing.
#[derive(Clone, Copy)]
pub(crate) enum Act {
    /// Replies so.
    Say(&'static str),
    /// Replies so and closes.
    SayAndClose(&'static str),
    /// Replies so, and then hears nothing more, but stays.
    SayAndSleep(&'static str),
    /// Says nothing more, but stays.
    Silence,
    /// Sends a letter now and then.
    Trickle,
    /// Closes.
    Close,
}

/// The beginning of a command, or `greeting`, or `.` for the end of the data,
/// and what happens then.
pub(crate) type Rule = (&'static str, Act);

/// A next hop.
pub(crate) struct Server {
    /// `host:port`
    pub(crate) address: String,
    log: Arc<Mutex<Vec<String>>>,
    rules: Arc<Mutex<Vec<Rule>>>,
}

impl Server {
    pub(crate) fn start(rules: &[Rule]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (log, rules) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(rules.to_vec())));
        let server = Self { address, log: Arc::clone(&log), rules: Arc::clone(&rules) };
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (log, rules) = (Arc::clone(&log), rules.lock().unwrap().clone());
                log.lock().unwrap().push("connected".to_owned());
                // A client that goes away ends the conversation.
                thread::spawn(move || drop(converse(stream.unwrap(), &rules, &log)));
            }
        });
        server
    }

    /// Speaks over a Unix socket as well, for one conversation.
    pub(crate) fn also_at(&self, path: &Path) {
        let (listener, address) = (UnixListener::bind(path).unwrap(), self.address.clone());
        thread::spawn(move || {
            let (near, _) = listener.accept().unwrap();
            let far = TcpStream::connect(address).unwrap();
            let (mut near_in, mut far_in) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            let (mut near_out, mut far_out) = (near, far);
            thread::spawn(move || std::io::copy(&mut near_in, &mut far_out));
            std::io::copy(&mut far_in, &mut near_out)
        });
    }

    /// Goes by other rules in conversations that begin from now on.
    pub(crate) fn follow(&self, rules: &[Rule]) {
        *self.rules.lock().unwrap() = rules.to_vec();
    }

    /// What was said to it: commands, and messages as one text each.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// How often something of this beginning was said to it.
    pub(crate) fn count(&self, beginning: &str) -> usize {
        self.log().iter().filter(|line| line.starts_with(beginning)).count()
    }
}

fn converse(stream: TcpStream, rules: &[Rule], log: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut input = BufReader::new(stream.try_clone()?);
    if !act(&stream, rules, "greeting", "220 next.hop\r\n")? {
        return Ok(());
    }
    loop {
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            return Ok(());
        }
        log.lock().unwrap().push(line.trim_end().to_owned());
        if line.starts_with("BDAT") {
            let mut held = Vec::new();
            let _ = input.read_to_end(&mut held);
            log.lock().unwrap().push(format!("held {}", held.len()));
            return Ok(());
        }
        let default = match line.get(..4) {
            Some("EHLO") => "250-next.hop\r\n250 PIPELINING\r\n",
            Some("DATA") => "354 go\r\n",
            Some("QUIT") => "221 bye\r\n",
            _ => "250 ok\r\n",
        };
        let goes_on = act(&stream, rules, &line, default)?;
        let refused = rules.iter().any(|(key, _)| line.starts_with(key));
        if !goes_on || line.starts_with("QUIT") {
            return Ok(());
        }
        if line.starts_with("DATA") && !refused {
            let mut message = String::new();
            while message != ".\r\n" && !message.ends_with("\r\n.\r\n") {
                if input.read_line(&mut message)? == 0 {
                    log.lock().unwrap().push(format!("cut: {message}"));
                    return Ok(());
                }
            }
            log.lock().unwrap().push(format!("message: {message}"));
            if !act(&stream, rules, ".", "250 queued\r\n")? {
                return Ok(());
            }
        }
    }
}

/// Whether the conversation goes on.
fn act(mut stream: &TcpStream, rules: &[Rule], what: &str, default: &'static str) -> std::io::Result<bool> {
    let rule = rules.iter().find(|(key, _)| what.starts_with(key));
    match rule.map_or(Act::Say(default), |(_, act)| *act) {
        Act::Say(text) => stream.write_all(text.as_bytes()).map(|()| true),
        Act::SayAndSleep(text) => {
            stream.write_all(text.as_bytes())?;
            thread::sleep(SLEEP);
            Ok(false)
        }
        Act::SayAndClose(text) => stream.write_all(text.as_bytes()).map(|()| false),
        Act::Silence => stream.read_to_end(&mut Vec::new()).map(|_| false),
        Act::Close => Ok(false),
        Act::Trickle => loop {
            stream.write_all(b"2")?;
            thread::sleep(Duration::from_millis(10));
        },
    }
}
