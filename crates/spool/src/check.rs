//! Looks at every file of a spool and names what is wrong.
//!
//! Reads only, so it may run beside the owner; what moves meanwhile is looked
//! at twice before it is called missing. It must never change anything.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::io;

use lazaret_envelope::{Line, MessageId};

use crate::dropbox::taken_id;
use crate::error::{Context, SpoolError};
use crate::layout::{DROP_WRITING, Dir};
use crate::leftover::{journal_id, reported_id};
use crate::message::Unreadable;
use crate::name::Name;
use crate::spool::Spool;
use crate::storage::Kind;

/// Something in a spool that should not be as it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Where, from the top of the spool.
    pub path: String,
    /// What is wrong with it, and what becomes of it.
    pub problem: String,
}

/// Everything that was found, and how much was looked at.
#[derive(Debug, Default)]
pub struct Checked {
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// Messages that were read whole.
    pub messages: u64,
}

/// Goes through the whole spool. Reads every message.
///
/// # Errors
/// A directory can't be listed.
pub fn check(spool: &Spool) -> Result<Checked, SpoolError> {
    let mut checker =
        Checker { spool, checked: Checked::default(), places: BTreeMap::new(), beside: Vec::new() };
    let workers = spool.storage.workers().context(|| "list claimed")?;
    for dir in Dir::FIXED.into_iter().chain(workers.into_iter().map(Dir::Claimed)) {
        checker.directory(dir)?;
    }
    checker.twins();
    checker.orphans()?;
    checker.checked.findings.sort();
    Ok(checker.checked)
}

struct Checker<'a> {
    spool: &'a Spool,
    checked: Checked,
    places: BTreeMap<MessageId, Vec<(Dir, Name)>>,
    /// Reports and journals, to be held against the messages.
    beside: Vec<(Dir, String, MessageId)>,
}

impl Checker<'_> {
    fn find(&mut self, path: impl Into<String>, problem: impl Into<String>) {
        self.checked.findings.push(Finding { path: path.into(), problem: problem.into() });
    }

    fn directory(&mut self, dir: Dir) -> Result<(), SpoolError> {
        let mut entries = Vec::new();
        self.spool.scan(dir, |name, raw| entries.push((name, raw.to_owned())))?;
        for (name, raw) in entries {
            match (dir, name) {
                (Dir::Journal, _) => self.beside_message(dir, &raw, journal_id(&raw)),
                (Dir::Deferred, None) => self.beside_message(dir, &raw, reported_id(&raw)),
                (Dir::Drop, _) => self.dropped(&raw),
                (_, Some(name)) => self.message(dir, name),
                (Dir::Tmp, None) if taken_id(&raw).is_some() => {}
                (_, None) => self.foreign(dir, &raw),
            }
        }
        Ok(())
    }

    fn beside_message(&mut self, dir: Dir, raw: &OsStr, id: Option<MessageId>) {
        match id {
            Some(id) => self.beside.push((dir, raw.to_string_lossy().into_owned(), id)),
            None => self.foreign(dir, raw),
        }
    }

    fn foreign(&mut self, dir: Dir, raw: &OsStr) {
        let path = format!("{dir}/{}", Line::escaped(raw.as_encoded_bytes()));
        let Ok(status) = self.spool.storage.status(dir, raw) else { return };
        let becomes = match dir {
            Dir::Deferred | Dir::Journal => "it stays until somebody removes it",
            Dir::Tmp | Dir::Claimed(_) | Dir::Outbound => "the next start moves it to deferred/",
            _ => "the daemon moves it to deferred/",
        };
        self.find(path, format!("{} with a name that is not the spool's; {becomes}", status.kind.words()));
    }

    fn dropped(&mut self, raw: &OsStr) {
        let text = raw.to_string_lossy();
        if let Ok(status) = self.spool.storage.status(Dir::Drop, raw)
            && status.kind != Kind::File
        {
            self.foreign(Dir::Drop, raw);
        } else if text.starts_with('.') && !text.starts_with(DROP_WRITING) {
            self.find(
                format!("drop/{}", Line::escaped(&*text)),
                "names that begin with a dot are not taken in",
            );
        }
    }

    fn message(&mut self, dir: Dir, name: Name) {
        if dir == Dir::Tmp {
            return self.unfinished(name);
        }
        let path = format!("{dir}/{name}");
        match self.spool.read(dir, name).and_then(|message| message.verify()) {
            Ok(()) => self.checked.messages += 1,
            // Moved on since the directory was listed.
            Err(Unreadable::Io(error)) if error.io().kind() == io::ErrorKind::NotFound => return,
            Err(why) => self.find(&path, format!("{why}; {}", fate(dir))),
        }
        self.places.entry(name.id).or_default().push((dir, name));
        self.permissions(dir, name, &path);
    }

    fn permissions(&mut self, dir: Dir, name: Name, path: &str) {
        let Ok(status) = self.spool.storage.status(dir, name.to_string().as_ref()) else { return };
        if status.kind == Kind::File && status.mode & 0o077 != 0 {
            self.find(path, format!("mode {:04o} lets others read mail; 0600 is meant", status.mode));
        }
        let me = rustix::process::geteuid().as_raw();
        if me != 0 && status.owner != me {
            self.find(path, format!("belongs to user {}, not to {me}", status.owner));
        }
    }

    fn unfinished(&mut self, name: Name) {
        let text = name.to_string();
        let Ok(file) = self.spool.storage.open(Dir::Tmp, &text) else { return };
        if file.try_lock().unwrap_or(false) && file.is_linked().unwrap_or(false) {
            let problem = "was never acknowledged and nobody writes it; the next start removes it";
            self.find(format!("tmp/{text}"), problem);
        }
    }

    fn twins(&mut self) {
        let places = std::mem::take(&mut self.places);
        for (id, places) in &places {
            // A message that moved while we looked may have been seen twice.
            let there: Vec<String> = places
                .iter()
                .filter(|(dir, name)| self.spool.storage.status(*dir, name.to_string().as_ref()).is_ok())
                .map(|(dir, name)| format!("{dir}/{name}"))
                .collect();
            if let [first, others @ ..] = &there[..]
                && !others.is_empty()
            {
                self.find(first, format!("id {id} stands there more than once: also {}", others.join(", ")));
            }
        }
        self.places = places;
    }

    /// Whether a message is where nobody is about to defer it.
    fn is_out_of_quarantine(&self, id: MessageId) -> bool {
        let at_rest = |(dir, name): &(Dir, Name)| {
            let rests = matches!(dir, Dir::Incoming | Dir::Waiting);
            rests && self.spool.storage.status(*dir, name.to_string().as_ref()).is_ok()
        };
        self.places.get(&id).is_some_and(|places| places.iter().all(at_rest))
    }

    /// Reports and journals without a message. Messages that were in motion are
    /// looked for once more before they are missed.
    fn orphans(&mut self) -> Result<(), SpoolError> {
        let beside = std::mem::take(&mut self.beside);
        let mut known: HashSet<MessageId> = self.places.keys().copied().collect();
        if beside.iter().any(|(_, _, id)| !known.contains(id)) {
            let workers = self.spool.storage.workers().context(|| "list claimed")?;
            for dir in Dir::FIXED.into_iter().chain(workers.into_iter().map(Dir::Claimed)) {
                self.spool.scan(dir, |name, _| known.extend(name.map(|name| name.id)))?;
            }
        }
        for (dir, file, id) in beside {
            let problem = match dir {
                Dir::Journal if !known.contains(&id) => "a journal without its message",
                Dir::Journal => continue,
                _ if !known.contains(&id) => "a report without its message",
                _ if self.is_out_of_quarantine(id) => {
                    "its message is not in deferred/ any more; it goes when that is claimed"
                }
                _ => continue,
            };
            if self.spool.storage.status(dir, file.as_ref()).is_ok() {
                self.find(format!("{dir}/{file}"), problem);
            }
        }
        Ok(())
    }
}

/// What becomes of a message that can't be read.
fn fate(dir: Dir) -> &'static str {
    match dir {
        Dir::Deferred => "it stays for a person to mend or delete",
        _ => "it is deferred when its turn comes",
    }
}
