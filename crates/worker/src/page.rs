//! A page of memory that a worker and its cell share: how the cell is jailed,
//! which message it has, at which stage, and the most memory it held.
//!
//! The cell writes, the worker reads after the cell's death; that is how a death
//! is never blamed on a neighbour. The worker must believe nothing on it beyond
//! what it can do no harm with: numbers, and text that it escapes.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use lazaret_envelope::{Line, Stage};
use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{MemfdFlags, SealFlags};

use crate::jail::JailState;

/// Most bytes of a panic's message that are kept.
const NOTE_BYTES_MAX: usize = 1024;

/// What stands on the page.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Page {
    task: AtomicU64,
    stage: AtomicU32,
    note_length: AtomicU32,
    jail: AtomicU32,
    peak: AtomicU64,
    note: [AtomicU8; NOTE_BYTES_MAX],
}

/// A mapping of the page.
#[derive(Debug)]
pub(crate) struct SharedPage(MmapRaw);

impl SharedPage {
    /// Makes a page; returns the descriptor to hand to the cell as well. Its
    /// size is sealed, so that the cell can't make the worker's reads fail.
    pub(crate) fn create() -> io::Result<(Self, OwnedFd)> {
        let file = rustix::fs::memfd_create("lazaret-cell", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        rustix::fs::ftruncate(&file, size_of::<Page>() as u64)?;
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Ok((Self::map(&file)?, file))
    }

    /// Maps a page that the worker made.
    pub(crate) fn map(file: &impl AsFd) -> io::Result<Self> {
        let file = File::from(file.as_fd().try_clone_to_owned()?);
        if file.metadata()?.len() != size_of::<Page>() as u64 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the descriptor is no cell's page"));
        }
        Ok(Self(MmapOptions::new().len(size_of::<Page>()).map_raw(&file)?))
    }

    pub(crate) fn page(&self) -> &Page {
        // SAFETY: the mapping is as long as a `Page`, page-aligned, lives as long as
        // `self`, and can't shrink (sealed). A `Page` is atomics only: every bit
        // pattern is one, and the other process may write at any time.
        unsafe { &*self.0.as_ptr().cast::<Page>() }
    }

    /// The page for the rest of the process.
    pub(crate) fn leak(self) -> &'static Page {
        Box::leak(Box::new(self)).page()
    }
}

impl Page {
    /// The jail is shut, and this is how far it went.
    pub(crate) fn set_jail(&self, state: JailState) {
        self.jail.store(state.encode(), Ordering::Release);
    }

    /// How far the jail went; to be read before the cell has had a message.
    pub(crate) fn jail(&self) -> Option<JailState> {
        JailState::decode(self.jail.load(Ordering::Acquire))
    }

    /// The cell has taken up a task.
    pub(crate) fn take(&self, task: u64) {
        self.note_length.store(0, Ordering::Relaxed);
        self.peak.store(0, Ordering::Relaxed);
        self.set_stage(Stage::Taken);
        self.task.store(task, Ordering::Release);
    }

    pub(crate) fn set_stage(&self, stage: Stage) {
        self.stage.store(stage as u32, Ordering::Release);
    }

    pub(crate) fn set_peak(&self, bytes: u64) {
        self.peak.store(bytes, Ordering::Release);
    }

    /// Leaves the text of a panic.
    pub(crate) fn set_note(&self, text: &str) {
        let bytes = &text.as_bytes()[..text.len().min(NOTE_BYTES_MAX)];
        for (slot, byte) in self.note.iter().zip(bytes) {
            slot.store(*byte, Ordering::Relaxed);
        }
        self.note_length.store(bytes.len() as u32, Ordering::Release);
    }

    /// The task that the cell took up last.
    pub(crate) fn task(&self) -> u64 {
        self.task.load(Ordering::Acquire)
    }

    pub(crate) fn stage(&self) -> Stage {
        self.stage.load(Ordering::Acquire).into()
    }

    pub(crate) fn peak(&self) -> u64 {
        self.peak.load(Ordering::Acquire)
    }

    pub(crate) fn note(&self) -> Option<Line> {
        let length = (self.note_length.load(Ordering::Acquire) as usize).min(NOTE_BYTES_MAX);
        let bytes: Vec<u8> = self.note[..length].iter().map(|byte| byte.load(Ordering::Relaxed)).collect();
        (length > 0).then(|| Line::escaped(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_see_the_same() {
        let (worker, descriptor) = SharedPage::create().unwrap();
        let cell = SharedPage::map(&descriptor).unwrap();
        cell.page().take(7);
        cell.page().set_stage(Stage::Parse);
        cell.page().set_peak(9);
        cell.page().set_note("out of \u{1b} cheese");
        let page = worker.page();
        assert_eq!((page.task(), page.stage(), page.peak()), (7, Stage::Parse, 9));
        assert_eq!(page.note().unwrap().as_str(), "out of \\u{1b} cheese");
    }

    #[test]
    fn a_cell_can_neither_resize_the_page_nor_lie_about_its_text() {
        let (worker, descriptor) = SharedPage::create().unwrap();
        assert!(rustix::fs::ftruncate(&descriptor, 0).is_err());
        worker.page().note_length.store(u32::MAX, Ordering::Release);
        worker.page().stage.store(4711, Ordering::Release);
        worker.page().jail.store(4711, Ordering::Release);
        assert!(worker.page().note().is_some());
        assert_eq!(worker.page().stage(), Stage::Idle);
        assert_eq!(worker.page().jail(), None);
    }
}
