//! The administrators' page, `docs/faults.md`, as the suite reads it: what each
//! row promises that clients are told and that the log says.
//!
//! The texts are the page's. They must never be repeated here.

use std::collections::BTreeSet;
use std::path::Path;

pub const DISK_FULL: &str = "The disk of the spool is full";
pub const TOO_LARGE_NOW: &str = "A large message does not fit";
pub const NO_INODES: &str = "No inodes are left";
pub const QUEUE_FULL: &str = "Too many messages are queued";
pub const QUOTA: &str = "A quota is reached";
pub const NO_JOURNAL: &str = "Not even a journal fits";
pub const NO_REPORT: &str = "Not even a report fits";
pub const NO_NAME: &str = "Not even a name fits";
pub const IO_ERROR: &str = "An I/O error, or a failed fsync";
pub const READ_ONLY: &str = "The file system becomes read-only";
pub const NO_DIRECTORY: &str = "A directory of the spool is removed or renamed away";
pub const NO_SPOOL: &str = "The whole spool is removed or renamed away";
pub const NO_FILES: &str = "Too many files are open";
pub const CLOCK_BACK: &str = "The clock is set back";
pub const CLOCK_FORWARD: &str = "The clock is set forward";
pub const IN_MEMORY: &str = "The spool is in memory";
pub const NO_JOURNALLING: &str = "The spool is on ext4 without a journal";
pub const NETWORK: &str = "The spool is on a network file system";
pub const MACHINE_FILES: &str = "The machine has no file left to open (ENFILE)";

fn table() -> Vec<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/faults.md");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let rows = rows.filter(|row| !row.starts_with("---") && !row.starts_with("fault |"));
    rows.map(|row| row.split(" | ").map(str::to_owned).collect()).collect()
}

fn row(name: &str) -> Vec<String> {
    let found = table().into_iter().find(|row| row[0] == name);
    found.unwrap_or_else(|| panic!("docs/faults.md has no row {name:?}"))
}

/// The names of all rows.
pub fn rows() -> BTreeSet<&'static str> {
    table().into_iter().map(|row| &*row[0].clone().leak()).collect()
}

/// Asserts that what a client was told is what the row says.
#[track_caller]
pub fn assert_told(name: &str, told: &str) {
    let row = row(name);
    // A code and an enhanced code, wherever they stand among the words.
    let words: Vec<&str> = row[1].split([' ', ',']).filter(|word| !word.is_empty()).collect();
    let codes = words.windows(2).map(|pair| pair.join(" "));
    let fits = codes.filter(|code| code.starts_with('4')).any(|code| told.starts_with(&code));
    assert!(fits, "{name}: a client is told {told:?}, and the page says {:?}", row[1]);
}

/// Asserts that the page lets a client go without an answer.
#[track_caller]
pub fn assert_may_be_silent(name: &str) {
    assert!(row(name)[1].starts_with("no answer"), "{name}: a client got no answer");
}

/// Asserts that the page announces neither an answer nor a line.
#[track_caller]
pub fn assert_unsaid(name: &str) {
    assert_eq!(row(name)[1..3], ["nothing", "nothing"], "{name}");
}

/// How many lines of a log say what the row says.
pub fn lines_in(name: &str, log: &str) -> usize {
    let row = row(name);
    let cell = row.iter().skip(1).find_map(|cell| cell.strip_prefix('`')?.split('`').next());
    count(cell.unwrap_or_else(|| panic!("{name}: the page has no line of the log")), log)
}

/// How many lines say what the row has in its last cell: that it goes on.
pub fn lines_of_the_end_in(name: &str, log: &str) -> usize {
    let row = row(name);
    let cell = row.last().and_then(|cell| cell.split('`').nth(1));
    count(cell.unwrap_or_else(|| panic!("{name}: the page has no line for the end")), log)
}

/// Lines that have all parts of a pattern, in order.
fn count(pattern: &str, log: &str) -> usize {
    let fits = |line: &&str| {
        let mut parts = pattern.split('…').map(str::trim);
        parts.try_fold(*line, |rest, part| Some(rest.split_once(part)?.1)).is_some()
    };
    log.lines().filter(fits).count()
}
