//! The prisoner, who tries one thing and ends with what came of it, and the
//! guard, who starts him and says how he ended.
//!
//! The prisoner must go the way that a cell goes: tied, built, on a thread of
//! its own, shut, and only then given a descriptor.

use std::fmt;
use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener, UnixStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::str::FromStr;
use std::time::Duration;

use lazaret_worker::jail::{self, JailMode};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketType,
};

use crate::syscall::{Argument, address};
use crate::{attempts, endings};

pub(crate) const PRISONER: &str = "prisoner";
pub(crate) const GUARD: &str = "guard";
pub(crate) const LOST_GUARD: &str = "lost-guard";
pub(crate) const LATE: &str = "late";

/// How a prisoner ends who found no guard.
pub(crate) const TOO_LATE: i32 = 42;

/// How far the prisoner's jail goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// No jail.
    Free,
    /// All but seccomp.
    Open,
    /// All.
    Shut,
}

impl FromStr for Door {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Free, Self::Open, Self::Shut]
            .into_iter()
            .find(|door| door.to_string() == text)
            .ok_or_else(|| text.to_owned())
    }
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Of a prisoner: it succeeded.
    Done,
    /// Refused with an error number.
    Errno(i32),
    /// Ended by a signal.
    Signal(i32),
}

impl From<ExitStatus> for Outcome {
    fn from(status: ExitStatus) -> Self {
        match (status.signal(), status.code()) {
            (Some(signal), _) => Self::Signal(signal),
            (None, Some(0)) => Self::Done,
            (None, code) => Self::Errno(code.unwrap_or(-1)),
        }
    }
}

/// A descriptor that the prisoner is given when the jail is as shut as it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gift {
    None,
    /// A file, open for reading and writing.
    File,
    Tcp,
    Udp,
    Unix,
}

impl Gift {
    fn wrap(self, scene: &Scene) -> io::Result<Option<OwnedFd>> {
        let socket =
            |family, kind| rustix::net::socket(family, kind, None).map(Some).map_err(io::Error::from);
        match self {
            Self::None => Ok(None),
            Self::File => {
                let file = File::options().read(true).write(true).open(scene.file())?;
                Ok(Some(file.into()))
            }
            Self::Tcp => socket(AddressFamily::INET, SocketType::STREAM),
            Self::Udp => socket(AddressFamily::INET, SocketType::DGRAM),
            Self::Unix => socket(AddressFamily::UNIX, SocketType::STREAM),
        }
    }
}

/// What there is to reach outside.
#[derive(Debug, Clone)]
pub(crate) struct Scene {
    pub(crate) directory: PathBuf,
    pub(crate) tcp: SocketAddr,
    pub(crate) udp: SocketAddr,
    /// An address in the parent's memory.
    pub(crate) in_parent: Argument,
    /// What was received over the socket.
    pub(crate) gift: RawFd,
}

impl Scene {
    /// A file with something in it.
    pub(crate) fn file(&self) -> PathBuf {
        self.directory.join("file")
    }

    /// A Unix socket that is listened on.
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.join("socket")
    }

    /// The same without a path.
    pub(crate) fn abstract_name(&self) -> Vec<u8> {
        self.directory.as_os_str().as_encoded_bytes().to_vec()
    }

    fn arguments(&self) -> [String; 4] {
        let directory = self.directory.display().to_string();
        [directory, self.tcp.to_string(), self.udp.to_string(), self.in_parent.to_string()]
    }

    fn parse(arguments: &[&str]) -> Self {
        let [directory, tcp, udp, in_parent] = arguments else { panic!("{arguments:?}") };
        Self {
            directory: directory.into(),
            tcp: tcp.parse().expect("an address"),
            udp: udp.parse().expect("an address"),
            in_parent: in_parent.parse().expect("an address"),
            gift: -1,
        }
    }
}

/// Tries one thing; ends with 0, an error number, or the signal that ends it.
pub(crate) fn main(door: &str, attempt: &str, scene: &[&str]) -> ! {
    let mut scene = Scene::parse(scene);
    // SAFETY: descriptor 0 was given to this process to own.
    let socket = UnixStream::from(unsafe { OwnedFd::from_raw_fd(0) });
    let tied = jail::tie(&socket).expect("the guard is there");
    let door: Door = door.parse().expect("a door");
    let mode = if door == Door::Free { JailMode::Off } else { JailMode::Required };
    jail::use_one_arena();
    let jail = jail::build(mode, tied);
    let attempt = attempt.to_owned();
    let act = move || {
        if door != Door::Open {
            assert_eq!(jail.shut().is_full(), door == Door::Shut);
        }
        let gift = receive(&socket);
        scene.gift = gift.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        let status = match endings::act(&attempt, &scene).unwrap_or_else(|| attempts::act(&attempt, &scene)) {
            Ok(()) => 0,
            Err(error) => error.raw_os_error().unwrap_or(255),
        };
        exit(status)
    };
    let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(act).expect("a thread");
    let _ = thread.join();
    exit(254)
}

/// Ends at once, as a cell does.
pub(crate) fn exit(status: i32) -> ! {
    // SAFETY: _exit(2) has no precondition and does not return.
    unsafe { libc::_exit(status) }
}

fn receive(socket: &UnixStream) -> Option<OwnedFd> {
    let mut byte = [0];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut buffers = [io::IoSliceMut::new(&mut byte)];
    rustix::net::recvmsg(socket, &mut buffers, &mut control, RecvFlags::CMSG_CLOEXEC).expect("recvmsg");
    control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut files) => files.next(),
        _ => None,
    })
}

/// Starts a prisoner below this process and waits for its end.
pub(crate) fn imprison(door: Door, attempt: &str, gift: Gift) -> io::Result<Outcome> {
    let directory = tempfile::tempdir()?;
    let (tcp, udp) = (TcpListener::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
    let scene = Scene {
        directory: directory.path().into(),
        tcp: tcp.local_addr()?,
        udp: udp.local_addr()?,
        in_parent: address(c"x"),
        gift: -1,
    };
    std::fs::write(scene.file(), "something")?;
    let _unix = UnixListener::bind(scene.socket())?;
    let _abstract = UnixListener::bind_addr(&UnixAddr::from_abstract_name(scene.abstract_name())?)?;

    let (mine, theirs) = UnixStream::pair()?;
    let mut child = this_program(PRISONER)
        .args([&door.to_string(), attempt])
        .args(scene.arguments())
        .stdin(OwnedFd::from(theirs))
        .spawn()?;
    send(&mine, gift.wrap(&scene)?)?;
    child.wait().map(Outcome::from)
}

fn this_program(role: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("jail-test").arg(role).env_clear().current_dir(Path::new("/"));
    command
}

fn send(socket: &UnixStream, gift: Option<OwnedFd>) -> io::Result<()> {
    let files: Vec<_> = gift.iter().map(AsFd::as_fd).collect();
    let mut room = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut room);
    if !files.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&files));
    }
    rustix::net::sendmsg(socket, &[io::IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Has a guard of its own watch a prisoner: what he does to his parent, he does
/// to the guard. Says how the prisoner ended, and how the guard.
pub(crate) fn guarded(door: Door, attempt: &str) -> io::Result<(String, Outcome)> {
    let output = this_program(GUARD)
        .args([&door.to_string(), attempt])
        .stderr(Stdio::inherit())
        .stdin(Stdio::null())
        .output()?;
    Ok((String::from_utf8_lossy(&output.stdout).trim().to_owned(), output.status.into()))
}

/// The guard's body: prints how the prisoner ended.
#[allow(clippy::print_stdout, reason = "the guard answers on standard output")]
pub(crate) fn guard(door: &str, attempt: &str) -> ExitCode {
    // In a place of its own for mounts, where that is allowed at all.
    let _ = crate::syscall::call(libc::SYS_unshare, &[libc::CLONE_NEWNS.into()]);
    let gift = attempts::gift_for(attempt);
    let outcome = imprison(door.parse().expect("a door"), attempt, gift).expect("a prisoner");
    println!("{outcome:?}");
    ExitCode::SUCCESS
}

/// A guard who ends and leaves a prisoner behind: before the prisoner was tied
/// to him, or after. Prints the prisoner's process id.
#[allow(clippy::print_stdout, reason = "the guard answers on standard output")]
pub(crate) fn lost_guard(before: bool) -> ExitCode {
    let (mine, theirs) = UnixStream::pair().expect("a pair");
    let own = std::process::id().to_string();
    let scene = ["/", "127.0.0.1:1", "127.0.0.1:1", "0"];
    let mut command = match before {
        true => this_program(LATE),
        false => this_program(PRISONER),
    };
    match before {
        true => command.arg(own),
        false => command.args([&Door::Shut.to_string(), "spin"]).args(scene),
    };
    // Not the guard's output, or whoever reads that waits for the prisoner too.
    command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null());
    let prisoner = command.spawn().expect("a prisoner").id();
    println!("{prisoner}");
    if !before {
        send(&mine, None).expect("he is there");
        let status = || std::fs::read_to_string(format!("/proc/{prisoner}/status")).expect("his status");
        while !status().contains("\nSeccomp:\t2") {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    ExitCode::SUCCESS
}

/// A prisoner who comes too late to be tied to his guard: 0 if it worked all the
/// same.
pub(crate) fn late(guard: &str) -> ! {
    let guard: i32 = guard.parse().expect("a process id");
    while rustix::process::getppid().is_some_and(|parent| parent.as_raw_nonzero().get() == guard) {
        std::thread::sleep(Duration::from_millis(1));
    }
    exit(if jail::tie(&std::io::stdin()).is_ok() { 0 } else { TOO_LATE })
}
