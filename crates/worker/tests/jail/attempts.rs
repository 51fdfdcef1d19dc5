//! What a prisoner tries, and what each layer of the jail says to it.
//!
//! The table says what an open door (all but seccomp) answers, so that it shows
//! which things seccomp alone holds; a shut one must answer SIGSYS to all. Calls
//! that can't succeed for other reasons on any machine must not be in the table.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use lazaret_worker::jail::allowed_numbers;
use libtest_mimic::{Failed, Trial};
use rustix::net::{SocketAddrUnix, bind, connect, sendto};

use crate::prisoner::{Door, Gift, Outcome, Scene, guarded, imprison};
use crate::syscall::{Argument, address, call, room};

/// A way out.
struct Attempt {
    name: &'static str,
    gift: Gift,
    /// Only root can do it in freedom.
    root: bool,
    /// What the jail says to it while its door is open.
    open: Outcome,
    act: fn(&Scene) -> io::Result<()>,
}

const EACCES: Outcome = Outcome::Errno(libc::EACCES);
const EPERM: Outcome = Outcome::Errno(libc::EPERM);
const DONE: Outcome = Outcome::Done;
const XFSZ: Outcome = Outcome::Signal(libc::SIGXFSZ);

const fn any(name: &'static str, open: Outcome, act: fn(&Scene) -> io::Result<()>) -> Attempt {
    Attempt { name, gift: Gift::None, root: false, open, act }
}

const fn root(name: &'static str, open: Outcome, act: fn(&Scene) -> io::Result<()>) -> Attempt {
    Attempt { root: true, ..any(name, open, act) }
}

const fn with(gift: Gift, name: &'static str, open: Outcome, act: fn(&Scene) -> io::Result<()>) -> Attempt {
    Attempt { gift, ..any(name, open, act) }
}

const TABLE: &[Attempt] = &[
    // Files by path.
    any("open for reading", EACCES, |_| done(File::open("/etc/passwd"))),
    any("open for writing", EACCES, |scene| done(File::options().write(true).open(scene.file()))),
    any("create", EACCES, |scene| done(File::create(scene.directory.join("new")))),
    any("list a directory", EACCES, |_| done(fs::read_dir("/"))),
    any("unlink", EACCES, |scene| fs::remove_file(scene.file())),
    any("rename", EACCES, |scene| fs::rename(scene.file(), scene.directory.join("new"))),
    any("mkdir", EACCES, |scene| fs::create_dir(scene.directory.join("new"))),
    any("truncate", EACCES, |scene| raw(libc::SYS_truncate, &[address(&*path(&scene.file())), 0])),
    any("open its own memory", EACCES, |_| {
        done(File::options().read(true).write(true).open("/proc/self/mem"))
    }),
    any("stat", DONE, |scene| done(fs::metadata(scene.file()))),
    any("chmod", DONE, |scene| fs::set_permissions(scene.file(), fs::Permissions::from_mode(0o777))),
    any("chdir", DONE, |scene| std::env::set_current_dir(&scene.directory)),
    // The message's descriptor, had it not been opened for reading only.
    with(Gift::File, "write to a message", XFSZ, |scene| raw(libc::SYS_write, &[gift(scene), bytes(), 1])),
    with(Gift::File, "pwrite to a message", XFSZ, |scene| {
        raw(libc::SYS_pwrite64, &[gift(scene), bytes(), 1, 0])
    }),
    with(Gift::File, "cut a message short", DONE, |scene| raw(libc::SYS_ftruncate, &[gift(scene), 0])),
    with(Gift::File, "fchmod a message", DONE, |scene| raw(libc::SYS_fchmod, &[gift(scene), 0o777])),
    with(Gift::File, "fcntl on a message", DONE, |scene| {
        raw(libc::SYS_fcntl, &[gift(scene), libc::F_SETFL.into(), libc::O_APPEND.into()])
    }),
    // The network.
    any("make a TCP socket", DONE, |_| raw(libc::SYS_socket, &[libc::AF_INET.into(), 1, 0])),
    any("make a UDP socket", DONE, |_| done(UdpSocket::bind("127.0.0.1:0"))),
    any("make a Unix socket", DONE, |_| raw(libc::SYS_socket, &[libc::AF_UNIX.into(), 1, 0])),
    with(Gift::Tcp, "connect TCP", EACCES, |scene| Ok(connect(given(scene), &scene.tcp)?)),
    with(Gift::Tcp, "bind TCP", EACCES, |scene| {
        Ok(bind(given(scene), &SocketAddr::from(([127, 0, 0, 1], 0)))?)
    }),
    with(Gift::Udp, "connect UDP", DONE, |scene| Ok(connect(given(scene), &scene.udp)?)),
    with(Gift::Udp, "send to an address", DONE, |scene| {
        done(sendto(given(scene), b"x", rustix::net::SendFlags::empty(), &scene.udp).map_err(Into::into))
    }),
    with(Gift::Unix, "connect to a path", DONE, |scene| {
        Ok(connect(given(scene), &SocketAddrUnix::new(scene.socket())?)?)
    }),
    with(Gift::Unix, "connect to an abstract name", EPERM, |scene| {
        Ok(connect(given(scene), &SocketAddrUnix::new_abstract_name(&scene.abstract_name())?)?)
    }),
    // Programs, processes and threads.
    any("execute", EACCES, |_| Err(Command::new("/bin/true").exec())),
    any("fork", DONE, |_| match call(libc::SYS_clone, &[libc::SIGCHLD.into()])? {
        0 => crate::prisoner::exit(0),
        _ => Ok(()),
    }),
    any("start a thread", DONE, |_| done(std::thread::Builder::new().spawn(|| ()))),
    any("look into the parent", EPERM, |scene| {
        let mut byte = [0_u8; 1];
        let (own, other) = ([room(&mut byte), 1], [scene.in_parent, 1]);
        raw(libc::SYS_process_vm_readv, &[parent(), address(&own), 1, address(&other), 1, 0])
    }),
    any("trace the parent", EPERM, |_| raw(libc::SYS_ptrace, &[libc::PTRACE_SEIZE.into(), parent(), 0, 0])),
    any("kill the parent", EPERM, |_| raw(libc::SYS_kill, &[parent(), libc::SIGKILL.into()])),
    any("abort the parent", EPERM, |_| raw(libc::SYS_tgkill, &[parent(), parent(), libc::SIGABRT.into()])),
    any("get hold of the parent", DONE, |_| raw(libc::SYS_pidfd_open, &[parent(), 0])),
    any("another signal to itself", DONE, |_| {
        let own = Argument::from(std::process::id());
        raw(libc::SYS_tgkill, &[own, own, libc::SIGCHLD.into()])
    }),
    any("catch another signal", DONE, |_| raw(libc::SYS_rt_sigaction, &[libc::SIGTERM.into(), 0, 0, 8])),
    // Memory that is executed.
    any("map memory to execute", DONE, |_| map(libc::PROT_READ | libc::PROT_EXEC).map(drop)),
    any("make memory executable", DONE, |_| {
        let at = map(libc::PROT_READ | libc::PROT_WRITE)?;
        raw(libc::SYS_mprotect, &[at, 4096, (libc::PROT_READ | libc::PROT_EXEC).into()])
    }),
    any("other advice on memory", DONE, |_| {
        raw(libc::SYS_madvise, &[map(libc::PROT_READ)?, 4096, libc::MADV_WILLNEED.into()])
    }),
    any("memory as a file", DONE, |_| raw(libc::SYS_memfd_create, &[bytes(), 0])),
    // Wide parts of the kernel.
    any("io_uring", DONE, |_| raw(libc::SYS_io_uring_setup, &[1, room(&mut [0_u64; 32])])),
    any("userfaultfd", DONE, |_| raw(libc::SYS_userfaultfd, &[1])),
    any("a key", DONE, |_| {
        let (kind, name) = (CString::from(c"user"), CString::from(c"lazaret-jail-test"));
        let ring = libc::KEY_SPEC_PROCESS_KEYRING.into();
        raw(libc::SYS_add_key, &[address(&*kind), address(&*name), bytes(), 1, ring])
    }),
    any("inotify", DONE, |_| raw(libc::SYS_inotify_init1, &[0])),
    root("bpf", EPERM, |_| {
        // BPF_MAP_CREATE of an array of four bytes.
        raw(libc::SYS_bpf, &[0, address(&[2_u32, 4, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0]), 48])
    }),
    root("mount", EPERM, |scene| {
        let (at, kind) = (path(&scene.directory), CString::from(c"tmpfs"));
        raw(libc::SYS_mount, &[address(&*kind), address(&*at), address(&*kind), 0, 0])?;
        raw(libc::SYS_umount2, &[address(&*at), 0])
    }),
    root("chroot", EPERM, |scene| std::os::unix::fs::chroot(&scene.directory)),
    root("another user", EPERM, |_| raw(libc::SYS_setuid, &[65534])),
    root("a name space of its own", EPERM, |_| raw(libc::SYS_unshare, &[libc::CLONE_NEWNS.into()])),
    // The jail itself.
    any("become dumpable", DONE, |_| raw(libc::SYS_prctl, &[libc::PR_SET_DUMPABLE.into(), 1, 0, 0, 0])),
    any("raise a limit", EPERM, |_| {
        let limit = |soft| {
            let hard = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
            let maximum = hard.map(|hard| hard.max(soft));
            let limit = rustix::process::Rlimit { current: Some(soft), maximum };
            rustix::process::setrlimit(rustix::process::Resource::Nofile, limit)
        };
        limit(3)?;
        Ok(limit(64)?)
    }),
    any("outlive the parent", DONE, |_| raw(libc::SYS_prctl, &[libc::PR_SET_PDEATHSIG.into(), 0, 0, 0, 0])),
];

/// What the prisoner does; 0 to 1,000,000 is a system call of that number.
pub(crate) fn act(name: &str, scene: &Scene) -> io::Result<()> {
    match name.parse() {
        Ok(number) => raw(number, &[]),
        Err(_) => (find(name).act)(scene),
    }
}

/// What he is given for it.
pub(crate) fn gift_for(name: &str) -> Gift {
    find(name).gift
}

fn find(name: &str) -> &'static Attempt {
    TABLE.iter().find(|attempt| attempt.name == name).expect("an attempt of the table")
}

pub(crate) fn trials() -> impl Iterator<Item = Trial> {
    let root_here = rustix::process::geteuid().is_root();
    let attempts = TABLE.iter().map(move |attempt| {
        let needs_root = if attempt.root { " (needs root)" } else { "" };
        Trial::test(format!("leave::{}{needs_root}", attempt.name), || check(attempt))
            .with_ignored_flag(attempt.root && !root_here)
    });
    attempts.chain([Trial::test("leave::by any system call that is not on the list", every_other)])
}

fn check(attempt: &Attempt) -> Result<(), Failed> {
    // A parent that is killed is killed by the signal, and says nothing.
    let fatal = match attempt.name {
        "kill the parent" => Some(libc::SIGKILL),
        "abort the parent" => Some(libc::SIGABRT),
        _ => None,
    };
    for (door, expected) in
        [(Door::Free, Outcome::Done), (Door::Open, attempt.open), (Door::Shut, Outcome::Signal(libc::SIGSYS))]
    {
        let (said, guard) = guarded(door, attempt.name)?;
        match fatal {
            Some(signal) if door == Door::Free => assert_eq!(guard, Outcome::Signal(signal), "{door}"),
            _ => assert_eq!((said, guard), (format!("{expected:?}"), Outcome::Done), "{door}"),
        }
    }
    Ok(())
}

/// One more than the highest number of a system call that there is today, with
/// room for years.
const NUMBERS: i64 = 600;

/// uretprobe and uprobe: the kernel lets these past every filter, and ends with
/// SIGILL whoever calls them from elsewhere than its own trampolines.
const PAST_ANY_FILTER: &[i64] = if cfg!(target_arch = "x86_64") { &[335, 336] } else { &[] };

/// Each call that is not on the list, by itself, in a process of its own.
fn every_other() -> Result<(), Failed> {
    let allowed: Vec<i64> = allowed_numbers().collect();
    let others = (0..NUMBERS).filter(|number| !allowed.contains(number) && !PAST_ANY_FILTER.contains(number));
    // The same numbers by another way in; here, getpid of x32.
    let ways_in = cfg!(target_arch = "x86_64").then_some(0x4000_0000 | libc::SYS_getpid);
    for number in others.chain(ways_in) {
        let outcome = imprison(Door::Shut, &number.to_string(), Gift::None)?;
        assert_eq!(outcome, Outcome::Signal(libc::SIGSYS), "system call {number}");
    }
    Ok(())
}

fn done<T>(result: io::Result<T>) -> io::Result<()> {
    result.map(drop)
}

fn raw(number: libc::c_long, arguments: &[Argument]) -> io::Result<()> {
    call(number, arguments).map(drop)
}

fn path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_encoded_bytes()).expect("no path has a zero byte")
}

/// The address of a byte.
fn bytes() -> Argument {
    address(c"x")
}

fn parent() -> Argument {
    rustix::process::getppid().map_or(0, |parent| parent.as_raw_nonzero().get()).into()
}

fn gift(scene: &Scene) -> Argument {
    scene.gift.into()
}

fn given(scene: &Scene) -> BorrowedFd<'static> {
    // SAFETY: the prisoner holds what it was given until it ends.
    unsafe { BorrowedFd::borrow_raw(scene.gift) }
}

/// A page of memory.
fn map(protection: i32) -> io::Result<Argument> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    call(libc::SYS_mmap, &[0, 4096, protection.into(), flags.into(), -1, 0])
}
