//! SMTP smuggling, inbound: what looks like an end of the data to some program and is
//! none, with a second transaction behind it.
//!
//! Each sequence goes over a wire of its own to each kind of listener. What stands
//! behind one must never become a message, nor a command that is answered.

use std::io::{Read, Write};
use std::time::Duration;

use crate::lab::{Config, Lab};
use crate::smtp::Client;
use crate::trial::{Case, figures};
use crate::wait::until;

/// Longest time until everything that was taken has arrived.
const ARRIVAL_TIME_MAX: Duration = Duration::from_secs(60);

/// Ends that are none. RFC 5321 section 4.1.1.4 has one: CRLF, dot, CRLF.
const NO_ENDS: [&[u8]; 30] = [
    b"\n.\n",
    b"\n.\r\n",
    b"\n.\r",
    b"\r.\r",
    b"\r.\r\n",
    b"\r.\n",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\r\n.\r\r\n",
    b"\r\n.\n\r\n",
    b"\r\r\n.\r\r\n",
    b"\r\n\r.\r\n",
    b"\n\r\n.\n",
    b"\n\n.\r\n",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\r\n.\r\0\n",
    b"\r\0\n.\r\n",
    b"\0\n.\r\n",
    b"\r\n .\r\n",
    b"\r\n. \r\n",
    b"\r\n\t.\r\n",
    b"\r\n..\r\n",
    b"\n..\r\n",
    b"\x0b.\x0b",
    b"\x0c.\x0c",
    b"\x1a",
    b"\x85.\x85",
    b"\xc2\x85.\xc2\x85",
    b"\xe2\x80\xa8.\xe2\x80\xa8",
];

/// What a smuggler puts behind it.
const SMUGGLED: &[u8] = b"MAIL FROM:<evil@example.com>\r\nRCPT TO:<victim@example.org>\r\nDATA\r\n\
    Subject: smuggled\r\n\r\nsmuggled";

/// A second listener for each kind: each protocol with each policy.
const LISTENERS: &str = "[[listen]]\nprotocol = \"smtp\"\naddress = \"unix:smtp.normalize\"\n\
    bare_line_ends = \"normalize\"\n[[listen]]\nprotocol = \"smtp\"\naddress = \"unix:smtp.reject\"\n\
    [[listen]]\nprotocol = \"lmtp\"\naddress = \"unix:lmtp.normalize\"\nbare_line_ends = \"normalize\"\n\
    [[listen]]\nprotocol = \"lmtp\"\naddress = \"unix:lmtp.reject\"\n";

const SOCKETS: [&str; 4] = ["smtp.normalize", "smtp.reject", "lmtp.normalize", "lmtp.reject"];

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![Case::new("smuggling::no_sequence_gets_a_second_message_in", no_sequence_gets_a_second_message_in)]
}

/// Whether a listener takes what it does not mend.
fn has_bare_line_ends(text: &[u8]) -> bool {
    let bare = |(at, &byte): (usize, &u8)| match byte {
        b'\n' => at == 0 || text[at - 1] != b'\r',
        b'\r' => text.get(at + 1) != Some(&b'\n'),
        _ => false,
    };
    text.iter().enumerate().any(bare)
}

/// Says hello and sends one message with `text` in it and a smuggled one behind that;
/// whether it was taken.
fn attempt<S: Read + Write>(client: &mut Client<S>, text: &[u8]) -> bool {
    client.begin("sender@example.com", &["desk@example.org"]).expect("354");
    let body = [b"Subject: outer\r\n\r\nfirst", text, SMUGGLED, b"\r\n.\r\n"].concat();
    client.send(&body).expect("sent");
    let reply = client.reply().expect("one reply");
    assert!([250, 550].contains(&reply.code), "{text:?}: {reply:?}");
    // The very next reply is that to the next command: nothing else was answered.
    let noop = client.command("HELP").expect("a reply");
    assert_eq!(noop.code, 214, "{text:?}: {noop:?}");
    reply.code == 250
}

fn no_sequence_gets_a_second_message_in() {
    let lab = Lab::with(&Config::default().tables(LISTENERS));
    let daemon = lab.start();
    let (mut sent, mut taken) = (0, 0);
    for socket in SOCKETS {
        let hello = if socket.starts_with("lmtp") { "LHLO" } else { "EHLO" };
        for text in NO_ENDS {
            let mut client = Client::dial_unix(&lab.path(socket)).expect("a session");
            assert_eq!(client.reply().expect("a greeting").code, 220);
            assert_eq!(client.command(&format!("{hello} client.example.net")).expect("a reply").code, 250);
            let was_taken = attempt(&mut client, text);
            let refusable = socket.ends_with("reject") && has_bare_line_ends(text);
            assert_eq!(was_taken, !refusable, "{socket}: {text:?}");
            sent += 1;
            taken += usize::from(was_taken);
        }
    }
    // A bare LF in the header is no better place, nor one between commands.
    let mut client = Client::connect(daemon.smtp()).expect("a session");
    client.begin("sender@example.com", &["desk@example.org"]).expect("354");
    client.send(b"X: a\nY: b\r\n\r\nx\r\n.\r\n").expect("sent");
    assert_eq!(client.reply().expect("a reply").code, 550);
    client.send(b"NOOP\nMAIL FROM:<evil@example.com>\r\n").expect("sent");
    assert_eq!(client.reply().expect("a reply").code, 521);
    client.reply().expect_err("the session has ended");
    assert!(until(ARRIVAL_TIME_MAX, || lab.mail().copies().len() >= taken), "not all has arrived");
    let copies = lab.mail().copies();
    let smuggled =
        copies.values().flatten().filter(|path| path.to_string_lossy().contains("/victim/")).count();
    figures(&format!(
        "smuggling in: {sent} tries ({} sequences, SMTP and LMTP, reject and normalize), {taken} taken as one message \
         each, {smuggled} smuggled",
        NO_ENDS.len()
    ));
    assert_eq!((copies.len(), smuggled), (taken, 0));
    assert_eq!(daemon.terminate().code(), Some(0));
    assert_eq!(lab.spool().passing(), Vec::<String>::new(), "something was left over");
}
