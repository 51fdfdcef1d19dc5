//! `lazaret check`: every file of the spool accounted for.
//!
//! Finds and tells; it must never change anything.

use std::fmt::Write;
use std::process::ExitCode;

use lazaret_spool::{Checked, Spool};
use serde_json::json;

use crate::config::Config;
use crate::exit::{self, Failure};

/// `lazaret check`
pub fn print(config: &Config, as_json: bool) -> Result<ExitCode, Failure> {
    let spool = Spool::open(&config.spool)?;
    let checked = lazaret_spool::check(&spool)?;
    exit::print(if as_json { to_json(&checked) } else { to_text(&spool, &checked) })?;
    Ok(if checked.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(exit::LEFT_OVER) })
}

fn to_json(checked: &Checked) -> String {
    let findings: Vec<_> = checked
        .findings
        .iter()
        .map(|finding| json!({"path": finding.path, "problem": finding.problem}))
        .collect();
    format!("{:#}\n", json!({"messages": checked.messages, "findings": findings}))
}

fn to_text(spool: &Spool, checked: &Checked) -> String {
    let mut text = String::new();
    for finding in &checked.findings {
        let _ = writeln!(text, "{}: {}", finding.path, finding.problem);
    }
    let found = match checked.findings.len() {
        0 => "nothing is wrong".to_owned(),
        1 => "1 thing is wrong".to_owned(),
        count => format!("{count} things are wrong"),
    };
    let _ = writeln!(text, "{}: {} whole messages, {found}", spool.root().display(), checked.messages);
    text
}
