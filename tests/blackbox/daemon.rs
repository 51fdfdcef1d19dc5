//! A running daemon: started, known to be ready, ended in one way or another.
//!
//! Its standard output says when and where it listens; its log goes to a file.
//! It must never outlive the case that started it.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::process::{self, Owned};

/// Longest time until the daemon says that it is ready, recovery included.
const READY_TIME_MAX: Duration = Duration::from_secs(60);

/// Longest time from SIGTERM to the end: "within seconds".
pub const STOP_TIME_MAX: Duration = Duration::from_secs(15);

/// Longest time for a daemon to end by itself once its output has ended.
const END_TIME_MAX: Duration = Duration::from_secs(5);

/// A daemon that is ready.
pub struct Daemon {
    child: Owned,
    smtp: SocketAddr,
}

/// A daemon that may not be ready yet.
pub struct Starting {
    child: Owned,
    lines: Receiver<String>,
    log: PathBuf,
}

impl Starting {
    /// Reads what it says until the line `ready`.
    ///
    /// # Errors
    /// It ended, or said nothing for too long.
    pub fn ready(mut self) -> Result<Daemon, NotReady> {
        if let Some(smtp) = wait_for_ready(&self.lines) {
            return Ok(Daemon { child: self.child, smtp });
        }
        let status = self.child.wait(END_TIME_MAX);
        let log = std::fs::read(&self.log).unwrap_or_default();
        Err(NotReady { status, log: String::from_utf8_lossy(&log).into_owned() })
    }

    /// Kills it without warning and waits until it is gone; how it ended.
    pub fn kill9(mut self) -> ExitStatus {
        self.child.kill()
    }
}

/// A daemon that did not get so far.
#[derive(Debug)]
pub struct NotReady {
    /// How it ended; `None` if it had to be killed.
    pub status: Option<ExitStatus>,
    /// What it had logged.
    pub log: String,
}

/// What a daemon logs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Logged {
    /// What it does unless told otherwise.
    Usual,
    /// Also what each message cost in its cell, an object of JSON a line.
    Costs,
}

impl Daemon {
    /// Starts `lazaret run`.
    pub fn spawn(program: &Path, config: &Path, log: &Path, logged: Logged) -> Starting {
        let stderr = File::create(log).unwrap_or_else(|error| panic!("failed to create {log:?}: {error}"));
        let mut command = Command::new(program);
        command.args(["run", "--config"]).arg(config);
        if logged == Logged::Costs {
            command.args(["--log-format", "json"]).env("LAZARET_LOG", "info,lazaret_worker=debug");
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .unwrap_or_else(|error| panic!("failed to start {program:?}: {error}"));
        let mut child = Owned(child);
        let lines = lines_of(child.0.stdout.take().expect("stdout is a pipe"));
        Starting { child, lines, log: log.to_owned() }
    }

    /// Where it listens for SMTP.
    pub fn smtp(&self) -> SocketAddr {
        self.smtp
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Whether it runs.
    pub fn is_alive(&mut self) -> bool {
        self.child.is_alive()
    }

    /// The process ids of its cells.
    pub fn cells(&self) -> Vec<u32> {
        process::children(self.pid())
    }

    /// The most memory that it ever had, its cells not counted.
    pub fn memory_peak(&self) -> u64 {
        process::memory_peak(self.pid())
    }

    /// Kills it without warning. Its process id stays its own until it is
    /// [waited for](Self::kill9).
    pub fn cut(&mut self) {
        self.child.cut();
    }

    /// Kills it without warning and waits until it is gone; how it ended.
    pub fn kill9(mut self) -> ExitStatus {
        self.child.kill()
    }

    /// Asks it to stop.
    pub fn ask_to_stop(&self) {
        self.child.terminate();
    }

    /// Waits for it to end by itself; its status.
    ///
    /// # Panics
    /// If it runs on after `limit`.
    pub fn end(mut self, limit: Duration) -> ExitStatus {
        self.child.wait(limit).unwrap_or_else(|| panic!("it did not end within {limit:?}"))
    }

    /// Has it read its configuration again, by a signal.
    pub fn hang_up(&self) {
        self.child.hang_up();
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    /// If it runs on after [`STOP_TIME_MAX`].
    pub fn ended(mut self) -> ExitStatus {
        self.child.wait(STOP_TIME_MAX).unwrap_or_else(|| panic!("it did not end within {STOP_TIME_MAX:?}"))
    }

    /// Asks it to stop, and waits until it has.
    ///
    /// # Panics
    /// If it runs on after [`STOP_TIME_MAX`].
    pub fn terminate(self) -> ExitStatus {
        self.ask_to_stop();
        self.ended()
    }
}

/// Reads lines in a thread of their own until the other side closes, so that
/// the pipe never fills up.
fn lines_of(stdout: std::process::ChildStdout) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            // Nobody listens any more once it was ready.
            let _ = sender.send(line);
        }
    });
    receiver
}

/// The SMTP address, once it is ready.
fn wait_for_ready(lines: &Receiver<String>) -> Option<SocketAddr> {
    let deadline = Instant::now() + READY_TIME_MAX;
    let mut smtp = None;
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) if line == "ready" => return Some(smtp.expect("an address before `ready`")),
            Ok(line) => {
                let address = line.strip_prefix("listening for smtp on ");
                // Others may listen on Unix sockets.
                smtp = address.and_then(|text| text.parse().ok()).or(smtp);
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
        }
    }
}
