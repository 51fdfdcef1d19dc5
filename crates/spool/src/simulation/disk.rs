//! A disk in memory that knows of each name and each byte whether it is durable.
//!
//! A directory entry is a durable value and the changes made to it since. A
//! rename is two changes: the new name, and the removal of the old one, which
//! needs the new one (assumption 1 of `queue-layout.md`: old, new or both, never
//! neither). Nothing here must ever become durable that no sync asked for.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use rustix::io::Errno;

use crate::layout::{Dir, VERSION_FILE, VERSION_TEXT, WorkerId};
use crate::storage::Kind;

/// Where a name stands; `None` is the top of the spool.
pub(super) type Key = (Option<Dir>, String);

/// Bytes that are shared until they change, and known by their hash.
#[derive(Clone, Default)]
pub(super) struct Bytes(Arc<(Vec<u8>, u64)>);

impl Bytes {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        Self(Arc::new((bytes, hasher.finish())))
    }
}

impl std::ops::Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0.0
    }
}

impl PartialEq for Bytes {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

/// A file.
#[derive(Clone)]
pub(super) struct Inode {
    pub(super) kind: Kind,
    pub(super) mode: u32,
    /// What a reader sees.
    pub(super) cached: Bytes,
    /// What a power cut leaves at least.
    pub(super) durable: Bytes,
    /// What a failed fsync has lost for good, though a reader sees it.
    lost: Vec<Range<usize>>,
    /// The change that made its first name, which goes with an fsync.
    created: Option<(Key, u64)>,
}

impl Inode {
    /// What a sync, or a merciful power cut, makes of the cached bytes.
    pub(super) fn persisted(&self) -> Bytes {
        if self.lost.is_empty() {
            return self.cached.clone();
        }
        let mut bytes = self.cached.to_vec();
        let end = bytes.len();
        self.lost.iter().for_each(|range| bytes[range.start.min(end)..range.end.min(end)].fill(0));
        Bytes::new(bytes)
    }
}

/// One change of a directory entry that is not durable yet.
#[derive(Clone)]
pub(super) struct Change {
    serial: u64,
    pub(super) value: Option<u64>,
    /// For the removal half of a rename: the half that must not be missing.
    pub(super) needs: Option<(Key, u64)>,
    /// A failed fsync went over it: no later one makes it durable.
    doomed: bool,
}

/// A directory entry: its durable value, and what was done to it since.
#[derive(Clone, Default)]
pub(super) struct Slot {
    pub(super) base: Option<u64>,
    pub(super) changes: Vec<Change>,
}

impl Slot {
    fn value(&self) -> Option<u64> {
        self.changes.last().map_or(self.base, |change| change.value)
    }

    pub(super) fn first_serial(&self) -> Option<u64> {
        self.changes.first().map(|change| change.serial)
    }

    /// The place of a change among those that are not durable; `None` if it is.
    pub(super) fn position(&self, serial: u64) -> Option<usize> {
        self.changes.iter().position(|change| change.serial == serial)
    }
}

/// All of a disk.
#[derive(Clone, Default)]
pub(super) struct State {
    pub(super) inodes: BTreeMap<u64, Inode>,
    pub(super) slots: BTreeMap<Key, Slot>,
    pub(super) workers: Vec<WorkerId>,
    serial: u64,
}

impl State {
    /// A spool that was just made.
    pub(super) fn empty_spool() -> Self {
        let mut state = Self::default();
        state.put((Some(Dir::Top), VERSION_FILE.to_owned()), VERSION_TEXT.as_bytes());
        state
    }

    /// Puts a file there, durably and at once.
    pub(super) fn put(&mut self, key: Key, bytes: &[u8]) {
        let mode = key.0.map_or(0, Dir::file_mode);
        let inode = self.create(&key, mode, Kind::File).expect("nothing is there yet");
        self.write(inode, 0, bytes);
        self.sync_file(inode);
    }

    /// What a file holds.
    pub(super) fn bytes(&self, key: &Key) -> Vec<u8> {
        let inode = self.find(key).expect("it is there");
        self.inodes[&inode].cached.to_vec()
    }

    /// The directories in a directory.
    pub(super) fn directories(&self, dir: Dir) -> impl Iterator<Item = String> {
        let (top, workers) = (dir == Dir::Top, dir == Dir::Workers);
        let below = Dir::below_top().into_iter().filter(move |_| top).map(|dir| dir.to_string());
        below.chain(self.workers.iter().filter(move |_| workers).map(ToString::to_string))
    }

    /// How many names a file has.
    pub(super) fn links(&self, inode: u64) -> u64 {
        self.names().filter(|(_, other)| *other == inode).count() as u64
    }

    fn serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub(super) fn find(&self, key: &Key) -> Result<u64, Errno> {
        self.slots.get(key).and_then(Slot::value).ok_or(Errno::NOENT)
    }

    /// Every name that is there, as a reader sees it.
    pub(super) fn names(&self) -> impl Iterator<Item = (&Key, u64)> {
        self.slots.iter().filter_map(|(key, slot)| slot.value().map(|inode| (key, inode)))
    }

    fn change(&mut self, key: &Key, value: Option<u64>, needs: Option<(Key, u64)>) -> u64 {
        let serial = self.serial();
        let change = Change { serial, value, needs, doomed: false };
        self.slots.entry(key.clone()).or_default().changes.push(change);
        serial
    }

    pub(super) fn create(&mut self, key: &Key, mode: u32, kind: Kind) -> Result<u64, Errno> {
        if self.find(key).is_ok() {
            return Err(Errno::EXIST);
        }
        let inode = self.serial();
        let created = Some((key.clone(), self.change(key, Some(inode), None)));
        let (cached, durable) = Default::default();
        self.inodes.insert(inode, Inode { kind, mode, cached, durable, lost: Vec::new(), created });
        Ok(inode)
    }

    pub(super) fn rename(&mut self, from: &Key, to: &Key) -> Result<(), Errno> {
        let inode = self.find(from)?;
        if self.find(to).is_ok() {
            return Err(Errno::EXIST);
        }
        let added = self.change(to, Some(inode), None);
        self.change(from, None, Some((to.clone(), added)));
        Ok(())
    }

    pub(super) fn unlink(&mut self, key: &Key) -> Result<(), Errno> {
        self.find(key)?;
        self.change(key, None, None);
        Ok(())
    }

    pub(super) fn write(&mut self, inode: u64, at: usize, bytes: &[u8]) {
        let file = self.inodes.get_mut(&inode).expect("an open file has an inode");
        let mut cached = file.cached.to_vec();
        let end = at + bytes.len();
        cached.resize(cached.len().max(end), 0);
        cached[at..end].copy_from_slice(bytes);
        file.cached = Bytes::new(cached);
    }

    pub(super) fn truncate(&mut self, inode: u64, length: usize) {
        let file = self.inodes.get_mut(&inode).expect("an open file has an inode");
        file.cached = Bytes::new(file.cached[..length].to_vec());
    }

    /// fsync of a file: its bytes, and its name if it was created in place.
    pub(super) fn sync_file(&mut self, inode: u64) {
        let file = self.inodes.get_mut(&inode).expect("an open file has an inode");
        file.durable = file.persisted();
        if let Some((key, serial)) = file.created.take() {
            self.settle(&key, serial);
        }
    }

    pub(super) fn sync_file_failed(&mut self, inode: u64) {
        let file = self.inodes.get_mut(&inode).expect("an open file has an inode");
        let lost = file.durable.len().min(file.cached.len())..file.cached.len();
        file.lost.push(lost);
        if let Some((key, serial)) = file.created.take() {
            self.doom(|other, change| *other == key && change.serial <= serial);
        }
    }

    /// fsync of a directory: the names that came into it and went from it.
    pub(super) fn sync_dir(&mut self, dir: Dir) {
        let keys: Vec<Key> = self.slots.keys().filter(|key| key.0 == Some(dir)).cloned().collect();
        for key in keys {
            let sound = self.slots[&key].changes.iter().take_while(|change| !change.doomed);
            if let Some(serial) = sound.last().map(|change| change.serial) {
                self.settle(&key, serial);
            }
        }
    }

    pub(super) fn sync_dir_failed(&mut self, dir: Dir) {
        self.doom(|key, _| key.0 == Some(dir));
    }

    fn doom(&mut self, hit: impl Fn(&Key, &Change) -> bool) {
        for (key, slot) in &mut self.slots {
            slot.changes.iter_mut().for_each(|change| change.doomed |= hit(key, change));
        }
    }

    /// The last byte of a file changes under everybody's hands, durably.
    pub(super) fn rot(&mut self, key: &Key) {
        let inode = self.find(key).expect("it is there");
        let mut bytes = self.bytes(key);
        if let Some(last) = bytes.last_mut() {
            *last ^= 1;
        }
        self.settle_file(inode, Bytes::new(bytes));
    }

    /// syncfs.
    pub(super) fn sync_all(&mut self) {
        let inodes: Vec<u64> = self.inodes.keys().copied().collect();
        inodes.into_iter().for_each(|inode| self.sync_file(inode));
        let dirs: Vec<Dir> = self.slots.keys().filter_map(|key| key.0).collect();
        dirs.into_iter().for_each(|dir| self.sync_dir(dir));
    }

    /// Makes the changes of a name durable up to one, with those that they need.
    fn settle(&mut self, key: &Key, serial: u64) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        let count = slot.changes.iter().take_while(|change| change.serial <= serial).count();
        let settled: Vec<Change> = slot.changes.drain(..count).collect();
        if let Some(last) = settled.last() {
            slot.base = last.value;
        }
        if slot.base.is_none() && slot.changes.is_empty() {
            self.slots.remove(key);
        }
        for (other, serial) in settled.into_iter().filter_map(|change| change.needs) {
            self.settle(&other, serial);
        }
    }

    /// Every name and its bytes, but for the lock file.
    pub(super) fn visible(&self) -> Vec<(Key, u64)> {
        let below = self.names().filter(|(key, _)| key.0.is_some());
        below.map(|(key, inode)| (key.clone(), self.inodes[&inode].cached.0.1)).collect()
    }

    /// After a power cut: these are the file's bytes, and all of them durable.
    pub(super) fn settle_file(&mut self, inode: u64, bytes: Bytes) {
        let file = self.inodes.get_mut(&inode).expect("a file that has a name");
        (file.cached, file.durable) = (bytes.clone(), bytes);
        file.lost.clear();
        file.created = None;
    }

    /// Two disks of the same hash hold the same, whatever their inodes' numbers.
    pub(super) fn hash_into(&self, hasher: &mut impl Hasher) {
        let mut numbers: BTreeMap<u64, usize> = BTreeMap::new();
        for (key, slot) in &self.slots {
            let values = slot.changes.iter().map(|change| change.value);
            let list = std::iter::once(slot.base).chain(values);
            key.hash(hasher);
            for value in list {
                let Some(inode) = value else {
                    0_u8.hash(hasher);
                    continue;
                };
                let next = numbers.len() + 1;
                let number = *numbers.entry(inode).or_insert(next);
                let file = &self.inodes[&inode];
                (number, file.cached.0.1, file.durable.0.1).hash(hasher);
            }
            for change in &slot.changes {
                let needed = change
                    .needs
                    .as_ref()
                    .map(|(key, serial)| (key, self.slots.get(key).and_then(|slot| slot.position(*serial))));
                (needed, change.doomed).hash(hasher);
            }
        }
    }
}
