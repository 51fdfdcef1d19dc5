//! The daemon's socket, and the commands' way to it.
//!
//! One JSON request a connection, one JSON answer. The socket lies in the spool,
//! so only the spool's user can reach it. A command that changes the queue asks
//! the daemon if one runs, and takes the spool's lock itself if none does; it
//! must never do both.

mod ask;

pub use ask::ask;

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};
use lazaret_envelope::MessageId;
use lazaret_operator::REQUEST_BYTES_MAX;
pub use lazaret_operator::{Part, Request};
use lazaret_spool::{OperatorError, Outcome, Owner, Place, Spool, Trouble};
use lazaret_worker::Pool;
use rustix::fs::Mode;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};
use tracing::{debug, warn};

use crate::config::Config;
use crate::exit::{self, Failure};
use crate::reload::Reloaded;
use crate::status::Status;

/// How long the daemon waits for a command, and for its own answer.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Commands that may wait for their turn; as many as std's listeners have.
const BACKLOG: i32 = 128;

/// Pause after a connection that failed.
const FAILED_PAUSE: Duration = Duration::from_millis(100);

/// What it answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// To [`Request::Reload`].
    Reloaded(Box<Reloaded>),
    /// It is done.
    Done,
    /// To [`Request::Pause`] and [`Request::Resume`]: why that part does not work now,
    /// if it doesn't.
    Part(Option<String>),
    /// To [`Request::Bounce`]: the id of the notice, if there was one to send.
    Bounced(Option<String>),
    /// To [`Request::Repair`]: what was done, or why it is left.
    Repaired(Result<String, String>),
    /// It could not be done: exit status and sentence.
    Failed(u8, String),
}

impl From<Failure> for Answer {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure.status(), failure.text().to_owned())
    }
}

/// A request on its way to the supervisor.
pub type Asked = (Request, Sender<Answer>);

/// A path to a socket that is short enough for any spool (sun_path holds 108
/// bytes): relative to an open directory.
fn short(directory: &fs::File, socket: &Path) -> PathBuf {
    let name = socket.file_name().unwrap_or_default();
    Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name)
}

/// Listens on the spool's socket; each request goes to `ask`. To be called by
/// the owner of the spool only: a socket that is there is nobody's.
pub fn listen(spool: &Spool, ask: impl Fn(Asked) + Send + 'static) -> io::Result<()> {
    let socket = spool.control_socket();
    match fs::remove_file(&socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let directory = fs::File::open(spool.root())?;
    let listener = bind(&short(&directory, &socket))?;
    std::thread::Builder::new().name("control".into()).spawn(move || {
        for connection in listener.incoming() {
            match connection.and_then(|connection| serve(connection, &ask)) {
                Ok(()) => {}
                Err(error) => {
                    debug!(%error, "a command's connection failed");
                    // Without a descriptor it fails at once, again and again.
                    std::thread::sleep(FAILED_PAUSE);
                }
            }
        }
    })?;
    Ok(())
}

/// Makes a socket that is its owner's alone from the first moment: the file takes
/// the mode that the socket has when it is bound (unix(7)), so no cut of the power
/// leaves it with another.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

fn serve(connection: UnixStream, ask: &impl Fn(Asked)) -> io::Result<()> {
    connection.set_read_timeout(Some(TIMEOUT))?;
    connection.set_write_timeout(Some(TIMEOUT))?;
    let mut line = Vec::new();
    BufReader::new((&connection).take(REQUEST_BYTES_MAX as u64)).read_until(b'\n', &mut line)?;
    let answer = match Request::decode(&line) {
        Ok(request) => {
            let (sender, receiver) = bounded(1);
            ask((request, sender));
            let stopping = Answer::Failed(exit::TEMPORARY, "the daemon is stopping; try again".into());
            receiver.recv_timeout(TIMEOUT).unwrap_or(stopping)
        }
        Err(error) => Answer::Failed(exit::USAGE, error.to_string()),
    };
    let mut text = serde_json::to_vec(&answer)?;
    text.push(b'\n');
    (&connection).write_all(&text)
}

/// Who carries out what an operator asks for.
pub enum Queue {
    /// The daemon that runs.
    Daemon(Spool),
    /// This process: no daemon runs, and it holds the lock.
    Own(Owner),
}

impl Queue {
    /// Finds out whether a daemon runs; takes the lock if none does.
    pub fn open(config: &Config) -> Result<Self, Failure> {
        let spool = Spool::open(&config.spool)?;
        match ask(&spool, &Request::Status)? {
            Some(_) => Ok(Self::Daemon(spool)),
            None => Ok(Self::Own(Owner::take(spool)?)),
        }
    }

    /// Takes a message out of quarantine.
    pub fn release(&self, id: MessageId) -> Result<(), Failure> {
        match self {
            Self::Daemon(spool) => done(ask(spool, &Request::Release(id))?),
            Self::Own(owner) => Ok(owner.release(id)?),
        }
    }

    /// Tells the sender of a message in quarantine that it is given up, and deletes
    /// it. The notice, if there was one to send.
    pub fn bounce(&self, config: &Config, id: MessageId) -> Result<Option<String>, Failure> {
        match self {
            Self::Daemon(spool) => match ask(spool, &Request::Bounce(id))? {
                Some(Answer::Bounced(notice)) => Ok(notice),
                answer => Err(unexpected(answer)),
            },
            Self::Own(owner) => bounce(owner, config, id),
        }
    }

    /// Deletes a message in quarantine.
    pub fn delete(&self, id: MessageId) -> Result<(), Failure> {
        match self {
            Self::Daemon(spool) => done(ask(spool, &Request::Delete(id))?),
            Self::Own(owner) => Ok(owner.delete(id)?),
        }
    }

    /// To be called when everything is done.
    pub fn close(self) -> Result<(), Failure> {
        match self {
            Self::Daemon(_) => Ok(()),
            Self::Own(owner) => owner.stop_cleanly().map_err(Failure::from),
        }
    }
}

fn done(answer: Option<Answer>) -> Result<(), Failure> {
    match answer {
        Some(Answer::Done) => Ok(()),
        answer => Err(unexpected(answer)),
    }
}

/// What a command says that got another answer than it asked for.
pub fn unexpected(answer: Option<Answer>) -> Failure {
    match answer {
        Some(Answer::Failed(status, text)) => Failure::new(status, text),
        Some(_) => Failure::new(exit::OS, "the daemon answered something else: is it of another version?"),
        None => Failure::new(exit::TEMPORARY, "the daemon has just stopped; try again"),
    }
}

/// Makes sure that a message that is released is tried, and not taken for a copy
/// of itself. Before the release: after it a worker may have seen it already.
fn forget(owner: &Owner, pool: &Pool, id: MessageId) {
    match owner.spool().report(id) {
        Ok(report) => {
            if let Some(fingerprint) = report.and_then(|report| report.fingerprint) {
                pool.forget(fingerprint.digest);
            }
        }
        Err(error) => warn!(%id, %error, "its report can't be read"),
    }
}

/// Asks the daemon of a configuration's spool for what only a daemon can do.
fn tell(config: &Config, request: &Request) -> Result<Option<Answer>, Failure> {
    let spool = Spool::open(&config.spool)?;
    match ask(&spool, request)? {
        None => {
            let what = format!("no daemon runs on {}; lazaret run starts one", spool.root().display());
            Err(Failure::new(exit::NO_INPUT, what))
        }
        answer => Ok(answer),
    }
}

/// `sendmail -q`
pub fn retry(config: &Config) -> Result<(), Failure> {
    done(tell(config, &Request::Retry)?)
}

/// How a part of the work is, once that was changed.
#[derive(Debug, Serialize)]
struct Changed {
    part: Part,
    /// Whether it works now.
    works: bool,
    /// Why it doesn't.
    why: Option<String>,
}

/// `lazaret pause` and `lazaret resume`
pub fn change(config: &Config, request: &Request, part: Part, as_json: bool) -> Result<ExitCode, Failure> {
    let why = match tell(config, request)? {
        Some(Answer::Part(why)) => why,
        answer => return Err(unexpected(answer)),
    };
    if as_json {
        exit::print_json(&Changed { part, works: why.is_none(), why })?;
    } else {
        let word = part.word();
        exit::print(match (why, request) {
            (None, _) => format!("{word} goes on\n"),
            (Some(why), Request::Resume(_)) => {
                format!("{word} does not go on yet, {why}; lazaret status shows it until it does\n")
            }
            (Some(why), _) => format!("{word} is {why}\n"),
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Repairs one thing while workers and deliveries go on. Looks again first: the
/// command's word is not enough.
pub fn repair(owner: &Owner, trouble: Trouble, place: &Place) -> Answer {
    if !trouble.is_repaired_beside(place.dir) {
        return Answer::Failed(exit::USAGE, "that is repaired only while no daemon runs".into());
    }
    match owner.repair(trouble, place) {
        Ok(Outcome::Done(remedy)) => Answer::Repaired(Ok(remedy.to_string())),
        Ok(Outcome::Gone) => Answer::Repaired(Ok("it has passed".into())),
        Ok(Outcome::Left(why)) => Answer::Repaired(Err(why.to_string())),
        Err(error) => Failure::from(error).into(),
    }
}

fn bounce(owner: &Owner, config: &Config, id: MessageId) -> Result<Option<String>, Failure> {
    let notice = lazaret_delivery::bounce(owner.quarantined(id)?, &config.delivery())?;
    Ok(notice.map(|notice| notice.to_string()))
}

/// Gives up a message in quarantine, as the daemon was asked to.
pub fn give_up(owner: &Owner, config: &Config, id: MessageId) -> Answer {
    match bounce(owner, config, id) {
        Ok(notice) => Answer::Bounced(notice),
        Err(failure) => {
            warn!(%id, failure = failure.text(), "a message could not be bounced");
            failure.into()
        }
    }
}

/// Takes a message out of quarantine, as the daemon was asked to.
pub fn release(owner: &Owner, pool: &Pool, id: MessageId) -> Answer {
    forget(owner, pool, id);
    changed(id, owner.release(id))
}

/// Deletes a message in quarantine, as the daemon was asked to.
pub fn delete(owner: &Owner, id: MessageId) -> Answer {
    changed(id, owner.delete(id))
}

fn changed(id: MessageId, result: Result<(), OperatorError>) -> Answer {
    match result.map_err(Failure::from) {
        Ok(()) => Answer::Done,
        Err(failure) => {
            warn!(%id, failure = failure.text(), "a command failed");
            failure.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn the_socket_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let _listener = bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        UnixStream::connect(&path).unwrap();
    }
}
