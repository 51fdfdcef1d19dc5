//! Delivery into Maildirs: `tmp/`, fsync, rename to `new/`, fsync.
//!
//! The name of a file derives from the message's id and the recipient's place
//! in the envelope, so that a repeat finds the first copy as long as it is
//! there. A file must never appear in `new/` before its bytes were compared
//! with the digest of what was accepted.

mod copy;
mod failure;
mod folder;
mod template;
#[cfg(test)]
mod tests;

pub use template::{Template, TemplateError, VALUE_BYTES_MAX};

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use lazaret_envelope::{Envelope, Line};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::outcome::Outcome;
use crate::parcel::{Damaged, Parcel};

use self::failure::{Failure, at};

/// Mode of a message's file: mail is for its owner.
const FILE_MODE: u32 = 0o600;

/// A transport that delivers into Maildirs.
#[derive(Debug)]
pub(crate) struct Maildir {
    template: Template,
    fixed: PathBuf,
    hostname: String,
    /// Held while folders are made.
    making: Mutex<()>,
}

impl Maildir {
    pub(crate) fn new(template: Template, hostname: &str) -> Self {
        let fixed = template.fixed();
        Self { template, fixed, hostname: hostname.to_owned(), making: Mutex::new(()) }
    }

    /// Delivers to the recipient at one place of the envelope.
    pub(crate) fn deliver(&self, parcel: &Parcel<'_>, place: usize) -> Result<Outcome, Damaged> {
        let envelope = &parcel.message.envelope;
        let recipient = &envelope.transaction.recipients[place].address;
        let folder = self.template.path(recipient, &self.hostname);
        match self.put(parcel, &folder, &file_name(envelope, place)) {
            Ok(path) => Ok(Outcome::Delivered(Line::escaped(path.as_os_str().as_encoded_bytes()))),
            Err(Failure::Folder(error)) => Ok(Outcome::Transient(Line::escaped(error.to_string()))),
            Err(Failure::Damaged(damaged)) => Err(damaged),
        }
    }

    /// Puts the message into a Maildir; returns where it lies.
    fn put(&self, parcel: &Parcel<'_>, folder: &Path, name: &str) -> Result<PathBuf, Failure> {
        if parcel.may_repeat
            && let Some((sub, found)) = at("look into", folder, earlier_copy(folder, name))?
        {
            // The try that put it there may have been cut short before its fsync.
            let sub = folder.join(sub);
            at("sync", &sub, folder::sync(&sub))?;
            return Ok(sub.join(found));
        }
        let tmp = folder.join("tmp").join(name);
        let file = at("create", &tmp, self.create(folder, &tmp))?;
        let written = copy::write(parcel, file, &tmp).and_then(|()| publish(folder, &tmp, name));
        if written.is_err() {
            // No more than a left-over; should it stay, the next try replaces it.
            let _ = fs::remove_file(&tmp);
        }
        written
    }

    /// Creates the file in `tmp/`, and the Maildir if it is missing.
    fn create(&self, folder: &Path, tmp: &Path) -> io::Result<fs::File> {
        match create_new(tmp) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let _alone = self.making.lock().unwrap_or_else(PoisonError::into_inner);
                folder::make(folder, &self.fixed)?;
                create_new(tmp)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // Left by a try that was cut short: nobody else uses this name.
                fs::remove_file(tmp)?;
                create_new(tmp)
            }
            result => result,
        }
    }
}

/// `<unix seconds>.<id>_<place>.lazaret`: the same at each try.
fn file_name(envelope: &Envelope, place: usize) -> String {
    format!("{}.{}_{place}.lazaret", envelope.arrived.as_second(), envelope.id)
}

fn create_new(path: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path)
}

/// Looks for what an earlier try may have left: in `new/`, or in `cur/` where a
/// reader moved it and wrote flags behind its name.
fn earlier_copy(folder: &Path, name: &str) -> io::Result<Option<(&'static str, String)>> {
    if folder.join("new").join(name).try_exists()? {
        return Ok(Some(("new", name.to_owned())));
    }
    let entries = match fs::read_dir(folder.join("cur")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    for entry in entries {
        let found = entry?.file_name();
        let Some(found) = found.to_str() else { continue };
        if found.strip_prefix(name).is_some_and(|flags| flags.is_empty() || flags.starts_with(":2,")) {
            return Ok(Some(("cur", found.to_owned())));
        }
    }
    Ok(None)
}

/// Moves the durable file from `tmp/` to `new/`, durably.
fn publish(folder: &Path, tmp: &Path, name: &str) -> Result<PathBuf, Failure> {
    let new = folder.join("new");
    let path = new.join(name);
    match move_to(tmp, &path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // An earlier try got as far as this.
            at("remove", tmp, fs::remove_file(tmp))?;
        }
        moved => at("move the message to", &path, moved)?,
    }
    if let Err(error) = folder::sync(&new) {
        // A second fsync would succeed and lie, so the next try must not find it.
        let _ = fs::remove_file(&path);
        return at("sync", &new, Err(error));
    }
    Ok(path)
}

/// A rename that never replaces; where the file system has none (NFS), link and
/// unlink, as Maildirs were always filled.
fn move_to(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        }
        moved => Ok(moved?),
    }
}
