//! Runs one command of a step: shown, bounded in time, its test results counted.
//!
//! The time limit is kept by `timeout` of coreutils, which ends the command
//! together with everything that it started. No command may run without a limit.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::tally::Tally;

/// What `timeout` exits with when the time was up.
const TIMEOUT_STATUS: i32 = 124;

/// How long a command that was told to end may take to do so.
const END_TIME_MAX: Duration = Duration::from_secs(10);

/// One command line with what it needs.
pub struct Line {
    words: Vec<String>,
    environment: Vec<(&'static str, String)>,
}

impl Line {
    /// Splits `words` at spaces.
    pub fn new(words: &str) -> Self {
        Self { words: words.split(' ').map(str::to_owned).collect(), environment: Vec::new() }
    }

    /// Adds one word as it is.
    pub fn arg(mut self, word: &str) -> Self {
        self.words.push(word.to_owned());
        self
    }

    /// Sets a variable of its environment.
    pub fn env(mut self, name: &'static str, value: &str) -> Self {
        self.environment.push((name, value.to_owned()));
        self
    }

    /// Runs it in `folder` for at most `limit`. What it prints is passed on as
    /// it comes; test results in it are added to `tally`.
    ///
    /// # Errors
    /// Why it did not end well.
    pub fn run(&self, folder: &Path, limit: Duration, tally: &mut Tally) -> Result<(), String> {
        println!("$ {}", self.words.join(" "));
        let mut child = self
            .command(folder, limit)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| self.unstarted(&error))?;
        let stdout = child.stdout.take().expect("stdout is a pipe");
        pass_on(BufReader::new(stdout), tally)
            .map_err(|error| format!("failed to read its output: {error}"))?;
        let status = child.wait().map_err(|error| format!("failed to wait for it: {error}"))?;
        self.judge(status, limit)
    }

    /// The same with all that it prints in a file and nowhere else.
    ///
    /// # Errors
    /// Why it did not end well.
    pub fn run_into(&self, folder: &Path, limit: Duration, log: &Path) -> Result<(), String> {
        let file = File::create(log).and_then(|file| Ok((file.try_clone()?, file)));
        let (out, err) = file.map_err(|error| format!("failed to write {}: {error}", log.display()))?;
        let status = self.command(folder, limit).stdout(out).stderr(err).status();
        self.judge(status.map_err(|error| self.unstarted(&error))?, limit)
    }

    fn command(&self, folder: &Path, limit: Duration) -> Command {
        let mut command = Command::new("timeout");
        command
            .arg(format!("--kill-after={}", END_TIME_MAX.as_secs()))
            .arg(limit.as_secs().max(1).to_string())
            .args(&self.words)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(folder)
            .stdin(Stdio::null());
        command
    }

    fn unstarted(&self, error: &std::io::Error) -> String {
        format!("failed to start `{}`: {error}", self.words[0])
    }

    fn judge(&self, status: ExitStatus, limit: Duration) -> Result<(), String> {
        match status.code() {
            Some(0) => Ok(()),
            Some(TIMEOUT_STATUS) => Err(format!("not done after {} s", limit.as_secs())),
            _ => Err(format!("`{}` ended with {status}", self.words[..2.min(self.words.len())].join(" "))),
        }
    }
}

/// Copies lines to our own output, whatever bytes they hold.
fn pass_on(mut from: impl BufRead, tally: &mut Tally) -> std::io::Result<()> {
    let mut line = Vec::new();
    let mut to = std::io::stdout();
    while from.read_until(b'\n', &mut line)? > 0 {
        to.write_all(&line)?;
        to.flush()?;
        tally.take(String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
    Ok(())
}
