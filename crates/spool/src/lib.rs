//! The spool: the only code that changes the queue on disk.
//!
//! A message is one file; its directory is its state, its name carries its
//! counts, and a change of state is one rename. [`Spool`] can accept mail;
//! only the one [`Owner`] can move it: it hands out [`Claim`]s and
//! [`Outbound`]s, whose transitions take `self`, so that what was moved once
//! can't be moved again. `queue-layout.md` is the normative text.
//!
//! No other crate may rename, create or unlink anything in a spool.

#![forbid(unsafe_code)]

mod accept;
mod check;
mod disk;
mod dropbox;
mod error;
mod finding;
mod ground;
mod history;
mod journal;
pub mod layout;
mod leftover;
mod length;
mod look;
mod message;
mod name;
mod operator;
mod owner;
mod quarantine;
mod recovery;
mod repair;
#[cfg(test)]
mod sabotage;
#[cfg(test)]
mod simulation;
mod spool;
mod state;
pub mod storage;
mod table;
mod throttle;
mod twins;
mod window;

pub use accept::{Accepted, Draft};
pub use check::{CheckOptions, Checked, FINDINGS_MAX, check};
pub use disk::Disk;
pub use dropbox::{Canonical, DropDraft, Refused, Taken};
pub use error::{Severity, SpoolError};
pub use finding::{Finding, Place, Remedy, Trouble, Twins};
pub use ground::{Doubt, doubt};
pub use history::{History, Told};
pub use journal::{Done, JOURNAL_WORDS, Journal, Key};
pub use layout::{Dir, WorkerId};
pub use message::{Content, Damage, Message, Unreadable};
pub use name::Name;
pub use operator::{Deferred, OperatorError, Quarantined};
pub use owner::{Owner, TakeError};
pub use recovery::Recovered;
pub use repair::{Outcome, Repaired};
pub use spool::{Counts, OpenError, Spool};
pub use state::{Claim, Outbound, Waiting};
pub use table::{INTERRUPTIONS_MAX, STRIKES_MAX};
pub use throttle::Throttle;
pub use window::Window;
