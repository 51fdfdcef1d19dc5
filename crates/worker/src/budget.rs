//! What a message may cost: the `[workers]` table of the configuration, and the
//! budget that follows from it for a message of a given size.
//!
//! The defaults delivered every benign message of a corpus of 8,416 and stopped
//! every poison that needs twice of them. A budget must never depend on
//! anything that the message says of itself.

use std::time::Duration;

use lazaret_envelope::{Budget, ByteSize, Span};
use lazaret_route::Limits;
use serde::{Deserialize, Serialize};

use crate::bypass::Faults;
use crate::cell::STACKS_BYTES;
use crate::jail::JailMode;

/// The `[workers]` table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkersConfig {
    /// Number of workers, each with one cell. Default: one per processor.
    pub count: u16,
    /// Messages beyond `count` that may be in cells because they take long: each
    /// goes to the lowest priority, rests for most of the time while there is other
    /// mail, and another cell takes its place for that. One place more is for a
    /// second look, which is short. When all are taken, one more that takes long goes
    /// back and waits for a place; with 0 it keeps its worker. Default: half of
    /// `count`, and one at least: what takes long is to leave processors for the
    /// rest.
    pub spares: Option<u16>,
    /// Heap that a message may take in its cell …
    pub memory: ByteSize,
    /// … plus this many bytes for each byte of the message and of its envelope, in
    /// which each recipient is a line.
    pub memory_per_byte: u64,
    /// CPU time that a message may take …
    pub cpu_time: Span,
    /// … plus this for each MiB of the message and its envelope.
    pub cpu_time_per_mib: Span,
    /// Time on the clock that a message may take; ten times its CPU budget if
    /// that is more.
    pub wall_time: Span,
    /// Largest message that is judged, or taken in at all.
    pub max_size: ByteSize,
    /// Most heap of all cells together. Every cell may always have what a small
    /// message may cost; as many large ones are judged at a time as fit beside.
    /// Default: half of the memory of the machine or of the control group, or what
    /// one largest message needs, if that is more.
    pub memory_total: Option<ByteSize>,
    /// How long the content of a message that was to blame for a fault is
    /// remembered: copies of it are deferred without a cell. `"0s"` for not at all.
    pub repeats: Span,
    /// What is done about faults, by cause: `"defer"`, the default, or
    /// `{ pass = "transport" }` for the untouched message to bypass the routes.
    pub faults: Faults,
    /// How the cells are jailed.
    pub jail: JailMode,
    /// Limits on the structure of a message.
    pub limits: Limits,
}

impl Default for WorkersConfig {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            count: u16::try_from(cores).unwrap_or(u16::MAX),
            spares: None,
            memory: ByteSize(24 << 20),
            memory_per_byte: 8,
            cpu_time: Span(Duration::from_secs(1)),
            cpu_time_per_mib: Span(Duration::from_millis(200)),
            wall_time: Span(Duration::from_secs(30)),
            max_size: ByteSize(50 << 20),
            memory_total: None,
            repeats: Span(Duration::from_secs(24 * 60 * 60)),
            faults: Faults::default(),
            jail: JailMode::default(),
            limits: Limits::default(),
        }
    }
}

/// How often the CPU budget fits into the least wall-time budget: a machine
/// may be this much slower on the clock than a message is on the processor.
const WALL_PER_CPU: u32 = 10;

const MIB: u64 = 1 << 20;

impl WorkersConfig {
    /// Least `memory`: some times what parsing the built-in message takes, on which
    /// each cell proves itself. Mail of a few KiB needs no more.
    pub const MEMORY_LEAST: ByteSize = ByteSize(64 << 10);

    /// Least `max_size`: real mail is hardly ever smaller.
    pub const MAX_SIZE_LEAST: ByteSize = ByteSize(1 << 10);

    /// Workers that judge mail at full speed at a time.
    #[must_use]
    pub fn workers(&self) -> u16 {
        self.count.max(1)
    }

    /// Threads, and so cells, in all: those at full speed, as many again for what is
    /// not judged at once, one for second looks, and those for what takes long.
    #[must_use]
    pub fn threads(&self) -> u16 {
        let second_look = self.spares().min(1);
        self.workers().saturating_mul(2).saturating_add(second_look).saturating_add(self.spares())
    }

    /// Messages that take long and may be in cells beside those of the workers.
    #[must_use]
    pub fn spares(&self) -> u16 {
        self.spares.unwrap_or((self.workers() / 2).max(1))
    }

    /// What a message of `size` bytes may cost.
    #[must_use]
    pub fn budget(&self, size: u64) -> Budget {
        let mib = u32::try_from(size.div_ceil(MIB)).unwrap_or(u32::MAX);
        let cpu = self.cpu_time.0.saturating_add(self.cpu_time_per_mib.0.saturating_mul(mib));
        Budget {
            memory: self.memory.0.saturating_add(self.memory_per_byte.saturating_mul(size)),
            wall: self.wall_time.0.max(cpu.saturating_mul(WALL_PER_CPU)),
            cpu,
        }
    }
}

/// Address space behind the heap budget, as a multiple of it: the allocator's
/// count is of bytes asked for, and what the process holds for them is more.
const SPACE_PER_HEAP: u64 = 4;

/// Address space of a cell without a message, beside its stacks: program, libraries, the
/// arenas that the C library reserves, and what messages that were left hold.
const SPACE_BASE: u64 = 512 << 20;

/// CPU time after which a message is slow. Of 1,259 benign ones, parsed whole, half
/// take 0.1 ms and one in a hundred 0.3 ms.
const SLOW_CPU: Duration = Duration::from_micros(500);

/// … plus this for each of its first bytes: where header fields and small parts are all of
/// it, the dearest benign one takes 6 ns for each in all, and on a busy machine 8 to 12 …
const SLOW_CPU_PER_BYTE: Duration = Duration::from_nanos(11);

/// … which are these …
const SLOW_BYTES: u64 = 128 << 10;

/// … or this for each of all bytes, if that is more: a large attachment in base64 takes
/// 1.6 ns. Of a thousand benign ones 998 stay below half of the sum.
const SLOW_CPU_PER_ANY_BYTE: Duration = Duration::from_nanos(2);

/// What a cell may do with one message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowance {
    /// What the message may cost.
    pub(crate) budget: Budget,
    /// RLIMIT_AS, in bytes: the net behind the allocator.
    pub(crate) space: u64,
    /// CPU time after which it takes long and goes on behind all other mail; `None`
    /// if there is no other to go before it.
    pub(crate) slow: Option<Duration>,
    /// It took long before: it is behind all other mail from the start.
    pub(crate) behind: bool,
}

impl Allowance {
    /// For a message of `size` bytes with this budget.
    pub(crate) fn new(budget: Budget, size: u64) -> Self {
        let heap = budget.memory.saturating_mul(SPACE_PER_HEAP);
        Self {
            budget,
            space: (SPACE_BASE + STACKS_BYTES).saturating_add(heap).saturating_add(size),
            slow: Some(slow(size)),
            behind: false,
        }
    }

    /// For one that is behind all others from the start.
    pub(crate) fn behind(self) -> Self {
        Self { behind: true, ..self }
    }

    /// For one that has no others to go before it.
    pub(crate) fn alone(self) -> Self {
        Self { slow: None, ..self }
    }

    /// CPU time after which its cell is to say that it takes long, if it has to make way
    /// then.
    pub(crate) fn makes_way(&self) -> Option<Duration> {
        self.slow.filter(|_| !self.behind)
    }
}

/// CPU time after which a message of `size` bytes takes long.
fn slow(size: u64) -> Duration {
    let times = |each: Duration, bytes| each.saturating_mul(u32::try_from(bytes).unwrap_or(u32::MAX));
    let for_size = times(SLOW_CPU_PER_BYTE, size.min(SLOW_BYTES)).max(times(SLOW_CPU_PER_ANY_BYTE, size));
    SLOW_CPU.saturating_add(for_size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_grow_with_the_message() {
        let config = WorkersConfig::default();
        let small = config.budget(10_000);
        assert_eq!(small.memory, (24 << 20) + 80_000);
        assert_eq!(small.cpu, Duration::from_millis(1200));
        assert_eq!(small.wall, Duration::from_secs(30));
        let large = config.budget(50 << 20);
        assert_eq!(large.cpu, Duration::from_secs(11));
        assert_eq!(large.wall, Duration::from_secs(110));
        assert_eq!(config.budget(u64::MAX).memory, u64::MAX);
    }

    #[test]
    fn a_message_is_slow_later_the_larger_it_is() {
        let micros = |size| slow(size).as_micros();
        assert_eq!([0, 1000, 128 << 10, 1 << 20].map(micros), [500, 511, 1941, 2597]);
        assert!(slow(u64::MAX) > slow(50 << 20), "however large");
    }
}
