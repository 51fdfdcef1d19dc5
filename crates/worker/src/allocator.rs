//! The program's allocator: the system's, counted while a cell has a message.
//!
//! Over its budget the cell ends at once, with a status of its own: it never
//! waits, never tries again, never unwinds. Outside of a cell nothing is counted.
//! It must never allocate.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicPtr, Ordering};

use crate::page::Page;
use crate::process::exit_now;
use crate::relief::InAllocator;

/// Exit status of a cell that went over its memory budget.
pub(crate) const EXIT_MEMORY: i32 = 77;

/// Counts what is allocated, and ends a cell that goes over its budget.
#[derive(Debug, Clone, Copy, Default)]
pub struct Allocator;

/// Whether anything is counted: only in a cell.
static COUNTING: AtomicBool = AtomicBool::new(false);

/// Bytes held now, more or less those that were held before counting began.
static HELD: AtomicI64 = AtomicI64::new(0);

/// Bytes that may be held.
static LIMIT: AtomicI64 = AtomicI64::new(NO_LIMIT);

/// Most bytes held since the last [`begin`].
static PEAK: AtomicI64 = AtomicI64::new(0);

/// Bytes held at the last [`begin`].
static BASE: AtomicI64 = AtomicI64::new(0);

/// Where the peak is left for the worker to see; null outside of a cell.
static PAGE: AtomicPtr<Page> = AtomicPtr::new(std::ptr::null_mut());

const NO_LIMIT: i64 = i64::MAX;

/// Starts to count, and makes the peak visible on a page that lives as long as
/// the process.
pub(crate) fn count_for(page: &'static Page) {
    PAGE.store(std::ptr::from_ref(page).cast_mut(), Ordering::Release);
    COUNTING.store(true, Ordering::Release);
}

/// Switches counting, for the benchmark that tells what it costs.
#[doc(hidden)]
pub fn count_allocations(on: bool) {
    COUNTING.store(on, Ordering::Release);
}

/// From now on `budget` more bytes may be held than are held now.
pub(crate) fn begin(budget: u64) {
    let held = HELD.load(Ordering::Relaxed);
    BASE.store(held, Ordering::Relaxed);
    PEAK.store(held, Ordering::Relaxed);
    LIMIT.store(held.saturating_add(i64::try_from(budget).unwrap_or(NO_LIMIT)), Ordering::Relaxed);
}

/// From now on any number of bytes may be held; returns the peak above what was
/// held at [`begin`], and how much more is held now than then.
pub(crate) fn end() -> (u64, u64) {
    LIMIT.store(NO_LIMIT, Ordering::Relaxed);
    (above_base(PEAK.load(Ordering::Relaxed)), above_base(HELD.load(Ordering::Relaxed)))
}

fn above_base(bytes: i64) -> u64 {
    u64::try_from(bytes - BASE.load(Ordering::Relaxed)).unwrap_or(0)
}

fn grow(bytes: usize) {
    if !COUNTING.load(Ordering::Relaxed) {
        return;
    }
    let bytes = bytes as i64;
    let held = HELD.fetch_add(bytes, Ordering::Relaxed) + bytes;
    if held > PEAK.load(Ordering::Relaxed) {
        PEAK.store(held, Ordering::Relaxed);
        if held > LIMIT.load(Ordering::Relaxed) {
            out_of_memory(held);
        }
    }
}

fn shrink(bytes: usize) {
    if COUNTING.load(Ordering::Relaxed) {
        HELD.fetch_sub(bytes as i64, Ordering::Relaxed);
    }
}

/// Ends the cell. Cold, so that the way without trouble stays short.
#[cold]
fn out_of_memory(held: i64) -> ! {
    // SAFETY: the pointer is null or was made from a `&'static Page` by `count_for`.
    if let Some(page) = unsafe { PAGE.load(Ordering::Acquire).as_ref() } {
        page.set_peak(above_base(held));
    }
    exit_now(EXIT_MEMORY)
}

/// What the system's allocator answers: in a cell with a message, no memory is
/// over budget too, for RLIMIT_AS stands behind it.
fn checked(pointer: *mut u8, bytes: usize) -> *mut u8 {
    if pointer.is_null() {
        if LIMIT.load(Ordering::Relaxed) != NO_LIMIT {
            out_of_memory(HELD.load(Ordering::Relaxed));
        }
        shrink(bytes);
    }
    pointer
}

/// Calls the system's allocator; in a cell no thread is left behind in the midst of it,
/// with its lock.
fn inside<T>(call: impl FnOnce() -> T) -> T {
    let _inside = COUNTING.load(Ordering::Relaxed).then(InAllocator::enter);
    call()
}

// SAFETY: every call goes to `System` with the layout that it came with, and
// its pointer is returned as it is; the counters are atomics and allocate nothing.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: the caller keeps `GlobalAlloc::alloc`'s contract, which is `System`'s.
        checked(inside(|| unsafe { System.alloc(layout) }), layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: as above.
        checked(inside(|| unsafe { System.alloc_zeroed(layout) }), layout.size())
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        shrink(layout.size());
        // SAFETY: the pointer came from `System` by way of `alloc`, with this layout.
        inside(|| unsafe { System.dealloc(pointer, layout) })
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // While it is copied, both may exist; counted is what is asked for.
        if new_size >= layout.size() {
            grow(new_size - layout.size());
        }
        // SAFETY: the pointer came from `System` by way of `alloc`, with this layout.
        let new = inside(|| unsafe { System.realloc(pointer, layout, new_size) });
        if new_size < layout.size() && !new.is_null() {
            shrink(layout.size() - new_size);
        }
        checked(new, new_size.saturating_sub(layout.size()))
    }
}
