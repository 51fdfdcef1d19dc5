//! The report that lies beside a deferred message: what happened, in whose
//! hands, at what cost, and what to do next.
//!
//! Lines for people that programs can parse. Whatever comes from the message is
//! a [`Line`] or an address; a report must never carry raw message text.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use crate::address::{Address, ReversePath, take_path};
use crate::advice::advice;
use crate::cause::{Cause, Stage};
use crate::digest::Digest;
use crate::envelope::Envelope;
use crate::id::MessageId;
use crate::line::Line;
use crate::text::{Fields, Reason, TextError};

/// First line of every report: the kind of document and its version.
const HEADING: &str = "lazaret-report 1";

/// Most recipients that a report names; it gives the number of all.
const RECIPIENTS_NAMED_MAX: usize = 10;

/// Most attempts that a report lists: the latest.
pub const ATTEMPTS_MAX: usize = 100;

/// What a message cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Most heap held at once, in bytes; `None` where it was not counted.
    pub memory: Option<u64>,
    /// CPU time; `None` where it was not read.
    pub cpu: Option<Duration>,
    /// Time from hand-over to the end.
    pub wall: Duration,
}

/// What a message was allowed to cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Heap, in bytes.
    pub memory: u64,
    /// CPU time.
    pub cpu: Duration,
    /// Wall time.
    pub wall: Duration,
}

/// One try at the message that came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// When it ended.
    pub time: Timestamp,
    /// How it ended, in one sentence.
    pub what: Line,
}

/// What copies of a message are known by, and what was in force when it faulted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    /// Digest of the content below the trace header fields.
    pub digest: Digest,
    /// Number of these bytes.
    pub bytes: u64,
    /// Digest of everything that the outcome depends on beside the message:
    /// program version, budget, limits, routes.
    pub terms: Digest,
}

/// What is told about a deferred message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Which message.
    pub id: MessageId,
    /// Why.
    pub cause: Cause,
    /// What happened, in one sentence.
    pub detail: Line,
    /// When it was deferred.
    pub time: Timestamp,
    /// Which program and version deferred it.
    pub program: Line,
    /// The worker that had it.
    pub worker: Option<u16>,
    /// How far the cell had come.
    pub stage: Option<Stage>,
    /// How the cell ended: its signal or exit status.
    pub ending: Option<Line>,
    /// What it cost.
    pub usage: Option<Usage>,
    /// What it was allowed to cost.
    pub budget: Option<Budget>,
    /// Earlier tries, oldest first.
    pub attempts: Vec<Attempt>,
    /// What copies of it are known by, if it was to blame.
    pub fingerprint: Option<Fingerprint>,
    /// What the envelope says, where it could be read.
    pub summary: Option<Summary>,
}

/// An envelope in a few lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// When it was accepted.
    pub arrived: Timestamp,
    /// From whom it came: protocol and client.
    pub origin: Line,
    /// Number of bytes.
    pub size: u64,
    /// Their digest.
    pub digest: Digest,
    /// The sender.
    pub sender: ReversePath,
    /// Number of recipients.
    pub recipient_count: u64,
    /// The first of them.
    pub recipients: Vec<Address>,
}

impl From<&Envelope> for Summary {
    fn from(envelope: &Envelope) -> Self {
        let recipients = &envelope.transaction.recipients;
        let client = envelope.origin.client.as_ref().map_or("", Line::as_str);
        Self {
            arrived: envelope.arrived,
            origin: Line::escaped(format!("{} {client}", envelope.origin.protocol).trim_end()),
            size: envelope.content.size,
            digest: envelope.content.digest,
            sender: envelope.transaction.sender.path.clone(),
            recipient_count: recipients.len() as u64,
            recipients: recipients.iter().take(RECIPIENTS_NAMED_MAX).map(|to| to.address.clone()).collect(),
        }
    }
}

impl Report {
    /// A report with nothing but the answer to "what, why and when".
    #[must_use]
    pub fn new(id: MessageId, cause: Cause, detail: Line, time: Timestamp) -> Self {
        Self {
            id,
            cause,
            detail,
            time,
            program: Line::escaped(concat!("lazaret ", env!("CARGO_PKG_VERSION"))),
            worker: None,
            stage: None,
            ending: None,
            usage: None,
            budget: None,
            attempts: Vec::new(),
            fingerprint: None,
            summary: None,
        }
    }

    /// Whether the message has no sender to whom anything could be told.
    #[must_use]
    pub fn is_bounce(&self) -> bool {
        self.summary.as_ref().is_some_and(|summary| summary.sender.0.is_none())
    }

    /// The same report with what the envelope says.
    #[must_use]
    pub fn about(mut self, envelope: &Envelope) -> Self {
        self.summary = Some(envelope.into());
        self
    }
}

/// Writes `key value` if there is a value.
fn optional(f: &mut fmt::Formatter<'_>, key: &str, value: Option<impl fmt::Display>) -> fmt::Result {
    value.map_or(Ok(()), |value| writeln!(f, "{key} {value}"))
}

/// Milliseconds with microseconds behind the point.
struct Millis(Duration);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros();
        write!(f, "{}.{:03}", micros / 1000, micros % 1000)
    }
}

fn parse_millis(text: &str) -> Result<Duration, &'static str> {
    const WRONG: &str = "expected milliseconds such as 12.345";
    let (millis, micros) = text.split_once('.').ok_or(WRONG)?;
    let number = |digits: &str| digits.parse::<u64>().map_err(|_| WRONG);
    if micros.len() != 3 {
        return Err(WRONG);
    }
    let micros = number(millis)?.checked_mul(1000).ok_or(WRONG)? + number(micros)?;
    Ok(Duration::from_micros(micros))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADING}\nid {}\ncause {}\nblame {}", self.id, self.cause, self.cause.blame())?;
        writeln!(f, "detail {}\ntime {}\nprogram {}", self.detail, self.time, self.program)?;
        optional(f, "worker", self.worker)?;
        optional(f, "stage", self.stage)?;
        optional(f, "ending", self.ending.as_ref())?;
        if let Some(usage) = self.usage {
            optional(f, "peak-memory-bytes", usage.memory)?;
            optional(f, "cpu-time-ms", usage.cpu.map(Millis))?;
            writeln!(f, "wall-time-ms {}", Millis(usage.wall))?;
        }
        if let Some(budget) = self.budget {
            writeln!(f, "budget-memory-bytes {}", budget.memory)?;
            writeln!(f, "budget-cpu-time-ms {}", Millis(budget.cpu))?;
            writeln!(f, "budget-wall-time-ms {}", Millis(budget.wall))?;
        }
        for attempt in &self.attempts[self.attempts.len().saturating_sub(ATTEMPTS_MAX)..] {
            writeln!(f, "attempt {} {}", attempt.time, attempt.what)?;
        }
        if let Some(Fingerprint { digest, bytes, terms }) = self.fingerprint {
            writeln!(f, "fingerprint {digest}\nfingerprint-bytes {bytes}\nterms {terms}")?;
        }
        if let Some(summary) = &self.summary {
            write!(f, "{summary}")?;
        }
        let keys = self.cause.keys(self.detail.as_str());
        for advice in advice(self.cause, self.is_bounce()) {
            writeln!(f, "next {}", advice.for_report(self.id, &keys))?;
        }
        writeln!(f, "end")
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "arrived {}\norigin {}", self.arrived, self.origin)?;
        writeln!(f, "size {}\ndigest {}\nsender {}", self.size, self.digest, self.sender)?;
        writeln!(f, "recipients {}", self.recipient_count)?;
        self.recipients.iter().try_for_each(|address| writeln!(f, "recipient <{address}>"))
    }
}

impl Report {
    /// Parses the text form.
    ///
    /// # Errors
    /// The first line that can't be understood, or that is missing.
    pub fn parse(bytes: &[u8]) -> Result<Self, TextError> {
        let mut fields = Fields::open(bytes, HEADING)?;
        let mut draft = Draft::default();
        while let Some((key, value)) = fields.next()? {
            draft.take(&fields, key, value)?;
        }
        draft.finish(&fields)
    }
}

/// The fields as they come.
#[derive(Default)]
struct Draft {
    id: Option<MessageId>,
    cause: Option<Cause>,
    detail: Option<Line>,
    time: Option<Timestamp>,
    program: Option<Line>,
    worker: Option<u16>,
    stage: Option<Stage>,
    ending: Option<Line>,
    memory: Option<u64>,
    cpu: Option<Duration>,
    wall: Option<Duration>,
    budget_memory: Option<u64>,
    budget_cpu: Option<Duration>,
    budget_wall: Option<Duration>,
    attempts: Vec<Attempt>,
    fingerprint: Option<Digest>,
    fingerprint_bytes: Option<u64>,
    terms: Option<Digest>,
    arrived: Option<Timestamp>,
    origin: Option<Line>,
    size: Option<u64>,
    digest: Option<Digest>,
    sender: Option<ReversePath>,
    recipient_count: Option<u64>,
    recipients: Vec<Address>,
}

impl Draft {
    fn take(&mut self, fields: &Fields<'_>, key: &str, value: &str) -> Result<(), TextError> {
        match key {
            "id" => fields.once(&mut self.id, "id", value.parse::<MessageId>()),
            "cause" => fields.once(&mut self.cause, "cause", value.parse::<Cause>()),
            "detail" => fields.once(&mut self.detail, "detail", Line::parse(value)),
            "time" => fields.once(&mut self.time, "time", value.parse::<Timestamp>()),
            "program" => fields.once(&mut self.program, "program", Line::parse(value)),
            "worker" => fields.once(&mut self.worker, "worker", value.parse::<u16>()),
            "stage" => fields.once(&mut self.stage, "stage", value.parse::<Stage>()),
            "ending" => fields.once(&mut self.ending, "ending", Line::parse(value)),
            "peak-memory-bytes" => fields.once(&mut self.memory, "peak-memory-bytes", value.parse::<u64>()),
            "cpu-time-ms" => fields.once(&mut self.cpu, "cpu-time-ms", parse_millis(value)),
            "wall-time-ms" => fields.once(&mut self.wall, "wall-time-ms", parse_millis(value)),
            "budget-memory-bytes" => {
                fields.once(&mut self.budget_memory, "budget-memory-bytes", value.parse::<u64>())
            }
            "budget-cpu-time-ms" => {
                fields.once(&mut self.budget_cpu, "budget-cpu-time-ms", parse_millis(value))
            }
            "budget-wall-time-ms" => {
                fields.once(&mut self.budget_wall, "budget-wall-time-ms", parse_millis(value))
            }
            "attempt" => self.attempt(fields, value),
            "fingerprint" => fields.once(&mut self.fingerprint, "fingerprint", value.parse::<Digest>()),
            "fingerprint-bytes" => {
                fields.once(&mut self.fingerprint_bytes, "fingerprint-bytes", value.parse::<u64>())
            }
            "terms" => fields.once(&mut self.terms, "terms", value.parse::<Digest>()),
            "arrived" => fields.once(&mut self.arrived, "arrived", value.parse::<Timestamp>()),
            "origin" => fields.once(&mut self.origin, "origin", Line::parse(value)),
            "size" => fields.once(&mut self.size, "size", value.parse::<u64>()),
            "digest" => fields.once(&mut self.digest, "digest", value.parse::<Digest>()),
            "sender" => fields.once(&mut self.sender, "sender", take_path(value).map(|(path, _)| path)),
            "recipients" => fields.once(&mut self.recipient_count, "recipients", value.parse::<u64>()),
            "recipient" => self.recipient(fields, value),
            // Both follow from the cause.
            "blame" | "next" => Ok(()),
            _ => Err(fields.unknown(key)),
        }
    }

    fn attempt(&mut self, fields: &Fields<'_>, value: &str) -> Result<(), TextError> {
        if self.attempts.len() == ATTEMPTS_MAX {
            return Err(fields.error(Reason::TooMany { key: "attempt", max: ATTEMPTS_MAX }));
        }
        let (time, what) = value.split_once(' ').unwrap_or((value, ""));
        let time = fields.value("attempt", time.parse::<Timestamp>())?;
        let what = fields.value("attempt", Line::parse(what))?;
        self.attempts.push(Attempt { time, what });
        Ok(())
    }

    fn recipient(&mut self, fields: &Fields<'_>, value: &str) -> Result<(), TextError> {
        if self.recipients.len() == RECIPIENTS_NAMED_MAX {
            return Err(fields.error(Reason::TooMany { key: "recipient", max: RECIPIENTS_NAMED_MAX }));
        }
        let (path, _) = fields.value("recipient", take_path(value))?;
        self.recipients.extend(path.0);
        Ok(())
    }

    fn finish(self, fields: &Fields<'_>) -> Result<Report, TextError> {
        let usage = self.wall.map(|wall| Usage { memory: self.memory, cpu: self.cpu, wall });
        let budget = match (self.budget_memory, self.budget_cpu, self.budget_wall) {
            (Some(memory), Some(cpu), Some(wall)) => Some(Budget { memory, cpu, wall }),
            _ => None,
        };
        let fingerprint = match (self.fingerprint, self.fingerprint_bytes, self.terms) {
            (Some(digest), Some(bytes), Some(terms)) => Some(Fingerprint { digest, bytes, terms }),
            _ => None,
        };
        let summary = match self.arrived {
            Some(arrived) => Some(Summary {
                arrived,
                origin: fields.required(self.origin, "origin")?,
                size: fields.required(self.size, "size")?,
                digest: fields.required(self.digest, "digest")?,
                sender: fields.required(self.sender, "sender")?,
                recipient_count: fields.required(self.recipient_count, "recipients")?,
                recipients: self.recipients,
            }),
            None => None,
        };
        Ok(Report {
            id: fields.required(self.id, "id")?,
            cause: fields.required(self.cause, "cause")?,
            detail: fields.required(self.detail, "detail")?,
            time: fields.required(self.time, "time")?,
            program: fields.required(self.program, "program")?,
            worker: self.worker,
            stage: self.stage,
            ending: self.ending,
            usage,
            budget,
            attempts: self.attempts,
            fingerprint,
            summary,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let time: Timestamp = "2026-11-22T08:00:00.5Z".parse().unwrap();
        let mut report =
            Report::new(MessageId::from_parts(1, 2), Cause::Memory, Line::escaped("too\nbig"), time);
        report.worker = Some(3);
        report.stage = Some(Stage::Parse);
        report.ending = Some(Line::escaped("exit status 77"));
        report.usage = Some(Usage { memory: Some(5), cpu: None, wall: Duration::from_micros(1_234_567) });
        report.budget =
            Some(Budget { memory: 1, cpu: Duration::from_secs(1), wall: Duration::from_secs(30) });
        report.attempts = vec![Attempt { time, what: Line::escaped("worker 3: killed") }];
        report.fingerprint = Some(Fingerprint { digest: Digest([9; 32]), bytes: 11, terms: Digest([8; 32]) });
        report.summary = Some(Summary {
            arrived: time,
            origin: Line::escaped("esmtp 127.0.0.1:9"),
            size: 12,
            digest: Digest([1; 32]),
            sender: ReversePath(None),
            recipient_count: 12,
            recipients: vec!["a@b".parse().unwrap()],
        });
        report
    }

    #[test]
    fn text_form_round_trips() {
        let mut report = report();
        assert_eq!(Report::parse(report.to_string().as_bytes()), Ok(report.clone()));
        report.summary = None;
        report.usage = None;
        assert_eq!(Report::parse(report.to_string().as_bytes()), Ok(report));
    }

    #[test]
    fn of_many_attempts_the_latest_are_listed() {
        let mut report = report();
        let [Attempt { time, .. }] = report.attempts[..] else { panic!("one attempt") };
        let what = |number| Line::escaped(format!("try {number}"));
        report.attempts = (0..150).map(|number| Attempt { time, what: what(number) }).collect();
        let read = Report::parse(report.to_string().as_bytes()).unwrap().attempts;
        assert_eq!((read.len(), &read[0].what, &read[99].what), (ATTEMPTS_MAX, &what(50), &what(149)));
    }

    #[test]
    fn it_says_what_to_do_next() {
        let text = report().to_string();
        assert!(text.contains("\nblame message\n"), "{text}");
        assert!(text.contains(&format!("lazaret deferred release {}", report().id)), "{text}");
    }

    #[test]
    fn damaged_reports_are_refused() {
        let text = report().to_string();
        // An interpreter takes a second for each.
        for cut in (0..text.len()).step_by(if cfg!(miri) { 97 } else { 1 }) {
            assert!(Report::parse(&text.as_bytes()[..cut]).is_err());
        }
        let attempt = format!("attempt {} again\n", Timestamp::UNIX_EPOCH);
        for (what, with, why) in [
            ("\nwall-time-ms ", "\nwall-time-ms x", "milliseconds"),
            ("\nwall-time-ms ", "\nwall-time-ms 12.34\nwall-time-ms ", "milliseconds"),
            ("\nsize ", "\nsizes ", "sizes"),
            ("\nattempt ", &format!("\n{}attempt ", attempt.repeat(ATTEMPTS_MAX)), "attempt"),
            (
                "\nrecipient ",
                &format!("\n{}recipient ", "recipient <a@b>\n".repeat(RECIPIENTS_NAMED_MAX)),
                "recipient",
            ),
        ] {
            let error = Report::parse(text.replacen(what, with, 1).as_bytes()).unwrap_err().to_string();
            assert!(error.contains(why), "{with}: {error}");
        }
    }
}
