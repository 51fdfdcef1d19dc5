//! What a benchmark says: each run, each pair, and medians with their spread.
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
        "{}\n{} healthy messages a run, {} poisonous in addition or {}, {} connections, {}; in {} ({}), {cores} processors",
        load.describe(),
        parameters.messages,
        load.others(),
        if parameters.ballast { "as many benign ones of their sizes" } else { "none in their place" },
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
        Mix::Healthy => "A healthy ",
        Mix::Ballast => "A ballast ",
        Mix::Poisoned => "B poisoned",
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

/// One pair.
pub fn ratios(without: &Run, with: &Run) -> String {
    let [throughput, p50, p99] =
        [throughput, |a: &Run, b: &Run| latency(a, b, 50), p99].map(|f| f(without, with));
    format!("B/A: throughput {throughput:.3}, p50 {p50:.2}, p99 {p99:.2}")
}

fn throughput(without: &Run, with: &Run) -> f64 {
    with.throughput() / without.throughput()
}

fn p99(without: &Run, with: &Run) -> f64 {
    latency(without, with, 99)
}

fn latency(without: &Run, with: &Run, percent: usize) -> f64 {
    with.latency(percent).as_secs_f64() / without.latency(percent).as_secs_f64()
}

/// All pairs.
pub fn summary(pairs: &[(Run, Run)]) -> String {
    let all = |ratio: fn(&Run, &Run) -> f64| Spread::of(pairs.iter().map(|(a, b)| ratio(a, b)));
    let (throughput, p99) = (all(throughput), all(p99));
    let verdict = |met: bool| if met { "met" } else { "MISSED" };
    let unharmed =
        pairs.iter().all(|(a, b)| [a, b].iter().all(|run| run.healthy_deferred + run.missing == 0));
    format!(
        "figures: bench: throughput B/A {throughput} (target >= {THROUGHPUT_RATIO_MIN}): {}\n\
         figures: bench: p99 latency B/A {p99} (target <= {LATENCY_RATIO_MAX}): {}\n\
         figures: bench: no healthy message deferred or missing: {}",
        verdict(throughput.median >= THROUGHPUT_RATIO_MIN),
        verdict(p99.median <= LATENCY_RATIO_MAX),
        verdict(unharmed),
    )
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
