//! Deliberate errors in the protocol, to prove that the simulation finds them.
//!
//! Compiled for this crate's own tests only: no build of the program has the
//! switch, nor the branches that ask for it. Nothing but a test must ever throw it.

use std::cell::Cell;

/// An error in the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// An accepted message is renamed to `incoming/`, which is not synced.
    NoDirectorySync,
    /// A message is acknowledged without its file having been synced.
    AnswerBeforeSync,
    /// Claimed messages are looked at before the claim is durable.
    ClaimNotDurable,
    /// A message is removed when its delivery begins.
    UnlinkBeforeDelivery,
    /// What was cut short in a worker's hands goes back as if nothing had been.
    StrikeNotMarked,
    /// The journal says that the sender was told before the notice is safe.
    ToldBeforeNotice,
}

thread_local! {
    static CHOSEN: Cell<Option<Sabotage>> = const { Cell::new(None) };
}

/// Whether the error is to be made on this thread.
pub(crate) fn is(error: Sabotage) -> bool {
    CHOSEN.get() == Some(error)
}

/// Makes the error on this thread while `work` runs.
pub(crate) fn during<T>(error: Sabotage, work: impl FnOnce() -> T) -> T {
    CHOSEN.set(Some(error));
    let done = work();
    CHOSEN.set(None);
    done
}
