//! Random choices that can be repeated: the seed is printed and can be given.
//!
//! Good enough to spread crash moments; it must never be used for a secret.

use std::time::{SystemTime, UNIX_EPOCH};

/// Gives the seed of an earlier run.
const SEED_VARIABLE: &str = "LAZARET_SEED";

/// A sequence of choices (xorshift64).
pub struct Random(u64);

impl Random {
    /// From the environment's seed or the clock; prints it under `name`.
    pub fn new(name: &str) -> Self {
        let given = std::env::var(SEED_VARIABLE).ok().and_then(|seed| seed.parse().ok());
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.as_nanos() as u64);
        let seed: u64 = given.unwrap_or_else(clock).max(1);
        println!("{name}: {SEED_VARIABLE}={seed}");
        Self(seed)
    }

    /// The sequence of a seed.
    pub fn seeded(seed: u64) -> Self {
        Self(seed.max(1))
    }

    /// Puts things into another order.
    pub fn shuffle<T>(&mut self, things: &mut [T]) {
        for end in (1..things.len()).rev() {
            things.swap(end, self.below(end + 1));
        }
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).expect("below a usize")
    }
}
