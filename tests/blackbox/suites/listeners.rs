//! What listeners promise beyond plain SMTP on TCP.
//!
//! Each case speaks to the daemon as an MTA would. It must never look into the
//! program to tell whether mail was taken.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use crate::content::carries;
use crate::lab::{Config, Lab};
use crate::smtp::{Client, stuffed};
use crate::trial::Case;
use crate::wait::until;

/// Longest time until a message arrives.
const ARRIVAL_TIME_MAX: Duration = Duration::from_secs(30);

const RECIPIENT: &str = "desk@example.org";

/// A second listener, on a socket beside the configuration.
const LMTP: &str = "[[listen]]\nprotocol = \"lmtp\"\naddress = \"unix:lmtp.sock\"\nsocket_mode = \"0600\"\n";

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("listeners::lmtp_on_a_unix_socket", lmtp_on_a_unix_socket),
        Case::new("listeners::a_socket_that_is_in_use_is_refused", a_socket_that_is_in_use_is_refused),
    ]
}

fn lmtp_on_a_unix_socket() {
    let lab = Lab::with(&Config::default().tables(LMTP));
    let path = lab.path("lmtp.sock");
    drop(UnixListener::bind(&path).expect("a socket that nobody listens on"));
    let daemon = lab.start();
    let mode = std::fs::metadata(&path).expect("the socket").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let mut client = Client::dial_unix(&path).expect("a session");
    assert!(client.reply().expect("a greeting").text.contains("LMTP"));
    for hello in ["EHLO client.example.net", "HELO client.example.net"] {
        assert_eq!(client.command(hello).expect("a reply").code, 500);
    }
    let hello = client.command("LHLO client.example.net").expect("a reply");
    for word in ["PIPELINING", "SIZE ", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES"] {
        assert!(hello.text.contains(word), "{hello:?}");
    }
    // RFC 2033 section 4.2: no recipient, no data.
    assert_eq!(client.command("MAIL FROM:<sender@example.com>").expect("a reply").code, 250);
    assert_eq!(client.command("RCPT TO:<>").expect("a reply").code, 501);
    assert_eq!(client.command("DATA").expect("a reply").code, 503);
    assert_eq!(client.command("RSET").expect("a reply").code, 250);
    // The same recipient twice is two recipients.
    let message = b"Subject: by LMTP\r\n\r\n.dot\r\n";
    client.begin("", &[RECIPIENT, RECIPIENT, "other@example.org"]).expect("354");
    client.send(&stuffed(message)).expect("sent");
    let replies: Vec<_> = (0..3).map(|_| client.reply().expect("a reply for each recipient")).collect();
    let id = replies[0].text.strip_prefix("2.0.0 queued as ").expect("queued").to_owned();
    assert!(replies.iter().all(|reply| *reply == replies[0]), "{replies:?}");
    assert_eq!(client.command("QUIT").expect("a reply").code, 221);
    let other = |id: &str| {
        let copies = lab.mail().copies().remove(id).unwrap_or_default();
        copies.into_iter().find(|path| path.to_string_lossy().contains("/other/"))
    };
    assert!(until(ARRIVAL_TIME_MAX, || other(&id).is_some()), "it does not arrive");
    let copy = other(&id).expect("it has arrived");
    let copy = std::fs::read(copy).expect("the message");
    assert_eq!(carries(&copy, message), Ok(()));
    let trace = String::from_utf8_lossy(&copy).into_owned();
    assert!(trace.contains("from client.example.net") && trace.contains(" with LMTP"), "{trace}");
    assert_eq!(daemon.terminate().code(), Some(0));
    assert!(!path.exists(), "the socket is removed at the end");
}

fn a_socket_that_is_in_use_is_refused() {
    let lab = Lab::with(&Config::default().tables(LMTP));
    let path = lab.path("lmtp.sock");
    let living = UnixListener::bind(&path).expect("a socket");
    let refused = lab.try_start().err().expect("it does not start");
    let named = format!("failed to listen on unix:{}: another program listens there", path.display());
    assert!(refused.log.contains(&named), "{}", refused.log);
    assert!(path.exists());
    drop(living);
    assert_eq!(lab.start().terminate().code(), Some(0));
}
