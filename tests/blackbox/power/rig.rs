//! Calls the rig and reads what it says: exit status and JSON, and the checker's
//! own tally of what it met.
//!
//! Nothing here may pass for want of output: no number is a failure.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::WORD;
use super::scenario::Scenario;
use crate::process::{self, Finished};
use crate::trial::test_data;

/// Names the file to which the checker adds a line for each state.
pub const TALLY_VARIABLE: &str = "LAZARET_POWER_TALLY";

/// Names the file to which the checker adds what is broken.
pub const FINDINGS_VARIABLE: &str = "LAZARET_POWER_FINDINGS";

/// Set where a file that lost its first name has lost its mode too, and one with
/// two names has become two: the rig's model does so, and no file system.
pub const TREE_VARIABLE: &str = "LAZARET_POWER_TREE_ONLY";

/// Where disk images lie, if it is there: the rig wants memory for them.
const MEMORY_FOLDER: &str = "/dev/shm";

/// Longest time for recording a workload.
const RECORD_TIME_MAX: Duration = Duration::from_secs(60);

/// What the rig needs besides, to make images and to end.
const OTHER_TIME_MAX: Duration = Duration::from_secs(120);

/// Most rounds of a loop.
const ROUNDS_MAX: usize = 8;

/// On what the power is cut.
#[derive(Clone, Copy, Debug)]
pub enum Disk {
    /// A real file system on a recorded disk.
    Real(&'static str),
    /// A model with these rules.
    Model(&'static str),
}

impl Disk {
    /// The name in tables.
    pub fn name(self) -> String {
        match self {
            Self::Real(name) => name.to_owned(),
            Self::Model(rules) => format!("model ({rules})"),
        }
    }
}

/// How a scenario is to be explored.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Chooses the order of letters and the states.
    pub seed: u64,
    /// Most states.
    pub states: usize,
    /// Milliseconds that a flush takes.
    pub flush_delay: u32,
    /// Milliseconds between the fsyncs of somebody else; 0 for none.
    pub noise: u32,
    /// Most time for checking.
    pub time: Duration,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Explored {
    /// States that were checked.
    pub states: u64,
    /// States beside these in which the file system does not mount, and so tells
    /// nothing of what was on it: a write of its own was torn into sectors.
    pub unmountable: u64,
    /// States in which a promise was broken.
    pub broken: u64,
    /// States that were broken once and not when they were built again.
    pub unconfirmed: u64,
    /// What the rig says about some of them.
    pub examples: String,
    /// Of each thing that the checker counts: in how many states it was met,
    /// and how often in all.
    pub met: BTreeMap<String, (u64, u64)>,
}

impl Explored {
    /// Adds another's counts.
    pub fn add(&mut self, other: Self) {
        self.states += other.states;
        self.unmountable += other.unmountable;
        self.broken += other.broken;
        self.unconfirmed += other.unconfirmed;
        self.examples += &other.examples;
        for (name, (states, times)) in other.met {
            let met = self.met.entry(name).or_default();
            *met = (met.0 + states, met.1 + times);
        }
    }

    /// In how many states something was met.
    pub fn states_with(&self, name: &str) -> u64 {
        self.met.get(name).map_or(0, |met| met.0)
    }

    /// How often something was met in all.
    pub fn times(&self, name: &str) -> u64 {
        self.met.get(name).map_or(0, |met| met.1)
    }
}

/// A call of the rig.
struct Call {
    command: Command,
    work: TempDir,
}

impl Call {
    fn new(mode: &str, scenario: Scenario, plan: Plan) -> Self {
        let folder = Path::new(MEMORY_FOLDER);
        let folder = if folder.is_dir() { folder.to_owned() } else { std::env::temp_dir() };
        let work = tempfile::Builder::new().prefix("lazaret-power-").tempdir_in(folder);
        let work = work.expect("failed to make a folder");
        let tally = work.path().join("tally");
        let findings = work.path().join("findings");
        for file in [&tally, &findings] {
            std::fs::write(file, "").expect("failed to make a file");
        }
        // What follows a cut is explored; what comes before it is only recorded.
        let explored = if scenario.follows_a_cut() { "resume" } else { "run" };
        let mut command = Command::new("python3");
        command
            .arg(test_data().join("rig/plrig.py"))
            .arg(mode)
            .arg("--json")
            .arg("--work")
            .arg(work.path().join("work"))
            .args(["--setup", &own("setup", scenario, "")])
            .args(["--run", &own(explored, scenario, &plan.seed.to_string())])
            .args(["--check", &own("check", scenario, "")])
            .args(["--seed", &plan.seed.to_string()])
            .args(["--max-states", &plan.states.to_string()])
            .args(["--show", &plan.states.to_string()])
            .args(["--budget", &plan.time.as_secs().to_string()])
            .args(["--timeout", &RECORD_TIME_MAX.as_secs().to_string()])
            .env(TALLY_VARIABLE, tally)
            .env(FINDINGS_VARIABLE, findings);
        Self { command, work }
    }

    fn run(&mut self, limit: Duration) -> Finished {
        process::finish(&mut self.command, b"", limit + OTHER_TIME_MAX)
    }

    fn tally(&self) -> BTreeMap<String, (u64, u64)> {
        let text = std::fs::read_to_string(self.work.path().join("tally")).expect("failed to read the tally");
        let mut met = BTreeMap::<String, (u64, u64)>::new();
        for word in text.split_whitespace() {
            let (name, count) = word.split_once('=').expect("a name and a count");
            let count: u64 = count.parse().expect("a count");
            let met = met.entry(name.to_owned()).or_default();
            *met = (met.0 + u64::from(count > 0), met.1 + count);
        }
        met
    }
}

/// This program as a command of the rig's.
fn own(mode: &str, scenario: Scenario, seed: &str) -> String {
    let program = std::env::current_exe().expect("a path to this program");
    format!("'{}' {WORD} {mode} {} {seed}", program.display(), scenario.name())
}

/// Cuts the power in a scenario at as many moments as the plan allows.
///
/// # Panics
/// If the rig itself failed, or the workload did.
pub fn explore(disk: Disk, scenario: Scenario, plan: Plan) -> Explored {
    let mut call = match disk {
        Disk::Real(_) => Call::new("block", scenario, plan),
        Disk::Model(_) => Call::new("model", scenario, plan),
    };
    match disk {
        Disk::Real(name) => {
            call.command
                .args(["--fs", name])
                .args(["--flush-delay", &plan.flush_delay.to_string()])
                .args(["--noise", &plan.noise.to_string()]);
        }
        Disk::Model(rules) => drop(call.command.args(["--rules", rules]).env(TREE_VARIABLE, "1")),
    }
    if scenario.follows_a_cut() {
        let first = own("run", scenario, &plan.seed.to_string());
        call.command.args(["--first", &first, "--first-at", "^cut$"]);
        call.command.args(["--first-lose", ["none", "all", "rand"][plan.seed as usize % 3]]);
    }
    let finished = call.run(RECORD_TIME_MAX * 2 + plan.time);
    let said: Value = serde_json::from_str(&finished.stdout)
        .unwrap_or_else(|error| panic!("{disk:?}, {scenario:?}: {error}: {finished:?}"));
    let number = |name: &str| said[name].as_u64().unwrap_or_else(|| panic!("no {name}: {finished:?}"));
    assert_eq!(said["workload_status"].as_u64(), Some(0), "{disk:?}, {scenario:?}: {finished:?}");
    let violations = number("violations");
    assert_eq!(finished.code, Some(i32::from(violations > 0)), "{disk:?}, {scenario:?}: {finished:?}");
    let unmountable = unmountable(&said["examples"]);
    let findings =
        std::fs::read_to_string(call.work.path().join("findings")).expect("failed to read findings");
    let explored = Explored {
        states: number("checked") - unmountable,
        unmountable,
        broken: violations - unmountable,
        // The model builds each state once.
        unconfirmed: said["unconfirmed"].as_u64().unwrap_or(0),
        // Some may not be among the rig's: those that were not broken again.
        examples: if findings.is_empty() { findings } else { format!("{:#}\n{findings}", said["examples"]) },
        met: call.tally(),
    };
    assert!(explored.states > 0, "{disk:?}, {scenario:?}: no state was checked: {finished:?}");
    explored
}

/// Of the rig's examples those in which a torn write has cost the whole file
/// system. Where whole writes were lost it has to mount.
pub fn unmountable(examples: &Value) -> u64 {
    let says = |example: &Value, key: &str, what: &str| {
        example[key].as_str().is_some_and(|text| text.contains(what))
    };
    let examples = examples.as_array().into_iter().flatten();
    let torn = examples.filter(|example| says(example, "class", " torn "));
    torn.filter(|example| says(example, "text", "file system does not mount")).count() as u64
}

/// Cuts the power at each mark `cut`, until none comes; says how many came.
///
/// # Panics
/// If a promise was broken or the rig failed.
pub fn repeat(
    file_system: &'static str,
    scenario: Scenario,
    lose: &str,
    hits_max: usize,
    seed: u64,
) -> usize {
    let plan = Plan { seed, states: 1, flush_delay: 2, noise: 0, time: Duration::ZERO };
    let mut call = Call::new("loop", scenario, plan);
    call.command.args(["--fs", file_system, "--at", "^cut$", "--lose", lose]).args([
        "--max-hits",
        &hits_max.to_string(),
        "--rounds",
        &ROUNDS_MAX.to_string(),
    ]);
    let rounds = u32::try_from(ROUNDS_MAX).expect("a small number");
    let finished = call.run(RECORD_TIME_MAX * rounds);
    // The rig does not ask how the last round ended.
    let ended =
        finished.stdout.lines().filter_map(|line| line.strip_prefix("round ")?.split_once(": ")).next_back();
    assert!(ended.is_some_and(|(_, how)| how.starts_with("0;")), "{file_system}, {scenario:?}: {finished:?}");
    let hits = finished.stdout.lines().find_map(|line| line.strip_prefix("hits="));
    let hits = hits.and_then(|rest| rest.split(' ').next()).and_then(|hits| hits.parse().ok());
    assert_eq!(finished.code, Some(0), "{file_system}, {scenario:?}: {finished:?}");
    hits.unwrap_or_else(|| panic!("{file_system}, {scenario:?}: no count: {finished:?}"))
}
