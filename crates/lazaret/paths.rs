//! Where the configuration is, and what its relative paths are relative to.

use std::io;
use std::path::{Path, PathBuf};

/// The configuration file that is used when none is named.
pub const SYSTEM_FILE: &str = "/etc/lazaret/lazaret.toml";

/// The folder that relative paths in a configuration file start from: the
/// file's own; without a file, the current one.
pub fn base(file: Option<&Path>) -> io::Result<PathBuf> {
    match file {
        Some(file) => {
            let file = std::path::absolute(file)?;
            Ok(file.parent().unwrap_or(Path::new("/")).to_owned())
        }
        None => std::env::current_dir(),
    }
}
