//! Mail goes through unchanged, by SMTP and by `submit`.
//!
//! Equality is that of all bytes below the one added field, after CRLF -> LF.
//! A message that was taken must never be left out of the comparison.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::content::{canonical, carries, has_bare_cr, wire};
use crate::corpus::{self, Message, messages};
use crate::daemon::Daemon;
use crate::lab::{Lab, submitted};
use crate::smtp::{Client, Failure};
use crate::trial::{Case, Needs, figures};
use crate::wait::until;

/// Longest time from the last message to the last delivery.
const ARRIVAL_TIME_MAX: Duration = Duration::from_secs(180);

/// Most findings that are shown.
const FINDINGS_SHOWN: usize = 20;

const RECIPIENT: &str = "desk@example.org";

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("mail::own_messages_arrive_unchanged", own),
        Case::new("mail::real_messages_arrive_unchanged", corpus).needs(&[Needs::TestData]),
    ]
}

/// How a message goes in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Smtp,
    Submit,
}

fn own() {
    let messages = messages(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mail"));
    assert!(messages.len() >= 30, "the messages of tests/mail: {}", messages.len());
    let both = [Way::Smtp, Way::Submit];
    go("own", messages.iter().flat_map(|message| both.map(|way| (message, way))));
}

fn corpus() {
    let messages = corpus::real();
    go("real", messages.iter().zip([Way::Smtp, Way::Submit].into_iter().cycle()));
}

/// Sends all, waits for all, compares all.
fn go<'a>(label: &str, messages: impl Iterator<Item = (&'a Message, Way)>) {
    let lab = Lab::new();
    let daemon = lab.start();
    let mut client = Client::connect(daemon.smtp()).expect("a session");
    let mut expected = BTreeMap::new();
    let (mut by_smtp, mut by_submit, mut refused) = (0, 0, 0);
    for (message, way) in messages {
        let mut submit = || {
            by_submit += 1;
            expected.insert(submitted(&lab, RECIPIENT, &message.bytes), (message, canonical(&message.bytes)));
        };
        if way == Way::Submit {
            submit();
            continue;
        }
        match by_smtp_or_refused(&daemon, &mut client, message) {
            Some((id, sent)) => {
                by_smtp += 1;
                expected.insert(id, (message, sent));
            }
            None => {
                refused += 1;
                submit();
            }
        }
    }
    let all = expected.len();
    let arrived = || lab.mail().copies();
    until(ARRIVAL_TIME_MAX, || arrived().len() >= all || !lab.spool().names("deferred").is_empty());
    let copies = arrived();
    let compare = |(id, (message, sent)): (&String, &(&Message, Vec<u8>))| {
        let path = message.path.display();
        let [copy] = copies.get(id).map_or(&[][..], Vec::as_slice) else {
            return Some(format!("{path} ({id}): {} copies", copies.get(id).map_or(0, Vec::len)));
        };
        let delivered =
            std::fs::read(copy).unwrap_or_else(|error| panic!("failed to read {copy:?}: {error}"));
        carries(&delivered, sent).err().map(|why| format!("{path} ({id}): {why}"))
    };
    let wrong: Vec<String> = expected.iter().filter_map(compare).collect();
    let equal = all - wrong.len();
    figures(&format!(
        "mail, {label}: {by_smtp} by smtp, {by_submit} by submit, {refused} refused by policy, {equal} of {all} equal"
    ));
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(FINDINGS_SHOWN)].join("\n")
    );
    assert_eq!(copies.len(), all, "nothing else arrived");
    assert_eq!(daemon.terminate().code(), Some(0));
    assert_eq!(lab.spool().passing(), Vec::<String>::new(), "nothing is left on its way");
}

/// Id and content of a message that was taken; `None` for one whose line ends
/// the listener rightly refuses.
fn by_smtp_or_refused(daemon: &Daemon, client: &mut Client, message: &Message) -> Option<(String, Vec<u8>)> {
    let mut sent = wire(&message.bytes);
    let may_refuse = has_bare_cr(&sent);
    match client.deliver("sender@example.com", &[RECIPIENT], &sent) {
        Ok(id) if !may_refuse => {
            // SMTP can't say that the last line has no end.
            if !sent.is_empty() && !sent.ends_with(b"\r\n") {
                sent.extend_from_slice(b"\r\n");
            }
            Some((id, sent))
        }
        Err(Failure::Refused(reply)) if may_refuse && reply.code == 550 => {
            *client = Client::connect(daemon.smtp()).expect("a session after a refusal");
            None
        }
        other => panic!("{}: {other:?}", message.path.display()),
    }
}
