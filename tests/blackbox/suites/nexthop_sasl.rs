//! A login at a real server: Postfix, which asks a real Dovecot.
//!
//! Whether it was right is Dovecot's word, and that the mail came from who logged in is
//! Postfix's. A wrong password must never cost a message anything but time.

use crate::lab::{cli, submitted};
use crate::mta::{dovecot, postfix};
use crate::sink::Sink;
use crate::suites::nexthop_tls::{
    MESSAGE, PASSWORD, RECIPIENT, USER, arrives, encrypting_postfix, lab_to_postfix, waits, write_password,
};
use crate::trial::{Case, Needs};

/// The cases.
pub fn cases() -> Vec<Case> {
    const SERVERS: &[Needs] = &[Needs::Server(postfix::PACKAGE), Needs::Server(dovecot::PACKAGE)];
    vec![
        Case::new("nexthop_sasl::wrong_and_right_at_once", || login("plain")).needs(SERVERS),
        Case::new("nexthop_sasl::wrong_and_right_step_by_step", || login("login")).needs(SERVERS),
    ]
}

/// With a wrong password mail waits, and with the right one it goes. Postfix offers but
/// one mechanism.
fn login(mechanism: &str) {
    let (sink, dovecot) = (Sink::start(Vec::new()), dovecot::Dovecot::start());
    dovecot.admit("alma", PASSWORD);
    let lines = format!(
        "smtpd_sasl_auth_enable = yes\nsmtpd_sasl_type = dovecot\nsmtpd_sasl_path = {}\n\
         smtpd_sasl_mechanism_filter = {mechanism}\nsmtpd_sasl_authenticated_header = yes\n\
         smtpd_relay_restrictions = permit_sasl_authenticated, reject\n\
         smtpd_recipient_restrictions = permit_sasl_authenticated, reject\n",
        dovecot.auth().display()
    );
    let (postfix, issuer, _folder) = encrypting_postfix(&sink, &lines);
    let lab = lab_to_postfix(&postfix, &issuer, USER);
    write_password(&lab, "sesame, wrong");
    let daemon = lab.start();
    submitted(&lab, RECIPIENT, MESSAGE);
    waits(&lab, "refused the login of user \"alma\": 535 5.7.8 ");
    assert_eq!((sink.count(), postfix.queued()), (0, 0), "nobody is told of it");
    write_password(&lab, PASSWORD);
    assert_eq!(cli(&lab, &["reload"]).code, Some(0));
    arrives(&lab, &sink, 1);
    for _ in 0..2 {
        submitted(&lab, RECIPIENT, MESSAGE);
    }
    arrives(&lab, &sink, 3);
    for taken in sink.taken() {
        let text = String::from_utf8_lossy(&taken.content).into_owned();
        assert!(text.contains("(Authenticated sender: alma)"), "{text}");
    }
    assert!(!lab.log().contains("sesame"), "{}", lab.log());
    assert_eq!(daemon.terminate().code(), Some(0));
}
