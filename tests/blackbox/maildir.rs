//! What was delivered: the Maildirs below a folder, by message id.
//!
//! A delivered file's name is `TIME.ID_N.lazaret`. It must never move or change
//! one, as a reader would.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// How deep Maildirs may lie: domain, local part, `new`.
const DEPTH_MAX: usize = 4;

/// Maildirs.
pub struct Maildirs {
    root: PathBuf,
}

impl Maildirs {
    /// All below `root`.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The copies of each message.
    pub fn copies(&self) -> BTreeMap<String, Vec<PathBuf>> {
        let mut found = BTreeMap::<String, Vec<PathBuf>>::new();
        collect(&self.root, DEPTH_MAX, &mut |path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let id = id_of(&name).unwrap_or_else(|| panic!("a delivered file has an unknown name: {path:?}"));
            found.entry(id).or_default().push(path.to_owned());
        });
        found
    }

    /// How many copies of the message there are.
    pub fn count(&self, id: &str) -> usize {
        self.copies().get(id).map_or(0, Vec::len)
    }

    /// The bytes of a message of which there must be exactly one copy.
    #[track_caller]
    pub fn only(&self, id: &str) -> Vec<u8> {
        let copies = self.copies().remove(id).unwrap_or_default();
        let [path] = &copies[..] else { panic!("expected one copy of {id}: {copies:?}") };
        std::fs::read(path).unwrap_or_else(|error| panic!("failed to read {path:?}: {error}"))
    }
}

/// The message's id in the name of a delivered file.
pub fn id_of(name: &str) -> Option<String> {
    let (_, rest) = name.split_once('.')?;
    let (id, rest) = rest.split_once('_')?;
    (id.len() == 26 && rest.contains(".lazaret")).then(|| id.to_owned())
}

fn collect(folder: &Path, depth: usize, take: &mut dyn FnMut(&Path)) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if !entry.path().is_dir() || depth == 0 {
            continue;
        }
        if name == "new" || name == "cur" {
            let files = std::fs::read_dir(entry.path()).into_iter().flatten().flatten();
            files.for_each(|file| take(&file.path()));
        } else {
            collect(&entry.path(), depth - 1, take);
        }
    }
}
