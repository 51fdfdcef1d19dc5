//! Where mail comes in: SMTP and LMTP listeners, the `submit` command, and the
//! drop-box.
//!
//! What all three have in common is the spool's order of steps (durable, then
//! visible, then answered) and that trouble of our own is never the sender's:
//! it is answered 4xx or exit status 75, so that the mail is tried again.
//! Nothing here must ever look at what a message says, but at the header of what is
//! handed to `submit`, or move one that was accepted.

#![forbid(unsafe_code)]

mod canonical;
pub mod config;
pub mod dropbox;
pub mod gate;
pub mod listener;
mod network;
pub mod room;
pub mod sendmail;
mod size_max;
pub mod submit;
#[cfg(test)]
mod testing;
pub mod tls;
pub mod watch;

pub use config::{
    LineEndPolicy, ListenAddress, ListenConfig, ListenProtocol, PROGRESS_BYTES, SOCKET_PATH_BYTES_MAX,
    SocketMode,
};
pub use dropbox::{DropWatcher, SWEEP_FILES_MAX, Sweep};
pub use gate::{Counters, Denied, IntakeGate, Pause, Reason};
pub use listener::{Listener, ListenerHandle};
pub use network::Clients;
pub use room::Reserve;
pub use sendmail::{Mode, SendmailArgs, UsageError};
pub use size_max::SizeMax;
pub use submit::{Queued, Submission, SubmitError, converse, submit, user_name};
pub use tls::{Identity, TlsConfig, TlsError};
pub use watch::Watch;
