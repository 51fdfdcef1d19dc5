//! A cell as its worker sees it: started, given a task, watched, and ended.
//!
//! A cell that did anything but answer its task is gone: [`Cell::judge`] takes
//! `self` and gives it back only after an answer. The worker must never wait
//! for a cell beyond the message's budget, and never believe what it says.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lazaret_envelope::{Line, MessageId, Stage, Usage};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustix::process::{Resource, Rlimit, prlimit};

use crate::budget::Allowance;
use crate::fault::Ending;
use crate::frame::{Answer, AnswerHead, Setup, Task};
use crate::jail::JailState;
use crate::offspring::Offspring;
use crate::page::SharedPage;
use crate::process::run_last;
use crate::slow::{Delay, GivesWay, Slow, Turn};
use crate::stop::Stop;

/// The hidden subcommand as which the program runs as a cell.
pub const CELL_COMMAND: &str = "cell";

/// The program, held open since start: an upgrade on disk can't mix versions.
#[derive(Debug)]
pub struct Program(File);

impl Program {
    /// The program that is running.
    ///
    /// # Errors
    /// /proc is not there, or the file can't be opened.
    pub fn current() -> io::Result<Self> {
        Self::at(Path::new("/proc/self/exe"))
    }

    /// Another build of the program, which must answer to [`CELL_COMMAND`] as well.
    ///
    /// # Errors
    /// The file can't be opened.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        File::open(path).map(Self)
    }
}

/// Why there is no cell.
#[derive(Debug, thiserror::Error)]
pub enum CellError {
    /// It can't be started.
    #[error("failed to start a cell: {0}")]
    Start(#[source] io::Error),
    /// It ended, or went wrong, on the built-in message.
    #[error("a new cell failed its self-test: {0}")]
    SelfTest(Line),
    /// Its jail is not what the configuration requires.
    #[error(
        "the jail of a new cell is not what [workers] jail = \"required\" asks for: {0}; \
         use a kernel that has it, or set \"best-effort\""
    )]
    Jail(JailState),
}

/// A living cell without a task.
#[derive(Debug)]
pub(crate) struct Cell {
    child: Offspring,
    socket: UnixStream,
    page: SharedPage,
    tasks: u64,
    space: Option<u64>,
}

/// How a task ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// With an answer.
    Answered(Answer),
    /// With the cell's death.
    Died(Ending),
    /// With the end of the CPU budget.
    OverCpu,
    /// With the end of the wall-time budget.
    OverWall,
    /// With something that is no answer.
    Nonsense(String),
    /// With a request to stop.
    Stopped,
    /// Because it took long, and others that do had all the places.
    GaveWay(GivesWay),
}

/// What is known once a task has ended.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) ended: Ended,
    pub(crate) usage: Usage,
    pub(crate) stage: Stage,
    /// What the cell left behind when it panicked.
    pub(crate) note: Option<Line>,
    /// Whether the cell had taken up the task at all.
    pub(crate) taken: bool,
    /// The cell, if it can take another task.
    pub(crate) cell: Option<Cell>,
}

impl Cell {
    /// Starts a cell and tells it the routes. Its environment is empty, and its
    /// only descriptors are a socket and the shared page.
    pub(crate) fn start(program: &Program, setup: &Setup) -> io::Result<Self> {
        let (mine, theirs) = UnixStream::pair()?;
        let (page, memory) = SharedPage::create()?;
        let child = Command::new(format!("/proc/self/fd/{}", program.0.as_raw_fd()))
            .arg0("lazaret-cell")
            .arg(CELL_COMMAND)
            .env_clear()
            .current_dir("/")
            .stdin(OwnedFd::from(theirs))
            .stdout(memory)
            .stderr(Stdio::null())
            .spawn()?;
        let child = Offspring::new(child)?;
        let mut cell = Self { child, socket: mine, page, tasks: 0, space: None };
        let json = serde_json::to_vec(setup)?;
        let length = u32::try_from(json.len()).map_err(io::Error::other)?;
        cell.socket.write_all(&[&length.to_le_bytes(), &json[..]].concat())?;
        Ok(cell)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.pid().as_raw_pid().unsigned_abs()
    }

    /// How it is jailed, as it said itself: to be asked before it has mail.
    pub(crate) fn jail(&self) -> Option<JailState> {
        self.page.page().jail()
    }

    /// Has a message judged, within its budget. `slow` is told that it is not judged at
    /// once, and, again and again, that it takes long: then the cell goes on at the
    /// lowest priority and rests while it is others' turn, or is ended.
    pub(crate) fn judge(
        mut self,
        (id, recipients): (MessageId, usize),
        message: BorrowedFd<'_>,
        allowance: Allowance,
        stop: &Stop,
        slow: &mut Slow<'_>,
    ) -> Judged {
        self.tasks += 1;
        let mut watch = Watch::new(self.child.cpu(), allowance);
        if watch.slow.is_some() {
            self.run_last();
        }
        let (ended, head) = match self.hand_over(id, message, allowance) {
            Ok(()) => self.watch(&mut watch, recipients, stop, slow),
            Err(_) => (self.death(), None),
        };
        self.judged(ended, head, &watch)
    }

    fn judged(mut self, ended: Ended, head: Option<AnswerHead>, watch: &Watch) -> Judged {
        let answered = matches!(ended, Ended::Answered(_));
        if !answered {
            self.child.end();
        }
        let cpu = watch.used(self.child.cpu());
        let page = self.page.page();
        let taken = page.task() == self.tasks;
        let memory =
            if answered { head.map(|head| head.peak) } else { Some(page.peak()).filter(|&peak| peak > 0) };
        Judged {
            ended,
            usage: Usage { memory, cpu: Some(cpu), wall: watch.started.elapsed() },
            stage: if taken { page.stage() } else { Stage::Idle },
            note: page.note().filter(|_| taken),
            taken,
            // A slow message's cell has the lowest priority for ever.
            cell: head.is_some_and(|head| answered && !head.retire && watch.slow.is_none()).then_some(self),
        }
    }

    /// Passes the open message over, behind a limit of address space.
    fn hand_over(&mut self, id: MessageId, message: BorrowedFd<'_>, allowance: Allowance) -> io::Result<()> {
        let Allowance { budget, space, .. } = allowance;
        if self.space != Some(space) {
            let limit = Rlimit { current: Some(space), maximum: None };
            prlimit(Some(self.child.pid()), Resource::As, limit)?;
            self.space = Some(space);
        }
        let task = Task { number: self.tasks, id, memory: budget.memory }.encode();
        let files = [message];
        let mut room = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut room);
        control.push(SendAncillaryMessage::ScmRights(&files));
        let sent = rustix::net::sendmsg(
            &self.socket,
            &[io::IoSlice::new(&task)],
            &mut control,
            SendFlags::NOSIGNAL,
        )?;
        if sent == task.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    /// Waits for the answer, the cell's death, the end of a budget, or a request
    /// to stop. The cell's CPU clock is read from outside, so a spinning parser
    /// can't hide; a machine under load makes nothing look expensive.
    fn watch(
        &mut self,
        watch: &mut Watch,
        recipients: usize,
        stop: &Stop,
        slow: &mut Slow<'_>,
    ) -> (Ended, Option<AnswerHead>) {
        loop {
            let left = match watch.left(self.child.cpu()) {
                Ok(left) => left,
                Err(over) => return (over, None),
            };
            let (answer, death, stopped) = match self.wait(left, stop) {
                Ok(ready) => ready,
                Err(error) => return (Ended::Nonsense(format!("poll failed: {error}")), None),
            };
            if answer {
                match self.read_answer(watch, recipients) {
                    Ok(Some((head, answer))) => return (Ended::Answered(answer), Some(head)),
                    Ok(None) => continue,
                    Err(Some(nonsense)) => return (Ended::Nonsense(nonsense), None),
                    Err(None) => return (self.death(), None),
                }
            }
            if death {
                return (self.death(), None);
            }
            if stopped {
                return (Ended::Stopped, None);
            }
            if let Err(gave) = self.delayed(watch, slow) {
                return (Ended::GaveWay(gave), None);
            }
        }
    }

    /// There is no answer yet: who is in whose way?
    fn delayed(&self, watch: &mut Watch, slow: &mut Slow<'_>) -> Result<(), GivesWay> {
        let cpu = self.child.cpu();
        let Some(delay) = watch.delay(cpu) else { return Ok(()) };
        let turn = slow(delay)?;
        if delay == Delay::Lingers {
            return Ok(());
        }
        if watch.slow.is_none() {
            watch.slow = Some(watch.used(cpu));
            self.run_last();
        }
        if watch.share.turns(turn, Instant::now()) {
            self.child.rest(watch.share.rests);
        }
        Ok(())
    }

    fn run_last(&self) {
        // Fails only where the cell has ended, which its watch sees at once.
        let _ = run_last(self.child.pid());
    }

    fn wait(&self, left: Duration, stop: &Stop) -> io::Result<(bool, bool, bool)> {
        let mut descriptors = [
            PollFd::new(&self.socket, PollFlags::IN),
            PollFd::new(&self.child, PollFlags::IN),
            PollFd::from_borrowed_fd(stop.as_fd(), PollFlags::IN),
        ];
        let left = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        match poll(&mut descriptors, Some(&left)) {
            Err(error) if error != rustix::io::Errno::INTR => return Err(error.into()),
            _ => {}
        }
        let ready = |at: usize| !descriptors[at].revents().is_empty();
        Ok((ready(0), ready(1), ready(2)))
    }

    /// Reads what is there of the answer: all of it, not yet all, nonsense, or
    /// nothing more because the cell has hung up.
    fn read_answer(
        &mut self,
        watch: &mut Watch,
        recipients: usize,
    ) -> Result<Option<(AnswerHead, Answer)>, Option<String>> {
        let have = watch.answer.len();
        let want = match watch.answer.first_chunk() {
            None => AnswerHead::BYTES,
            Some(head) => AnswerHead::BYTES + AnswerHead::decode(head, self.tasks, recipients)?.1,
        };
        watch.answer.resize(want, 0);
        let count = self.socket.read(&mut watch.answer[have..]).map_err(|_| None)?;
        if count == 0 && want > have {
            return Err(None);
        }
        watch.answer.truncate(have + count);
        let Some((head, body)) = watch.answer.split_first_chunk() else { return Ok(None) };
        let (head, length) = AnswerHead::decode(head, self.tasks, recipients)?;
        Ok((body.len() == length).then(|| (head, head.complete(body.to_vec()))))
    }

    /// How a cell that hung up ended. One that hangs up and lives is ended.
    fn death(&mut self) -> Ended {
        const HANGING_UP: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
        let mut death = [PollFd::new(&self.child, PollFlags::IN)];
        if poll(&mut death, Some(&HANGING_UP)).is_ok_and(|ready| ready == 0) {
            return Ended::Nonsense("it hung up without an answer".into());
        }
        match self.child.reap() {
            Ok(status) => Ended::Died(status.into()),
            Err(error) => Ended::Nonsense(format!("its end can't be told: {error}")),
        }
    }
}

/// One task under watch.
struct Watch {
    started: Instant,
    cpu_before: Duration,
    allowance: Allowance,
    answer: Vec<u8>,
    /// It was not judged at once.
    lingers: bool,
    /// What it had used when it was found to take long.
    slow: Option<Duration>,
    share: Share,
}

/// Shortest wait: the last microseconds of a budget are not worth a wake-up each.
const WAIT_MIN: Duration = Duration::from_micros(200);

/// Shortest wait for one that is slow: at the lowest priority what is left of its
/// budget may last for ever, and its worker has the priority of the others.
const SLOW_WAIT_MIN: Duration = Duration::from_millis(20);

/// A message is slow, too, when it has taken so long on the clock, whatever the
/// machine did meanwhile.
const SLOW_WALL: Duration = Duration::from_secs(2);

/// Once it is slow, how many times as long again takes what is no bad luck: a benign
/// message whose processor was taken from it by another machine's has answered by
/// then.
const VERY_SLOW_FACTOR: u32 = 4;

/// How many times longer a slow message may take on the clock: behind all others it
/// has a small share of the time, and that is not its fault.
const SLOW_WALL_FACTOR: u32 = 20;

impl Watch {
    fn new(cpu_before: Duration, allowance: Allowance) -> Self {
        let started = Instant::now();
        let slow = allowance.behind.then_some(Duration::ZERO);
        let share = Share { turn: Turn::Its, rests: false, since: started };
        Self { started, cpu_before, allowance, answer: Vec::new(), lingers: slow.is_some(), slow, share }
    }

    /// How long nothing can go over a budget or become slow, or which budget is
    /// used up.
    fn left(&self, cpu: Duration) -> Result<Duration, Ended> {
        let (used, elapsed) = (self.used(cpu), self.started.elapsed());
        let wall = if self.slow.is_some() {
            self.allowance.budget.wall.saturating_mul(SLOW_WALL_FACTOR)
        } else {
            self.allowance.budget.wall
        };
        match (self.allowance.budget.cpu.checked_sub(used), wall.checked_sub(elapsed)) {
            (None | Some(Duration::ZERO), _) => Err(Ended::OverCpu),
            (_, None | Some(Duration::ZERO)) => Err(Ended::OverWall),
            (Some(cpu), Some(wall)) if self.slow.is_some() => {
                Ok(cpu.min(wall).max(SLOW_WAIT_MIN).min(self.share.left()))
            }
            (Some(cpu), Some(wall)) => {
                let until_slow = self.allowance.slow.map_or(Duration::MAX, |slow| {
                    slow.saturating_sub(used).min(SLOW_WALL.saturating_sub(elapsed))
                });
                Ok(cpu.min(wall).min(until_slow).max(WAIT_MIN))
            }
        }
    }

    fn used(&self, cpu: Duration) -> Duration {
        cpu.saturating_sub(self.cpu_before)
    }

    /// What there is to be told once a wait has ended and there is no answer.
    fn delay(&mut self, cpu: Duration) -> Option<Delay> {
        let used = self.used(cpu);
        let lingers = !std::mem::replace(&mut self.lingers, true);
        match (self.allowance.slow, self.slow) {
            (Some(limit), Some(before)) if used.saturating_sub(before) >= limit * VERY_SLOW_FACTOR => {
                Some(Delay::TakesVeryLong)
            }
            (Some(_), Some(_)) => Some(Delay::TakesLong),
            (Some(limit), None) if used >= limit || self.started.elapsed() >= SLOW_WALL => {
                Some(Delay::TakesLong)
            }
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
const GOES_ON: Duration = Duration::from_millis(5);

/// … and how long it rests then: a fortieth of a processor is what it may cost them.
const RESTS: Duration = Duration::from_millis(195);

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
        let told = |micros| {
            let used = Duration::from_micros(micros);
            let delay = watch.delay(used);
            watch.slow = watch.slow.or((delay == Some(Delay::TakesLong)).then_some(used));
            delay
        };
        [100, 100_000, 100_500, 500_000].map(told).to_vec()
    }

    #[test]
    fn one_that_is_alone_is_late_but_never_behind_others() {
        let allowance = Allowance::new(BUDGET, 1000);
        let (lingers, long, very) =
            (Some(Delay::Lingers), Some(Delay::TakesLong), Some(Delay::TakesVeryLong));
        assert_eq!(delays(allowance), [lingers, long, long, very], "however late it is looked at");
        assert_eq!(delays(Allowance { slow: None, ..allowance }), [lingers, None, None, None]);
        assert_eq!(
            delays(Allowance { behind: true, ..allowance }),
            [long, very, very, very],
            "from the start"
        );
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
        assert!((0.01..0.05).contains(&part), "{part}");
        while !share.rests {
            now += share.left();
            share.turns(Turn::Others, now);
        }
        assert!(share.turns(Turn::Its, now) && !share.rests, "and all of it when there is no other");
    }
}
