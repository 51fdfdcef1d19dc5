//! The benchmark of next hops: how much one that hangs slows mail for a healthy
//! one, and how its own mail drains when it is well again.
//!
//! Both runs of a pair send the same mail, half of it for either next hop; in
//! the first both are healthy. It must never fail because of a time.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Parameters;
use crate::daemon::Daemon;
use crate::lab::{Config, Lab};
use crate::process::open_files;
use crate::sink::{Behaviour, Sink, Step};
use crate::smtp::Client;
use crate::wait::until;

/// Longest time for all mail of a run.
const RUN_TIME_MAX: Duration = Duration::from_secs(1800);

/// Least part of its throughput that the healthy next hop keeps.
const THROUGHPUT_RATIO_MIN: f64 = 0.95;

/// How often open files are counted.
const COUNT_EVERY: Duration = Duration::from_millis(200);

/// How long each step with a next hop may take: short, so that a run sees many
/// deadlines pass.
const DEADLINE: Duration = Duration::from_secs(5);

/// Bytes of a message, about.
const MESSAGE_BYTES: usize = 3000;

/// Where a next hop hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HangsAt(Step, Behaviour, &'static str);

impl HangsAt {
    /// By name.
    pub fn named(name: &str) -> Option<Self> {
        let all = [
            Self(Step::Greeting, Behaviour::Hang, "greeting"),
            Self(Step::Hello, Behaviour::Hang, "hello"),
            Self(Step::Mail, Behaviour::Hang, "mail"),
            Self(Step::Recipient, Behaviour::Hang, "rcpt"),
            Self(Step::Data, Behaviour::Hang, "data"),
            Self(Step::Dot, Behaviour::Hang, "dot"),
            Self(Step::Greeting, Behaviour::Drip, "drip"),
        ];
        all.into_iter().find(|Self(.., known)| *known == name)
    }
}

/// A next hop, and when it took its mail.
struct Hop {
    sink: Sink,
    times: Arc<Mutex<Vec<Instant>>>,
}

impl Hop {
    fn start(hangs: Option<HangsAt>) -> Self {
        let times: Arc<Mutex<Vec<Instant>>> = Arc::default();
        let script = hangs.map(|HangsAt(step, behaviour, _)| (step, None, behaviour));
        let told = Arc::clone(&times);
        let hook = move |_: &_| told.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
        Self { sink: Sink::telling(script.into_iter().collect(), Box::new(hook)), times }
    }

    fn count(&self) -> usize {
        self.times.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Messages a second, from `start` to the last.
    fn rate(&self, start: Instant) -> f64 {
        let times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let took = times.iter().max().map_or(Duration::ZERO, |last| last.saturating_duration_since(start));
        times.len() as f64 / took.as_secs_f64().max(f64::EPSILON)
    }

    fn first(&self) -> Option<Instant> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner).iter().min().copied()
    }
}

/// Runs all rounds.
pub fn run(parameters: &Parameters, hangs: HangsAt) {
    println!(
        "{} messages for a healthy next hop, as many for one that hangs at {}, {} connections; in {}",
        parameters.messages,
        hangs.2,
        parameters.connections,
        std::env::temp_dir().display()
    );
    let mut ratios = Vec::new();
    for number in 1..=parameters.rounds {
        let without = one(parameters, None, &format!("round {number} A"));
        let with = one(parameters, Some(hangs), &format!("round {number} B"));
        println!("round {number} B/A: throughput of the healthy next hop {:.3}", with / without);
        ratios.push(with / without);
    }
    ratios.sort_by(f64::total_cmp);
    let median = ratios[ratios.len() / 2];
    println!(
        "figures: bench: hung next hop ({}): throughput B/A {median:.3} ({:.3} to {:.3}) (target >= \
         {THROUGHPUT_RATIO_MIN}): {}",
        hangs.2,
        ratios[0],
        ratios[ratios.len() - 1],
        if median >= THROUGHPUT_RATIO_MIN { "met" } else { "MISSED" }
    );
}

/// One run; the throughput of the healthy next hop.
fn one(parameters: &Parameters, hangs: Option<HangsAt>, label: &str) -> f64 {
    let (well, other) = (Hop::start(None), Hop::start(hangs));
    let deadlines: String = ["greeting", "command", "data", "end_of_data"]
        .map(|step| format!("{step} = \"{}s\"\n", DEADLINE.as_secs()))
        .concat();
    let table = |name: &str, hop: &Hop| {
        let next_hop = hop.sink.address();
        format!(
            "[transport.{name}]\ntype = \"smtp\"\nnext_hops = [\"{next_hop}\"]\n\
             [transport.{name}.timeouts]\n{deadlines}"
        )
    };
    let config = Config::without_routes()
        .workers(&parameters.workers)
        .tables(&table("well", &well))
        .tables(&table("other", &other))
        .route("deliver = \"well\"\n")
        .route("recipient = \"*@other.example\"\ndeliver = \"other\"\n");
    let lab = Lab::with(&config);
    let daemon = lab.start();
    let messages = parameters.messages as usize;
    let (over, most_files) = (AtomicBool::new(false), AtomicUsize::new(0));
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                most_files.fetch_max(open_files(daemon.pid()), Ordering::Relaxed);
                std::thread::sleep(COUNT_EVERY);
            }
        });
        send(parameters, &daemon);
        until(RUN_TIME_MAX, || well.count() >= messages);
        over.store(true, Ordering::Relaxed);
    });
    let throughput = well.rate(start);
    println!(
        "{label}: healthy {throughput:.1} messages/s, {} of {messages} taken; memory {} MiB, open files {} at most",
        well.count(),
        daemon.memory_peak() >> 20,
        most_files.load(Ordering::Relaxed),
    );
    if hangs.is_some() {
        let (named, waiting) =
            (lab.log().matches("next hop in trouble").count(), lab.spool().names("waiting").len());
        let well_again = Instant::now();
        other.sink.follow(Vec::new());
        until(RUN_TIME_MAX, || other.count() >= messages);
        let first = other.first().unwrap_or_else(Instant::now);
        println!(
            "{label}: named in the log {named} times, {waiting} waiting; well again, its first mail after {:.1} s, \
             then {:.1} messages/s, {} of {messages} taken",
            first.saturating_duration_since(well_again).as_secs_f64(),
            other.rate(first),
            other.count(),
        );
    }
    assert_eq!(daemon.terminate().code(), Some(0));
    throughput
}

/// Sends for one next hop and the other in turn.
fn send(parameters: &Parameters, daemon: &Daemon) {
    let next = AtomicUsize::new(0);
    let filler = "All work and no play makes a dull message.\r\n".repeat(MESSAGE_BYTES / 44);
    std::thread::scope(|scope| {
        for _ in 0..parameters.connections {
            scope.spawn(|| {
                let mut client = Client::connect(daemon.smtp()).expect("a session");
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= 2 * parameters.messages as usize {
                        return;
                    }
                    let to = if number.is_multiple_of(2) { "a@well.example" } else { "a@other.example" };
                    let message = format!("Subject: {number}\r\n\r\n{filler}");
                    client.deliver("sender@example.com", &[to], message.as_bytes()).expect("it is taken");
                }
            });
        }
    });
}
