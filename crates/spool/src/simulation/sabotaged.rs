//! Proof that the simulation can fail: with each of six errors in the protocol it
//! finds what the error does.
//!
//! An error that is not found must never be answered by another error.

use super::SEEDS;
use super::explore::{Explorer, print_figures};
use super::histories::HISTORIES;
use super::long::Long;
use super::poison::{Danger, Poison};
use crate::sabotage::{Sabotage, during};

/// The table of errors and what was found of them.
const SABOTAGE: &str = "deliberate errors";

/// Goes through the short histories whose names begin with `which`.
fn explore(error: Sabotage, which: &[&str], expected: &str) {
    let mut explorer = Explorer::default();
    during(error, || {
        for history in HISTORIES.iter().filter(|history| which.contains(&history.name)) {
            explorer.history(history);
        }
    });
    let kinds: Vec<&str> = explorer.kept.keys().map(String::as_str).collect();
    let figures = [
        ("histories", explorer.histories),
        ("starts", explorer.starts),
        ("violations found", explorer.violations),
    ];
    print_figures(SABOTAGE, &format!("{error:?}"), &figures);
    assert_eq!(explorer.histories, which.len());
    assert!(kinds.iter().any(|kind| kind.contains(expected)), "{error:?} was not found: {kinds:#?}");
}

#[test]
fn no_sync_of_the_directory_after_the_rename_is_found() {
    explore(Sabotage::NoDirectorySync, &["two sessions accept"], "was acknowledged and is lost");
}

#[test]
fn an_answer_before_the_sync_is_found() {
    explore(Sabotage::AnswerBeforeSync, &["two sessions accept"], "is not whole");
}

#[test]
fn a_claim_that_is_not_durable_is_found() {
    explore(Sabotage::ClaimNotDurable, &["a strike, then a verdict"], "bears no mark");
    meets_too_often(Sabotage::ClaimNotDurable);
}

#[test]
fn an_unlink_before_the_delivery_is_found() {
    explore(Sabotage::UnlinkBeforeDelivery, &["a strike, then a verdict"], "was acknowledged and is lost");
}

#[test]
fn a_sender_who_is_told_before_the_notice_is_safe_is_found() {
    let history = ["a refusal, of which the sender is told"];
    explore(Sabotage::ToldBeforeNotice, &history, "its sender not told");
}

/// The histories that are drawn have refusals, expiry and bounces in them.
#[test]
fn a_sender_who_is_told_before_the_notice_is_safe_is_found_at_random() {
    let mut explorer = Explorer::of_long_histories();
    during(Sabotage::ToldBeforeNotice, || {
        for seed in SEEDS {
            Long::new(seed).play(seed, &mut explorer);
            if explorer.violations > 0 {
                break;
            }
        }
    });
    let kinds: Vec<&String> = explorer.kept.keys().collect();
    assert!(kinds.iter().any(|kind| kind.contains("its sender not told")), "{kinds:#?}");
}

#[test]
fn a_strike_that_is_not_marked_is_found() {
    explore(Sabotage::StrikeNotMarked, &["a strike, then a verdict"], "bears no mark");
    meets_too_often(Sabotage::StrikeNotMarked);
}

/// The poison takes the machine down a third time.
fn meets_too_often(error: Sabotage) {
    let mut poison = Poison::new(Danger::Cell);
    during(error, || poison.play(1));
    let figures = [("most meetings", poison.most_meetings), ("violations found", poison.violations.len())];
    print_figures(SABOTAGE, &format!("{error:?}, and poison"), &figures);
    assert!(poison.most_meetings > 2, "{error:?} was not found by the poison");
}
