//! Who may use a spool, for those who may not.
//!
//! It must never open anything but lists of names.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::config::Config;
use crate::exit::{self, Failure};
use crate::shell;

/// The same failure; if it is for want of rights, with who has them, and how.
pub fn explained(failure: Failure, config: &Config) -> Failure {
    if failure.status() != exit::FORBIDDEN {
        return failure;
    }
    let spool = config.spool.display();
    let command = std::env::args().map(|argument| shell::quoted(&argument)).collect::<Vec<_>>().join(" ");
    let text = failure.text();
    Failure::new(
        exit::FORBIDDEN,
        match owner(&config.spool) {
            Some(owner) => {
                let root = if owner == "root" { "" } else { "and root " };
                format!(
                    "{text}; only {owner}, the owner of the spool {spool}, {root}may do that: sudo -u {owner} {command}"
                )
            }
            None => {
                format!("{text}; only the owner of the spool {spool} and root may do that: sudo {command}")
            }
        },
    )
}

/// The name of the owner of a file, or his number as sudo(8) takes it; `None` if the
/// file can't be seen.
pub fn owner(path: &Path) -> Option<String> {
    let uid = fs::metadata(path).ok()?.uid();
    Some(lazaret_intake::user_name(uid).unwrap_or_else(|| format!("#{uid}")))
}
