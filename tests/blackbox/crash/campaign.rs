//! One spool, daemon after daemon: each is killed at some moment, looked at, and
//! followed by the next, while mail never stops coming.
//!
//! Every daemon but those that are killed in their start must become ready, and
//! the last one must deliver everything that is left. A campaign must never kill
//! a process that it did not start.

use std::collections::BTreeMap;
use std::process::Command;
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use super::account::{Account, DELIVERIES_AT_A_TIME, account};
use super::census::{Census, Found};
use super::copies::{collect, empty, hostname, make_boxes, read};
use super::ledger::{BUSY, Ledger, NEXT_HOP};
use super::load::{CellKills, Load, SubmitKills, pause};
use super::moment::{MOMENTS, Moment, Phase};
use super::stage::Stage;
use crate::lab::{Config, LAZARET, Lab, cli};
use crate::process::{self, is_kill};
use crate::random::Random;
use crate::sink::{Behaviour, Sink, Step};
use crate::wait::{Watch, until};

/// SMTP sessions at a time.
const SESSIONS: usize = 3;

/// Messages on their way beyond which no more are sent.
const PASSING_MAX: usize = 60;

/// The next hop refuses one in so many attempts to reach the busy recipient.
const BUSY_ODDS: usize = 3;

/// One in so many daemons follows, or meets, an operator's command.
const COMMAND_ODDS: usize = 4;

/// Longest life of an operator's command that is to be killed.
const COMMAND_LIFE_MAX: Duration = Duration::from_millis(8);

/// Longest time for one that is not.
const COMMAND_TIME_MAX: Duration = Duration::from_secs(60);

/// Longest time from a daemon's readiness to SIGTERM.
const WORK_TIME_MAX: Duration = Duration::from_millis(150);

/// The number of the last daemon.
const LIFE_LAST: usize = 999_999;

/// Longest time for what is left when nothing is killed any more.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(300);

/// How many kills of each process.
#[derive(Clone, Copy)]
pub struct Quota {
    daemon: usize,
    cells: usize,
    submits: usize,
}

impl Quota {
    /// Shares out so many kills. Those of an operator's commands come on top.
    pub fn of(kills: usize) -> Self {
        let (cells, submits) = (kills / 4, kills / 5);
        Self { daemon: kills - cells - submits, cells, submits }
    }
}

/// What a campaign showed.
#[derive(Default)]
pub struct Outcome {
    /// Kills by process and moment.
    pub kills: BTreeMap<(&'static str, &'static str), usize>,
    /// Daemons that had stopped cleanly before the kill came.
    pub stopped: usize,
    /// Messages that came into quarantine, by cause; most were released again.
    pub deferred: BTreeMap<String, usize>,
    /// What kills found, by state.
    pub found: BTreeMap<&'static str, Found>,
    /// What became of the mail.
    pub account: Account,
}

impl Outcome {
    /// This and another's together.
    #[must_use]
    pub fn add(mut self, other: Self) -> Self {
        for (moment, kills) in other.kills {
            *self.kills.entry(moment).or_default() += kills;
        }
        for (cause, deferred) in other.deferred {
            *self.deferred.entry(cause).or_default() += deferred;
        }
        for (state, found) in other.found {
            let mine = self.found.entry(state).or_default();
            mine.kills += found.kills;
            mine.messages += found.messages;
        }
        self.stopped += other.stopped;
        self.account.add(other.account);
        self
    }
}

/// What runs.
struct Campaign<'a> {
    lab: &'a Lab,
    sink: &'a Sink,
    ledger: &'a Ledger,
    stage: &'a Stage,
    quota: Quota,
    random: Random,
    census: Census,
    outcome: Outcome,
}

/// Runs one, to its end.
pub fn run(quota: Quota, mut random: Random) -> Outcome {
    let busy = Behaviour::ReplyEvery(BUSY_ODDS, "451 4.3.0 busy");
    let sink = Sink::start(vec![(Step::Recipient, Some(BUSY), busy)]);
    let lab = Lab::with(&config(0, &sink));
    make_boxes(&lab);
    lab.prepare();
    let (ledger, stage) = (Ledger::new(), Stage::default());
    let load = Load { lab: &lab, stage: &stage, ledger: &ledger };
    let forks = [0; 3].map(|_| random.fork());
    let sessions: Vec<Random> = (0..SESSIONS).map(|_| random.fork()).collect();
    let mut campaign = Campaign {
        lab: &lab,
        sink: &sink,
        ledger: &ledger,
        stage: &stage,
        quota,
        random,
        census: Census::default(),
        outcome: Outcome::default(),
    };
    std::thread::scope(|scope| {
        // Whatever fails, the others must come to know that it is over.
        let _over = Over(&stage);
        let [submitting, dropping, killing] = forks;
        let (load, stage) = (&load, &stage);
        let mut senders: Vec<_> =
            sessions.into_iter().map(|session| scope.spawn(|| load.smtp(session))).collect();
        senders.push(scope.spawn(|| load.drop_in(dropping)));
        let submits = scope.spawn(|| load.submit(submitting, quota.submits));
        let cells = scope.spawn(|| load.kill_cells(killing, quota.cells));
        scope.spawn(|| read(&lab, stage));
        scope.spawn(|| empty(&lab, stage));
        campaign.lives();
        campaign.end(cells, submits, senders);
    });
    campaign.close()
}

/// Tells the threads when it goes.
struct Over<'a>(&'a Stage);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The configuration of one daemon: it tells in each copy which one it was.
pub fn config(life: usize, sink: &Sink) -> Config {
    let tables = format!(
        "[transport.next]\ntype = \"smtp\"\nnext_hops = [\"{}\"]\nconnections = {DELIVERIES_AT_A_TIME}\n\n\
         [retry]\nfirst = \"1s\"\nmax = \"2s\"\n",
        sink.address()
    );
    Config::default()
        .top(&format!("hostname = \"{}\"\n", hostname(life)))
        // Only kills are to end a cell that has harmless mail.
        .workers("cpu_time = \"60s\"\n")
        .tables(&tables)
        .route(&format!("recipient = \"*@{NEXT_HOP}\"\ndeliver = \"next\"\n"))
        .route("part_type = \"application/x-never\"\ndeliver = \"mailboxes\"\n")
}

impl Campaign<'_> {
    /// Daemon after daemon until enough were killed.
    fn lives(&mut self) {
        let mut killed = 0;
        for life in 1.. {
            self.stage.advance(killed as f64 / self.quota.daemon as f64);
            if killed >= self.quota.daemon {
                return;
            }
            if self.random.one_in(COMMAND_ODDS) {
                self.release();
            }
            let moment = self.live(life);
            killed += usize::from(moment.is_some());
            match moment {
                Some(words) => self.killed("daemon", words),
                None => self.outcome.stopped += 1,
            }
            self.census.take(life, moment.is_some(), self.lab, self.ledger);
            self.stage.crowded(self.census.passing() > PASSING_MAX);
        }
    }

    fn killed(&mut self, process: &'static str, words: &'static str) {
        *self.outcome.kills.entry((process, words)).or_default() += 1;
    }

    /// One daemon; the moment at which it was killed, `None` if it had stopped
    /// before that.
    fn live(&mut self, life: usize) -> Option<&'static str> {
        let file = self.lab.path("daemon.toml");
        std::fs::write(&file, config(life, self.sink).text()).expect("failed to write a configuration");
        let moment = Moment::draw(&mut self.random);
        let armed = (moment.phase == Phase::Starting).then(|| moment.arm(self.lab, self.sink));
        let starting = self.lab.spawn(&file);
        if let Some(armed) = armed {
            let words = armed.wait(&mut self.random);
            let status = starting.kill9();
            assert!(is_kill(status), "daemon {life} ended by itself ({status}):\n{}", self.lab.log_tail());
            return Some(words);
        }
        let ready = starting.ready();
        let mut daemon = ready.unwrap_or_else(|why| panic!("daemon {life} did not become ready: {why:?}"));
        self.stage.enters(&daemon);
        if self.random.one_in(COMMAND_ODDS) {
            self.release();
        }
        if moment.phase == Phase::Stopping {
            pause(&mut self.random, WORK_TIME_MAX);
        }
        let armed = moment.arm(self.lab, self.sink);
        if moment.phase == Phase::Stopping {
            daemon.ask_to_stop();
        }
        let words = armed.wait(&mut self.random);
        daemon.cut();
        self.stage.leaves();
        let status = daemon.kill9();
        match status.code() {
            None if is_kill(status) => Some(words),
            Some(0) if moment.phase == Phase::Stopping => None,
            _ => panic!("daemon {life} ended by itself ({status}):\n{}", self.lab.log_tail()),
        }
    }

    /// An operator releases what was perhaps innocent; often his command is
    /// killed. With a daemon it asks that one, without it takes the lock itself.
    fn release(&mut self) {
        let ids = self.census.releasable(&self.lab.spool());
        if ids.is_empty() {
            return;
        }
        let mut command = Command::new(LAZARET);
        command.args(["deferred", "release", "--config"]).arg(self.lab.config()).args(&ids);
        let (watch, words) = match self.random.below(3) {
            0 => (None, "releasing: any moment"),
            1 => (
                Some(Watch::on(&[self.lab.spool().path("incoming")])),
                "releasing: behind a name in incoming/",
            ),
            _ => {
                process::start(&mut command, b"").finish(COMMAND_TIME_MAX);
                return;
            }
        };
        let releasing = process::start(&mut command, b"");
        match watch {
            Some(mut watch) => drop(watch.next(COMMAND_LIFE_MAX)),
            None => pause(&mut self.random, COMMAND_LIFE_MAX),
        }
        if releasing.kill9().killed {
            self.killed("lazaret deferred release", words);
        }
    }

    /// A daemon that is not killed while the others come to their end, and a last
    /// one, which also finds what the last killed submissions left.
    fn end(
        &mut self,
        cells: ScopedJoinHandle<'_, CellKills>,
        submits: ScopedJoinHandle<'_, SubmitKills>,
        senders: Vec<ScopedJoinHandle<'_, ()>>,
    ) {
        let file = self.lab.path("daemon.toml");
        let start = |life| {
            std::fs::write(&file, config(life, self.sink).text()).expect("failed to write a configuration");
            let ready = self.lab.spawn(&file).ready();
            ready.unwrap_or_else(|why| panic!("daemon {life} did not become ready: {why:?}"))
        };
        let daemon = start(LIFE_LAST - 1);
        self.stage.crowded(false);
        self.stage.enters(&daemon);
        let cells = cells.join().expect("whoever kills cells does not panic");
        self.stage.end();
        let submits = submits.join().expect("whoever submits does not panic");
        senders.into_iter().for_each(|sender| sender.join().expect("who sends does not panic"));
        self.stage.leaves();
        assert_eq!(daemon.terminate().code(), Some(0), "a clean stop");
        self.census.take(LIFE_LAST - 1, false, self.lab, self.ledger);
        let daemon = start(LIFE_LAST);
        let kills = &mut self.outcome.kills;
        kills.insert(("cell", "on a processor, with messages claimed"), cells.at_work);
        kills.insert(("cell", "any moment"), cells.idle);
        kills.insert(("lazaret submit", "any moment"), submits.anywhere);
        kills.insert(("lazaret submit", "writing: behind a file in tmp/"), submits.writing);
        kills.insert(("lazaret submit", "accepting: behind a name in incoming/"), submits.accepting);
        for moment in MOMENTS {
            kills.entry(("daemon", moment.words)).or_default();
        }
        let spool = self.lab.spool();
        // Mail goes round: what comes from waiting/, or goes there, meanwhile is seen too.
        let nobody_waits = || spool.names("waiting").is_empty();
        let idle = || nobody_waits() && spool.passing().is_empty() && nobody_waits();
        let drained = until(DRAIN_TIME_MAX, idle);
        let status = daemon.terminate();
        let wrong = &mut self.census.wrong;
        wrong.extend((!drained).then(|| "the spool is not idle in the end".to_owned()));
        wrong.extend((status.code() != Some(0)).then(|| format!("the last daemon ended with {status}")));
        wrong.extend(spool.passing().into_iter().map(|path| format!("left on its way: {path}")));
        wrong.extend(spool.names("waiting").into_iter().map(|name| format!("left waiting: {name}")));
        self.census.take(LIFE_LAST, false, self.lab, self.ledger);
    }

    /// The account, once nobody sends or reads any more.
    fn close(mut self) -> Outcome {
        let spool = self.lab.spool();
        let (copies, mut wrong) = collect(self.lab, self.sink, self.ledger);
        let account = account(self.ledger, &spool, &copies, &self.census.cuts);
        let check = cli(self.lab, &["check"]);
        wrong.extend((check.code != Some(0)).then(|| format!("check: {}{}", check.stdout, check.stderr)));
        self.outcome.found = self.census.found;
        self.outcome.deferred = self.census.deferred;
        self.outcome.account = account;
        self.outcome.account.wrong.extend(self.census.wrong.into_iter().chain(wrong));
        self.outcome
    }
}
