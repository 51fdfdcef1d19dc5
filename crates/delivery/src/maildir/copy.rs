//! Writes a message into its file in `tmp/` and makes it durable.
//!
//! It must never return without an error where the bytes read were not those
//! that were accepted, or are not durable.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use super::lines::Lines;
use super::{Failure, at};
use crate::parcel::Parcel;

/// Writes the trace field and the message, with LF line ends.
pub(super) fn write(parcel: &Parcel<'_>, mut file: File, path: &Path) -> Result<(), Failure> {
    let mut lines = Lines::default();
    let mut out = Vec::new();
    lines.convert(parcel.trace.as_bytes(), &mut out);
    let mut blocks = parcel.blocks();
    while let Some(block) = blocks.next()? {
        lines.convert(block, &mut out);
        at("write", path, file.write_all(&out))?;
        out.clear();
    }
    lines.finish(&mut out);
    at("write", path, file.write_all(&out))?;
    at("sync", path, file.sync_all())
}
