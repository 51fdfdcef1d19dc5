//! Tells which names have come into directories of the spool, by inotify(7).
//!
//! A name is told once it stands for a whole file: moved in, or closed after
//! writing. The kernel may run out of room for events; then every directory is
//! told without a name, and has to be listed. A name must never be lost without
//! that.

use std::ffi::{CStr, OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use lazaret_spool::{Dir, Spool};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

/// Bytes for events: about a hundred of usual names.
const BUFFER_BYTES: usize = 8 << 10;

/// Names told at a time; a few more where the buffer holds more.
pub const NAMES_MAX: usize = 1_000;

/// Watches directories of one spool.
pub struct Watch {
    inotify: OwnedFd,
    dirs: Vec<(i32, Dir)>,
    buffer: Box<[MaybeUninit<u8>]>,
}

/// What is made in the spool's own directories is not ours, whatever it is; what
/// is made in `drop/` is of interest only when it is whole.
fn flags(dir: Dir) -> WatchFlags {
    let made = if dir == Dir::Drop { WatchFlags::CLOSE_WRITE } else { WatchFlags::CREATE };
    WatchFlags::MOVED_TO | WatchFlags::ONLYDIR | made
}

impl Watch {
    /// Starts to watch. What is there already is not told: list it afterwards.
    ///
    /// # Errors
    /// As inotify_init1(2) and inotify_add_watch(2).
    pub fn new(spool: &Spool, dirs: &[Dir]) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let dirs = dirs
            .iter()
            .map(|&dir| Ok((inotify::add_watch(&inotify, spool.path(dir), flags(dir))?, dir)))
            .collect::<io::Result<_>>()?;
        Ok(Self { inotify, dirs, buffer: vec![MaybeUninit::uninit(); BUFFER_BYTES].into_boxed_slice() })
    }

    /// Waits until a name comes, at most `timeout`. A directory without a name
    /// has to be listed: names may have come that are not told. Names in `drop/`
    /// that begin with a dot are not told: they are not complete, or our own.
    ///
    /// # Errors
    /// As poll(2) and read(2).
    pub fn wait(&mut self, timeout: Duration) -> io::Result<Vec<(Dir, Option<OsString>)>> {
        let timeout = Timespec::try_from(timeout).map_err(|_| io::ErrorKind::InvalidInput)?;
        match poll(&mut [PollFd::new(&self.inotify, PollFlags::IN)], Some(&timeout)) {
            Ok(0) | Err(Errno::INTR) => Ok(Vec::new()),
            Ok(_) => self.read(),
            Err(error) => Err(error.into()),
        }
    }

    fn read(&mut self) -> io::Result<Vec<(Dir, Option<OsString>)>> {
        let mut told = Vec::new();
        let mut reader = Reader::new(&self.inotify, &mut self.buffer);
        while told.len() < NAMES_MAX || !reader.is_buffer_empty() {
            match reader.next() {
                Ok(event) if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => {
                    told.extend(self.dirs.iter().map(|&(_, dir)| (dir, None)));
                }
                Ok(event) => told.extend(tell(&self.dirs, event.wd(), event.file_name())),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                // What was told so far comes first; the error will be back.
                Err(_) if !told.is_empty() => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(told)
    }
}

/// An event without a name speaks of the directory itself.
fn tell(dirs: &[(i32, Dir)], watch: i32, name: Option<&CStr>) -> Option<(Dir, Option<OsString>)> {
    let (_, dir) = dirs.iter().find(|(number, _)| *number == watch)?;
    let name = name.map(|name| OsStr::from_bytes(name.to_bytes()).to_owned());
    let hidden = name.as_ref().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    (*dir != Dir::Drop || !hidden).then_some((*dir, name))
}

impl AsFd for Watch {
    /// Readable when [`wait`](Watch::wait) would not wait.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Instant;

    use super::*;
    use crate::testing::Place;

    /// What the kernel holds for us by default
    /// (`/proc/sys/fs/inotify/max_queued_events`).
    fn events_queued_max() -> usize {
        let text = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
        text.trim().parse().unwrap()
    }

    #[test]
    fn names_are_told_when_they_stand_for_whole_files() {
        let place = Place::new();
        let mut watch = Watch::new(&place.spool, &[Dir::Drop, Dir::Incoming]).unwrap();
        assert_eq!(watch.wait(Duration::ZERO).unwrap(), []);
        let path = |dir, name: &str| place.spool.path(dir).join(name);
        fs::write(path(Dir::Drop, ".writing.x"), "x").unwrap();
        fs::rename(path(Dir::Drop, ".writing.x"), path(Dir::Drop, "x")).unwrap();
        fs::rename(path(Dir::Drop, "x"), path(Dir::Incoming, "y")).unwrap();
        fs::write(path(Dir::Tmp, "z"), "not watched").unwrap();
        let told = watch.wait(Duration::from_secs(5)).unwrap();
        assert_eq!(told, [(Dir::Drop, Some("x".into())), (Dir::Incoming, Some("y".into()))]);
    }

    #[test]
    fn a_wait_ends_in_time() {
        let place = Place::new();
        let mut watch = Watch::new(&place.spool, &[Dir::Waiting]).unwrap();
        let start = Instant::now();
        assert_eq!(watch.wait(Duration::from_millis(50)).unwrap(), []);
        assert!(start.elapsed() >= Duration::from_millis(50));
    }

    #[test]
    fn every_name_of_a_flood_is_told_or_the_directory_is() {
        let place = Place::new();
        let mut watch = Watch::new(&place.spool, &[Dir::Incoming, Dir::Waiting]).unwrap();
        let flood = events_queued_max() + 100;
        let (a, b) = (place.spool.path(Dir::Incoming).join("a"), place.spool.path(Dir::Incoming).join("b"));
        fs::write(place.spool.path(Dir::Tmp).join("x"), "").unwrap();
        fs::rename(place.spool.path(Dir::Tmp).join("x"), &a).unwrap();
        // Equal events that follow each other are told once, so the names differ.
        for number in 0..flood {
            let (from, to) = if number % 2 == 0 { (&a, &b) } else { (&b, &a) };
            fs::rename(from, to).unwrap();
        }
        let mut told = Vec::new();
        loop {
            let some = watch.wait(Duration::ZERO).unwrap();
            assert!(some.len() < 2 * NAMES_MAX, "{}", some.len());
            if some.is_empty() {
                break;
            }
            told.extend(some);
        }
        assert!(told.contains(&(Dir::Incoming, None)) && told.contains(&(Dir::Waiting, None)));
    }
}
