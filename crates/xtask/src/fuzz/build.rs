//! Builds the fuzz targets, and the program whose cells one of them uses.
//!
//! The flags are those of cargo-fuzz: counters at every edge, and comparisons that
//! the fuzzer sees. It must never touch the build of anything else: the targets
//! have a workspace of their own, and each kind of build a target folder.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::target::Target;
use crate::exec::Line;
use crate::rust;
use crate::tally::Tally;

/// Longest time for everything that is built.
const BUILD_TIME_MAX: Duration = Duration::from_secs(15 * 60);

/// What has the compiler count.
const COUNTING: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing \
    -Cllvm-args=-simplifycfg-branch-fold-threshold=0 -Ccodegen-units=1";

/// How the targets are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// With the default compiler.
    Usual,
    /// With the nightly compiler and its address sanitizer.
    Sanitizer,
    /// With the default compiler, and what tells which lines are run.
    Coverage,
}

/// What was built.
pub struct Programs {
    /// Where the targets' programs lie.
    pub folder: PathBuf,
    /// The program of the project.
    pub lazaret: PathBuf,
    /// By which compiler, and with which sanitizer.
    pub compiler: &'static str,
}

impl Kind {
    const fn cargo(self) -> &'static str {
        match self {
            Self::Usual | Self::Coverage => "cargo",
            Self::Sanitizer => "cargo +nightly",
        }
    }

    /// What the compiler is told beyond [`COUNTING`].
    const fn flags(self) -> &'static str {
        match self {
            Self::Usual => "",
            Self::Sanitizer => " -Zsanitizer=address",
            Self::Coverage => " -Cinstrument-coverage",
        }
    }

    const fn compiler(self) -> &'static str {
        match self {
            Self::Usual => "default compiler, no sanitizer",
            Self::Sanitizer => "nightly compiler, address sanitizer",
            Self::Coverage => "default compiler, lines counted",
        }
    }

    /// The target folder, from the top of the project. Each has its own: what
    /// another compiler or other flags built is of no use.
    const fn folder(self) -> &'static str {
        match self {
            Self::Usual => "fuzz/target",
            Self::Sanitizer => "target/fuzz/sanitizer",
            Self::Coverage => "target/coverage/fuzz",
        }
    }
}

/// Builds the targets.
///
/// # Errors
/// Why that is not possible.
pub fn build(root: &Path, targets: &[Target], kind: Kind) -> Result<Programs, String> {
    let triple = rust::host()?;
    let mut line = Line::new(kind.cargo())
        .arg("build")
        .arg("--release")
        .arg("--quiet")
        // Or build scripts would be counted too, and have nobody to count for.
        .arg("--target")
        .arg(&triple)
        .arg("--manifest-path")
        .arg("fuzz/Cargo.toml")
        .arg("--target-dir")
        .arg(kind.folder())
        .env("RUSTFLAGS", &format!("{COUNTING}{}", kind.flags()));
    for target in targets {
        line = line.arg("--bin").arg(&target.name);
    }
    let mut tally = Tally::default();
    // Here, whatever CARGO_TARGET_DIR says: the path is below.
    Line::new("cargo build --release --quiet --package lazaret --target-dir target").run(
        root,
        BUILD_TIME_MAX,
        &mut tally,
    )?;
    line.run(root, BUILD_TIME_MAX, &mut tally)?;
    Ok(Programs {
        folder: root.join(kind.folder()).join(triple).join("release"),
        lazaret: root.join("target/release/lazaret"),
        compiler: kind.compiler(),
    })
}
