//! What listeners promise beyond plain SMTP on TCP.
//!
//! Each case speaks to the daemon as an MTA would. It must never look into the
//! program to tell whether mail was taken.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::time::Duration;

use crate::content::carries;
use crate::daemon::Daemon;
use crate::lab::{self, Config, Lab};
use crate::process;
use crate::smtp::{Client, stuffed};
use crate::trial::{Case, Needs};
use crate::wait::until;

/// Longest time until a message arrives.
const ARRIVAL_TIME_MAX: Duration = Duration::from_secs(30);

const RECIPIENT: &str = "desk@example.org";

/// A second listener, on a socket beside the configuration.
const LMTP: &str = "[[listen]]\nprotocol = \"lmtp\"\naddress = \"unix:lmtp.sock\"\nsocket_mode = \"0600\"\n";

/// Python's own client goes on encrypted, trusts whom it is told to, and sends.
const STARTTLS: &str = "
import smtplib, ssl, sys
session = smtplib.SMTP('localhost', int(sys.argv[1]), timeout=30)
session.starttls(context=ssl.create_default_context(cafile=sys.argv[2]))
session.ehlo('client.example.net')
assert session.has_extn('requiretls') and not session.has_extn('starttls'), session.esmtp_features
refused = session.sendmail('alma@example.org', ['desk@example.org'], sys.stdin.buffer.read())
assert not refused, refused
session.quit()
";

/// Longest time for a client to send one message.
const CLIENT_TIME_MAX: Duration = Duration::from_secs(60);

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("listeners::lmtp_on_a_unix_socket", lmtp_on_a_unix_socket),
        Case::new("listeners::a_socket_that_is_in_use_is_refused", a_socket_that_is_in_use_is_refused),
        Case::new("listeners::starttls", starttls).needs(&[Needs::Tool("python3")]),
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
    let lock = std::fs::read_to_string(lab.spool().path("lock")).expect("the lock");
    assert_eq!(lock, "stopped cleanly\n", "nothing is to be recovered");
    drop(living);
    assert_eq!(lab.start().terminate().code(), Some(0));
}

/// Writes a new certificate of this host and its key where the configuration says;
/// also under another name, for a client to trust.
fn certify(lab: &Lab, trusted: &str) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    for (name, text) in [
        ("mx.pem", made.cert.pem()),
        (trusted, made.cert.pem()),
        ("mx.key", made.signing_key.serialize_pem()),
    ] {
        std::fs::write(lab.path(name), text).expect("failed to write");
    }
}

fn send_encrypted(lab: &Lab, daemon: &Daemon, trusted: &str) -> process::Finished {
    let mut client = Command::new("python3");
    client.args(["-c", STARTTLS]).arg(daemon.smtp().port().to_string()).arg(lab.path(trusted));
    process::finish(&mut client, b"Subject: encrypted\r\n\r\nx\r\n", CLIENT_TIME_MAX)
}

fn starttls() {
    let with_tls = "tls = { certificate = \"mx.pem\", key = \"mx.key\" }\nrequire_tls = true\n";
    let lab = Lab::with(&Config::default().listen(with_tls));
    let refused = lab.try_start().err().expect("there is no certificate yet");
    let named = format!("TLS: {}: can't be read", lab.path("mx.pem").display());
    assert!(refused.log.contains(&named), "{}", refused.log);
    certify(&lab, "first.pem");
    let daemon = lab.start();
    let mut plain = Client::connect(daemon.smtp()).expect("a session");
    assert_eq!(plain.command("MAIL FROM:<sender@example.com>").expect("a reply").code, 530);
    let sent = send_encrypted(&lab, &daemon, "first.pem");
    assert_eq!(sent.code, Some(0), "{}", sent.stderr);
    assert!(until(ARRIVAL_TIME_MAX, || lab.mail().copies().len() == 1), "it does not arrive");
    let id = lab.mail().copies().into_keys().next().expect("one message");
    let text = String::from_utf8_lossy(&lab.mail().only(&id)).into_owned();
    assert!(text.contains(" with ESMTPS") && text.contains("\ttls TLS_"), "{text}");
    certify(&lab, "second.pem");
    assert_ne!(send_encrypted(&lab, &daemon, "second.pem").code, Some(0), "not in force before the reload");
    assert_eq!(lab::cli(&lab, &["reload"]).code, Some(0));
    let sent = send_encrypted(&lab, &daemon, "second.pem");
    assert_eq!(sent.code, Some(0), "{}", sent.stderr);
    std::fs::remove_file(lab.path("mx.key")).expect("failed to remove the key");
    let reloaded = lab::cli(&lab, &["reload"]);
    let named = format!("TLS: {}: can't be read", lab.path("mx.key").display());
    assert!(reloaded.code != Some(0) && reloaded.stderr.contains(&named), "{reloaded:?}");
    assert_eq!(send_encrypted(&lab, &daemon, "second.pem").code, Some(0), "the old one stays in force");
    assert_eq!(daemon.terminate().code(), Some(0));
}
