//! One run: a fresh daemon, all messages over a few connections, and when each
//! was taken and arrived.
//!
//! Arrivals are told by inotify; nothing is looked for again and again. A run
//! must never wait longer than [`RUN_TIME_MAX`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{Load, Mix, Parameters};
use crate::daemon::Daemon;
use crate::lab::{Config, Lab, cli};
use crate::maildir;
use crate::smtp::Client;
use crate::wait::{Watch, until};

/// Longest time until all healthy mail of a run has arrived.
const RUN_TIME_MAX: Duration = Duration::from_secs(900);

/// Longest time for the message that makes the mailbox.
const FIRST_TIME_MAX: Duration = Duration::from_secs(30);

/// Messages before the run that are not measured: they wake up all workers.
const WARM_UP: u32 = 200;

const MAILBOX: &str = "desk@example.org";
const ELSEWHERE: &str = "poisoned@example.org";
const SENDER: &str = "sender@example.com";

/// What a run showed.
#[derive(Debug, Default)]
pub struct Run {
    /// From the first reply to the last arrival.
    pub took: Duration,
    /// From reply to arrival of each healthy message, sorted.
    pub latencies: Vec<Duration>,
    /// Healthy messages that did not arrive.
    pub missing: usize,
    /// Healthy messages in quarantine.
    pub healthy_deferred: usize,
    /// Others in quarantine when the last healthy one arrived.
    pub others_deferred: usize,
    /// Others that were sent.
    pub others: usize,
    /// Cells that ended, most of them over a budget.
    pub cells_ended: u64,
    /// Whether cells were said not to work at all.
    pub claiming_paused: bool,
    /// From the last healthy arrival until every other message was dealt with,
    /// if that was waited for.
    pub rest: Option<Duration>,
}

impl Run {
    /// Healthy messages a second.
    pub fn throughput(&self) -> f64 {
        self.latencies.len() as f64 / self.took.as_secs_f64().max(f64::EPSILON)
    }

    /// The latency that `percent` of the healthy messages did not exceed.
    pub fn latency(&self, percent: usize) -> Duration {
        let place = (self.latencies.len() * percent).div_ceil(100).saturating_sub(1);
        self.latencies.get(place).copied().unwrap_or_default()
    }
}

/// When a message was taken, and whether it was healthy.
type Taken = (String, (Instant, bool));

/// Does a run; what it left lies in the lab.
pub fn run(parameters: &Parameters, load: &Load, mix: Mix) -> (Run, Lab) {
    // Nothing is to be written any more that the run before has left.
    rustix::fs::sync();
    let lab = Lab::with(&Config::parsing_everything().workers(&parameters.workers));
    let daemon = lab.start();
    let mut watch = warm_up(&lab, &daemon);
    let ended_before = cells_ended(&lab);
    let (taken, arrived) = std::thread::scope(|scope| {
        let arrivals = scope.spawn(|| arrivals(&mut watch, parameters.messages as usize));
        let taken = send(parameters, load, mix, &daemon);
        (taken, arrivals.join().expect("the watching thread does not panic"))
    });
    let mut run = measured(&taken, &arrived);
    let deferred = lab.spool().ids("deferred");
    let in_quarantine = |healthy: bool| {
        taken.iter().filter(|(id, (_, is))| *is == healthy && deferred.contains(id.as_str())).count()
    };
    run.healthy_deferred = in_quarantine(true);
    run.others_deferred = in_quarantine(false);
    run.others = taken.len() - parameters.messages as usize;
    run.cells_ended = cells_ended(&lab).saturating_sub(ended_before);
    if parameters.wait_for_rest {
        let started = Instant::now();
        let dealt_with = until(RUN_TIME_MAX, || lab.spool().passing().is_empty());
        run.rest = dealt_with.then(|| started.elapsed());
        run.others_deferred = lab.spool().ids("deferred").len() - run.healthy_deferred;
    }
    run.claiming_paused = lab.log().contains("ALARM");
    assert_eq!(daemon.terminate().code(), Some(0), "a clean stop");
    (run, lab)
}

/// Makes the mailbox and wakes everything up; then watches for what comes.
fn warm_up(lab: &Lab, daemon: &Daemon) -> Watch {
    let mut client = Client::connect(daemon.smtp()).expect("a session");
    let mut last = String::new();
    for number in 0..WARM_UP {
        let message = format!("Subject: before {number}\r\n\r\nnot measured\r\n");
        last = client.deliver(SENDER, &[MAILBOX], message.as_bytes()).expect("taken");
    }
    // Messages are not in order at the end, so all must be there.
    let all = || lab.mail().copies().len() == WARM_UP as usize;
    assert!(until(FIRST_TIME_MAX, all), "{last} and what came before it do not arrive");
    Watch::on(&[lab.path("mail/example.org/desk/new")])
}

/// Sends everything, as fast as it is taken or at the rate that is asked for.
fn send(parameters: &Parameters, load: &Load, mix: Mix, daemon: &Daemon) -> Vec<Taken> {
    let (next, started) = (AtomicUsize::new(0), Instant::now());
    let one_connection = || {
        let mut client = Client::connect(daemon.smtp()).expect("a session");
        let mut taken = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= load.count(mix) {
                return taken;
            }
            if let Some(rate) = parameters.rate {
                // Not to wait for anything: this is when the message is to be sent.
                let healthy_share = parameters.messages as f64 / load.count(mix) as f64;
                let due = Duration::from_secs_f64(number as f64 * healthy_share / f64::from(rate.get()));
                std::thread::sleep(due.saturating_sub(started.elapsed()));
            }
            let item = load.item(mix, number);
            let recipient = if item.healthy { MAILBOX } else { ELSEWHERE };
            let id = client.deliver_stuffed(SENDER, &[recipient], &[item.field.as_bytes(), item.stuffed]);
            taken.push((id.expect("the message is taken"), (Instant::now(), item.healthy)));
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..parameters.connections).map(|_| scope.spawn(one_connection)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no connection breaks")).collect()
    })
}

/// When each healthy message arrived.
fn arrivals(watch: &mut Watch, messages: usize) -> BTreeMap<String, Instant> {
    let deadline = Instant::now() + RUN_TIME_MAX;
    let mut arrived = BTreeMap::new();
    while arrived.len() < messages {
        let Some(name) = watch.next(deadline.saturating_duration_since(Instant::now())) else { break };
        let now = Instant::now();
        if let Some(id) = maildir::id_of(&name) {
            arrived.entry(id).or_insert(now);
        }
    }
    arrived
}

fn measured(taken: &[Taken], arrived: &BTreeMap<String, Instant>) -> Run {
    let healthy = || taken.iter().filter(|(_, (_, healthy))| *healthy);
    // A message may arrive before its client has read the reply.
    let latency = |(id, (taken, _)): &Taken| Some(arrived.get(id)?.saturating_duration_since(*taken));
    let mut latencies: Vec<Duration> = healthy().filter_map(latency).collect();
    latencies.sort();
    let first = taken.iter().map(|(_, (taken, _))| *taken).min();
    let last = arrived.values().max().copied();
    let took = first.zip(last).map(|(first, last)| last.saturating_duration_since(first));
    Run {
        took: took.unwrap_or_default(),
        missing: healthy().count() - latencies.len(),
        latencies,
        ..Run::default()
    }
}

/// Cells that were started and are no more.
fn cells_ended(lab: &Lab) -> u64 {
    let status = cli(lab, &["status", "--json"]);
    let status: serde_json::Value =
        serde_json::from_str(&status.stdout).unwrap_or_else(|error| panic!("{error}: {status:?}"));
    let workers = status["daemon"]["workers"].as_array().expect("a list of workers");
    let number = |worker: &serde_json::Value, key: &str| worker[key].as_u64().expect("a number");
    let started: u64 = workers.iter().map(|worker| number(worker, "cells_started")).sum();
    let alive = workers.iter().filter(|worker| !worker["cell_pid"].is_null()).count();
    started.saturating_sub(alive as u64)
}
