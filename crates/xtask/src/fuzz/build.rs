//! Builds the fuzz targets, and the program whose cells one of them uses.
//!
//! The flags are those of cargo-fuzz: counters at every edge, and comparisons that
//! the fuzzer sees. It must never touch the build of anything else: the targets
//! have a workspace and a target folder of their own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::target::Target;
use crate::exec::Line;
use crate::tally::Tally;

/// Longest time for everything that is built.
const BUILD_TIME_MAX: Duration = Duration::from_secs(15 * 60);

/// What has the compiler count.
const COUNTING: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing \
    -Cllvm-args=-simplifycfg-branch-fold-threshold=0 -Ccodegen-units=1";

/// What was built.
pub struct Programs {
    /// Where the targets' programs lie.
    pub folder: PathBuf,
    /// The program of the project.
    pub lazaret: PathBuf,
    /// By which compiler, and with which sanitizer.
    pub compiler: &'static str,
}

/// Builds the targets.
///
/// # Errors
/// Why that is not possible.
pub fn build(root: &Path, targets: &[Target], sanitizer: bool) -> Result<Programs, String> {
    let triple = host()?;
    let (cargo, sanitizer, compiler) = if sanitizer {
        ("cargo +nightly", " -Zsanitizer=address", "nightly compiler, address sanitizer")
    } else {
        ("cargo", "", "default compiler, no sanitizer")
    };
    let mut line = Line::new(cargo)
        .arg("build")
        .arg("--release")
        .arg("--quiet")
        // Or build scripts would be counted too, and have nobody to count for.
        .arg("--target")
        .arg(&triple)
        .arg("--manifest-path")
        .arg("fuzz/Cargo.toml")
        .env("RUSTFLAGS", &format!("{COUNTING}{sanitizer}"));
    for target in targets {
        line = line.arg("--bin").arg(&target.name);
    }
    let mut tally = Tally::default();
    Line::new("cargo build --release --quiet --package lazaret").run(root, BUILD_TIME_MAX, &mut tally)?;
    line.run(root, BUILD_TIME_MAX, &mut tally)?;
    Ok(Programs {
        folder: root.join("fuzz/target").join(triple).join("release"),
        lazaret: root.join("target/release/lazaret"),
        compiler,
    })
}

/// The machine that the compiler builds for.
fn host() -> Result<String, String> {
    let output = Command::new("rustc").arg("-vV").output();
    let output = output.map_err(|error| format!("failed to start rustc: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "rustc does not say for which machine it builds".to_owned())
}
