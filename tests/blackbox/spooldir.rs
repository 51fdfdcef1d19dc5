//! What lies in a spool, read as an administrator would: names and reports.
//!
//! Knows of names only that a message's begins with its id and a dot, and how
//! counts look in one. It must never change anything.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Characters of an id.
const ID_LENGTH: usize = 26;

/// States through which mail passes; an idle spool has nothing there.
const PASSING: [&str; 5] = ["tmp", "drop", "incoming", "claimed", "outbound"];

/// A spool.
pub struct SpoolDir {
    top: PathBuf,
}

impl SpoolDir {
    /// The spool at `top`.
    pub fn new(top: PathBuf) -> Self {
        Self { top }
    }

    /// A directory or file of the spool.
    pub fn path(&self, name: &str) -> PathBuf {
        self.top.join(name)
    }

    /// The directories of the workers.
    pub fn workers(&self) -> Vec<PathBuf> {
        entries(&self.path("claimed")).into_iter().filter(|path| path.is_dir()).collect()
    }

    /// Names of all that lies in the directory of a state, whatever it is; for
    /// `claimed` those in the workers' directories.
    pub fn names(&self, state: &str) -> Vec<String> {
        let folders = if state == "claimed" { self.workers() } else { vec![self.path(state)] };
        let mut names: Vec<String> =
            folders.iter().flat_map(|folder| entries(folder)).map(|path| file_name(&path)).collect();
        names.sort();
        names
    }

    /// Ids of the messages in a state.
    pub fn ids(&self, state: &str) -> BTreeSet<String> {
        let messages = |name: &&String| !name.ends_with(".report") && !name.ends_with(".log");
        self.names(state).iter().filter(messages).filter_map(|name| id_of(name)).collect()
    }

    /// What mail is still on its way: paths, empty when the spool is idle.
    pub fn passing(&self) -> Vec<String> {
        PASSING
            .into_iter()
            .flat_map(|state| self.names(state).into_iter().map(move |name| format!("{state}/{name}")))
            .collect()
    }

    /// The report about a deferred message.
    pub fn report(&self, id: &str) -> Option<Report> {
        let text = std::fs::read_to_string(self.path("deferred").join(format!("{id}.report"))).ok()?;
        Some(Report::parse(&text))
    }

    /// The reports of all messages in quarantine, by id. One whose message is not
    /// there yet may be half written.
    pub fn reports(&self) -> Vec<Report> {
        self.ids("deferred").iter().filter_map(|id| self.report(id)).collect()
    }
}

/// The id at the start of a file name.
pub fn id_of(name: &str) -> Option<String> {
    let (id, rest) = name.split_at_checked(ID_LENGTH)?;
    let is_id = id.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase());
    (is_id && rest.starts_with('.')).then(|| id.to_owned())
}

/// A count in the name of a message: the number behind this letter.
pub fn count(name: &str, letter: char) -> u32 {
    let count = |word: &str| word.strip_prefix(letter)?.parse().ok();
    id_of(name).and_then(|_| name.split('.').skip(1).find_map(count)).unwrap_or(0)
}

/// Whether the name of a message says that it has a strike.
pub fn has_strike(name: &str) -> bool {
    count(name, 's') > 0
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    // A directory may not be there yet.
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// A report: lines of a key and a value.
#[derive(Debug)]
pub struct Report {
    fields: Vec<(String, String)>,
}

impl Report {
    fn parse(text: &str) -> Self {
        let field = |line: &str| {
            let (key, value) = line.split_once(' ').unwrap_or((line, ""));
            (key.to_owned(), value.to_owned())
        };
        Self { fields: text.lines().map(field).collect() }
    }

    /// All values of a key.
    pub fn all(&self, key: &str) -> Vec<&str> {
        self.fields.iter().filter(|(name, _)| name == key).map(|(_, value)| value.as_str()).collect()
    }

    /// The value of a key that must be there.
    #[track_caller]
    pub fn get(&self, key: &str) -> &str {
        self.all(key).first().copied().unwrap_or_else(|| panic!("no field {key} in {self:?}"))
    }

    /// Why the message was deferred.
    #[track_caller]
    pub fn cause(&self) -> &str {
        self.get("cause")
    }

    /// How often the message was tried.
    pub fn attempts(&self) -> usize {
        self.all("attempt").len()
    }
}
