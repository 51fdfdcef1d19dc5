//! Messages that kill or hang the parser end in quarantine, each for its own
//! cause and after one try, while good mail goes on beside them and the machine
//! keeps its memory.
//!
//! A run parses every message whole, or only its header. None may ever be lost.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::daemon::Daemon;
use crate::generated::Generated;
use crate::lab::{Config, Lab, submitted};
use crate::memory::{Peak, Sampler};
use crate::poison::{self, Expected, Outcome, Poison};
use crate::smtp;
use crate::trial::{Case, Needs, figures};
use crate::wait::until;

/// Longest time until all poison of a case is dealt with.
const POISON_TIME_MAX: Duration = Duration::from_secs(300);

/// Longest time that one good message may take beside it.
const GOOD_TIME_MAX: Duration = Duration::from_secs(60);

/// Good messages sent beside the poison.
const GOOD_MESSAGES: usize = 20;

/// Fields that the routes ask about in a run that looks at headers only: those
/// that poison is made of.
const HEADER_FIELDS: [&str; 5] =
    ["Subject", "To", "Content-Type", "Content-Description", "Content-Disposition"];

/// Workers of the run, those that take the place of slow ones not counted.
const WORKERS: u64 = 2;

/// What budgets are by default: bytes of heap, and more for each byte of a message.
const BUDGET_BYTES: u64 = 24 << 20;
const BUDGET_PER_BYTE: u64 = 8;

/// How much more a cell may hold than its heap budget counts: allocators round
/// up, and what is freed stays with the process for a while.
const RESIDENT_PER_HEAP: u64 = 4;

/// What daemon and cells may hold without any message.
const RESIDENT_BASE: u64 = 128 << 20;

/// The cases.
pub fn cases() -> Vec<Case> {
    const NEEDS: &[Needs] = &[Needs::TestData, Needs::Tool("python3"), Needs::ReleaseBuild];
    vec![
        Case::new("poison::own_families_end_in_quarantine", own).alone(),
        Case::new("poison::generated_mail_ends_as_measured", generated).needs(NEEDS).alone(),
        Case::new("poison::few_messages_hurt_by_their_header", headers).needs(NEEDS).alone(),
    ]
}

/// How much of a message the routes ask about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Parsed {
    Whole,
    Header,
}

impl Parsed {
    fn config(self) -> Config {
        match self {
            Self::Whole => Config::parsing_everything(),
            // One route a field, so that each is looked at, then the catch-all.
            Self::Header => HEADER_FIELDS.iter().fold(Config::default(), |config, field| {
                config.route(&format!("header = {{ \"{field}\" = \"never so\" }}\ndeliver = \"mailboxes\"\n"))
            }),
        }
    }

    /// Whether that is what had to become of a message. Its header alone can't
    /// hurt more than all of it.
    fn fits(self, expected: Expected, outcome: &Outcome) -> bool {
        let spared = self == Self::Header && *outcome == Outcome::Delivered;
        spared || expected.fits(outcome)
    }
}

fn own() {
    let messages = poison::all();
    let largest = messages.iter().map(|message| message.bytes.len() as u64).max().unwrap_or_default();
    go("own", Parsed::Whole, largest, messages.into_iter());
}

fn generated() {
    let poison = Generated::make(None);
    go("generated", Parsed::Whole, poison.largest(), poison.read());
}

fn headers() {
    let poison = Generated::make(None);
    go("generated, header only", Parsed::Header, poison.largest(), poison.read());
}

/// A message that was sent.
struct Sent {
    name: String,
    bytes: u64,
    expected: Expected,
}

fn go(label: &str, parsed: Parsed, largest: u64, messages: impl Iterator<Item = Poison>) {
    let lab = Lab::with(&parsed.config());
    let mut daemon = lab.start();
    let sampler = Sampler::start(daemon.pid());
    let started = Instant::now();
    let submit = |Poison { name, bytes, expected }| {
        let sent = Sent { name, bytes: bytes.len() as u64, expected };
        (submitted(&lab, "poisoned@example.org", &bytes), sent)
    };
    let sent: BTreeMap<String, Sent> = messages.map(submit).collect();
    let longest = good_mail_beside(&lab, &daemon);
    let all_are_done = || {
        let outcomes = outcomes(&lab);
        sent.keys().all(|id| outcomes.contains_key(id))
    };
    until(POISON_TIME_MAX, all_are_done);
    let took = started.elapsed();
    let peak = sampler.finish();
    let outcomes = outcomes(&lab);
    let deferred = |id: &String| matches!(outcomes.get(id), Some(Outcome::Deferred(_)));
    let wrong: Vec<String> = sent
        .iter()
        .filter(|(id, sent)| !outcomes.get(*id).is_some_and(|outcome| parsed.fits(sent.expected, outcome)))
        .map(|(id, Sent { name, expected, .. })| {
            format!("{name} ({id}): expected {expected:?}, got {:?}", outcomes.get(id))
        })
        .chain(sent.iter().filter_map(|(id, sent)| tries_too_many(&lab, id, &sent.name)))
        .collect();
    figures(&format!(
        "poison, {label}: {} messages of at most {largest} bytes, {} deferred, {} not as expected, {:.1} s; \
         good mail beside it took {:.2} s at most",
        sent.len(),
        sent.keys().filter(|id| deferred(id)).count(),
        wrong.len(),
        took.as_secs_f64(),
        longest.as_secs_f64(),
    ));
    if parsed == Parsed::Header {
        sent.iter().for_each(|(id, sent)| say_why_deferred(&lab, label, id, sent));
    }
    assert_resident(label, largest, peak);
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(daemon.is_alive(), "the daemon ended");
    good_mail_beside(&lab, &daemon);
    assert_eq!(daemon.terminate().code(), Some(0));
    assert_eq!(lab.spool().passing(), Vec::<String>::new(), "something was left over");
}

/// What has become of all messages so far, by id.
fn outcomes(lab: &Lab) -> BTreeMap<String, Outcome> {
    let delivered = lab.mail().copies().into_keys().map(|id| (id, Outcome::Delivered));
    let deferred = lab.spool().reports().into_iter().map(|report| {
        let cause = Outcome::Deferred(report.cause().to_owned());
        (report.get("id").to_owned(), cause)
    });
    delivered.chain(deferred).collect()
}

/// What blames the message itself is found out at the first try; where nobody
/// knows whose fault it was, there is one more.
fn tries_too_many(lab: &Lab, id: &str, name: &str) -> Option<String> {
    let report = lab.spool().report(id)?;
    let most = if report.get("blame") == "message" { 1 } else { 2 };
    let (tries, cause) = (report.attempts(), report.cause());
    (tries > most).then(|| format!("{name} ({id}): {tries} attempts, cause {cause}"))
}

fn say_why_deferred(lab: &Lab, label: &str, id: &str, Sent { name, bytes, .. }: &Sent) {
    let Some(report) = lab.spool().report(id) else { return };
    let stage = report.all("stage").join("");
    figures(&format!(
        "poison, {label}: {name}, {bytes} bytes: {} at stage {stage}: {}",
        report.cause(),
        report.get("detail")
    ));
}

/// Holds the peak against what the budgets promise. A bound on memory is no
/// timing: it holds however busy the machine is.
fn assert_resident(label: &str, largest: u64, peak: Peak) {
    let budget = BUDGET_BYTES + BUDGET_PER_BYTE * largest;
    let bound = WORKERS * RESIDENT_PER_HEAP * budget + RESIDENT_BASE;
    let mib = |bytes: u64| bytes >> 20;
    figures(&format!(
        "memory, {label}: daemon and up to {} cells held {} MiB at most (bound {} MiB), the daemon {} MiB, \
         one cell {} MiB; {} samples",
        peak.cells,
        mib(peak.together),
        mib(bound),
        mib(peak.daemon),
        mib(peak.cell),
        peak.samples,
    ));
    assert!(peak.samples > 0 && peak.cells > 0, "nothing was seen: {peak:?}");
    assert!(peak.together <= bound, "{} bytes resident, {bound} allowed: {peak:?}", peak.together);
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
