//! Counts what test programs print about themselves.
//!
//! Reads the lines `test NAME ... ignored, REASON` of Rust's test harness,
//! `test NAME ... ignored (REASON)` of libtest-mimic, and `test result: ...` of both; beside them `figures: ...` and the
//! rows of tables. It must never count a test that no program reported.

use crate::row::Row;

/// Totals of test programs.
#[derive(Default, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Tests that passed.
    pub passed: u64,
    /// Tests that failed.
    pub failed: u64,
    /// Tests that did not run.
    pub skipped: u64,
    /// The tests that did not run: name and reason.
    pub not_run: Vec<String>,
    /// Figures that suites printed about themselves.
    pub figures: Vec<String>,
    /// Rows of tables that they printed, in order.
    pub rows: Vec<Row>,
}

impl Tally {
    /// Reads one line of output.
    pub fn take(&mut self, line: &str) {
        if let Some(results) = line.strip_prefix("test result: ") {
            self.passed += number_before(results, " passed");
            self.failed += number_before(results, " failed");
            self.skipped += number_before(results, " ignored");
        } else if let Some((name, reason)) = ignored(line) {
            self.not_run.push(format!("{name}: {reason}"));
        } else if line.starts_with("figures: ") {
            self.figures.push(line.to_owned());
        } else if let Some(row) = Row::parse(line) {
            self.rows.push(row);
        }
    }

    /// Adds another's totals.
    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.not_run.extend(other.not_run);
        self.figures.extend(other.figures);
        self.rows.extend(other.rows);
    }
}

/// The number that stands right before `word`; 0 if there is none.
fn number_before(text: &str, word: &str) -> u64 {
    let before = text.split(word).next().filter(|before| before.len() < text.len()).unwrap_or("");
    before.rsplit(' ').next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// Name and reason of a test that did not run.
fn ignored(line: &str) -> Option<(&str, &str)> {
    let (name, rest) = line.strip_prefix("test ")?.split_once(" ... ignored")?;
    let reason = rest.trim_start_matches([',', ' ']);
    let reason = reason.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(reason);
    Some((name.trim(), if reason.is_empty() { "no reason given" } else { reason }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_several_programs_add_up() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test a::b ... ok",
            "test c   ... ignored (no tool: swaks)",
            "test e ... ignored, slow (really)",
            "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.01s",
            "test d               ... ignored",
            "figures: mail: 3 equal",
            "row: kills | process=cell | kills=7",
            "test result: ok. 1 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 2.00s",
        ] {
            tally.take(line);
        }
        let not_run =
            ["c: no tool: swaks", "e: slow (really)", "d: no reason given"].map(str::to_owned).into();
        let figures = vec!["figures: mail: 3 equal".to_owned()];
        let rows = vec![Row::new("kills", &[("process", "cell"), ("kills", "7")])];
        assert_eq!(tally, Tally { passed: 13, failed: 3, skipped: 2, not_run, figures, rows });
    }

    #[test]
    fn other_lines_count_nothing() {
        let mut tally = Tally::default();
        for line in ["", "test", "test result: ", "test x ... ok", "passed", "12 passed"] {
            tally.take(line);
        }
        assert_eq!(tally, Tally::default());
    }
}
