//! One run of a program: started, watched, and ended with everything that it
//! leaves in its process group.
//!
//! The group is named by its leader, who is reaped last, so nobody else can be
//! meant. A run must never wait beyond its deadlines, whatever the program and
//! its children do with what they hold open.

use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::{Pid, PidfdFlags, Resource, Rlimit, Signal, kill_process_group, pidfd_open, prlimit};

use crate::cutoff::CutOff;

/// Most bytes of the output that are kept, its first.
pub(super) const OUTPUT_BYTES_MAX: usize = 1 << 10;

/// Bytes of output read at a time: what a pipe holds.
const READ_BYTES: usize = 64 << 10;

/// How long a program has from SIGTERM to SIGKILL.
pub(super) const TERM_GRACE: Duration = Duration::from_secs(5);

/// The same, where deliveries are being stopped.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// How long the end of a killed program is waited for: one that hangs in the
/// kernel is left behind.
const KILL_WAIT: Duration = Duration::from_secs(5);

/// What a program may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Time on the clock.
    pub(super) timeout: Duration,
    /// Address space of each process, in bytes.
    pub(super) memory: Option<u64>,
    /// CPU time of each process, in seconds.
    pub(super) cpu_seconds: Option<u64>,
}

/// How a run ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// By itself.
    Itself(ExitStatus),
    /// It was ended, because it took too long.
    TimedOut,
    /// It was ended, because deliveries are being stopped.
    CutOff,
}

/// What came of a run.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) end: End,
    /// The first of what it wrote to its standard output and standard error.
    pub(super) output: Vec<u8>,
}

/// Runs a program to its end.
///
/// # Errors
/// It can't be started.
pub(super) fn run(mut command: Command, limits: Limits, cut_off: &CutOff) -> io::Result<Ran> {
    let (reader, writer) = io::pipe()?;
    fcntl_setfl(&reader, OFlags::NONBLOCK)?;
    let child = command.stdout(writer.try_clone()?).stderr(writer).process_group(0).spawn()?;
    // It holds our copies of what the program writes to.
    drop(command);
    let deadline = Instant::now() + limits.timeout;
    let mut program = Program::new(child, reader)?;
    program.limit(limits)?;
    let end = program.watch(deadline, cut_off)?;
    Ok(Ran { end, output: std::mem::take(&mut program.output.kept) })
}

/// A program that was started. Dropping it ends its group.
struct Program {
    child: Child,
    pid: Pid,
    /// Readable once the leader has ended.
    death: OwnedFd,
    output: Output,
}

/// Where the program's output arrives.
struct Output {
    /// `None` once nobody holds its other end.
    reader: Option<PipeReader>,
    kept: Vec<u8>,
}

/// What the program was told so far.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    Term,
    Kill,
}

impl Program {
    fn new(mut child: Child, reader: PipeReader) -> io::Result<Self> {
        let pid = Pid::from_child(&child);
        let output = Output { reader: Some(reader), kept: Vec::new() };
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(death) => Ok(Self { child, pid, death, output }),
            Err(error) => {
                signal(pid, Signal::KILL);
                child.wait()?;
                Err(error.into())
            }
        }
    }

    fn limit(&self, limits: Limits) -> io::Result<()> {
        for (resource, limit) in [(Resource::As, limits.memory), (Resource::Cpu, limits.cpu_seconds)] {
            if limit.is_some() {
                match prlimit(Some(self.pid), resource, Rlimit { current: limit, maximum: limit }) {
                    // It has ended already.
                    Err(rustix::io::Errno::SRCH) => {}
                    result => drop(result?),
                }
            }
        }
        Ok(())
    }

    /// Waits until the leader has ended, and sees to it that it does.
    fn watch(&mut self, mut deadline: Instant, cut_off: &CutOff) -> io::Result<End> {
        let (mut told, mut why) = (Told::Nothing, End::TimedOut);
        while !self.wait(deadline, (told == Told::Nothing).then_some(cut_off))? {
            let cut = told == Told::Nothing && is_ready(cut_off)?;
            if !cut && Instant::now() < deadline {
                continue;
            }
            if cut {
                why = End::CutOff;
            }
            let grace = if cut { STOP_GRACE } else { TERM_GRACE };
            (told, deadline) = match told {
                Told::Nothing => (Told::Term, Instant::now() + grace),
                Told::Term => (Told::Kill, Instant::now() + KILL_WAIT),
                // It hangs in the kernel, and nothing can be done about it.
                Told::Kill => return Ok(why),
            };
            signal(self.pid, if told == Told::Term { Signal::TERM } else { Signal::KILL });
        }
        signal(self.pid, Signal::KILL);
        self.output.read();
        let status = self.child.wait()?;
        // One that was told to end may not have done what its status says.
        Ok(if told == Told::Nothing { End::Itself(status) } else { why })
    }

    /// Waits for something to happen, and takes in output; whether the leader has
    /// ended.
    fn wait(&mut self, deadline: Instant, cut_off: Option<&CutOff>) -> io::Result<bool> {
        let mut descriptors = vec![PollFd::new(&self.death, PollFlags::IN)];
        descriptors.extend(self.output.reader.iter().map(|reader| PollFd::new(reader, PollFlags::IN)));
        descriptors.extend(cut_off.map(|cut_off| PollFd::new(cut_off, PollFlags::IN)));
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut descriptors, Some(&left)) {
            Err(error) if error != rustix::io::Errno::INTR => return Err(error.into()),
            _ => {}
        }
        let dead = !descriptors[0].revents().is_empty();
        drop(descriptors);
        self.output.read();
        Ok(dead)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            signal(self.pid, Signal::KILL);
            // Ended above, or hanging in the kernel: then it is left behind.
            let _ = self.wait(Instant::now() + KILL_WAIT, None);
            let _ = self.child.try_wait();
        }
    }
}

impl Output {
    /// Takes in what is there, at most [`READ_BYTES`], and keeps the first of it.
    fn read(&mut self) {
        let Some(reader) = &mut self.reader else { return };
        let mut buffer = vec![0; READ_BYTES];
        match reader.read(&mut buffer) {
            Ok(0) => self.reader = None,
            Ok(count) => {
                let room = OUTPUT_BYTES_MAX - self.kept.len();
                self.kept.extend_from_slice(&buffer[..count.min(room)]);
            }
            Err(error) if [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted].contains(&error.kind()) => {
            }
            Err(_) => self.reader = None,
        }
    }
}

/// Sends a signal to the group of a program that is not reaped.
fn signal(leader: Pid, signal: Signal) {
    // Fails where nobody of the group is left, or where it is no longer ours to end.
    let _ = kill_process_group(leader, signal);
}

fn is_ready(descriptor: &impl AsFd) -> io::Result<bool> {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    match poll(&mut [PollFd::new(descriptor, PollFlags::IN)], Some(&at_once)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Stdio;

    /// Long enough for whatever must happen on a busy machine.
    const SOON: Duration = Duration::from_secs(60);

    fn limits(timeout: Duration) -> Limits {
        Limits { timeout, memory: None, cpu_seconds: None }
    }

    fn shell(script: &str, limits: Limits) -> Ran {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stdin(Stdio::null());
        run(command, limits, &CutOff::new().unwrap()).unwrap()
    }

    #[test]
    fn both_outputs_are_kept_up_to_their_limit() {
        let ran = shell("echo one; echo two >&2; exit 3", limits(SOON));
        assert_eq!((ran.output.as_slice(), code(&ran)), (&b"one\ntwo\n"[..], Some(3)));
        let ran = shell("head -c 3000000 /dev/zero", limits(SOON));
        assert_eq!((ran.output.len(), code(&ran)), (OUTPUT_BYTES_MAX, Some(0)));
    }

    fn code(ran: &Ran) -> Option<i32> {
        match ran.end {
            End::Itself(status) => status.code(),
            _ => None,
        }
    }

    #[test]
    fn children_that_stay_hold_nobody_up_and_end_with_it() {
        let start = Instant::now();
        let ran = shell("for i in 1 2 3; do sleep 1000 & echo $!; done; exit 0", limits(SOON));
        assert!(code(&ran) == Some(0) && start.elapsed() < SOON);
        let output = String::from_utf8(ran.output).unwrap();
        let pids: Vec<Pid> =
            output.lines().map(|line| Pid::from_raw(line.parse().unwrap()).unwrap()).collect();
        assert_eq!(pids.len(), 3);
        let gone = || pids.iter().all(|&pid| state(pid).is_none_or(|state| state == 'Z'));
        while !gone() {
            assert!(start.elapsed() < SOON, "they go on");
            std::thread::yield_now();
        }
    }

    /// The letter that stands for what a process does.
    fn state(pid: Pid) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid())).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }

    #[test]
    fn one_that_takes_too_long_is_ended() {
        let ran = shell("exec sleep 1000", limits(Duration::from_millis(50)));
        assert_eq!(ran.end, End::TimedOut);
    }

    #[test]
    fn one_that_is_told_to_end_may_say_why_and_has_not_delivered() {
        let folder = tempfile::tempdir().unwrap();
        let ready = folder.path().join("ready");
        let mut command = Command::new("/bin/sh");
        let polite = "trap 'echo told; exit 0' TERM; touch ready; while :; do sleep 0.01; done";
        command.args(["-c", polite]).stdin(Stdio::null()).current_dir(folder.path());
        let cut_off = CutOff::new().unwrap();
        let ran = std::thread::scope(|scope| {
            let running = scope.spawn(|| run(command, limits(SOON), &cut_off).unwrap());
            let start = Instant::now();
            while !ready.exists() && start.elapsed() < SOON {
                std::thread::yield_now();
            }
            cut_off.now();
            running.join().unwrap()
        });
        assert!(ran.end == End::CutOff && ran.output.ends_with(b"told\n"), "{ran:?}");
    }

    #[test]
    fn one_that_does_not_listen_is_killed_when_deliveries_are_cut_off() {
        let cut_off = CutOff::new().unwrap();
        cut_off.now();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "trap '' TERM; while :; do sleep 1; done"]).stdin(Stdio::null());
        assert_eq!(run(command, limits(SOON), &cut_off).unwrap().end, End::CutOff);
    }

    #[test]
    fn limits_are_those_of_the_kernel() {
        let limits = Limits { memory: Some(64 << 20), cpu_seconds: Some(1), ..limits(SOON) };
        let spin = shell("until [ $(ulimit -v) = 65536 ]; do :; done; echo on; while :; do :; done", limits);
        assert!(matches!(spin.end, End::Itself(status) if status.code().is_none()), "{spin:?}");
        assert_eq!(spin.output, b"on\n");
    }

    #[test]
    fn what_is_no_program_is_told_at_once() {
        let missing = run(Command::new("/nowhere/program"), limits(SOON), &CutOff::new().unwrap());
        assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
