//! The messages that suites send: files that end in `.eml`.
//!
//! It must never leave out one that can't be read.

use std::path::{Path, PathBuf};

use crate::trial::test_data;

/// Fewest messages that the corpus must have, so that an empty folder is no pass.
const CORPUS_MIN: usize = 1000;

/// The real messages of the larger test data.
pub fn real() -> Vec<Message> {
    let messages = messages(&test_data().join("mail"));
    assert!(messages.len() >= CORPUS_MIN, "the corpus: {}", messages.len());
    messages
}

/// A message and where it came from.
pub struct Message {
    /// The file.
    pub path: PathBuf,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// All messages below a folder, in the order of their paths.
pub fn messages(folder: &Path) -> Vec<Message> {
    let mut found = Vec::new();
    let entries =
        std::fs::read_dir(folder).unwrap_or_else(|error| panic!("failed to list {folder:?}: {error}"));
    for path in entries.map(|entry| entry.expect("a readable entry").path()) {
        if path.is_dir() {
            found.extend(messages(&path));
        } else if path.extension().is_some_and(|ending| ending == "eml") {
            let bytes =
                std::fs::read(&path).unwrap_or_else(|error| panic!("failed to read {path:?}: {error}"));
            found.push(Message { path, bytes });
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}
