//! The template: a process that is all that a cell is before its first message,
//! and of which each cell is a copy.
//!
//! To start the program anew takes more than a millisecond of a processor, which
//! is several messages; to copy a process takes a tenth of that. The template is
//! executed afresh, so that nothing of this process's memory is in it, and must
//! never see a message.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Pid;
use tracing::warn;

use crate::child::{Cell, CellError};
use crate::frame::Setup;
use crate::jail::JailMode;
use crate::offspring::Offspring;
use crate::page::SharedPage;
use crate::passing;

mod inside;

pub use self::inside::main;

/// The hidden subcommand as which the program runs as a template.
pub const CELL_COMMAND: &str = "cell";

/// Longest time in which a template makes a copy, on a machine under load.
const COPY_TIME_MAX: Duration = Duration::from_secs(60);

/// Copies that are made of one template. All have its layout in memory: whoever takes
/// cells over by guessing it must not have many guesses.
const COPIES_MAX: u32 = 16;

/// What is asked of a template: a copy, with the two descriptors that come beside it.
const COPY: [u8; 1] = [1];

/// What it answers: the process id of the copy, or an error number below zero.
type Answer = i32;

/// The program, held open since start: an upgrade on disk can't mix versions.
#[derive(Debug, Clone)]
pub(crate) struct Program(Arc<File>);

impl Program {
    /// The program that is running.
    pub(crate) fn current() -> io::Result<Self> {
        Self::at(Path::new("/proc/self/exe"))
    }

    /// Another build of the program, which must answer to [`CELL_COMMAND`] as well.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        File::open(path).map(Arc::new).map(Self)
    }
}

/// Where cells come from. They are children of the thread that started the template
/// first, and end with it.
#[derive(Debug)]
pub(crate) struct Template {
    program: Program,
    /// The setup as it goes to the process.
    setup: Vec<u8>,
    jail: JailMode,
    process: Option<Process>,
}

/// The process.
#[derive(Debug)]
struct Process {
    child: Offspring,
    socket: UnixStream,
    copies: u32,
}

impl Template {
    /// Of cells of a program that know these routes. Nothing is started yet.
    pub(crate) fn new(program: Program, setup: &Setup) -> io::Result<Self> {
        let json = serde_json::to_vec(setup)?;
        let length = u32::try_from(json.len()).map_err(io::Error::other)?;
        let setup_bytes = [&length.to_le_bytes(), &json[..]].concat();
        Ok(Self { program, setup: setup_bytes, jail: setup.jail, process: None })
    }

    /// How its cells are to be jailed.
    pub(crate) fn jail(&self) -> JailMode {
        self.jail
    }

    /// Its process id; 0 while there is none.
    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().map_or(0, |process| process.child.pid().as_raw_pid().unsigned_abs())
    }

    /// A new cell; of a new process, if this one has made enough, or somebody ended it.
    pub(crate) fn cell(&mut self) -> Result<Cell, CellError> {
        if let Some(mut process) = self.process.take().filter(|process| process.copies < COPIES_MAX) {
            match process.copy() {
                Ok(cell) => {
                    self.process = Some(process);
                    return Ok(cell);
                }
                Err(error) => warn!(%error, "a new template for cells"),
            }
        }
        let mut process = Process::start(&self.program, &self.setup).map_err(CellError::Start)?;
        let cell = process.copy().map_err(CellError::Start)?;
        self.process = Some(process);
        Ok(cell)
    }
}

impl Process {
    /// Starts the process and tells it the routes. Its environment is empty, and its
    /// only descriptor that leads anywhere is a socket.
    fn start(program: &Program, setup: &[u8]) -> io::Result<Self> {
        let (mut socket, theirs) = UnixStream::pair()?;
        socket.set_read_timeout(Some(COPY_TIME_MAX))?;
        let child = Command::new(format!("/proc/self/fd/{}", program.0.as_raw_fd()))
            .arg0("lazaret-cell")
            .arg(CELL_COMMAND)
            .env_clear()
            .current_dir("/")
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let child = Offspring::new(Pid::from_child(&child))?;
        socket.write_all(setup)?;
        Ok(Self { child, socket, copies: 0 })
    }

    /// Has it make a copy of itself, which is a child of this process, and whose only
    /// descriptors are a socket and the shared page.
    fn copy(&mut self) -> io::Result<Cell> {
        let (mine, theirs) = UnixStream::pair()?;
        let (page, memory) = SharedPage::create()?;
        let mut answer = [0; size_of::<Answer>()];
        passing::send(&self.socket, &COPY, [theirs.as_fd(), memory.as_fd()])
            .and_then(|()| self.socket.read_exact(&mut answer))
            .map_err(|error| self.failed(error))?;
        let answer = Answer::from_le_bytes(answer);
        let Some(pid) = Pid::from_raw(answer.max(0)) else {
            return Err(io::Error::from_raw_os_error(answer.saturating_neg()));
        };
        self.copies += 1;
        Ok(Cell::new(Offspring::new(pid)?, mine, page))
    }

    /// What became of a process that does not answer.
    fn failed(&mut self, error: io::Error) -> io::Error {
        self.child.end();
        let ended = self.child.reap().map_or_else(|error| error.to_string(), |status| status.to_string());
        io::Error::new(error.kind(), format!("the template of cells gave no answer: {error} ({ended})"))
    }
}
