//! The power is cut at every kind of moment, on ext4, xfs and btrfs and on a
//! model of what POSIX permits, and the program has to keep its promises.
//!
//! The short form is for every check; `LAZARET_POWER=long` explores at least
//! [`STATES_MIN_LONG`] states of each file system. Nothing must pass here that
//! was not counted.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::power::{self, Disk, Explored, Plan, Scenario};
use crate::process::{self, Finished};
use crate::trial::{Case, Needs, figures, row};

/// Asks for the long form.
const LENGTH_VARIABLE: &str = "LAZARET_POWER";

/// Fewest states of each file system in the long form.
const STATES_MIN_LONG: u64 = 200;

/// Times that the power goes over one message while it is parsed: the first
/// try and the one retry.
const PARSED: RangeInclusive<usize> = 2..=2;

/// Times that it goes while one is delivered: the first may count as a strike.
const DELIVERED: RangeInclusive<usize> = 5..=6;

/// Longest time for one part of a run on a plain folder.
const PART_TIME_MAX: Duration = Duration::from_secs(120);

/// The cases.
pub fn cases() -> Vec<Case> {
    const RIG: [Needs; 4] =
        [Needs::TestData, Needs::Tool("python3"), Needs::Mounts, Needs::Device("/dev/fuse")];
    const LOOP: Needs = Needs::Device("/dev/loop-control");
    const fn on(tool: &'static str, file_system: &'static str) -> [Needs; 7] {
        let [data, python, mounting, fuse] = RIG;
        [data, python, mounting, fuse, LOOP, Needs::Tool(tool), Needs::FileSystem(file_system)]
    }
    const EXT4: &[Needs] = &on("mkfs.ext4", "ext4");
    const XFS: &[Needs] = &on("mkfs.xfs", "xfs");
    const BTRFS: &[Needs] = &on("mkfs.btrfs", "btrfs");
    vec![
        Case::new("power::cuts_on_ext4", || cuts(Disk::Real("ext4"))).needs(EXT4),
        Case::new("power::cuts_on_xfs", || cuts(Disk::Real("xfs"))).needs(XFS),
        Case::new("power::cuts_on_btrfs", || cuts(Disk::Real("btrfs"))).needs(BTRFS),
        Case::new("power::cuts_on_a_model", || {
            rules().iter().for_each(|rules| cuts(Disk::Model(rules)));
        })
        .needs(&RIG),
        Case::new("power::loops_end_on_ext4", || loops("ext4")).needs(EXT4),
        Case::new("power::loops_end_on_xfs", || loops("xfs")).needs(XFS),
        Case::new("power::loops_end_on_btrfs", || loops("btrfs")).needs(BTRFS),
        Case::new("power::an_early_answer_is_found", early_answer).needs(EXT4),
        Case::new("power::what_is_broken_is_reported", tampering),
    ]
}

fn is_long() -> bool {
    std::env::var(LENGTH_VARIABLE).is_ok_and(|length| length == "long")
}

/// What the model may lose; in the short form the rules under which it is most.
fn rules() -> &'static [&'static str] {
    if is_long() { &["split", "strict", "ordered"] } else { &["split"] }
}

/// The ways in which each scenario is recorded and explored.
fn plans(disk: Disk) -> Vec<Plan> {
    let plan = |seed, states, flush_delay, noise, seconds| Plan {
        seed,
        states,
        flush_delay,
        noise,
        time: Duration::from_secs(seconds),
    };
    match (is_long(), disk) {
        (false, Disk::Real(_)) => vec![plan(1, 12, 2, 4, 15)],
        (false, Disk::Model(_)) => vec![plan(1, 10, 2, 0, 15)],
        (true, Disk::Real(_)) => vec![plan(1, 60, 2, 0, 300), plan(2, 60, 10, 3, 300)],
        (true, Disk::Model(_)) => vec![plan(1, 40, 0, 0, 300)],
    }
}

fn cuts(disk: Disk) {
    let mut all = Explored::default();
    let mut broken = String::new();
    let mut scenarios = 0;
    for scenario in Scenario::EXPLORED {
        // The model has no way to lose power before a workload.
        if matches!(disk, Disk::Model(_)) && scenario.follows_a_cut() {
            continue;
        }
        let mut explored = Explored::default();
        for plan in plans(disk) {
            explored.add(power::explore(disk, scenario, plan));
        }
        tell(disk, scenario.name(), &explored);
        if explored.broken + explored.unconfirmed > 0 {
            broken += &format!("{}:\n{}", scenario.name(), explored.examples);
        }
        scenarios += 1;
        all.add(explored);
    }
    figures(&format!(
        "power cuts, {}: {} states of {scenarios} scenarios, {} lost, {} with a broken promise, beside {} that do not \
         mount; {} repeated within the window; claimed/ held mail in {} states, outbound/ in {}, a report was ahead of or behind its message \
         in {}, a message had two names in {}",
        disk.name(),
        all.states,
        all.times("lost"),
        all.broken,
        all.unmountable,
        all.times("repeated"),
        all.states_with("claimed"),
        all.states_with("outbound"),
        all.states_with("reports-alone"),
        all.states_with("twins"),
    ));
    assert!(
        broken.is_empty(),
        "{} of {} states, unconfirmed {}:\n{broken}",
        all.broken,
        all.states,
        all.unconfirmed
    );
    assert!(!is_long() || all.states >= STATES_MIN_LONG, "only {} states", all.states);
}

fn tell(disk: Disk, scenario: &str, explored: &Explored) {
    let count = |number: u64| number.to_string();
    row(
        "power cuts",
        &[
            ("file system", disk.name()),
            ("scenario", scenario.to_owned()),
            ("states", count(explored.states)),
            ("lost", count(explored.times("lost"))),
            ("broken", count(explored.broken)),
            ("unconfirmed", count(explored.unconfirmed)),
            ("not mounted", count(explored.unmountable)),
            ("repeated", count(explored.times("repeated"))),
            ("claimed", count(explored.states_with("claimed"))),
            ("outbound", count(explored.states_with("outbound"))),
            ("waiting", count(explored.states_with("waiting"))),
            ("in a start", count(explored.states_with("in-start"))),
            ("in a command", count(explored.states_with("in-command"))),
            ("reports alone", count(explored.states_with("reports-alone"))),
            ("twins", count(explored.states_with("twins"))),
        ],
    );
}

fn loops(file_system: &'static str) {
    let lost: &[&str] = if is_long() { &["none", "all", "rand"] } else { &["none"] };
    let mut cuts = Vec::new();
    for (scenario, allowed) in [(Scenario::ParserLoop, PARSED), (Scenario::DeliveryLoop, DELIVERED)] {
        for (seed, lose) in (1..).zip(lost) {
            let hits = power::repeat(file_system, scenario, lose, *allowed.end(), seed);
            row(
                "crash loops",
                &[
                    ("file system", file_system.to_owned()),
                    ("scenario", scenario.name().to_owned()),
                    ("unflushed writes kept", (*lose).to_owned()),
                    ("cuts", hits.to_string()),
                    ("allowed", allowed.end().to_string()),
                ],
            );
            assert!(allowed.contains(&hits), "{}: cut {hits} times, not {allowed:?}", scenario.name());
            cuts.push(format!("{} by a {}", hits, scenario.name()));
        }
    }
    figures(&format!("power loops, {file_system}: the power was cut {}", cuts.join(", ")));
}

/// The rig and the checker find a program that answers too early.
fn early_answer() {
    let plan = Plan { seed: 1, states: 40, flush_delay: 10, noise: 0, time: Duration::from_secs(20) };
    let explored = power::explore(Disk::Real("ext4"), Scenario::Early, plan);
    assert!(explored.broken > 0 && explored.times("lost") > 0, "nothing was found: {explored:?}");
}

/// A scenario that has run to its end in a plain folder.
struct Ran {
    folder: tempfile::TempDir,
    scenario: Scenario,
}

impl Ran {
    fn new(scenario: Scenario) -> Self {
        let folder = tempfile::tempdir().expect("failed to make a folder");
        let ran = Self { folder, scenario };
        std::fs::create_dir(ran.place()).expect("failed to make a folder");
        for mode in ["setup", "run"] {
            let finished = ran.part(mode);
            assert_eq!(finished.code, Some(0), "{mode}: {finished:?}");
        }
        ran
    }

    fn place(&self) -> PathBuf {
        self.folder.path().join("place")
    }

    fn marks(&self) -> PathBuf {
        self.folder.path().join("marks")
    }

    fn part(&self, mode: &str) -> Finished {
        let program = std::env::current_exe().expect("a path to this program");
        let mut command = Command::new(program);
        command
            .args([power::WORD, mode, self.scenario.name()])
            .env("RIG_DIR", self.place())
            .env("RIG_MARK", self.marks())
            .env("RIG_MARKS", self.marks());
        process::finish(&mut command, b"", PART_TIME_MAX)
    }

    /// Holds the place to its marks.
    #[track_caller]
    fn assert_says(&self, code: i32, what: &str) {
        let finished = self.part("check");
        assert!(finished.code == Some(code) && finished.stdout.contains(what), "{what:?}: {finished:?}");
    }

    fn mark(&self, line: &str) {
        let marks = std::fs::read_to_string(self.marks()).expect("failed to read the marks");
        std::fs::write(self.marks(), format!("{marks}{line}\n")).expect("failed to write the marks");
    }
}

/// The first file in a folder whose name ends so.
#[track_caller]
fn file_in(folder: &Path, ending: &str) -> PathBuf {
    let entries =
        std::fs::read_dir(folder).unwrap_or_else(|error| panic!("failed to list {folder:?}: {error}"));
    let mut paths = entries.map(|entry| entry.expect("a readable entry").path());
    let found = paths.find(|path| path.to_string_lossy().ends_with(ending));
    found.unwrap_or_else(|| panic!("no file {ending} in {folder:?}"))
}

/// The checker is silent about what is whole, and names what is not.
fn tampering() {
    let ran = Ran::new(Scenario::Intake);
    ran.assert_says(0, "");
    let desk = ran.place().join("mail/mail.example/desk/new");
    let one = file_in(&desk, "_0.lazaret");
    let whole = std::fs::read(&one).expect("failed to read");
    std::fs::write(&one, &whole[..whole.len() / 2]).expect("failed to write");
    ran.assert_says(1, "to desk@mail.example in part");
    std::fs::remove_file(&one).expect("failed to remove");
    ran.assert_says(1, ": lost");
    std::fs::write(&one, &whole).expect("failed to write");
    let again = one.to_string_lossy().replace("_0.lazaret", "_7.lazaret");
    std::fs::write(&again, &whole).expect("failed to write");
    ran.assert_says(1, "twice in the mailbox");
    std::fs::remove_file(&again).expect("failed to remove");
    ran.assert_says(0, "");

    let ran = Ran::new(Scenario::Quarantine);
    ran.assert_says(0, "");
    let report = file_in(&ran.place().join("spool/deferred"), ".report");
    std::fs::remove_file(report).expect("failed to remove");
    ran.assert_says(1, ": deferred for no report");

    let ran = Ran::new(Scenario::Release);
    ran.assert_says(0, "");
    ran.mark("deleting 3\ndeleted 3");
    ran.assert_says(1, "3: deleted, and back");
    ran.mark("releasing 7\nreleased 7");
    ran.assert_says(1, "7: deferred for no-route");

    let ran = Ran::new(Scenario::NextHops);
    ran.assert_says(0, "");
    ran.mark("again\ndelivered 0 desk@hop.example");
    ran.assert_says(1, "0: to desk@hop.example again, though it was settled");
}
