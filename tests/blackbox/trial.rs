//! Cases, what each needs, and how many run at a time.
//!
//! A case whose requirement is missing is reported as ignored with the reason.
//! With CI=true a missing tool, or a right or device that a machine of ours can
//! have, must never pass for a case that ran: it fails.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::{PoisonError, RwLock};

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::cgroup::Controller;
use crate::disk;
use crate::mta;

/// Most cases at a time, unless the command line says otherwise: most of them wait
/// most of the time, for deadlines and for other programs.
const CASES_AT_A_TIME: usize = 4;

/// What a case can't run without.
#[derive(Clone, Copy)]
pub enum Needs {
    /// The folder of larger test data.
    TestData,
    /// A program.
    Tool(&'static str),
    /// A mail server that is unpacked below `target/`, by the name of its Debian
    /// package, and root to start it.
    Server(&'static str),
    /// A control group of this kind: root, and cgroup v1 or v2.
    Group(Controller),
    /// A kernel that tells how much waits for memory (PSI).
    MemoryPressure,
    /// The release build: its budgets were measured with an optimised parser.
    ReleaseBuild,
    /// The right to mount file systems: root, outside of most containers.
    Mounts,
    /// The right to run programs as other users: root.
    Root,
    /// A device that we can open.
    Device(&'static str),
    /// A file system that the kernel knows.
    FileSystem(&'static str),
}

impl Needs {
    /// Whether a machine that checks every change has to have it.
    const fn is_due_in_ci(self) -> bool {
        match self {
            Self::Tool(_) | Self::Server(_) | Self::Mounts | Self::Device(_) | Self::FileSystem(_) => true,
            Self::TestData | Self::Root | Self::Group(_) | Self::MemoryPressure | Self::ReleaseBuild => false,
        }
    }
}

/// One test.
#[derive(Clone, Copy)]
pub struct Case {
    name: &'static str,
    needs: &'static [Needs],
    alone: bool,
    run: fn(),
}

impl Case {
    /// A case that needs nothing. It fails by panicking.
    pub const fn new(name: &'static str, run: fn()) -> Self {
        Self { name, needs: &[], alone: false, run }
    }

    /// Says what it needs.
    pub const fn needs(self, needs: &'static [Needs]) -> Self {
        Self { needs, ..self }
    }

    /// Nothing else runs beside it: it loads the machine or measures time.
    pub const fn alone(self) -> Self {
        Self { alone: true, ..self }
    }
}

/// Where the larger test data lies.
pub fn test_data() -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let named = std::env::var_os("LAZARET_TESTDATA").filter(|name| !name.is_empty());
    root.join(named.map_or_else(|| PathBuf::from("../shared"), PathBuf::from))
}

/// Prints one line of figures, which the command runner repeats at its end.
pub fn figures(text: &str) {
    println!("figures: {text}");
}

/// Prints one row of a table that the command runner writes into a document:
/// the table's name, then each column's name and cell.
pub fn row(table: &str, cells: &[(&str, String)]) {
    let cells: String = cells.iter().map(|(name, value)| format!(" | {name}={value}")).collect();
    println!("row: {table}{cells}");
}

/// Runs what the command line asks for.
pub fn run(cases: Vec<Case>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(CASES_AT_A_TIME);
    let trials = cases.into_iter().map(|case| Trial::ignorable_test(case.name, move || go(&case))).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Held shared by cases that tolerate others, exclusively by those that don't.
static COMPANY: RwLock<()> = RwLock::new(());

fn go(case: &Case) -> Result<Completion, Failed> {
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    for &needs in case.needs {
        match missing(needs) {
            None => {}
            Some(reason) if ci && needs.is_due_in_ci() => return Err(reason.into()),
            Some(reason) => return Ok(Completion::ignored_with(reason)),
        }
    }
    if case.alone {
        let _guard = COMPANY.write().unwrap_or_else(PoisonError::into_inner);
        (case.run)();
    } else {
        let _guard = COMPANY.read().unwrap_or_else(PoisonError::into_inner);
        (case.run)();
    }
    Ok(Completion::Completed)
}

/// Why a requirement is not met.
fn missing(needs: Needs) -> Option<String> {
    match needs {
        Needs::TestData => (!test_data().is_dir()).then(|| "no test data: set LAZARET_TESTDATA".to_owned()),
        Needs::Tool(tool) => {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let found = std::env::split_paths(&path).any(|folder| folder.join(tool).is_file());
            (!found).then(|| format!("no tool: {tool}"))
        }
        Needs::Server(package) => mta::missing(package),
        Needs::Group(controller) => controller.missing(),
        Needs::Root => {
            (!rustix::process::geteuid().is_root()).then(|| "not root: can't run as another user".to_owned())
        }
        Needs::Mounts => disk::missing(),
        Needs::MemoryPressure => std::fs::read("/proc/pressure/memory")
            .err()
            .map(|error| format!("/proc/pressure/memory: {error}: the kernel does not tell")),
        Needs::ReleaseBuild => cfg!(debug_assertions).then(|| "not a release build".to_owned()),
        Needs::Device(path) => {
            let opened = File::options().read(true).write(true).open(path);
            opened.err().map(|error| format!("no device: failed to open {path}: {error}"))
        }
        Needs::FileSystem(name) => (!knows(name)).then(|| format!("the kernel has no file system {name}")),
    }
}

/// Whether the kernel has a file system, or a module for it.
fn knows(name: &str) -> bool {
    let listed = || {
        let list = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
        list.lines().any(|line| line.split('\t').next_back() == Some(name))
    };
    listed() || (Command::new("modprobe").args(["-q", name]).status().is_ok() && listed())
}
