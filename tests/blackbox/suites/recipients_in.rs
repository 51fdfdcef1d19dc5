//! Very many recipients of one message, by each way in that is not SMTP: what it
//! costs, and what is said where they are too many.
//!
//! What is told is what the next hop has seen: everybody once. Nobody must ever be
//! left out in silence.

use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Instant;

use super::recipients::{
    CONNECTIONS, MEMORY_BASE, MEMORY_PER_RECIPIENT, TIME_MAX, config, number, recipient, send, times,
};
use crate::lab::{LAZARET, Lab};
use crate::memory::Sampler;
use crate::process::{self, Finished};
use crate::sink::Sink;
use crate::smtp::Client;
use crate::trial::{Case, figures};
use crate::wait::until;

/// The kernel takes arguments of 2 MiB in all, each with its pointer.
const ARGUMENTS_MAX: usize = 40_000;

/// A header that names recipients (`-t`) has 1 MiB at most.
const IN_HEADER_MAX: usize = 30_000;

/// A listener's `recipients`, where it takes few.
const FEW: usize = 10;

const CONTENT: &str = "Subject: to everybody\n\nHello\n";

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("recipients::come_as_arguments", as_arguments).alone(),
        Case::new("recipients::come_in_a_header", in_a_header).alone(),
        Case::new("recipients::come_in_a_dropped_file", dropped).alone(),
        Case::new("recipients::come_by_lmtp_with_a_reply_for_each", by_lmtp).alone(),
        Case::new("recipients::too_many_by_lmtp_are_told_to_wait", too_many),
    ]
}

/// So many recipients may come by SMTP and by LMTP, and go to the sink.
fn lab(all: usize, sink: &Sink) -> Lab {
    let lmtp = format!(
        "[[listen]]\nprotocol = \"lmtp\"\naddress = \"unix:lmtp.sock\"\nsocket_mode = \"0600\"\nrecipients = {all}\n"
    );
    Lab::with(&config(all, sink, CONNECTIONS).tables(&lmtp))
}

/// A message is brought in by `bring`, and everybody has it once. What the one who
/// brought it held at most in memory is figured too, if he tells it.
fn bring(way: &str, all: usize, bring: impl FnOnce(&Lab) -> Option<u64>) {
    let sink = Sink::start(Vec::new());
    let lab = lab(all, &sink);
    let daemon = lab.start();
    let sampler = Sampler::start(daemon.pid());
    let start = Instant::now();
    let held = bring(&lab);
    let taken_in = start.elapsed().as_millis();
    let everybody = || sink.recipients() >= all || !lab.spool().ids("deferred").is_empty();
    assert!(until(TIME_MAX, everybody), "{}", lab.log_tail());
    let took = start.elapsed().as_millis();
    let peak = sampler.finish().daemon;
    assert_eq!(daemon.terminate().code(), Some(0));
    let times = times(&sink);
    // One that is done before it is looked at has none to tell.
    let held = held.filter(|bytes| *bytes > 0);
    let held =
        held.map_or(String::new(), |bytes| format!(", of the program that brought it {} KiB", bytes >> 10));
    figures(&format!(
        "recipients {way}: {all}, taken in after {taken_in} ms, all done after {took} ms; peak memory of the \
         daemon {} KiB ({} bytes each){held}",
        peak >> 10,
        peak / all as u64
    ));
    assert!(times.len() == all && times.values().all(|&times| times == 1), "everybody has it once");
    let memory_max = MEMORY_BASE + MEMORY_PER_RECIPIENT * all as u64;
    assert!(peak <= memory_max, "{peak} bytes, where {memory_max} are the most");
}

/// Runs `lazaret submit`; how it ended, and the most memory that it held.
fn submit(lab: &Lab, args: &[String], input: &str) -> (Finished, u64) {
    let mut command = Command::new(LAZARET);
    command.args(["submit", "--config"]).arg(lab.config()).args(["-i", "-f", "list@example.net"]).args(args);
    let started = process::start(&mut command, input.as_bytes());
    let sampler = Sampler::start(started.pid());
    (started.finish(TIME_MAX), sampler.finish().daemon)
}

fn as_arguments() {
    let all = number().min(ARGUMENTS_MAX);
    bring("as arguments", all, |lab| {
        let (submitted, held) = submit(lab, &(0..all).map(recipient).collect::<Vec<_>>(), CONTENT);
        assert_eq!(submitted.code, Some(0), "{}", submitted.stderr);
        Some(held)
    });
}

/// A message with so many in its Bcc field.
fn with_bcc(count: usize) -> String {
    let all: Vec<String> = (0..count).map(recipient).collect();
    format!("Bcc: {}\n{CONTENT}", all.join(",\n "))
}

fn in_a_header() {
    let all = number().min(IN_HEADER_MAX);
    bring("in a header", all, |lab| {
        let (submitted, held) = submit(lab, &["-t".into()], &with_bcc(all));
        assert_eq!(submitted.code, Some(0), "{}", submitted.stderr);
        let (refused, _) = submit(lab, &["-t".into()], &with_bcc(2 * IN_HEADER_MAX));
        assert_eq!(refused.code, Some(65), "a header that is too long is the message's fault");
        assert!(
            refused.stderr.contains("the header is too long to take recipients from"),
            "{}",
            refused.stderr
        );
        Some(held)
    });
}

fn dropped() {
    let all = number();
    bring("in a dropped file", all, |lab| {
        let recipients: String =
            (0..all).map(|number| format!("recipient <{}>\n", recipient(number))).collect();
        let text = format!("lazaret-envelope 1\nsender <list@example.net>\n{recipients}end\n{CONTENT}");
        let (written, there) = (lab.path("spool/drop/.written"), lab.path("spool/drop/written"));
        std::fs::write(&written, text)
            .and_then(|()| std::fs::rename(&written, there))
            .expect("failed to drop");
        None
    });
}

/// A session with the LMTP listener.
fn session(lab: &Lab) -> Client<UnixStream> {
    let mut client = Client::dial_unix(&lab.path("lmtp.sock")).expect("a session");
    assert_eq!(client.reply().expect("a greeting").code, 220);
    assert_eq!(client.command("LHLO client.example.net").expect("a reply").code, 250);
    client
}

fn by_lmtp() {
    let all = number();
    bring("by LMTP", all, |lab| {
        send(&mut session(lab), all, all);
        None
    });
}

/// RFC 5321 section 4.5.3.1.10: 452, and the client sends the others in another
/// transaction.
fn too_many() {
    let sink = Sink::start(Vec::new());
    let lab = lab(FEW, &sink);
    let daemon = lab.start();
    let mut client = session(&lab);
    assert_eq!(client.command("MAIL FROM:<list@example.net>").expect("a reply").code, 250);
    let mut code =
        |number| client.command(&format!("RCPT TO:<{}>", recipient(number))).expect("a reply").code;
    assert!((0..FEW).all(|number| code(number) == 250));
    assert_eq!(code(FEW), 452);
    assert_eq!(daemon.terminate().code(), Some(0));
}
