//! Notices, read back by another's parser.

use std::time::Duration;

use lazaret_envelope::{
    Content, Digest, Envelope, MailParams, MessageId, Origin, Protocol, RcptParams, Timestamp,
};
use mail_parser::decoders::base64::base64_decode;
use mail_parser::{MessageParser, MimeHeaders, PartType};
use proptest::prelude::*;

use super::*;

fn envelope(sender: &str, params: &str) -> Envelope {
    let path = ReversePath(sender.parse().ok());
    Envelope {
        id: MessageId::from_parts(1_795_334_400_000, 1),
        arrived: "2026-11-22T08:00:00Z".parse().unwrap(),
        origin: Origin { helo: Some(Line::escaped("mx.example.org")), ..Origin::from(Protocol::Esmtp) },
        transaction: Transaction {
            sender: Sender { path, params: MailParams::parse(params).unwrap() },
            recipients: Vec::new(),
        },
        content: Content { size: 0, digest: Digest([0; 32]) },
    }
}

fn time() -> Timestamp {
    "2026-11-22T09:00:00Z".parse().unwrap()
}

fn entry(recipient: &str, params: &str, action: Action, reply: &str) -> Entry {
    Entry {
        recipient: recipient.parse().unwrap(),
        params: RcptParams::parse(params).unwrap(),
        action,
        time: time(),
        reply: Line::escaped(reply),
    }
}

fn notice(envelope: &Envelope, entries: Vec<Entry>) -> Notice<'_> {
    let lifetime = Duration::from_secs(86_400);
    Notice { envelope, hostname: "hub.example", entries, more: 0, now: time(), lifetime }
}

/// The three parts: for people, for programs, what is returned; with their types.
fn parts(composed: &Composed) -> [(String, Vec<u8>); 3] {
    let message = MessageParser::default().parse(&composed.content).expect("is a message");
    let types = |part: &mail_parser::MessagePart<'_>| {
        let kind = part.content_type().expect("a part has a type");
        format!("{}/{}", kind.c_type, kind.c_subtype.as_deref().unwrap_or_default())
    };
    let bytes = |part: &mail_parser::MessagePart<'_>| {
        let raw = &composed.content[part.offset_body as usize..part.offset_end as usize];
        match (part.content_transfer_encoding(), types(part).as_str()) {
            (Some("base64"), _) => base64_decode(raw).expect("is base64"),
            (_, "text/plain") => part.contents().to_vec(),
            _ => raw.to_vec(),
        }
    };
    let PartType::Multipart(children) = &message.parts[0].body else { panic!("is a multipart") };
    assert_eq!(types(&message.parts[0]), "multipart/report");
    let children = children.iter().map(|&child| &message.parts[child as usize]);
    children.map(|part| (types(part), bytes(part))).collect::<Vec<_>>().try_into().unwrap()
}

fn header(text: &str) -> Returned {
    Returned::Header(text.as_bytes().to_vec())
}

#[test]
fn a_bounce_says_all_that_there_is_to_say() {
    let envelope = envelope("anna@example.org", "RET=HDRS ENVID=a+2Bb");
    let failed = entry(
        "c@d.example",
        "ORCPT=rfc822;carl+2Bx@d.example",
        Action::Failed,
        "127.0.0.1:25: 550 5.1.1 who?",
    );
    let expired = entry("e@f.example", "", Action::Expired, "mx.example:25: no banner for 30s");
    let notice = Notice { more: 7, ..notice(&envelope, vec![failed, expired]) };
    let composed = notice.compose(&header("Subject: x\r\nFrom: anna@example.org\r\n")).unwrap();
    let text = String::from_utf8(composed.content.clone()).unwrap();
    for field in [
        "From: Mail Delivery System <MAILER-DAEMON@hub.example>\r\n",
        "To: <anna@example.org>\r\n",
        "Auto-Submitted: auto-replied\r\n",
        "MIME-Version: 1.0\r\n",
        "Subject: Your message could not be delivered\r\n",
        "report-type=\"delivery-status\"",
    ] {
        assert!(text.contains(field), "{field} in {text}");
    }
    let [people, programs, returned] = parts(&composed);
    let words = String::from_utf8(people.1).unwrap();
    for part in ["<c@d.example>", "127.0.0.1 said: 550 5.1.1 who?", "<e@f.example>", "7 more recipients"] {
        assert!(words.replace("\r\n    ", " ").replace("\r\n", " ").contains(part), "{part} in {words}");
    }
    assert_eq!(programs.0, "message/delivery-status");
    assert_eq!(
        String::from_utf8(programs.1).unwrap(),
        "Reporting-MTA: dns; hub.example\r\nOriginal-Envelope-Id: a+b\r\n\
         Received-From-MTA: dns; mx.example.org\r\nArrival-Date: Sun, 22 Nov 2026 08:00:00 +0000\r\n\r\n\
         Original-Recipient: rfc822;carl+x@d.example\r\nFinal-Recipient: rfc822;c@d.example\r\n\
         Action: failed\r\nStatus: 5.1.1\r\nRemote-MTA: dns; [127.0.0.1]\r\n\
         Diagnostic-Code: smtp; 550 5.1.1 who?\r\nLast-Attempt-Date: Sun, 22 Nov 2026 09:00:00 +0000\r\n\r\n\
         Final-Recipient: rfc822;e@f.example\r\nAction: failed\r\nStatus: 4.4.7\r\n\
         Remote-MTA: dns; mx.example\r\nDiagnostic-Code: x-lazaret; no banner for 30s\r\n\
         Last-Attempt-Date: Sun, 22 Nov 2026 09:00:00 +0000\r\n"
    );
    assert_eq!(
        returned,
        ("text/rfc822-headers".into(), b"Subject: x\r\nFrom: anna@example.org\r\n".to_vec())
    );
    let Transaction { sender, recipients } = composed.transaction;
    assert_eq!((sender.path, sender.params), (ReversePath(None), MailParams::default()));
    assert_eq!(recipients[0].address.as_str(), "anna@example.org");
}

#[test]
fn delays_and_successes_say_so() {
    let envelope = envelope("a@b", "");
    let delayed = notice(&envelope, vec![entry("c@d", "", Action::Delayed, "h:1: 450 4.2.0 busy")]);
    let composed = delayed.compose(&header("")).unwrap();
    let [_, programs, _] = parts(&composed);
    let status = String::from_utf8(programs.1).unwrap();
    assert!(status.contains("Action: delayed\r\nStatus: 4.2.0\r\n"), "{status}");
    assert!(status.contains("Will-Retry-Until: Mon, 23 Nov 2026 08:00:00 +0000\r\n"), "{status}");
    let both = vec![
        entry("c@d", "", Action::Delivered, "/srv/mail/c/new/1"),
        entry("e@f", "", Action::Relayed, "h:1: 250 2.0.0 ok"),
    ];
    let composed = notice(&envelope, both).compose(&header("")).unwrap();
    let [_, programs, _] = parts(&composed);
    let status = String::from_utf8(programs.1).unwrap();
    assert!(status.contains("Action: delivered\r\nStatus: 2.0.0\r\n"), "{status}");
    assert!(status.contains("Action: relayed\r\nStatus: 2.0.0\r\n"), "{status}");
    assert!(!String::from_utf8_lossy(&composed.content).contains("/srv/"), "nobody's business");
}

/// Found by fuzzing: lenient readers take a boundary for one in the middle of a line.
#[test]
fn who_knows_id_and_time_can_not_end_a_part() {
    let envelope = envelope("a@b", "");
    let guessed = format!("--=_{}.{}", envelope.id, time().as_millisecond());
    let reply = format!("h:1: 550 5.1.1 x\r\n{guessed} y {guessed}");
    let returned = header(&format!("Subject: x\r\nX: y\r\n{guessed}--\r\n"));
    let composed =
        notice(&envelope, vec![entry("c@d", "", Action::Failed, &reply)]).compose(&returned).unwrap();
    let [_, programs, given_back] = parts(&composed);
    assert!(String::from_utf8(programs.1).unwrap().contains(&guessed));
    assert_eq!(given_back.1, returned.bytes());
}

#[test]
fn nobody_is_told_of_mail_from_nobody() {
    let envelope = envelope("", "");
    let notice = notice(&envelope, vec![entry("c@d", "", Action::Failed, "no")]);
    assert!(notice.compose(&header("")).is_none());
}

#[test]
fn an_international_message_gets_an_international_notice() {
    let envelope = envelope("jürgen@bücher.example", "SMTPUTF8 BODY=8BITMIME RET=FULL");
    let failed = || vec![entry("grün@d", "", Action::Failed, "h:1: 550 5.1.1 wér?")];
    let whole = Returned::Whole("Subject: ü\r\n\r\nü\r\n".as_bytes().to_vec());
    let composed = notice(&envelope, failed()).compose(&whole).unwrap();
    let params = &composed.transaction.sender.params;
    assert!(params.smtputf8 && params.body == Some(Body::EightBitMime));
    let [_, programs, returned] = parts(&composed);
    assert_eq!(programs.0, "message/global-delivery-status");
    let status = String::from_utf8(programs.1).unwrap();
    assert!(status.contains("Final-Recipient: utf-8;grün@d\r\n") && status.contains("wér?"), "{status}");
    assert_eq!(returned, ("message/global".into(), "Subject: ü\r\n\r\nü\r\n".as_bytes().to_vec()));
    let [_, _, returned] = parts(&notice(&envelope, failed()).compose(&header("Subject: ü\r\n")).unwrap());
    assert_eq!(returned, ("message/global-headers".into(), "Subject: ü\r\n".as_bytes().to_vec()));
}

#[test]
fn eight_bits_stay_where_they_may_and_are_encoded_where_not() {
    let envelope = envelope("a@b", "");
    let failed = || vec![entry("c@d", "", Action::Failed, "h:1: 550 nö")];
    let whole = Returned::Whole(b"Subject: \xe4\r\n\r\n\xff\r\n".to_vec());
    let composed = notice(&envelope, failed()).compose(&whole).unwrap();
    assert_eq!(composed.transaction.sender.params.to_string(), " BODY=8BITMIME");
    let [_, programs, returned] = parts(&composed);
    assert!(programs.1.is_ascii() && returned == ("message/rfc822".into(), whole.bytes().to_vec()));
    let odd = Returned::Header(b"Subject: \xe4\0\r\nX: \r\r\n".to_vec());
    let composed = notice(&envelope, failed()).compose(&odd).unwrap();
    assert!(composed.content.is_ascii());
    let encoded = composed.content.windows(6).any(|window| window == b"base64");
    assert!(encoded && composed.transaction.sender.params.body.is_none());
}

fn address() -> impl Strategy<Value = Address> {
    "[a-zA-Z0-9.+=_-]{1,40}@[a-z]{1,20}|\"[ -!#-\\[\\]-~]{0,300}\"@[a-z.]{1}[a-z]{1,9}|[a-zäöü]{900}@[a-zß]{1,30}"
        .prop_filter_map("an address", |text| text.parse().ok())
}

proptest! {
    #[test]
    fn whatever_was_said_the_notice_can_be_read(
        sender in address(),
        recipients in prop::collection::vec((address(), any::<Vec<u8>>(), "(127\\.0\\.0\\.1:25: )?[245]50[ -~é]{0,2000}"), 1..6),
        returned in prop_oneof![any::<Vec<u8>>(), "([A-Z-]{1,9}: [ -~]{0,2000}\r\n){0,5}".prop_map(String::into_bytes)],
        smtputf8: bool,
    ) {
        let mut envelope = envelope("a@b", if smtputf8 { "SMTPUTF8" } else { "" });
        envelope.transaction.sender.path = ReversePath(Some(sender));
        let mut entries = Vec::new();
        for (recipient, bytes, text) in recipients {
            let reply = if bytes.len() % 2 == 0 { Line::escaped(bytes) } else { Line::escaped(text) };
            let params = RcptParams::default();
            entries.push(Entry { recipient, params, action: Action::Failed, time: time(), reply });
        }
        let named = entries.len();
        let notice = notice(&envelope, entries);
        let composed = notice.compose(&Returned::Header(returned.clone())).unwrap();
        for line in composed.content.split(|&byte| byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            prop_assert!(line.len() <= 998 && !line.contains(&b'\r') && !line.contains(&0));
        }
        prop_assert!(composed.content.is_ascii() || composed.transaction.sender.params.body.is_some());
        let [people, programs, given_back] = parts(&composed);
        prop_assert_eq!(people.0, "text/plain");
        prop_assert!(notice.is_international() || programs.1.is_ascii());
        let status = String::from_utf8(programs.1).unwrap();
        prop_assert_eq!(status.matches("\r\nAction: failed\r\n").count(), named);
        prop_assert_eq!(status.split("\r\n\r\n").count(), named + 1, "a group each");
        prop_assert_eq!(given_back.1, returned);
    }
}
