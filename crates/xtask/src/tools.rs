//! The programs that suites need from outside, and how Debian calls them.
//!
//! One table; what is missing is installed where we may, else said. Mail servers
//! are unpacked and not installed (`mta`). It must never install anything that
//! the table does not name.

use std::path::Path;
use std::time::Duration;

use crate::exec::Line;
use crate::mta;
use crate::tally::Tally;

/// A program and the Debian package that brings it.
struct Tool {
    program: &'static str,
    package: &'static str,
}

/// Every program that a suite asks for.
const TOOLS: [Tool; 6] = [
    Tool { program: "python3", package: "python3" },
    Tool { program: "swaks", package: "swaks" },
    Tool { program: "mkfs.ext4", package: "e2fsprogs" },
    Tool { program: "mkfs.xfs", package: "xfsprogs" },
    Tool { program: "mkfs.btrfs", package: "btrfs-progs" },
    // Of libFuzzer, which comes as source.
    Tool { program: "g++", package: "g++" },
];

/// Longest time for the package lists, and for the packages.
const APT_TIME_MAX: Duration = Duration::from_secs(150);

/// Installs and unpacks what is missing.
///
/// # Errors
/// What is missing still, and why.
pub fn provide(root: &Path) -> Result<(), String> {
    let (tools, servers) = (missing(), mta::missing(root));
    let refused = if tools.is_empty() && servers.is_empty() {
        None
    } else if !is_root() {
        Some("not root, so nothing was installed".to_owned())
    } else if !is_installed("apt-get") {
        Some("no apt-get here, so nothing was installed".to_owned())
    } else {
        install(root, &tools, &servers).err()
    };
    println!("wanted: {}", TOOLS.map(|tool| tool.program).join(", "));
    mta::announce(root);
    let mut left: Vec<&str> = missing().iter().map(|tool| tool.program).collect();
    left.extend(mta::missing(root));
    if left.is_empty() {
        return Ok(());
    }
    let why = refused.unwrap_or_else(|| "apt-get brought no such program".into());
    Err(format!("missing: {} ({why})", left.join(", ")))
}

fn install(root: &Path, tools: &[&Tool], servers: &[&str]) -> Result<(), String> {
    let mut tally = Tally::default();
    let apt = |words: &str| Line::new(words).env("DEBIAN_FRONTEND", "noninteractive");
    // Lists that can't be renewed may still do.
    let update = apt("apt-get update -q").run(root, APT_TIME_MAX, &mut tally);
    let mut result = Ok(());
    if !tools.is_empty() {
        let install = apt("apt-get install -q -y --no-install-recommends");
        let install = tools.iter().fold(install, |line, tool| line.arg(tool.package));
        result = install.run(root, APT_TIME_MAX, &mut tally);
    }
    for server in servers {
        result = result.and(mta::unpack(root, server, &mut tally));
    }
    result.map_err(|error| match update {
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
