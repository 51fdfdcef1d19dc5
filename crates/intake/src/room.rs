//! Room on the spool's disk: what new mail may use of it, and what is said when
//! there is too little.
//!
//! The mail that is there needs room to go on, and going on is what makes some. New
//! mail must never use that up.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use lazaret_spool::Throttle;
use lazaret_spool::storage::Room;
use tracing::{info, warn};

/// Bytes that are taken in before room is looked at again. Each session may take
/// so many from the reserve before it is told.
pub(crate) const ROOM_STEP_BYTES: u64 = 256 << 10;

/// Once there was too little room, intake opens when there is more by this part
/// of the reserve: one of so many. Else it would open and close with each message.
const OPEN_ABOVE: u64 = 8;

/// Room that new mail may not use, so that what is in the spool already can
/// still be routed, reported on, written down and deferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reserve {
    /// Free bytes.
    pub bytes: u64,
    /// Free inodes.
    pub inodes: u64,
}

impl Reserve {
    /// Whether there is at least as much room, and for a message of `size` bytes.
    #[must_use]
    pub fn is_kept(&self, room: Room, size: u64) -> bool {
        let bytes = self.bytes.saturating_add(size);
        room.bytes >= bytes && room.inodes.is_none_or(|inodes| inodes >= self.inodes)
    }

    /// What there must be for intake to open again.
    fn to_open(self) -> Self {
        let more = |reserve: u64| reserve.saturating_add(reserve / OPEN_ABOVE);
        Self { bytes: more(self.bytes), inodes: more(self.inodes) }
    }
}

/// Looks after a reserve.
pub(crate) struct RoomWatch {
    reserve: Mutex<Reserve>,
    /// There was too little at the last look.
    short: AtomicBool,
    /// Messages that are too large for the room that there is.
    large: Throttle,
}

impl RoomWatch {
    pub(crate) fn new(reserve: Reserve) -> Self {
        Self { reserve: Mutex::new(reserve), short: AtomicBool::new(false), large: Throttle::default() }
    }

    /// Another reserve holds from now on.
    pub(crate) fn keep_free(&self, reserve: Reserve) {
        *self.reserve.lock().unwrap_or_else(PoisonError::into_inner) = reserve;
    }

    fn reserve(&self) -> Reserve {
        *self.reserve.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there was too little at the last look.
    pub(crate) fn is_short(&self) -> bool {
        self.short.load(Ordering::Relaxed)
    }

    /// Whether one more message may begin, of at least `size` bytes. Says when that
    /// changes.
    pub(crate) fn admit(&self, spool: &Path, room: Room, size: u64) -> bool {
        let was_short = self.is_short();
        let least = if was_short { self.reserve().to_open() } else { self.reserve() };
        let short = !least.is_kept(room, 0);
        if short != was_short && self.short.swap(short, Ordering::Relaxed) == was_short {
            self.say(spool, room, short);
        }
        !short && self.fits(spool, room, size)
    }

    /// Whether a message fits that needs `size` bytes more. Where it does not,
    /// smaller ones may.
    pub(crate) fn fits(&self, spool: &Path, room: Room, size: u64) -> bool {
        let reserve = self.reserve();
        let fits = reserve.is_kept(room, size);
        if !fits && let Some(unsaid) = self.large.say() {
            let (path, free, keep) = (spool.display(), room.bytes, reserve.bytes);
            warn!(
                unsaid,
                "a large message does not fit into {path}, its client is told 452: {free} bytes are free, and \
                 intake.reserve keeps {keep}: make room, or wait for deliveries to"
            );
        }
        fits
    }

    fn say(&self, spool: &Path, Room { bytes, inodes }: Room, short: bool) {
        let (path, Reserve { bytes: keep, inodes: keep_inodes }) = (spool.display(), self.reserve());
        let inodes = inodes.map_or("any number of".to_owned(), |inodes| inodes.to_string());
        if short {
            warn!(
                "no new mail: too little room in {path}: {bytes} bytes and {inodes} inodes are free, and \
                 intake.reserve keeps {keep} bytes and {keep_inodes} inodes for the mail that is there; it goes on, \
                 and clients are told 452 until there is more: make room, or wait for deliveries to"
            );
        } else {
            info!("new mail again: {bytes} bytes and {inodes} inodes are free in {path}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_counts_bytes_and_inodes() {
        let reserve = Reserve { bytes: 10, inodes: 5 };
        for (bytes, inodes, size, kept) in [
            (10, Some(5), 0, true),
            (9, Some(5), 0, false),
            (10, Some(4), 0, false),
            (10, None, 0, true),
            (10, None, 1, false),
            (11, None, 1, true),
        ] {
            assert_eq!(reserve.is_kept(Room { bytes, inodes }, size), kept, "{bytes} {inodes:?} {size}");
        }
        assert_eq!(Reserve { bytes: 80, inodes: 8 }.to_open(), Reserve { bytes: 90, inodes: 9 });
        assert!(!Reserve { bytes: u64::MAX, inodes: 0 }.is_kept(Room { bytes: 9, inodes: None }, 1));
    }

    #[test]
    fn it_opens_above_where_it_closed_and_a_large_message_closes_nothing() {
        let watch = RoomWatch::new(Reserve { bytes: 80, inodes: 8 });
        let admit = |bytes, inodes, size| {
            (watch.admit("spool".as_ref(), Room { bytes, inodes: Some(inodes) }, size), watch.is_short())
        };
        assert_eq!(admit(80, 8, 0), (true, false));
        assert_eq!(admit(89, 8, 10), (false, false));
        assert_eq!(admit(79, 8, 0), (false, true));
        assert_eq!(admit(89, 9, 0), (false, true));
        assert_eq!(admit(90, 8, 0), (false, true));
        assert_eq!(admit(90, 9, 0), (true, false));
        assert_eq!(admit(80, 7, 0), (false, true));
    }
}
