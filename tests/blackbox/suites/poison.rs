//! Messages that kill or hang the parser end in quarantine, each for its own
//! cause and after one try, while good mail goes on beside them.
//!
//! Every message is parsed whole here. None may ever be lost.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::daemon::Daemon;
use crate::lab::{Config, Lab, submitted};
use crate::poison::{self, Expected, Outcome, Poison};
use crate::process;
use crate::smtp;
use crate::trial::{Case, Needs, figures, test_data};
use crate::wait::until;

/// Whether running out of memory must show as cause `memory` and as nothing else.
const STRICT: bool = false;

/// Longest time until all poison of a case is dealt with.
const POISON_TIME_MAX: Duration = Duration::from_secs(300);

/// Longest time that one good message may take beside it.
const GOOD_TIME_MAX: Duration = Duration::from_secs(60);

/// Good messages sent beside the poison.
const GOOD_MESSAGES: usize = 20;

/// Longest time for the generator.
const GENERATOR_TIME_MAX: Duration = Duration::from_secs(120);

/// Largest message that the generator makes, in bytes.
const GENERATED_BYTES_MAX: &str = "8388608";

/// Fewest messages that it must make, so that an empty folder is no pass.
const GENERATED_MIN: usize = 40;

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("poison::own_families_end_in_quarantine", own).alone(),
        Case::new("poison::generated_mail_ends_as_measured", generated)
            .needs(&[Needs::TestData, Needs::Tool("python3"), Needs::ReleaseBuild])
            .alone(),
    ]
}

fn own() {
    go(
        "own",
        poison::all().into_iter().map(|Poison { name, bytes, expected }| (name.to_owned(), bytes, expected)),
    );
}

fn generated() {
    let folder = tempfile::tempdir().expect("failed to make a folder");
    let data = test_data().join("poison");
    let mut generator = Command::new("python3");
    generator.arg(data.join("gen.py")).arg(folder.path()).args(["--max-size", GENERATED_BYTES_MAX]);
    let finished = process::finish(&mut generator, b"", GENERATOR_TIME_MAX);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let expected = expectations(&data.join("expected.csv"));
    let read = |(name, expected): (String, Expected)| {
        // Files above the size limit were not made.
        let bytes = std::fs::read(folder.path().join(&name)).ok()?;
        Some((name, bytes, expected))
    };
    let messages: Vec<_> = expected.into_iter().filter_map(read).collect();
    assert!(messages.len() >= GENERATED_MIN, "only {} messages were made", messages.len());
    go("generated", messages.into_iter());
}

fn expectations(table: &Path) -> Vec<(String, Expected)> {
    let text =
        std::fs::read_to_string(table).unwrap_or_else(|error| panic!("failed to read {table:?}: {error}"));
    let row = |line: &str| {
        let cells: Vec<&str> = line.splitn(3, ',').collect();
        let [name, _, word] = cells[..] else { panic!("not three cells: {line}") };
        (name.to_owned(), Expected::parse(word).unwrap_or_else(|| panic!("unknown word: {line}")))
    };
    text.lines().skip(1).map(row).collect()
}

/// What has become of a message so far.
fn outcome(lab: &Lab, id: &str) -> Option<Outcome> {
    let delivered = || (lab.mail().count(id) > 0).then_some(Outcome::Delivered);
    let deferred = || lab.spool().report(id).map(|report| Outcome::Deferred(report.cause().to_owned()));
    deferred().or_else(delivered)
}

fn go(label: &str, messages: impl Iterator<Item = (String, Vec<u8>, Expected)>) {
    let lab = Lab::with(&Config::parsing_everything());
    let mut daemon = lab.start();
    let started = Instant::now();
    let submit = |(name, bytes, expected): (String, Vec<u8>, Expected)| {
        (submitted(&lab, "poisoned@example.org", &bytes), (name, expected))
    };
    let sent: BTreeMap<String, (String, Expected)> = messages.map(submit).collect();
    let longest = good_mail_beside(&lab, &daemon);
    until(POISON_TIME_MAX, || sent.keys().all(|id| outcome(&lab, id).is_some()));
    let took = started.elapsed();
    let mut wrong = Vec::new();
    let (mut delivered, mut deferred) = (0, 0);
    for (id, (name, expected)) in &sent {
        let outcome = outcome(&lab, id);
        match &outcome {
            Some(Outcome::Delivered) => delivered += 1,
            Some(Outcome::Deferred(_)) => deferred += 1,
            None => {}
        }
        if !outcome.as_ref().is_some_and(|outcome| expected.fits(outcome, STRICT)) {
            wrong.push(format!("{name} ({id}): expected {expected:?}, got {outcome:?}"));
        }
        wrong.extend(tries_too_many(&lab, id).map(|tries| format!("{name} ({id}): {tries}")));
    }
    figures(&format!(
        "poison, {label}: {} messages, {delivered} delivered, {deferred} deferred, {:.1} s; \
         good mail beside it took {:.2} s at most",
        sent.len(),
        took.as_secs_f64(),
        longest.as_secs_f64(),
    ));
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(daemon.is_alive(), "the daemon ended");
    good_mail_beside(&lab, &daemon);
    assert_eq!(daemon.terminate().code(), Some(0));
    assert_eq!(lab.spool().passing(), Vec::<String>::new(), "something was left over");
}

/// What blames the message itself is found out at the first try; where nobody
/// knows whose fault it was, there is one more.
fn tries_too_many(lab: &Lab, id: &str) -> Option<String> {
    let report = lab.spool().report(id)?;
    let most = if report.get("blame") == "message" { 1 } else { 2 };
    (report.attempts() > most).then(|| format!("{} attempts, cause {}", report.attempts(), report.cause()))
}

/// Sends good messages one after the other; the longest that one took.
fn good_mail_beside(lab: &Lab, daemon: &Daemon) -> Duration {
    let one = |number: usize| {
        let started = Instant::now();
        let message = format!("Subject: good {number}\r\n\r\nbeside the poison\r\n");
        let id =
            smtp::deliver(daemon.smtp(), "sender@example.com", &["desk@example.org"], message.as_bytes())
                .unwrap_or_else(|error| panic!("good mail was not taken: {error}"));
        assert!(until(GOOD_TIME_MAX, || lab.mail().count(&id) > 0), "good mail {id} does not arrive");
        started.elapsed()
    };
    (0..GOOD_MESSAGES).map(one).max().unwrap_or_default()
}
