//! How often the same trouble is said: at once, then every so often, with a count
//! of what was not said in between.
//!
//! A disk that is full, or a process without descriptors, fails the same way many
//! times a second. The log must never be what fills up next.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often a trouble that goes on is said again.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// One trouble that may go on.
#[derive(Debug, Default)]
pub struct Throttle(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    said: Option<Instant>,
    unsaid: u64,
}

impl Throttle {
    /// Whether it is to be said now: then how often it was not since the last time.
    pub fn say(&self) -> Option<u64> {
        self.say_at(Instant::now())
    }

    fn say_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.said.is_some_and(|said| now.saturating_duration_since(said) < SAY_EVERY) {
            state.unsaid += 1;
            return None;
        }
        state.said = Some(now);
        Some(std::mem::take(&mut state.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_that_goes_on_is_said_at_once_and_then_every_so_often() {
        let (throttle, start) = (Throttle::default(), Instant::now());
        let told: Vec<_> =
            (0..130).map(|second| throttle.say_at(start + Duration::from_secs(second))).collect();
        let said: Vec<_> = told.iter().enumerate().filter_map(|(at, told)| told.map(|n| (at, n))).collect();
        assert_eq!(said, [(0, 0), (60, 59), (120, 59)]);
    }
}
