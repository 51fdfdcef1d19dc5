//! Whether a next hop is asked for anything: a circuit breaker.
//!
//! Closed, it lets everybody through. After so many failures in a row it opens:
//! nobody asks, so that nobody waits for the same deadline again. After a pause
//! it is half-open: one probe is let through, and decides. The pause doubles from
//! probe to probe.
//!
//! Pure: the time is told, and the jitter follows from what it is given. It must
//! never let two probes through at a time.

use std::time::{Duration, Instant};

use crate::backoff;
use crate::smtp::config::BreakerConfig;

/// The breaker of one next hop.
#[derive(Debug)]
pub(crate) struct Breaker {
    config: BreakerConfig,
    /// What makes its jitter differ from that of others.
    unique: u64,
    state: State,
    /// Probes that were let through so far.
    probes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// So many failures in a row.
    Closed { failures: u32 },
    /// Nobody is let through before `until`; so many pauses lie behind it.
    Open { until: Instant, round: u32 },
    /// The probe of this number is under way.
    HalfOpen { probe: u64, round: u32 },
}

/// The right to ask a next hop. Whoever has it says how it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a probe that nobody reports on keeps all others out"]
pub(crate) struct Permit(Option<u64>);

/// What a report has brought about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing.
    None,
    /// Nobody is let through for so long.
    Opened(Duration),
    /// Everybody is let through again.
    Closed,
}

/// The state, as it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Everybody is let through.
    Closed,
    /// Nobody is; the time until the next probe may begin.
    Open(Duration),
    /// A probe is under way.
    HalfOpen,
}

impl Breaker {
    pub(crate) fn new(config: BreakerConfig, unique: u64) -> Self {
        Self { config, unique, state: State::Closed { failures: 0 }, probes: 0 }
    }

    /// Lets somebody through, if it is so far.
    pub(crate) fn ask(&mut self, now: Instant) -> Option<Permit> {
        match self.state {
            State::Closed { .. } => Some(Permit(None)),
            State::Open { until, round } if until <= now => {
                self.probes += 1;
                self.state = State::HalfOpen { probe: self.probes, round };
                Some(Permit(Some(self.probes)))
            }
            State::Open { .. } | State::HalfOpen { .. } => None,
        }
    }

    /// Whether nobody would be let through now.
    pub(crate) fn refuses(&self, now: Instant) -> bool {
        match self.state {
            State::Closed { .. } => false,
            State::Open { until, .. } => until > now,
            State::HalfOpen { .. } => true,
        }
    }

    /// The next hop did what it was asked, whoever asked.
    pub(crate) fn succeeded(&mut self) -> Change {
        match std::mem::replace(&mut self.state, State::Closed { failures: 0 }) {
            State::Closed { .. } => Change::None,
            State::Open { .. } | State::HalfOpen { .. } => Change::Closed,
        }
    }

    /// The next hop did not. A failure of somebody who was let through before it
    /// opened says nothing new.
    pub(crate) fn failed(&mut self, permit: Permit, now: Instant) -> Change {
        match self.state {
            State::Closed { failures } if failures + 1 < self.config.failures => {
                self.state = State::Closed { failures: failures + 1 };
                Change::None
            }
            State::Closed { .. } => self.open(now, 0),
            State::HalfOpen { probe, round } if permit == Permit(Some(probe)) => self.open(now, round + 1),
            State::Open { .. } | State::HalfOpen { .. } => Change::None,
        }
    }

    /// It did not come to an answer, for reasons of our own: the next one may ask.
    pub(crate) fn abandoned(&mut self, permit: Permit, now: Instant) {
        if let State::HalfOpen { probe, round } = self.state
            && permit == Permit(Some(probe))
        {
            self.state = State::Open { until: now, round };
        }
    }

    /// Somebody knows better: the next one may ask, however long the pause would
    /// still be.
    pub(crate) fn hasten(&mut self, now: Instant) {
        if let State::Open { round, .. } = self.state {
            self.state = State::Open { until: now, round };
        }
    }

    fn open(&mut self, now: Instant, round: u32) -> Change {
        let BreakerConfig { pause_first, pause_max, .. } = self.config;
        let pause = backoff::pause(pause_first, pause_max, self.unique, round);
        self.state = State::Open { until: now + pause, round };
        Change::Opened(pause)
    }

    /// The state at a time.
    pub(crate) fn state(&self, now: Instant) -> BreakerState {
        match self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { until, .. } => BreakerState::Open(until.saturating_duration_since(now)),
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FAILURES: u32 = 3;

    fn breaker() -> (Breaker, Instant) {
        let config = BreakerConfig {
            failures: FAILURES,
            pause_first: Duration::from_secs(8),
            pause_max: Duration::from_secs(30),
        };
        (Breaker::new(config, 7), Instant::now())
    }

    /// Opens it; the length of its pause.
    fn open(breaker: &mut Breaker, now: Instant) -> Duration {
        for _ in 1..FAILURES {
            let permit = breaker.ask(now).unwrap();
            assert_eq!(breaker.failed(permit, now), Change::None);
        }
        let permit = breaker.ask(now).unwrap();
        match breaker.failed(permit, now) {
            Change::Opened(pause) => pause,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn who_knows_better_ends_the_pause_and_no_probe() {
        let (mut breaker, now) = breaker();
        open(&mut breaker, now);
        assert_eq!(breaker.ask(now), None);
        breaker.hasten(now);
        let probe = breaker.ask(now).unwrap();
        breaker.hasten(now);
        assert_eq!((breaker.ask(now), breaker.state(now)), (None, BreakerState::HalfOpen));
        assert!(matches!(breaker.failed(probe, now), Change::Opened(_)));
    }

    #[test]
    fn failures_in_a_row_open_it_and_one_probe_at_a_time_decides() {
        let (mut breaker, mut now) = breaker();
        let mut pauses = vec![open(&mut breaker, now)];
        for _ in 0..4 {
            let pause = pauses[pauses.len() - 1];
            assert!(breaker.refuses(now) && breaker.ask(now + pause / 2).is_none());
            now += pause;
            assert!(!breaker.refuses(now));
            let probe = breaker.ask(now).unwrap();
            assert!(breaker.refuses(now) && breaker.ask(now).is_none(), "one at a time");
            assert_eq!(breaker.state(now), BreakerState::HalfOpen);
            let Change::Opened(pause) = breaker.failed(probe, now) else { panic!("not opened") };
            pauses.push(pause);
        }
        for (pause, longest) in pauses.iter().zip([8, 16, 30, 30, 30]) {
            let longest = Duration::from_secs(longest);
            assert!(*pause <= longest && *pause >= longest * 3 / 4, "{pauses:?}");
        }
        now += Duration::from_secs(30);
        let _probe = breaker.ask(now).unwrap();
        assert_eq!(breaker.succeeded(), Change::Closed);
        assert_eq!(breaker.state(now), BreakerState::Closed);
        let pause = open(&mut breaker, now);
        assert!(pause <= Duration::from_secs(8), "it begins anew: {pause:?}");
    }

    #[test]
    fn a_success_in_between_keeps_it_closed() {
        let (mut breaker, now) = breaker();
        for _ in 0..9 {
            for _ in 1..FAILURES {
                let permit = breaker.ask(now).unwrap();
                assert_eq!(breaker.failed(permit, now), Change::None);
            }
            assert_eq!(breaker.succeeded(), Change::None);
        }
    }

    #[test]
    fn what_began_before_it_opened_decides_nothing() {
        let (mut breaker, now) = breaker();
        let old = breaker.ask(now).unwrap();
        let pause = open(&mut breaker, now);
        assert_eq!(breaker.failed(old, now), Change::None);
        let probe = breaker.ask(now + pause).unwrap();
        assert_eq!(breaker.failed(old, now + pause), Change::None);
        assert_eq!(breaker.state(now), BreakerState::HalfOpen, "the probe is still under way");
        breaker.abandoned(old, now + pause);
        assert!(breaker.ask(now + pause).is_none());
        breaker.abandoned(probe, now + pause);
        assert!(breaker.ask(now + pause).is_some(), "another may probe at once");
    }

    proptest! {
        #[test]
        fn never_two_probes_and_never_shut_for_good(
            steps in prop::collection::vec((0..4_u8, 0..40_u64, 0..8_usize), 0..200),
        ) {
            let (mut breaker, mut now) = breaker();
            let mut out: Vec<Permit> = Vec::new();
            for (step, seconds, which) in steps {
                now += Duration::from_secs(seconds);
                let take = |out: &mut Vec<Permit>| (!out.is_empty()).then(|| out.remove(which % out.len()));
                match step {
                    0 => {
                        let refuses = breaker.refuses(now);
                        let permit = breaker.ask(now);
                        prop_assert_eq!(permit.is_none(), refuses);
                        out.extend(permit);
                    }
                    1 => {
                        if let Some(permit) = take(&mut out) {
                            let half_open = breaker.state(now) == BreakerState::HalfOpen;
                            let change = breaker.failed(permit, now);
                            if let (true, Change::Opened(_)) = (half_open, change) {
                                prop_assert!(permit.0 == Some(breaker.probes), "only the probe decides");
                            }
                        }
                    }
                    2 => if take(&mut out).is_some() {
                        breaker.succeeded();
                        prop_assert_eq!(breaker.state(now), BreakerState::Closed);
                    },
                    _ => if let Some(permit) = take(&mut out) {
                        breaker.abandoned(permit, now);
                    },
                }
                let probing = out.iter().filter(|permit| permit.0 == Some(breaker.probes)).count();
                prop_assert!(probing <= 1);
                if breaker.state(now) == BreakerState::HalfOpen {
                    prop_assert_eq!(probing, 1, "somebody is to report on it");
                }
            }
            // Whoever is out comes back; then it is a matter of time.
            for permit in out {
                breaker.abandoned(permit, now);
            }
            prop_assert!(!breaker.refuses(now + Duration::from_secs(30)));
        }
    }
}
