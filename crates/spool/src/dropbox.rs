//! The drop-box: files that other programs and unprivileged users put into
//! `drop/`, and the way such a file is taken in.
//!
//! What lies there is untrusted and may change while it is read, so its bytes
//! are copied. Taking in is made of steps that leave the message in exactly one
//! place that counts, whenever the machine goes down: the original is moved to
//! `tmp/`, where nobody else can name it; copied, synced, and the copy marked
//! whole; removed, durably; and only then the copy is accepted. The original must
//! never go before its copy is durable.

use std::ffi::OsStr;
use std::io;

use lazaret_envelope::{
    Cause, Digest, Dropped, ENVELOPE_BYTES_MAX, Line, MessageId, Origin, Protocol, TextError, Transaction,
    text_length,
};

use crate::accept::{Accepted, create_locked};
use crate::error::{Context, Severity, SpoolError};
use crate::layout::{DROP_WRITING, Dir, TAKEN};
use crate::name::Name;
use crate::owner::Owner;
use crate::spool::Spool;
use crate::storage::{Kind, Status, StoredFile};

/// Bytes copied at a time.
const COPY_BYTES: usize = 64 << 10;

/// A file of the drop-box that nobody else can name any more.
pub struct Taken {
    owner: Owner,
    id: MessageId,
    /// What it was called, unless an earlier owner had taken it in hand.
    dropped: Option<Line>,
    file: Box<dyn StoredFile>,
    name: String,
    user: u32,
    size: u64,
}

/// Why a dropped file was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The envelope can't be understood.
    #[error("its envelope can't be read: {0}")]
    Envelope(#[from] TextError),
    /// The bytes are not those that its envelope announces.
    #[error("{0}")]
    Content(Line),
    /// The disk.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// Turns the pieces of a dropped message into canonical form.
pub trait Canonical {
    /// Appends the canonical form of `input` to `output`.
    fn push(&mut self, input: &[u8], output: &mut Vec<u8>);
    /// Appends what is still owed at the end.
    fn finish(&mut self, output: &mut Vec<u8>);
}

impl Owner {
    /// Takes a file of the drop-box in hand; `None` if there is nothing to take:
    /// it is gone, still being written, or was no regular file and is set aside
    /// with a report.
    ///
    /// # Errors
    /// A rename failed, or the file can't be opened.
    pub fn take_dropped(&self, raw: &OsStr) -> Result<Option<Taken>, SpoolError> {
        if raw.as_encoded_bytes().starts_with(b".") {
            return Ok(None);
        }
        let storage = &self.spool.storage;
        let shown = Line::escaped(raw.as_encoded_bytes());
        let status = match storage.status(Dir::Drop, raw) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.context(|| format!("look at drop/{shown}"))?,
        };
        if status.kind != Kind::File {
            return self.set_aside(Dir::Drop, raw).map(|()| None);
        }
        let id = self.spool.new_id();
        let name = taken_name(id);
        match storage.rename_foreign((Dir::Drop, raw), (Dir::Tmp, &name)) {
            Ok(()) => {}
            Err(error) => {
                let error = SpoolError::new(format!("rename drop/{shown} to tmp/{name}"), error);
                let error = self.spool.or_displaced(&[Dir::Drop, Dir::Tmp], error);
                return if error.severity() == Severity::Gone { Ok(None) } else { Err(error) };
            }
        }
        self.sync_dir(Dir::Tmp)?;
        self.sync_dir(Dir::Drop)?;
        self.open_taken(id, Some(shown))
    }

    /// What an earlier owner had taken in hand and not finished with.
    ///
    /// # Errors
    /// `tmp/` can't be listed, or a file can't be opened.
    pub fn take_unfinished(&self) -> Result<Vec<Taken>, SpoolError> {
        let mut ids = Vec::new();
        self.spool.scan(Dir::Tmp, |_, raw| ids.extend(taken_id(raw)))?;
        ids.into_iter().filter_map(|id| self.open_taken(id, None).transpose()).collect()
    }

    fn open_taken(&self, id: MessageId, dropped: Option<Line>) -> Result<Option<Taken>, SpoolError> {
        let name = taken_name(id);
        let operation = |verb: &'static str| {
            let name = name.clone();
            move || format!("{verb} tmp/{name}")
        };
        let file = match self.spool.storage.open(Dir::Tmp, &name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let detail = format!(
                    "{} can't be read by the owner of the spool: its mode must allow it",
                    called(dropped.as_ref())
                );
                self.set_aside_because(Dir::Tmp, OsStr::new(&name), id, Cause::BadDrop, &detail)?;
                return Ok(None);
            }
            other => other.context(operation("open"))?,
        };
        let status = file.status().context(operation("look at"))?;
        if status.kind != Kind::File {
            return self.set_aside(Dir::Tmp, OsStr::new(&name)).map(|()| None);
        }
        let Status { owner: user, size, .. } = status;
        Ok(Some(Taken { owner: self.clone(), id, dropped, file, name, user, size }))
    }
}

/// A file that was in the drop-box, in a sentence.
fn called(dropped: Option<&Line>) -> String {
    dropped.map_or("a file in drop/".to_owned(), |name| format!("drop/{name}"))
}

fn taken_name(id: MessageId) -> String {
    format!("{TAKEN}{id}")
}

/// Whether a file in `drop/` is one that `lazaret submit` writes, or wrote.
pub(crate) fn is_submit_writing(raw: &OsStr) -> bool {
    let id = raw.to_str().and_then(|text| text.strip_prefix(DROP_WRITING));
    id.is_some_and(|id| id.parse::<MessageId>().is_ok())
}

/// The id under which a file in `tmp/` is being taken in.
pub(crate) fn taken_id(raw: &OsStr) -> Option<MessageId> {
    raw.to_str()?.strip_prefix(TAKEN)?.parse().ok()
}

impl Taken {
    /// Its size in bytes, envelope and all, when it was opened.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Copies, checks, removes the original durably, and accepts; at most
    /// `size_max` bytes.
    ///
    /// # Errors
    /// The file is no good, and was set aside in `deferred/` with a report; or
    /// the disk failed, and it lies in `drop/` still.
    pub fn accept(self, canonical: &mut dyn Canonical, size_max: u64) -> Result<Accepted, Refused> {
        let copied = self.copy(canonical, size_max);
        let copy = match copied {
            Err(refused @ (Refused::Envelope(_) | Refused::Content(_))) => {
                let dropped = called(self.dropped.as_ref());
                let detail = format!("{dropped} was refused: {refused}");
                let name = OsStr::new(&self.name);
                self.owner.set_aside_because(Dir::Tmp, name, self.id, Cause::BadDrop, &detail)?;
                return Err(refused);
            }
            other => other?,
        };
        let storage = &self.owner.spool.storage;
        storage.unlink(Dir::Tmp, &self.name).context(|| format!("remove tmp/{}", self.name))?;
        self.owner.sync_dir(Dir::Tmp)?;
        Ok(copy.accept()?)
    }

    fn copy(
        &self,
        canonical: &mut dyn Canonical,
        size_max: u64,
    ) -> Result<crate::accept::TakenCopy, Refused> {
        // A copy that was whole before the original could be removed.
        let earlier = Name { taken: true, ..Name::first(self.id).next() };
        self.owner.remove_if_there(Dir::Tmp, &earlier.to_string())?;
        let head = self.read_envelope()?;
        let (dropped, offset) = Dropped::parse(&head)?;
        let mut origin = Origin { protocol: Protocol::Drop, ..dropped.origin.clone() };
        origin.client.get_or_insert_with(|| Line::escaped(format!("uid {}", self.user)));
        let mut draft = self.owner.spool.begin_as(self.id, origin, dropped.transaction.clone())?;
        let mut raw = RawContent { size: 0, hasher: blake3::Hasher::new() };
        let mut output = Vec::new();
        let mut buffer = vec![0; COPY_BYTES];
        let mut position = offset as u64;
        loop {
            let count = self.read(&mut buffer, position)?;
            if count == 0 {
                break;
            }
            position += count as u64;
            raw.take(&buffer[..count]);
            if raw.size > size_max {
                return Err(Refused::Content(Line::escaped(format!(
                    "it is larger than max_size, {size_max} bytes"
                ))));
            }
            output.clear();
            canonical.push(&buffer[..count], &mut output);
            draft.write(&output)?;
        }
        output.clear();
        canonical.finish(&mut output);
        draft.write(&output)?;
        raw.check(&dropped)?;
        Ok(draft.keep_as_taken()?)
    }

    fn read(&self, buffer: &mut [u8], position: u64) -> Result<usize, SpoolError> {
        self.file.read_at(buffer, position).context(|| format!("read tmp/{}", self.name))
    }

    fn read_envelope(&self) -> Result<Vec<u8>, SpoolError> {
        let mut head = Vec::new();
        let mut buffer = vec![0; COPY_BYTES];
        while text_length(&head).is_none() && head.len() < ENVELOPE_BYTES_MAX {
            match self.read(&mut buffer, head.len() as u64)? {
                0 => break,
                count => head.extend_from_slice(&buffer[..count]),
            }
        }
        Ok(head)
    }
}

/// Size and digest of the bytes as they were dropped.
struct RawContent {
    size: u64,
    hasher: blake3::Hasher,
}

impl RawContent {
    fn take(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        self.hasher.update(bytes);
    }

    fn check(&self, dropped: &Dropped) -> Result<(), Refused> {
        if dropped.size.is_some_and(|size| size != self.size) {
            let what = format!(
                "its envelope announces {} bytes, {} are there",
                dropped.size.unwrap_or(0),
                self.size
            );
            return Err(Refused::Content(Line::escaped(what)));
        }
        let found = Digest(*self.hasher.finalize().as_bytes());
        match dropped.digest {
            Some(digest) if digest != found => Err(Refused::Content(Line::escaped(format!(
                "its envelope announces {digest}, it has {found}"
            )))),
            _ => Ok(()),
        }
    }
}

/// A message that an unprivileged user is putting into the drop-box.
pub struct DropDraft {
    spool: Spool,
    file: Box<dyn StoredFile>,
    id: MessageId,
    left: bool,
}

impl Spool {
    /// Starts to put a message into `drop/`, for those who may do no more.
    ///
    /// # Errors
    /// No file can be made there.
    pub fn begin_drop(&self, transaction: Transaction) -> Result<DropDraft, SpoolError> {
        let id = self.new_id();
        let name = format!("{DROP_WRITING}{id}");
        let mut file = create_locked(self, Dir::Drop, &name)?;
        let dropped = Dropped { origin: Protocol::Drop.into(), transaction, size: None, digest: None };
        file.append(dropped.to_text().as_bytes()).context(|| format!("write drop/{name}"))?;
        Ok(DropDraft { spool: self.clone(), file, id, left: false })
    }
}

impl DropDraft {
    /// Appends bytes of the message, in whatever form.
    ///
    /// # Errors
    /// They can't be written.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), SpoolError> {
        self.file.append(bytes).context(|| format!("write drop/{DROP_WRITING}{}", self.id))
    }

    /// Makes the message durable and visible in `drop/`. Who may not read the
    /// directory can't fsync it; syncing the file system through the file can.
    ///
    /// # Errors
    /// It is not durable, and may not be acknowledged.
    pub fn commit(mut self) -> Result<(), SpoolError> {
        let (from, to) = (format!("{DROP_WRITING}{}", self.id), self.id.to_string());
        self.file.sync().context(|| format!("sync drop/{from}"))?;
        let renamed = self.spool.storage.rename((Dir::Drop, &from), (Dir::Drop, &to));
        renamed.context(|| format!("rename drop/{from} to drop/{to}"))?;
        self.left = true;
        self.file.sync_all().context(|| "sync the file system of drop")
    }
}

impl Drop for DropDraft {
    fn drop(&mut self) {
        if !self.left {
            let _ = self.spool.storage.unlink(Dir::Drop, &format!("{DROP_WRITING}{}", self.id));
        }
    }
}
