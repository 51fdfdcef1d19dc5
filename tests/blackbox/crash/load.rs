//! Mail without end, by every way in, whether or not a daemon lives; and the
//! kills of those who bring it.
//!
//! What is acknowledged goes into the ledger at once. A sender must never send a
//! message again: then two copies would be nobody's fault.

use std::time::{Duration, Instant};

use super::ledger::{Ledger, SENDER, Way};
use super::stage::Stage;
use crate::lab::{Lab, Submitted, submitting};
use crate::process::{children, is_running, kill_descendant};
use crate::random::Random;
use crate::smtp::{Client, Failure};
use crate::wait::Watch;

/// Longest pause of an SMTP client between two messages: it sets the load.
const SMTP_PAUSE_MAX: Duration = Duration::from_millis(50);

/// Longest pause between two submissions, and between two dropped files.
const LOCAL_PAUSE_MAX: Duration = Duration::from_millis(120);

/// Longest life of a `lazaret submit` that is to be killed.
const SUBMIT_LIFE_MAX: Duration = Duration::from_millis(5);

/// Longest time for one that is not.
const SUBMIT_TIME_MAX: Duration = Duration::from_secs(60);

/// How long a cell that is at work is looked for before an idle one is killed.
const AT_WORK_WAIT: Duration = Duration::from_millis(300);

/// One in so many kills of a cell does not wait for one that is at work.
const IDLE_ODDS: usize = 10;

/// Most cells that are killed one right after the other: the next one may have
/// the same message.
const IN_A_ROW_MAX: usize = 4;

/// How long a cell proves itself before it gets mail, with some room.
const SELF_TEST_TIME_MAX: Duration = Duration::from_millis(20);

/// Longest time that the killing of cells goes on after the daemon's kills are
/// done, and that of submissions.
const OVERTIME_MAX: Duration = Duration::from_secs(120);

/// Whoever sends, and where to.
pub struct Load<'a> {
    /// The spool's place.
    pub lab: &'a Lab,
    /// Which daemon lives.
    pub stage: &'a Stage,
    /// Where it is written down.
    pub ledger: &'a Ledger,
}

/// How often a `lazaret submit` was killed, and where.
#[derive(Default)]
pub struct SubmitKills {
    /// At any moment.
    pub anywhere: usize,
    /// Right after a file appeared in `tmp/`.
    pub writing: usize,
    /// Right after a name appeared in `incoming/`.
    pub accepting: usize,
}

impl SubmitKills {
    fn all(&self) -> usize {
        self.anywhere + self.writing + self.accepting
    }
}

/// How often a cell was killed.
#[derive(Default)]
pub struct CellKills {
    /// While it was on a processor, and messages were claimed.
    pub at_work: usize,
    /// Otherwise.
    pub idle: usize,
}

impl CellKills {
    fn all(&self) -> usize {
        self.at_work + self.idle
    }
}

impl Load<'_> {
    /// SMTP sessions, one after the other, each as long as its daemon lives.
    pub fn smtp(&self, mut random: Random) {
        while !self.stage.is_over() {
            let Some(address) = self.stage.address() else { continue };
            let Ok(mut client) = Client::connect(address) else { continue };
            while self.stage.address() == Some(address) {
                let (number, recipients, bytes) = self.ledger.draw(Way::Smtp, &mut random);
                match client.deliver(SENDER, &recipients, &bytes) {
                    Ok(id) => self.ledger.acknowledge(number, Some(id)),
                    Err(Failure::Refused(reply)) if reply.code >= 500 => {
                        panic!("message {number} is refused: {reply:?}")
                    }
                    // Not now, or the daemon is gone.
                    Err(_) => break,
                }
                pause(&mut random, SMTP_PAUSE_MAX);
                if self.stage.is_over() {
                    break;
                }
            }
        }
    }

    /// `lazaret submit` again and again; `quota` of them are killed.
    pub fn submit(&self, mut random: Random, quota: usize) -> SubmitKills {
        let mut kills = SubmitKills::default();
        while !self.stage.is_over() {
            pause(&mut random, LOCAL_PAUSE_MAX);
            let share = kills.all() as f64 / quota.max(1) as f64;
            if kills.all() < quota && self.stage.is_behind(share) {
                self.submit_and_kill(&mut random, &mut kills);
            } else if !self.stage.is_crowded() {
                let (number, recipients, bytes) = self.ledger.draw(Way::Submit, &mut random);
                let submitting = submitting(self.lab, SENDER, &recipients, &bytes);
                self.submitted(number, submitting.finish(SUBMIT_TIME_MAX).into());
            }
        }
        kills
    }

    fn submit_and_kill(&self, random: &mut Random, kills: &mut SubmitKills) {
        let (number, recipients, bytes) = self.ledger.draw(Way::Submit, random);
        let (place, counter) = match random.below(3) {
            0 => (None, &mut kills.anywhere),
            1 => (Some("tmp"), &mut kills.writing),
            _ => (Some("incoming"), &mut kills.accepting),
        };
        let watch = place.map(|state| Watch::on(&[self.lab.spool().path(state)]));
        let submitting = submitting(self.lab, SENDER, &recipients, &bytes);
        match watch {
            // Another's file will do as well: that, too, is a moment.
            Some(mut watch) => drop(watch.next(SUBMIT_LIFE_MAX)),
            None => pause(random, SUBMIT_LIFE_MAX),
        }
        let finished = submitting.kill9();
        *counter += usize::from(finished.killed);
        self.submitted(number, finished.into());
    }

    fn submitted(&self, number: usize, submitted: Submitted) {
        match submitted {
            Submitted { exit: Some(0), id: Some(id), .. } => self.ledger.acknowledge(number, Some(id)),
            Submitted { killed: true, .. } => {}
            Submitted { exit, said, .. } => panic!("message {number} was not taken ({exit:?}): {said}"),
        }
    }

    /// Files into `drop/`, as another program puts them there.
    pub fn drop_in(&self, mut random: Random) {
        let folder = self.lab.spool().path("drop");
        while !self.stage.is_over() {
            pause(&mut random, LOCAL_PAUSE_MAX);
            if self.stage.is_crowded() {
                continue;
            }
            let (number, recipients, bytes) = self.ledger.draw(Way::Drop, &mut random);
            let recipients: String = recipients.iter().map(|to| format!("recipient <{to}>\n")).collect();
            let envelope = format!("lazaret-envelope 1\nsender <{SENDER}>\n{recipients}end\n");
            let (unfinished, whole) = (folder.join(format!(".{number}")), folder.join(number.to_string()));
            let written = std::fs::write(&unfinished, [envelope.as_bytes(), &bytes].concat());
            let dropped = written.and_then(|()| std::fs::rename(&unfinished, &whole));
            dropped.unwrap_or_else(|error| panic!("failed to drop {whole:?}: {error}"));
            self.ledger.acknowledge(number, None);
        }
    }

    /// Kills cells of the daemon that lives, `quota` of them, those at work first.
    pub fn kill_cells(&self, mut random: Random, quota: usize) -> CellKills {
        let mut kills = CellKills::default();
        let mut overtime = None;
        while kills.all() < quota && !self.stage.is_over() {
            if !self.stage.is_behind(kills.all() as f64 / quota as f64) {
                pause(&mut random, LOCAL_PAUSE_MAX);
                continue;
            }
            if self.stage.is_behind(1.0) && overtime.get_or_insert_with(Instant::now).elapsed() > OVERTIME_MAX
            {
                break;
            }
            for _ in 0..=random.below(IN_A_ROW_MAX) {
                pause(&mut random, SELF_TEST_TIME_MAX);
                match self.kill_cell(&mut random) {
                    Some(true) => kills.at_work += 1,
                    Some(false) => kills.idle += 1,
                    None => break,
                }
            }
        }
        kills
    }

    /// Kills one cell; says whether it was at work.
    fn kill_cell(&self, random: &mut Random) -> Option<bool> {
        let wait = if random.one_in(IDLE_ODDS) { Duration::ZERO } else { AT_WORK_WAIT };
        let patience = Instant::now() + wait;
        loop {
            pause(random, Duration::from_millis(1));
            let killed = self.stage.with_daemon(|daemon| {
                let cells = children(daemon);
                let working = cells.iter().copied().find(|&cell| !wait.is_zero() && is_running(cell));
                let at_work = working.is_some() && !self.lab.spool().names("claimed").is_empty();
                let cell = match working {
                    Some(cell) => cell,
                    None if cells.is_empty() || Instant::now() < patience => return None,
                    None => cells[random.below(cells.len())],
                };
                kill_descendant(cell).then_some(at_work)
            });
            if let Some(at_work) = killed.flatten() {
                return Some(at_work);
            }
            if Instant::now() >= patience {
                return None;
            }
        }
    }
}

/// Not to wait for anything: this is the load's rhythm, or a moment to kill at.
pub fn pause(random: &mut Random, longest: Duration) {
    std::thread::sleep(longest.mul_f64(random.below(1000) as f64 / 1000.0));
}
