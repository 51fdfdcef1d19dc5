//! Child processes: run to their end within a limit, signalled by their own id.
//!
//! Input and output are files, so that no pipe can fill up. A child must never
//! outlive the value that stands for it.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::wait;

/// A program that ended.
#[derive(Debug)]
pub struct Finished {
    /// Its exit status; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Whether SIGKILL did.
    pub killed: bool,
    /// What it printed.
    pub stdout: String,
    /// What it printed as errors.
    pub stderr: String,
}

/// Runs a command with `input` as its standard input.
///
/// # Panics
/// If it can't be started or does not end within `limit`.
pub fn finish(command: &mut Command, input: &[u8], limit: Duration) -> Finished {
    start(command, input).finish(limit)
}

/// Starts a command with `input` as its standard input.
///
/// # Panics
/// If it can't be started.
pub fn start(command: &mut Command, input: &[u8]) -> Started {
    let file = || tempfile::tempfile().expect("failed to make a temporary file");
    let (mut stdin, stdout, stderr) = (file(), file(), file());
    stdin.write_all(input).and_then(|()| stdin.seek(SeekFrom::Start(0))).expect("failed to write the input");
    let copy = |file: &File| file.try_clone().expect("failed to copy a descriptor");
    let child = command.stdin(stdin).stdout(copy(&stdout)).stderr(copy(&stderr)).spawn();
    let child = Owned(child.unwrap_or_else(|error| panic!("failed to start {command:?}: {error}")));
    Started { child, what: format!("{command:?}"), stdout, stderr }
}

/// A program that was started with its input in a file.
pub struct Started {
    child: Owned,
    what: String,
    stdout: File,
    stderr: File,
}

impl Started {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it does not end within `limit`.
    pub fn finish(mut self, limit: Duration) -> Finished {
        let status = self.child.wait(limit);
        let (stdout, stderr) = (contents(self.stdout), contents(self.stderr));
        let what = self.what;
        let status =
            status.unwrap_or_else(|| panic!("{what} did not end within {limit:?}: {stdout}{stderr}"));
        Finished { code: status.code(), killed: is_kill(status), stdout, stderr }
    }

    /// Kills it if it runs still.
    pub fn kill9(mut self) -> Finished {
        let status = self.child.kill();
        let (stdout, stderr) = (contents(self.stdout), contents(self.stderr));
        Finished { code: status.code(), killed: is_kill(status), stdout, stderr }
    }
}

/// Whether SIGKILL ended a process, and nothing of its own.
pub fn is_kill(status: ExitStatus) -> bool {
    status.signal() == Some(Signal::KILL.as_raw())
}

fn contents(mut file: File) -> String {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))
        .and_then(|_| file.read_to_end(&mut bytes))
        .expect("failed to read the output");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A child that is killed when it is no longer wanted.
pub struct Owned(pub Child);

impl Owned {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Whether it runs.
    pub fn is_alive(&mut self) -> bool {
        self.0.try_wait().expect("failed to ask for a child").is_none()
    }

    /// Waits for its end; `None` if it runs on after `limit`.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        if self.is_alive() {
            let pid = Pid::from_child(&self.0);
            let ended = pidfd_open(pid, PidfdFlags::empty()).expect("failed to open a pidfd");
            wait::readable(&ended, limit);
        }
        self.0.try_wait().expect("failed to ask for a child")
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        kill_process(Pid::from_child(&self.0), Signal::TERM).expect("failed to signal a child");
    }

    /// Sends SIGHUP.
    pub fn hang_up(&self) {
        kill_process(Pid::from_child(&self.0), Signal::HUP).expect("failed to signal a child");
    }

    /// Sends SIGKILL.
    pub fn cut(&mut self) {
        // An error means that it ended by itself.
        let _ = self.0.kill();
    }

    /// Sends SIGKILL and takes its status.
    pub fn kill(&mut self) -> ExitStatus {
        self.cut();
        self.0.wait().expect("failed to wait for a child")
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The children of a process, of all its threads.
pub fn children(pid: u32) -> Vec<u32> {
    let lists = of_threads(pid, "children");
    lists.iter().flat_map(|list| list.split(' ')).filter_map(|pid| pid.trim().parse().ok()).collect()
}

/// A file of /proc for each thread of a process that has not ended.
fn of_threads(pid: u32, file: &str) -> Vec<String> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads.filter_map(|thread| std::fs::read_to_string(thread.path().join(file)).ok()).collect()
}

/// How many threads a process has.
pub fn threads(pid: u32) -> u64 {
    std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().count() as u64
}

/// Whether a thread of the process is on a processor, or wants to be.
pub fn is_running(pid: u32) -> bool {
    // The state follows the name, which stands in parentheses.
    let running = |stat: &String| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('R'));
    of_threads(pid, "stat").iter().any(running)
}

/// How long the threads that a process has now have been on a processor.
pub fn on_processor(pid: u32) -> Duration {
    let times = of_threads(pid, "schedstat");
    let nanoseconds = times.iter().filter_map(|times| times.split(' ').next()?.parse::<u64>().ok()).sum();
    Duration::from_nanos(nanoseconds)
}

/// Kills one process that a daemon of ours started.
pub fn kill_descendant(pid: u32) -> bool {
    signal_descendant(pid, Signal::KILL)
}

/// Sends a signal to one.
pub fn signal_descendant(pid: u32, signal: Signal) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| kill_process(pid, signal).is_ok())
}

/// How many descriptors a process has.
pub fn open_files(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// Lets a process that we started have so many descriptors.
pub fn limit_open_files(pid: u32, limit: usize) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    let now = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let limit = rustix::process::Rlimit { current: Some(limit as u64), maximum: now.maximum };
    rustix::process::prlimit(Some(pid), rustix::process::Resource::Nofile, limit)
        .expect("failed to set a limit");
}

/// The most memory that a process ever had, in bytes.
pub fn memory_peak(pid: u32) -> u64 {
    memory(pid, "VmHWM:").unwrap_or_else(|| panic!("process {pid} does not tell"))
}

/// The memory that a process has now, in bytes; `None` if it has ended.
pub fn memory_resident(pid: u32) -> Option<u64> {
    memory(pid, "VmRSS:")
}

fn memory(pid: u32, field: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number of kB");
    Some(kib << 10)
}
