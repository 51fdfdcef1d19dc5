//! A temporary place with a configuration and a spool, and the commands that
//! are run in it.
//!
//! Everything that a case needs to know about files and command lines of the
//! program. It must never touch anything outside of its folder.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use crate::daemon::{Daemon, Logged, NotReady, Starting};
use crate::maildir::Maildirs;
use crate::process::{self, Finished, Started};
use crate::spooldir::SpoolDir;

/// The program under test.
pub const LAZARET: &str = env!("CARGO_BIN_EXE_lazaret");

/// Longest time for a command that only looks at the spool or adds to it.
const COMMAND_TIME_MAX: Duration = Duration::from_secs(60);

/// Longest time for `run --drain`.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(300);

/// Logs that are kept of a daemon that is started again and again.
const LOGS_KEPT: u32 = 20;

/// How much of the log is shown when a case fails.
const LOG_LINES_SHOWN: usize = 80;

/// If set, the folders of failed cases stay.
const KEEP_VARIABLE: &str = "LAZARET_KEEP_LABS";

/// The text of a configuration in parts.
#[derive(Clone)]
pub struct Config {
    top: String,
    listen: String,
    workers: String,
    tables: String,
    routes: Vec<String>,
}

impl Default for Config {
    /// SMTP on a free port, two workers, everything goes to Maildirs.
    fn default() -> Self {
        Self {
            top: String::new(),
            listen: String::new(),
            workers: "count = 2\n".into(),
            tables: String::new(),
            routes: vec!["deliver = \"mailboxes\"\n".into()],
        }
    }
}

impl Config {
    /// Nothing is routed.
    pub fn without_routes() -> Self {
        Self { routes: Vec::new(), ..Self::default() }
    }

    /// Has every message parsed whole, for a part type that none has.
    pub fn parsing_everything() -> Self {
        Self::default().route("part_type = \"application/x-never\"\ndeliver = \"mailboxes\"\n")
    }

    /// Adds lines that belong to no table.
    pub fn top(mut self, lines: &str) -> Self {
        self.top += lines;
        self
    }

    /// Adds lines to the SMTP listener.
    pub fn listen(mut self, lines: &str) -> Self {
        self.listen += lines;
        self
    }

    /// Adds lines to `[workers]`.
    pub fn workers(mut self, lines: &str) -> Self {
        self.workers += lines;
        self
    }

    /// Adds tables of their own.
    pub fn tables(mut self, lines: &str) -> Self {
        self.tables += "\n";
        self.tables += lines;
        self
    }

    /// Has everything delivered to a next hop.
    pub fn to(self, next_hop: SocketAddr) -> Self {
        let hop = format!("[transport.hop]\ntype = \"smtp\"\nnext_hops = [\"{next_hop}\"]\n");
        self.tables(&hop).route("deliver = \"hop\"\n")
    }

    /// Puts a route before those that are there.
    pub fn route(mut self, lines: &str) -> Self {
        self.routes.insert(0, lines.into());
        self
    }

    /// The whole text.
    pub fn text(&self) -> String {
        let mut text = format!(
            "spool = \"spool\"\n{}\n[[listen]]\nprotocol = \"smtp\"\naddress = \"127.0.0.1:0\"\n{}\n[workers]\n{}\n\
             [transport.mailboxes]\ntype = \"maildir\"\npath = \"mail/{{domain}}/{{local}}\"\n{}",
            self.top, self.listen, self.workers, self.tables
        );
        for route in &self.routes {
            text += &format!("\n[[route]]\n{route}");
        }
        text
    }
}

/// The place.
pub struct Lab {
    folder: PathBuf,
    /// Removes the folder in the end, if it is ours.
    temporary: Option<TempDir>,
    logs: AtomicU32,
}

impl Lab {
    /// With the default configuration.
    pub fn new() -> Self {
        Self::with(&Config::default())
    }

    /// With a configuration.
    pub fn with(config: &Config) -> Self {
        let folder = tempfile::Builder::new().prefix("lazaret-").tempdir().expect("failed to make a folder");
        let mut lab = Self::at(folder.path().to_owned(), config);
        lab.temporary = Some(folder);
        lab
    }

    /// With a configuration, in a folder that stays.
    pub fn at(folder: PathBuf, config: &Config) -> Self {
        let lab = Self { folder, temporary: None, logs: AtomicU32::new(0) };
        lab.configure(config);
        lab
    }

    /// Writes another configuration.
    pub fn configure(&self, config: &Config) {
        self.configure_with(&config.text());
    }

    /// Writes another configuration, given as text.
    pub fn configure_with(&self, text: &str) {
        std::fs::write(self.config(), text).expect("failed to write the configuration");
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.path("lazaret.toml")
    }

    /// The spool.
    pub fn spool(&self) -> SpoolDir {
        SpoolDir::new(self.path("spool"))
    }

    /// Where mail is delivered.
    pub fn mail(&self) -> Maildirs {
        Maildirs::new(self.path("mail"))
    }

    /// Starts the daemon and waits until it is ready.
    pub fn start(&self) -> Daemon {
        ready(self.try_start())
    }

    /// Starts the daemon so that its log tells what each message cost.
    pub fn start_with_costs(&self) -> Daemon {
        ready(self.launch(Logged::Costs))
    }

    /// Starts the daemon, which may refuse.
    ///
    /// # Errors
    /// How it ended, and what it wrote.
    pub fn try_start(&self) -> Result<Daemon, NotReady> {
        self.launch(Logged::Usual)
    }

    /// Starts the daemon from a copy of the program that is the case's own to spoil.
    pub fn start_copy(&self) -> (Daemon, PathBuf) {
        let copy = self.copy_of_program();
        (ready(Daemon::spawn(&copy, &self.config(), &self.next_log(), Logged::Usual).ready()), copy)
    }

    /// A copy of the program. Another process writes it: a descriptor of ours could
    /// still be open in a child that another case has just forked, and nobody can start
    /// what somebody may write to (execve(2), ETXTBSY).
    pub fn copy_of_program(&self) -> PathBuf {
        let copy = self.path("lazaret");
        let copied =
            process::finish(Command::new("cp").arg("--").arg(LAZARET).arg(&copy), b"", COMMAND_TIME_MAX);
        assert_eq!(copied.code, Some(0), "{copied:?}");
        copy
    }

    fn launch(&self, logged: Logged) -> Result<Daemon, NotReady> {
        Daemon::spawn(Path::new(LAZARET), &self.config(), &self.next_log(), logged).ready()
    }

    /// Starts the daemon with another configuration file, and waits for nothing.
    pub fn spawn(&self, config: &Path) -> Starting {
        Daemon::spawn(Path::new(LAZARET), config, &self.next_log(), Logged::Usual)
    }

    fn next_log(&self) -> PathBuf {
        let log = |number| self.path(&format!("daemon.{number}.log"));
        let number = self.logs.fetch_add(1, Ordering::Relaxed);
        if let Some(old) = number.checked_sub(LOGS_KEPT) {
            // One more or less makes no difference.
            let _ = std::fs::remove_file(log(old));
        }
        log(number)
    }

    /// Makes the spool's directories, by a daemon that is stopped at once.
    pub fn prepare(&self) {
        assert_eq!(self.start().terminate().code(), Some(0), "a daemon without work stops with status 0");
    }

    /// Routes and delivers what is there: `run --drain`.
    pub fn drain(&self) -> Option<i32> {
        let mut command = Command::new(LAZARET);
        command.args(["run", "--drain", "--config"]).arg(self.config());
        process::finish(&mut command, b"", DRAIN_TIME_MAX).code
    }

    /// The latest log.
    pub fn log(&self) -> String {
        let Some(number) = self.logs.load(Ordering::Relaxed).checked_sub(1) else { return String::new() };
        let log = std::fs::read(self.path(&format!("daemon.{number}.log"))).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Its end.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        eprintln!("the daemon's log ended so:\n{}", self.log_tail());
        if std::env::var_os(KEEP_VARIABLE).is_some() {
            if let Some(folder) = &mut self.temporary {
                folder.disable_cleanup(true);
            }
            eprintln!("left for you: {}", self.folder.display());
        }
    }
}

#[track_caller]
fn ready(started: Result<Daemon, NotReady>) -> Daemon {
    started.unwrap_or_else(|NotReady { status, log }| panic!("not ready ({status:?}):\n{log}"))
}

/// Runs a command of the program: `args`, then `--config FILE`.
pub fn cli(lab: &Lab, args: &[&str]) -> Finished {
    process::finish(Command::new(LAZARET).args(args).arg("--config").arg(lab.config()), b"", COMMAND_TIME_MAX)
}

/// What became of a submission.
#[derive(Debug)]
pub struct Submitted {
    /// The exit status.
    pub exit: Option<i32>,
    /// The id, if the message was taken.
    pub id: Option<String>,
    /// What was printed as errors.
    pub said: String,
    /// Whether the program was killed.
    pub killed: bool,
}

/// Hands a message to `lazaret submit`, as an MTA's pipe would.
pub fn submit(lab: &Lab, sender: &str, recipients: &[&str], message: &[u8]) -> Submitted {
    submitting(lab, sender, recipients, message).finish(COMMAND_TIME_MAX).into()
}

/// Begins to hand a message to `lazaret submit`, with not a byte to be added (`-G`).
pub fn submitting(lab: &Lab, sender: &str, recipients: &[&str], message: &[u8]) -> Started {
    let mut command = Command::new(LAZARET);
    command
        .args(["submit", "--config"])
        .arg(lab.config())
        .args(["-G", "-i", "-f", sender, "--"])
        .args(recipients);
    process::start(&mut command, message)
}

impl From<Finished> for Submitted {
    fn from(finished: Finished) -> Self {
        let id = finished.stdout.trim().strip_prefix("2.0.0 queued as ").map(str::to_owned);
        Self { exit: finished.code, id, said: finished.stderr, killed: finished.killed }
    }
}

/// Submits a message that must be taken; gives its id.
#[track_caller]
pub fn submitted(lab: &Lab, recipient: &str, message: &[u8]) -> String {
    let submitted = submit(lab, "sender@example.com", &[recipient], message);
    match submitted {
        Submitted { exit: Some(0), id: Some(id), .. } => id,
        Submitted { exit, said, .. } => panic!("not taken ({exit:?}): {said}"),
    }
}
