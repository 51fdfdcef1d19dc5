//! When a daemon is killed: at any moment, or right behind an event that tells
//! which step it is at.
//!
//! A moment that does not come within its limit counts as any moment, and must
//! never be reported as the one that was meant.

use std::path::PathBuf;
use std::time::Duration;

use super::ledger::BOXES;
use super::load::pause;
use crate::lab::Lab;
use crate::random::Random;
use crate::sink::Sink;
use crate::wait::Watch;

/// Longest life of a daemon that is killed while it starts.
const START_TIME_MAX: Duration = Duration::from_millis(40);

/// Longest life, from when it is ready, of one that is killed at any moment.
const LIFE_TIME_MAX: Duration = Duration::from_millis(400);

/// Longest time from SIGTERM to the kill.
const STOP_TIME_MAX: Duration = Duration::from_millis(120);

/// Longest wait for an event of a start or of a stop.
const SHORT_EVENT_MAX: Duration = Duration::from_millis(200);

/// Longest wait for an event of a life.
const EVENT_TIME_MAX: Duration = Duration::from_millis(1500);

/// Events that are let go by, at most.
const SKIPPED_MAX: usize = 12;

/// How far behind an event a kill may be, by turns: at once, within a step or
/// two, within a few.
const BEHIND: [Duration; 3] = [Duration::ZERO, Duration::from_micros(300), Duration::from_millis(3)];

/// Which part of a daemon's life.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Before it is ready.
    Starting,
    /// While it works.
    Running,
    /// After SIGTERM.
    Stopping,
}

/// What is waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Event {
    /// Nothing: a time drawn at random.
    Anytime,
    /// A name appears in this state's directory.
    In(&'static str),
    /// A name goes from it.
    From(&'static str),
    /// A file appears in `tmp/` or `new/` of a Maildir.
    Maildir,
    /// The next hop has a message, and says so next.
    NextHop,
}

/// A moment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Where in the daemon's life.
    pub phase: Phase,
    event: Event,
    /// For people.
    pub words: &'static str,
}

const fn moment(phase: Phase, event: Event, words: &'static str) -> Moment {
    Moment { phase, event, words }
}

/// All of them; each as likely as any other.
pub const MOMENTS: [Moment; 17] = [
    moment(Phase::Starting, Event::Anytime, "starting: any moment"),
    moment(Phase::Starting, Event::In("incoming"), "recovering: behind a message put back"),
    moment(Phase::Starting, Event::In("deferred"), "recovering: behind a report or a message deferred"),
    moment(Phase::Running, Event::Anytime, "working: any moment"),
    moment(Phase::Running, Event::In("tmp"), "taking in: behind a file in tmp/"),
    moment(Phase::Running, Event::From("drop"), "taking in: behind a file taken from drop/"),
    moment(Phase::Running, Event::In("incoming"), "accepting: behind a name in incoming/"),
    moment(Phase::Running, Event::In("claimed"), "claiming: behind a name in claimed/"),
    moment(Phase::Running, Event::In("outbound"), "routing: behind a name in outbound/"),
    moment(Phase::Running, Event::Maildir, "delivering: behind a file in a Maildir"),
    moment(Phase::Running, Event::NextHop, "delivering: behind a message at the next hop"),
    moment(Phase::Running, Event::In("journal"), "noting: behind a new journal"),
    moment(Phase::Running, Event::In("waiting"), "putting off: behind a name in waiting/"),
    moment(Phase::Running, Event::From("outbound"), "finishing: behind a name gone from outbound/"),
    moment(Phase::Running, Event::In("deferred"), "deferring: behind a report or a message"),
    moment(Phase::Stopping, Event::Anytime, "stopping: any moment"),
    moment(Phase::Stopping, Event::In("incoming"), "stopping: behind a message put back"),
];

/// A moment that is being waited for.
pub struct Armed<'a> {
    moment: Moment,
    watch: Option<Watch>,
    sink: &'a Sink,
    taken: usize,
}

impl Moment {
    /// One at random.
    pub fn draw(random: &mut Random) -> Self {
        MOMENTS[random.below(MOMENTS.len())]
    }

    /// What a kill at no event in this part of a life is called.
    fn any(phase: Phase) -> &'static str {
        let any = MOMENTS.iter().find(|moment| moment.phase == phase && moment.event == Event::Anytime);
        any.map_or("any moment", |moment| moment.words)
    }

    /// Begins to watch.
    pub fn arm<'a>(self, lab: &Lab, sink: &'a Sink) -> Armed<'a> {
        let spool = lab.spool();
        let folders = |state| if state == "claimed" { spool.workers() } else { vec![spool.path(state)] };
        let watch = match self.event {
            Event::In(state) => Some(Watch::on(&folders(state))),
            Event::From(state) => Some(Watch::going(&folders(state))),
            Event::Maildir => Some(Watch::on(&maildirs(lab))),
            Event::Anytime | Event::NextHop => None,
        };
        Armed { moment: self, watch, sink, taken: sink.count() }
    }
}

/// Where files of Maildirs appear.
fn maildirs(lab: &Lab) -> Vec<PathBuf> {
    let boxes = std::fs::read_dir(lab.path("mail").join(BOXES)).into_iter().flatten().flatten();
    boxes.flat_map(|folder| ["tmp", "new"].map(|sub| folder.path().join(sub))).collect()
}

impl Armed<'_> {
    /// Waits for the moment; gives the words for what came.
    pub fn wait(mut self, random: &mut Random) -> &'static str {
        let phase = self.moment.phase;
        let (anytime, limit) = match phase {
            Phase::Starting => (START_TIME_MAX, SHORT_EVENT_MAX),
            Phase::Running => (LIFE_TIME_MAX, EVENT_TIME_MAX),
            Phase::Stopping => (STOP_TIME_MAX, SHORT_EVENT_MAX),
        };
        let came = match (self.moment.event, &mut self.watch) {
            (Event::Anytime, _) => {
                pause(random, anytime);
                return self.moment.words;
            }
            (Event::NextHop, _) => self.sink.takes_more_than(self.taken + random.below(SKIPPED_MAX), limit),
            // Of the rare events of a start or a stop the first will do.
            (_, Some(watch)) => {
                let skipped = if phase == Phase::Running { random.below(SKIPPED_MAX) } else { 0 };
                (0..skipped).take_while(|_| watch.next(limit / SKIPPED_MAX as u32).is_some()).count();
                watch.next(limit).is_some()
            }
            (_, None) => unreachable!("what is waited for is watched"),
        };
        if !came {
            return Moment::any(phase);
        }
        let behind = BEHIND[random.below(BEHIND.len())];
        pause(random, behind);
        self.moment.words
    }
}
