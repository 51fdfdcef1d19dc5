//! What the compiler says of itself: where it lies, and for which machine it builds.
//!
//! It must never guess: what the compiler does not say is an error.

use std::path::PathBuf;
use std::process::Command;

/// The machine that the compiler builds for.
///
/// # Errors
/// There is no compiler.
pub fn host() -> Result<String, String> {
    let text = rustc(&["-vV"])?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "rustc does not say for which machine it builds".to_owned())
}

/// The folder of the programs that rustup puts beside the compiler as `llvm-tools`.
///
/// # Errors
/// There is no compiler.
pub fn tools() -> Result<PathBuf, String> {
    let sysroot = PathBuf::from(rustc(&["--print", "sysroot"])?.trim());
    Ok(sysroot.join("lib/rustlib").join(host()?).join("bin"))
}

fn rustc(words: &[&str]) -> Result<String, String> {
    let output = Command::new("rustc").args(words).output();
    let output = output.map_err(|error| format!("failed to start rustc: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
