//! Writes a message into its file in `tmp/` and makes it durable.
//!
//! It must never return without an error where the bytes read were not those
//! that were accepted, or are not durable.

use std::fs::File;
use std::path::Path;

use super::failure::{Failure, at};
use crate::copy::{CopyError, LineEnds, copy};
use crate::parcel::Parcel;

/// Writes the trace field and the message, with LF line ends.
pub(super) fn write(parcel: &Parcel<'_>, mut file: File, path: &Path) -> Result<(), Failure> {
    match copy(parcel, parcel.trace, LineEnds::Lf, &mut file) {
        Ok(()) => at("sync", path, file.sync_all()),
        Err(CopyError::Write(error)) => at("write", path, Err(error)),
        Err(CopyError::Damaged(damaged)) => Err(Failure::Damaged(damaged)),
    }
}
