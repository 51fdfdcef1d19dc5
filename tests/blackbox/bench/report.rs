//! What a benchmark says: each run, each round, and medians with their spread.
//!
//! A target that is missed is said to be missed and must never be anything else.

use std::fmt::Write;

use super::{Load, Mix, Parameters, Run};

/// Least part of the throughput that healthy mail keeps beside poison.
const THROUGHPUT_RATIO_MIN: f64 = 0.9;

/// Most times as long that the slowest hundredth of healthy mail takes.
const LATENCY_RATIO_MAX: f64 = 1.25;

/// What is about to be measured.
pub fn about(parameters: &Parameters, load: &Load) -> String {
    let folder = std::env::temp_dir();
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    format!(
        "{}\n{} healthy messages a run, alone (A) and beside {} benign (B) or poisonous ones (C), {} connections, {}; \
         in {} ({}), {cores} processors",
        load.describe(),
        parameters.messages,
        load.others(),
        parameters.connections,
        parameters.rate.map_or("as fast as they are taken".into(), |rate| format!("{rate} a second")),
        folder.display(),
        file_system(&folder),
    )
}

/// The kind of file system, for the two that make a difference.
fn file_system(folder: &std::path::Path) -> &'static str {
    const TMPFS: u64 = 0x0102_1994;
    match rustix::fs::statfs(folder) {
        Ok(found) if found.f_type as u64 == TMPFS => "tmpfs: fsync costs nothing",
        Ok(_) => "a disk",
        Err(_) => "unknown",
    }
}

/// One run.
pub fn line(mix: Mix, run: &Run) -> String {
    let name = match mix {
        Mix::Healthy => "A alone ",
        Mix::Ballast => "B benign",
        Mix::Poisoned => "C poison",
    };
    let mut text = format!(
        "{name} {:7.1} healthy/s, p50 {:8.1} ms, p99 {:8.1} ms; healthy: {} deferred, {} missing; \
         others: {} of {} deferred by then; {} cells ended; claiming {}",
        run.throughput(),
        run.latency(50).as_secs_f64() * 1e3,
        run.latency(99).as_secs_f64() * 1e3,
        run.healthy_deferred,
        run.missing,
        run.others_deferred,
        run.others,
        run.cells_ended,
        if run.claiming_paused { "PAUSED" } else { "never paused" },
    );
    if let Some(rest) = run.rest {
        let _ = write!(text, "; the rest took {:.1} s more", rest.as_secs_f64());
    }
    text
}

/// The runs of a round.
pub struct Round {
    pub alone: Run,
    pub ballast: Run,
    pub poisoned: Run,
}

/// What the run beside poison is compared with.
type Other = fn(&Round) -> &Run;

/// Both, and what they are called.
const OTHERS: [(&str, Other); 2] = [("C/A", |round| &round.alone), ("C/B", |round| &round.ballast)];

/// One round.
pub fn ratios(round: &Round) -> [String; 2] {
    OTHERS.map(|(name, other)| {
        let other = other(round);
        let [p50, p99] = [50, 99].map(|percent| latency(other, &round.poisoned, percent));
        format!("{name}: throughput {:.3}, p50 {p50:.2}, p99 {p99:.2}", throughput(other, &round.poisoned))
    })
}

fn throughput(without: &Run, with: &Run) -> f64 {
    with.throughput() / without.throughput()
}

fn latency(without: &Run, with: &Run, percent: usize) -> f64 {
    with.latency(percent).as_secs_f64() / without.latency(percent).as_secs_f64()
}

/// All rounds.
pub fn summary(rounds: &[Round]) -> String {
    let verdict = |met: bool| if met { "met" } else { "MISSED" };
    let mut text = String::new();
    for (name, other) in OTHERS {
        let all = |ratio: &dyn Fn(&Run, &Run) -> f64| {
            Spread::of(rounds.iter().map(|round| ratio(other(round), &round.poisoned)))
        };
        let (throughput, p99) = (all(&throughput), all(&|without, with| latency(without, with, 99)));
        let _ = writeln!(
            text,
            "figures: bench: throughput {name} {throughput} (target >= {THROUGHPUT_RATIO_MIN}): {}\n\
             figures: bench: p99 latency {name} {p99} (target <= {LATENCY_RATIO_MAX}): {}",
            verdict(throughput.median >= THROUGHPUT_RATIO_MIN),
            verdict(p99.median <= LATENCY_RATIO_MAX),
        );
    }
    let unharmed = |run: &Run| run.healthy_deferred + run.missing == 0 && !run.claiming_paused;
    let all = rounds.iter().flat_map(|Round { alone, ballast, poisoned }| [alone, ballast, poisoned]);
    let unharmed = verdict(all.into_iter().all(unharmed));
    let _ = writeln!(
        text,
        "figures: bench: no healthy message deferred or missing, claiming never paused: {unharmed}"
    );
    text
}

/// A median and what lies around it.
struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let at = |place: usize| values.get(place).copied().unwrap_or(f64::NAN);
        let count = values.len();
        let median = f64::midpoint(at(count.saturating_sub(1) / 2), at(count / 2));
        Self { least: at(0), median, most: at(count.saturating_sub(1)) }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.3} ({:.3} to {:.3})", self.median, self.least, self.most)
    }
}
