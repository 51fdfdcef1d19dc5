//! Reports about deferred messages: what is parsed prints to what parses to the
//! same, whether it came as text or was built.
//!
//! Text that begins as a report does is parsed; any other bytes build one. A
//! report must never be shorter than its message by what a person needs.

use std::time::Duration;

use arbitrary::{Arbitrary, Result, Unstructured};
use lazaret_envelope::{Attempt, Budget, Cause, Fingerprint, Report, Stage, Usage};

use crate::{cost, words};

/// How a report begins; what begins so is taken as text.
const BEGINNING: &[u8] = b"lazaret-";

/// Looks at one input.
pub fn check(data: &[u8]) {
    if data.starts_with(BEGINNING) {
        cost::assert_linear(data.len(), || drop(Report::parse(data)));
        if let Ok(report) = Report::parse(data) {
            built(&report);
        }
    } else if let Ok(report) = build(&mut Unstructured::new(data)) {
        built(&report);
    }
}

fn built(report: &Report) {
    let text = report.to_string();
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "it can be shown");
    assert_eq!(Report::parse(text.as_bytes()).as_ref(), Ok(report));
    assert!(text.contains("\nnext ") && text.contains("\nblame "), "it says what to do");
}

/// Whole microseconds: as exact as a report is.
fn span(u: &mut Unstructured<'_>) -> Result<Duration> {
    u32::arbitrary(u).map(|micros| Duration::from_micros(micros.into()))
}

fn build(u: &mut Unstructured<'_>) -> Result<Report> {
    let mut report = Report::new(words::id(u)?, *u.choose(&Cause::ALL)?, words::line(u)?, words::time(u)?);
    if bool::arbitrary(u)? {
        report = report.about(&words::envelope(u)?);
    }
    report.program = words::line(u)?;
    report.worker = u.arbitrary()?;
    report.stage = words::maybe(u, |u| u.choose(&Stage::ALL).copied())?;
    report.ending = words::maybe(u, words::line)?;
    report.usage = words::maybe(u, |u| {
        Ok(Usage { memory: u.arbitrary()?, cpu: words::maybe(u, span)?, wall: span(u)? })
    })?;
    report.budget =
        words::maybe(u, |u| Ok(Budget { memory: u.arbitrary()?, cpu: span(u)?, wall: span(u)? }))?;
    report.attempts = (0..u.int_in_range(0..=3)?)
        .map(|_| Ok(Attempt { time: words::time(u)?, what: words::line(u)? }))
        .collect::<Result<_>>()?;
    report.fingerprint = words::maybe(u, |u| {
        Ok(Fingerprint { digest: words::digest(u)?, bytes: u.arbitrary()?, terms: words::digest(u)? })
    })?;
    Ok(report)
}
