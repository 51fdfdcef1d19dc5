//! Lazaret between Postfix and Postfix, by the recipes of `examples/postfix`.
//!
//! Postfix changes some broken messages itself, so there is a control: the same
//! mail through the same Postfix twice, without Lazaret. What comes out must be
//! equal but for Lazaret's one field. A message must never be left out of the
//! comparison.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::time::Duration;

use crate::content::{below_received, canonical, wire};
use crate::corpus::{self, Message, messages};
use crate::daemon::Daemon;
use crate::lab::{LAZARET, Lab};
use crate::mta::postfix::{PACKAGE, Postfix};
use crate::mta::{bracketed, example, free_address};
use crate::sink::{Sink, Taken};
use crate::smtp::{Client, stuffed};
use crate::trial::{Case, Needs, figures};
use crate::wait::until;

/// Longest time from the last message to the last arrival.
const ARRIVAL_TIME_MAX: Duration = Duration::from_secs(300);

/// Every so many-th real message is sent, unless all are asked for.
const SAMPLE: usize = 8;

/// Most findings that are shown.
const FINDINGS_SHOWN: usize = 20;

/// If set to `long`, all real messages are sent.
const LONG_VARIABLE: &str = "LAZARET_INTEROP";

/// Who stands for the user `lazaret` of the recipe: Debian's nobody.
const PIPE_USER: (&str, u32) = ("nobody", 65534);

/// The cases.
pub fn cases() -> Vec<Case> {
    const SERVER: &[Needs] = &[Needs::Server(PACKAGE)];
    const BOTH: &[Needs] = &[Needs::Server(PACKAGE), Needs::TestData];
    vec![
        Case::new("postfix::smtp_own", || through(Way::Smtp, &own())).needs(SERVER),
        Case::new("postfix::smtp_real", || through(Way::Smtp, &real())).needs(BOTH),
        Case::new("postfix::pipe_own", || through(Way::Pipe, &own())).needs(SERVER),
        Case::new("postfix::pipe_real", || through(Way::Pipe, &real())).needs(BOTH),
    ]
}

/// How Postfix hands mail to Lazaret.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    /// `content_filter` to a transport of smtp(8).
    Smtp,
    /// To a transport of pipe(8), which runs `lazaret submit`.
    Pipe,
}

fn own() -> Vec<Message> {
    messages(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mail"))
}

fn real() -> Vec<Message> {
    let step = if std::env::var(LONG_VARIABLE).is_ok_and(|value| value == "long") { 1 } else { SAMPLE };
    corpus::real().into_iter().step_by(step).collect()
}

/// Postfix with Lazaret behind it, and what takes the mail in the end. The first
/// to be dropped stands first.
struct Sandwich {
    postfix: Postfix,
    daemon: Daemon,
    lab: Lab,
    sink: Sink,
}

impl Sandwich {
    fn start(way: Way) -> Self {
        let (sink, back, lab) = (Sink::start(Vec::new()), free_address(), Lab::new());
        let spool = lab.path("spool");
        lab.configure_with(&example(
            "postfix/lazaret.toml",
            &[
                ("/var/spool/lazaret", &spool.to_string_lossy()),
                ("127.0.0.1:10025", "127.0.0.1:0"),
                ("127.0.0.1:10026", &back.to_string()),
            ],
        ));
        let daemon = lab.start();
        let (main, master) = match way {
            Way::Smtp => recipe(daemon.smtp(), back),
            Way::Pipe => pipe_recipe(&lab, back),
        };
        let postfix = Postfix::start(sink.address(), &main, &master);
        Self { postfix, daemon, lab, sink }
    }
}

/// The lines for main.cf and master.cf.
fn recipe(filter: SocketAddr, back: SocketAddr) -> (String, String) {
    let main = example("postfix/main.cf", &[("[127.0.0.1]:10025", &bracketed(filter))]);
    (main, example("postfix/master.cf", &[("127.0.0.1:10026", &back.to_string())]))
}

fn pipe_recipe(lab: &Lab, back: SocketAddr) -> (String, String) {
    let (name, id) = PIPE_USER;
    let open = |path: &Path| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("failed to set a mode");
    };
    // Where the project lies others need not be able to go.
    let program = lab.path("lazaret");
    std::fs::copy(LAZARET, &program).expect("failed to copy the program");
    open(&program);
    open(&lab.path(""));
    chown(lab.path("spool/drop"), None, Some(id)).expect("failed to change a group");
    let (main, config) = (example("postfix/pipe.main.cf", &[]), lab.config());
    let places = [
        ("127.0.0.1:10026", &*back.to_string()),
        ("user=lazaret", &format!("user={name}")),
        ("/usr/bin/lazaret", &program.to_string_lossy()),
        ("/etc/lazaret/lazaret.toml", &config.to_string_lossy()),
    ];
    (main, example("postfix/pipe.master.cf", &places))
}

/// What Postfix makes of messages without Lazaret: the same recipe, in which the
/// way to Lazaret leads straight back.
fn control(messages: &[Message]) -> BTreeMap<String, Vec<u8>> {
    let (sink, back) = (Sink::start(Vec::new()), free_address());
    let (main, master) = recipe(back, back);
    let postfix = Postfix::start(sink.address(), &main, &master);
    send(&postfix, messages);
    arrived(&postfix, &sink, messages)
}

fn recipient(place: usize) -> String {
    format!("m{place}@example.net")
}

/// Sends each message to a recipient of its own.
fn send(postfix: &Postfix, messages: &[Message]) {
    let mut client = Client::connect(postfix.smtp()).expect("a session with Postfix");
    for (place, message) in messages.iter().enumerate() {
        let taken = client
            .begin("alma@example.org", &[&recipient(place)])
            .and_then(|()| Ok(client.send(&stuffed(&wire(&message.bytes)))?))
            .and_then(|()| Ok(client.reply()?));
        assert!(taken.as_ref().is_ok_and(|reply| reply.code == 250), "{}: {taken:?}", message.path.display());
    }
}

/// What a message is on the wire: its last line has an end.
fn sent(message: &Message) -> Vec<u8> {
    let mut sent = wire(&message.bytes);
    if !sent.ends_with(b"\r\n") {
        sent.extend_from_slice(b"\r\n");
    }
    sent
}

/// Waits for all messages; what arrived, by recipient.
fn arrived(postfix: &Postfix, sink: &Sink, messages: &[Message]) -> BTreeMap<String, Vec<u8>> {
    let all = until(ARRIVAL_TIME_MAX, || sink.count() >= messages.len());
    assert!(all, "{} of {} arrived, {} wait in Postfix", sink.count(), messages.len(), postfix.deferred());
    let mut found = BTreeMap::new();
    for Taken { sender, recipients, content } in sink.taken() {
        assert_eq!((sender.as_str(), recipients.len()), ("alma@example.org", 1), "{recipients:?}");
        let repeated = found.insert(recipients[0].clone(), content);
        assert!(repeated.is_none(), "a second copy for {recipients:?}");
    }
    assert_eq!(found.len(), messages.len(), "nothing else arrived");
    found
}

fn through(way: Way, messages: &[Message]) {
    assert!(messages.len() >= 30, "{} messages", messages.len());
    let expected = control(messages);
    let Sandwich { postfix, daemon, lab, sink } = Sandwich::start(way);
    send(&postfix, messages);
    let arrived = arrived(&postfix, &sink, messages);
    let (mut wrong, mut untouched, mut masked) = (Vec::new(), 0, 0);
    for (place, message) in messages.iter().enumerate() {
        let path = message.path.display();
        let (without, with) = (&expected[&recipient(place)], &arrived[&recipient(place)]);
        let (Some(without), Some(with)) = (below(without, 2), below(with, 3)) else {
            wrong.push(format!("{path}: not the trace fields that were expected"));
            continue;
        };
        // A stray CR becomes a space, as the recipe says.
        let normal = canonical(without);
        untouched += usize::from(with == sent(message));
        masked += usize::from(normal != without);
        if normal != with {
            wrong.push(format!("{path}: {}", difference(&normal, with)));
        }
    }
    figures(&format!(
        "postfix, {way:?}: {} messages, {} as without Lazaret, {untouched} of them exactly as sent, \
         {masked} with a stray CR made a space",
        messages.len(),
        messages.len() - wrong.len(),
    ));
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(FINDINGS_SHOWN)].join("\n")
    );
    drop(postfix);
    assert_eq!(daemon.terminate().code(), Some(0));
    assert_eq!(lab.spool().passing(), Vec::<String>::new(), "nothing is left on its way");
}

/// What is below so many `Received:` fields.
fn below(message: &[u8], fields: usize) -> Option<&[u8]> {
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
