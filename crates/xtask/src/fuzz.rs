//! `cargo xtask fuzz`: every target of `fuzz/` in turn, a table at the end.
//!
//! Builds them as cargo-fuzz does, without that program: with the default compiler,
//! so that every machine does the same, or with the nightly one and its address
//! sanitizer. Corpora grow below `target/fuzz/`; it must never write into those of
//! the repository.

mod build;
mod options;
mod session;
mod target;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use build::Kind;
pub use options::Options;
use session::{Length, Outcome, Session};
use target::Target;

use crate::project;

/// Time for each target if nothing else is said.
const SHORT: Duration = Duration::from_secs(20);

/// Longest time that a target may take beyond what it was given: for what is in the
/// corpora, and for its last input.
const AROUND_TIME_MAX: Duration = Duration::from_secs(120);

/// Longest time that a target may take for what is in its corpora.
const REPLAY_TIME_MAX: Duration = Duration::from_secs(5 * 60);

/// Most targets at a time.
const SIDE_BY_SIDE_MAX: usize = 4;

/// Runs the targets that were asked for.
pub fn run(options: &Options) -> ExitCode {
    match fuzz(options) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// Returns how many targets did not end well.
fn fuzz(options: &Options) -> Result<usize, String> {
    let root = project::root();
    let targets = Target::all(&root.join("fuzz"))?;
    let targets: Vec<Target> = match &options.target {
        None => targets,
        Some(name) => {
            let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
            let unknown = format!("there is no target {name}; there is {}", names.join(", "));
            let found: Vec<Target> = targets.into_iter().filter(|target| target.name == *name).collect();
            if found.is_empty() { Err(unknown)? } else { found }
        }
    };
    let kind = if options.sanitizer { Kind::Sanitizer } else { Kind::Usual };
    let programs = build::build(&root, &targets, kind)?;
    let jobs = jobs(targets.len());
    let rounds = targets.len().div_ceil(jobs);
    let each = options.minutes.map_or(SHORT, |minutes| {
        Duration::from_secs(minutes * 60) / u32::try_from(rounds).unwrap_or(u32::MAX)
    });
    println!("{}, {jobs} at a time, {} s each", programs.compiler, each.as_secs());
    let session = Session::open(&root, programs, Length::Time(each), each + AROUND_TIME_MAX)?;
    if let (Some(input), [target]) = (&options.input, &targets[..]) {
        return session.show(target, input).map(|()| 0);
    }
    let started = Instant::now();
    let outcomes = side_by_side(&targets, jobs, |target| session.run(target));
    print!("{}", table(&outcomes));
    let executions: u64 = outcomes.iter().map(|outcome| outcome.executions).sum();
    let bad = outcomes.iter().filter(|outcome| outcome.finding.is_some()).count();
    println!(
        "figures: fuzz: {} targets, {executions} executions, {bad} findings, {:.0} s",
        outcomes.len(),
        started.elapsed().as_secs_f64()
    );
    for outcome in outcomes.iter().filter(|outcome| outcome.finding.is_some()) {
        report(outcome, &root);
    }
    Ok(bad)
}

/// Has each target look at what is in its corpora, by programs that write which lines
/// they have run: see [`Length::Corpora`]. Returns these programs.
///
/// # Errors
/// A target can't be built, or finds something.
pub fn replay(root: &Path, profiles: &'static str) -> Result<Vec<PathBuf>, String> {
    let targets = Target::all(&root.join("fuzz"))?;
    let programs = build::build(root, &targets, Kind::Coverage)?;
    let folder = programs.folder.clone();
    let session = Session::open(root, programs, Length::Corpora(profiles), REPLAY_TIME_MAX)?;
    let outcomes = side_by_side(&targets, jobs(targets.len()), |target| session.run(target));
    let bad = outcomes.iter().filter(|outcome| outcome.finding.is_some());
    match bad.inspect(|outcome| report(outcome, root)).count() {
        0 => Ok(targets.iter().map(|target| folder.join(&target.name)).collect()),
        bad => Err(format!("{bad} fuzz targets found something")),
    }
}

/// How many targets run side by side.
fn jobs(targets: usize) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    processors.min(SIDE_BY_SIDE_MAX).min(targets)
}

/// Does the work on each, several at a time; the results are in order.
fn side_by_side<T: Sync, R: Send>(things: &[T], jobs: usize, work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = Mutex::new(0..things.len());
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                // A statement of its own, or the lock is held during the work.
                while let Some(at) = { next.lock().expect("nobody panics").next() } {
                    let result = work(&things[at]);
                    done.lock().expect("nobody panics").push((at, result));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("nobody panics");
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

fn table(outcomes: &[Outcome]) -> String {
    let mut text = format!(
        "\n{:<10} {:>11} {:>8} {:>9} {:>7}  result\n",
        "target", "executions", "edges", "of", "corpus"
    );
    for Outcome { name, executions, edges, edges_all, corpus, finding, .. } in outcomes {
        let result = finding.as_deref().unwrap_or("ok");
        text += &format!("{name:<10} {executions:>11} {edges:>8} {edges_all:>9} {corpus:>7}  {result}\n");
    }
    text + "edges: of the control flow of the program, its libraries included\n"
}

/// What was found, where it lies, and how it is seen again.
fn report(outcome: &Outcome, root: &Path) {
    println!("\n== {}: {}", outcome.name, outcome.finding.as_deref().unwrap_or("ok"));
    outcome.last_lines.iter().for_each(|line| println!("  {line}"));
    let shown = |path: &Path| path.strip_prefix(root).unwrap_or(path).display().to_string();
    println!("  log: {}", shown(&outcome.log));
    for input in &outcome.inputs {
        println!("  input: {}; again: cargo xtask fuzz --target {} --input {0}", shown(input), outcome.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_shared_and_the_results_are_in_order() {
        let things: Vec<usize> = (0..20).collect();
        assert_eq!(side_by_side(&things, 3, |thing| thing * 2), (0..40).step_by(2).collect::<Vec<_>>());
        assert_eq!(side_by_side(&[] as &[usize], 1, |_| ()), []);
    }
}
