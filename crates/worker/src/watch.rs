//! A message in a cell, by the clock: what is left of its budgets, whether it is
//! slow, and when its cell rests so that other mail goes on.
//!
//! Arithmetic on what is read elsewhere; nothing here waits, and no time that a
//! cell rests may count as the message's CPU time.

use std::time::{Duration, Instant};

use crate::budget::Allowance;
use crate::slow::{Delay, Turn};

/// One task under watch.
pub(crate) struct Watch {
    started: Instant,
    cpu_before: Duration,
    allowance: Allowance,
    /// It was not judged at once.
    lingers: bool,
    /// Its cell said that it takes long.
    said_so: bool,
    /// What it had used when it was found to take long.
    slow: Option<Duration>,
    share: Share,
}

/// A budget that is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// That of CPU time.
    Cpu,
    /// That of time on the clock.
    Wall,
}

/// Shortest wait: the last microseconds of a budget are not worth a wake-up each.
const WAIT_MIN: Duration = Duration::from_micros(200);

/// A message that is not judged after so long on the clock lingers: for no longer may
/// it hold up others.
const LINGERS: Duration = Duration::from_micros(500);

/// Shortest wait for one that is slow: at the lowest priority what is left of its
/// budget may last for ever, and its worker has the priority of the others.
const SLOW_WAIT_MIN: Duration = Duration::from_millis(20);

/// A message is slow, too, when it has taken so long on the clock, whatever the
/// machine did meanwhile.
const SLOW_WALL: Duration = Duration::from_secs(2);

/// A cell says itself when its message takes long. Should it not, that is seen when the
/// CPU clock shows so much more: a clock that goes on while another virtual machine has
/// the processor is no measure of the message.
const UNSAID_MAX: Duration = Duration::from_millis(20);

/// Once it is slow, how many times as long again takes what is no bad luck: a benign
/// message whose processor was taken from it by another machine's has answered by
/// then.
const VERY_SLOW_FACTOR: u32 = 2;

/// How many times longer a slow message may take on the clock: behind all others it
/// has a small share of the time, and that is not its fault.
const SLOW_WALL_FACTOR: u32 = 20;

impl Watch {
    /// From now on, with what the cell has used before.
    pub(crate) fn new(cpu_before: Duration, allowance: Allowance) -> Self {
        let started = Instant::now();
        let slow = allowance.behind.then_some(Duration::ZERO);
        let share = Share { turn: Turn::Others, rests: false, since: started };
        Self { started, cpu_before, allowance, lingers: slow.is_some(), said_so: false, slow, share }
    }

    /// How long nothing can go over a budget or become slow, or which budget is
    /// used up.
    pub(crate) fn left(&self, cpu: Duration) -> Result<Duration, Over> {
        let (used, elapsed) = (self.used(cpu), self.started.elapsed());
        let wall = if self.slow.is_some() {
            self.allowance.budget.wall.saturating_mul(SLOW_WALL_FACTOR)
        } else {
            self.allowance.budget.wall
        };
        match (self.allowance.budget.cpu.checked_sub(used), wall.checked_sub(elapsed)) {
            (None | Some(Duration::ZERO), _) => Err(Over::Cpu),
            (_, None | Some(Duration::ZERO)) => Err(Over::Wall),
            (Some(cpu), Some(wall)) if self.slow.is_some() => {
                let wait = cpu.min(wall).max(SLOW_WAIT_MIN).min(self.share.left());
                let until_very_slow = self.until_very_slow(used).filter(|_| !self.share.rests);
                Ok(until_very_slow.map_or(wait, |until| wait.min(until.max(GOES_ON))))
            }
            (Some(cpu), Some(wall)) => {
                let until_slow = self.allowance.slow.map_or(Duration::MAX, |slow| {
                    (slow + UNSAID_MAX).saturating_sub(used).min(SLOW_WALL.saturating_sub(elapsed))
                });
                let until_late = if self.lingers { Duration::MAX } else { LINGERS.saturating_sub(elapsed) };
                Ok(cpu.min(wall).min(until_slow).min(until_late).max(WAIT_MIN))
            }
        }
    }

    /// Takes note that its cell says that it takes long; `false` if it did before.
    pub(crate) fn says_so(&mut self) -> bool {
        !std::mem::replace(&mut self.said_so, true)
    }

    /// Whether its cell can leave it and go on. One that did not say that it takes long may
    /// wait for what will never come, as others would then; and one that has come after all
    /// others does so for ever.
    pub(crate) fn can_be_left(&self) -> bool {
        self.said_so && self.slow.is_none()
    }

    /// CPU time until a slow message has taken too long for bad luck; none once it has.
    fn until_very_slow(&self, used: Duration) -> Option<Duration> {
        let (limit, before) = (self.allowance.slow?, self.slow?);
        let until = (before + limit * VERY_SLOW_FACTOR).saturating_sub(used);
        (until > Duration::ZERO).then_some(until)
    }

    /// CPU time that the message has used.
    pub(crate) fn used(&self, cpu: Duration) -> Duration {
        cpu.saturating_sub(self.cpu_before)
    }

    /// Time on the clock since it was handed over.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Whether it takes long.
    pub(crate) fn is_slow(&self) -> bool {
        self.slow.is_some()
    }

    /// It takes long; `false` if it did before.
    pub(crate) fn slows(&mut self, cpu: Duration) -> bool {
        let first = self.slow.is_none();
        let used = self.used(cpu);
        self.slow.get_or_insert(used);
        first
    }

    /// Takes note of whose turn it is: whether its cell has to begin to rest, or to go
    /// on, if either.
    pub(crate) fn turns(&mut self, turn: Turn) -> Option<bool> {
        self.share.turns(turn, Instant::now()).then_some(self.share.rests)
    }

    /// What there is to be told once a wait has ended and there is no answer.
    pub(crate) fn delay(&mut self, cpu: Duration) -> Option<Delay> {
        let used = self.used(cpu);
        let lingers = !std::mem::replace(&mut self.lingers, true);
        match (self.allowance.slow, self.slow) {
            (Some(_), Some(_)) if self.until_very_slow(used).is_none() => Some(Delay::TakesVeryLong),
            (Some(_), Some(_)) => Some(Delay::TakesLong),
            (Some(_), None) if self.started.elapsed() >= SLOW_WALL => Some(Delay::TakesLong),
            (Some(limit), None) if self.said_so || used >= limit + UNSAID_MAX => Some(Delay::TakesLong),
            _ => lingers.then_some(Delay::Lingers),
        }
    }
}

/// How a slow message shares the time with others. The lowest priority alone is not
/// enough: a kernel gives the last process a good part of a processor while others
/// take turns on the rest, and knows nothing of processes in other sessions and
/// control groups, such as the MTA's.
struct Share {
    turn: Turn,
    rests: bool,
    /// When it began to rest, or to go on.
    since: Instant,
}

/// How long it goes on while it is others' turn: it must end, too …
const GOES_ON: Duration = Duration::from_millis(2);

/// … and how long it rests then: a hundredth of a processor is what it may cost them,
/// and twice what it needs to use up its CPU budget within its limit on the clock.
const RESTS: Duration = Duration::from_millis(198);

impl Share {
    /// Whether it has to begin to rest, or to go on.
    fn turns(&mut self, turn: Turn, now: Instant) -> bool {
        let for_so_long = now.saturating_duration_since(self.since);
        let rests = match (turn, self.rests) {
            (Turn::Its, _) => false,
            (Turn::Others, false) => for_so_long >= GOES_ON,
            (Turn::Others, true) => for_so_long < RESTS,
        };
        let since = if rests == self.rests { self.since } else { now };
        let turns = rests != std::mem::replace(&mut self.rests, rests);
        (self.turn, self.since) = (turn, since);
        turns
    }

    /// How long to wait until it is asked again whose turn it is.
    fn left(&self) -> Duration {
        if self.turn == Turn::Its || self.rests { SLOW_WAIT_MIN } else { GOES_ON }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lazaret_envelope::Budget;

    const BUDGET: Budget =
        Budget { memory: 1 << 20, cpu: Duration::from_secs(1), wall: Duration::from_secs(30) };

    fn delays(allowance: Allowance) -> Vec<Option<Delay>> {
        let mut watch = Watch::new(Duration::ZERO, allowance);
        let limit = Allowance::new(BUDGET, 1000).slow.unwrap();
        let told = |used| {
            let delay = watch.delay(used);
            if delay == Some(Delay::TakesLong) {
                watch.slows(used);
            }
            delay
        };
        let over = limit + UNSAID_MAX;
        [limit, over, over + limit, over * 10].map(told).to_vec()
    }

    #[test]
    fn a_cell_says_when_its_message_takes_long() {
        let mut watch = Watch::new(Duration::ZERO, Allowance::new(BUDGET, 1000));
        let limit = watch.allowance.slow.unwrap();
        assert_eq!(watch.delay(limit), Some(Delay::Lingers), "its clock may have gone on without it");
        assert!(!watch.can_be_left());
        assert!(watch.says_so());
        assert_eq!(watch.delay(limit), Some(Delay::TakesLong));
        assert!(!watch.says_so(), "once");
        assert!(watch.can_be_left());
        watch.slows(limit);
        assert!(!watch.can_be_left(), "its cell comes after all others");
    }

    #[test]
    fn a_cell_that_says_nothing_is_found_out() {
        let mut watch = Watch::new(Duration::ZERO, Allowance::new(BUDGET, 1000));
        let limit = watch.allowance.slow.unwrap();
        assert_eq!(watch.delay(limit), Some(Delay::Lingers));
        assert!(watch.left(limit).unwrap() <= UNSAID_MAX, "it is looked at in time");
        assert_eq!(watch.delay(limit + UNSAID_MAX), Some(Delay::TakesLong));
    }

    #[test]
    fn a_second_look_is_soon_over_when_it_is_its_turn() {
        let mut watch = Watch::new(Duration::ZERO, Allowance::new(BUDGET, 1 << 20).behind());
        assert_eq!(watch.turns(Turn::Its), None);
        let limit = watch.allowance.slow.unwrap();
        let left = watch.left(Duration::ZERO).unwrap();
        assert!(left <= limit * VERY_SLOW_FACTOR, "{left:?} until it is asked whether that was enough");
        assert!(watch.left(limit * VERY_SLOW_FACTOR).unwrap() >= SLOW_WAIT_MIN, "from then on there is time");
    }

    #[test]
    fn one_that_is_behind_others_rests_soon() {
        let behind = Allowance::new(BUDGET, 1000).behind();
        let mut watch = Watch::new(Duration::ZERO, behind);
        assert!(watch.left(Duration::ZERO).unwrap() <= GOES_ON, "before anybody was asked whose turn it is");
        watch.share.since -= GOES_ON;
        assert_eq!(watch.turns(Turn::Others), Some(true));
    }

    #[test]
    fn one_that_is_alone_is_late_but_never_behind_others() {
        let allowance = Allowance::new(BUDGET, 1000);
        let (lingers, long, very) =
            (Some(Delay::Lingers), Some(Delay::TakesLong), Some(Delay::TakesVeryLong));
        assert_eq!(delays(allowance), [lingers, long, long, very], "however late it is looked at");
        assert_eq!(delays(allowance.alone()), [lingers, None, None, None]);
        assert_eq!(delays(allowance.behind()), [long, very, very, very], "from the start");
    }

    #[test]
    fn it_holds_up_others_for_no_longer_than_a_moment() {
        let allowance = Allowance::new(BUDGET, 10 << 20);
        let mut watch = Watch::new(Duration::ZERO, allowance);
        assert!(watch.left(Duration::ZERO).unwrap() <= LINGERS, "however much it may use");
        assert_eq!(watch.delay(Duration::ZERO), Some(Delay::Lingers));
        assert!(watch.left(Duration::ZERO).unwrap() > LINGERS, "that is told once");
    }

    #[test]
    fn while_it_is_others_turn_it_has_a_small_share_of_the_time() {
        let started = Instant::now();
        let mut share = Share { turn: Turn::Its, rests: false, since: started };
        let (mut now, mut went_on) = (started, Duration::ZERO);
        for _ in 0..1000 {
            share.turns(Turn::Others, now);
            went_on += if share.rests { Duration::ZERO } else { share.left() };
            now += share.left();
        }
        let part = went_on.as_secs_f64() / (now - started).as_secs_f64();
        assert!((0.005..0.02).contains(&part), "{part}");
        while !share.rests {
            now += share.left();
            share.turns(Turn::Others, now);
        }
        assert!(share.turns(Turn::Its, now) && !share.rests, "and all of it when there is no other");
    }
}
