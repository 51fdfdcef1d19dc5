//! `lazaret status`: what the spool holds and what the daemon does.
//!
//! The daemon tells what is in its memory, the counts are taken from the disk,
//! so that there is something to see without a daemon too.

mod command;

pub use command::print;

use std::fmt::Write;
use std::num::NonZeroU32;

use lazaret_delivery::{BreakerState, NextHopStatus};
use lazaret_spool::{Counts, Spool};
use lazaret_worker::WorkerStatus;
use serde::{Deserialize, Serialize};

use crate::costs::Costs;

/// What a daemon tells of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// Its process id.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// Since when it runs.
    pub since: String,
    /// When the oldest message in `incoming/` arrived.
    pub oldest_incoming: Option<String>,
    /// Sessions that are open.
    pub sessions: u64,
    /// Why no mail is taken in, if that is so.
    pub intake_paused: Option<String>,
    /// Why no mail is claimed, if that is so.
    pub routing_paused: Option<String>,
    /// Workers that judge mail at full speed at a time: each can be one of them, and
    /// the others have what takes long, or stand by.
    pub workers_at_full_speed: u16,
    /// Its workers.
    pub workers: Vec<Worker>,
    /// Connections to next hops.
    pub connections: u64,
    /// Its transports.
    pub transports: Vec<Transport>,
    /// Faults that are remembered, so that copies need no cell.
    pub repeats_known: u64,
    /// Copies that needed no cell.
    pub repeats_on_sight: u64,
    /// What messages have cost.
    #[serde(flatten)]
    pub costs: Costs,
}

/// A worker, as it is shown.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Worker {
    worker: u16,
    /// None while it has no cell.
    cell_pid: Option<NonZeroU32>,
    judged: u64,
    faults: u64,
    passed: u64,
    cells_started: u64,
    message: Option<String>,
}

impl From<WorkerStatus> for Worker {
    fn from(status: WorkerStatus) -> Self {
        Self {
            worker: status.worker,
            cell_pid: status.cell,
            judged: status.judged,
            faults: status.faults,
            passed: status.passed,
            cells_started: status.cells_started,
            message: status.message.map(|id| id.to_string()),
        }
    }
}

/// A transport, as it is shown.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Transport {
    name: String,
    queued: u64,
    active: u64,
    delivered: u64,
    failed: u64,
    trouble: Option<String>,
    /// Messages in `waiting/` that are called back once there is room.
    parked: u64,
    next_hops: Vec<NextHop>,
}

/// A next hop, as it is shown.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NextHop {
    next_hop: String,
    /// `closed`: it is asked; `open`: it is not; `half-open`: a probe is under way.
    breaker: String,
    /// In how many seconds the next probe may begin.
    next_probe_seconds: Option<u64>,
    /// What is wrong with it.
    trouble: Option<String>,
    /// For how many seconds it has not done what it was asked.
    trouble_seconds: Option<u64>,
}

impl From<NextHopStatus> for NextHop {
    fn from(status: NextHopStatus) -> Self {
        let (breaker, next_probe) = match status.breaker {
            BreakerState::Closed => ("closed", None),
            BreakerState::Open(left) => ("open", Some(left.as_secs())),
            BreakerState::HalfOpen => ("half-open", None),
        };
        let (trouble, lasting) = status.trouble.unzip();
        Self {
            next_hop: status.next_hop.to_string(),
            breaker: breaker.to_owned(),
            next_probe_seconds: next_probe,
            trouble: trouble.map(|trouble| trouble.to_string()),
            trouble_seconds: lasting.map(|lasting| lasting.as_secs()),
        }
    }
}

impl NextHop {
    /// One line, without its end.
    fn as_text(&self) -> String {
        let Some(trouble) = &self.trouble else { return format!("{} all right", self.next_hop) };
        let lasting = self.trouble_seconds.unwrap_or_default();
        let next = match (self.breaker.as_str(), self.next_probe_seconds) {
            ("open", Some(seconds)) => format!("not asked, next probe in {seconds} s"),
            ("half-open", _) => "a probe is under way".to_owned(),
            _ => "still asked".to_owned(),
        };
        format!("{} IN TROUBLE for {lasting} s: {trouble}; {next}", self.next_hop)
    }
}

impl From<lazaret_delivery::Status> for Transport {
    fn from(status: lazaret_delivery::Status) -> Self {
        Self {
            name: status.transport.to_string(),
            queued: status.queued as u64,
            active: status.active as u64,
            delivered: status.delivered,
            failed: status.failed,
            trouble: status.trouble.map(|trouble| format!("{} {}", trouble.time, trouble.what)),
            parked: status.parked as u64,
            next_hops: status.next_hops.into_iter().map(Into::into).collect(),
        }
    }
}

/// What is shown as JSON.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    spool: String,
    drop: u64,
    incoming: u64,
    claimed: u64,
    outbound: u64,
    waiting: u64,
    deferred: u64,
    daemon: Option<&'a Status>,
}

fn as_json(spool: &Spool, counts: Counts, daemon: Option<&Status>) -> String {
    let Counts { drop, incoming, claimed, outbound, waiting, deferred } = counts;
    let spool = spool.root().display().to_string();
    let shown = Shown { spool, drop, incoming, claimed, outbound, waiting, deferred, daemon };
    serde_json::to_string_pretty(&shown).expect("numbers and strings are JSON") + "\n"
}

fn as_text(spool: &Spool, counts: Counts, daemon: Option<&Status>) -> String {
    let mut text = format!("spool {}\n", spool.root().display());
    let oldest = daemon.and_then(|status| status.oldest_incoming.as_deref());
    let rows = [
        ("drop", counts.drop, "put there by others, not taken in yet".to_owned()),
        (
            "incoming",
            counts.incoming,
            oldest.map_or("accepted".into(), |time| format!("accepted, oldest {time}")),
        ),
        ("claimed", counts.claimed, "in the hands of a worker".into()),
        ("outbound", counts.outbound, "in delivery".into()),
        ("waiting", counts.waiting, "for their next hop".into()),
        ("deferred", counts.deferred, "for you to look at: lazaret deferred list".into()),
    ];
    for (name, count, what) in rows {
        let _ = writeln!(text, "  {name:<9}{count:>9}  {what}");
    }
    let Some(status) = daemon else {
        return text + "no daemon runs on this spool\n";
    };
    let _ = writeln!(text, "daemon pid {}, version {}, since {}", status.pid, status.version, status.since);
    let _ = writeln!(text, "  sessions {:>9}", status.sessions);
    for (part, paused) in [("intake", &status.intake_paused), ("routing", &status.routing_paused)] {
        if let Some(why) = paused {
            let _ = writeln!(text, "  {part} PAUSED: {why}");
        }
    }
    let (workers, at_full_speed) = (status.workers.len(), status.workers_at_full_speed);
    let _ = writeln!(
        text,
        "  workers  {workers:>9}  of which {at_full_speed} at a time at full speed, the others for what takes long"
    );
    for worker in &status.workers {
        let message = worker.message.as_deref().unwrap_or("-");
        let cell = worker.cell_pid.map_or("-".to_owned(), |pid| pid.to_string());
        let _ = writeln!(
            text,
            "  worker {:<3} cell {cell:<8} judged {:>9}  faults {:>6}  passed {:>6}  cells {:>6}  message {message}",
            worker.worker, worker.judged, worker.faults, worker.passed, worker.cells_started
        );
    }
    let Status { repeats_known, repeats_on_sight, .. } = status;
    let _ = writeln!(
        text,
        "  copies    {repeats_on_sight:>8}  deferred on sight, of {repeats_known} faults that are remembered"
    );
    text += &status.costs.as_text();
    let _ = writeln!(text, "  connections to next hops {}", status.connections);
    for transport in &status.transports {
        let _ = write!(
            text,
            "  transport {:<12} queued {:>6}  active {:>4}  parked {:>6}  delivered {:>9}  failed {:>6}",
            transport.name,
            transport.queued,
            transport.active,
            transport.parked,
            transport.delivered,
            transport.failed
        );
        let _ = writeln!(text, "  {}", transport.trouble.as_deref().unwrap_or(""));
        for next_hop in &transport.next_hops {
            let _ = writeln!(text, "    next hop {}", next_hop.as_text());
        }
    }
    text
}
