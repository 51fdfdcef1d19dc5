//! The cell: the child process in which messages are parsed.
//!
//! A copy of the [template](crate::template), it has two descriptors, a socket to
//! its worker and the shared page, shuts its jail ([`jail`]), and only then gets
//! messages: for each task the descriptor of one. It reads the message, judges it,
//! gives everything back, and only then answers. What goes wrong in it ends it; it
//! must never try to recover, and never make a system call that is not on the
//! jail's list.

use std::ffi::CStr;
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::panic::PanicHookInfo;

use lazaret_envelope::{Envelope, Line, Stage};
use lazaret_route::{Facts, FactsError, Limits, RouteTable, Verdict};
use memmap2::{Mmap, MmapOptions};

use crate::alarm::{self, Alarm};
use crate::allocator;
use crate::frame::{Answer, Setup, Task, encode_answer};
use crate::jail;
use crate::page::{Page, SharedPage};
use crate::passing;
use crate::process::exit_now;

/// Exit status of a cell that panicked.
pub(crate) const EXIT_PANIC: i32 = 78;

/// Exit status of a cell that could not understand its worker.
pub(crate) const EXIT_PROTOCOL: i32 = 79;

/// A cell that holds so much more than before its message wants to be replaced.
const GROWTH_BYTES_MAX: u64 = 1 << 20;

/// Messages of this size and more are mapped, smaller ones are read.
const MAP_BYTES_MIN: u64 = 64 << 10;

/// What ps(1) and top(1) call a cell.
const NAME: &CStr = c"lazaret-cell";

/// The life of a cell: it ends when the worker closes the socket.
pub(crate) fn run(socket: UnixStream, memory: OwnedFd, table: &RouteTable, setup: &Setup) -> io::Result<()> {
    rustix::thread::set_name(NAME)?;
    let tied = jail::tie(&socket)?;
    let page = SharedPage::map(&memory)?.leak();
    // Here, and not by the jail, which closes whatever nobody owns.
    drop(memory);
    allocator::count_for(page);
    alarm::install()?;
    std::panic::set_hook(Box::new(|info| on_panic(page, info)));
    page.set_jail(jail::build(setup.jail, tied).shut());
    serve(socket, page, table, &setup.limits)
}

/// Leaves the panic's message on the page and ends the cell: nothing unwinds.
fn on_panic(page: &Page, info: &PanicHookInfo<'_>) -> ! {
    let place = info.location().map_or(0, std::panic::Location::line);
    let file = info.location().map_or("", std::panic::Location::file);
    let file = file.rsplit('/').next().unwrap_or("");
    page.set_note(&format!("{} at {file}:{place}", info.payload_as_str().unwrap_or("panic")));
    exit_now(EXIT_PANIC)
}

/// Answers tasks until the worker closes the socket.
fn serve(mut socket: UnixStream, page: &'static Page, table: &RouteTable, limits: &Limits) -> io::Result<()> {
    while let Some((task, [file])) = passing::receive(&socket)? {
        let task = Task::decode(&task);
        page.take(task.number);
        allocator::begin(task.memory);
        let alarm = task.makes_way.map(Alarm::set);
        let answer = judge(table, limits, page, task, file)?;
        drop(alarm);
        page.set_stage(Stage::TearDown);
        let (peak, left) = allocator::end();
        page.set_peak(peak);
        page.set_stage(Stage::Answer);
        let retire = left > GROWTH_BYTES_MAX;
        socket.write_all(&encode_answer(task.number, peak, retire, &answer))?;
        if retire {
            break;
        }
    }
    socket.shutdown(Shutdown::Both)
}

/// Judges one message; whatever it took is given back on return, but for what
/// the parser can't give back without recursion.
fn judge(table: &RouteTable, limits: &Limits, page: &Page, task: Task, file: OwnedFd) -> io::Result<Answer> {
    page.set_stage(Stage::Read);
    let bytes = Bytes::of(file)?;
    let bytes = bytes.as_slice();
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let (envelope, offset) = Envelope::parse(bytes).map_err(|error| invalid(error.to_string()))?;
    if envelope.id != task.id {
        return Err(invalid(format!("asked about {}, given {}", task.id, envelope.id)));
    }
    page.set_stage(Stage::Route);
    let mut observe = |stage| page.set_stage(stage);
    let mut facts = Facts::new(&bytes[offset..], limits, &mut observe);
    let judged: Result<Verdict, FactsError> = table.judge(&envelope.transaction, &mut facts);
    Ok(match judged {
        Ok(verdict) => Answer::Verdict(verdict.encode()),
        Err(error) => Answer::Fault(error.cause(), Line::escaped(error.to_string())),
    })
}

/// A message's file in memory.
enum Bytes {
    Read(Vec<u8>),
    Mapped(Mmap),
}

impl Bytes {
    /// Reading a small file costs less than mapping and faulting it in. Size and
    /// bytes are asked for with calls that take no path and leave the file's
    /// offset, which others share, alone: what [`std::fs::File`] uses is barred.
    fn of(file: OwnedFd) -> io::Result<Self> {
        let size = u64::try_from(rustix::fs::fstat(&file)?.st_size).unwrap_or(0);
        let length = usize::try_from(size).map_err(io::Error::other)?;
        if size < MAP_BYTES_MIN {
            return Self::read(&file, length).map(Self::Read);
        }
        // SAFETY: the spool's rule is that a message's file is never modified. Should
        // it be cut short all the same, the kernel ends this process with SIGBUS,
        // which the worker has a row for; should its bytes change, the parser, which
        // is safe code, reads some other hostile message.
        Ok(Self::Mapped(unsafe { MmapOptions::new().len(length).map(&file)? }))
    }

    fn read(file: &OwnedFd, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let offset = bytes.len() as u64;
            let read = rustix::io::retry_on_intr(|| {
                rustix::io::pread(file, rustix::buffer::spare_capacity(&mut bytes), offset)
            })?;
            if read == 0 {
                break;
            }
        }
        Ok(bytes)
    }

    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Read(bytes) => bytes,
            Self::Mapped(map) => map,
        }
    }
}
