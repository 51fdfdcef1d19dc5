//! The configuration's file: found, read, and judged before the eyes of a person.
//!
//! What is in it is `lazaret_operator`'s to understand. It must never be written to.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

mod show;

pub use lazaret_operator::{Config, EMBEDDED};
pub use show::show;

use lazaret_operator::{ConfigError, Source};
use lazaret_worker::{Available, Fit};

use crate::exit::{self, Failure};
use crate::paths;

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(exit::CONFIG, error)
    }
}

/// Reads the file named; else the system's, if there is one; else takes the
/// embedded default.
pub fn load(named: Option<&Path>) -> Result<Config, ConfigError> {
    Ok(load_with_text(named)?.0)
}

/// The same, with the text that it was read from.
fn load_with_text(named: Option<&Path>) -> Result<(Config, String), ConfigError> {
    let system = Path::new(paths::SYSTEM_FILE);
    let file = named.or_else(|| system.exists().then_some(system));
    let shown = file.map_or("embedded default".to_owned(), |file| file.display().to_string());
    let io = |what: &str, error: std::io::Error| ConfigError::whole(&shown, format!("{what}: {error}"));
    let base = paths::base(file).map_err(|error| io("the folder can't be told", error))?;
    let text = match file {
        Some(file) => fs::read_to_string(file).map_err(|error| io("can't be read", error))?,
        None => EMBEDDED.to_owned(),
    };
    let config = Config::parse(&Source { file: &shown, text: &text }, file, &base)?;
    Ok((config, text))
}

/// `lazaret config check`
pub fn check(named: Option<&Path>) -> Result<ExitCode, Failure> {
    let config = load(named)?;
    let file =
        config.file.as_ref().map_or("the embedded default".to_owned(), |file| file.display().to_string());
    let fit = Available::of_this_process().map(|available| Fit::check(&config.workers, &available));
    let too_small = fit.ok().and_then(Result::err).map(|error| format!("on this machine: {error}"));
    let tls = config.listen.iter().filter_map(|listen| listen.tls.as_ref()?.read().err());
    let no_tls = tls.map(|error| format!("on this machine: {error}"));
    let delivery = config.delivery();
    let no_files = delivery.wrong_files().map(|error| format!("on this machine: {error}"));
    for warning in config.warnings().into_iter().chain(too_small).chain(no_tls).chain(no_files) {
        exit::print(format_args!("{file}: warning: {warning}\n"))?;
    }
    exit::print(format_args!("{file}: all right\n"))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
pub mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A configuration whose relative paths start from `/base`.
    pub fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(&Source { file: "lazaret.toml", text }, None, Path::new("/base"))
    }

    /// Every key, with those of the tables around it; numbers of tables left out.
    pub fn names(value: &toml::Value) -> BTreeSet<String> {
        let below = |(name, value): (&String, _)| {
            let inner = names(value).into_iter().map(|key| format!("{name}.{key}"));
            inner.chain([name.clone()]).collect::<Vec<_>>()
        };
        match value {
            toml::Value::Table(table) => table.iter().flat_map(below).collect(),
            toml::Value::Array(values) => values.iter().flat_map(names).collect(),
            _ => BTreeSet::new(),
        }
    }
}
