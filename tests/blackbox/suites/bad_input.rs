//! Broken input: each gets a clear error or is set aside with a report, and
//! good mail goes on.
//!
//! What stands here must never be accepted as mail, and never stop the daemon.

use std::io;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::Duration;

use crate::content::carries;
use crate::daemon::Daemon;
use crate::lab::{Lab, submitted};
use crate::process;
use crate::smtp::{self, Client};
use crate::spooldir::id_of;
use crate::trial::{Case, figures};
use crate::wait::until;

/// Longest time for one message, or for one bad file to be set aside.
const SHORT_TIME_MAX: Duration = Duration::from_secs(30);

/// Most memory of the daemon itself, cells not counted, whatever is sent to it.
const DAEMON_BYTES_MAX: u64 = 128 << 20;

/// Size of the header line without end.
const HEADER_BYTES: usize = 100 << 20;

/// Size of the command line without end.
const COMMAND_BYTES: usize = 64 << 20;

/// What is written at a time.
const CHUNK_BYTES: usize = 1 << 20;

const RECIPIENT: &str = "desk@example.org";

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("bad_input::dropped_without_envelope", dropped_without_envelope),
        Case::new("bad_input::foreign_things_in_incoming", foreign_things_in_incoming),
        Case::new("bad_input::header_line_of_100_mb", header_line_of_100_mb),
        Case::new("bad_input::control_characters_in_recipients", control_characters_in_recipients),
        Case::new("bad_input::command_line_without_end", command_line_without_end),
        Case::new("bad_input::client_vanishes_in_data", client_vanishes_in_data),
    ]
}

/// A good message arrives, and the daemon leaves a clean spool.
#[track_caller]
fn good_mail_goes_on(lab: &Lab, mut daemon: Daemon) {
    assert!(daemon.is_alive(), "the daemon ended");
    let message = b"Subject: good\r\n\r\nstill here\r\n";
    let id = smtp::deliver(daemon.smtp(), "sender@example.com", &[RECIPIENT], message)
        .expect("good mail is taken");
    assert!(until(SHORT_TIME_MAX, || lab.mail().count(&id) > 0), "good mail does not arrive");
    assert_eq!(carries(&lab.mail().only(&id), message), Ok(()));
    assert_eq!(daemon.terminate().code(), Some(0));
    assert_eq!(lab.spool().passing(), Vec::<String>::new(), "something was left over");
}

fn dropped_without_envelope() {
    let lab = Lab::new();
    lab.prepare();
    let drop_in = |name: &str, bytes: &[u8]| {
        // Written elsewhere and moved in whole, as a program that drops mail must.
        let written = lab.path(name);
        std::fs::write(&written, bytes).expect("failed to write");
        std::fs::rename(&written, lab.spool().path("drop").join(name)).expect("failed to drop");
    };
    drop_in("before", b"From: a@example.org\r\nSubject: no envelope\r\n\r\ntext\r\n");
    let daemon = lab.start();
    drop_in("while", b"lazaret-envelope 1\nsender <a@example.org>\nend\n\nno recipient\n");
    drop_in("empty", b"");
    drop_in(
        "good",
        b"lazaret-envelope 1\nsender <a@example.org>\nrecipient <desk@example.org>\nend\nSubject: x\n\ny\n",
    );
    let aside =
        until(SHORT_TIME_MAX, || lab.spool().names("drop").is_empty() && lab.spool().reports().len() == 3);
    let spool = lab.spool();
    assert!(aside, "in drop/: {:?}, in deferred/: {:?}", spool.names("drop"), spool.names("deferred"));
    for report in lab.spool().reports() {
        assert_eq!(report.cause(), "bad-drop", "{report:?}");
    }
    assert!(until(SHORT_TIME_MAX, || lab.mail().copies().len() == 1), "the good one does not arrive");
    good_mail_goes_on(&lab, daemon);
}

fn foreign_things_in_incoming() {
    let lab = Lab::new();
    lab.prepare();
    let spool = lab.spool();
    let name = accepted_name(&lab);
    let secret = lab.path("secret");
    std::fs::write(&secret, "not mail").expect("failed to write");
    let place = |number: char| {
        // Another id each, so that they are not taken for one message.
        let id = format!("{}{number}", &name[..25]);
        spool.path("incoming").join(name.replacen(&name[..26], &id, 1))
    };
    let foreign = |before: bool| {
        let number = |base: u8| char::from(base + u8::from(!before));
        std::fs::File::create(place(number(b'0'))).expect("failed to make an empty file");
        std::fs::create_dir(place(number(b'2'))).expect("failed to make a directory");
        symlink(&secret, place(number(b'4'))).expect("failed to make a link");
        let fifo = process::finish(Command::new("mkfifo").arg(place(number(b'6'))), b"", SHORT_TIME_MAX);
        assert_eq!(fifo.code, Some(0), "{fifo:?}");
        let odd = format!("no id {before}");
        std::fs::write(spool.path("incoming").join(odd), "Subject: x\n\ny\n").expect("failed to write");
    };
    foreign(true);
    let daemon = lab.start();
    foreign(false);
    let aside = until(SHORT_TIME_MAX, || spool.names("incoming").is_empty() && spool.reports().len() == 10);
    assert!(
        aside,
        "in incoming/: {:?}, in deferred/: {:?}",
        spool.names("incoming"),
        spool.names("deferred")
    );
    for report in spool.reports() {
        assert!(["foreign", "damaged", "envelope"].contains(&report.cause()), "{report:?}");
    }
    assert_eq!(std::fs::read(&secret).expect("the link's target is still there"), b"not mail");
    good_mail_goes_on(&lab, daemon);
}

/// The name under which the program itself puts a message into incoming/.
fn accepted_name(lab: &Lab) -> String {
    submitted(lab, RECIPIENT, b"Subject: x\n\ny\n");
    let names = lab.spool().names("incoming");
    let [name] = &names[..] else { panic!("expected one message: {names:?}") };
    assert!(id_of(name).is_some(), "{name}");
    std::fs::remove_file(lab.spool().path("incoming").join(name)).expect("failed to take it out again");
    name.clone()
}

fn header_line_of_100_mb() {
    let lab = Lab::new();
    let daemon = lab.start();
    let mut client = Client::connect(daemon.smtp()).expect("a session");
    client.begin("sender@example.com", &[RECIPIENT]).expect("354");
    let sent = client.send(b"Subject: ").and_then(|()| flood(&mut client, HEADER_BYTES));
    let sent = sent.and_then(|()| client.send(b"\r\n\r\nbody\r\n.\r\n"));
    refused_or_closed(sent.and_then(|()| client.reply()));
    bounded(&daemon, "a header line of 100 MB");
    good_mail_goes_on(&lab, daemon);
}

fn control_characters_in_recipients() {
    let lab = Lab::new();
    let daemon = lab.start();
    for path in
        ["a\rb@example.org", "a\nb@example.org", "a\0b@example.org", "a@example.org>\rRCPT TO:<b@example.org"]
    {
        let mut client = Client::connect(daemon.smtp()).expect("a session");
        assert_eq!(client.command("MAIL FROM:<sender@example.com>").expect("a reply").code, 250);
        refused_or_closed(client.command(&format!("RCPT TO:<{path}>")));
        // The same session must not have a recipient now.
        if let Ok(reply) = client.command("DATA") {
            assert!(reply.code >= 500, "{path:?}: {reply:?}");
        }
    }
    good_mail_goes_on(&lab, daemon);
}

fn command_line_without_end() {
    let lab = Lab::new();
    let daemon = lab.start();
    let mut client = Client::connect(daemon.smtp()).expect("a session");
    let sent = flood(&mut client, COMMAND_BYTES);
    refused_or_closed(sent.and_then(|()| client.command("")));
    bounded(&daemon, "a command line of 64 MB");
    good_mail_goes_on(&lab, daemon);
}

fn client_vanishes_in_data() {
    let lab = Lab::new();
    let daemon = lab.start();
    for ending in ["", "\r\n", "\r\n.", "\r\n.\r"] {
        let mut client = Client::connect(daemon.smtp()).expect("a session");
        client.begin("sender@example.com", &[RECIPIENT]).expect("354");
        client.send(format!("Subject: half\r\n\r\nhalf a mess{ending}").as_bytes()).expect("sent");
        client.vanish();
    }
    assert!(
        until(SHORT_TIME_MAX, || lab.spool().names("tmp").is_empty()),
        "tmp/: {:?}",
        lab.spool().names("tmp")
    );
    assert!(lab.mail().copies().is_empty(), "half a message arrived");
    good_mail_goes_on(&lab, daemon);
}

fn flood(client: &mut Client, bytes: usize) -> io::Result<()> {
    let chunk = vec![b'A'; CHUNK_BYTES];
    (0..bytes / CHUNK_BYTES).try_for_each(|_| client.send(&chunk))
}

/// A clear error, or the end of the connection.
#[track_caller]
fn refused_or_closed(reply: io::Result<smtp::Reply>) {
    match reply {
        Ok(reply) => assert!(reply.code >= 400, "taken: {reply:?}"),
        Err(error) => {
            let slow = [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut].contains(&error.kind());
            assert!(!slow, "neither an answer nor an end: {error}");
        }
    }
}

#[track_caller]
fn bounded(daemon: &Daemon, what: &str) {
    let peak = daemon.memory_peak();
    figures(&format!("bad input: {} MiB at most in the daemon after {what}", peak >> 20));
    assert!(peak < DAEMON_BYTES_MAX, "{peak} bytes after {what}");
}
