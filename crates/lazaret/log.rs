//! Log lines: to standard error, as text or as JSON, one event per change of
//! state, with the message's id in it.
//!
//! What comes from outside is escaped where the event is made; nothing here may
//! be relied on for that.

use std::io::{self, IsTerminal};

use clap::ValueEnum;
use tracing::warn;
use tracing_subscriber::EnvFilter;

/// The environment variable that chooses what is logged, such as
/// `info,lazaret_worker=debug`.
const FILTER_VARIABLE: &str = "LAZARET_LOG";

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs: an object a line.
    Json,
}

/// Starts logging.
pub fn start(format: Format) {
    let (filter, wrong) = match EnvFilter::try_from_env(FILTER_VARIABLE) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("info"), std::env::var_os(FILTER_VARIABLE).map(|_| error)),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match format {
        Format::Text => builder.with_ansi(io::stderr().is_terminal()).init(),
        Format::Json => builder.json().flatten_event(true).init(),
    }
    if let Some(error) = wrong {
        warn!("{FILTER_VARIABLE} chooses nothing, and what is logged is info: {error}");
    }
}
