//! `lazaret status`: asks, counts and shows.
//!
//! It must never fail for want of a daemon.

use std::process::ExitCode;

use lazaret_spool::Spool;

use super::{as_json, as_text};
use crate::config::Config;
use crate::control::{self, Answer, Request};
use crate::exit::{self, Failure};

/// `lazaret status`
pub fn print(config: &Config, json: bool) -> Result<ExitCode, Failure> {
    let spool = Spool::open(&config.spool)?;
    let status = match control::ask(&spool, &Request::Status)? {
        Some(Answer::Status(status)) => Some(status),
        None => None,
        answer => return Err(control::unexpected(answer)),
    };
    let counts = spool.count()?;
    let text = if json {
        as_json(&spool, counts, status.as_deref())
    } else {
        as_text(&spool, counts, status.as_deref())
    };
    exit::print(text)?;
    Ok(ExitCode::SUCCESS)
}
