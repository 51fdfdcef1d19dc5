//! The text form of envelopes: round trips, and every malformed line named.

use super::*;
use crate::origin::Forwarded;
use proptest::option;
use proptest::prelude::*;

fn line() -> impl Strategy<Value = Line> {
    ".{0,40}".prop_map(Line::escaped)
}

fn address() -> impl Strategy<Value = Address> {
    "[a-zé.+=]{1,20}@[a-zü0-9-]{1,12}(\\.[a-z]{2,5})?|\"[a-z @>\\\\\\\\]{0,6}\"@[a-z]{1,5}"
        .prop_filter_map("not an address", |text| text.parse().ok())
}

fn envelope() -> impl Strategy<Value = Envelope> {
    let protocol = prop::sample::select(Protocol::WORDS.map(|(protocol, _)| protocol).to_vec());
    let facts = || {
        (option::of(line()), option::of(line()), option::of(line()), option::of(line()), option::of(line()))
    };
    let origin =
        (protocol, facts(), facts()).prop_map(|(protocol, (client, helo, upstream_id, user, name), told)| {
            Origin {
                protocol,
                client,
                helo,
                tls: told.4,
                upstream_id,
                user,
                forwarded: Forwarded {
                    name,
                    address: told.1,
                    helo: told.2,
                    source: told.3,
                    port: told.0,
                    ..Forwarded::default()
                },
            }
        });
    let mail =
        prop::sample::select(vec!["", " BODY=8BITMIME SMTPUTF8", " RET=HDRS ENVID=x+2By", " REQUIRETLS"]);
    let rcpt = prop::sample::select(vec!["", " NOTIFY=NEVER", " NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a"]);
    let sender = (option::of(address()), mail).prop_map(|(path, params)| Sender {
        path: ReversePath(path),
        params: MailParams::parse(params).unwrap(),
    });
    let recipient = (address(), rcpt)
        .prop_map(|(address, params)| Recipient { address, params: RcptParams::parse(params).unwrap() });
    let arrived = (0_i64..4_000_000_000_000).prop_map(|millis| Timestamp::from_millisecond(millis).unwrap());
    let recipients = prop::collection::vec(recipient, 1..5);
    (any::<u128>(), arrived, origin, sender, recipients, any::<u64>(), any::<[u8; 32]>()).prop_map(
        |(id, arrived, origin, sender, recipients, size, digest)| Envelope {
            id: MessageId::from_u128(id),
            arrived,
            origin,
            transaction: Transaction { sender, recipients },
            content: Content { size, digest: Digest(digest) },
        },
    )
}

proptest! {
    #[test]
    fn text_form_round_trips(envelope in envelope(), content: Vec<u8>) {
        let text = envelope.to_string();
        let mut file = text.clone().into_bytes();
        file.extend(&content);
        prop_assert_eq!(text_length(&file), Some(text.len()));
        prop_assert_eq!(Envelope::parse(&file), Ok((envelope.clone(), text.len())));
        let dropped = Dropped::parse(&file).unwrap().0;
        prop_assert_eq!(dropped.transaction, envelope.transaction);
    }

    #[test]
    fn cut_text_is_refused(envelope in envelope(), at: prop::sample::Index) {
        let text = envelope.to_string();
        let cut = at.index(text.len());
        prop_assert!(Envelope::parse(&text.as_bytes()[..cut]).is_err());
        prop_assert_eq!(text_length(&text.as_bytes()[..cut]), None);
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, lines in "lazaret-envelope 1\n((id|sender|recipient|size|x) ?.{0,9}\n){0,5}") {
        let _ = (Envelope::parse(&bytes), Dropped::parse(lines.as_bytes()));
    }
}

#[test]
fn the_trailer_has_a_fixed_width() {
    for size in [0, u64::MAX] {
        assert_eq!(trailer(Content { size, digest: Digest([255; 32]) }).len(), TRAILER_BYTES);
    }
}

/// A good envelope as lines; tests replace one.
fn lines() -> Vec<String> {
    let digest = Digest([7; 32]);
    format!(
        "lazaret-envelope 1\nid 01KAN3X0000000000000000000\narrived 2026-11-22T08:00:00Z\nprotocol esmtp\n\
         client 127.0.0.1:1\nsender <a@b> BODY=8BITMIME\nrecipient <c@d>\nsize 12\ndigest {digest}\nend"
    )
    .lines()
    .map(str::to_owned)
    .collect()
}

#[test]
fn every_malformed_line_is_named_with_its_reason() {
    for (line, text, why) in [
        (
            1,
            "lazaret-envelope 2",
            "expected the heading \"lazaret-envelope 1\", found \"lazaret-envelope 2\"",
        ),
        (2, "id 7", "field `id`: \"7\" is no message id"),
        (3, "arrived noon", "field `arrived`: "),
        (4, "protocol fax", "field `protocol`: expected smtp, esmtp, lmtp, submit, drop or notice"),
        (5, "client \u{1b}[2J", "a control character (U+001B) is not allowed here"),
        (5, "mother a", "unknown field \"mother\""),
        (6, "sender a@b", "field `sender`: expected an address in angle brackets"),
        (6, "sender <a@b> BODY=X", "field `sender`: bad value for parameter BODY"),
        (6, "sender <a@b> NOTIFY=NEVER", "field `sender`: unknown parameter \"NOTIFY\""),
        (7, "recipient <>", "field `recipient`: a recipient can't be empty"),
        (7, "recipient <c\0@d>", "a control character (U+0000)"),
        (7, "sender <x@y>", "field `sender` is given twice"),
        (8, "size many", "field `size`: "),
        (9, "digest 12", "field `digest`: expected `blake3:`"),
    ] {
        let mut lines = lines();
        lines[line - 1] = text.to_owned();
        let error = Envelope::parse((lines.join("\n") + "\n").as_bytes()).unwrap_err();
        assert_eq!(error.line, line, "{text}: {error}");
        assert!(error.to_string().contains(why), "{text}: {error}");
    }
}

#[test]
fn every_missing_line_is_named() {
    for (line, key) in [
        (2, "id"),
        (3, "arrived"),
        (4, "protocol"),
        (6, "sender"),
        (7, "recipient"),
        (8, "size"),
        (9, "digest"),
    ] {
        let mut lines = lines();
        lines.remove(line - 1);
        let error = Envelope::parse((lines.join("\n") + "\n").as_bytes()).unwrap_err();
        assert_eq!(error.reason, Reason::Missing(key));
    }
    let mut unended = lines();
    unended.pop();
    let error = Envelope::parse((unended.join("\n") + "\n").as_bytes()).unwrap_err();
    assert_eq!(error, TextError { line: 10, reason: Reason::NoEnd });
    let long = format!("lazaret-envelope 1\nhelo {}\n", "x".repeat(9000));
    assert_eq!(Envelope::parse(long.as_bytes()).unwrap_err(), TextError { line: 2, reason: Reason::TooLong });
    assert_eq!(Envelope::parse(b"lazaret-envelope 1\n\xff\n").unwrap_err().reason, Reason::NotUtf8);
}

#[test]
fn a_dropped_file_needs_little() {
    let text = "lazaret-envelope 1\nsender <>\nrecipient <c@d>\nend\nSubject: x\r\n";
    let (dropped, offset) = Dropped::parse(text.as_bytes()).unwrap();
    assert_eq!((offset, dropped.size, dropped.digest), (text.len() - 12, None, None));
    assert_eq!(Dropped::parse(dropped.to_text().as_bytes()).unwrap().0, dropped);
}
