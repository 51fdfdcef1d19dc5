//! The cell: the child process in which messages are parsed.
//!
//! A copy of the [template](crate::template), it has two descriptors, a socket to
//! its worker and the shared page, shuts its jail ([`jail`]), and only then gets
//! messages: for each task the descriptor of one. It reads the message, judges it,
//! gives everything back, and only then answers. A message that takes long it can
//! leave ([`relief`]). What goes wrong in it ends it; it must never try to recover,
//! and never make a system call that is not on the jail's list.

use std::convert::Infallible;
use std::ffi::{CStr, c_void};
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::panic::PanicHookInfo;
use std::sync::Barrier;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::thread;

use lazaret_envelope::{Envelope, Line, Stage};
use lazaret_route::{Facts, FactsError, Limits, RouteTable, Verdict};
use memmap2::{Mmap, MmapOptions};

use crate::alarm::{self, Alarm};
use crate::allocator;
use crate::frame::{self, Answer, Setup, Task, encode_answer};
use crate::jail;
use crate::page::{Page, SharedPage};
use crate::passing;
use crate::process::exit_now;
use crate::relief::{self, Leavable};

/// Exit status of a cell that panicked.
pub(crate) const EXIT_PANIC: i32 = 78;

/// Exit status of a cell that could not understand its worker.
pub(crate) const EXIT_PROTOCOL: i32 = 79;

/// A cell that holds so much more than before its message wants to be replaced.
const GROWTH_BYTES_MAX: u64 = 1 << 20;

/// One that holds more heap than this for messages that it left wants to be replaced, too.
pub(crate) const LEFT_BYTES_MAX: u64 = 8 << 20;

/// Stack of a thread that parses, in bytes: so much that the heap budget of any message
/// is used up before the parser's recursion fills it.
pub(crate) const STACK_BYTES: usize = if cfg!(debug_assertions) { 64 << 20 } else { 16 << 20 };

/// Address space for the stacks of a cell.
pub(crate) const STACKS_BYTES: u64 = (relief::THREADS * STACK_BYTES) as u64;

/// Messages of this size and more are mapped, smaller ones are read.
const MAP_BYTES_MIN: u64 = 64 << 10;

/// What ps(1) and top(1) call a cell.
const NAME: &CStr = c"lazaret-cell";

/// The life of a cell: it ends when the worker closes the socket.
pub(crate) fn run(
    socket: &UnixStream,
    memory: OwnedFd,
    table: &RouteTable,
    setup: &Setup,
) -> io::Result<Infallible> {
    rustix::thread::set_name(NAME)?;
    let tied = jail::tie(socket)?;
    let page = SharedPage::map(&memory)?.leak();
    // Here, and not by the jail, which closes whatever nobody owns.
    drop(memory);
    allocator::count_for(page);
    alarm::install(socket)?;
    relief::install()?;
    std::panic::set_hook(Box::new(|info| on_panic(page, info)));
    let (mapping, left) = (Mapping::default(), AtomicU64::new(0));
    let duty = Duty { socket, page, table, limits: &setup.limits, mapping, left };
    let jail = jail::build(setup.jail, tied);
    // Behind the door no thread can be started any more, nor end its start.
    let (started, duty) = (&Barrier::new(relief::THREADS), &duty);
    thread::scope(|scope| {
        for number in 1..relief::THREADS {
            let reserve = thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, move || {
                started.wait();
                relief::wait_for_duty(number);
                end(duty.take_over().and_then(|()| duty.serve()))
            });
            if let Err(error) = reserve {
                // At once: those before it would wait for it for ever.
                end(Err(error));
            }
        }
        started.wait();
        page.set_jail(jail.shut());
        relief::begin();
        end(duty.serve())
    })
}

/// Ends the cell, with all its threads.
fn end(served: io::Result<()>) -> ! {
    exit_now(served.map_or(EXIT_PROTOCOL, |()| 0))
}

/// What the thread on duty has to do, one after the other.
struct Duty<'a> {
    socket: &'a UnixStream,
    page: &'static Page,
    table: &'a RouteTable,
    limits: &'a Limits,
    /// Of the message in hand.
    mapping: Mapping,
    /// Bytes of heap that messages hold which were left.
    left: AtomicU64,
}

/// Leaves the panic's message on the page and ends the cell: nothing unwinds.
fn on_panic(page: &Page, info: &PanicHookInfo<'_>) -> ! {
    let place = info.location().map_or(0, std::panic::Location::line);
    let file = info.location().map_or("", std::panic::Location::file);
    let file = file.rsplit('/').next().unwrap_or("");
    page.set_note(&format!("{} at {file}:{place}", info.payload_as_str().unwrap_or("panic")));
    exit_now(EXIT_PANIC)
}

impl Duty<'_> {
    /// Answers tasks until the worker closes the socket.
    fn serve(&self) -> io::Result<()> {
        let Self { mut socket, page, .. } = *self;
        while let Some((task, [file])) = passing::receive(socket)? {
            let task = Task::decode(&task);
            page.take(task.number);
            allocator::begin(task.memory);
            let alarm = task.makes_way.map(|after| Alarm::set(after, task.number));
            let answer = self.judge(task, file)?;
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

    /// Says that the message of the thread before was left.
    fn take_over(&self) -> io::Result<()> {
        let Self { mut socket, page, .. } = *self;
        // SAFETY: the thread that used it never runs again.
        unsafe { self.mapping.end() };
        let (peak, held) = allocator::end();
        let left = self.left.fetch_add(held, Ordering::Relaxed).saturating_add(held);
        let retire = left > LEFT_BYTES_MAX || relief::is_last();
        socket.write_all(&frame::left(page.task(), peak, retire))
    }

    /// Judges one message; whatever it took is given back on return, but for what
    /// the parser can't give back without recursion.
    fn judge(&self, task: Task, file: OwnedFd) -> io::Result<Answer> {
        let Self { page, table, limits, .. } = *self;
        page.set_stage(Stage::Read);
        let bytes = Bytes::of(file)?;
        self.mapping.is_of(&bytes);
        let bytes = bytes.as_slice();
        let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        let (envelope, offset) = Envelope::parse(bytes).map_err(|error| invalid(error.to_string()))?;
        if envelope.id != task.id {
            return Err(invalid(format!("asked about {}, given {}", task.id, envelope.id)));
        }
        page.set_stage(Stage::Route);
        // No descriptor is open any more but the cell's own.
        let _leavable = Leavable::begin();
        let mut observe = |stage| page.set_stage(stage);
        let mut facts = Facts::new(&bytes[offset..], limits, &mut observe);
        let judged: Result<Verdict, FactsError> = table.judge(&envelope.transaction, &mut facts);
        Ok(match judged {
            Ok(verdict) => Answer::Verdict(verdict.encode()),
            Err(error) => Answer::Fault(error.cause(), Line::escaped(error.to_string())),
        })
    }
}

/// Where a message's file is mapped, if it is: for the thread that takes over.
#[derive(Default)]
struct Mapping {
    start: AtomicPtr<c_void>,
    length: AtomicUsize,
}

impl Mapping {
    fn is_of(&self, bytes: &Bytes) {
        let length = match bytes {
            Bytes::Read(_) => 0,
            Bytes::Mapped(map) => {
                self.start.store(map.as_ptr().cast_mut().cast(), Ordering::Relaxed);
                map.len()
            }
        };
        self.length.store(length, Ordering::Relaxed);
    }

    /// Ends it.
    ///
    /// # Safety
    /// Nobody uses these bytes any more, nor will their owner ever be dropped.
    unsafe fn end(&self) {
        let length = self.length.swap(0, Ordering::Relaxed);
        if length > 0 {
            // SAFETY: it was mapped when it was stored, and who would end it never will.
            let _ = unsafe { rustix::mm::munmap(self.start.load(Ordering::Relaxed), length) };
        }
    }
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
