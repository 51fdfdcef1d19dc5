//! A message's file, opened: its envelope, and its bytes as they were accepted.
//!
//! Whoever reads a message to hand it on reads through [`Content`], which
//! knows at the end whether the bytes were the right ones. Nothing here must
//! look at what the bytes say.

use std::io::{self, Read};
use std::os::fd::BorrowedFd;

use lazaret_envelope::{Cause, Digest, ENVELOPE_BYTES_MAX, Envelope, MessageId, TextError, text_length};

use crate::error::{Context, SpoolError};
use crate::layout::Dir;
use crate::name::Name;
use crate::spool::Spool;
use crate::storage::{Kind, StoredFile};

/// Bytes read at first to find the envelope; most are shorter.
const HEAD_BYTES: usize = 4 << 10;

/// An open message.
pub struct Message {
    file: Box<dyn StoredFile>,
    /// Its envelope.
    pub envelope: Envelope,
    offset: u64,
}

/// Why a file can't be taken for a message.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It is no regular file.
    #[error("it is {}, not a regular file", .0.words())]
    Foreign(Kind),
    /// The envelope can't be understood.
    #[error("the envelope can't be read: {0}")]
    Envelope(#[from] TextError),
    /// Envelope and file contradict each other.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The file can't be opened or read.
    #[error(transparent)]
    Io(#[from] SpoolError),
}

/// How envelope and file contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The envelope speaks of another message.
    #[error("the file holds another message, {0}")]
    OtherMessage(MessageId),
    /// There are more bytes, or fewer.
    #[error("{accepted} bytes were accepted, {found} are there")]
    Size {
        /// As the envelope says.
        accepted: u64,
        /// In the file.
        found: u64,
    },
    /// The bytes are others.
    #[error("the bytes are not those that were accepted: digest {found} instead of {accepted}")]
    Digest {
        /// As the envelope says.
        accepted: Digest,
        /// Of the bytes.
        found: Digest,
    },
}

impl Unreadable {
    /// The cause to defer it for; `None` where the file itself can't be reached,
    /// which says nothing about the message.
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        match self {
            Self::Foreign(_) => Some(Cause::Foreign),
            Self::Envelope(_) => Some(Cause::Envelope),
            Self::Damaged(_) => Some(Cause::Damaged),
            Self::Io(_) => None,
        }
    }
}

impl Spool {
    /// Opens a message.
    ///
    /// # Errors
    /// It can't be read, or is no message.
    pub fn read(&self, dir: Dir, name: Name) -> Result<Message, Unreadable> {
        let text = name.to_string();
        let operation = |verb: &'static str| {
            let text = text.clone();
            move || format!("{verb} {dir}/{text}")
        };
        let kind = self.storage.status(dir, text.as_ref()).context(operation("look at"))?.kind;
        if kind != Kind::File {
            return Err(Unreadable::Foreign(kind));
        }
        let file = self.storage.open(dir, &text).context(operation("open"))?;
        let head = read_head(&*file).context(operation("read"))?;
        let (envelope, offset) = Envelope::parse(&head)?;
        let message = Message { envelope, offset: offset as u64, file };
        message.fits(name, message.file.status().context(operation("look at"))?.size)?;
        Ok(message)
    }
}

/// Reads through the line `end` of the envelope, or as much as there is.
fn read_head(file: &dyn StoredFile) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut want = HEAD_BYTES;
    loop {
        let have = head.len();
        head.resize(want, 0);
        let got = read_full(file, &mut head[have..], have as u64)?;
        head.truncate(have + got);
        if text_length(&head).is_some() || head.len() < want || want >= ENVELOPE_BYTES_MAX {
            return Ok(head);
        }
        want *= 4;
    }
}

/// Fills `buffer` as far as the file goes.
fn read_full(file: &dyn StoredFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

impl Message {
    /// Whether the envelope speaks of this file.
    fn fits(&self, name: Name, file_size: u64) -> Result<(), Unreadable> {
        let Envelope { id, content, .. } = &self.envelope;
        if *id != name.id {
            return Err(Damage::OtherMessage(*id).into());
        }
        let found = file_size.saturating_sub(self.offset);
        if found != content.size {
            return Err(Damage::Size { accepted: content.size, found }.into());
        }
        Ok(())
    }

    /// Where the message's bytes begin in the file.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The message's bytes, hashed as they are read.
    #[must_use]
    pub fn content(&self) -> Content<'_> {
        Content { message: self, position: 0, hasher: blake3::Hasher::new() }
    }

    /// Reads the whole message and compares its digest.
    ///
    /// # Errors
    /// It can't be read, or its bytes are not those that were accepted.
    pub fn verify(&self) -> Result<(), Unreadable> {
        let mut content = self.content();
        io::copy(&mut content, &mut io::sink()).context(|| format!("read message {}", self.envelope.id))?;
        content.finish()
    }

    /// The open file, to hand to a cell.
    #[must_use]
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.file.descriptor()
    }
}

/// Reads the bytes of a message.
pub struct Content<'a> {
    message: &'a Message,
    position: u64,
    hasher: blake3::Hasher,
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.message.envelope.content.size - self.position;
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.message.file.read_at(&mut buffer[..most], self.message.offset + self.position)?;
        self.hasher.update(&buffer[..count]);
        self.position += count as u64;
        Ok(count)
    }
}

impl Content<'_> {
    /// To be asked when everything was read, before it is passed on for good:
    /// were these the bytes that were accepted?
    ///
    /// # Errors
    /// They were not.
    pub fn finish(&self) -> Result<(), Unreadable> {
        let expected = self.message.envelope.content;
        let found = Digest(*self.hasher.finalize().as_bytes());
        if self.position == expected.size && found == expected.digest {
            return Ok(());
        }
        Err(Damage::Digest { accepted: expected.digest, found }.into())
    }
}
