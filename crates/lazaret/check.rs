//! `lazaret check`: every file of the spool accounted for, and repaired if asked.
//!
//! Looking needs nobody's leave. Repairing goes through the daemon if one runs, and
//! takes the spool's lock if none does; it must never do both. Names of files are
//! shown escaped only.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use lazaret_spool::{Checked, Finding, Outcome, Owner, Spool};
use serde_json::{Value, json};

use crate::cli::CheckOptions;
use crate::config::Config;
use crate::control::{self, Answer, Request};
use crate::exit::{self, Failure};

/// How long a journal or report may be on its way where a daemon works: some
/// fsyncs on a busy disk.
const PATIENCE_BESIDE: Duration = Duration::from_secs(10);

/// How long a submit may take to lock what it has made.
const PATIENCE_AT_REST: Duration = Duration::from_secs(1);

/// How often the line that tells of progress is written.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// What became of a finding.
enum Fate {
    /// Nobody asked for a repair.
    Found,
    Repaired(String),
    Left(String),
}

/// `lazaret check`
pub fn command(config: &Config, options: &CheckOptions) -> Result<ExitCode, Failure> {
    let spool = Spool::open_as_it_is(&config.spool)?;
    let (checked, findings) = match (options.repair, daemon(&spool)?) {
        (false, pid) => look(&spool, options, pid)?,
        (true, Some(pid)) => repair_beside(&spool, options, pid)?,
        (true, None) => repair_at_rest(spool.clone(), options)?,
    };
    let sheet = Sheet { spool: &spool, options, checked: &checked, findings: &findings };
    exit::print(if options.json { sheet.json() } else { sheet.text() })?;
    let left = findings.iter().any(|(_, fate)| !matches!(fate, Fate::Repaired(_))) || checked.more > 0;
    Ok(if left { ExitCode::from(exit::LEFT_OVER) } else { ExitCode::SUCCESS })
}

/// The process id of the daemon that works on the spool.
fn daemon(spool: &Spool) -> Result<Option<u32>, Failure> {
    Ok(match control::ask(spool, &Request::Status)? {
        Some(Answer::Status(status)) => Some(status.pid),
        _ => None,
    })
}

type Found = (Checked, Vec<(Finding, Fate)>);

fn look(spool: &Spool, options: &CheckOptions, pid: Option<u32>) -> Result<Found, Failure> {
    // A daemon that drains, or has just crashed, can't be asked.
    let at_rest = pid.is_none() && spool.was_left_cleanly();
    let patience = if at_rest { PATIENCE_AT_REST } else { PATIENCE_BESIDE };
    let mut progress = Progress::new(spool);
    let how = lazaret_spool::CheckOptions { digests: !options.quick, patience };
    let mut checked = lazaret_spool::check(spool, how, &mut |names| progress.tell(names))?;
    let findings = std::mem::take(&mut checked.findings);
    Ok((checked, findings.into_iter().map(|finding| (finding, Fate::Found)).collect()))
}

fn repair_beside(spool: &Spool, options: &CheckOptions, pid: u32) -> Result<Found, Failure> {
    let (checked, findings) = look(spool, options, Some(pid))?;
    let mut repaired = Vec::with_capacity(findings.len());
    for (finding, _) in findings {
        let fate = if finding.trouble.is_repaired_beside(finding.place.dir) {
            let request = Request::Repair(finding.trouble, finding.place.clone());
            match control::ask(spool, &request)? {
                Some(Answer::Repaired(Ok(done))) => Fate::Repaired(done),
                Some(Answer::Repaired(Err(why)) | Answer::Failed(_, why)) => Fate::Left(why),
                _ => return Err(Failure::new(exit::TEMPORARY, "the daemon has just stopped; try again")),
            }
        } else {
            match finding.trouble.remedy() {
                lazaret_spool::Remedy::Tell(advice) => Fate::Left(advice.to_owned()),
                _ => Fate::Left(format!(
                    "this is repaired only while no daemon runs: stop that with pid {pid}, then \
                     `lazaret check --repair`, then start it again"
                )),
            }
        };
        repaired.push((finding, fate));
    }
    Ok((checked, repaired))
}

fn repair_at_rest(spool: Spool, options: &CheckOptions) -> Result<Found, Failure> {
    let mut progress = Progress::new(&spool);
    let owner = Owner::take(spool)?;
    let how = lazaret_spool::CheckOptions { digests: !options.quick, patience: PATIENCE_AT_REST };
    let repaired = owner.repair_all(how, &mut |names| progress.tell(names))?;
    drop(progress);
    let fate = |outcome| match outcome {
        Outcome::Done(remedy) => Fate::Repaired(remedy.to_string()),
        Outcome::Gone => Fate::Repaired("it has passed".to_owned()),
        Outcome::Left(why) => Fate::Left(why.to_string()),
    };
    let findings = repaired.done.into_iter().map(|(finding, outcome)| (finding, fate(outcome))).collect();
    owner.stop_cleanly()?;
    Ok((repaired.checked, findings))
}

/// A line on a terminal that tells how far it is.
struct Progress {
    /// About how many names there are; `None` where nobody looks.
    all: Option<u64>,
    told: Instant,
}

impl Progress {
    fn new(spool: &Spool) -> Self {
        let counts = || {
            let counts = spool.count().unwrap_or_default();
            counts.drop
                + counts.incoming
                + counts.claimed
                + counts.outbound
                + counts.waiting
                + counts.deferred
        };
        Self { all: io::stderr().is_terminal().then(counts), told: Instant::now() }
    }

    fn tell(&mut self, names: u64) {
        if let Some(all) = self.all
            && self.told.elapsed() >= PROGRESS_EVERY
        {
            self.told = Instant::now();
            let _ = write!(io::stderr(), "\r\x1b[K{names} of {} files", all.max(names));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.all.is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

/// What is shown.
struct Sheet<'a> {
    spool: &'a Spool,
    options: &'a CheckOptions,
    checked: &'a Checked,
    findings: &'a [(Finding, Fate)],
}

impl Sheet<'_> {
    fn json(&self) -> String {
        let finding = |(finding, fate): &(Finding, Fate)| -> Value {
            let mut value = json!({
                "path": finding.place.to_string(),
                "kind": finding.trouble.word(),
                "problem": finding.detail.as_str(),
                "remedy": finding.trouble.remedy().to_string(),
            });
            match fate {
                Fate::Found => {}
                Fate::Repaired(done) => value["repaired"] = json!(done),
                Fate::Left(why) => value["left"] = json!(why),
            }
            value
        };
        let findings: Vec<Value> = self.findings.iter().map(finding).collect();
        let Checked { messages, set_aside, more, .. } = self.checked;
        let digests = !self.options.quick;
        let whole = json!({
            "messages": messages, "digests": digests, "set_aside": set_aside, "findings": findings, "more": more,
        });
        format!("{whole:#}\n")
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (Finding { trouble, place, detail }, fate) in self.findings {
            let _ = writeln!(text, "{place}\n    {}: {detail}", trouble.word());
            let _ = match fate {
                Fate::Found => match trouble.remedy() {
                    lazaret_spool::Remedy::Tell(advice) => writeln!(text, "    to do: {advice}"),
                    remedy => writeln!(text, "    with --repair: {remedy}"),
                },
                Fate::Repaired(done) => writeln!(text, "    repaired: {done}"),
                Fate::Left(why) => writeln!(text, "    left: {why}"),
            };
        }
        text + &self.summary()
    }

    fn summary(&self) -> String {
        let Checked { messages, set_aside, more, .. } = self.checked;
        let plural = if *messages == 1 { "" } else { "s" };
        let whole = if self.options.quick {
            format!("message{plural}, digests not looked at")
        } else {
            format!("whole message{plural}")
        };
        let repaired = self.findings.iter().filter(|(_, fate)| matches!(fate, Fate::Repaired(_))).count();
        let left = (self.findings.len() - repaired) as u64 + more;
        let found = match (repaired, left) {
            (0, 0) => "nothing is wrong".to_owned(),
            (0, 1) => "1 thing is wrong".to_owned(),
            (0, left) => format!("{left} things are wrong"),
            (repaired, 0) => format!("{repaired} repaired"),
            (repaired, left) => format!("{repaired} repaired, {left} left"),
        };
        let mut text = format!("{}: {messages} {whole}", self.spool.root().display());
        if *set_aside > 0 {
            let _ = write!(text, ", {set_aside} set aside in deferred/");
        }
        let _ = writeln!(text, ", {found}");
        if *more > 0 {
            let _ = writeln!(text, "{more} more findings are not shown: repair these, then look again");
        }
        text
    }
}
