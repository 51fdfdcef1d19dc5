//! Mail through Postfix, Lazaret and Postfix, by the recipes of `examples/postfix`.
//!
//! What comes out must be what the same Postfix makes of the same mail when its
//! way to Lazaret leads straight back.

use crate::corpus::Message;
use crate::mta::passage::{FIELDS_TWICE, compare, own, pass, real};
use crate::mta::postfix::PACKAGE;
use crate::mta::sandwich::{Sandwich, Way, without_lazaret};
use crate::sink::Sink;
use crate::trial::{Case, Needs};

/// The cases.
pub fn cases() -> Vec<Case> {
    const SERVER: &[Needs] = &[Needs::Server(PACKAGE)];
    const BOTH: &[Needs] = &[Needs::Server(PACKAGE), Needs::TestData];
    vec![
        Case::new("postfix::smtp_own", || through(Way::Smtp, &own())).needs(SERVER),
        Case::new("postfix::smtp_real", || through(Way::Smtp, &real())).needs(BOTH),
        Case::new("postfix::lmtp_own", || through(Way::Lmtp, &own())).needs(SERVER),
        Case::new("postfix::lmtp_real", || through(Way::Lmtp, &real())).needs(BOTH),
        Case::new("postfix::pipe_own", || through(Way::Pipe, &own())).needs(SERVER),
        Case::new("postfix::pipe_real", || through(Way::Pipe, &real())).needs(BOTH),
    ]
}

fn through(way: Way, messages: &[Message]) {
    let sink = Sink::start(Vec::new());
    let postfix = without_lazaret(&sink);
    let without = pass(postfix.smtp(), &sink, messages, FIELDS_TWICE);
    drop(postfix);
    let sandwich = Sandwich::start(way);
    let with = pass(sandwich.postfix.smtp(), &sandwich.sink, messages, FIELDS_TWICE + 1);
    compare(&format!("postfix, {way:?}"), messages, &without, &with);
    sandwich.finish();
}
