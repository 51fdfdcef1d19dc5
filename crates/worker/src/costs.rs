//! What messages have cost: histograms that are filled without a lock.
//!
//! Fixed buckets of powers of two, so that the numbers of many workers, days and
//! machines can be added up. Nothing here must ever depend on who a message is
//! from or what it is.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lazaret_envelope::Usage;

/// Number of buckets that have an upper bound; what is above the last counts
/// extra.
pub const BUCKETS: usize = 24;

/// Upper bound of the first bucket of memory: 1 KiB. That of the last is 8 GiB.
const MEMORY_UNIT: u64 = 1 << 10;

/// Upper bound of the first bucket of times, in microseconds. That of the last is
/// 134 s.
const TIME_UNIT: u64 = 16;

/// What each message that was in a cell has cost.
#[derive(Debug)]
pub(crate) struct Costs {
    memory: Histogram,
    cpu: Histogram,
    wall: Histogram,
}

/// The same at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CostsStatus {
    /// Most heap held at once, in bytes.
    pub memory_peak_bytes: Distribution,
    /// CPU time, in microseconds.
    pub cpu_time_us: Distribution,
    /// Time on the clock, in microseconds.
    pub wall_time_us: Distribution,
}

impl Default for Costs {
    fn default() -> Self {
        let (memory, time) = (|| Histogram::new(MEMORY_UNIT), || Histogram::new(TIME_UNIT));
        Self { memory: memory(), cpu: time(), wall: time() }
    }
}

impl Costs {
    /// Takes a message into account. What was not measured is left out.
    pub(crate) fn note(&self, usage: Usage) {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        usage.memory.into_iter().for_each(|bytes| self.memory.note(bytes));
        usage.cpu.into_iter().for_each(|time| self.cpu.note(micros(time)));
        self.wall.note(micros(usage.wall));
    }

    pub(crate) fn status(&self) -> CostsStatus {
        CostsStatus {
            memory_peak_bytes: self.memory.read(),
            cpu_time_us: self.cpu.read(),
            wall_time_us: self.wall.read(),
        }
    }
}

/// Counts of values by size.
#[derive(Debug)]
struct Histogram {
    unit: u64,
    counts: [AtomicU64; BUCKETS],
    above: AtomicU64,
    sum: AtomicU64,
    max: AtomicU64,
}

impl Histogram {
    fn new(unit: u64) -> Self {
        let counts = array::from_fn(|_| AtomicU64::new(0));
        Self { unit, counts, above: 0.into(), sum: 0.into(), max: 0.into() }
    }

    fn note(&self, value: u64) {
        let bucket = value.div_ceil(self.unit).max(1).next_power_of_two().trailing_zeros() as usize;
        self.counts.get(bucket).unwrap_or(&self.above).fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
        self.max.fetch_max(value, Ordering::Relaxed);
    }

    /// Values that come in meanwhile may be in one number and not yet in another.
    fn read(&self) -> Distribution {
        let bounds = (0..BUCKETS).map(|bucket| self.unit << bucket);
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        Distribution {
            buckets: bounds.zip(counts).collect(),
            above: self.above.load(Ordering::Relaxed),
            sum: self.sum.load(Ordering::Relaxed),
            max: self.max.load(Ordering::Relaxed),
        }
    }
}

/// How values are distributed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    /// Upper bounds, and how many values are at most so large and above the bound
    /// before.
    pub buckets: Vec<(u64, u64)>,
    /// How many are above the last bound.
    pub above: u64,
    /// The sum of all.
    pub sum: u64,
    /// The largest.
    pub max: u64,
}

impl Distribution {
    /// How many values there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum::<u64>() + self.above
    }

    /// What so many of a hundred values do not exceed, as far as the buckets tell.
    #[must_use]
    pub fn percentile(&self, percent: u64) -> u64 {
        let rank = self.count().saturating_mul(percent).div_ceil(100);
        let mut seen = 0;
        for &(bound, count) in &self.buckets {
            seen += count;
            if seen >= rank {
                return bound.min(self.max);
            }
        }
        self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_fall_into_the_bucket_whose_bound_they_do_not_exceed() {
        let histogram = Histogram::new(16);
        for value in [0, 1, 16, 17, 32, 33, 16 << 23, (16 << 23) + 1, u64::MAX / 2] {
            histogram.note(value);
        }
        let read = histogram.read();
        assert_eq!(&read.buckets[..3], &[(16, 3), (32, 2), (64, 1)]);
        assert_eq!((read.buckets[23], read.above), ((16 << 23, 1), 2));
        assert_eq!((read.count(), read.max), (9, u64::MAX / 2));
    }

    #[test]
    fn percentiles_are_bounds_or_the_largest() {
        let histogram = Histogram::new(1);
        assert_eq!(histogram.read().percentile(99), 0);
        (1..=100).for_each(|value| histogram.note(value));
        let read = histogram.read();
        assert_eq!((read.percentile(50), read.percentile(99), read.percentile(100)), (64, 100, 100));
    }

    #[test]
    fn what_was_not_measured_is_left_out() {
        let costs = Costs::default();
        costs.note(Usage { memory: None, cpu: None, wall: Duration::from_micros(3) });
        costs.note(Usage { memory: Some(5000), cpu: Some(Duration::MAX), wall: Duration::ZERO });
        let status = costs.status();
        assert_eq!(status.memory_peak_bytes.buckets[3], (8192, 1));
        assert_eq!((status.memory_peak_bytes.count(), status.cpu_time_us.above), (1, 1));
        assert_eq!((status.wall_time_us.count(), status.wall_time_us.sum), (2, 3));
    }

    proptest! {
        #[test]
        fn no_value_is_lost(values: Vec<u64>) {
            let histogram = Histogram::new(MEMORY_UNIT);
            values.iter().for_each(|&value| histogram.note(value));
            let read = histogram.read();
            prop_assert_eq!(read.count(), values.len() as u64);
            prop_assert_eq!(read.percentile(100), read.max);
        }
    }
}
