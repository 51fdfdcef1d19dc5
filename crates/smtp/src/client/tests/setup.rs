//! What comes before mail: STARTTLS and AUTH.

use super::super::{Login, Secret, StartTls};
use super::*;

const TLS: &str = "250-next.example\r\n250 STARTTLS\r\n";
const AUTH: &str = "250-next.example\r\n250 AUTH LOGIN PLAIN\r\n";
const EHLO: &str = "EHLO me.example\r\n";
const PLAIN_LOGIN: &str = "AUTH PLAIN AGFsbWEAb3BlbiBzZXNhbWU=\r\n";

fn tls(starttls: StartTls) -> Setup {
    Setup { starttls, ..Setup::default() }
}

fn login() -> Setup {
    let login = Login::new("alma", Secret::new("open sesame").unwrap()).unwrap();
    Setup { starttls: StartTls::Always, login: Some(Arc::new(login)), login_unencrypted: false }
}

/// Why a client does not want its connection any more; it says good-bye then.
fn refused(client: &mut Client) -> String {
    let Do::Refused(why) = client.next() else { panic!("it is not refused") };
    assert_eq!(sent(client), "QUIT\r\n");
    why.to_string()
}

/// Goes through the handshake, and hello again with this answer.
fn secure(client: &mut Client, verified: bool, offer: &str) {
    assert_eq!(sent(client), "STARTTLS\r\n");
    assert!(matches!(client.next(), Do::Receive(Step::StartTls)));
    client.received(b"220 go\r\n").unwrap();
    let Do::Secure(secure) = client.next() else { panic!("no handshake") };
    secure.established(verified);
    assert_eq!(sent(client), EHLO);
    client.received(offer.as_bytes()).unwrap();
}

#[test]
fn hello_is_said_again_and_nothing_of_the_first_is_believed() {
    for starttls in [StartTls::IfOffered, StartTls::Always] {
        let mut client = greeted(&TLS.replace("250 S", "250-DSN\r\n250 S"), Dialect::Smtp, tls(starttls));
        secure(&mut client, false, "250-next.example\r\n250 PIPELINING\r\n");
        assert!(matches!(client.next(), Do::Ready(_)));
        assert!(client.offer().pipelining && !client.offer().dsn && !client.offer().starttls);
    }
}

#[test]
fn requiretls_counts_only_where_the_certificate_was_verified() {
    let message = || mail("<a@b> REQUIRETLS", &["<c@d>"]);
    for verified in [false, true] {
        let mut client = greeted(TLS, Dialect::Smtp, tls(StartTls::Always));
        secure(&mut client, verified, EVERYTHING);
        start(&mut client, message());
        if verified {
            assert!(sent(&mut client).starts_with("MAIL FROM:<a@b> SIZE=7 REQUIRETLS\r\n"));
        } else {
            let refused = shown(&finished(&mut client));
            assert!(refused[0].starts_with("offer: permanent 550 5.7.30 "), "{refused:?}");
        }
    }
}

#[test]
fn who_takes_tls_away_gets_no_mail_that_needs_it() {
    for (offer, answer, why) in [
        (PLAIN, "", "does not offer STARTTLS, and no mail goes there without TLS"),
        (TLS, "454 4.7.0 not now\r\n", "refused at STARTTLS: 454 4.7.0 not now"),
        (TLS, "502 what?\r\n", "refused at STARTTLS: 502 what?"),
    ] {
        let (mut must, mut may) = (
            greeted(offer, Dialect::Smtp, tls(StartTls::Always)),
            greeted(offer, Dialect::Smtp, tls(StartTls::IfOffered)),
        );
        if !answer.is_empty() {
            for client in [&mut must, &mut may] {
                assert_eq!(sent(client), "STARTTLS\r\n");
                client.received(answer.as_bytes()).unwrap();
            }
        }
        assert_eq!(refused(&mut must), why);
        assert!(matches!(may.next(), Do::Ready(_)), "{why}");
    }
    // A next hop that knows HELO only has nothing to offer.
    let mut client = greeted("502 what?\r\n", Dialect::Smtp, tls(StartTls::Always));
    assert_eq!(sent(&mut client), "HELO me.example\r\n");
    client.received(b"250 hello\r\n").unwrap();
    assert!(refused(&mut client).contains("does not offer STARTTLS"));
    let mut client = greeted(TLS, Dialect::Smtp, tls(StartTls::Always));
    sent(&mut client);
    client.received(b"421 bye\r\n").unwrap();
    let Do::Refused(why) = client.next() else { panic!() };
    assert_eq!(why.to_string(), "refused at STARTTLS: 421 bye");
}

#[test]
fn what_comes_before_the_handshake_is_never_taken_for_encrypted() {
    let injected = "250-evil.example\r\n250 REQUIRETLS\r\n";
    for pieces in
        [vec!["220 go\r\n250"], vec!["220 go\r\n", injected], vec!["220 go\r\n\r\n"], vec!["220 g", "o\r\n2"]]
    {
        let mut client = greeted(TLS, Dialect::Smtp, tls(StartTls::IfOffered));
        sent(&mut client);
        let results: Vec<_> = pieces.iter().map(|piece| client.received(piece.as_bytes())).collect();
        assert_eq!(results.last(), Some(&Err(ProtocolError::Injected)), "{pieces:?}");
        assert!(matches!(client.next(), Do::Close), "{pieces:?}");
    }
    let mut client = greeted(TLS, Dialect::Smtp, tls(StartTls::Always));
    sent(&mut client);
    assert!(
        matches!(client.received(b"250 ok\r\n"), Err(ProtocolError::Unexpected { .. })),
        "220 alone will do"
    );
}

#[test]
fn a_user_logs_in_under_tls() {
    let mut client = greeted(TLS, Dialect::Smtp, login());
    secure(&mut client, true, AUTH);
    assert_eq!(sent(&mut client), PLAIN_LOGIN);
    assert!(matches!(client.next(), Do::Receive(Step::Auth)));
    client.received(b"235 2.7.0 welcome\r\n").unwrap();
    assert!(matches!(client.next(), Do::Ready(_)));
    // LOGIN, step by step, and one challenge too many.
    for (last, fine) in [("235 ok\r\n", true), ("334 more\r\n", false)] {
        let mut client = greeted(TLS, Dialect::Smtp, login());
        secure(&mut client, false, &AUTH.replace(" PLAIN", ""));
        for (said, reply) in [
            ("AUTH LOGIN\r\n", "334 VXNlcm5hbWU6\r\n"),
            ("YWxtYQ==\r\n", "334 UGFzc3dvcmQ6\r\n"),
            ("b3BlbiBzZXNhbWU=\r\n", last),
        ] {
            assert_eq!(sent(&mut client), said);
            assert_eq!(client.received(reply.as_bytes()).is_ok(), fine || reply != last);
        }
        assert_eq!(matches!(client.next(), Do::Ready(_)), fine);
    }
}

#[test]
fn a_login_that_fails_is_the_next_hops_trouble_and_shows_no_password() {
    for (reply, why) in [
        ("535 5.7.8 wrong\r\n", "535 5.7.8 wrong"),
        ("454 4.7.0 later\r\n", "454 4.7.0 later"),
        ("500 what is AUTH PLAIN AGFsbWEAb3BlbiBzZXNhbWU=?\r\n", "500 (words that repeat the password)"),
    ] {
        let mut client = greeted(TLS, Dialect::Smtp, login());
        secure(&mut client, true, AUTH);
        assert_eq!(sent(&mut client), PLAIN_LOGIN);
        client.received(reply.as_bytes()).unwrap();
        assert_eq!(refused(&mut client), format!("refused the login of user \"alma\": {why}"));
    }
}

#[test]
fn a_next_hop_that_leaves_or_raves_at_the_login_is_told() {
    let asked = || {
        let mut client = greeted(TLS, Dialect::Smtp, login());
        secure(&mut client, true, AUTH);
        assert_eq!(sent(&mut client), PLAIN_LOGIN);
        client
    };
    let mut client = asked();
    client.received(b"421 too many\r\n").unwrap();
    let Do::Refused(why) = client.next() else { panic!("it is not refused") };
    assert_eq!(why.to_string(), "refused at AUTH: 421 too many");
    assert!(matches!(client.next(), Do::Close));
    let error = asked().received(b"354 go on\r\n").unwrap_err();
    assert!(matches!(error, ProtocolError::Unexpected { step: Step::Auth, .. }), "{error}");
}

#[test]
fn a_password_is_said_only_where_nobody_listens_and_somebody_asks() {
    let mut client = greeted(TLS, Dialect::Smtp, login());
    secure(&mut client, true, PLAIN);
    assert!(refused(&mut client).starts_with("does not offer AUTH PLAIN or AUTH LOGIN, "));
    let open = Setup { starttls: StartTls::Never, ..login() };
    let mut client = greeted(AUTH, Dialect::Smtp, open.clone());
    assert!(refused(&mut client).starts_with("is not encrypted, "));
    let mut client = greeted(AUTH, Dialect::Smtp, Setup { starttls: StartTls::IfOffered, ..login() });
    assert!(refused(&mut client).starts_with("is not encrypted, "));
    let mut client = greeted(AUTH, Dialect::Smtp, Setup { login_unencrypted: true, ..open });
    assert_eq!(sent(&mut client), PLAIN_LOGIN);
    assert!(!format!("{client:?}").contains("sesame"));
}

proptest! {
    #[test]
    fn without_tls_nothing_is_said_that_needs_it(
        replies in prop::collection::vec(
            prop::sample::select(vec![
                "220 x\r\n", "250 x\r\n", TLS, AUTH, EVERYTHING, "250-x\r\n", "334 x\r\n", "235 x\r\n", "550 x\r\n", "2",
            ]),
            0..10,
        ),
    ) {
        let mut client = Client::new("me.example", Dialect::Smtp, login());
        let (mut replies, mut secured, mut mail) = (replies.into_iter(), false, Some(mail("<>", &["<c@d>"])));
        loop {
            match client.next() {
                Do::Send(bytes) => {
                    let said = String::from_utf8(bytes.to_vec()).unwrap();
                    let harmless = ["EHLO", "HELO", "STARTTLS", "QUIT"].iter().any(|verb| said.starts_with(verb));
                    prop_assert!(secured || harmless, "{}", said);
                }
                Do::Receive(_) => match replies.next() {
                    Some(reply) => drop(client.received(reply.as_bytes())),
                    None => client.broken("over"),
                },
                Do::Secure(secure) => {
                    secured = true;
                    secure.established(true);
                }
                Do::Ready(ready) => match mail.take() {
                    Some(mail) => ready.start(mail),
                    None => ready.quit(),
                },
                Do::Content(content) => content.finish(),
                Do::Done(_) | Do::Refused(_) => {}
                Do::Close => break,
            }
        }
    }
}
