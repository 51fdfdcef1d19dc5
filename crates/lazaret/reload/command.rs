//! `lazaret reload`: asks, and shows what came of it.
//!
//! The daemon does the work; nothing here must ever touch the spool.

use std::path::Path;
use std::process::ExitCode;

use lazaret_spool::{OpenError, Spool};

use crate::config::Config;
use crate::control::{self, Answer, Request};
use crate::exit::{self, Failure};

/// `lazaret reload`
pub fn command(config: &Config, json: bool) -> Result<ExitCode, Failure> {
    let spool = Spool::open(&config.spool).map_err(|error| match error {
        OpenError::Missing { path } => nobody(&path),
        other => other.into(),
    })?;
    // Whether there is one that answers is known sooner than what came of a reload.
    let there = control::ask(&spool, &Request::Status)?;
    let reloaded = match there.map_or(Ok(None), |_| control::ask(&spool, &Request::Reload))? {
        Some(Answer::Reloaded(reloaded)) => reloaded,
        answer @ Some(_) => return Err(control::unexpected(answer)),
        None => return Err(nobody(spool.root())),
    };
    if json {
        exit::print_json(&reloaded)?
    } else {
        exit::print(reloaded.as_text())?
    }
    Ok(ExitCode::SUCCESS)
}

/// Nobody is there to reload anything.
fn nobody(spool: &Path) -> Failure {
    let spool = spool.display();
    let text = format!("no daemon runs on {spool}; if `spool` has changed, that needs a restart");
    Failure::new(exit::NO_INPUT, text)
}
