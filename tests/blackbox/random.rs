//! Random choices that can be repeated: the seed is printed and can be given.
//!
//! Good enough to spread crash moments; it must never be used for a secret.

use std::time::{SystemTime, UNIX_EPOCH};

/// Gives the seed of an earlier run.
const SEED_VARIABLE: &str = "LAZARET_SEED";

/// Sets a forked sequence apart from the one that it comes from.
const FORK: u64 = 0x9e37_79b9_7f4a_7c15;

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

    /// Another sequence, which goes its own way.
    pub fn fork(&mut self) -> Self {
        Self((self.next() ^ FORK).max(1))
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("below a usize")
    }

    /// Whether one of so many cases has come.
    pub fn one_in(&mut self, cases: usize) -> bool {
        self.below(cases) == 0
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
