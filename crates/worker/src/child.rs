//! A cell as its worker sees it: started, given a task, watched, and ended.
//!
//! A cell that did anything but answer its task is gone: [`Cell::judge`] takes
//! `self` and gives it back only after an answer. The worker must never wait
//! for a cell beyond the message's budget, and never believe what it says.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use lazaret_envelope::{Line, MessageId, Stage, Usage};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Resource, Rlimit, prlimit};

use crate::budget::Allowance;
use crate::fault::Ending;
use crate::frame::{Answer, AnswerHead, Said, Task};
use crate::jail::JailState;
use crate::offspring::Offspring;
use crate::page::SharedPage;
use crate::passing;
use crate::slow::{Delay, GivesWay, Slow};
use crate::stop::Stop;
use crate::watch::{Over, Watch};

/// How long a cell may take to leave its message before it is ended: far more than it
/// does, on a machine under load.
const LEAVE_TIME_MAX: Duration = Duration::from_millis(20);

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
    /// Because it took long, and others that do had all the places; its cell may have
    /// left it and live.
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

impl Judged {
    /// Whether the message was not judged within so much CPU time, if there is such a limit.
    pub(crate) fn took_longer_than(&self, limit: Option<Duration>) -> bool {
        let within = |cpu: Duration| limit.is_none_or(|limit| cpu <= limit);
        !matches!(self.ended, Ended::Answered(_)) || !self.usage.cpu.is_some_and(within)
    }
}

impl Cell {
    /// Takes charge of a process that waits for tasks.
    pub(crate) fn new(child: Offspring, socket: UnixStream, page: SharedPage) -> Self {
        Self { child, socket, page, tasks: 0, space: None }
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
        if watch.is_slow() {
            self.child.run_last();
        }
        let (ended, head) = match self.hand_over(id, message, allowance) {
            Ok(()) => self.watch(&mut watch, recipients, stop, slow),
            Err(_) => (self.death(), None),
        };
        self.judged(ended, head, &watch)
    }

    fn judged(mut self, ended: Ended, head: Option<AnswerHead>, watch: &Watch) -> Judged {
        if head.is_none() {
            self.child.end();
        }
        let cpu = watch.used(self.child.cpu());
        let page = self.page.page();
        let taken = page.task() == self.tasks;
        let memory = head.map(|head| head.peak).or_else(|| Some(page.peak()).filter(|&peak| peak > 0));
        Judged {
            ended,
            usage: Usage { memory, cpu: Some(cpu), wall: watch.elapsed() },
            stage: if taken { page.stage() } else { Stage::Idle },
            note: page.note().filter(|_| taken),
            taken,
            // A slow message's cell has the lowest priority for ever.
            cell: head.is_some_and(|head| !head.retire && !watch.is_slow()).then_some(self),
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
        let makes_way = allowance.makes_way();
        let task = Task { number: self.tasks, id, memory: budget.memory, makes_way };
        passing::send(&self.socket, &task.encode(), [message])
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
        let mut bytes = Vec::new();
        loop {
            let left = match watch.left(self.child.cpu()) {
                Ok(left) => left,
                Err(Over::Cpu) => return (Ended::OverCpu, None),
                Err(Over::Wall) => return (Ended::OverWall, None),
            };
            let (answer, death, stopped) = match self.wait(left, stop) {
                Ok(ready) => ready,
                Err(error) => return (Ended::Nonsense(format!("poll failed: {error}")), None),
            };
            if answer {
                match self.read(&mut bytes, recipients) {
                    Ok(Some((head, Said::Answer(answer)))) => return (Ended::Answered(answer), Some(head)),
                    Ok(Some((_, Said::TakesLong))) if watch.says_so() => {}
                    Ok(Some((_, said))) => {
                        return (Ended::Nonsense(format!("it said {said:?} unasked")), None);
                    }
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
                let left = watch.can_be_left();
                return if left { self.leave(gave, recipients) } else { (Ended::GaveWay(gave), None) };
            }
        }
    }

    /// Has the cell leave its message, which may have been judged meanwhile.
    fn leave(&mut self, gave: GivesWay, recipients: usize) -> (Ended, Option<AnswerHead>) {
        self.child.ask_to_leave();
        let until = Instant::now() + LEAVE_TIME_MAX;
        let mut bytes = Vec::new();
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            let mut socket = [PollFd::new(&self.socket, PollFlags::IN)];
            if !poll(&mut socket, Some(&timespec(left))).is_ok_and(|ready| ready > 0) {
                continue;
            }
            match self.read(&mut bytes, recipients) {
                Ok(Some((head, Said::Answer(answer)))) => return (Ended::Answered(answer), Some(head)),
                Ok(Some((head, Said::Left))) => return (Ended::GaveWay(gave), Some(head)),
                // It said so while it was asked.
                Ok(Some((_, Said::TakesLong)) | None) => {}
                Err(Some(nonsense)) => return (Ended::Nonsense(nonsense), None),
                Err(None) => return (self.death(), None),
            }
        }
        (Ended::GaveWay(gave), None)
    }

    /// There is no answer yet: who is in whose way?
    fn delayed(&self, watch: &mut Watch, slow: &mut Slow<'_>) -> Result<(), GivesWay> {
        let cpu = self.child.cpu();
        let Some(delay) = watch.delay(cpu) else { return Ok(()) };
        let turn = slow(delay)?;
        if delay == Delay::Lingers {
            return Ok(());
        }
        if watch.slows(cpu) {
            self.child.run_last();
        }
        if let Some(rests) = watch.turns(turn) {
            self.child.rest(rests);
        }
        Ok(())
    }

    fn wait(&self, left: Duration, stop: &Stop) -> io::Result<(bool, bool, bool)> {
        let mut descriptors = [
            PollFd::new(&self.socket, PollFlags::IN),
            PollFd::new(&self.child, PollFlags::IN),
            PollFd::from_borrowed_fd(stop.as_fd(), PollFlags::IN),
        ];
        match poll(&mut descriptors, Some(&timespec(left))) {
            Err(error) if error != rustix::io::Errno::INTR => return Err(error.into()),
            _ => {}
        }
        let ready = |at: usize| !descriptors[at].revents().is_empty();
        Ok((ready(0), ready(1), ready(2)))
    }

    /// Reads what is there of what the cell says: all of it, not yet all, nonsense, or
    /// nothing more because the cell has hung up.
    fn read(
        &mut self,
        bytes: &mut Vec<u8>,
        recipients: usize,
    ) -> Result<Option<(AnswerHead, Said)>, Option<String>> {
        let have = bytes.len();
        let want = match bytes.first_chunk() {
            None => AnswerHead::BYTES,
            Some(head) => AnswerHead::BYTES + AnswerHead::decode(head, self.tasks, recipients)?.1,
        };
        bytes.resize(want, 0);
        let count = self.socket.read(&mut bytes[have..]).map_err(|_| None)?;
        if count == 0 && want > have {
            return Err(None);
        }
        bytes.truncate(have + count);
        let Some((head, body)) = bytes.split_first_chunk() else { return Ok(None) };
        let (head, length) = AnswerHead::decode(head, self.tasks, recipients)?;
        if body.len() < length {
            return Ok(None);
        }
        let said = head.complete(body.to_vec());
        bytes.clear();
        Ok(Some((head, said)))
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

fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(time.subsec_nanos()),
    }
}
