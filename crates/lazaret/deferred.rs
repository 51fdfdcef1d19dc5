//! `lazaret deferred`: the quarantine, for people and for programs.
//!
//! Listing and showing read the spool; releasing, bouncing and deleting go through the
//! daemon if one runs. What comes from a message must never reach the terminal
//! unescaped: reports hold nothing else.

use std::fmt::Write;
use std::process::ExitCode;

mod next;

use lazaret_envelope::MessageId;
use lazaret_spool::{Deferred, Dir, Spool};
use serde::Serialize;

use crate::cli::DeferredCommand;
use crate::config::Config;
use crate::control::Queue;
use crate::exit::{self, Failure};
use next::Guide;

/// `lazaret deferred …`
pub fn command(config: &Config, command: &DeferredCommand) -> Result<ExitCode, Failure> {
    match command {
        DeferredCommand::List { json } => list(config, &Spool::open(&config.spool)?, *json),
        DeferredCommand::Show { id, json } => show(config, &Spool::open(&config.spool)?, *id, *json),
        DeferredCommand::Release { ids, json } => each(config, ids, ("released", *json), Queue::release),
        DeferredCommand::Bounce { ids, json } => bounce(config, ids, *json),
        DeferredCommand::Delete { ids, json } => each(config, ids, ("deleted", *json), Queue::delete),
    }
}

/// A message in quarantine, as it is shown.
#[derive(Debug, Serialize)]
struct Shown {
    id: String,
    cause: &'static str,
    blame: String,
    detail: Option<String>,
    time: Option<String>,
    worker: Option<u16>,
    stage: Option<String>,
    ending: Option<String>,
    peak_memory_bytes: Option<u64>,
    cpu_time_ms: Option<f64>,
    wall_time_ms: Option<f64>,
    budget_memory_bytes: Option<u64>,
    budget_cpu_time_ms: Option<f64>,
    budget_wall_time_ms: Option<f64>,
    attempts: Vec<String>,
    fingerprint: Option<String>,
    arrived: Option<String>,
    origin: Option<String>,
    size: Option<u64>,
    digest: Option<String>,
    sender: Option<String>,
    recipient_count: Option<u64>,
    recipients: Vec<String>,
    path: String,
    /// The other files with this id, of which nobody can tell which is the message.
    other_paths: Vec<String>,
    file_size: u64,
    /// What can be done, in sentences.
    advice: Vec<String>,
    /// The commands of that.
    next: Vec<String>,
}

impl Shown {
    /// The first of the files of one id.
    fn new(guide: &Guide<'_>, files: &[Deferred]) -> Option<Self> {
        let (spool, (deferred, others)) = (guide.spool, files.split_first()?);
        let next = guide.next(files);
        let report = deferred.report.as_ref();
        let summary = report.and_then(|report| report.summary.as_ref());
        let usage = report.and_then(|report| report.usage);
        let budget = report.and_then(|report| report.budget);
        let millis = |time: std::time::Duration| time.as_secs_f64() * 1000.0;
        Some(Self {
            id: deferred.name.id.to_string(),
            cause: deferred.cause().word(),
            blame: deferred.cause().blame().to_string(),
            detail: report.map(|report| report.detail.to_string()),
            time: report.map(|report| report.time.to_string()),
            worker: report.and_then(|report| report.worker),
            stage: report.and_then(|report| report.stage).map(|stage| stage.to_string()),
            ending: report.and_then(|report| report.ending.as_ref()).map(ToString::to_string),
            peak_memory_bytes: usage.and_then(|usage| usage.memory),
            cpu_time_ms: usage.and_then(|usage| usage.cpu).map(millis),
            wall_time_ms: usage.map(|usage| millis(usage.wall)),
            budget_memory_bytes: budget.map(|budget| budget.memory),
            budget_cpu_time_ms: budget.map(|budget| millis(budget.cpu)),
            budget_wall_time_ms: budget.map(|budget| millis(budget.wall)),
            attempts: report.map_or(Vec::new(), |report| {
                report.attempts.iter().map(|attempt| format!("{} {}", attempt.time, attempt.what)).collect()
            }),
            fingerprint: report
                .and_then(|report| report.fingerprint)
                .map(|fingerprint| fingerprint.digest.to_string()),
            arrived: summary.map(|summary| summary.arrived.to_string()),
            origin: summary.map(|summary| summary.origin.to_string()),
            size: summary.map(|summary| summary.size),
            digest: summary.map(|summary| summary.digest.to_string()),
            sender: summary.map(|summary| summary.sender.as_str().to_owned()),
            recipient_count: summary.map(|summary| summary.recipient_count),
            recipients: summary
                .map_or(Vec::new(), |summary| summary.recipients.iter().map(ToString::to_string).collect()),
            path: path(spool, deferred),
            other_paths: others.iter().map(|other| path(spool, other)).collect(),
            file_size: deferred.file_size,
            advice: next.iter().map(ToString::to_string).collect(),
            next: next.into_iter().filter_map(|next| next.command).collect(),
        })
    }
}

fn path(spool: &Spool, deferred: &Deferred) -> String {
    spool.path(Dir::Deferred).join(deferred.name.to_string()).display().to_string()
}

fn list(config: &Config, spool: &Spool, as_json: bool) -> Result<ExitCode, Failure> {
    let deferred = spool.deferred()?;
    if as_json {
        let guide = Guide { config, spool };
        let of_each_id = deferred.chunk_by(|one, other| one.name.id == other.name.id);
        exit::print_json(&of_each_id.filter_map(|files| Shown::new(&guide, files)).collect::<Vec<_>>())?;
    } else {
        exit::print(table(&deferred))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Longest address shown in the table, in characters.
const ADDRESS_SHOWN: usize = 32;

fn table(deferred: &[Deferred]) -> String {
    if deferred.is_empty() {
        return "nothing is deferred\n".to_owned();
    }
    let mut text = format!(
        "{:<26}  {:<20}  {:<20}  {:>10}  {:<ADDRESS_SHOWN$}  RECIPIENTS\n",
        "ID", "DEFERRED", "CAUSE", "SIZE", "SENDER"
    );
    for deferred in deferred {
        let report = deferred.report.as_ref();
        let summary = report.and_then(|report| report.summary.as_ref());
        let time = report.map_or("-".into(), |report| report.time.strftime("%FT%TZ").to_string());
        let size = summary.map_or(deferred.file_size, |summary| summary.size);
        let sender = summary.map_or("-".into(), |summary| shorten(&summary.sender.to_string()));
        let recipients = summary.map_or("-".into(), |summary| {
            let first = summary.recipients.first().map_or(String::new(), |first| shorten(first.as_str()));
            match summary.recipient_count {
                0 | 1 => first,
                count => format!("{first} and {} more", count - 1),
            }
        });
        let _ = writeln!(
            text,
            "{}  {time:<20}  {:<20}  {size:>10}  {sender:<ADDRESS_SHOWN$}  {recipients}",
            deferred.name.id,
            deferred.cause(),
        );
    }
    text + "why, and what to do next: lazaret deferred show ID\n"
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(ADDRESS_SHOWN - 1) {
        Some((at, _)) if text.chars().count() > ADDRESS_SHOWN => format!("{}…", &text[..at]),
        _ => text.to_owned(),
    }
}

fn show(config: &Config, spool: &Spool, id: MessageId, as_json: bool) -> Result<ExitCode, Failure> {
    let files = spool.find_deferred_files(id)?;
    let guide = Guide { config, spool };
    if as_json {
        exit::print_json(&Shown::new(&guide, &files))?;
    } else {
        exit::print(sheet(&guide, &files))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The report as a sheet: keys and values, what to do next at the end.
fn sheet(guide: &Guide<'_>, files: &[Deferred]) -> String {
    let report = files.first().map_or(String::new(), |deferred| match &deferred.report {
        Some(report) => report.to_string(),
        None => without_report(deferred),
    });
    let mut text = String::new();
    let mut add = |key: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(text, "{key:<22}{value}");
    };
    // What comes next is said with the files and the configuration in sight.
    for line in report.lines().skip(1).filter(|line| *line != "end") {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("next", _) => {}
            (key, value) => add(key, &value),
        }
    }
    files.iter().for_each(|file| add("file", &path(guide.spool, file)));
    guide.next(files).iter().for_each(|next| add("next", next));
    text
}

fn without_report(deferred: &Deferred) -> String {
    let cause = deferred.cause();
    format!(
        "-\nid {}\ncause {cause}\nblame {}\n\
         detail no report lies beside it: put here by hand, or there was no room for one\n",
        deferred.name.id,
        cause.blame()
    )
}

/// A message that was given up, for programs.
#[derive(Debug, Serialize)]
struct Bounced {
    id: String,
    /// The id of the message to the sender; none if NOTIFY asks for none.
    notice: Option<String>,
}

/// Gives up each message; goes on after one that can't be helped.
fn bounce(config: &Config, ids: &[MessageId], as_json: bool) -> Result<ExitCode, Failure> {
    let queue = Queue::open(config)?;
    let mut code = ExitCode::SUCCESS;
    let mut bounced = Vec::new();
    for &id in ids {
        match queue.bounce(config, id) {
            Ok(notice) => bounced.push(Bounced { id: id.to_string(), notice }),
            Err(failure) => code = failure.report(),
        }
    }
    queue.close()?;
    let line = |Bounced { id, notice }: &Bounced| match notice {
        Some(notice) => format!("bounced {id}: its sender is told by {notice}\n"),
        None => format!("bounced {id}: there is nobody of whom its sender wants to be told\n"),
    };
    if as_json {
        exit::print_json(&bounced)?
    } else {
        exit::print(bounced.iter().map(line).collect::<String>())?
    }
    Ok(code)
}

/// A message to which something was done, for programs.
#[derive(Debug, Serialize)]
struct Did {
    id: String,
    did: &'static str,
}

/// Does one thing to each message; goes on after one that can't be helped.
fn each(
    config: &Config,
    ids: &[MessageId],
    (did, as_json): (&'static str, bool),
    what: fn(&Queue, MessageId) -> Result<(), Failure>,
) -> Result<ExitCode, Failure> {
    let queue = Queue::open(config)?;
    let mut code = ExitCode::SUCCESS;
    let mut done = Vec::new();
    for &id in ids {
        match what(&queue, id) {
            Ok(()) if as_json => done.push(Did { id: id.to_string(), did }),
            Ok(()) => exit::print(format_args!("{did} {id}\n"))?,
            Err(failure) => code = failure.report(),
        }
    }
    queue.close()?;
    if as_json {
        exit::print_json(&done)?;
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_addresses_are_cut_between_characters() {
        let long = "é".repeat(40);
        assert_eq!(shorten(&long).chars().count(), ADDRESS_SHOWN);
        assert_eq!(shorten("short"), "short");
    }
}
