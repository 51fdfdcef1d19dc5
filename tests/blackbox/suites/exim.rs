//! Lazaret between Exim and Exim, by the recipes of `examples/exim`.
//!
//! What comes out must be what the same Exim makes of the same mail when its way
//! to Lazaret leads straight back.

use std::time::Duration;

use crate::corpus::Message;
use crate::mta::exim::PACKAGE;
use crate::mta::exim_sandwich::{EximSandwich, without_lazaret};
use crate::mta::passage::{FIELDS_TWICE, below, compare, own, pass, real};
use crate::mta::sandwich::Way;
use crate::sink::{Sink, Taken};
use crate::smtp::{Client, stuffed};
use crate::trial::{Case, Needs};
use crate::wait::until;

/// Longest time until all has arrived.
const ARRIVAL_TIME_MAX: Duration = Duration::from_secs(120);

/// The cases.
pub fn cases() -> Vec<Case> {
    const SERVER: &[Needs] = &[Needs::Server(PACKAGE)];
    const BOTH: &[Needs] = &[Needs::Server(PACKAGE), Needs::TestData];
    vec![
        Case::new("exim::smtp_own", || through(Way::Smtp, &own())).needs(SERVER),
        Case::new("exim::smtp_real", || through(Way::Smtp, &real())).needs(BOTH),
        Case::new("exim::lmtp_own", || through(Way::Lmtp, &own())).needs(SERVER),
        Case::new("exim::lmtp_real", || through(Way::Lmtp, &real())).needs(BOTH),
        Case::new("exim::pipe_own", || through(Way::Pipe, &own())).needs(SERVER),
        Case::new("exim::pipe_real", || through(Way::Pipe, &real())).needs(BOTH),
        Case::new("exim::pipe_from_nobody_to_odd_addresses", odd_addresses).needs(SERVER),
    ]
}

fn through(way: Way, messages: &[Message]) {
    let sink = Sink::start(Vec::new());
    let exim = without_lazaret(&sink);
    let without = pass(exim.smtp(), &sink, messages, FIELDS_TWICE);
    drop(exim);
    let sandwich = EximSandwich::start(way);
    let with = pass(sandwich.exim.smtp(), &sandwich.sink, messages, FIELDS_TWICE + 1);
    compare(&format!("exim, {way:?}"), messages, &without, &with);
    sandwich.finish();
}

/// What a shell would take for its own goes through it as it is.
fn odd_addresses() {
    let sandwich = EximSandwich::start(Way::Pipe);
    let mut client = Client::connect(sandwich.exim.smtp()).expect("a session with Exim");
    let content = b"Subject: odd\r\n\r\nFrom here on\r\n.\r\n";
    let recipients = ["a$HOME@example.net", "b`id`&c@example.net", "-x@example.net"];
    let mut expected = Vec::new();
    for sender in ["", "o'neil$1@example.org"] {
        client.begin(sender, &recipients).unwrap_or_else(|failure| panic!("{failure}"));
        client.send(&stuffed(content)).expect("the message is sent");
        assert_eq!(client.reply().expect("a reply").code, 250);
        expected.extend(recipients.map(|recipient| (sender.to_owned(), recipient.to_owned())));
    }
    let arrived = || {
        let each = |taken: Taken| taken.recipients.into_iter().map(move |to| (taken.sender.clone(), to));
        let mut arrived: Vec<_> = sandwich.sink.taken().into_iter().flat_map(each).collect();
        arrived.sort();
        arrived
    };
    assert!(until(ARRIVAL_TIME_MAX, || arrived().len() >= expected.len()), "{}", sandwich.exim.log());
    expected.sort();
    assert_eq!(arrived(), expected);
    for taken in sandwich.sink.taken() {
        assert_eq!(below(&taken.content, FIELDS_TWICE + 1), Some(&content[..]));
    }
    sandwich.finish();
}
