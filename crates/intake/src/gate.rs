//! Whether new mail may come in at all, and the count of what did.
//!
//! One gate is shared by every listener and the drop-box: the program closes it
//! at an operator's word or under memory pressure, and it closes itself while
//! there is no room, or for good when the disk fails. It must never open again by
//! itself after the disk has failed: what a failed fsync means is known only after
//! a restart.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use lazaret_smtp::Reply;
use lazaret_spool::{Severity, Spool, SpoolError, Throttle};
use tracing::{error, info, warn};

use crate::room::{Reserve, RoomWatch};

/// Why intake is paused. Each is set and lifted on its own, so that the end of
/// one does not undo another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// `lazaret pause intake`.
    Operator,
    /// The machine is short of memory.
    Pressure,
    /// The spool's disk failed; lifted by a restart only.
    Broken,
}

impl Pause {
    const ALL: [Self; 3] = [Self::Broken, Self::Operator, Self::Pressure];

    fn bit(self) -> u8 {
        1 << self as u8
    }

    /// The reason in words, for replies and status.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Operator => "paused by an operator",
            Self::Pressure => "paused while the machine is short of memory",
            Self::Broken => "stopped: the spool can't be written",
        }
    }
}

/// Why mail was not accepted, for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The gate is closed.
    Paused,
    /// Too little room on the disk.
    NoRoom,
    /// Too many messages are on their way.
    QueueFull,
    /// No descriptor left to open a file with.
    NoFiles,
    /// The disk failed.
    Broken,
    /// The message is larger than the limit.
    TooLarge,
    /// The message has bare line ends, and the listener rejects them.
    BareLineEnds,
    /// A listener has as many sessions as it may.
    TooManySessions,
    /// A dropped file is no message, or not the one that its envelope announces.
    BadDrop,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 9] = [
        Self::Paused,
        Self::NoRoom,
        Self::QueueFull,
        Self::NoFiles,
        Self::Broken,
        Self::TooLarge,
        Self::BareLineEnds,
        Self::TooManySessions,
        Self::BadDrop,
    ];

    /// One word for logs and metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::NoRoom => "no-room",
            Self::QueueFull => "queue-full",
            Self::NoFiles => "no-files",
            Self::Broken => "broken",
            Self::TooLarge => "too-large",
            Self::BareLineEnds => "bare-line-ends",
            Self::TooManySessions => "too-many-sessions",
            Self::BadDrop => "bad-drop",
        }
    }
}

/// Why a message can't come in now. It may come again: no reply is a 5xx.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// The gate is closed.
    Paused(Pause),
    /// Too little room.
    NoRoom,
    /// Too many messages are on their way.
    QueueFull,
    /// No descriptor left.
    NoFiles,
    /// The disk failed.
    Broken,
}

impl Denied {
    /// What it counts as.
    #[must_use]
    pub fn reason(self) -> Reason {
        match self {
            Self::Paused(_) => Reason::Paused,
            Self::NoRoom => Reason::NoRoom,
            Self::QueueFull => Reason::QueueFull,
            Self::NoFiles => Reason::NoFiles,
            Self::Broken => Reason::Broken,
        }
    }

    /// What the client is told.
    #[must_use]
    pub fn reply(self) -> Reply {
        match self {
            Self::Paused(pause) => Reply::new(451, [4, 3, 2], format!("intake is {}", pause.words())),
            Self::NoRoom => Reply::new(452, [4, 3, 1], "not enough room in the spool, try again later"),
            Self::QueueFull => Reply::new(452, [4, 3, 1], "too many messages in the queue, try again later"),
            Self::NoFiles => Reply::new(451, [4, 3, 2], "too many open files, try again later"),
            Self::Broken => Reply::new(451, [4, 3, 0], "the spool can't be written, try again later"),
        }
    }
}

/// What the gate has counted since the program started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Sessions that are open now.
    pub sessions: u64,
    /// Messages accepted by listeners and from the drop-box.
    pub accepted: u64,
    /// Refusals, in the order of [`Reason::ALL`].
    pub refused: [u64; Reason::ALL.len()],
}

/// What can be done where there are too few descriptors.
pub(crate) const OUT_OF_FILES: &str =
    "raise the limit of open files (LimitNOFILE= of systemd, ulimit -n), or lower listen.sessions";

/// Called with the error that broke the spool.
type OnBroken = Box<dyn Fn(&SpoolError) + Send + Sync>;

/// The gate.
pub struct IntakeGate {
    room: RoomWatch,
    on_broken: OnBroken,
    paused: AtomicU8,
    /// Errors that are about room, or about descriptors.
    failing: Throttle,
    sessions: AtomicU64,
    accepted: AtomicU64,
    refused: [AtomicU64; Reason::ALL.len()],
}

impl IntakeGate {
    /// An open gate. `on_broken` is called once, from whatever thread met the
    /// error, and should make the program stop; it must not wait for a listener.
    #[must_use]
    pub fn new(reserve: Reserve, on_broken: impl Fn(&SpoolError) + Send + Sync + 'static) -> Self {
        Self {
            room: RoomWatch::new(reserve),
            on_broken: Box::new(on_broken),
            paused: AtomicU8::new(0),
            failing: Throttle::default(),
            sessions: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            refused: Default::default(),
        }
    }

    /// New mail may use no more room than this leaves, from now on.
    pub fn keep_free(&self, reserve: Reserve) {
        self.room.keep_free(reserve);
    }

    /// Closes the gate for a reason; whether it was not closed for it before.
    pub fn pause(&self, pause: Pause) -> bool {
        let changed = self.paused.fetch_or(pause.bit(), Ordering::SeqCst) & pause.bit() == 0;
        if changed {
            info!(why = pause.words(), "intake closed");
        }
        changed
    }

    /// Takes a reason away again; whether it was there. A broken disk stays.
    pub fn resume(&self, pause: Pause) -> bool {
        let bit = pause.bit() & !Pause::Broken.bit();
        let changed = self.paused.fetch_and(!bit, Ordering::SeqCst) & bit != 0;
        if changed {
            info!(was = pause.words(), "intake goes on");
        }
        changed
    }

    /// Why the gate is closed: the gravest reason.
    #[must_use]
    pub fn paused(&self) -> Option<Pause> {
        let bits = self.paused.load(Ordering::SeqCst);
        Pause::ALL.into_iter().find(|pause| bits & pause.bit() != 0)
    }

    /// Why no mail comes in, and what opens intake if nothing does by itself, in words
    /// for status.
    #[must_use]
    pub fn closed(&self, spool: &Spool) -> Option<&'static str> {
        match self.paused() {
            Some(Pause::Operator) => Some("paused by an operator; lazaret resume intake"),
            Some(pause) => Some(pause.words()),
            None if self.room.is_short() => Some("closed: too little room in the spool"),
            // Where the spool can't be looked at, that is said by whoever needs it.
            None => {
                spool.is_full().is_ok_and(|full| full).then_some("closed: too many messages in the queue")
            }
        }
    }

    /// Whether one more message may come in, of `size` bytes if that is known.
    ///
    /// # Errors
    /// The gate is closed, there is too little room, or the queue is too long.
    pub fn admit(&self, spool: &Spool, size: Option<u64>) -> Result<(), Denied> {
        match self.paused() {
            Some(Pause::Broken) => return Err(Denied::Broken),
            Some(pause) => return Err(Denied::Paused(pause)),
            None => {}
        }
        let room = spool.room().map_err(|error| self.denied(&error))?;
        if !self.room.admit(spool.root(), room, size.unwrap_or(0)) {
            return Err(Denied::NoRoom);
        }
        let full = spool.is_full().map_err(|error| self.denied(&error))?;
        if full { Err(Denied::QueueFull) } else { Ok(()) }
    }

    /// Whether a message that is coming in may go on to: to be asked every
    /// [`ROOM_STEP_BYTES`](crate::room::ROOM_STEP_BYTES).
    ///
    /// # Errors
    /// There is too little room.
    pub(crate) fn still_fits(&self, spool: &Spool) -> Result<(), Denied> {
        let room = spool.room().map_err(|error| self.denied(&error))?;
        self.room.fits(spool.root(), room, 0).then_some(()).ok_or(Denied::NoRoom)
    }

    /// What an error of the spool means for the message at hand. Unless it is
    /// only about room, it closes the gate for good.
    pub fn denied(&self, error: &SpoolError) -> Denied {
        if error.severity() == Severity::NoRoom {
            let files = error.is_out_of_files();
            if let Some(unsaid) = self.failing.say() {
                let advice = if files { OUT_OF_FILES } else { "make room, or raise the quota" };
                warn!(%error, unsaid, "a message could not be taken in, its client is told to come back: {advice}");
            }
            return if files { Denied::NoFiles } else { Denied::NoRoom };
        }
        if self.pause(Pause::Broken) {
            error!(%error, "the spool is broken: nothing more is accepted");
            (self.on_broken)(error);
        }
        Denied::Broken
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            sessions: self.sessions.load(Ordering::Relaxed),
            accepted: self.accepted.load(Ordering::Relaxed),
            refused: std::array::from_fn(|place| self.refused[place].load(Ordering::Relaxed)),
        }
    }

    pub(crate) fn count_accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_refused(&self, reason: Reason) {
        self.refused[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn session_opened(&self) {
        self.sessions.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn session_closed(&self) {
        self.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Reserve = Reserve { bytes: 0, inodes: 0 };

    #[test]
    fn one_reason_does_not_undo_another() {
        let gate = IntakeGate::new(NOTHING, |_| {});
        assert!(gate.pause(Pause::Operator) && gate.pause(Pause::Pressure) && !gate.pause(Pause::Operator));
        assert!(gate.resume(Pause::Pressure) && !gate.resume(Pause::Pressure));
        assert_eq!(gate.paused(), Some(Pause::Operator));
        assert!(gate.resume(Pause::Operator));
        assert_eq!(gate.paused(), None);
    }

    #[test]
    fn a_broken_disk_stays_broken() {
        let gate = IntakeGate::new(NOTHING, |_| {});
        gate.pause(Pause::Broken);
        assert!(!gate.resume(Pause::Broken));
        assert_eq!(gate.paused(), Some(Pause::Broken));
    }

    #[test]
    fn counters_follow_the_order_of_the_reasons() {
        for (place, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place, "{reason:?}");
        }
    }
}
