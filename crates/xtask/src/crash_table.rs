//! `cargo xtask crash-table`: kills, simulation and power cuts at full length, and
//! `docs/crash-safety.md` from what they print.
//!
//! A run that fails leaves the document as it is. It must never write a figure
//! that no suite has printed.

use std::os::linux::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crate::document::{Document, NOT_RUN, POWER};
use crate::exec::Line;
use crate::project;
use crate::row::Row;
use crate::tally::Tally;

/// Where the document lies from the top of the repository.
const DOCUMENT: &str = "docs/crash-safety.md";

/// Longest time for each part, its build included.
const PART_TIME_MAX: Duration = Duration::from_secs(4 * 60 * 60);

/// Runs everything and writes the document.
pub fn run(kills: u64) -> ExitCode {
    finish(measure(kills).and_then(|document| write(&document)))
}

/// Writes the text anew around the tables that the document has.
pub fn rewrite() -> ExitCode {
    let path = project::root().join(DOCUMENT);
    let text = std::fs::read_to_string(&path).map_err(|error| format!("failed to read {DOCUMENT}: {error}"));
    finish(text.and_then(|text| Document::parse(&text)).and_then(|document| write(&document)))
}

fn finish(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn measure(kills: u64) -> Result<Document, String> {
    let root = project::root();
    let suite =
        |case: &str| Line::new("cargo test --release --quiet --package lazaret --test blackbox --").arg(case);
    let mut tally = Tally::default();
    let crash = suite("crash::").env("LAZARET_KILLS", &kills.to_string());
    crash.run(&root, PART_TIME_MAX, &mut tally)?;
    // With one thread the harness puts a test's name before the first line that it prints.
    Line::new("cargo test --release --quiet --package lazaret-spool --lib simulation -- --test-threads 2")
        .env("LAZARET_SIMULATION", "long")
        .run(&root, PART_TIME_MAX, &mut tally)?;
    let mut power = Tally::default();
    suite("power::").env("LAZARET_POWER", "long").run(&root, PART_TIME_MAX, &mut power)?;
    let cut = power.rows.iter().any(|row| row.table == POWER);
    if !cut {
        let why =
            if power.not_run.is_empty() { "there is no such suite".into() } else { power.not_run.join("; ") };
        power.rows.push(Row::new(POWER, &[(NOT_RUN, &why)]));
    }
    let rows = machine().into_iter().chain(tally.rows).chain(power.rows);
    Ok(Document::new(rows.collect()))
}

fn write(document: &Document) -> Result<(), String> {
    let path = project::root().join(DOCUMENT);
    let failed = |error: std::io::Error| format!("failed to write {DOCUMENT}: {error}");
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).map_err(failed)?;
    std::fs::write(&path, document.text()).map_err(failed)?;
    println!("written: {DOCUMENT}");
    for fault in document.faults() {
        println!("as it is, the check refuses it: {fault}");
    }
    Ok(())
}

/// What it ran on: nothing that tells whose machine it is.
fn machine() -> Vec<Row> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let release = read("/proc/sys/kernel/osrelease");
    let model = read("/proc/cpuinfo");
    let model = model.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let memory = read("/proc/meminfo");
    let kib = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().split(' ').next()?.parse().ok());
    let gib = kib.map_or("unknown".to_owned(), |kib: u64| format!("{} GiB", kib >> 20));
    let processors = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    [
        ("kernel", format!("Linux {}", release.trim())),
        ("processors", format!("{processors}, {}", model.map_or("unknown", |(_, name)| name))),
        ("memory", gib),
        ("file system of the spools", file_system(&std::env::temp_dir())),
        ("version", format!("Lazaret {}, release build", env!("CARGO_PKG_VERSION"))),
    ]
    .map(|(fact, value)| Row::new("machine", &[("fact", fact), ("value", &value)]))
    .into()
}

/// The kind of file system that a folder is on, as the kernel calls it.
fn file_system(folder: &Path) -> String {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let device = std::fs::metadata(folder).map_or(0, |found| found.st_dev());
    // The parts of a device number, as glibc's major() and minor() take them out.
    let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00));
    let device = format!("{major}:{minor}");
    let is_it = |line: &&str| line.split(' ').nth(2) == Some(device.as_str());
    let kind = mounts.lines().find(is_it).and_then(|line| line.split(" - ").nth(1)?.split(' ').next());
    kind.unwrap_or("unknown").to_owned()
}
