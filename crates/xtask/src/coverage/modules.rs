//! Which modules are parsers: those that turn what comes from outside into values, and
//! those that write what others parse.
//!
//! A list by hand, since no compiler can tell. It must never name what is not there.

use std::fs;
use std::path::{Path, PathBuf};

/// Paths from the top of the project; one that ends in a slash is all that is below it.
pub const PARSERS: [&str; 37] = [
    // The words of mail: ids, addresses, parameters, envelopes, reports.
    "crates/envelope/src/",
    // SMTP and LMTP, both sides, and the bytes behind DATA.
    "crates/smtp/src/",
    // The route table, and what it asks of a message.
    "crates/route/src/",
    // The configuration, and requests to the daemon.
    "crates/operator/src/",
    "crates/intake/src/config.rs",
    "crates/intake/src/network.rs",
    "crates/delivery/src/config.rs",
    "crates/delivery/src/config/",
    "crates/delivery/src/endpoint.rs",
    "crates/delivery/src/braces.rs",
    "crates/delivery/src/maildir/template.rs",
    "crates/delivery/src/pipe/arguments.rs",
    "crates/delivery/src/pipe/config.rs",
    "crates/delivery/src/smtp/config.rs",
    "crates/worker/src/budget.rs",
    "crates/worker/src/bypass.rs",
    // What a program or a person hands to submit.
    "crates/intake/src/sendmail.rs",
    "crates/intake/src/canonical.rs",
    "crates/intake/src/submit/author.rs",
    "crates/intake/src/submit/head.rs",
    "crates/intake/src/submit/lone_dot.rs",
    // What lies in a spool: names, journals, files, and what is made of them at a start.
    "crates/spool/src/name.rs",
    "crates/spool/src/layout.rs",
    "crates/spool/src/journal.rs",
    "crates/spool/src/journal/",
    "crates/spool/src/message.rs",
    "crates/spool/src/finding.rs",
    "crates/spool/src/look.rs",
    "crates/spool/src/leftover.rs",
    "crates/spool/src/table.rs",
    "crates/spool/src/recovery.rs",
    // What a cell says to its worker.
    "crates/worker/src/frame.rs",
    "crates/worker/src/page.rs",
    "crates/worker/src/fingerprint.rs",
    // What a notice tells, and what it returns.
    "crates/delivery/src/notice.rs",
    "crates/delivery/src/notice/",
    "crates/delivery/src/trace.rs",
];

/// Every file of the list, by path, those of tests left out.
///
/// # Errors
/// A folder can't be listed.
pub fn files(root: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    for path in PARSERS {
        walk(root, Path::new(path), &mut found)?;
    }
    found.retain(|path| !is_of_tests(path));
    found.sort();
    found.dedup();
    Ok(found)
}

fn walk(root: &Path, path: &Path, found: &mut Vec<PathBuf>) -> Result<(), String> {
    let failed = |error| format!("failed to look at {}: {error}", path.display());
    if fs::metadata(root.join(path)).map_err(failed)?.is_file() {
        found.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(root.join(path)).map_err(failed)? {
        walk(root, &path.join(entry.map_err(failed)?.file_name()), found)?;
    }
    Ok(())
}

fn is_of_tests(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "tests.rs") || path.iter().any(|folder| folder == "tests")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listed_is_there_and_no_test() {
        let root = crate::project::root();
        let files = files(&root).unwrap();
        assert!(files.len() > PARSERS.len());
        assert!(files.contains(&PathBuf::from("crates/smtp/src/reply/parse.rs")));
        assert!(!files.contains(&PathBuf::from("crates/route/src/facts/tests.rs")));
        for path in PARSERS.map(Path::new) {
            assert!(files.iter().any(|file| file.starts_with(path)), "{} holds no source", path.display());
        }
    }
}
