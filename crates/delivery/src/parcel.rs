//! A message in the hands of a transport, and its bytes block by block.
//!
//! The end of the bytes is told only after they were compared with the digest
//! of what was accepted, so that no transport must ever remember to ask.

use std::io::{ErrorKind, Read};

use lazaret_envelope::Line;
use lazaret_smtp::data::DataFit;
use lazaret_spool::{Content, Message};

/// Bytes of a block.
pub(crate) const BLOCK_BYTES: usize = 64 << 10;

/// A message to deliver.
pub(crate) struct Parcel<'a> {
    /// The message.
    pub(crate) message: &'a Message,
    /// The `Received:` field to put on top of it.
    pub(crate) trace: &'a str,
    /// An earlier delivery may have been cut short: look for what it did.
    pub(crate) may_repeat: bool,
}

/// The bytes in the spool are not those that were accepted, or can't be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Damaged(pub(crate) Line);

/// The bytes of a message, without the field on top.
pub(crate) struct Blocks<'a> {
    content: Content<'a>,
    buffer: Vec<u8>,
}

impl Parcel<'_> {
    /// Starts to read the message.
    pub(crate) fn blocks(&self) -> Blocks<'_> {
        // No more than the message needs: most are small.
        let size = usize::try_from(self.message.envelope.content.size).unwrap_or(usize::MAX);
        Blocks { content: self.message.content(), buffer: vec![0; size.clamp(1, BLOCK_BYTES)] }
    }

    /// Whether the message consists of lines of text, as DATA wants it. One that can't be
    /// read may be called so: whoever delivers it will find out.
    pub(crate) fn fits_data(&self) -> bool {
        let (mut fit, mut blocks) = (DataFit::default(), self.blocks());
        while let Ok(Some(block)) = blocks.next() {
            if !fit.look(block) {
                break;
            }
        }
        fit.fits()
    }
}

impl Blocks<'_> {
    /// The next block; `None` when all were given and they were the right ones.
    pub(crate) fn next(&mut self) -> Result<Option<&[u8]>, Damaged> {
        loop {
            match self.content.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(count) => return Ok(Some(&self.buffer[..count])),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(Damaged(Line::escaped(format!("the bytes can't be read: {error}"))));
                }
            }
        }
        let same = self.content.finish();
        same.map(|()| None).map_err(|error| Damaged(Line::escaped(error.to_string())))
    }
}
