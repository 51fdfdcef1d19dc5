//! The configuration's file: found, read, and judged before the eyes of a person.
//!
//! What is in it is `lazaret_operator`'s to understand. It must never be written to.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

mod here;
mod show;

pub use lazaret_operator::{Config, EMBEDDED};
pub use show::show;

use lazaret_operator::{ConfigError, Source};
use serde::Serialize;

use crate::exit::{self, Failure};
use crate::{paths, shell};

/// Most bytes of a configuration: far more than anybody writes.
const BYTES_MAX: u64 = 16 << 20;

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(exit::CONFIG, error)
    }
}

/// The variable that names the file where no option does.
const VARIABLE: &str = "LAZARET_CONFIG";

/// The file that is named by an option, or else by the environment.
pub fn named(option: Option<PathBuf>) -> Result<Option<PathBuf>, Failure> {
    let variable = || std::env::var_os(VARIABLE).map(PathBuf::from);
    match option.or_else(variable) {
        Some(file) if file.as_os_str().is_empty() => Err(Failure::new(
            exit::USAGE,
            format!(
                "the configuration's name is empty: name a file by --config or {VARIABLE}, or unset {VARIABLE}"
            ),
        )),
        file => Ok(file),
    }
}

/// Reads the file named; else the system's, if there is one; else takes the
/// embedded default.
pub fn load(named: Option<&Path>) -> Result<Config, ConfigError> {
    Ok(load_with_text(named)?.0)
}

/// The same, with the text that it was read from.
fn load_with_text(named: Option<&Path>) -> Result<(Config, String), ConfigError> {
    let asked = named.unwrap_or(Path::new(paths::SYSTEM_FILE));
    let (file, text) = match read(asked) {
        // One that is there and can't be read must not be passed over.
        Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => {
            (None, Ok(EMBEDDED.to_owned()))
        }
        text => (Some(asked), text),
    };
    let shown = shown(file);
    let io = |what: &str, error: io::Error| ConfigError::whole(&shown, format!("{what}: {error}"));
    let text = text.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            let init = format!("lazaret --config {} init", shell::path(asked));
            ConfigError::whole(&shown, format!("there is no such file; write one to begin with: {init}"))
        }
        _ => io("can't be read", error),
    })?;
    let base = paths::base(file).map_err(|error| io("the folder can't be told", error))?;
    let config = Config::parse(&Source { file: &shown, text: &text }, file, &base)?;
    Ok((config, text))
}

/// Reads a file, as long as it is a configuration's.
fn read(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(file)?.take(BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > BYTES_MAX {
        let why = format!("it has more than {} MiB: is it the right file?", BYTES_MAX >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(text)
}

/// The same for a daemon: what this machine lacks for it is wrong, too.
pub fn load_to_run(named: Option<&Path>) -> Result<Config, ConfigError> {
    let (config, text) = load_with_text(named)?;
    let file = shown(config.file.as_deref());
    match here::lacking(&config, &Source { file: &file, text: &text }).into_iter().next() {
        Some(wrong) => Err(wrong),
        None => Ok(config),
    }
}

/// What a configuration that is right may still be asked about: nothing of it keeps a
/// daemon from starting.
pub fn warnings(config: &Config) -> Vec<String> {
    config.warnings().into_iter().chain(here::warnings(config)).collect()
}

/// How a configuration's file is called.
fn shown(file: Option<&Path>) -> String {
    file.map_or("embedded default".to_owned(), |file| file.display().to_string())
}

/// What came of a look at a configuration.
#[derive(Debug, Serialize)]
struct Checked {
    file: String,
    /// Whether a daemon would start with it.
    right: bool,
    wrong: Vec<Wrong>,
    warnings: Vec<String>,
}

/// Something that keeps a daemon from starting.
#[derive(Debug, Serialize)]
struct Wrong {
    /// Both from 1; none where it is no matter of a certain place.
    line: Option<usize>,
    column: Option<usize>,
    what: String,
}

/// `lazaret config check`
pub fn check(named: Option<&Path>, as_json: bool) -> Result<ExitCode, Failure> {
    let (file, wrong, warnings) = match load_with_text(named) {
        Ok((config, text)) => {
            let file = shown(config.file.as_deref());
            let source = Source { file: &file, text: &text };
            let wrong = here::lacking(&config, &source);
            let nothing = source.sets_nothing().then(|| "it sets nothing: every default holds".to_owned());
            let warnings = nothing.into_iter().chain(warnings(&config)).collect();
            (file, wrong, warnings)
        }
        Err(error) => (error.file().to_owned(), vec![error], Vec::new()),
    };
    let right = wrong.is_empty();
    if as_json {
        let place = |error: &ConfigError| error.place().unzip();
        let wrong = wrong.iter().map(|error| {
            let (line, column) = place(error);
            Wrong { line, column, what: error.what().to_owned() }
        });
        exit::print_json(&Checked { file, right, wrong: wrong.collect(), warnings })?;
    } else {
        let warnings = warnings.iter().map(|warning| format!("{file}: warning: {warning}\n"));
        exit::print(warnings.collect::<String>())?;
        for error in wrong {
            Failure::from(error).report();
        }
        if right {
            exit::print(format_args!("{file}: all right\n"))?;
        }
    }
    Ok(if right { ExitCode::SUCCESS } else { ExitCode::from(exit::CONFIG) })
}

#[cfg(test)]
pub mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_file_without_end_is_refused() {
        let error = load(Some(Path::new("/dev/zero"))).expect_err("it is refused").to_string();
        assert!(error.contains("more than 16 MiB"), "{error}");
    }

    #[test]
    fn a_file_that_was_named_has_to_be_there() {
        let folder = tempfile::tempdir().unwrap();
        let error = load(Some(&folder.path().join("x.toml"))).expect_err("it is refused").to_string();
        assert!(error.ends_with("x.toml init") && error.contains(": there is no such file; "), "{error}");
        let error = load(Some(folder.path())).expect_err("it is refused").to_string();
        assert!(error.contains("can't be read: "), "{error}");
    }

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
