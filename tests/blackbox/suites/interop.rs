//! Clients that others wrote send mail to the listener.
//!
//! What they send must never be adjusted to what the program likes.

use std::process::Command;
use std::time::Duration;

use crate::content::carries;
use crate::daemon::Daemon;
use crate::lab::Lab;
use crate::process;
use crate::trial::{Case, Needs};
use crate::wait::until;

/// Longest time for a client to send one message.
const CLIENT_TIME_MAX: Duration = Duration::from_secs(60);

/// Longest time until it arrives.
const ARRIVAL_TIME_MAX: Duration = Duration::from_secs(30);

/// What is sent: 8-bit text, and lines that begin with dots.
const MESSAGE: &str = "From: Alma <alma@example.org>\r\nTo: desk@example.org\r\nSubject: von außen\r\n\
    MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
    Grüße\r\n.\r\n..two\r\nend\r\n";

/// Python's own client.
const SMTPLIB: &str = "
import smtplib, sys
session = smtplib.SMTP('127.0.0.1', int(sys.argv[1]), timeout=30)
session.ehlo('client.example.net')
assert session.has_extn('8bitmime') and session.has_extn('pipelining'), session.esmtp_features
refused = session.sendmail('alma@example.org', ['desk@example.org'], sys.stdin.buffer.read(), ['BODY=8BITMIME'])
assert not refused, refused
session.quit()
";

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("interop::python_smtplib", python).needs(&[Needs::Tool("python3")]),
        Case::new("interop::swaks", swaks).needs(&[Needs::Tool("swaks")]),
    ]
}

fn python() {
    let lab = Lab::new();
    let daemon = lab.start();
    let mut client = Command::new("python3");
    client.args(["-c", SMTPLIB]).arg(daemon.smtp().port().to_string());
    arrives(&lab, daemon, &mut client, MESSAGE);
}

fn swaks() {
    let lab = Lab::new();
    let daemon = lab.start();
    let mut client = Command::new("swaks");
    client.args(["--server", "127.0.0.1", "--helo", "client.example.net", "--data", "-"]);
    client.args(["--from", "alma@example.org", "--to", "desk@example.org"]);
    client.arg("--port").arg(daemon.smtp().port().to_string());
    // It ends the last line itself.
    let input = MESSAGE.strip_suffix("\r\n").expect("the last line has an end");
    arrives(&lab, daemon, &mut client, input);
}

/// The client, given `input`, sends [`MESSAGE`], and that is what arrives.
#[track_caller]
fn arrives(lab: &Lab, daemon: Daemon, client: &mut Command, input: &str) {
    let sent = process::finish(client, input.as_bytes(), CLIENT_TIME_MAX);
    assert_eq!(sent.code, Some(0), "{}{}", sent.stdout, sent.stderr);
    assert!(until(ARRIVAL_TIME_MAX, || lab.mail().copies().len() == 1), "it does not arrive");
    let id = lab.mail().copies().into_keys().next().expect("one message");
    assert_eq!(carries(&lab.mail().only(&id), MESSAGE.as_bytes()), Ok(()));
    assert_eq!(daemon.terminate().code(), Some(0));
}
