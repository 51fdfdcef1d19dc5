//! What goes to a next hop encrypted, and by whom: STARTTLS, REQUIRETLS and AUTH.
//!
//! The next hop is a sink whose handshake is rustls' own; whoever stands between is
//! played by what it says in the clear. Deadlines are short, and no time is asserted.
//! Nothing here must ever make the sink believe what the program only claims.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use tempfile::TempDir;

use crate::lab::{Config, LAZARET, Lab, cli, submitted};
use crate::mta::postfix::{PACKAGE, Postfix};
use crate::process;
use crate::sink::{Behaviour, Sink, Skills, Step};
use crate::trial::{Case, Needs};
use crate::wait::until;

/// Longest time for whatever must happen.
const SOON: Duration = Duration::from_secs(60);

/// What the sink's certificate bears.
const NAME: &str = "mx.example.net";

pub(super) const MESSAGE: &[u8] = b"Subject: private\r\n\r\n.x\r\n";

pub(super) const RECIPIENT: &str = "desk@example.org";

pub(super) const USER: &str = "user = \"alma\"\npassword_file = \"password\"\n";

/// The password of `alma`, and how it is said.
pub(super) const PASSWORD: &str = "open sesame";
const PLAIN: &[&str] = &["AUTH PLAIN AGFsbWEAb3BlbiBzZXNhbWU="];
const LOGIN: &[&str] = &["AUTH LOGIN", "YWxtYQ==", "b3BlbiBzZXNhbWU="];

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("nexthop_tls::verified_mail_goes_encrypted", verified),
        Case::new("nexthop_tls::requiretls_goes_to_who_has_it_and_nowhere_else", requiretls),
        Case::new("nexthop_tls::opportunistic_mail_goes_in_any_case", opportunistic),
        Case::new("nexthop_tls::required_mail_waits_where_starttls_is_taken_away", || {
            trouble(vec![], false, "required", "does not offer STARTTLS, and no mail goes there without TLS");
        }),
        Case::new("nexthop_tls::required_mail_waits_where_starttls_is_refused", || {
            let refused = Behaviour::Reply("454 4.7.0 not now");
            trouble(
                vec![(Step::StartTls, None, refused)],
                true,
                "required",
                "refused at STARTTLS: 454 4.7.0 not now",
            );
        }),
        Case::new("nexthop_tls::what_is_put_before_the_handshake_is_not_believed", || {
            let injected = Behaviour::Reply("220 go\r\n250-evil.example\r\n250 REQUIRETLS");
            let words = "it says more behind its reply to STARTTLS, unencrypted";
            trouble(vec![(Step::StartTls, None, injected)], true, "opportunistic", words);
        }),
        Case::new("nexthop_tls::hangs_in_the_handshake", || {
            let words = "does not finish the TLS handshake for 300ms";
            trouble(vec![(Step::Handshake, None, Behaviour::Hang)], true, "required", words);
        }),
        Case::new("nexthop_tls::hangs_up_in_the_handshake", || {
            let words = "closed the connection in the TLS handshake";
            trouble(vec![(Step::Handshake, None, Behaviour::Close)], true, "required", words);
        }),
        Case::new("nexthop_tls::deadlines_hold_under_tls", || {
            let words = "no reply to MAIL for 300ms";
            trouble(vec![(Step::Mail, None, Behaviour::Hang)], true, "required", words);
            trouble(vec![(Step::Mail, None, Behaviour::Drip)], true, "required", words);
        }),
        Case::new("nexthop_tls::a_certificate_of_somebody_else_is_refused", somebody_else),
        Case::new("nexthop_tls::a_real_postfix_takes_encrypted_mail", postfix)
            .needs(&[Needs::Server(PACKAGE)]),
        Case::new("nexthop_tls::a_user_logs_in_under_tls", || login(PLAIN)),
        Case::new("nexthop_tls::a_user_logs_in_step_by_step", || login(LOGIN)),
        Case::new("nexthop_tls::a_wrong_password_bounces_nothing_and_is_shown_nowhere", wrong_password),
        Case::new("nexthop_tls::a_password_stays_on_this_host", unencrypted),
        Case::new("nexthop_tls::a_password_that_everybody_may_read_is_refused", open_password),
    ]
}

/// A new certificate for the sink, and what trusts it.
fn certified() -> (Arc<ServerConfig>, String) {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key)
        });
    (Arc::new(config.expect("they belong together")), made.cert.pem())
}

fn transport(name: &str, sink: &Sink, lines: &str) -> String {
    transport_to(name, sink.address(), lines)
}

fn transport_to(name: &str, next_hop: SocketAddr, lines: &str) -> String {
    format!(
        "[transport.{name}]\ntype = \"smtp\"\nnext_hops = [\"{next_hop}\"]\nconnections = 2\ntls_ca = \"ca.pem\"\n{lines}\
         breaker = {{ failures = 2, pause_first = \"200ms\", pause_max = \"400ms\" }}\n\
         [transport.{name}.timeouts]\ngreeting = \"300ms\"\ncommand = \"300ms\"\nend_of_data = \"300ms\"\n"
    )
}

/// A place where everything goes to the sink, tried again soon.
fn lab(sink: &Sink, lines: &str, issuer: &str) -> Lab {
    let config = Config::without_routes()
        .tables(&transport("hop", sink, lines))
        .tables("[retry]\nfirst = \"1s\"\nmax = \"2s\"\n")
        .route("deliver = \"hop\"\n");
    let lab = Lab::with(&config);
    fs::write(lab.path("ca.pem"), issuer).expect("failed to write");
    write_password(&lab, PASSWORD);
    lab
}

pub(super) fn write_password(lab: &Lab, password: &str) {
    let file = lab.path("password");
    fs::write(&file, format!("{password}\n")).expect("failed to write");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("failed to set a mode");
}

/// What the sink was told, of commands that begin so.
fn heard(sink: &Sink, beginning: &str) -> Vec<String> {
    sink.heard().into_iter().filter(|line| line.starts_with(beginning)).collect()
}

#[track_caller]
pub(super) fn arrives(lab: &Lab, sink: &Sink, count: usize) {
    assert!(until(SOON, || sink.count() == count), "{} of {count} arrived\n{}", sink.count(), lab.log_tail());
    let taken = sink.taken();
    assert!(taken.iter().all(|taken| taken.content.ends_with(b"\r\n.x\r\n")), "{taken:?}");
}

fn verified() {
    let (tls, issuer) = certified();
    let sink = Sink::skilled(Vec::new(), Skills { tls: Some(tls), ..Skills::default() });
    let lab = lab(&sink, &format!("tls = \"verified\"\ntls_name = \"{NAME}\"\n"), &issuer);
    let daemon = lab.start();
    submitted(&lab, RECIPIENT, MESSAGE);
    arrives(&lab, &sink, 1);
    // Larger than what TLS and the sockets hold at a time, both ways of sending it.
    let large = [b"Subject: large\r\n\r\n", "0123456789\r\n".repeat(500_000).as_bytes(), b".x\r\n"].concat();
    submitted(&lab, RECIPIENT, &large);
    arrives(&lab, &sink, 2);
    assert!(sink.taken()[1].content.ends_with(&large));
    assert_eq!(heard(&sink, "MAIL"), Vec::<String>::new());
    assert_eq!(heard(&sink, "tls MAIL").len(), 2);
    let hello: Vec<String> = heard(&sink, "EHLO").into_iter().chain(heard(&sink, "tls EHLO")).collect();
    assert_eq!(hello.len() % 2, 0, "hello is said again under TLS: {hello:?}");
    assert_eq!(daemon.terminate().code(), Some(0));
}

/// Mail that must go over verified TLS to who promises the same.
fn requiretls() {
    let (tls, issuer) = certified();
    let with = |offers| Skills { tls: Some(Arc::clone(&tls)), offers, ..Skills::default() };
    let (has, lacks) = (Sink::skilled(vec![], with(&["REQUIRETLS"])), Sink::skilled(vec![], with(&[])));
    let verified = format!("tls = \"verified\"\ntls_name = \"{NAME}\"\n");
    let config = Config::without_routes()
        .tables(&transport("has", &has, &verified))
        .tables(&transport("lacks", &lacks, &verified))
        .tables(&transport("unverified", &has, "tls = \"required\"\n"))
        .route("deliver = \"has\"\n")
        .route("recipient = \"*@lacks.example\"\ndeliver = \"lacks\"\n")
        .route("recipient = \"*@unverified.example\"\ndeliver = \"unverified\"\n");
    let lab = Lab::with(&config);
    fs::write(lab.path("ca.pem"), issuer).expect("failed to write");
    let daemon = lab.start();
    for recipient in ["a@has.example", "b@lacks.example", "c@unverified.example"] {
        let mut command = Command::new(LAZARET);
        command.args(["submit", "--config"]).arg(lab.config());
        command.args(["-O", "requiretls=yes", "-i", "-f", "sender@has.example", "--", recipient]);
        let taken = process::finish(&mut command, MESSAGE, SOON);
        assert_eq!(taken.code, Some(0), "{}", taken.stderr);
    }
    // The message, and what its sender is told of the two others.
    assert!(until(SOON, || has.count() == 3), "{}\n{}", has.count(), lab.log_tail());
    let first = heard(&has, "tls MAIL FROM:<sender@has.example>");
    assert!(first.len() == 1 && first[0].contains(" REQUIRETLS"), "{:?}", has.heard());
    let told: Vec<String> =
        has.taken().iter().map(|taken| String::from_utf8_lossy(&taken.content).into()).collect();
    for recipient in ["b@lacks.example", "c@unverified.example"] {
        let of_it = |text: &&String| text.contains(&format!("rfc822;{recipient}")) && text.contains("5.7.30");
        assert_eq!(told.iter().filter(of_it).count(), 1, "{recipient}: {told:?}");
    }
    assert_eq!((lacks.count(), heard(&lacks, "tls MAIL").len()), (0, 0));
    assert_eq!(daemon.terminate().code(), Some(0));
}

/// Encrypted where that works: with TLS, without an offer, and where the handshake
/// fails.
fn opportunistic() {
    let (tls, issuer) = certified();
    let with = || Skills { tls: Some(Arc::clone(&tls)), ..Skills::default() };
    for (sink, expected) in [
        (Sink::skilled(vec![], with()), "tls MAIL"),
        (Sink::start(vec![]), "MAIL"),
        (Sink::skilled(vec![(Step::Handshake, None, Behaviour::Close)], with()), "MAIL"),
        (Sink::skilled(vec![(Step::StartTls, None, Behaviour::Reply("454 4.7.0 no"))], with()), "MAIL"),
    ] {
        let lab = lab(&sink, "tls = \"opportunistic\"\n", &issuer);
        let daemon = lab.start();
        submitted(&lab, RECIPIENT, MESSAGE);
        arrives(&lab, &sink, 1);
        assert_eq!(heard(&sink, expected).len(), 1, "{:?}", sink.heard());
        assert_eq!(daemon.terminate().code(), Some(0));
    }
}

/// The next hop does what the script says: its mail waits, status and log say why in
/// these words, and it goes, encrypted, when the trouble is over.
fn trouble(script: Vec<(Step, Option<&'static str>, Behaviour)>, offers: bool, level: &str, words: &str) {
    let (tls, issuer) = certified();
    let sink = Sink::skilled(script, Skills { tls: offers.then_some(tls), ..Skills::default() });
    let lab = lab(&sink, &format!("tls = \"{level}\"\n"), &issuer);
    let daemon = lab.start();
    submitted(&lab, RECIPIENT, MESSAGE);
    waits(&lab, words);
    assert_eq!((sink.count(), heard(&sink, "MAIL").len()), (0, 0), "{:?}", sink.heard());
    if offers {
        sink.follow(Vec::new());
        arrives(&lab, &sink, 1);
        assert_eq!(heard(&sink, "MAIL").len(), 0, "{:?}", sink.heard());
    }
    assert_eq!(daemon.terminate().code(), Some(0));
}

/// The mail waits, and status and log say why.
#[track_caller]
pub(super) fn waits(lab: &Lab, words: &str) {
    let named = |text: &str| text.contains(words);
    let in_log = || lab.log().lines().any(|line| line.contains("next hop in trouble") && named(line));
    assert!(until(SOON, in_log), "the log names it: {words}\n{}", lab.log_tail());
    let status = || cli(lab, &["status"]).stdout;
    assert!(until(SOON, || named(&status())), "status names it: {words}\n{}", status());
    // It is not listed while it goes from one directory to the next.
    assert!(until(SOON, || lab.spool().passing().len() == 1), "it is still there");
    assert_eq!(lab.spool().names("deferred"), Vec::<String>::new());
}

fn somebody_else() {
    let ((tls, issuer), (_, other_issuer)) = (certified(), certified());
    for (name, wrong) in [("other.example.net", &issuer), (NAME, &other_issuer)] {
        let sink = Sink::skilled(vec![], Skills { tls: Some(Arc::clone(&tls)), ..Skills::default() });
        let lab = lab(&sink, &format!("tls = \"verified\"\ntls_name = \"{name}\"\n"), wrong);
        let daemon = lab.start();
        submitted(&lab, RECIPIENT, MESSAGE);
        waits(&lab, "the TLS handshake failed: invalid peer certificate: ");
        assert_eq!(heard(&sink, "tls"), Vec::<String>::new());
        // The right issuer, after a reload, makes it go; the wrong name never does.
        fs::write(lab.path("ca.pem"), &issuer).expect("failed to write");
        assert_eq!(cli(&lab, &["reload"]).code, Some(0));
        if name == NAME {
            arrives(&lab, &sink, 1);
        }
        assert_eq!(daemon.terminate().code(), Some(0));
    }
}

/// A Postfix that takes nothing that is not encrypted, and what trusts it. The folder
/// is to be kept as long as it.
pub(super) fn encrypting_postfix(sink: &Sink, lines: &str) -> (Postfix, String, TempDir) {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).expect("a certificate");
    let folder = tempfile::tempdir().expect("failed to make a folder");
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    fs::write(&certificate, made.cert.pem()).expect("failed to write");
    fs::write(&key, made.signing_key.serialize_pem()).expect("failed to write");
    let main = format!(
        "smtpd_tls_cert_file = {}\nsmtpd_tls_key_file = {}\nsmtpd_tls_security_level = encrypt\n\
         smtpd_tls_received_header = yes\n{lines}",
        certificate.display(),
        key.display()
    );
    (Postfix::start(sink.address(), &main, ""), made.cert.pem(), folder)
}

/// A place whose mail goes to such a Postfix.
pub(super) fn lab_to_postfix(postfix: &Postfix, issuer: &str, lines: &str) -> Lab {
    let lines = format!("tls = \"verified\"\ntls_name = \"{NAME}\"\n{lines}");
    let transport = transport_to("hop", postfix.smtp(), &lines).replace("300ms", "30s");
    let retry = "[retry]\nfirst = \"1s\"\nmax = \"2s\"\n";
    let config = Config::without_routes().tables(&transport).tables(retry).route("deliver = \"hop\"\n");
    let lab = Lab::with(&config);
    fs::write(lab.path("ca.pem"), issuer).expect("failed to write");
    lab
}

fn postfix() {
    let sink = Sink::start(Vec::new());
    let (postfix, issuer, _folder) = encrypting_postfix(&sink, "");
    let lab = lab_to_postfix(&postfix, &issuer, "");
    let daemon = lab.start();
    for _ in 0..3 {
        submitted(&lab, RECIPIENT, MESSAGE);
    }
    arrives(&lab, &sink, 3);
    // Postfix offers CHUNKING, and a line like this goes so.
    let long = format!("Subject: long\r\n\r\n.{}\r\n.x\r\n", "y".repeat(1500)).into_bytes();
    submitted(&lab, RECIPIENT, &long);
    arrives(&lab, &sink, 4);
    assert!(sink.taken()[3].content.ends_with(&long), "{:?}", sink.taken()[3]);
    let with_tls = |content: &[u8]| {
        let text = String::from_utf8_lossy(content);
        text.contains("(using TLSv1.3 with cipher ") && text.contains(" with ESMTPS id ")
    };
    assert!(sink.taken().iter().all(|taken| with_tls(&taken.content)), "{:?}", sink.taken());
    assert_eq!(daemon.terminate().code(), Some(0));
}

/// A user logs in; the sink takes no mail from anybody else.
fn login(lines: &'static [&'static str]) {
    let (tls, issuer) = certified();
    let sink = Sink::skilled(vec![], Skills { tls: Some(tls), login: Some(lines), offers: &[] });
    let lab = lab(&sink, &format!("tls = \"verified\"\ntls_name = \"{NAME}\"\n{USER}"), &issuer);
    let daemon = lab.start();
    for count in 1..=2 {
        submitted(&lab, RECIPIENT, MESSAGE);
        arrives(&lab, &sink, count);
    }
    assert_eq!(heard(&sink, "AUTH"), Vec::<String>::new());
    assert!(!heard(&sink, "tls AUTH").is_empty());
    assert_eq!(daemon.terminate().code(), Some(0));
}

fn wrong_password() {
    let (tls, issuer) = certified();
    let sink = Sink::skilled(vec![], Skills { tls: Some(tls), login: Some(PLAIN), offers: &[] });
    let lab = lab(&sink, &format!("tls = \"required\"\n{USER}"), &issuer);
    write_password(&lab, "sesame, wrong");
    let daemon = lab.start();
    submitted(&lab, RECIPIENT, MESSAGE);
    waits(&lab, "refused the login of user \"alma\": 535 5.7.8 who are you?");
    // The file is read again at a reload, though nothing has changed in the configuration.
    write_password(&lab, PASSWORD);
    assert_eq!(cli(&lab, &["reload"]).code, Some(0));
    arrives(&lab, &sink, 1);
    let shown = [&["status"][..], &["status", "--json"], &["config", "show"], &["config", "check"]];
    let shown: String = shown.iter().map(|args| cli(&lab, args).stdout).collect();
    assert!(shown.contains("password_file") && shown.contains("alma"), "{shown}");
    for secret in ["sesame", "b3BlbiBzZXNhbWU", "AGFsbWEA"] {
        assert!(
            !shown.contains(secret) && !lab.log().contains(secret),
            "{secret} in\n{shown}\n{}",
            lab.log()
        );
    }
    fs::remove_file(lab.path("password")).expect("failed to remove the password");
    let refused = cli(&lab, &["reload"]);
    assert!(refused.code != Some(0) && refused.stderr.contains("/password: can't be read"), "{refused:?}");
    submitted(&lab, RECIPIENT, MESSAGE);
    arrives(&lab, &sink, 2);
    assert_eq!(daemon.terminate().code(), Some(0));
}

/// Without TLS a password goes to next hops of this host, and only if that is wanted.
fn unencrypted() {
    let sink = Sink::skilled(vec![], Skills { login: Some(PLAIN), ..Skills::default() });
    let refused = lab(&sink, USER, "");
    let refused = refused.try_start().err().expect("it does not start");
    assert!(
        refused.log.contains("[transport.hop] user: a password is said only under TLS"),
        "{}",
        refused.log
    );
    let lab = lab(&sink, &format!("{USER}auth_unencrypted = true\n"), "");
    let daemon = lab.start();
    submitted(&lab, RECIPIENT, MESSAGE);
    arrives(&lab, &sink, 1);
    assert_eq!(heard(&sink, "AUTH"), PLAIN);
    assert_eq!(daemon.terminate().code(), Some(0));
}

fn open_password() {
    let sink = Sink::start(vec![]);
    let lab = lab(&sink, &format!("tls = \"required\"\n{USER}"), "");
    let file = lab.path("password");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("failed to set a mode");
    let refused = lab.try_start().err().expect("it does not start");
    let words =
        format!("[transport.hop] password_file: {}: is open to everybody (mode 0644)", file.display());
    assert!(refused.log.contains(&words), "{}", refused.log);
    let checked = cli(&lab, &["config", "check"]);
    assert!(checked.stderr.contains("on this machine: [transport.hop] password_file: "), "{checked:?}");
    assert_eq!(heard(&sink, ""), Vec::<String>::new());
}
