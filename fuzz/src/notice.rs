//! Notices to senders: what is built parses back, with one group of fields for each
//! recipient, and nothing that a peer or a message said becomes a line, a field or
//! a part of its own.
//!
//! The input says what is told of whom, and what is returned. A plain reader, which
//! knows nothing of how notices are built, takes them apart; mail-parser must find
//! the same parts. What is told must never depend on how long a word is.

mod reader;

use std::time::Duration;

use arbitrary::{Arbitrary, Result, Unstructured};
use lazaret_delivery::notice::{Action, Composed, Entry, Notice, Returned};
use lazaret_envelope::{Address, Body, Envelope, Line, Recipient, ReversePath, Timestamp};
use mail_parser::{MessageParser, MimeHeaders};
use reader::{Field, Part};

use crate::{cost, words};

/// Longest line of a message, in bytes, without CRLF (RFC 5321 section 4.5.3.1.6).
const LINE_BYTES_MAX: usize = 998;

/// Who may have said something.
const SPEAKERS: [&str; 7] = [
    "",
    "127.0.0.1:25: ",
    "[2001:db8::1]:25: ",
    "mx.b.example:587: ",
    "unix:/run/lmtp: ",
    "mx:x: ",
    "a b:25: ",
];

/// What may stand before the text of a reply.
const CODES: [&str; 7] = ["", "550 5.1.1 ", "450 4.2.0 ", "250 2.0.0 ", "550-", "5.4.6 ", "550 5.x.1 "];

/// Fields that a group about a recipient may have, those that it must have first.
const FIELDS: [&str; 8] = [
    "Final-Recipient",
    "Action",
    "Status",
    "Last-Attempt-Date",
    "Original-Recipient",
    "Remote-MTA",
    "Diagnostic-Code",
    "Will-Retry-Until",
];

/// How many of them a group must have.
const FIELDS_NEEDED: usize = 4;

/// The latest second at which anything is told: in the year 2200.
const NOW_SECOND_MAX: i64 = 7_258_118_400;

/// Looks at one input.
pub fn check(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let Ok(envelope) = words::envelope(&mut u) else { return };
    let Ok(notice) = notice(&mut u, &envelope) else { return };
    let whole = bool::arbitrary(&mut u).unwrap_or(false);
    let content = u.take_rest();
    let returned = Returned::of(content, whole);
    cut_off(content, whole, &returned);
    let Some(composed) = notice.compose(&returned) else {
        return assert_eq!(envelope.transaction.sender.path, ReversePath(None), "all others are told");
    };
    cost::assert_linear(composed.content.len() + data.len(), || drop(notice.compose(&returned)));
    sent(&notice, &composed);
    let [people, programs, given_back] = parts(&composed);
    people_can_read(&notice, &people);
    programs_can_read(&notice, &programs);
    let international = envelope.transaction.sender.params.smtputf8;
    let kind = match (&returned, international) {
        (Returned::Whole(_), false) => "message/rfc822",
        (Returned::Whole(_), true) => "message/global",
        (Returned::Header(_), false) => "text/rfc822-headers",
        (Returned::Header(_), true) => "message/global-headers",
    };
    assert_eq!((given_back.kind.as_str(), given_back.decoded()), (kind, returned.bytes().to_vec()));
    // RFC 2046 section 5.2.1: no other encodings are permitted.
    assert!(!matches!(returned, Returned::Whole(_)) || matches!(&*given_back.encoding, "7bit" | "8bit"));
}

/// What is returned is the message, or its header up to the first empty line.
fn cut_off(content: &[u8], whole: bool, returned: &Returned) {
    match returned {
        Returned::Whole(bytes) => assert!(whole && bytes == content),
        Returned::Header(bytes) => {
            assert!(content.starts_with(bytes));
            let empty = |at: &usize| {
                content[*at..].starts_with(b"\r\n") && (*at == 0 || content[..*at].ends_with(b"\r\n"))
            };
            match (0..content.len()).find(empty) {
                Some(end) => assert_eq!(bytes.len(), end, "the header, and nothing of the body"),
                None => {
                    let rest = &content[bytes.len()..];
                    let ended = rest.windows(2).any(|pair| pair == b"\r\n");
                    assert!(!ended, "only a line that has no end is left out");
                }
            }
        }
    }
}

/// What holds of any message that goes out by SMTP, and of one that is a notice.
fn sent(notice: &Notice<'_>, composed: &Composed) {
    let Composed { transaction, content } = composed;
    for line in content.split_inclusive(|&byte| byte == b'\n') {
        let text = line.strip_suffix(b"\r\n").expect("every line ends in CRLF");
        assert!(text.len() <= LINE_BYTES_MAX && !text.iter().any(|byte| matches!(byte, 0 | b'\r')));
    }
    assert_eq!(transaction.sender.path, ReversePath(None), "nobody answers it");
    let [recipient] = &transaction.recipients[..] else { panic!("there is one sender to tell") };
    assert_eq!(Some(&recipient.address), notice.addressee());
    let params = &transaction.sender.params;
    assert_eq!(params.body == Some(Body::EightBitMime), !content.is_ascii());
    let eight_bits = notice.envelope.transaction.sender.params.smtputf8
        || notice.addressee().is_some_and(Address::is_international)
        || notice.entries.iter().any(|entry| entry.recipient.is_international());
    assert_eq!(params.smtputf8, eight_bits);
    let fields = reader::header(content).0;
    let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
    let expected =
        ["From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"];
    assert_eq!(names, expected, "one of each, and no other");
    assert!(fields.iter().all(|field| params.smtputf8 || field.value.is_ascii()));
    let to = &fields[1].value;
    assert!(to == "undisclosed-recipients:;" || *to == format!("<{}>", recipient.address), "{to}");
}

fn parts(composed: &Composed) -> [Part; 3] {
    let (fields, body) = reader::header(&composed.content);
    let kind = &fields.last().expect("there is a Content-Type").value;
    assert!(kind.starts_with("multipart/report;"), "{kind}");
    let report = if composed.transaction.sender.params.smtputf8 {
        "global-delivery-status"
    } else {
        "delivery-status"
    };
    assert_eq!(reader::attribute(kind, "report-type"), report);
    let parts = reader::multipart(body, &reader::attribute(kind, "boundary"));
    let message = MessageParser::default().parse(&composed.content).expect("another program reads it");
    let kinds = |part: &mail_parser::MessagePart<'_>| {
        let shown = || panic!("a part without a type: {}", String::from_utf8_lossy(&composed.content));
        let kind = part.content_type().unwrap_or_else(shown);
        format!("{}/{}", kind.c_type, kind.c_subtype.as_deref().unwrap_or_default())
    };
    let children = message.parts[0].sub_parts().expect("it is a multipart");
    let theirs: Vec<String> = children.iter().map(|&at| kinds(&message.parts[at as usize])).collect();
    let ours: Vec<&str> = parts.iter().map(|part| part.kind.as_str()).collect();
    assert_eq!(ours, theirs, "another program finds the same parts");
    assert_eq!(ours[..2], ["text/plain".to_owned(), format!("message/{report}")]);
    parts.try_into().expect("three parts")
}

fn people_can_read(notice: &Notice<'_>, part: &Part) {
    let text = String::from_utf8(part.decoded()).expect("it is text");
    let text = squeezed(&text);
    for entry in &notice.entries {
        assert!(text.contains(&squeezed(&format!("<{}>", entry.recipient))), "{} in {text}", entry.recipient);
    }
    assert!(notice.more == 0 || text.contains(&format!("{}morerecipients", notice.more)));
}

fn programs_can_read(notice: &Notice<'_>, part: &Part) {
    assert!(matches!(&*part.encoding, "7bit" | "8bit"), "RFC 3464 section 2.1 permits no other");
    let international = notice.is_international();
    assert!(international || part.bytes.is_ascii());
    let groups = reader::groups(&part.bytes);
    assert_eq!(groups.len(), 1 + notice.entries.len(), "one for the message, one for each recipient");
    for (entry, group) in notice.entries.iter().zip(&groups[1..]) {
        recipient(entry, group);
    }
}

fn recipient(entry: &Entry, group: &[Field]) {
    let value = |name: &str| {
        let mut named = group.iter().filter(|field| field.name == name);
        let value = named.next().map(|field| field.value.as_str());
        assert!(named.next().is_none(), "one {name} at most: {group:?}");
        value
    };
    assert!(group.iter().all(|field| FIELDS.contains(&field.name.as_str())), "{group:?}");
    assert!(FIELDS[..FIELDS_NEEDED].iter().all(|name| value(name).is_some()), "{group:?}");
    let kind = if entry.recipient.is_international() { "utf-8" } else { "rfc822" };
    let address = value("Final-Recipient").map(squeezed);
    assert_eq!(address, Some(squeezed(&format!("{kind};{}", entry.recipient))));
    let (action, class) = match entry.action {
        Action::Failed => ("failed", '5'),
        Action::Expired => ("failed", '4'),
        Action::Delayed => ("delayed", '4'),
        Action::Delivered => ("delivered", '2'),
        Action::Relayed => ("relayed", '2'),
    };
    assert_eq!(value("Action"), Some(action));
    let status = value("Status").expect("it is needed");
    let numbers: Vec<&str> = status.split('.').collect();
    let fine = |number: &&str| (1..=3).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
    assert!(
        status.starts_with(class) && numbers[0].len() == 1 && numbers.len() == 3 && numbers.iter().all(fine),
        "{status}"
    );
    assert_eq!(value("Original-Recipient").is_some(), entry.params.orcpt.is_some());
    assert_eq!(
        value("Diagnostic-Code").is_none(),
        entry.action == Action::Delivered,
        "it may tell of a path"
    );
}

/// Without blanks: where a long word is broken, and where a line, is all the same.
fn squeezed(text: &str) -> String {
    text.split_whitespace().collect()
}

fn notice<'a>(u: &mut Unstructured<'_>, envelope: &'a Envelope) -> Result<Notice<'a>> {
    Ok(Notice {
        envelope,
        hostname: u.choose(&["hub.example", "localhost", "a-1.b-2.c.example"])?,
        entries: (0..u.int_in_range(1..=4)?).map(|_| entry(u)).collect::<Result<_>>()?,
        more: if u.ratio(1, 4)? { u64::arbitrary(u)? } else { 0 },
        // By the clock of a machine in this century or the next two.
        now: Timestamp::from_second(u.int_in_range(0..=NOW_SECOND_MAX)?).expect("a time"),
        lifetime: Duration::from_secs(u32::arbitrary(u)?.into()),
    })
}

fn entry(u: &mut Unstructured<'_>) -> Result<Entry> {
    const ACTIONS: [Action; 5] =
        [Action::Failed, Action::Expired, Action::Delayed, Action::Delivered, Action::Relayed];
    let Recipient { address, params } = words::recipient(u)?;
    let said = [*u.choose(&SPEAKERS)?, *u.choose(&CODES)?, words::line(u)?.as_str()].concat();
    let (action, time) = (*u.choose(&ACTIONS)?, words::time(u)?);
    Ok(Entry { recipient: address, params, action, time, reply: Line::escaped(said) })
}
