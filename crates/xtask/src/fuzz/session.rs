//! One run of all targets: where it keeps things, and what a target's program said.
//!
//! What libFuzzer prints goes to a log a target. It must never call a run well whose
//! program did not end by itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::build::Programs;
use super::target::Target;
use crate::exec::Line;
use crate::project;

/// Longest time for one input; the fuzzer calls more a finding.
const INPUT_TIME_MAX: Duration = Duration::from_secs(25);

/// Most memory of a target's program, in MiB.
const MEMORY_MIB_MAX: u64 = 2560;

/// Names the program whose cells are used, to the target that uses them.
const PROGRAM_VARIABLE: &str = "LAZARET_FUZZ_PROGRAM";

/// Largest poison to begin with, in bytes: above it a message takes seconds.
const POISON_BYTES_MAX: u64 = 8 << 10;

/// Longest time for making the poison.
const POISON_TIME_MAX: Duration = Duration::from_secs(60);

/// Lines of a log that are shown with a finding.
const LINES_SHOWN_MAX: usize = 12;

/// How long each target runs.
#[derive(Debug, Clone, Copy)]
pub enum Length {
    /// What is in the corpora, then what the fuzzer makes of it, until the time is up.
    Time(Duration),
    /// What is in the corpora, once. What is run writes which lines it has run below
    /// this path, by the pattern that LLVM_PROFILE_FILE has.
    Corpora(&'static str),
}

/// A run.
pub struct Session {
    root: PathBuf,
    programs: Programs,
    length: Length,
    limit: Duration,
    /// Folders of real and of poisonous mail.
    mail: Vec<PathBuf>,
}

/// How one target went.
pub struct Outcome {
    /// Its name.
    pub name: String,
    /// Inputs that were run.
    pub executions: u64,
    /// Edges that these have taken.
    pub edges: u64,
    /// Edges of the program.
    pub edges_all: u64,
    /// Inputs that are kept since each takes an edge of its own.
    pub corpus: u64,
    /// What is wrong.
    pub finding: Option<String>,
    /// The inputs that show it.
    pub inputs: Vec<PathBuf>,
    /// Where everything stands that the program said.
    pub log: PathBuf,
    /// The lines of it that say what is wrong.
    pub last_lines: Vec<String>,
}

impl Session {
    /// Makes the folders, and gathers what mail there is to begin with.
    ///
    /// # Errors
    /// A folder can't be made.
    pub fn open(root: &Path, programs: Programs, length: Length, limit: Duration) -> Result<Self, String> {
        let mut session = Self { root: root.to_owned(), programs, length, limit, mail: Vec::new() };
        let data = project::test_data();
        let real = data.join("mail");
        if real.is_dir() {
            session.mail.push(real);
        } else {
            println!("without real mail to begin with: there is no folder {}", real.display());
        }
        let poison = session.folder("poison", "small")?;
        let make = Line::new("python3").arg(&data.join("poison/gen.py").to_string_lossy());
        let make = make.arg(&poison.to_string_lossy()).arg("--max-size").arg(&POISON_BYTES_MAX.to_string());
        let log = session.folder("logs", "")?.join("poison.log");
        match make.run_into(root, POISON_TIME_MAX, &log) {
            Ok(()) => session.mail.push(poison),
            Err(why) => println!("without poison to begin with: {why}"),
        }
        Ok(session)
    }

    fn folder(&self, kind: &str, name: &str) -> Result<PathBuf, String> {
        let folder = self.root.join("target/fuzz").join(kind).join(name);
        fs::create_dir_all(&folder).map_err(|error| format!("failed to make {folder:?}: {error}"))?;
        Ok(folder)
    }

    /// Runs a target for its time.
    pub fn run(&self, target: &Target) -> Outcome {
        let outcome = self
            .try_run(target)
            .unwrap_or_else(|why| Outcome { finding: Some(why), ..Outcome::nothing(&target.name) });
        println!("{}: {}", target.name, outcome.finding.as_deref().unwrap_or("ok"));
        outcome
    }

    fn try_run(&self, target: &Target) -> Result<Outcome, String> {
        let name = &target.name;
        let findings = self.folder("findings", name)?;
        let log = self.folder("logs", "")?.join(format!("{name}.log"));
        let before = inputs(&findings);
        let line = self.line(target, &findings)?;
        let ended = line.run_into(&self.root, self.limit, &log);
        let text = String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
        let mut outcome = Outcome { log, ..read(name, &text) };
        if let Err(why) = ended {
            outcome.finding = Some(why_of(&text).unwrap_or(why));
            outcome.last_lines = telling(&text);
            outcome.inputs = inputs(&findings).into_iter().filter(|input| !before.contains(input)).collect();
        }
        Ok(outcome)
    }

    fn line(&self, target: &Target, findings: &Path) -> Result<Line, String> {
        let taste = target.taste();
        let program = self.programs.folder.join(&target.name);
        let line = Line::new(&program.to_string_lossy());
        let line = match self.length {
            Length::Time(each) => line.arg(&format!("-max_total_time={}", each.as_secs())),
            Length::Corpora(profiles) => {
                let profiles = self.root.join(profiles);
                line.arg("-runs=0").env("LLVM_PROFILE_FILE", &profiles.to_string_lossy())
            }
        };
        let mut line = line
            .arg(&format!("-timeout={}", INPUT_TIME_MAX.as_secs()))
            .arg(&format!("-rss_limit_mb={MEMORY_MIB_MAX}"))
            .arg(&format!("-max_len={}", taste.length_max))
            .arg(&format!("-artifact_prefix={}/", findings.display()))
            .arg("-print_final_stats=1")
            .arg("-len_control=20")
            .arg(&self.folder("corpus", &target.name)?.to_string_lossy())
            .env(PROGRAM_VARIABLE, &self.programs.lazaret.to_string_lossy())
            // A message that was parsed and found unsound is forgotten, never dropped.
            .env("ASAN_OPTIONS", "detect_leaks=0");
        let fuzz = self.root.join("fuzz");
        if let Some(dictionary) = taste.dictionary {
            let path = fuzz.join("dictionaries").join(dictionary);
            line = line.arg(&format!("-dict={}.dict", path.display()));
        }
        let own = fuzz.join("corpus").join(&target.name);
        let mail = self.mail.iter().filter(|_| taste.mail);
        for folder in own.is_dir().then_some(&own).into_iter().chain(mail) {
            line = line.arg(&folder.to_string_lossy());
        }
        Ok(line)
    }

    /// Has a target look at one input, before everybody's eyes.
    ///
    /// # Errors
    /// It did not end well.
    pub fn show(&self, target: &Target, input: &Path) -> Result<(), String> {
        let program = self.programs.folder.join(&target.name);
        let line = Line::new(&program.to_string_lossy()).arg(&input.to_string_lossy());
        line.env(PROGRAM_VARIABLE, &self.programs.lazaret.to_string_lossy()).run(
            &self.root,
            self.limit,
            &mut crate::tally::Tally::default(),
        )
    }
}

impl Outcome {
    fn nothing(name: &str) -> Self {
        let name = name.to_owned();
        let (executions, edges, edges_all, corpus) = (0, 0, 0, 0);
        let (inputs, last_lines, log) = (Vec::new(), Vec::new(), PathBuf::new());
        Self { name, executions, edges, edges_all, corpus, finding: None, inputs, log, last_lines }
    }
}

/// The figures in what libFuzzer prints.
fn read(name: &str, text: &str) -> Outcome {
    let mut outcome = Outcome::nothing(name);
    for line in text.lines() {
        if let Some((_, rest)) = line.split_once("INFO: Loaded 1 modules   (") {
            outcome.edges_all = number(rest);
        } else if let Some((_, rest)) = line.split_once("stat::number_of_executed_units: ") {
            outcome.executions = number(rest);
        } else if line.starts_with('#') {
            let after = |key: &str| line.split_once(key).map(|(_, rest)| number(rest));
            outcome.edges = after(" cov: ").unwrap_or(outcome.edges);
            outcome.corpus = after(" corp: ").unwrap_or(outcome.corpus);
        }
    }
    outcome
}

fn number(text: &str) -> u64 {
    let digits = text.split(|c: char| !c.is_ascii_digit()).next();
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// What a program that did not end well says of it, in a line.
fn why_of(text: &str) -> Option<String> {
    let summary = text.lines().find_map(|line| line.strip_prefix("SUMMARY: "))?;
    let panicked = text.lines().find(|line| line.contains(" panicked at "));
    let place = panicked.and_then(|line| line.split(" panicked at ").nth(1));
    Some(place.map_or(summary.to_owned(), |place| format!("panicked at {place}")))
}

/// The lines of a log that say what is wrong: from the panic on, or else the last.
fn telling(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.iter().position(|line| line.contains(" panicked at "));
    let from = from.unwrap_or(lines.len().saturating_sub(LINES_SHOWN_MAX));
    lines[from..].iter().take(LINES_SHOWN_MAX).map(|line| line.chars().take(300).collect()).collect()
}

fn inputs(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut inputs: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    inputs.sort();
    inputs
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "INFO: Loaded 1 modules   (19378 inline 8-bit counters): 19378 [0x5, 0x6)\n\
        #2\tINITED cov: 12 ft: 14 corp: 1/1b exec/s: 0 rss: 29Mb\n\
        #77\tDONE   cov: 653 ft: 1774 corp: 441/13058b lim: 1260 exec/s: 8610 rss: 29Mb\n\
        stat::number_of_executed_units: 60273\n";

    #[test]
    fn figures_are_read() {
        let Outcome { executions, edges, edges_all, corpus, .. } = read("x", LOG);
        assert_eq!((executions, edges, edges_all, corpus), (60273, 653, 19378, 441));
        assert_eq!(why_of(LOG), None);
    }

    #[test]
    fn what_is_wrong_is_told() {
        let text = "thread '<unnamed>' (1) panicked at src/data.rs:3:5:\nboom\n\
            SUMMARY: libFuzzer: deadly signal\n";
        assert_eq!(why_of(text).unwrap(), "panicked at src/data.rs:3:5:");
        assert_eq!(telling(text)[1], "boom");
        assert_eq!(why_of("SUMMARY: libFuzzer: timeout\n").unwrap(), "libFuzzer: timeout");
    }
}
