//! What real mail costs, parsed whole, against what it may cost.
//!
//! All of it is delivered. What each message cost is read from the daemon's log;
//! the figures are for people, and no case may fail because of a time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::content::{has_bare_cr, wire};
use crate::lab::submitted;
use crate::lab::{Config, Lab};
use crate::smtp::Client;
use crate::trial::{Case, Needs, figures, test_data};
use crate::wait::until;

/// Longest time from the last message to the last delivery.
const ARRIVAL_TIME_MAX: Duration = Duration::from_secs(180);

/// Fewest messages that the corpus must have, so that an empty folder is no pass.
const CORPUS_MIN: usize = 1000;

/// Budgets by default: heap, more for each byte, and CPU time with that of a
/// MiB for each MiB that is begun.
const MEMORY_BYTES: u64 = 24 << 20;
const MEMORY_PER_BYTE: u64 = 8;
const CPU_TIME: Duration = Duration::from_secs(1);
const CPU_TIME_PER_MIB: Duration = Duration::from_millis(200);

/// Classes of size, by the bytes that a message of them has at most.
const CLASSES: [(&str, u64); 4] =
    [("below 4 KiB", 4 << 10), ("below 16 KiB", 16 << 10), ("below 64 KiB", 64 << 10), ("larger", u64::MAX)];

const RECIPIENT: &str = "desk@example.org";

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("costs::real_mail_is_far_from_its_budgets", real)
            .needs(&[Needs::TestData, Needs::ReleaseBuild])
            .alone(),
    ]
}

/// What a message cost in its cell.
struct Cost {
    bytes: u64,
    memory: u64,
    cpu: Duration,
}

fn real() {
    let lab = Lab::with(&Config::parsing_everything());
    let daemon = lab.start_with_costs();
    let mut client = Client::connect(daemon.smtp()).expect("a session");
    let mut sizes = BTreeMap::new();
    for path in files(&test_data().join("mail")) {
        let bytes =
            wire(&std::fs::read(&path).unwrap_or_else(|error| panic!("failed to read {path:?}: {error}")));
        let id = if has_bare_cr(&bytes) {
            submitted(&lab, RECIPIENT, &bytes)
        } else {
            client.deliver("sender@example.com", &[RECIPIENT], &bytes).expect("taken")
        };
        sizes.insert(id, bytes.len() as u64);
    }
    assert!(sizes.len() >= CORPUS_MIN, "the corpus: {}", sizes.len());
    let arrived = || lab.mail().copies().len();
    until(ARRIVAL_TIME_MAX, || arrived() >= sizes.len() || !lab.spool().names("deferred").is_empty());
    let deferred = lab.spool().reports();
    assert!(deferred.is_empty(), "real mail in quarantine: {deferred:?}");
    assert_eq!(arrived(), sizes.len(), "all of it arrives");
    assert_eq!(daemon.terminate().code(), Some(0));
    let costs = costs(&lab.log(), &sizes);
    assert_eq!(costs.len(), sizes.len(), "the log tells what each message cost");
    figures(&format!("costs, real mail: {} messages delivered, parsed whole", costs.len()));
    let mut least = 0;
    for (class, most) in CLASSES {
        let of_class: Vec<&Cost> = costs.iter().filter(|cost| (least..most).contains(&cost.bytes)).collect();
        least = most;
        say(class, &of_class);
    }
}

/// One row of the table.
fn say(class: &str, costs: &[&Cost]) {
    let sorted = |value: fn(&Cost) -> f64| {
        let mut values: Vec<f64> = costs.iter().map(|cost| value(cost)).collect();
        values.sort_by(f64::total_cmp);
        [values.len() / 2, values.len() * 99 / 100, values.len().saturating_sub(1)]
            .map(|place| values.get(place).copied().unwrap_or_default())
    };
    let memory = sorted(|cost| cost.memory as f64 / 1024.0);
    let factor = sorted(|cost| cost.memory as f64 / cost.bytes as f64);
    let part =
        sorted(|cost| 100.0 * cost.memory as f64 / (MEMORY_BYTES + MEMORY_PER_BYTE * cost.bytes) as f64);
    let cpu = sorted(|cost| cost.cpu.as_secs_f64() * 1e3);
    let cpu_part = sorted(|cost| {
        let mib = u32::try_from(cost.bytes.div_ceil(1 << 20)).unwrap_or(u32::MAX);
        100.0 * cost.cpu.as_secs_f64() / (CPU_TIME + CPU_TIME_PER_MIB * mib).as_secs_f64()
    });
    let row = |[p50, p99, max]: [f64; 3]| format!("{p50:.2}/{p99:.2}/{max:.2}");
    figures(&format!(
        "costs, {class}: {} messages; p50/p99/max: heap {} KiB, {} of the size, {} % of the budget; \
         CPU {} ms, {} % of the budget",
        costs.len(),
        row(memory),
        row(factor),
        row(part),
        row(cpu),
        row(cpu_part),
    ));
}

/// What the log tells: the last word about each message of `sizes`.
fn costs(log: &str, sizes: &BTreeMap<String, u64>) -> Vec<Cost> {
    let mut found = BTreeMap::new();
    for line in log.lines().filter(|line| line.contains("judged")) {
        let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
        let text = |key: &str| event[key].as_str().unwrap_or_default();
        let (id, usage) = (text("id"), text("usage"));
        let (Some(&bytes), Some(memory), Some(cpu)) =
            (sizes.get(id), inside(usage, "memory: Some("), inside(usage, "cpu: Some("))
        else {
            continue;
        };
        let memory = memory.parse().unwrap_or_else(|error| panic!("{error}: {line}"));
        let cpu = duration(cpu).unwrap_or_else(|| panic!("no time: {line}"));
        found.insert(id.to_owned(), Cost { bytes, memory, cpu });
    }
    found.into_values().collect()
}

/// What stands between `before` and the next parenthesis.
fn inside<'a>(text: &'a str, before: &str) -> Option<&'a str> {
    text.split_once(before)?.1.split_once(')').map(|(value, _)| value)
}

/// A time as it is logged: `1.5ms`.
fn duration(text: &str) -> Option<Duration> {
    let unit = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(unit);
    let factor = match unit {
        "s" => 1.0,
        "ms" => 1e-3,
        "µs" => 1e-6,
        "ns" => 1e-9,
        _ => return None,
    };
    Some(Duration::from_secs_f64(number.parse::<f64>().ok()? * factor))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries =
        std::fs::read_dir(folder).unwrap_or_else(|error| panic!("failed to list {folder:?}: {error}"));
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable entry").path()).collect();
    found.sort();
    let (folders, files): (Vec<PathBuf>, Vec<PathBuf>) = found.into_iter().partition(|path| path.is_dir());
    let mails = files.into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "eml"));
    mails.chain(folders.iter().flat_map(|folder| self::files(folder))).collect()
}
