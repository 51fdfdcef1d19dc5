//! Many messages through servers, each to a recipient of its own, and the
//! comparison of what comes out with and without Lazaret in between.
//!
//! A server changes some broken messages itself, so what came out is held against
//! what the same servers make of the same mail without Lazaret. A message must
//! never be left out of the comparison.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use crate::content::{below_received, canonical, wire};
use crate::corpus::{self, Message, messages};
use crate::sink::{Sink, Taken};
use crate::smtp::{Client, stuffed};
use crate::trial::figures;
use crate::wait::until;

/// Longest time from the last message to the last arrival.
const ARRIVAL_TIME_MAX: Duration = Duration::from_secs(300);

/// Every so many-th real message is sent, unless all are asked for.
const SAMPLE: usize = 8;

/// Most findings that are shown.
const FINDINGS_SHOWN: usize = 20;

/// If set to `long`, all real messages are sent.
const LONG_VARIABLE: &str = "LAZARET_INTEROP";

/// Who sends them.
const SENDER: &str = "alma@example.org";

/// `Received:` fields that a server puts on top that gets each message twice.
pub const FIELDS_TWICE: usize = 2;

/// The messages of the repository.
pub fn own() -> Vec<Message> {
    messages(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mail"))
}

/// Real messages.
pub fn real() -> Vec<Message> {
    let step = if std::env::var(LONG_VARIABLE).is_ok_and(|value| value == "long") { 1 } else { SAMPLE };
    corpus::real().into_iter().step_by(step).collect()
}

/// What arrived, by recipient, below the fields that were put on top.
pub type Arrived = BTreeMap<String, Vec<u8>>;

/// To whom a message goes.
pub fn recipient(place: usize) -> String {
    format!("m{place}@example.net")
}

/// Sends each message to a recipient of its own.
pub fn send(client: &mut Client, messages: &[Message]) {
    for (place, message) in messages.iter().enumerate() {
        let taken = client
            .begin(SENDER, &[&recipient(place)])
            .and_then(|()| Ok(client.send(&stuffed(&wire(&message.bytes)))?))
            .and_then(|()| Ok(client.reply()?));
        let path = message.path.display();
        assert!(taken.as_ref().is_ok_and(|reply| reply.code == 250), "{path}: {taken:?}");
    }
}

/// Sends all to a server and waits for all of them, with so many `Received:` fields
/// on top.
pub fn pass(server: SocketAddr, sink: &Sink, messages: &[Message], fields: usize) -> Arrived {
    send(&mut Client::connect(server).expect("a session with the server"), messages);
    let all = until(ARRIVAL_TIME_MAX, || sink.count() >= messages.len());
    assert!(all, "{} of {} arrived", sink.count(), messages.len());
    let mut found = Arrived::new();
    for Taken { sender, recipients, content } in sink.taken() {
        assert_eq!((sender.as_str(), recipients.len()), (SENDER, 1), "{recipients:?}");
        let content =
            below(&content, fields).unwrap_or_else(|| panic!("{recipients:?}: other fields on top"));
        let repeated = found.insert(recipients[0].clone(), content.to_owned());
        assert!(repeated.is_none(), "a second copy for {recipients:?}");
    }
    assert_eq!(found.len(), messages.len(), "nothing else arrived");
    found
}

/// Lazaret's part of the way must have changed nothing but to add its field, and
/// to make a stray CR a space, as the recipes say.
pub fn compare(label: &str, messages: &[Message], without: &Arrived, with: &Arrived) {
    assert!(messages.len() >= 30, "{} messages", messages.len());
    let (mut wrong, mut untouched, mut masked) = (Vec::new(), 0, 0);
    for (place, message) in messages.iter().enumerate() {
        let (path, recipient) = (message.path.display(), recipient(place));
        let (without, with) = (&without[&recipient], &with[&recipient]);
        let expected = canonical(without);
        untouched += usize::from(*with == sent(message));
        masked += usize::from(expected != *without);
        if expected != *with {
            wrong.push(format!("{path}: {}", difference(&expected, with)));
        }
    }
    figures(&format!(
        "{label}: {} messages, {} as without Lazaret, {untouched} of them exactly as sent, \
         {masked} with a stray CR made a space",
        messages.len(),
        messages.len() - wrong.len(),
    ));
    let shown = wrong[..wrong.len().min(FINDINGS_SHOWN)].join("\n");
    assert!(wrong.is_empty(), "{} differ:\n{shown}", wrong.len());
}

/// What a message is on the wire: its last line has an end.
fn sent(message: &Message) -> Vec<u8> {
    let mut sent = wire(&message.bytes);
    if !sent.ends_with(b"\r\n") {
        sent.extend_from_slice(b"\r\n");
    }
    sent
}

/// What is below so many `Received:` fields.
pub fn below(message: &[u8], fields: usize) -> Option<&[u8]> {
    (0..fields).try_fold(message, |rest, _| below_received(rest))
}

fn difference(expected: &[u8], found: &[u8]) -> String {
    let place = expected.iter().zip(found).take_while(|(a, b)| a == b).count();
    let around = |bytes: &[u8]| {
        let end = bytes.len().min(place + 60);
        String::from_utf8_lossy(&bytes[place.min(end)..end]).into_owned()
    };
    format!(
        "{} bytes instead of {}; first difference at {place}: {:?} instead of {:?}",
        found.len(),
        expected.len(),
        around(found),
        around(expected)
    )
}
