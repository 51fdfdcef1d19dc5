//! Mail through Lazaret into a real Dovecot by LMTP, and what it files.
//!
//! Held against what Dovecot files when it gets the same mail without Lazaret.

use std::time::Duration;

use crate::content::{canonical, wire};
use crate::corpus::Message;
use crate::lab::Lab;
use crate::mta::dovecot::{Dovecot, PACKAGE};
use crate::mta::example;
use crate::mta::passage::{Arrived, compare, own, real, recipient, send};
use crate::smtp::Client;
use crate::trial::{Case, Needs};
use crate::wait::until;

/// Longest time from the last message to the last file.
const ARRIVAL_TIME_MAX: Duration = Duration::from_secs(300);

/// What Dovecot puts on top: Return-Path, Delivered-To, Received.
const FIELDS: usize = 3;

/// The cases.
pub fn cases() -> Vec<Case> {
    const SERVER: &[Needs] = &[Needs::Server(PACKAGE), Needs::Mounts];
    const BOTH: &[Needs] = &[Needs::Server(PACKAGE), Needs::Mounts, Needs::TestData];
    vec![
        Case::new("dovecot::lmtp_own", || through(&own())).needs(SERVER),
        Case::new("dovecot::lmtp_real", || through(&real())).needs(BOTH),
    ]
}

fn through(messages: &[Message]) {
    let dovecot = Dovecot::start();
    // Without stray CRs, which Lazaret makes spaces of: Dovecot loses one before CRLF.
    let normal = messages
        .iter()
        .map(|Message { path, bytes }| Message { path: path.clone(), bytes: canonical(bytes) });
    send(&mut dovecot.session().expect("a session with Dovecot"), &normal.collect::<Vec<_>>());
    let without = filed(&dovecot, messages, FIELDS);
    drop(dovecot);
    let (dovecot, lab) = (Dovecot::start(), Lab::new());
    let spool = lab.path("spool");
    lab.configure_with(&example(
        "dovecot/lazaret.toml",
        &[
            ("/var/spool/lazaret", &spool.to_string_lossy()),
            ("127.0.0.1:10025", "127.0.0.1:0"),
            ("\"127.0.0.1:24\"", &format!("\"{}\"", dovecot.lmtp())),
        ],
    ));
    let daemon = lab.start();
    send(&mut Client::connect(daemon.smtp()).expect("a session"), messages);
    let with = filed(&dovecot, messages, FIELDS + 1);
    compare("dovecot", messages, &without, &with);
    assert_eq!(daemon.terminate().code(), Some(0));
    assert_eq!(lab.spool().passing(), Vec::<String>::new(), "nothing is left on its way");
}

/// Waits for a file for each message; what they hold below the added fields, with
/// the line ends that they came with.
fn filed(dovecot: &Dovecot, messages: &[Message], fields: usize) -> Arrived {
    let files = |place: usize| {
        let address = recipient(place);
        let (local, domain) = address.split_once('@').expect("an address");
        dovecot.filed(local, domain)
    };
    let count = || (0..messages.len()).map(|place| files(place).len()).sum::<usize>();
    assert!(until(ARRIVAL_TIME_MAX, || count() >= messages.len()), "{} of {}", count(), messages.len());
    let filed = (0..messages.len()).map(|place| {
        let files = files(place);
        let [file] = &files[..] else { panic!("{} files for {}", files.len(), recipient(place)) };
        let bytes = std::fs::read(file).expect("failed to read a file of Dovecot's");
        (recipient(place), wire(below_fields(&bytes, fields)))
    });
    filed.collect()
}

/// What is below so many fields, with their continuation lines.
fn below_fields(message: &[u8], fields: usize) -> &[u8] {
    (0..fields).fold(message, |mut rest, _| {
        loop {
            let line = rest.iter().position(|&byte| byte == b'\n').map_or(rest.len(), |place| place + 1);
            rest = &rest[line..];
            if !rest.starts_with(b" ") && !rest.starts_with(b"\t") {
                return rest;
            }
        }
    })
}
