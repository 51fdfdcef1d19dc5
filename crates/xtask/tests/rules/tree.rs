//! The files of the repository, as they lie in the working tree.
//!
//! Walks plain folders, so that it works in an unpacked archive too. It must
//! never descend into what is built, or into a spool that a developer left.

use std::path::{Path, PathBuf};

/// What holds nothing of ours, from the top. In a worktree .git is a file.
const FOREIGN: [&str; 5] = [".git", "target", "fuzz/target", "spool", "mail"];

/// One text of the repository.
pub struct Text {
    /// Its path from the top.
    pub path: String,
    /// What it holds.
    pub text: String,
}

/// The top of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every file that is text (UTF-8).
pub fn texts() -> Vec<Text> {
    let mut found = Vec::new();
    walk(&root(), "", &mut found);
    assert!(found.len() > 20, "the walk found next to nothing: {}", found.len());
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// Every Rust source.
pub fn sources() -> Vec<Text> {
    texts().into_iter().filter(|file| file.path.ends_with(".rs")).collect()
}

fn walk(folder: &Path, prefix: &str, found: &mut Vec<Text>) {
    let entries =
        std::fs::read_dir(folder).unwrap_or_else(|error| panic!("failed to list {folder:?}: {error}"));
    for entry in entries {
        let entry = entry.expect("a readable entry");
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        // A file that goes away while others work in the tree is no finding.
        let Ok(kind) = entry.file_type() else { continue };
        if FOREIGN.contains(&path.as_str()) {
            continue;
        }
        if kind.is_dir() {
            walk(&entry.path(), &format!("{path}/"), found);
        } else if kind.is_file() {
            let Ok(text) = std::fs::read_to_string(entry.path()) else { continue };
            found.push(Text { path, text });
        }
    }
}
