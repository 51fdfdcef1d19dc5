//! `lazaret man` and `lazaret completions`: what a package installs beside the
//! program.
//!
//! Both are made of the command line as it is defined, and lazaret.toml(5) of the
//! embedded configuration, so they can't tell of another program. They must never
//! say anything that `--help` does not.

use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use crate::cli::Cli;
use crate::config::EMBEDDED;
use crate::exit::{self, Failure};

/// man(1): "System administration commands".
const COMMANDS: &str = "8";

/// `lazaret man`
pub fn man(folder: &Path) -> Result<ExitCode, Failure> {
    let written = fs::create_dir_all(folder).and_then(|()| {
        let mut program = Cli::command().disable_help_subcommand(true);
        program.build();
        commands(&program, folder)?;
        fs::write(folder.join("lazaret.toml.5"), configuration())
    });
    let shown = folder.display();
    written.map_err(|error| {
        Failure::new(exit::CANT_CREATE, format!("failed to write man pages to {shown}: {error}"))
    })?;
    exit::print(format_args!("{shown}: written; look with: man {shown}/lazaret.{COMMANDS}\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// A page for a command, and one for each below it.
fn commands(command: &clap::Command, folder: &Path) -> io::Result<()> {
    Man::new(command.clone()).section(COMMANDS).generate_to(folder)?;
    command
        .get_subcommands()
        .filter(|below| !below.is_hide_set())
        .try_for_each(|below| commands(below, folder))
}

/// lazaret.toml(5).
fn configuration() -> String {
    let mut page = Roff::default();
    page.control("TH", ["lazaret.toml", "5", "", concat!("lazaret ", env!("CARGO_PKG_VERSION")), ""]);
    page.control("SH", ["NAME"]);
    page.text([roman("lazaret.toml - configuration of lazaret(8)")]);
    page.control("SH", ["DESCRIPTION"]);
    page.text([roman(
        "A TOML file, /etc/lazaret/lazaret.toml unless another is named. Every key, with its meaning and the \
         value that holds by default; `lazaret init` writes this as a file to begin with.",
    )]);
    page.control("SH", ["KEYS"]);
    page.control("nf", []);
    for line in EMBEDDED.lines() {
        page.text([roman(line)]);
    }
    page.control("fi", []);
    page.control("SH", ["SEE ALSO"]);
    page.text([roman("lazaret(8), lazaret-config(8), lazaret-reload(8)")]);
    page.render()
}

/// `lazaret completions`
pub fn completions(shell: Shell) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "lazaret", &mut script);
    exit::print(String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_in_the_manual() {
        let page = configuration();
        let keys = EMBEDDED.lines().filter_map(|line| line.trim_start_matches('#').split_once(" = "));
        let mut count = 0;
        for (key, _) in keys {
            count += 1;
            // A hyphen would be a dash, and a quote may begin a request.
            let key = key.replace('-', r"\-");
            assert!(page.contains(&key), "{key} is not in lazaret.toml(5)");
        }
        assert!(count > 40, "{count} keys");
    }
}
