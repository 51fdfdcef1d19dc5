//! The poison of the larger test data: written by its generator, with what must
//! become of each file when it is parsed whole.
//!
//! Files are read one by one, when they are wanted. The test data's own folder
//! must never be written to.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::poison::{Expected, Poison};
use crate::process;
use crate::trial::test_data;

/// Longest time for the generator.
const GENERATOR_TIME_MAX: Duration = Duration::from_secs(300);

/// Fewest messages that it must make up to any size, so that an empty folder is
/// no pass.
const GENERATED_MIN: usize = 30;

/// A folder of poison.
pub struct Generated {
    folder: TempDir,
    files: Vec<(String, Expected)>,
}

impl Generated {
    /// Has it written: what has at most `bytes_max` bytes, or all of it.
    pub fn make(bytes_max: Option<u64>) -> Self {
        let folder = tempfile::tempdir().expect("failed to make a folder");
        let data = test_data().join("poison");
        let mut generator = Command::new("python3");
        generator.arg(data.join("gen.py")).arg(folder.path());
        if let Some(bytes) = bytes_max {
            generator.args(["--max-size", &bytes.to_string()]);
        }
        let finished = process::finish(&mut generator, b"", GENERATOR_TIME_MAX);
        assert_eq!(finished.code, Some(0), "{finished:?}");
        let mut files = expectations(&data.join("expected.csv"));
        let all = files.len();
        // Files above the limit were not made.
        files.retain(|(name, _)| folder.path().join(name).exists());
        assert!(files.len() >= GENERATED_MIN, "only {} messages were made", files.len());
        assert!(bytes_max.is_some() || files.len() == all, "only {} of {all} were made", files.len());
        Self { folder, files }
    }

    /// Size in bytes of the largest.
    pub fn largest(&self) -> u64 {
        let size = |(name, _): &(String, Expected)| std::fs::metadata(self.path(name)).map(|file| file.len());
        self.files.iter().map(|file| size(file).expect("a file that was made")).max().unwrap_or_default()
    }

    /// Reads one after the other.
    pub fn read(&self) -> impl Iterator<Item = Poison> + '_ {
        self.files.iter().map(|(name, expected)| {
            let path = self.path(name);
            let bytes =
                std::fs::read(&path).unwrap_or_else(|error| panic!("failed to read {path:?}: {error}"));
            Poison { name: name.clone(), bytes, expected: *expected }
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn expectations(table: &Path) -> Vec<(String, Expected)> {
    let text =
        std::fs::read_to_string(table).unwrap_or_else(|error| panic!("failed to read {table:?}: {error}"));
    let row = |line: &str| {
        let cells: Vec<&str> = line.splitn(3, ',').collect();
        let [name, _, word] = cells[..] else { panic!("not three cells: {line}") };
        (name.to_owned(), Expected::parse(word).unwrap_or_else(|| panic!("unknown word: {line}")))
    };
    text.lines().skip(1).map(row).collect()
}
