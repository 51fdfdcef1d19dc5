//! The programs that suites need from outside, and how Debian calls them.
//!
//! One table; what is missing is installed where we may, else said. It must
//! never install anything that the table does not name.

use std::path::Path;
use std::time::Duration;

use crate::exec::Line;
use crate::tally::Tally;

/// A program and the Debian package that brings it.
struct Tool {
    program: &'static str,
    package: &'static str,
}

/// Every program that a suite asks for.
const TOOLS: [Tool; 5] = [
    Tool { program: "python3", package: "python3" },
    Tool { program: "swaks", package: "swaks" },
    Tool { program: "mkfs.ext4", package: "e2fsprogs" },
    Tool { program: "mkfs.xfs", package: "xfsprogs" },
    Tool { program: "mkfs.btrfs", package: "btrfs-progs" },
];

/// Longest time for the package lists, and for the packages.
const APT_TIME_MAX: Duration = Duration::from_secs(150);

/// Installs what is missing.
///
/// # Errors
/// What is missing still, and why.
pub fn provide(root: &Path) -> Result<(), String> {
    let missing = missing();
    if missing.is_empty() {
        println!("all there: {}", TOOLS.map(|tool| tool.program).join(", "));
        return Ok(());
    }
    let refused = if !is_root() {
        Some("not root, so nothing was installed".to_owned())
    } else if !is_installed("apt-get") {
        Some("no apt-get here, so nothing was installed".to_owned())
    } else {
        install(root, &missing).err()
    };
    let left: Vec<&str> = self::missing().iter().map(|tool| tool.program).collect();
    if left.is_empty() {
        return Ok(());
    }
    Err(format!(
        "missing: {} ({})",
        left.join(", "),
        refused.unwrap_or_else(|| "apt-get brought no such program".into())
    ))
}

fn install(root: &Path, missing: &[&Tool]) -> Result<(), String> {
    let mut tally = Tally::default();
    let apt = |words: &str| Line::new(words).env("DEBIAN_FRONTEND", "noninteractive");
    // Lists that can't be renewed may still do.
    let update = apt("apt-get update -q").run(root, APT_TIME_MAX, &mut tally);
    let install = missing
        .iter()
        .fold(apt("apt-get install -q -y --no-install-recommends"), |line, tool| line.arg(tool.package));
    install.run(root, APT_TIME_MAX, &mut tally).map_err(|error| match update {
        Ok(()) => error,
        Err(update) => format!("{update}; {error}"),
    })
}

fn missing() -> Vec<&'static Tool> {
    TOOLS.iter().filter(|tool| !is_installed(tool.program)).collect()
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    // Our own entry in /proc belongs to whoever we are.
    std::fs::metadata("/proc/self").is_ok_and(|entry| entry.uid() == 0)
}
