//! What messages have cost, as `lazaret status` shows it.
//!
//! As JSON with every bucket, for programs that add up; as text one line each. It
//! must never show a number that the daemon did not tell.

use std::fmt::Write;
use std::time::Duration;

use lazaret_envelope::ByteSize;
use lazaret_worker::{CostsStatus, Distribution};
use serde::{Deserialize, Serialize};

/// What messages have cost that were in a cell since the daemon's start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Costs {
    memory_peak_bytes: Shown,
    cpu_time_us: Shown,
    wall_time_us: Shown,
}

/// A distribution, as it is shown.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Shown {
    count: u64,
    sum: u64,
    max: u64,
    p50: u64,
    p99: u64,
    buckets: Vec<Bucket>,
}

/// Values that are at most so large and above the bucket before; no bound for
/// those above all.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Bucket {
    at_most: Option<u64>,
    count: u64,
}

impl From<Distribution> for Shown {
    fn from(distribution: Distribution) -> Self {
        let bounded = distribution.buckets.iter().map(|&(bound, count)| (Some(bound), count));
        let all = bounded.chain([(None, distribution.above)]);
        Self {
            count: distribution.count(),
            sum: distribution.sum,
            max: distribution.max,
            p50: distribution.percentile(50),
            p99: distribution.percentile(99),
            buckets: all.map(|(at_most, count)| Bucket { at_most, count }).collect(),
        }
    }
}

impl From<CostsStatus> for Costs {
    fn from(status: CostsStatus) -> Self {
        Self {
            memory_peak_bytes: status.memory_peak_bytes.into(),
            cpu_time_us: status.cpu_time_us.into(),
            wall_time_us: status.wall_time_us.into(),
        }
    }
}

impl Costs {
    /// One line each.
    pub fn as_text(&self) -> String {
        let memory = |bytes: u64| ByteSize(bytes.next_multiple_of(1024)).to_string();
        let time = |micros: u64| format!("{:?}", Duration::from_micros(micros));
        let mut text = String::new();
        let mut line = |name: &str, shown: &Shown, unit: &dyn Fn(u64) -> String| {
            let Shown { count, p50, p99, max, .. } = *shown;
            let unit = |value: u64| if count == 0 { "-".to_owned() } else { unit(value) };
            let [p50, p99, max] = [p50, p99, max].map(unit);
            let _ = writeln!(
                text,
                "  {name:<12} p50 {p50:>10}  p99 {p99:>10}  max {max:>10}  of {count} messages"
            );
        };
        line("peak memory", &self.memory_peak_bytes, &memory);
        line("CPU time", &self.cpu_time_us, &time);
        line("wall time", &self.wall_time_us, &time);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_tell_the_same() {
        let distribution =
            || Distribution { buckets: vec![(1024, 1), (2048, 98)], above: 1, sum: 150_000, max: 9000 };
        let status = || CostsStatus {
            memory_peak_bytes: distribution(),
            cpu_time_us: distribution(),
            wall_time_us: distribution(),
        };
        let costs = Costs::from(status());
        let text = costs.as_text();
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0].join(" "), "peak memory p50 2KiB p99 2KiB max 9KiB of 100 messages");
        assert_eq!(lines[1].join(" "), "CPU time p50 2.048ms p99 2.048ms max 9ms of 100 messages");
        let json = serde_json::to_value(&costs).unwrap();
        assert_eq!(json["wall_time_us"]["buckets"][1], serde_json::json!({"at_most": 2048, "count": 98}));
        assert_eq!(json["wall_time_us"]["buckets"][2], serde_json::json!({"at_most": null, "count": 1}));
        assert_eq!(serde_json::from_value::<Costs>(json).unwrap().as_text(), text);
        let nothing = || Distribution { buckets: Vec::new(), above: 0, sum: 0, max: 0 };
        let text = Costs::from(CostsStatus {
            memory_peak_bytes: nothing(),
            cpu_time_us: nothing(),
            wall_time_us: nothing(),
        });
        assert!(!text.as_text().contains("0B") && text.as_text().contains("max          -  of 0 messages"));
    }
}
