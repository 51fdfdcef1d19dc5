//! `cargo xtask coverage`: which lines of the parsers are run by their tests and by
//! what lies in the fuzzers' corpora.
//!
//! The tests of all crates but the program's own run once, and each fuzz target looks
//! at its corpora (its own, what earlier runs left below `target/fuzz/`, real mail and
//! poison where they are), built with the compiler's `-C instrument-coverage`. What a
//! daemon or a cell of the black-box suites runs is not counted. It must never tell a
//! figure after a test has failed.

mod lines;
mod modules;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use lines::{Coverage, Runs};

use crate::exec::Line;
use crate::tally::Tally;
use crate::{fuzz, project, rust};

/// Longest time to build the tests, and to run them.
const TESTS_TIME_MAX: Duration = Duration::from_secs(20 * 60);

/// Longest time to put the counts together, and to print them.
const EXPORT_TIME_MAX: Duration = Duration::from_secs(5 * 60);

/// Where everything is built and written, from the top of the project.
const FOLDER: &str = "target/coverage";

/// Where programs write their counts: a file for each program, which those that run
/// side by side share.
const PROFILES: &str = "target/coverage/profiles/%4m.profraw";

/// The one test that does not run: a cell that counts does not start without
/// close_range(2). It is about a cell's jail and no parser.
const SKIPPED: &str = "close_range";

/// The programs that read the counts.
const READERS: [&str; 2] = ["llvm-profdata", "llvm-cov"];

/// Measures and prints.
pub fn run() -> ExitCode {
    match measure() {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<String, String> {
    let root = project::root();
    let tools = readers()?;
    let profiles = root.join(FOLDER).join("profiles");
    // Counts of an earlier run are no part of this one.
    let _ = fs::remove_dir_all(&profiles);
    fs::create_dir_all(&profiles).map_err(|error| format!("failed to make {profiles:?}: {error}"))?;
    let mut programs = run_tests(&root)?;
    programs.extend(fuzz::replay(&root, PROFILES)?);
    let counted = lines::read(&counts(&root, &tools, &profiles, &programs)?);
    let mut text = String::new();
    let mut coverages = Vec::new();
    for path in modules::files(&root)? {
        let source = read(&root.join(&path))?;
        let coverage = Coverage::of(&path, &source, counted.get(&root.join(&path)).unwrap_or(&Runs::new()));
        text += &missed(&coverage, &source);
        coverages.push(coverage);
    }
    Ok(format!("\nlines of parsers that nothing has run:\n{text}{}", table(&coverages)))
}

/// The programs that read what was counted, which are of the compiler's own LLVM:
/// another one can't.
fn readers() -> Result<[PathBuf; 2], String> {
    let folder = rust::tools()?;
    let tools = READERS.map(|name| folder.join(name));
    if tools.iter().all(|tool| tool.is_file()) {
        return Ok(tools);
    }
    let names = READERS.join(" and ");
    Err(format!("there is no {names} beside the compiler: `rustup component add llvm-tools` brings them"))
}

/// Builds the tests and runs them; returns their programs.
fn run_tests(root: &Path) -> Result<Vec<PathBuf>, String> {
    let host = rust::host()?;
    let line = || {
        Line::new("cargo test --workspace --exclude lazaret --exclude xtask --tests --target")
            .arg(&host)
            .arg("--target-dir")
            .arg(&format!("{FOLDER}/build"))
            .env("RUSTFLAGS", "-Cinstrument-coverage")
            .env("LLVM_PROFILE_FILE", &root.join(PROFILES).to_string_lossy())
    };
    let log = root.join(FOLDER).join("build.log");
    let build = line().arg("--no-run").arg("--message-format=json");
    build.run_into(root, TESTS_TIME_MAX, &log).map_err(|why| format!("{why}: see {}", log.display()))?;
    let run = line().arg("--no-fail-fast").arg("--").arg("--skip").arg(SKIPPED);
    run.run(root, TESTS_TIME_MAX, &mut Tally::default())?;
    let built = executables(&read(&log)?);
    if built.is_empty() { Err("cargo names no test program".to_owned()) } else { Ok(built) }
}

/// The programs that cargo says it has built, in lines of JSON.
fn executables(messages: &str) -> Vec<PathBuf> {
    let of_line = |line: &str| line.split_once("\"executable\":\"")?.1.split('"').next().map(PathBuf::from);
    messages.lines().filter_map(of_line).collect()
}

/// What was counted, as text, by whatever program.
fn counts(
    root: &Path,
    tools: &[PathBuf; 2],
    profiles: &Path,
    programs: &[PathBuf],
) -> Result<String, String> {
    let [profdata, cov] = tools.each_ref().map(|tool| Line::new("nice").arg(&tool.to_string_lossy()));
    let merged = root.join(FOLDER).join("merged.profdata");
    let log = root.join(FOLDER).join("merge.log");
    let merge = profdata.arg("merge").arg("-sparse").arg(&profiles.to_string_lossy()).arg("-o");
    let merge = merge.arg(&merged.to_string_lossy()).run_into(root, EXPORT_TIME_MAX, &log);
    merge.map_err(|why| format!("{why}: see {}", log.display()))?;
    let lcov = root.join(FOLDER).join("lines.lcov");
    let cov = cov.arg("export").arg("-format=lcov").arg("-skip-functions").arg("-skip-branches");
    let cov = cov.arg(&format!("-instr-profile={}", merged.display()));
    let cov = programs.iter().fold(cov, |line, program| line.arg("-object").arg(&program.to_string_lossy()));
    cov.run_into(root, EXPORT_TIME_MAX, &lcov).map_err(|why| format!("{why}: see {}", lcov.display()))?;
    read(&lcov)
}

fn read(path: &Path) -> Result<String, String> {
    let bytes = fs::read(path).map_err(|error| format!("failed to read {}: {error}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The lines of a file that nothing has run, with their text.
fn missed(coverage: &Coverage, source: &str) -> String {
    let source: Vec<&str> = source.lines().collect();
    let mut text = String::new();
    for range in &coverage.missed {
        text += &format!("  {}:{}-{}\n", coverage.path.display(), range.start(), range.end());
        for line in source.get(range.start() - 1..*range.end()).unwrap_or_default() {
            text += &format!("    {line}\n");
        }
    }
    text
}

/// A line for each file, and one for all of them.
fn table(coverages: &[Coverage]) -> String {
    let row = |name: &str, lines: usize, covered: usize| {
        let part = covered as f64 * 100.0 / lines.max(1) as f64;
        format!("{name:<46} {lines:>6} {covered:>8} {part:>7.2} %\n")
    };
    let mut text =
        format!("\n{:<46} {:>6} {:>8} {:>9}\n", "parser (tests left out)", "lines", "covered", "part");
    // What has no lines that count only says what is where.
    for Coverage { path, lines, covered, .. } in coverages.iter().filter(|coverage| coverage.lines > 0) {
        text += &row(&path.display().to_string(), *lines, *covered);
    }
    let sum = |part: fn(&Coverage) -> usize| coverages.iter().map(part).sum();
    text + &row("all of them", sum(|coverage| coverage.lines), sum(|coverage| coverage.covered))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_read_from_what_cargo_says() {
        let said = "{\"reason\":\"compiler-artifact\",\"executable\":null,\"fresh\":true}\nwarning: x\n\
            {\"profile\":{\"test\":true},\"executable\":\"/t/deps/a-1\",\"fresh\":true}\n";
        assert_eq!(executables(said), [PathBuf::from("/t/deps/a-1")]);
    }

    #[test]
    fn a_table_has_the_parts_and_the_whole() {
        let coverage = |path: &str, lines, covered| Coverage {
            path: PathBuf::from(path),
            lines,
            covered,
            missed: vec![2..=3],
        };
        let text = table(&[coverage("a.rs", 3, 1), coverage("lib.rs", 0, 0), coverage("b.rs", 1, 1)]);
        assert!(text.contains("33.33 %") && text.contains("100.00 %") && !text.contains("lib.rs"), "{text}");
        assert!(text.trim_end().ends_with("50.00 %"), "{text}");
        assert_eq!(missed(&coverage("a.rs", 3, 1), "x\ny\nz"), "  a.rs:2-3\n    y\n    z\n");
    }
}
