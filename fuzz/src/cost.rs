//! The oracle for loops that grow faster than their input: processor time a byte.
//!
//! Time is the thread's own, and the least of several runs counts, so that a busy
//! machine makes nothing look slow. It must never be asked about less than some
//! hundred bytes: what every call costs would drown the rest.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// What any call may cost.
const BASE: Duration = Duration::from_micros(200);

/// What a byte may cost; with a sanitizer and counters at every branch a parser
/// takes 5 to 60 ns for one.
const PER_BYTE: Duration = Duration::from_nanos(300);

/// Runs of which the fastest counts.
const RUNS: usize = 5;

/// Panics if `work` on so many bytes costs more than anything linear can.
pub(crate) fn assert_linear(bytes: usize, mut work: impl FnMut()) {
    let limit = BASE + PER_BYTE.saturating_mul(u32::try_from(bytes).unwrap_or(u32::MAX));
    let mut least = Duration::MAX;
    for _ in 0..RUNS {
        let before = now();
        work();
        least = least.min(now().saturating_sub(before));
        if least <= limit {
            return;
        }
    }
    panic!("{bytes} bytes cost {least:?} of processor time, and linear would be {limit:?} at most");
}

fn now() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, nanos) =
        (u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0));
    Duration::new(seconds, nanos)
}
