//! What is said at the end of a check: steps, suites, what did not run and why,
//! and the totals as the last line.
//!
//! It must never say "passed" about anything that did not run.

use std::time::Duration;

use crate::tally::Tally;

/// How one step went.
pub struct Outcome {
    /// Its name.
    pub step: &'static str,
    /// How long it took.
    pub took: Duration,
    /// Well, or why not.
    pub result: Result<(), String>,
    /// Whether a failure makes the whole check fail.
    pub required: bool,
    /// What its test programs counted.
    pub tally: Tally,
}

impl Outcome {
    fn failed(&self) -> bool {
        self.required && self.result.is_err()
    }
}

/// The text, and whether all is well. Tests are counted; a step that failed
/// without a failed test (a lint, a build, a time limit) counts as one failure.
pub fn close(outcomes: Vec<Outcome>, test_data: Option<String>) -> (String, bool) {
    let mut text = String::from("\n== summary\n");
    let mut tally = Tally::default();
    let mut well = true;
    let mut missing: Vec<String> = test_data.into_iter().collect();
    for outcome in outcomes {
        let failed = outcome.failed();
        well &= !failed;
        let word = match (&outcome.result, failed) {
            (Ok(()), _) => "ok".to_owned(),
            (Err(why), true) => format!("FAILED ({why})"),
            (Err(why), false) => {
                missing.push(why.clone());
                "not all".to_owned()
            }
        };
        text += &format!("  {:<14} {:>6.1} s  {word}\n", outcome.step, outcome.took.as_secs_f64());
        if failed && outcome.tally.failed == 0 {
            tally.failed += 1;
        }
        tally.add(outcome.tally);
    }
    for figures in &tally.figures {
        text += &format!("  {figures}\n");
    }
    missing.extend(tally.not_run.iter().cloned());
    text += if missing.is_empty() { "everything ran\n" } else { "did not run:\n" };
    for what in missing {
        text += &format!("  {what}\n");
    }
    text += &format!("{} passed, {} failed, {} skipped\n", tally.passed, tally.failed, tally.skipped);
    (text, well)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(result: Result<(), String>, required: bool, passed: u64, failed: u64) -> Outcome {
        let tally = Tally { passed, failed, ..Tally::default() };
        Outcome { step: "step", took: Duration::ZERO, result, required, tally }
    }

    #[test]
    fn the_last_line_holds_the_totals() {
        let (text, well) = close(vec![outcome(Ok(()), true, 3, 0), outcome(Ok(()), true, 4, 0)], None);
        assert!(well && text.ends_with("everything ran\n7 passed, 0 failed, 0 skipped\n"), "{text}");
    }

    #[test]
    fn a_failed_step_is_a_failure_even_without_tests() {
        let (text, well) = close(
            vec![outcome(Err("lints".into()), true, 0, 0), outcome(Err("tests".into()), true, 1, 2)],
            None,
        );
        assert!(!well && text.ends_with("1 passed, 3 failed, 0 skipped\n"), "{text}");
    }

    #[test]
    fn what_is_missing_is_said() {
        let (text, well) =
            close(vec![outcome(Err("missing: swaks".into()), false, 1, 0)], Some("test data".into()));
        assert!(well && text.contains("did not run:\n  test data\n  missing: swaks\n"), "{text}");
    }
}
