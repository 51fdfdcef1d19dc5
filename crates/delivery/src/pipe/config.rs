//! `[transport.NAME]` with `type = "pipe"`, as it is written.
//!
//! Each key is documented with its default and its unit. These types must never
//! accept a key that means nothing.

use std::path::PathBuf;
use std::time::Duration;

use lazaret_envelope::{ByteSize, Span};
use serde::{Deserialize, Serialize};

use crate::copy::LineEnds;

/// Most recipients that one program is started for: their addresses are
/// arguments, of which the kernel takes 2 MiB at least.
pub const PIPE_RECIPIENTS_MAX: usize = 1000;

/// `[transport.NAME]` with `type = "pipe"`: a program is started for each
/// message and reads it from its standard input.
///
/// No shell is involved. The environment holds `PATH`, `SENDER`, `MESSAGE_ID`
/// (ours, as in the log), and, where there is just one, `RECIPIENT`; nothing
/// else. What the program writes to standard output and standard error becomes
/// the reply, of which 1 KiB is kept.
///
/// Status 0 is delivered; others are those of sysexits(3), read as Postfix's
/// pipe(8) does: 71, 74 and 75 mean later, the rest of 64 to 78 never. An output
/// that begins with a status such as `4.3.1` or `5.7.1` (RFC 3463) overrides a
/// status other than 0. What sysexits(3) does not know, and a program that a
/// signal ended, speak of the program and not of the message: later.
///
/// What the program leaves behind in its process group ends with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PipeConfig {
    /// The program, with an absolute path, and its arguments. `{sender}` is the
    /// return address, empty for a bounce; `{recipients}`, an argument of its
    /// own, becomes as many arguments as there are recipients. With
    /// `per_recipient` there are also `{local}` (as it is meant, without quotes),
    /// `{domain}` (in lower case) and `{address}` (as it was given). An address
    /// that begins with a hyphen and would begin an argument could pass for an
    /// option: such a recipient is refused (5.1.3), and a message from such a
    /// sender (5.1.7), unless an argument `--` stands somewhere before. No default.
    pub command: Vec<String>,
    /// Starts the program once for each recipient. Default `false`: once for up
    /// to `recipients_per_transaction` of a message.
    #[serde(default)]
    pub per_recipient: bool,
    /// Most recipients that the program is started for at once, up to 1000. They
    /// share its exit status. Default 50.
    #[serde(default = "PipeConfig::default_recipients")]
    pub recipients_per_transaction: usize,
    /// How the lines of the message end: `"lf"` or `"crlf"`. Default `"lf"`.
    #[serde(default)]
    pub line_ends: LineEnds,
    /// Puts a `Return-Path:` field on top. Default `false`.
    #[serde(default)]
    pub return_path: bool,
    /// Puts a `Delivered-To:` field on top; needs `per_recipient`. Default
    /// `false`.
    #[serde(default)]
    pub delivered_to: bool,
    /// How long the program may take. Then its process group gets SIGTERM, and 5
    /// seconds later SIGKILL; the message comes back later. Default `10m`.
    #[serde(default = "PipeConfig::default_timeout", with = "lazaret_envelope::span")]
    pub timeout: Duration,
    /// Address space that each of its processes may take (`RLIMIT_AS`). Default:
    /// as much as the daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<ByteSize>,
    /// CPU time that each of its processes may take, in whole seconds
    /// (`RLIMIT_CPU`). Default: as much as the daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_time: Option<Span>,
    /// The user as whom it runs, by name in `/etc/passwd` or by number; only root
    /// can change users. Default: the daemon's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The group, by name in `/etc/group` or by number. Default: the user's, or
    /// the daemon's where there is no `user`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Its working directory, an absolute path. Default `/`.
    #[serde(default = "PipeConfig::default_directory")]
    pub directory: PathBuf,
    /// Programs at a time. Default 4.
    #[serde(default = "PipeConfig::default_workers")]
    pub workers: usize,
    /// Most messages that wait in memory for a delivery; further ones wait on
    /// disk. Default 1000.
    #[serde(default = "crate::config::limits::default_queue")]
    pub queue: usize,
}

impl PipeConfig {
    fn default_recipients() -> usize {
        50
    }

    fn default_timeout() -> Duration {
        Duration::from_secs(600)
    }

    fn default_directory() -> PathBuf {
        PathBuf::from("/")
    }

    fn default_workers() -> usize {
        4
    }
}
