//! `lazaret init`: writes a configuration with every key, its meaning and its
//! default, to begin with.
//!
//! It is the embedded default itself, so what it says is what holds. A file that is
//! there must never be written over.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::config::EMBEDDED;
use crate::exit::{self, Failure};
use crate::shell;

/// The file that stands for standard output.
const STANDARD_OUTPUT: &str = "-";

/// Mode of the new file: names of next hops are nobody else's to read.
const MODE: u32 = 0o640;

/// The file that is not named at all.
const USUAL: &str = "lazaret.toml";

/// Which file is to be written: the one that is named as such, or as the configuration
/// of all commands, by an `option` or by the environment.
pub fn target(
    file: Option<PathBuf>,
    option: Option<PathBuf>,
    named: Option<&Path>,
) -> Result<PathBuf, Failure> {
    match (file, option) {
        (Some(file), Some(option)) if file != option => Err(Failure::new(
            exit::USAGE,
            format!(
                "init writes one file: name {} or --config {}, not both",
                file.display(),
                option.display()
            ),
        )),
        (Some(file), _) => Ok(file),
        (None, _) => Ok(named.unwrap_or(Path::new(USUAL)).to_owned()),
    }
}

/// `lazaret init`
pub fn command(file: &Path) -> Result<ExitCode, Failure> {
    if file == Path::new(STANDARD_OUTPUT) {
        exit::print(EMBEDDED)?;
        return Ok(ExitCode::SUCCESS);
    }
    let shown = file.display();
    match write_new(file) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let what =
                format!("{shown} is there already and stays as it is: name another file, or - to see it");
            return Err(Failure::new(exit::CANT_CREATE, what));
        }
        Err(error) => {
            return Err(Failure::new(exit::CANT_CREATE, format!("failed to write {shown}: {error}")));
        }
    }
    let quoted = shell::path(file);
    exit::print(format_args!(
        "{shown}: written; change it, then\n\
         lazaret --config {quoted} config check\n\
         lazaret --config {quoted} run\n"
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the file and the folders that it is to be in; nothing is left of a file that
/// can't be written to the end.
fn write_new(file: &Path) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut made = OpenOptions::new().write(true).create_new(true).mode(MODE).open(file)?;
    made.write_all(EMBEDDED.as_bytes()).and_then(|()| made.sync_all()).inspect_err(|_| {
        // The first error is the one to tell.
        let _ = fs::remove_file(file);
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::config::tests::{names, parse};

    /// Keys whose default depends on the machine, or that show what could be
    /// written and not what holds.
    const EXAMPLES: [&str; 15] = [
        ".hostname",
        "listen.sessions_per_client",
        "listen.tls",
        "workers.count",
        "workers.spares",
        "workers.memory_total",
        "workers.faults.wall-time",
        "transport.reinject.tls_name",
        "transport.reinject.user",
        "transport.reinject.password_file",
        "transport.reinject.auth_unencrypted",
        "transport.program.memory",
        "transport.program.cpu_time",
        "transport.program.user",
        "transport.program.group",
    ];

    /// Lines of settings that are commented out.
    fn is_commented(line: &str) -> bool {
        line.strip_prefix('#').is_some_and(|rest| !rest.is_empty() && !rest.starts_with(' '))
    }

    /// The lines with every setting in force.
    fn lines() -> Vec<&'static str> {
        EMBEDDED.lines().map(|line| if is_commented(line) { &line[1..] } else { line }).collect()
    }

    fn value(lines: &[&str]) -> Option<Value> {
        let config = parse(&lines.join("\n")).ok()?;
        Some(serde_json::to_value(config).expect("a configuration has keys that are text"))
    }

    #[test]
    fn every_setting_is_understood_and_shown_with_its_default() {
        let (lines, commented) = (lines(), EMBEDDED.lines().map(is_commented));
        let whole = value(&lines).unwrap_or_else(|| panic!("{:?}", parse(&lines.join("\n")).err()));
        let routes = lines.iter().position(|line| *line == "[[route]]").expect("there is a route");
        let (mut compared, mut table) = (0, "");
        for (at, commented) in commented.enumerate().take(routes) {
            let line = lines[at];
            if line.starts_with('[') {
                table = line.trim_matches(['[', ']']);
                continue;
            }
            let key = format!("{table}.{}", line.split(" = ").next().unwrap_or_default());
            if !commented || EXAMPLES.contains(&key.as_str()) {
                continue;
            }
            let without: Vec<&str> = [&lines[..at], &lines[at + 1..]].concat();
            // What can't be left out has no default.
            if let Some(without) = value(&without) {
                compared += 1;
                assert!(without == whole, "line {}: {line} is not what holds by default", at + 1);
            }
        }
        assert!(compared > 30, "{compared} settings");
    }

    #[test]
    fn no_kind_of_transport_is_left_out() {
        let error = parse("[transport.x]\ntype = \"\"").unwrap_err().to_string();
        let kinds: Vec<&str> = error.split('`').skip(3).step_by(2).collect();
        assert!(kinds.contains(&"maildir") && kinds.len() > 1, "{error}");
        for kind in kinds {
            assert!(EMBEDDED.contains(&format!("type = \"{kind}\"\n")), "{kind}");
        }
    }

    #[test]
    fn no_key_is_left_out() {
        let text = lines().join("\n");
        let written = names(&toml::from_str::<toml::Table>(&text).unwrap().into());
        let config = toml::Value::try_from(parse(&text).unwrap()).unwrap();
        let missing: Vec<String> = names(&config).into_iter().filter(|key| !written.contains(key)).collect();
        assert!(missing.is_empty(), "not in embedded.toml: {missing:?}");
    }
}
