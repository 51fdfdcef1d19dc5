//! How a process in the jail ends when it goes wrong: as it would outside, for
//! the worker tells one end from another. And it ends with its guard.
//!
//! An ending here must never be reached by the jail's own signal, SIGSYS.

use std::io;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use rustix::process::{Pid, WaitOptions, waitpid};

use crate::prisoner::{Door, Gift, LOST_GUARD, Outcome, Scene, TOO_LATE, imprison};

/// What happens, what the prisoner is given for it, and how it ends.
const TABLE: &[(&str, Gift, Outcome)] = &[
    ("abort", Gift::None, Outcome::Signal(libc::SIGABRT)),
    ("overflow the stack", Gift::None, Outcome::Signal(libc::SIGABRT)),
    ("free twice", Gift::None, Outcome::Signal(libc::SIGABRT)),
    ("read at null", Gift::None, Outcome::Signal(libc::SIGSEGV)),
    ("read behind the end of a file", Gift::File, Outcome::Signal(libc::SIGBUS)),
    ("print, then panic", Gift::None, Outcome::Errno(78)),
    ("fill the heap, and give it back", Gift::None, Outcome::Done),
];

/// Does what the table has under this name; `None` if it has nothing.
pub(crate) fn act(name: &str, scene: &Scene) -> Option<io::Result<()>> {
    match name {
        "abort" => std::process::abort(),
        "overflow the stack" => Some(Err(io::Error::from_raw_os_error(deeper(0)))),
        "free twice" => free_twice(),
        "read at null" => read(std::ptr::null()),
        "read behind the end of a file" => {
            let flags = (libc::PROT_READ, libc::MAP_SHARED);
            let arguments = [0, 8192, flags.0.into(), flags.1.into(), scene.gift.into(), 0];
            let start = crate::syscall::call(libc::SYS_mmap, &arguments).expect("a mapping");
            read((start + 4096) as *const u8)
        }
        "print, then panic" => {
            std::panic::set_hook(Box::new(|_| crate::prisoner::exit(78)));
            let _ = io::Write::write_all(&mut io::stdout(), b"printed\n");
            let _ = io::Write::write_all(&mut io::stderr(), b"printed\n");
            panic!("as asked")
        }
        "fill the heap, and give it back" => Some(fill()),
        "spin" => loop {
            std::hint::spin_loop();
        },
        _ => None,
    }
}

#[allow(unconditional_recursion, reason = "it is to overflow the stack")]
fn deeper(depth: i32) -> i32 {
    let frame = std::hint::black_box([depth; 256]);
    deeper(depth + 1) + frame[0]
}

fn free_twice() -> ! {
    // Larger than what is kept aside for reuse without a look at it.
    // SAFETY: none: this is the damage that the ending is about; the C library
    // sees the second call and aborts.
    unsafe {
        let block = std::hint::black_box(libc::malloc(4000));
        let _behind = std::hint::black_box(libc::malloc(4000));
        libc::free(block);
        libc::free(block);
    }
    crate::prisoner::exit(253)
}

fn read(at: *const u8) -> ! {
    // SAFETY: none: the fault is what the ending is about.
    let byte = unsafe { at.read_volatile() };
    crate::prisoner::exit(byte.into())
}

/// Small pieces, all back, so that the heap of this thread shrinks; then large
/// and growing ones, which have pages of their own.
fn fill() -> io::Result<()> {
    for _ in 0..3 {
        drop(std::hint::black_box((1..50_000).map(|size| vec![1_u8; size % 700]).collect::<Vec<_>>()));
        drop(std::hint::black_box((1..20).map(|size| vec![1_u8; size << 20]).collect::<Vec<_>>()));
        let mut growing = Vec::new();
        (0..10_000_000_u32).for_each(|number| growing.push(number));
        std::hint::black_box(growing);
    }
    Ok(())
}

pub(crate) fn trials() -> impl Iterator<Item = Trial> {
    let endings = TABLE.iter().map(|&(name, gift, expected)| {
        Trial::test(format!("end::{name}"), move || {
            for door in [Door::Free, Door::Open, Door::Shut] {
                assert_eq!(imprison(door, name, gift)?, expected, "{door}");
            }
            Ok(())
        })
    });
    endings.chain([
        Trial::test("end::with the guard", || lose_guard("after", Outcome::Signal(libc::SIGKILL))),
        Trial::test("end::when the guard is gone before", || lose_guard("before", Outcome::Errno(TOO_LATE))),
    ])
}

/// Longest wait for the end of a prisoner who has no guard any more.
const ORPHAN_WAIT: Duration = Duration::from_secs(20);

/// Has a guard leave a prisoner behind, who becomes ours then.
fn lose_guard(when: &str, expected: Outcome) -> Result<(), Failed> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let mut guard = Command::new("/proc/self/exe");
    let output = guard.args([LOST_GUARD, when]).stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    let prisoner: i32 = String::from_utf8(output.stdout)?.trim().parse()?;
    let started = Instant::now();
    while started.elapsed() < ORPHAN_WAIT {
        if let Some((_, status)) = waitpid(Pid::from_raw(prisoner), WaitOptions::NOHANG)? {
            let ending = status.terminating_signal().map(Outcome::Signal);
            let ending = ending.or(status.exit_status().map(Outcome::Errno));
            assert_eq!(ending, Some(expected));
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    if let Some(prisoner) = Pid::from_raw(prisoner) {
        rustix::process::kill_process(prisoner, rustix::process::Signal::KILL)?;
    }
    Err("he goes on without a guard".into())
}
