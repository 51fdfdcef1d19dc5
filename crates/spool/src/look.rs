//! Looks at one name of a spool and tells what is wrong with it.
//!
//! What can be seen only by looking at the whole spool (second names, reports and
//! journals without their message) is [`check`](crate::check())'s. It must never
//! change anything, and say nothing about what is gone when it looks again.

use std::ffi::OsStr;
use std::io;
use std::time::Duration;

use lazaret_envelope::{Cause, Line};

use crate::dropbox::{is_submit_writing, taken_id};
use crate::error::{Context, Severity, SpoolError};
use crate::finding::{Finding, Place, Trouble};
use crate::journal::Journal;
use crate::layout::{
    CONTROL_SOCKET, Dir, FULL_FILE, LOCK_FILE, LOST_AND_FOUND, VERSION_FILE, VERSION_TEXT, WorkerId,
};
use crate::leftover::{journal_id, reported_id};
use crate::message::{Damage, Unreadable};
use crate::name::Name;
use crate::spool::Spool;
use crate::storage::{Kind, Status};

/// How long another program may take to write a file in `drop/` under a name that
/// begins with a dot.
const DROP_WRITING_TIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Bytes at the end of a damaged file that are looked at for zeros.
const TAIL_BYTES: u64 = 64 << 10;

/// Who looks.
pub(crate) struct Look<'a> {
    spool: &'a Spool,
    /// Whose everything should be.
    owner: u32,
    /// Whether messages are read whole.
    digests: bool,
    /// Messages that were found whole.
    pub(crate) messages: u64,
    /// Things in `deferred/` of which is known that they are no whole messages.
    pub(crate) set_aside: u64,
}

/// What is wrong with one thing.
type Troubles = Vec<(Trouble, Line)>;

fn note(troubles: &mut Troubles, trouble: Trouble, detail: impl AsRef<[u8]>) {
    troubles.push((trouble, Line::escaped(detail)));
}

impl<'a> Look<'a> {
    pub(crate) fn new(spool: &'a Spool, digests: bool) -> Result<Self, SpoolError> {
        let top = spool.storage.status(Dir::Top, OsStr::new("."));
        let owner = top.context(|| format!("look at {}", spool.root().display()))?.owner;
        Ok(Self { spool, owner, digests, messages: 0, set_aside: 0 })
    }

    /// Whose everything should be.
    pub(crate) fn owner(&self) -> u32 {
        self.owner
    }

    /// Everything that is wrong at a place.
    pub(crate) fn at(&mut self, place: &Place) -> Vec<Finding> {
        let mut troubles = Troubles::new();
        match self.spool.storage.status(place.dir, &place.name) {
            Ok(status) => self.look(place.dir, &place.name, &status, &mut troubles),
            Err(error) if error.kind() == io::ErrorKind::NotFound => missing(place, &mut troubles),
            Err(error) => note(&mut troubles, Trouble::Unreadable, format!("it can't be looked at: {error}")),
        }
        let finding = |(trouble, detail)| Finding { trouble, place: place.clone(), detail };
        troubles.into_iter().map(finding).collect()
    }

    fn look(&mut self, dir: Dir, raw: &OsStr, status: &Status, troubles: &mut Troubles) {
        let name: Option<Name> = raw.to_str().and_then(|text| text.parse().ok());
        match (dir, name) {
            (Dir::Top, _) => self.look_at_top(raw, status, troubles),
            (Dir::Workers, _) if WorkerId::from_name(raw).is_none() || status.kind != Kind::Directory => {
                foreign(status, troubles);
            }
            (Dir::Workers, _) => self.look_at_rights(dir, raw, status, troubles),
            (Dir::Drop, _) => self.look_at_dropped(raw, status, troubles),
            (Dir::Tmp, name) => self.look_at_tmp(raw, name, status, troubles),
            (Dir::Journal, _) if journal_id(raw).is_some() => self.look_at_journal(raw, status, troubles),
            (Dir::Deferred, None) if reported_id(raw).is_some() => {
                self.look_at_report(raw, status, troubles);
            }
            (Dir::Journal, _) | (_, None) => foreign(status, troubles),
            (dir, Some(name)) => self.look_at_message(dir, name, status, troubles),
        }
    }

    fn look_at_top(&self, raw: &OsStr, status: &Status, troubles: &mut Troubles) {
        let kind = match raw.to_str() {
            _ if directory_named(raw).is_some() => Kind::Directory,
            Some(VERSION_FILE | LOCK_FILE | FULL_FILE) => Kind::File,
            Some(CONTROL_SOCKET) => Kind::Special,
            Some(LOST_AND_FOUND) => return,
            _ => return foreign(status, troubles),
        };
        if status.kind != kind {
            let detail = format!("it is {}, not {}", status.kind.words(), kind.words());
            return note(troubles, Trouble::WrongType, detail);
        }
        self.look_at_rights(Dir::Top, raw, status, troubles);
        if raw == VERSION_FILE {
            self.look_at_version(troubles);
        }
    }

    fn look_at_version(&self, troubles: &mut Troubles) {
        // A little more than is meant is enough to see that it is not that.
        let mut text = vec![0; VERSION_TEXT.len() + 16];
        let read =
            self.spool.storage.open(Dir::Top, VERSION_FILE).and_then(|file| file.read_at(&mut text, 0));
        match read {
            Ok(count) if text[..count] == *VERSION_TEXT.as_bytes() => {}
            Ok(count) => {
                let found = Line::escaped(&text[..count]);
                note(troubles, Trouble::Version, format!("it says \"{found}\" and no version of a spool"));
            }
            Err(error) => note(troubles, Trouble::Unreadable, format!("it can't be read: {error}")),
        }
    }

    /// Mode and owner of a file or directory.
    fn look_at_rights(&self, dir: Dir, raw: &OsStr, status: &Status, troubles: &mut Troubles) {
        let meant = meant_mode(dir, raw, status.mode);
        if status.mode != meant {
            let detail = format!("its mode is {:04o} and should be {meant:04o}", status.mode);
            note(troubles, Trouble::Mode, detail);
        }
        if status.owner != self.owner {
            let detail = format!("it belongs to user {}, and the spool to user {}", status.owner, self.owner);
            note(troubles, Trouble::Owner, detail);
        }
    }

    /// The same for a file that only the spool may have a name for.
    fn look_at_file(&self, dir: Dir, raw: &OsStr, status: &Status, troubles: &mut Troubles) {
        if status.links > 1 {
            // Who has the other name is not known, nor whose rights these are.
            note(troubles, Trouble::HardLink, format!("the file has {} names", status.links));
        } else {
            self.look_at_rights(dir, raw, status, troubles);
        }
    }

    fn look_at_message(&mut self, dir: Dir, name: Name, status: &Status, troubles: &mut Troubles) {
        if dir == Dir::Deferred && self.is_known_as_bad(name) {
            self.set_aside += 1;
            return;
        }
        if status.kind != Kind::File {
            note(troubles, Trouble::NoFile, format!("it is {}, not a regular file", status.kind.words()));
            return;
        }
        self.look_at_file(dir, name.to_string().as_ref(), status, troubles);
        let message = self.spool.read(dir, name);
        let digests = self.digests;
        match message.and_then(|message| if digests { message.verify() } else { Ok(()) }) {
            Ok(()) => self.messages += 1,
            // Moved on since the directory was listed.
            Err(Unreadable::Io(error)) if error.severity() == Severity::Gone => return,
            // Its mode or owner says why.
            Err(Unreadable::Io(error)) if error.severity() == Severity::Forbidden && !troubles.is_empty() => {
            }
            Err(why) => self.tell_damage(dir, name, &why, status.size, troubles),
        }
        let misplaced = match dir {
            Dir::Claimed(_) | Dir::Outbound => name.taken || name.due.is_some() || name.cause.is_some(),
            _ => name.taken,
        };
        if misplaced {
            note(troubles, Trouble::Misplaced, "its name has a mark that does not belong here");
        }
    }

    /// Whether it is deferred because it is no whole message: then that is known,
    /// and nothing of it has to be right.
    fn is_known_as_bad(&self, name: Name) -> bool {
        let reported = || self.spool.report(name.id).ok().flatten().map(|report| report.cause);
        matches!(
            name.cause.or_else(reported),
            Some(
                Cause::BadDrop
                    | Cause::Damaged
                    | Cause::Envelope
                    | Cause::Foreign
                    | Cause::Duplicate
                    | Cause::LeftOver
            )
        )
    }

    fn tell_damage(&self, dir: Dir, name: Name, why: &Unreadable, size: u64, troubles: &mut Troubles) {
        let trouble = match why {
            Unreadable::Io(_) => Trouble::Unreadable,
            Unreadable::Foreign(_) => Trouble::NoFile,
            Unreadable::Envelope(_) => Trouble::Envelope,
            Unreadable::Damaged(Damage::OtherMessage(_)) => Trouble::OtherMessage,
            Unreadable::Damaged(Damage::Size { .. }) => Trouble::Size,
            Unreadable::Damaged(Damage::Digest { .. }) => Trouble::Digest,
        };
        match self.zeros_at_end(dir, name, size) {
            Ok(zeros) if zeros > 0 => {
                note(troubles, Trouble::NulTail, format!("its last {zeros} bytes are zeros: {why}"));
            }
            Ok(_) | Err(_) => note(troubles, trouble, why.to_string()),
        }
    }

    fn zeros_at_end(&self, dir: Dir, name: Name, size: u64) -> io::Result<usize> {
        let file = self.spool.storage.open(dir, &name.to_string())?;
        let length = size.min(TAIL_BYTES);
        let mut tail = vec![0xff; usize::try_from(length).unwrap_or(0)];
        file.read_at(&mut tail, size - length)?;
        Ok(tail.iter().rev().take_while(|byte| **byte == 0).count())
    }

    fn look_at_report(&self, raw: &OsStr, status: &Status, troubles: &mut Troubles) {
        if status.kind != Kind::File {
            return foreign(status, troubles);
        }
        self.look_at_file(Dir::Deferred, raw, status, troubles);
        let Some(id) = reported_id(raw) else { return };
        match self.spool.report(id) {
            Ok(Some(_)) => {}
            Ok(None) => note(troubles, Trouble::Report, "the report can't be read"),
            Err(error) if error.severity() == Severity::Forbidden && !troubles.is_empty() => {}
            Err(error) => note(troubles, Trouble::Unreadable, error.to_string()),
        }
    }

    fn look_at_journal(&self, raw: &OsStr, status: &Status, troubles: &mut Troubles) {
        if status.kind != Kind::File {
            return foreign(status, troubles);
        }
        self.look_at_file(Dir::Journal, raw, status, troubles);
        let Some(text) = raw.to_str() else { return };
        let storage = &self.spool.storage;
        match storage.open(Dir::Journal, text).and_then(|file| Journal::says_nothing(&*file)) {
            Ok(false) => {}
            Ok(true) => note(troubles, Trouble::Journal, "not one line of the journal can be read"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !troubles.is_empty() => {}
            Err(error) => note(troubles, Trouble::Unreadable, format!("it can't be read: {error}")),
        }
    }

    fn look_at_tmp(&self, raw: &OsStr, name: Option<Name>, status: &Status, troubles: &mut Troubles) {
        match name {
            None if taken_id(raw).is_some() => {}
            Some(name) if status.kind == Kind::File => {
                if !name.taken && self.is_abandoned(Dir::Tmp, raw) {
                    let detail = "its writer ended before it was accepted; it was never acknowledged";
                    note(troubles, Trouble::Unfinished, detail);
                }
            }
            _ => foreign(status, troubles),
        }
    }

    /// What is in `drop/` is others', and intake deals with all of it but this.
    fn look_at_dropped(&self, raw: &OsStr, status: &Status, troubles: &mut Troubles) {
        let age = self.spool.now().duration_since(status.modified);
        if status.kind != Kind::File {
            foreign(status, troubles);
        } else if is_submit_writing(raw) {
            if self.is_abandoned(Dir::Drop, raw) {
                let detail = "its `lazaret submit` ended before it was whole; it was never acknowledged";
                note(troubles, Trouble::Unfinished, detail);
            }
        } else if raw.as_encoded_bytes().starts_with(b".")
            && Duration::try_from(age).is_ok_and(|age| age > DROP_WRITING_TIME_MAX)
        {
            let detail =
                format!("nobody has gone on writing it since {}", status.modified.strftime("%FT%TZ"));
            note(troubles, Trouble::Unfinished, detail);
        }
    }

    /// Whether the file is there, and its writer, who would hold a lock, is not.
    fn is_abandoned(&self, dir: Dir, raw: &OsStr) -> bool {
        let file = raw.to_str().map(|text| self.spool.storage.open(dir, text));
        let Some(Ok(file)) = file else { return false };
        file.try_lock().unwrap_or(false) && file.is_linked().unwrap_or(false)
    }
}

/// The directory of the spool that a name at the top stands for.
pub(crate) fn directory_named(raw: &OsStr) -> Option<Dir> {
    let top = std::iter::once(Dir::Top);
    top.chain(Dir::below_top()).find(|dir| *raw == *dir.to_string())
}

/// The mode that what has `mode` should have.
pub(crate) fn meant_mode(dir: Dir, raw: &OsStr, mode: u32) -> u32 {
    match dir {
        Dir::Top => match (directory_named(raw), raw == VERSION_FILE) {
            (Some(directory), _) => directory.mended_mode(mode),
            // Everybody may know the version, and nobody may hold the lock.
            (None, true) => mode & !0o022 | 0o400,
            (None, false) => mode & !0o077,
        },
        Dir::Workers => dir.mended_mode(mode),
        _ => dir.file_mode(),
    }
}

/// What should be there and is not.
fn missing(place: &Place, troubles: &mut Troubles) {
    if place.dir != Dir::Top {
        return;
    }
    if place.name == VERSION_FILE {
        note(troubles, Trouble::Version, "it is not there");
    } else if directory_named(&place.name).is_some() {
        note(troubles, Trouble::MissingDirectory, "the directory is not there");
    }
}

fn foreign(status: &Status, troubles: &mut Troubles) {
    let detail = format!("{} with a name that is not the spool's", status.kind.words());
    note(troubles, Trouble::Foreign, detail);
}
