//! Line ends that some servers take for the end of a message, sent through Lazaret
//! into a real Postfix: what follows them must never become a message of its own.
//!
//! A sequence that is taken must arrive as part of the one message it stood in.

use std::time::Duration;

use crate::lab::submit;
use crate::mta::postfix::PACKAGE;
use crate::mta::sandwich::{Sandwich, Way};
use crate::smtp::Client;
use crate::trial::{Case, Needs, figures};
use crate::wait::until;

/// Longest time until all has arrived.
const ARRIVAL_TIME_MAX: Duration = Duration::from_secs(120);

/// What stands before and behind the dot.
const LINE_ENDS: [&str; 8] = ["\r\n", "\n", "\r", "\r\r\n", "\n\r", "\r\n\r", "\0\r\n", "\r\0\n"];

/// What ends a message where it stands on both sides of the dot.
const TRUE_END: &str = "\r\n";

/// Who must never get anything.
const VICTIM: &str = "victim@example.net";

/// What a smuggler wants to be taken for commands.
const SMUGGLED: &str = "MAIL FROM:<admin@example.net>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\n\
    Subject: smuggled\r\n\r\nPay at once.";

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![Case::new("smuggling_onward::into_postfix", into_postfix).needs(&[Needs::Server(PACKAGE)])]
}

fn into_postfix() {
    let sandwich = Sandwich::start(Way::Smtp);
    let sequences = LINE_ENDS.iter().flat_map(|before| LINE_ENDS.iter().map(move |after| (before, after)));
    let (mut by_socket, mut by_submit, mut refused) = (0, 0, 0);
    for (before, after) in sequences {
        let text = format!("Subject: outer\r\n\r\nHello.{before}.{after}{SMUGGLED}");
        let submitted = submit(&sandwich.lab, "alma@example.org", &["bo@example.net"], text.as_bytes());
        assert_eq!(submitted.exit, Some(0), "{}", submitted.said);
        by_submit += 1;
        // By SMTP this is the end, and what follows are commands.
        if before.ends_with(TRUE_END) && after.starts_with(TRUE_END) {
            continue;
        }
        let mut client = Client::connect(sandwich.daemon.smtp()).expect("a session");
        client.begin("alma@example.org", &["bo@example.net"]).expect("354");
        client.send(format!("{text}\r\n.\r\n").as_bytes()).expect("the message is sent");
        match client.reply().expect("a reply").code {
            250 => by_socket += 1,
            550 => refused += 1,
            code => panic!("{before:?}.{after:?}: {code}"),
        }
    }
    let due = by_socket + by_submit;
    assert!(until(ARRIVAL_TIME_MAX, || sandwich.sink.count() >= due), "{} of {due}", sandwich.sink.count());
    let taken = sandwich.sink.taken();
    let smuggled = taken.iter().filter(|taken| taken.recipients.iter().any(|to| to == VICTIM)).count();
    let whole = |content: &[u8]| String::from_utf8_lossy(content).ends_with("Pay at once.\r\n");
    let torn = taken.iter().filter(|taken| !whole(&taken.content)).count();
    figures(&format!(
        "smuggling into Postfix: {by_socket} sequences taken and {refused} refused by socket, \
         {by_submit} taken by submit, {} messages arrived, {smuggled} smuggled, {torn} torn",
        taken.len()
    ));
    assert_eq!((smuggled, torn, taken.len()), (0, 0, due));
    sandwich.finish();
}
