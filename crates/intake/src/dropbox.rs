//! Takes in what other programs and unprivileged users put into `drop/`.
//!
//! The spool does the work on one file; here is what goes round it: which files,
//! how many at a time, and what happens when one can't be taken. A bad file must
//! never keep the good ones behind it from coming in.

use std::ffi::{OsStr, OsString};
use std::sync::Arc;

use lazaret_envelope::Line;
use lazaret_spool::{Dir, Owner, Refused, Severity, SpoolError, Taken, Throttle};
use tracing::{info, warn};

use crate::canonical::Normalizer;
use crate::gate::{IntakeGate, Reason};
use crate::size_max::SizeMax;

/// Most files taken in one sweep, so that a flood in `drop/` costs neither much
/// memory nor the time in which the program should stop.
pub const SWEEP_FILES_MAX: usize = 1_000;

/// What one sweep did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sweep {
    /// Messages accepted.
    pub accepted: usize,
    /// Files refused, and set aside in `deferred/` with a report.
    pub refused: usize,
    /// Files that can't be moved or read for want of permission; they stay.
    pub stuck: usize,
    /// Whether there are more files: sweep again soon.
    pub more: bool,
}

/// Empties the drop-box.
pub struct DropWatcher {
    owner: Owner,
    gate: Arc<IntakeGate>,
    /// Largest message that is taken in.
    size_max: SizeMax,
    /// How many files to pass over in the next listing: those that were stuck
    /// in the one before must not use up every sweep.
    skip: usize,
    failing: Throttle,
}

/// What became of one file.
enum Fate {
    Accepted,
    Refused,
    Stuck,
    /// Nothing to take: gone, or set aside by the spool.
    Nothing,
    /// No room; nor for the next ones.
    NoRoom,
}

impl Sweep {
    /// Counts what became of a file; whether there is any use in going on.
    fn count(&mut self, fate: Fate) -> bool {
        match fate {
            Fate::Accepted => self.accepted += 1,
            Fate::Refused => self.refused += 1,
            Fate::Stuck => self.stuck += 1,
            Fate::Nothing => {}
            Fate::NoRoom => return false,
        }
        true
    }
}

impl DropWatcher {
    /// A watcher for the spool of `owner`, that takes in messages of at most
    /// `size_max` bytes.
    #[must_use]
    pub fn new(owner: Owner, gate: Arc<IntakeGate>, size_max: impl Into<SizeMax>) -> Self {
        Self { owner, gate, size_max: size_max.into(), skip: 0, failing: Throttle::default() }
    }

    /// Takes in what lies in `drop/`, at most [`SWEEP_FILES_MAX`] files, while
    /// the gate is open and `go_on` says so. To be called at start, whenever
    /// something is dropped, and from time to time: a name may come without a
    /// notice.
    ///
    /// # Errors
    /// The spool is broken.
    pub fn sweep(&mut self, go_on: &dyn Fn() -> bool) -> Result<Sweep, SpoolError> {
        let mut sweep = Sweep::default();
        if !self.admits() {
            return Ok(sweep);
        }
        match self.sweep_into(&mut sweep, go_on) {
            Err(error) if error.severity() == Severity::NoRoom => {
                self.no_room(&Line::escaped("drop/"), &error);
                Ok(sweep)
            }
            swept => swept.map(|()| sweep),
        }
    }

    fn sweep_into(&mut self, sweep: &mut Sweep, go_on: &dyn Fn() -> bool) -> Result<(), SpoolError> {
        for taken in self.owner.take_unfinished()? {
            if !sweep.count(self.accept(taken, &Line::escaped("taken in hand before"))?) {
                return Ok(());
            }
        }
        let (names, more) = self.list()?;
        for name in &names {
            if !go_on() || !self.admits() || !sweep.count(self.take(name)?) {
                return Ok(());
            }
        }
        self.skip = if more { self.skip + sweep.stuck } else { 0 };
        sweep.more = more;
        Ok(())
    }

    fn admits(&self) -> bool {
        self.gate.admit(self.owner.spool(), None).is_ok()
    }

    fn no_room(&self, shown: &Line, error: &SpoolError) {
        if let Some(unsaid) = self.failing.say() {
            warn!(file = ?shown, %error, unsaid, "no room to take in what is dropped; it stays");
        }
    }

    /// Lists the files to take, and whether there are more.
    fn list(&self) -> Result<(Vec<OsString>, bool), SpoolError> {
        let (mut names, mut seen) = (Vec::new(), 0);
        let limit = self.skip + SWEEP_FILES_MAX;
        self.owner.spool().scan(Dir::Drop, |_, raw| {
            if !may_be_taken(raw) {
                return;
            }
            seen += 1;
            if seen > self.skip && seen <= limit {
                names.push(raw.to_owned());
            }
        })?;
        Ok((names, seen > limit))
    }

    fn take(&self, name: &OsString) -> Result<Fate, SpoolError> {
        let shown = Line::escaped(name.as_encoded_bytes());
        match self.owner.take_dropped(name) {
            Ok(Some(taken)) => self.accept(taken, &shown),
            Ok(None) => Ok(Fate::Nothing),
            Err(error) => self.failed(&shown, error),
        }
    }

    fn accept(&self, taken: Taken, shown: &Line) -> Result<Fate, SpoolError> {
        // It is copied: for a while there are two of it. One that does not fit now
        // stays in tmp/, and smaller ones pass it.
        let size_max = self.size_max.get();
        if self.gate.admit(self.owner.spool(), Some(taken.size().min(size_max))).is_err() {
            return Ok(Fate::Nothing);
        }
        match taken.accept(&mut Normalizer::default(), size_max) {
            Ok(_) => {
                self.gate.count_accepted();
                Ok(Fate::Accepted)
            }
            Err(Refused::Spool(error)) => self.failed(shown, error),
            Err(refused) => {
                self.gate.count_refused(Reason::BadDrop);
                info!(file = ?shown, reason = ?refused.to_string(), "dropped file refused");
                Ok(Fate::Refused)
            }
        }
    }

    fn failed(&self, shown: &Line, error: SpoolError) -> Result<Fate, SpoolError> {
        match error.severity() {
            Severity::Gone => Ok(Fate::Nothing),
            Severity::Forbidden => {
                warn!(file = ?shown, %error, "a dropped file can't be taken in");
                Ok(Fate::Stuck)
            }
            Severity::NoRoom => {
                self.no_room(shown, &error);
                Ok(Fate::NoRoom)
            }
            Severity::Broken => {
                self.gate.denied(&error);
                Err(error)
            }
        }
    }
}

/// Names with a dot are still being written.
fn may_be_taken(raw: &OsStr) -> bool {
    !raw.as_encoded_bytes().starts_with(b".")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::testing::{Place, contents, fill, gate, names, unfill};

    const GOOD: &str = "lazaret-envelope 1\nsender <a@example.org>\nrecipient <b@example.org>\nend\n";

    struct Lab {
        place: Place,
        watcher: DropWatcher,
    }

    impl Lab {
        fn new() -> Self {
            let place = Place::new();
            let owner = Owner::take(place.spool.clone()).unwrap();
            let watcher = DropWatcher::new(owner, gate(), 1_000_000);
            Self { place, watcher }
        }

        fn drop_in(&self, name: &str, text: &str) {
            std::fs::write(self.place.spool.path(Dir::Drop).join(name), text).unwrap();
        }

        fn sweep(&mut self) -> Sweep {
            self.watcher.sweep(&|| true).unwrap()
        }

        fn names(&self, dir: Dir) -> Vec<String> {
            names(&self.place.spool, dir)
        }
    }

    #[test]
    fn a_good_file_is_accepted_in_canonical_form() {
        let mut lab = Lab::new();
        lab.drop_in("x", &format!("{GOOD}Subject: x\n\n.y\r\nz"));
        lab.drop_in(".writing.other", "not yet");
        assert_eq!(lab.sweep(), Sweep { accepted: 1, ..Sweep::default() });
        assert_eq!(lab.names(Dir::Drop), [".writing.other"]);
        assert_eq!(contents(&lab.place.spool), [b"Subject: x\r\n\r\n.y\r\nz"]);
        assert_eq!(lab.watcher.gate.counters().accepted, 1);
        assert_eq!(lab.sweep(), Sweep::default());
    }

    #[test]
    fn bad_files_are_set_aside_and_good_ones_go_on() {
        let mut lab = Lab::new();
        lab.drop_in("a", "From: a@example.org\n\nno envelope\n");
        lab.drop_in("b", "");
        lab.drop_in("c", &GOOD.replace("end\n", "size 7\nend\nshort"));
        symlink("/etc/passwd", lab.place.spool.path(Dir::Drop).join("d")).unwrap();
        let fifo = lab.place.spool.path(Dir::Drop).join("e");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR).unwrap();
        std::fs::create_dir(lab.place.spool.path(Dir::Drop).join("f")).unwrap();
        lab.drop_in("g", &format!("{GOOD}good\n"));
        assert_eq!(lab.sweep(), Sweep { accepted: 1, refused: 3, ..Sweep::default() });
        assert_eq!(lab.names(Dir::Drop), [""; 0]);
        assert_eq!(contents(&lab.place.spool), [b"good\r\n"]);
        let deferred = lab.names(Dir::Deferred);
        assert_eq!(deferred.iter().filter(|name| name.ends_with(".report")).count(), 6, "{deferred:?}");
        assert_eq!(deferred.len(), 12);
        let refused = Reason::BadDrop as usize;
        assert_eq!(lab.watcher.gate.counters().refused[refused], 3);
    }

    #[test]
    fn a_file_that_was_in_hand_at_a_crash_becomes_one_message() {
        let mut lab = Lab::new();
        lab.drop_in("x", &format!("{GOOD}once\n"));
        let taken = lab.watcher.owner.take_dropped("x".as_ref()).unwrap().unwrap();
        // The copy is whole, and then the original can't be removed: what the
        // disk looks like after a crash between the two.
        lab.place.faults.fail("unlink tmp/taken", rustix::io::Errno::IO);
        assert!(taken.accept(&mut Normalizer::default(), 1000).is_err());
        lab.place.faults.mend();
        assert_eq!((lab.names(Dir::Drop).len(), lab.names(Dir::Tmp).len()), (0, 2));
        lab.watcher.owner.recover().unwrap();
        assert_eq!(lab.sweep().accepted, 1);
        assert_eq!(contents(&lab.place.spool), [b"once\r\n"]);
        assert_eq!((lab.names(Dir::Drop).len(), lab.names(Dir::Tmp).len()), (0, 0));
    }

    #[test]
    fn a_crash_after_the_original_is_gone_loses_nothing() {
        let mut lab = Lab::new();
        lab.drop_in("x", &format!("{GOOD}once\n"));
        let taken = lab.watcher.owner.take_dropped("x".as_ref()).unwrap().unwrap();
        lab.place.faults.fail("rename incoming", rustix::io::Errno::IO);
        assert!(taken.accept(&mut Normalizer::default(), 1000).is_err());
        lab.place.faults.mend();
        assert_eq!((lab.names(Dir::Drop).len(), lab.names(Dir::Tmp).len()), (0, 1));
        lab.watcher.owner.recover().unwrap();
        assert_eq!(lab.sweep().accepted, 0);
        assert_eq!(contents(&lab.place.spool), [b"once\r\n"]);
    }

    #[test]
    fn a_sweep_is_bounded_and_can_be_stopped() {
        let mut lab = Lab::new();
        for number in 0..5 {
            lab.drop_in(&number.to_string(), GOOD);
        }
        let left = std::cell::Cell::new(2_usize);
        let two = lab.watcher.sweep(&|| left.replace(left.get().saturating_sub(1)) > 0).unwrap();
        assert_eq!(two.accepted, 2);
        lab.watcher.gate.pause(crate::Pause::Operator);
        assert_eq!(lab.sweep().accepted, 0);
        lab.watcher.gate.resume(crate::Pause::Operator);
        assert_eq!(lab.sweep().accepted, 3);
        for number in 0..=SWEEP_FILES_MAX {
            lab.drop_in(&format!(".taken.{number}"), GOOD);
            symlink("nowhere", lab.place.spool.path(Dir::Drop).join(number.to_string())).unwrap();
        }
        assert!(lab.sweep().more && !lab.sweep().more);
    }

    #[test]
    fn files_that_stay_do_not_hold_up_the_others() {
        let mut lab = Lab::new();
        for number in 0..SWEEP_FILES_MAX + 10 {
            lab.drop_in(&format!("stuck{number}"), GOOD);
        }
        lab.place.faults.fail("rename drop/stuck", rustix::io::Errno::ACCESS);
        lab.drop_in("good", &format!("{GOOD}good\n"));
        let both = [lab.sweep(), lab.sweep()];
        assert_eq!(both.iter().map(|sweep| sweep.accepted).sum::<usize>(), 1, "{both:?}");
    }

    #[test]
    fn without_room_files_stay_where_they_are() {
        let mut lab = Lab::new();
        lab.drop_in("x", &format!("{GOOD}later\n"));
        lab.place.faults.fail("append", rustix::io::Errno::NOSPC);
        assert_eq!(lab.sweep(), Sweep::default());
        assert_eq!(lab.watcher.gate.paused(), None);
        lab.place.faults.mend();
        assert_eq!(lab.sweep().accepted, 1);
        assert_eq!(contents(&lab.place.spool), [b"later\r\n"]);
    }

    #[test]
    fn while_the_queue_is_full_files_stay_where_they_are() {
        let mut lab = Lab::new();
        lab.drop_in("x", &format!("{GOOD}later\n"));
        fill(&lab.place.spool);
        assert_eq!(lab.sweep(), Sweep::default());
        assert_eq!(lab.names(Dir::Drop), ["x"]);
        unfill(&lab.place.spool);
        assert_eq!(lab.sweep().accepted, 1);
    }
}
