//! What is special about mail, through Postfix, Lazaret and Postfix: bounces and
//! notices, 8-bit and international mail, large mail, many recipients, nobody as
//! the sender, and a Lazaret that is down for a while.
//!
//! Each case says what arrives. It must never take the word of Postfix's log.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::lab::cli;
use crate::mta::passage::below;
use crate::mta::postfix::PACKAGE;
use crate::mta::sandwich::{Sandwich, Way};
use crate::sink::{Behaviour, Sink, Step, Taken};
use crate::smtp::{Client, stuffed};
use crate::trial::{Case, Needs, figures};
use crate::wait::until;

/// Longest time until all has arrived.
const ARRIVAL_TIME_MAX: Duration = Duration::from_secs(120);

/// `Received:` fields of Postfix, Lazaret, Postfix.
const FIELDS: usize = 3;

/// A large message, in bytes.
const LARGE_BYTES: usize = 20 << 20;

/// Most bytes of a message that Postfix takes: `message_size_limit` of the recipe's
/// first step, its own fields counted.
const POSTFIX_BYTES_MAX: usize = 50 << 20;

/// `max_size` of a Lazaret that takes less than Postfix.
const SMALL_BYTES_MAX: usize = 1 << 20;

/// More bytes than a server adds on top.
const FIELD_BYTES_MAX: usize = 1000;

/// Recipients of one message.
const MANY: usize = 500;

const SENDER: &str = "alma@example.org";

const MESSAGE: &[u8] =
    b"From: alma@example.org\r\nTo: bo@example.net\r\nDate: Mon, 02 Nov 2026 10:00:00 +0000\r\n\
    Message-ID: <1@example.org>\r\nSubject: plain\r\n\r\nHello.\r\n..\r\n";

/// The cases.
pub fn cases() -> Vec<Case> {
    const SERVER: &[Needs] = &[Needs::Server(PACKAGE)];
    vec![
        Case::new("sandwich::a_bounce_comes_back", bounce).needs(SERVER),
        Case::new("sandwich::mail_waits_while_lazaret_is_down", delayed).needs(SERVER),
        Case::new("sandwich::international_mail", international).needs(SERVER),
        Case::new("sandwich::eight_bit_mail", eight_bit).needs(SERVER),
        Case::new("sandwich::success_is_told_once", success).needs(SERVER),
        Case::new("sandwich::a_large_message", large).needs(SERVER),
        Case::new("sandwich::the_largest_message", largest).needs(SERVER),
        Case::new("sandwich::a_message_too_large_for_lazaret", too_large).needs(SERVER),
        Case::new("sandwich::many_recipients", many).needs(SERVER),
        Case::new("sandwich::nobody_as_the_sender", nobody).needs(SERVER),
        Case::new("sandwich::the_first_client_is_known", first_client).needs(SERVER),
    ]
}

/// Sends one message to Postfix, with the commands as they are given.
fn send(sandwich: &Sandwich, mail: &str, recipients: &[String], message: &[u8]) {
    let mut client = Client::connect(sandwich.postfix.smtp()).expect("a session with Postfix");
    let mut say = |command: &str, code| {
        let reply = client.command(command).expect("a reply");
        assert_eq!(reply.code, code, "{command}: {}", reply.text);
    };
    say(&format!("MAIL FROM:{mail}"), 250);
    for recipient in recipients {
        say(&format!("RCPT TO:{recipient}"), 250);
    }
    say("DATA", 354);
    client.send(&stuffed(message)).expect("the message is sent");
    assert_eq!(client.reply().expect("a reply").code, 250);
}

/// Waits until so many messages have arrived, and no more.
#[track_caller]
fn arrive(sink: &Sink, count: usize) -> Vec<Taken> {
    assert!(until(ARRIVAL_TIME_MAX, || sink.count() >= count), "{} of {count} arrived", sink.count());
    let taken = sink.taken();
    assert_eq!(taken.len(), count, "more than was expected");
    taken
}

/// One message arrives, unchanged; gives it.
#[track_caller]
fn arrives_unchanged(sandwich: &Sandwich, message: &[u8]) -> Taken {
    let taken = arrive(&sandwich.sink, 1).remove(0);
    let found = below(&taken.content, FIELDS).expect("three trace fields");
    assert!(found == message, "it was changed: {}", String::from_utf8_lossy(&found[..found.len().min(2000)]));
    taken
}

fn text(taken: &Taken) -> String {
    String::from_utf8_lossy(&taken.content).into_owned()
}

fn bounce() {
    let sandwich = Sandwich::start(Way::Smtp);
    let refuse = Behaviour::Reply("550 5.1.1 nobody here");
    sandwich.sink.follow(vec![(Step::Recipient, Some("bo@example.net"), refuse)]);
    send(&sandwich, &format!("<{SENDER}>"), &["<bo@example.net>".into()], MESSAGE);
    let bounce = arrive(&sandwich.sink, 1).remove(0);
    assert_eq!((bounce.sender.as_str(), &bounce.recipients[..]), ("", &[SENDER.to_owned()][..]));
    let text = text(&bounce);
    for part in [
        "Content-Type: multipart/report; report-type=delivery-status",
        "Final-Recipient: rfc822; bo@example.net",
        "Action: failed",
        "Status: 5.1.1",
        "Message-ID: <1@example.org>",
    ] {
        assert!(text.contains(part), "{part} is missing: {text}");
    }
    sandwich.finish();
}

fn delayed() {
    let Sandwich { postfix, daemon, lab, sink } = Sandwich::start(Way::Smtp);
    assert_eq!(daemon.terminate().code(), Some(0));
    let mut client = Client::connect(postfix.smtp()).expect("a session with Postfix");
    client.begin(SENDER, &["bo@example.net"]).expect("354");
    client.send(&stuffed(MESSAGE)).expect("the message is sent");
    assert_eq!(client.reply().expect("a reply").code, 250);
    assert!(until(ARRIVAL_TIME_MAX, || postfix.deferred() > 0), "it does not wait in Postfix");
    assert_eq!(sink.count(), 0);
    let sandwich = Sandwich { daemon: lab.start(), postfix, lab, sink };
    arrives_unchanged(&sandwich, MESSAGE);
    sandwich.finish();
}

fn international() {
    let sandwich = Sandwich::start(Way::Smtp);
    let message =
        "From: jürgen@bücher.example\r\nTo: grün@bücher.example\r\nSubject: Grüße\r\n\r\nÄ\r\n".as_bytes();
    send(
        &sandwich,
        "<jürgen@bücher.example> SMTPUTF8 BODY=8BITMIME",
        &["<grün@bücher.example>".into()],
        message,
    );
    let taken = arrives_unchanged(&sandwich, message);
    assert_eq!(
        (taken.sender.as_str(), taken.recipients[0].as_str()),
        ("jürgen@bücher.example", "grün@bücher.example")
    );
    sandwich.finish();
}

fn eight_bit() {
    let sandwich = Sandwich::start(Way::Smtp);
    let mut message = MESSAGE.to_vec();
    message.extend(0x80..=0xff_u8);
    message.extend_from_slice(b"\r\n");
    send(&sandwich, &format!("<{SENDER}> BODY=8BITMIME"), &["<bo@example.net>".into()], &message);
    arrives_unchanged(&sandwich, &message);
    sandwich.finish();
}

fn success() {
    let sandwich = Sandwich::start(Way::Smtp);
    let recipient = "<bo@example.net> NOTIFY=SUCCESS ORCPT=rfc822;first@example.net";
    send(&sandwich, &format!("<{SENDER}> RET=HDRS ENVID=QQ314159"), &[recipient.into()], MESSAGE);
    // The last next hop knows nothing of notices, so the last Postfix says that it
    // relayed the message (RFC 3461 section 6.2.4); nobody else may.
    let taken = arrive(&sandwich.sink, 2);
    let (notices, messages): (Vec<_>, Vec<_>) = taken.iter().partition(|taken| taken.sender.is_empty());
    let ([notice], [message]) = (&notices[..], &messages[..]) else { panic!("{taken:?}") };
    assert!(below(&message.content, FIELDS) == Some(MESSAGE), "{}", text(message));
    assert_eq!(notice.recipients, [SENDER]);
    let text = text(notice);
    for part in ["Action: relayed", "Original-Recipient: rfc822;first@example.net", "QQ314159"] {
        assert!(text.contains(part), "{part} is missing: {text}");
    }
    sandwich.finish();
}

/// A message of so many bytes.
fn of_bytes(bytes: usize) -> Vec<u8> {
    let line = [b"x".repeat(998), b"\r\n".to_vec()].concat();
    let mut message = MESSAGE.to_vec();
    while message.len() + line.len() < bytes {
        message.extend_from_slice(&line);
    }
    let rest = bytes - message.len() - 2;
    message.extend_from_slice(&[&line[..rest], b"\r\n"].concat());
    message
}

/// A message that is just not too large: what a server adds on top is counted, and by
/// Postfix a byte for each line, as it lies in its queue.
fn just_within(bytes_max: usize) -> Vec<u8> {
    of_bytes(bytes_max - bytes_max / 998 - FIELD_BYTES_MAX)
}

fn large() {
    let sandwich = Sandwich::start(Way::Smtp);
    let message = of_bytes(LARGE_BYTES);
    send(&sandwich, &format!("<{SENDER}>"), &["<bo@example.net>".into()], &message);
    arrives_unchanged(&sandwich, &message);
    sandwich.finish();
}

/// What Postfix takes at most, Lazaret and the way back take too: nobody is told of a
/// limit but at the door.
fn largest() {
    let sandwich = Sandwich::start(Way::Smtp);
    let message = just_within(POSTFIX_BYTES_MAX);
    send(&sandwich, &format!("<{SENDER}>"), &["<bo@example.net>".into()], &message);
    arrives_unchanged(&sandwich, &message);
    let session = || Client::connect(sandwich.postfix.smtp()).expect("a session with Postfix");
    let told = session().command(&format!("MAIL FROM:<{SENDER}> SIZE={}", POSTFIX_BYTES_MAX + 1));
    assert_eq!(told.expect("a reply").code, 552);
    let mut client = session();
    client.begin(SENDER, &["bo@example.net"]).expect("354");
    client.send(&stuffed(&of_bytes(POSTFIX_BYTES_MAX + 1))).expect("the message is sent");
    let told = client.reply().expect("a reply");
    assert!(told.code == 552 && told.text.starts_with("5.3.4 "), "{told:?}");
    drop(client);
    assert_eq!(arrive(&sandwich.sink, 1).len(), 1);
    sandwich.finish();
}

/// Where `max_size` is less than what Postfix takes: the sender is told.
fn too_large() {
    let sandwich = Sandwich::start_with(Way::Smtp, |config| {
        let small = config.replace("max_size = \"51MiB\"", &format!("max_size = \"{SMALL_BYTES_MAX}B\""));
        assert_ne!(small, config);
        small
    });
    let message = just_within(SMALL_BYTES_MAX);
    send(&sandwich, &format!("<{SENDER}>"), &["<bo@example.net>".into()], &message);
    arrives_unchanged(&sandwich, &message);
    send(&sandwich, &format!("<{SENDER}>"), &["<bo@example.net>".into()], &of_bytes(SMALL_BYTES_MAX + 1));
    let bounce = arrive(&sandwich.sink, 2).remove(1);
    assert_eq!((bounce.sender.as_str(), &bounce.recipients[..]), ("", &[SENDER.to_owned()][..]));
    let text = text(&bounce);
    for part in ["Final-Recipient: rfc822; bo@example.net", "Action: failed", "Status: 5.3.4"] {
        assert!(text.contains(part), "{part} is missing: {text}");
    }
    sandwich.finish();
}

fn many() {
    let sandwich = Sandwich::start(Way::Smtp);
    let all: BTreeSet<String> = (0..MANY).map(|number| format!("n{number}@example.net")).collect();
    let recipients: Vec<String> = all.iter().map(|address| format!("<{address}>")).collect();
    send(&sandwich, &format!("<{SENDER}>"), &recipients, MESSAGE);
    let reached = || sandwich.sink.taken().iter().map(|taken| taken.recipients.len()).sum::<usize>();
    assert!(until(ARRIVAL_TIME_MAX, || reached() >= MANY), "{} of {MANY}", reached());
    let taken = sandwich.sink.taken();
    let found: Vec<&String> = taken.iter().flat_map(|taken| &taken.recipients).collect();
    assert_eq!((found.len(), found.into_iter().cloned().collect::<BTreeSet<_>>()), (MANY, all));
    assert!(taken.iter().all(|taken| below(&taken.content, FIELDS) == Some(MESSAGE)));
    figures(&format!("sandwich: {MANY} recipients in {} transactions, each once", taken.len()));
    sandwich.finish();
}

/// What Postfix tells by XFORWARD stands in the envelope, the client that it had, not
/// itself, and comes back to Postfix.
fn first_client() {
    let sandwich = Sandwich::start(Way::Smtp);
    assert_eq!(cli(&sandwich.lab, &["pause", "routing"]).code, Some(0));
    let mut client = Client::connect(sandwich.postfix.smtp()).expect("a session with Postfix");
    let port = client.port().to_string();
    client.begin(SENDER, &["bo@example.net"]).expect("354");
    client.send(&stuffed(MESSAGE)).expect("the message is sent");
    let queued = client.reply().expect("a reply").text;
    let spool = sandwich.lab.spool();
    assert!(until(ARRIVAL_TIME_MAX, || spool.names("incoming").len() == 1), "nothing comes in");
    let file = std::fs::read(spool.path("incoming").join(&spool.names("incoming")[0])).expect("a message");
    let envelope = String::from_utf8_lossy(&file).into_owned();
    for line in [
        "helo mta.example.org",
        "forwarded-name localhost",
        "forwarded-address 127.0.0.1",
        &format!("forwarded-port {port}"),
        "forwarded-protocol ESMTP",
        "forwarded-helo client.example.net",
        "forwarded-source REMOTE",
    ] {
        assert!(envelope.contains(&format!("\n{line}\n")), "{line} is missing: {envelope}");
    }
    let id = |text: &str| text.lines().find_map(|line| line.strip_prefix("upstream-id ").map(str::to_owned));
    let id = id(&envelope).expect("the id in Postfix's queue");
    assert!(queued.ends_with(&format!("queued as {id}")), "{id}: {queued}");
    let ours = spool.ids("incoming").pop_first().expect("one message");
    assert_eq!(cli(&sandwich.lab, &["resume", "routing"]).code, Some(0));
    arrives_unchanged(&sandwich, MESSAGE);
    // The Postfix behind Lazaret is told as well.
    let told = format!("orig_queue_id={ours}, orig_client=localhost[127.0.0.1]");
    assert!(sandwich.postfix.log().contains(&told), "{told} is missing: {}", sandwich.postfix.log());
    sandwich.finish();
}

fn nobody() {
    let sandwich = Sandwich::start(Way::Smtp);
    send(&sandwich, "<>", &["<bo@example.net>".into()], MESSAGE);
    assert_eq!(arrives_unchanged(&sandwich, MESSAGE).sender, "");
    sandwich.finish();
}
