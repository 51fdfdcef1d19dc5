//! Control groups around a daemon, v1 or v2: to take processes or memory from it
//! as a host would.
//!
//! Needs root. A group is emptied and removed when it is dropped; it must never
//! hold a process that the tests did not start.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::daemon::Daemon;
use crate::process;

/// Longest time for a program that is run in a group.
const RUN_TIME_MAX: Duration = Duration::from_secs(60);

/// What a group can limit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Controller {
    /// The number of processes and threads.
    Pids,
    /// Memory.
    Memory,
}

impl Controller {
    /// The files of v1 and of v2 that hold the limit.
    fn limit_files(self) -> [&'static str; 2] {
        match self {
            Self::Pids => ["pids.max", "pids.max"],
            Self::Memory => ["memory.limit_in_bytes", "memory.max"],
        }
    }

    /// Where groups of this kind are made.
    fn top(self) -> PathBuf {
        let first = PathBuf::from("/sys/fs/cgroup").join(match self {
            Self::Pids => "pids",
            Self::Memory => "memory",
        });
        if first.is_dir() { first } else { PathBuf::from("/sys/fs/cgroup") }
    }

    /// Why no such group can be made here.
    pub fn missing(self) -> Option<String> {
        // Making one is the only way to know whether one may.
        let probe = self.top().join(format!("lazaret-probe-{}", std::process::id()));
        let made = fs::create_dir(&probe).is_ok();
        let limits = made && self.limit_files().iter().any(|file| probe.join(file).exists());
        let _ = fs::remove_dir(&probe);
        (!limits).then(|| "no control group may be made here (root?)".to_owned())
    }
}

/// A group, and every process that those in it start.
pub struct Group {
    path: PathBuf,
    controller: Controller,
}

impl Group {
    /// With a daemon in it, and every process that it starts from now on.
    pub fn around(daemon: &Daemon, controller: Controller) -> Self {
        let group = Self::empty(controller);
        group.write("cgroup.procs", &daemon.pid().to_string());
        group
    }

    /// With nothing in it.
    pub fn empty(controller: Controller) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("lazaret-test-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = controller.top().join(name);
        fs::create_dir(&path).expect("a control group can be made");
        Self { path, controller }
    }

    /// Runs a program that reads a file in it, to the end.
    pub fn run(&self, program: &str, file: &Path) {
        let enter = "echo $$ > \"$0\" && exec \"$@\" > /dev/null";
        let mut command = Command::new("sh");
        command.args(["-c", enter]).arg(self.path.join("cgroup.procs")).arg(program).arg(file);
        let finished = process::finish(&mut command, b"", RUN_TIME_MAX);
        assert_eq!(finished.code, Some(0), "{finished:?}");
    }

    /// Sets the limit; `None` for none.
    pub fn limit(&self, limit: Option<u64>) {
        let files = self.controller.limit_files();
        let first = files[0] != files[1] && self.path.join(files[0]).exists();
        let none = if first { "-1" } else { "max" };
        let text = limit.map_or(none.to_owned(), |limit| limit.to_string());
        self.write(files[usize::from(!first)], &text);
    }

    /// How often the kernel killed for want of memory in here.
    pub fn oom_kills(&self) -> u64 {
        let text = ["memory.oom_control", "memory.events"]
            .iter()
            .find_map(|file| fs::read_to_string(self.path.join(file)).ok())
            .expect("the group tells of its kills");
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line.and_then(|count| count.trim().parse().ok()).expect("a number of kills")
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.path.join(file), text)
            .unwrap_or_else(|e| panic!("{}/{file}: {e}", self.path.display()));
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Whatever is in it goes back to the group above.
        let all = fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default();
        for pid in all.lines() {
            let _ = fs::write(self.controller.top().join("cgroup.procs"), pid);
        }
        let _ = fs::remove_dir(&self.path);
    }
}
