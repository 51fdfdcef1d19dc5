//! Sessions that are encrypted after STARTTLS.

use std::net::TcpStream;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::*;
use crate::tls::tests::identity;

type Encrypted = Client<StreamOwned<ClientConnection, TcpStream>>;

/// A listener with a certificate, and that certificate.
fn lab(config: ListenConfig) -> (Lab, CertificateDer<'static>) {
    let place = testing::Place::new();
    let (tls, certificate) = identity(place.folder.path());
    (Lab::on(place, ListenConfig { tls: Some(tls), ..config }, testing::gate()), certificate)
}

/// Goes on encrypted.
fn encrypt(client: Client<TcpStream>, certificate: &CertificateDer<'static>) -> Encrypted {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connection = ClientConnection::new(Arc::new(config), "mx.example".try_into().unwrap()).unwrap();
    assert!(client.0.buffer().is_empty());
    Client(BufReader::new(StreamOwned::new(connection, client.0.into_inner())))
}

/// A session that is encrypted and has said hello again.
fn hello(lab: &Lab, certificate: &CertificateDer<'static>) -> Encrypted {
    let mut client = lab.hello();
    assert_eq!(client.talk("STARTTLS\r\n"), ["220 2.0.0 ready for TLS"]);
    let mut client = encrypt(client, certificate);
    assert!(client.talk::<1>(HELLO)[0].starts_with("250 "));
    client
}

#[test]
fn a_message_comes_in_encrypted() {
    let (mut lab, certificate) = lab(ListenConfig { require_tls: true, ..config() });
    let mut plain = lab.hello();
    assert!(plain.talk::<1>("MAIL FROM:<a@b>\r\n")[0].starts_with("530 5.7.0 "));
    let mut client = hello(&lab, &certificate);
    let long = format!("{}\r\n", "x".repeat(200_000));
    assert!(client.send(&long)[3].starts_with("250 2.0.0 queued as "));
    let [mail, rcpt, data] =
        client.talk("MAIL FROM:<a@example.org> REQUIRETLS\r\nRCPT TO:<b@example.org>\r\nDATA\r\n");
    assert!(mail.starts_with("250 ") && rcpt.starts_with("250 ") && data.starts_with("354 "));
    assert!(client.talk::<1>(".\r\n")[0].starts_with("250 "));
    assert_eq!(client.talk("QUIT\r\n"), ["221 2.0.0 bye", ""]);
    let mut envelopes: Vec<Envelope> = names(&lab.place.spool, Dir::Incoming)
        .iter()
        .map(|name| std::fs::read(lab.place.spool.path(Dir::Incoming).join(name)).unwrap())
        .map(|file| Envelope::parse(&file).unwrap().0)
        .collect();
    envelopes.sort_by_key(|envelope| envelope.content.size);
    assert!(envelopes[0].transaction.sender.params.requiretls);
    assert_eq!(envelopes[1].content.size, 200_002);
    let tls = envelopes[1].origin.tls.clone().unwrap();
    assert!(tls.as_str().starts_with("TLSv1.3 TLS_"), "{tls}");
    lab.stop(GRACE);
}

#[test]
fn what_was_put_before_the_handshake_is_never_obeyed() {
    let (mut lab, certificate) = lab(config());
    let evil = "EHLO evil\r\nMAIL FROM:<evil@example.org>\r\nRCPT TO:<b@example.org>\r\n";
    // In one packet: the session ends.
    let mut client = lab.hello();
    client.say(&format!("STARTTLS\r\n{evil}"));
    assert!(client.reply().starts_with("521 5.5.1 "));
    assert_eq!(client.reply(), "");
    // Behind the reply: it is no handshake.
    let mut client = lab.hello();
    assert!(client.talk::<1>("STARTTLS\r\n")[0].starts_with("220 "));
    client.say(evil);
    let mut rest = Vec::new();
    let _ = client.0.read_to_end(&mut rest);
    // At most an alert (RFC 8446 section 6), and no reply.
    assert!(rest.is_empty() || (rest[0] == 21 && rest.len() == 7), "{rest:?}");
    // What was said before, honestly, is forgotten.
    let mut client = lab.hello();
    assert!(client.talk::<1>("MAIL FROM:<a@b>\r\n")[0].starts_with("250 "));
    assert!(client.talk::<1>("STARTTLS\r\n")[0].starts_with("220 "));
    let mut client = encrypt(client, &certificate);
    assert!(client.talk::<1>("RCPT TO:<c@d>\r\n")[0].starts_with("503 "));
    assert!(client.talk::<1>("MAIL FROM:<a@b>\r\n")[0].starts_with("503 5.5.1 say hello"));
    drop(client);
    lab.stop(GRACE);
    assert_eq!(contents(&lab.place.spool), [b""; 0]);
}

#[test]
fn bounds_hold_in_encrypted_sessions_too() {
    let idle_timeout = Duration::from_millis(1500);
    let (mut lab, certificate) = lab(ListenConfig { idle_timeout, ..config() });
    let mut client = hello(&lab, &certificate);
    assert_eq!(client.reply(), "421 4.4.2 mx.example heard nothing for too long, closing");
    assert_eq!(client.reply(), "");
    // A handshake that does not come is not waited for.
    let mut client = lab.hello();
    assert!(client.talk::<1>("STARTTLS\r\n")[0].starts_with("220 "));
    assert_eq!(client.reply(), "");
    lab.stop(GRACE);
    let (mut lab, certificate) = self::lab(ListenConfig { errors: few(2), ..config() });
    let mut client = hello(&lab, &certificate);
    let replies: [String; 4] = client.talk("X\r\nX\r\nX\r\n");
    assert!(replies[2].starts_with("421 4.7.0 ") && replies[3].is_empty(), "{replies:?}");
    let mut stopped = hello(&lab, &certificate);
    lab.stop(GRACE);
    assert_eq!(stopped.reply(), "421 4.3.2 mx.example is stopping, try again later");
}

#[test]
fn another_certificate_holds_for_new_sessions() {
    let (mut lab, old) = lab(config());
    let mut before = hello(&lab, &old);
    let (_, new) = identity(lab.place.folder.path());
    let identity = lab.handle().read_identity().unwrap().expect("it has one");
    lab.handle().replace_identity(identity);
    hello(&lab, &new);
    assert!(before.send("x\r\n")[3].starts_with("250 "));
    drop(before);
    std::fs::write(lab.place.folder.path().join("key.pem"), "").unwrap();
    assert!(lab.handle().read_identity().is_err());
    hello(&lab, &new);
    lab.stop(GRACE);
}
