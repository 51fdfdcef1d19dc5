//! When a message that could not be delivered is tried again, or a next hop that
//! was in trouble.
//!
//! Each round waits twice as long as the one before, up to a limit, and a
//! little less than that, so that messages that failed together don't come
//! back together. It must never need a clock or a source of randomness.

use std::time::Duration;

use lazaret_envelope::MessageId;

/// The part of the time by which waiting is shortened at most: a quarter.
const JITTER_DIVISOR: u32 = 4;

/// Most doublings that are computed: 2^24 seconds are half a year.
const DOUBLINGS_MAX: u32 = 24;

/// What makes the jitter of a message differ from that of others.
pub(crate) fn unique(id: MessageId) -> u64 {
    u64::try_from(id.to_u128() & u128::from(u64::MAX)).expect("64 bits fit into 64")
}

/// How long to wait after a failure with so many before it: `first`, doubled each
/// time up to `max`, less jitter.
pub(crate) fn pause(first: Duration, max: Duration, unique: u64, round: u32) -> Duration {
    let doubled = first.saturating_mul(1 << round.min(DOUBLINGS_MAX));
    let longest = doubled.min(max);
    let jitter = f64::from(scattered(unique, round)) / f64::from(u32::MAX);
    longest - (longest / JITTER_DIVISOR).mul_f64(jitter)
}

/// A number that looks random but is the same for the same round of the same
/// (the finalizer of `SplitMix64`).
fn scattered(unique: u64, round: u32) -> u32 {
    let mut number = unique.wrapping_add(u64::from(round).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (number >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RetryConfig;

    #[test]
    fn pauses_double_up_to_the_limit() {
        let retry = RetryConfig::default();
        let id = MessageId::from_parts(1, 2);
        for (attempts, longest) in [
            (0, 60),
            (1, 120),
            (2, 240),
            (3, 480),
            (4, 960),
            (5, 1920),
            (6, 3600),
            (7, 3600),
            (u32::MAX, 3600),
        ] {
            let pause = retry.pause(id, attempts);
            let longest = Duration::from_secs(longest);
            assert!(pause <= longest && pause >= longest * 3 / 4, "{attempts}: {pause:?}");
            assert_eq!(pause, retry.pause(id, attempts), "the same each time");
        }
    }

    #[test]
    fn messages_that_failed_together_come_back_apart() {
        let retry = RetryConfig::default();
        let mut pauses: Vec<_> =
            (0..100).map(|n| retry.pause(MessageId::from_parts(1, n), 6).as_secs()).collect();
        pauses.sort_unstable();
        pauses.dedup();
        assert!(pauses.len() > 80, "{pauses:?}");
        assert!(pauses[0] < 2800 && pauses[pauses.len() - 1] > 3500, "{pauses:?}");
    }
}
