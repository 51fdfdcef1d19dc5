//! What goes on while the power is cut: the program, and the world around it.
//!
//! Whatever the world has seen is marked at once, and for a next hop before it
//! says so. A workload panics when the program misbehaves while the power is on;
//! it must never look at what only the program could know.

use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::letters::{number_at, number_in};
use super::marks::{Mark, Marks};
use super::rig_variable;
use super::scenario::{BUSY, HELD, HOPS, NOBODY, SLOW, SMALL_DISK, Scenario, TRIGGER};
use crate::daemon::Daemon;
use crate::lab::{Config, Lab, cli, submit};
use crate::process::on_processor;
use crate::random::Random;
use crate::sink::{Behaviour, Sink, Step, Taken};
use crate::smtp::{Client, stuffed};
use crate::spooldir::id_of;
use crate::wait::until;

/// Longest time for a workload's mail to get where it belongs.
const SETTLED_TIME_MAX: Duration = Duration::from_secs(40);

/// CPU time after which a cell must be at work on a letter that takes long.
const LONG_IN_CELL: Duration = Duration::from_millis(50);

/// Letters of a workload, unless it says otherwise.
const LETTERS: usize = 12;

/// Letters between two stops.
const LETTERS_A_RUN: usize = 6;

/// How often the daemon is started and stopped.
const RUNS: usize = 3;

/// Letters whose deliveries hang when the power is cut.
const HANGING: usize = 9;

/// Nobody: mail that is refused goes to quarantine then, and no notice mixes with
/// the letters that are counted.
const SENDER: &str = "";

/// Makes the spool, and what lies in it before anything is recorded.
pub fn setup(scenario: Scenario, folder: PathBuf) {
    let lab = Lab::at(folder, &Config::without_routes().tables(SMALL_DISK));
    assert_eq!(lab.drain(), Some(0), "an empty spool");
    for number in scenario.held() {
        let letter = scenario.letter(number);
        let submitted = submit(&lab, SENDER, &letter.recipients, &letter.content());
        assert_eq!(submitted.exit, Some(0), "{submitted:?}");
    }
    // 1: something was newly deferred.
    assert_eq!(lab.drain(), Some(i32::from(!scenario.held().is_empty())));
}

/// The scenario, until its end or the cut.
pub fn run(scenario: Scenario, folder: PathBuf, seed: u64) {
    let world = World::new(scenario, folder);
    if round() > 1 {
        world.marks.put(&Mark::Again);
    }
    let mut random = Random::seeded(seed);
    match scenario {
        Scenario::Intake | Scenario::Early => world.intake(&mut random),
        Scenario::Drop => world.drop_box(&mut random),
        Scenario::NextHops => world.next_hops(&mut random),
        Scenario::Quarantine => world.quarantine(&mut random),
        Scenario::Outbound => drop(world.hanging(&mut random)),
        Scenario::Release => world.operator(&mut random, true),
        Scenario::ReleaseAlone => world.operator(&mut random, false),
        Scenario::Stop => world.stops(&mut random),
        Scenario::Recovery | Scenario::AfterRecovery => world.until_cut(&mut random),
        Scenario::ParserLoop => world.parser_loop(),
        Scenario::DeliveryLoop => world.delivery_loop(),
    }
}

/// What follows a first cut: recovery, and then everything comes to its end.
pub fn resume(scenario: Scenario, folder: PathBuf) {
    let world = World::new(scenario, folder);
    world.marks.put(&Mark::Again);
    world.sinks[2].follow(vec![]);
    let daemon = world.start();
    if scenario == Scenario::AfterRecovery {
        world.settle();
        world.stop(daemon);
    }
}

/// The program's surroundings.
struct World {
    scenario: Scenario,
    lab: Lab,
    marks: Marks,
    sinks: [Sink; HOPS.len()],
}

impl World {
    fn new(scenario: Scenario, folder: PathBuf) -> Self {
        let marks = Marks::to(rig_variable("RIG_MARK").into());
        let sink = |script| {
            let marks = marks.clone();
            Sink::telling(script, Box::new(move |taken| taken_by_sink(scenario, &marks, taken)))
        };
        let hop = vec![
            (Step::Recipient, Some(BUSY), Behaviour::Reply("451 4.3.0 not now")),
            (Step::Recipient, Some(NOBODY), Behaviour::Reply("550 5.1.1 nobody")),
        ];
        let slow = match scenario {
            Scenario::Outbound | Scenario::Recovery | Scenario::AfterRecovery => {
                vec![(Step::Dot, None, Behaviour::Hang)]
            }
            _ => vec![],
        };
        let sinks = [sink(hop), sink(vec![]), sink(slow)];
        let hops: Vec<SocketAddr> = sinks.iter().map(Sink::address).collect();
        let lab = Lab::at(folder, &scenario.config(Some([hops[0], hops[1], hops[2]])));
        Self { scenario, lab, marks, sinks }
    }

    fn start(&self) -> Daemon {
        self.marks.put(&Mark::Starting);
        let daemon = self.lab.start();
        self.marks.put(&Mark::Ready);
        daemon
    }

    fn stop(&self, daemon: Daemon) {
        assert_eq!(daemon.terminate().code(), Some(0), "a clean stop");
        self.marks.put(&Mark::Stopped);
    }

    /// Waits until nothing is on its way any more.
    fn settle(&self) {
        let spool = self.lab.spool();
        let settled = || spool.passing().is_empty() && spool.names("waiting").is_empty();
        assert!(until(SETTLED_TIME_MAX, settled), "left: {:?}\n{}", spool.passing(), self.lab.log_tail());
    }

    /// Sends letters in one session.
    fn smtp(&self, daemon: &Daemon, numbers: &[usize]) {
        let mut client = Client::connect(daemon.smtp()).expect("a session");
        for &number in numbers {
            let letter = self.scenario.letter(number);
            client.begin(SENDER, &letter.recipients).expect("a transaction");
            client.send(&stuffed(&letter.content())).expect("a connection");
            if self.scenario == Scenario::Early {
                self.marks.put(&Mark::Acked(number));
            }
            let reply = client.reply().expect("a reply");
            assert_eq!(reply.code, 250, "{reply:?}");
            self.marks.put(&Mark::Acked(number));
        }
    }

    /// Submits letters, each by a program of its own.
    fn submit(&self, numbers: &[usize]) {
        for &number in numbers {
            let letter = self.scenario.letter(number);
            let submitted = submit(&self.lab, SENDER, &letter.recipients, &letter.content());
            assert_eq!(submitted.exit, Some(0), "{submitted:?}");
            self.marks.put(&Mark::Acked(number));
        }
    }

    /// Sends letters by two sessions and by `submit`, all at a time.
    fn send(&self, daemon: &Daemon, numbers: &[usize]) {
        let third = numbers.len() / 3;
        std::thread::scope(|scope| {
            scope.spawn(|| self.smtp(daemon, &numbers[..third]));
            scope.spawn(|| self.smtp(daemon, &numbers[third..2 * third]));
            self.submit(&numbers[2 * third..]);
        });
    }

    fn intake(&self, random: &mut Random) {
        let daemon = self.start();
        self.send(&daemon, &shuffled(0..LETTERS, random));
        self.settle();
        self.stop(daemon);
    }

    fn drop_box(&self, random: &mut Random) {
        let daemon = self.start();
        let drop = self.lab.spool().path("drop");
        for number in shuffled(0..LETTERS, random) {
            let letter = self.scenario.letter(number);
            let mut text = format!("lazaret-envelope 1\nsender <{SENDER}>\n").into_bytes();
            for recipient in &letter.recipients {
                text.extend(format!("recipient <{recipient}>\n").into_bytes());
            }
            text.extend(b"end\n");
            text.extend(letter.content());
            let (written, whole) = (drop.join(format!(".{number}")), drop.join(number.to_string()));
            let mut file = File::create(&written).expect("failed to create a file in drop/");
            file.write_all(&text).and_then(|()| file.sync_all()).expect("failed to write into drop/");
            fs::rename(&written, &whole).expect("failed to rename in drop/");
            File::open(&drop).and_then(|drop| drop.sync_all()).expect("failed to sync drop/");
            self.marks.put(&Mark::Dropped(number));
        }
        self.settle();
        self.stop(daemon);
    }

    fn next_hops(&self, random: &mut Random) {
        let daemon = self.start();
        self.send(&daemon, &shuffled(0..LETTERS, random));
        let spool = self.lab.spool();
        assert!(until(SETTLED_TIME_MAX, || !spool.names("waiting").is_empty()), "nothing waits");
        self.sinks[0].follow(vec![(Step::Recipient, Some(NOBODY), Behaviour::Reply("550 5.1.1 nobody"))]);
        self.settle();
        self.stop(daemon);
    }

    fn quarantine(&self, random: &mut Random) {
        let daemon = self.start();
        self.send(&daemon, &shuffled(0..LETTERS, random));
        self.settle();
        self.stop(daemon);
    }

    /// Ends with deliveries under way.
    fn hanging(&self, random: &mut Random) -> Daemon {
        let daemon = self.start();
        self.send(&daemon, &shuffled(1..LETTERS + 1, random));
        let spool = self.lab.spool();
        let hanging = || spool.names("incoming").is_empty() && spool.names("outbound").len() >= HANGING;
        assert!(until(SETTLED_TIME_MAX, hanging), "outbound: {:?}", spool.names("outbound"));
        daemon
    }

    fn operator(&self, random: &mut Random, with_daemon: bool) {
        let spool = self.lab.spool();
        let mut held: Vec<(String, usize)> = spool
            .names("deferred")
            .iter()
            .filter_map(|name| Some((id_of(name)?, number_at(&spool.path("deferred").join(name))?)))
            .collect();
        assert_eq!(held.len(), HELD);
        random.shuffle(&mut held);
        let daemon = with_daemon.then(|| self.start());
        for (id, number) in held {
            match number % 4 {
                // Some stay.
                3 => {}
                2 => {
                    self.marks.put(&Mark::Deleting(number));
                    self.command(&["deferred", "delete", &id]);
                    self.marks.put(&Mark::Deleted(number));
                }
                _ => {
                    self.marks.put(&Mark::Releasing(number));
                    self.command(&["deferred", "release", &id]);
                    self.marks.put(&Mark::Released(number));
                }
            }
            self.submit(&[HELD + number]);
        }
        let daemon = daemon.unwrap_or_else(|| self.start());
        self.settle();
        self.stop(daemon);
    }

    fn command(&self, words: &[&str]) {
        let done = cli(&self.lab, words);
        assert_eq!(done.code, Some(0), "{words:?}: {done:?}");
    }

    fn stops(&self, random: &mut Random) {
        for run in 0..RUNS {
            let daemon = self.start();
            let first = run * LETTERS_A_RUN;
            self.send(&daemon, &shuffled(first..first + LETTERS_A_RUN, random));
            self.stop(daemon);
        }
        let daemon = self.start();
        self.settle();
        self.stop(daemon);
    }

    /// Much is under way, and a letter is in its cell: the power may go.
    fn until_cut(&self, random: &mut Random) {
        let daemon = self.hanging(random);
        self.submit(&[TRIGGER]);
        assert!(until(SETTLED_TIME_MAX, || is_parsing(&daemon)), "no cell is at work");
        self.marks.put(&Mark::Cut);
        self.wait_for_the_end(daemon);
    }

    /// The power goes while the letter is parsed, again and again.
    fn parser_loop(&self) {
        let daemon = self.start();
        if round() == 1 {
            self.send(&daemon, &(0..LETTERS).collect::<Vec<_>>());
        }
        let spool = self.lab.spool();
        let settled = || spool.passing().is_empty();
        assert!(until(SETTLED_TIME_MAX, || is_parsing(&daemon) || settled()), "{:?}", spool.passing());
        if is_parsing(&daemon) {
            self.marks.put(&Mark::Cut);
            self.wait_for_the_end(daemon);
        } else {
            self.stop(daemon);
        }
    }

    /// The power goes while the letter is delivered, again and again: the next
    /// hop marks it. Letters that are beside it each time would be as suspicious.
    fn delivery_loop(&self) {
        let daemon = self.start();
        if round() == 1 {
            self.send(&daemon, &(1..LETTERS).collect::<Vec<_>>());
            self.settle();
            self.smtp(&daemon, &[TRIGGER]);
        }
        self.settle();
        self.stop(daemon);
    }

    /// The rig ends us; if it does not, the workload has failed.
    fn wait_for_the_end(&self, mut daemon: Daemon) {
        until(SETTLED_TIME_MAX, || !daemon.is_alive());
        panic!("the power was not cut");
    }
}

/// How often the power came; the rig counts from 1 where it cuts more than once.
fn round() -> u32 {
    std::env::var("RIG_ROUND").map_or(1, |round| round.parse().expect("a number"))
}

fn is_parsing(daemon: &Daemon) -> bool {
    daemon.cells().into_iter().any(|cell| on_processor(cell) >= LONG_IN_CELL)
}

fn shuffled(numbers: std::ops::Range<usize>, random: &mut Random) -> Vec<usize> {
    let mut numbers: Vec<usize> = numbers.collect();
    random.shuffle(&mut numbers);
    numbers
}

/// Marks what a next hop has, before it says so.
fn taken_by_sink(scenario: Scenario, marks: &Marks, taken: &Taken) {
    let number = number_in(&taken.content).expect("a letter with a number");
    if scenario == Scenario::DeliveryLoop && taken.recipients == [SLOW] {
        return marks.put(&Mark::Cut);
    }
    let whole = crate::content::carries(&taken.content, &scenario.letter(number).content());
    assert_eq!(whole, Ok(()), "letter {number} at a next hop");
    marks.put(&Mark::Delivered(number, taken.recipients.clone()));
}
