//! `cargo xtask check`: every step in order, a summary at the end.
//!
//! A step that fails does not keep later ones from running, so that one run
//! tells everything. It must never take longer than [`CHECK_TIME_MAX`].

use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::deny;
use crate::exec::Line;
use crate::project;
use crate::summary::{self, Outcome};
use crate::tally::Tally;
use crate::tools;

/// Longest time for everything; callers give up after 30 minutes.
const CHECK_TIME_MAX: Duration = Duration::from_secs(29 * 60);

/// One step: its name, its longest time, its commands. All commands run, even
/// after one failed.
struct Step {
    name: &'static str,
    limit: Duration,
    lines: Vec<Line>,
}

fn steps() -> Vec<Step> {
    let step = |name, minutes: u64, lines| Step { name, limit: Duration::from_secs(minutes * 60), lines };
    vec![
        step(
            "format",
            1,
            vec![
                Line::new("cargo fmt --all --check"),
                Line::new("cargo fmt --manifest-path fuzz/Cargo.toml --check"),
            ],
        ),
        step(
            "lints",
            8,
            vec![
                Line::new("cargo clippy --workspace --all-targets -- -D warnings"),
                // Into the same folder, where most of what it needs is built already.
                Line::new("cargo clippy --manifest-path fuzz/Cargo.toml --target-dir target -- -D warnings"),
            ],
        ),
        step(
            "documentation",
            5,
            vec![
                Line::new("cargo doc --workspace --no-deps --document-private-items")
                    .env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private_intra_doc_links"),
            ],
        ),
        step(
            "unit tests",
            8,
            // The root package's black-box suites have a step of their own.
            vec![
                Line::new("cargo test --workspace --exclude lazaret --no-fail-fast"),
                Line::new("cargo test --package lazaret --bins --no-fail-fast"),
            ],
        ),
        step("release build", 8, vec![Line::new("cargo build --release --package lazaret")]),
        // Against the release binary: budgets and poison were measured there.
        step("black box", 20, vec![Line::new("cargo test --release --package lazaret --test blackbox")]),
        step("fuzz", 12, vec![Line::new("cargo xtask fuzz")]),
        step("dependencies", 6, deny::lines()),
    ]
}

/// Runs everything and says how it went.
pub fn run() -> ExitCode {
    let root = project::root();
    let started = Instant::now();
    let mut outcomes = vec![announced("tools", project::is_ci(), |_| tools::provide(&root))];
    for step in steps() {
        outcomes.push(announced(step.name, true, |tally| {
            let step_started = Instant::now();
            let mut result = Ok(());
            for line in &step.lines {
                let left = CHECK_TIME_MAX
                    .saturating_sub(started.elapsed())
                    .min(step.limit.saturating_sub(step_started.elapsed()));
                let outcome = line.run(&root, left, tally);
                result = result.and(outcome);
            }
            result
        }));
    }
    let data = project::test_data();
    let missing = (!data.is_dir()).then(|| {
        format!(
            "what needs test data: there is no folder {} ({})",
            data.display(),
            project::TESTDATA_VARIABLE
        )
    });
    let (text, well) = summary::close(outcomes, missing);
    print!("{text}");
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Says that a step begins and how long it took.
fn announced(
    step: &'static str,
    required: bool,
    work: impl FnOnce(&mut Tally) -> Result<(), String>,
) -> Outcome {
    println!("\n== {step}");
    let started = Instant::now();
    let mut tally = Tally::default();
    let result = work(&mut tally);
    let took = started.elapsed();
    match &result {
        Ok(()) => println!("== {step}: ok, {:.1} s", took.as_secs_f64()),
        Err(why) => println!("== {step}: {why}, {:.1} s", took.as_secs_f64()),
    }
    Outcome { step, took, result, required, tally }
}
