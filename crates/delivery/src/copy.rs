//! Copies a message, with what stands on top of it, into a file.
//!
//! It must never return without an error where the bytes read were not those
//! that were accepted.

use std::fs::File;
use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use crate::lines::Lines;
use crate::parcel::{Damaged, Parcel};

/// How the lines of a copy end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LineEnds {
    /// `lf`: as programs of this system expect. A CR or LF that is not part of
    /// a CRLF stays.
    #[default]
    Lf,
    /// `crlf`: as mail is sent.
    Crlf,
}

/// Why a copy is not whole.
#[derive(Debug)]
pub(crate) enum CopyError {
    /// It can't be written.
    Write(io::Error),
    /// The bytes are not those that were accepted.
    Damaged(Damaged),
}

/// Writes `top`, which has CRLF line ends, and the message.
pub(crate) fn copy(
    parcel: &Parcel<'_>,
    top: &str,
    line_ends: LineEnds,
    file: &mut File,
) -> Result<(), CopyError> {
    let mut lines = Lines::default();
    let mut out = Vec::new();
    let mut convert = |bytes: &[u8], out: &mut Vec<u8>| match line_ends {
        LineEnds::Lf => lines.convert(bytes, out),
        LineEnds::Crlf => out.extend_from_slice(bytes),
    };
    convert(top.as_bytes(), &mut out);
    let mut blocks = parcel.blocks();
    while let Some(block) = blocks.next().map_err(CopyError::Damaged)? {
        convert(block, &mut out);
        file.write_all(&out).map_err(CopyError::Write)?;
        out.clear();
    }
    lines.finish(&mut out);
    file.write_all(&out).map_err(CopyError::Write)
}
