//! The `Received:` field that is put on top of each message (RFC 5321 section
//! 4.4).
//!
//! A pure function of the envelope and the host's name, so that each try adds
//! the same bytes. What a client says of itself stands there only where it is
//! safe. What the MTA before us tells of a client of its own (XFORWARD) does not:
//! that hop is described in the field that this MTA has added. It must never break
//! the field, nor add another one.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

pub(crate) use lazaret_envelope::is_host_name;
use lazaret_envelope::{Address, Envelope, Line, Protocol};

/// Longest recipient that the field names, in bytes. RFC 5321 section
/// 4.5.3.1.6: a line has at most 998 of them, and `for` and brackets come on top.
const FOR_BYTES_MAX: usize = 900;

/// Longest user id of a local sender, or name of a cipher suite, that the field
/// names, in bytes.
const USER_BYTES_MAX: usize = 64;

/// The field, with CRLF line ends.
#[must_use]
pub fn received(envelope: &Envelope, hostname: &str) -> String {
    let mut field = String::from("Received: ");
    if let Some(from) = from(envelope) {
        let _ = write!(field, "from {from}\r\n\t");
    }
    let _ = write!(field, "by {hostname} with {}\r\n\tid {}", with(envelope), envelope.id);
    if let Some(recipient) = only_recipient(envelope) {
        let _ = write!(field, "\r\n\tfor <{recipient}>");
    }
    if let Some(suite) = cipher_suite(envelope) {
        let _ = write!(field, "\r\n\ttls {suite}");
    }
    let date = envelope.arrived.strftime("%a, %d %b %Y %H:%M:%S +0000");
    let _ = write!(field, ";\r\n\t{date}\r\n");
    field
}

/// RFC 5321 section 4.4: "the FROM clause [...] SHOULD contain both (1) the name
/// of the source host as presented in the EHLO command and (2) an address
/// literal containing the IP address of the source". `None` for local mail.
fn from(envelope: &Envelope) -> Option<String> {
    let origin = &envelope.origin;
    if matches!(origin.protocol, Protocol::Submit | Protocol::Drop | Protocol::Notice) {
        return None;
    }
    let client = origin.client.as_ref().and_then(address_literal);
    let helo = origin.helo.as_ref().and_then(hello_name);
    Some(match (helo, client) {
        (Some(helo), Some(client)) => format!("{helo} ({client})"),
        (Some(only), None) | (None, Some(only)) => only,
        (None, None) => "unknown".to_owned(),
    })
}

/// The address of a client, with or without its port, as RFC 5321 section 4.1.3
/// writes it.
fn address_literal(client: &Line) -> Option<String> {
    address(client).map(|address| match address {
        IpAddr::V4(address) => format!("[{address}]"),
        IpAddr::V6(address) => format!("[IPv6:{address}]"),
    })
}

/// The IP address of a client, written with or without its port.
pub(crate) fn address(client: &Line) -> Option<IpAddr> {
    let text = client.as_str();
    text.parse().or_else(|_| text.parse().map(|address: SocketAddr| address.ip())).ok()
}

/// The name of a hello, if it is a host's or an address literal; else it is
/// left out.
fn hello_name(name: &Line) -> Option<String> {
    let text = name.as_str();
    let literal = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).and_then(|inside| {
        let address = inside.strip_prefix("IPv6:").unwrap_or(inside);
        address_literal(&Line::escaped(address))
    });
    literal.or_else(|| is_host_name(text).then(|| text.to_owned()))
}

/// The registered names of the protocols (RFC 3848, RFC 6531 section 4.3), and a
/// comment that tells how local mail came in.
fn with(envelope: &Envelope) -> String {
    let international = envelope.transaction.sender.params.smtputf8;
    let local = |how| match envelope.origin.client.as_ref().map(Line::as_str).filter(|user| is_user(user)) {
        Some(user) => format!("local (lazaret {how}, user {user})"),
        None => format!("local (lazaret {how})"),
    };
    let secured = if envelope.origin.tls.is_some() { "S" } else { "" };
    match (envelope.origin.protocol, international) {
        (Protocol::Smtp | Protocol::Esmtp, true) => format!("UTF8SMTP{secured}"),
        (Protocol::Smtp, false) => "SMTP".to_owned(),
        (Protocol::Esmtp, false) => format!("ESMTP{secured}"),
        (Protocol::Lmtp, true) => format!("UTF8LMTP{secured}"),
        (Protocol::Lmtp, false) => format!("LMTP{secured}"),
        (Protocol::Submit, _) => local("submit"),
        (Protocol::Drop, _) => local("drop"),
        (Protocol::Notice, _) => local("notice"),
    }
}

/// RFC 8314 section 4.3: a clause "tls" with the registered name of the cipher
/// suite, which is the last word of what the envelope tells of TLS.
fn cipher_suite(envelope: &Envelope) -> Option<&str> {
    let suite = envelope.origin.tls.as_ref()?.as_str().rsplit(' ').next()?;
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (suite.starts_with("TLS_") && suite.len() <= USER_BYTES_MAX && suite.bytes().all(fine)).then_some(suite)
}

/// Whether a user's id or name may stand in a comment.
fn is_user(text: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    !text.is_empty() && text.len() <= USER_BYTES_MAX && text.bytes().all(fine)
}

/// Who the message is for, if that betrays nobody. RFC 5321 section 7.6: "there
/// should be no more than one address in a FOR clause".
fn only_recipient(envelope: &Envelope) -> Option<&Address> {
    let [only] = envelope.transaction.recipients.as_slice() else { return None };
    let writable = envelope.transaction.sender.params.smtputf8 || !only.address.is_international();
    (writable && only.address.as_str().len() <= FOR_BYTES_MAX).then_some(&only.address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lazaret_envelope::{
        Content, Digest, MailParams, MessageId, Origin, Recipient, ReversePath, Sender, Transaction,
    };
    use proptest::prelude::*;

    fn envelope(protocol: Protocol, recipients: &[&str]) -> Envelope {
        let recipients = recipients.iter().map(|to| Recipient::from(to.parse::<Address>().unwrap()));
        let sender = Sender { path: ReversePath(None), params: MailParams::default() };
        Envelope {
            id: MessageId::from_parts(1_795_334_400_000, 1),
            arrived: "2026-11-22T08:00:00.9Z".parse().unwrap(),
            origin: Origin {
                client: Some(Line::escaped("192.0.2.7:3025")),
                helo: Some(Line::escaped("mx.example.org")),
                ..Origin::from(protocol)
            },
            transaction: Transaction { sender, recipients: recipients.collect() },
            content: Content { size: 0, digest: Digest([0; 32]) },
        }
    }

    fn shown(envelope: &Envelope) -> String {
        received(envelope, "hub.example").replace("\r\n\t", " ").replace("\r\n", "$")
    }

    const REST: &str = "id 01M8149T000000000000000001; Sun, 22 Nov 2026 08:00:00 +0000$";

    #[test]
    fn mail_from_a_client_names_it() {
        let mut mail = envelope(Protocol::Esmtp, &["a@b", "c@d"]);
        let wire = received(&mail, "hub.example");
        assert_eq!(
            wire,
            "Received: from mx.example.org ([192.0.2.7])\r\n\tby hub.example with ESMTP\r\n\
             \tid 01M8149T000000000000000001;\r\n\tSun, 22 Nov 2026 08:00:00 +0000\r\n"
        );
        mail.origin.client = Some(Line::escaped("2001:db8::1"));
        mail.transaction.sender.params.smtputf8 = true;
        let from = "Received: from mx.example.org ([IPv6:2001:db8::1])";
        assert_eq!(shown(&mail), format!("{from} by hub.example with UTF8SMTP {REST}"));
        mail.origin = Protocol::Lmtp.into();
        assert_eq!(shown(&mail), format!("Received: from unknown by hub.example with UTF8LMTP {REST}"));
    }

    #[test]
    fn an_encrypted_session_is_told() {
        let mut mail = envelope(Protocol::Esmtp, &["a@b"]);
        mail.origin.tls = Some(Line::escaped("TLSv1.3 TLS_AES_256_GCM_SHA384"));
        let text = shown(&mail);
        assert!(
            text.contains(" with ESMTPS id ") && text.contains(" for <a@b> tls TLS_AES_256_GCM_SHA384; Sun"),
            "{text}"
        );
        mail.origin.protocol = Protocol::Lmtp;
        mail.transaction.sender.params.smtputf8 = true;
        assert!(shown(&mail).contains(" with UTF8LMTPS id "));
        mail.origin.tls = Some(Line::escaped("TLSv1.3 TLS_X;y"));
        assert!(!shown(&mail).contains(" tls "));
    }

    #[test]
    fn another_hop_is_not_described() {
        let mut mail = envelope(Protocol::Esmtp, &["a@b", "c@d"]);
        let before = shown(&mail);
        mail.origin.forwarded.name = Some(Line::escaped("far.example"));
        mail.origin.forwarded.address = Some(Line::escaped("198.51.100.1"));
        mail.origin.forwarded.helo = Some(Line::escaped("far"));
        assert_eq!(shown(&mail), before);
    }

    #[test]
    fn local_mail_names_its_user() {
        let mut mail = envelope(Protocol::Submit, &["a@b", "c@d"]);
        mail.origin.client = Some(Line::escaped("1000"));
        let by = "Received: by hub.example with local";
        assert_eq!(shown(&mail), format!("{by} (lazaret submit, user 1000) {REST}"));
        mail.origin = Protocol::Drop.into();
        assert_eq!(shown(&mail), format!("{by} (lazaret drop) {REST}"));
    }

    #[test]
    fn one_recipient_is_named_if_the_field_can_hold_it() {
        let mail = envelope(Protocol::Smtp, &["\"odd; (one\"@b"]);
        assert!(shown(&mail).contains(" for <\"odd; (one\"@b>; Sun"), "{}", shown(&mail));
        let mut mail = envelope(Protocol::Smtp, &["grün@b"]);
        assert!(!shown(&mail).contains(" for "));
        mail.transaction.sender.params.smtputf8 = true;
        assert!(shown(&mail).contains(" for <grün@b>;"));
        let long = format!("{}@b", "a".repeat(FOR_BYTES_MAX));
        assert!(!shown(&envelope(Protocol::Smtp, &[&long])).contains(" for "));
    }

    #[test]
    fn a_hello_that_is_no_name_is_left_out() {
        for (helo, from) in [
            ("[192.0.2.9]", "[192.0.2.9] ([192.0.2.7])"),
            ("[IPv6:::1]", "[IPv6:::1] ([192.0.2.7])"),
            ("a.example)\\r\\nX: y", "[192.0.2.7]"),
            ("x (comment", "[192.0.2.7]"),
            ("a;b", "[192.0.2.7]"),
            ("bücher.example", "[192.0.2.7]"),
            ("[x]", "[192.0.2.7]"),
            ("", "[192.0.2.7]"),
        ] {
            let mut mail = envelope(Protocol::Esmtp, &["a@b", "c@d"]);
            mail.origin.helo = Some(Line::escaped(helo));
            assert!(shown(&mail).starts_with(&format!("Received: from {from} by hub")), "{}", shown(&mail));
        }
    }

    proptest! {
        #[test]
        fn whatever_a_client_says_the_field_stays_one_field(
            helo in "\\PC{0,300}|[a-z.()<>;\\[\\]\"]{0,20}", client in "\\PC{0,80}|[0-9.:\\[\\]]{0,20}", protocol in 0..6_usize,
        ) {
            use Protocol::*;
            let mut mail = envelope([Smtp, Esmtp, Lmtp, Submit, Drop, Notice][protocol], &["a@b"]);
            mail.origin.helo = Some(Line::escaped(helo));
            mail.origin.client = Some(Line::escaped(client));
            let field = received(&mail, "hub.example");
            prop_assert!(field.is_ascii() && field.ends_with("\r\n") && field.starts_with("Received: "));
            for (number, line) in field.trim_end().split("\r\n").enumerate() {
                prop_assert!(line.len() <= 998 && line.starts_with('\t') == (number > 0));
                prop_assert!(!line[1..].contains(|c: char| c.is_control()));
            }
            let outside = field.split(['(', ')']).step_by(2).collect::<String>();
            prop_assert_eq!(outside.matches(';').count(), 1);
        }
    }
}
