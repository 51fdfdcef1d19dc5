//! Where messages lie on the simulated disk.
//!
//! Found without the spool's own code, so that it can't hide what it overlooks.

use std::collections::BTreeSet;

use lazaret_envelope::{Cause, Digest, Envelope, MessageId, Report};

use super::disk::{Key, State};
use crate::layout::{REPORT_SUFFIX, TAKEN};
use crate::{Dir, Name};

/// A name that stands for a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) dir: Dir,
    pub(super) text: String,
    pub(super) name: Option<Name>,
    pub(super) label: Option<u32>,
    /// What is wrong with it as a message.
    pub(super) damage: Option<String>,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.dir, self.text)
    }
}

/// Every name that stands for a message: not journals and reports, not what is
/// still being written, and not what a repair set aside as left over.
pub(super) fn places(disk: &State) -> Vec<Place> {
    let bytes = |inode: u64| &disk.inodes[&inode].cached;
    let reports = disk.names().filter(|(key, _)| key.0 == Some(Dir::Deferred));
    let left_over: BTreeSet<MessageId> = reports
        .filter_map(|(_, inode)| Report::parse(bytes(inode)).ok())
        .filter(|report| report.cause == Cause::LeftOver)
        .map(|report| report.id)
        .collect();
    let mut places: Vec<Place> = disk.names().filter_map(|(key, inode)| place(key, bytes(inode))).collect();
    let is_left_over = |name: Name| name.cause == Some(Cause::LeftOver) || left_over.contains(&name.id);
    places.retain(|place| !place.name.is_some_and(is_left_over));
    places
}

fn place(key: &Key, bytes: &[u8]) -> Option<Place> {
    let (dir, text) = (key.0?, key.1.clone());
    let name: Option<Name> = text.parse().ok();
    let counts = match dir {
        Dir::Journal | Dir::Top => false,
        Dir::Deferred => !text.ends_with(REPORT_SUFFIX),
        Dir::Tmp => name.is_none_or(|name| name.taken),
        Dir::Drop => !text.starts_with('.'),
        _ => true,
    };
    let damage = match dir {
        Dir::Drop => None,
        Dir::Tmp if text.starts_with(TAKEN) => None,
        _ => damage(name, bytes),
    };
    counts.then(|| Place { dir, text, name, label: label(bytes), damage })
}

/// The number in a message's content.
fn label(bytes: &[u8]) -> Option<u32> {
    const MARK: &[u8] = b"Mail ";
    let at = bytes.windows(MARK.len()).position(|window| window == MARK)?;
    let digits = bytes[at + MARK.len()..].split(|byte| *byte == b'.').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn damage(name: Option<Name>, bytes: &[u8]) -> Option<String> {
    let Some(name) = name else { return Some("no message's name".to_owned()) };
    let (envelope, offset) = match Envelope::parse(bytes) {
        Ok(parsed) => parsed,
        Err(error) => return Some(error.to_string()),
    };
    let content = &bytes[offset..];
    if envelope.id != name.id {
        Some(format!("holds message {}", envelope.id))
    } else if envelope.content.size != content.len() as u64 {
        Some(format!("{} bytes instead of {}", content.len(), envelope.content.size))
    } else if envelope.content.digest != Digest(*blake3::hash(content).as_bytes()) {
        Some("the digest is wrong".to_owned())
    } else {
        None
    }
}
