//! Tests of the facts. They must never drop a deep message.

use super::*;

/// One delimiter closes two forwarded messages: mail-parser 0.11.9 then answers
/// with a part that contains itself, and with the header of the inner message.
const SWAPPED: &[u8] = b"From: outer@example.org\r\n\
    Subject: outer\r\n\
    Content-Type: multipart/mixed; boundary=b\r\n\
    \r\n\
    --b\r\n\
    Content-Type: message/rfc822\r\n\
    \r\n\
    From: inner@example.org\r\n\
    Subject: inner\r\n\
    Content-Type: message/rfc822\r\n\
    \r\n\
    Subject: c\r\n\
    \r\n\
    text\r\n\
    --b\r\n\
    Content-Type: message/rfc822\r\n\
    \r\n\
    Subject: d\r\n\
    \r\n\
    text\r\n\
    --b--\r\n";

const DIGEST: &[u8] = b"Content-Type: Multipart/Digest; boundary=b\r\n\
    \r\n\
    --b\r\n\
    \r\n\
    Subject: first\r\n\
    Content-Type: multipart/mixed; boundary=c\r\n\
    \r\n\
    --c\r\n\
    \r\n\
    text\r\n\
    --c\r\n\
    Content-Type: IMAGE/png\r\n\
    Content-Type: application/x-msdownload\r\n\
    \r\n\
    png\r\n\
    --c--\r\n\
    --b--\r\n";

/// A forwarded message in a forwarded message, and so on.
fn chain(levels: usize) -> Vec<u8> {
    let mut content = b"Content-Type:message/rfc822\r\n\r\n".repeat(levels);
    content.extend_from_slice(b"Subject: end\r\n\r\nend\r\n");
    content
}

fn header_matches(content: &[u8], name: &str, glob: &str) -> bool {
    let (limits, mut observer) = (Limits::default(), |_| ());
    let mut facts = Facts::new(content, &limits, &mut observer);
    facts.header_matches(name, &Glob::new(glob).unwrap()).unwrap()
}

fn types(content: &[u8]) -> Vec<String> {
    parse_parts(content, &Limits::default()).unwrap().types.into_iter().collect()
}

fn names(content: &str) -> Vec<String> {
    parse_parts(content.as_bytes(), &Limits::default()).unwrap().names.into_iter().collect()
}

fn exceeded(content: &[u8], limits: &Limits) -> String {
    let mut observer = |_| ();
    let mut facts = Facts::new(content, limits, &mut observer);
    let error = facts.part_type_matches(&[]).unwrap_err();
    assert_eq!(error.cause(), Cause::Limit);
    error.to_string()
}

#[test]
fn fields_are_matched_on_their_readable_text() {
    let content = b"Received: one\r\nreceived: two\r\n\
        From: =?utf-8?q?J=C3=BCrgen?= <j@example.org>\r\n\
        Subject: =?iso-8859-1?b?R3L832U=?=\r\n and\r\n\tmore\r\n\
        X-Empty:\r\n\
        List-Id: The <list.example.org>\r\n\r\nX-Body: x\r\n";
    for (name, glob) in [
        ("RECEIVED", "one"),
        ("Received", "two"),
        ("from", "*jürgen <J@example.org>"),
        ("subject", "*Grüße and more"),
        ("x-empty", ""),
        ("list-id", "*<list.example.org>"),
    ] {
        assert!(header_matches(content, name, glob), "{name}: {glob}");
    }
    assert!(!header_matches(content, "received", "three"));
    assert!(!header_matches(content, "x-body", "*"));
    assert!(!header_matches(content, "x-not-there", "*"));
}

#[test]
fn the_charsets_of_east_asia_are_read() {
    for (charset, encoded, text) in [
        ("ISO-2022-JP", "GyRCQEE1YT1xGyhC", "請求書"),
        ("Shift_JIS", "kL+LgY+R", "請求書"),
        ("EUC-JP", "wMG14b3x", "請求書"),
        ("gb2312", "t6LGsQ==", "发票"),
        ("GB18030", "t6LGsQ==", "发票"),
        ("Big5", "tW+yvA==", "發票"),
        ("EUC-KR", "w7uxuLyt", "청구서"),
    ] {
        let word = format!("=?{charset}?B?{encoded}?=");
        let content = format!("Subject: 1 {word}\r\nContent-Type: a/b; name=\"{word}\"\r\n\r\n");
        assert!(header_matches(content.as_bytes(), "subject", &format!("1 {text}")), "{charset}");
        assert_eq!(names(&content), [text], "{charset}");
    }
}

#[test]
fn messages_of_nothing_but_header_or_body_are_read() {
    assert!(header_matches(b"A: b\r\nSubject: no line end", "subject", "no line end"));
    assert!(!header_matches(b"\r\nSubject: body\r\n", "subject", "*"));
    assert!(!header_matches(b"", "subject", "*"));
    for content in [b"".as_slice(), b"\r\nbody\r\n", b"no header\r\n", b"Content-Type: text\r\n\r\nx"] {
        assert_eq!(types(content), ["text/plain"]);
    }
    assert_eq!(types(b"Content-Type: text/HTML\r\n"), ["text/html"]);
}

#[test]
fn types_are_found_at_any_depth() {
    let expected = [
        "application/x-msdownload",
        "image/png",
        "message/rfc822",
        "multipart/digest",
        "multipart/mixed",
        "text/plain",
    ];
    assert_eq!(types(DIGEST), expected);
}

#[test]
fn file_names_are_found_however_they_are_written() {
    for (fields, expected) in [
        ("Content-Disposition: attachment; filename=a.exe", &["a.exe"][..]),
        ("content-disposition: ATTACHMENT; FILENAME=\"a \\\"b\\\".txt\"", &["a \"b\".txt"]),
        ("Content-Type: application/pdf; name=\"b.pdf\"", &["b.pdf"]),
        ("Content-Disposition: inline; filename*=utf-8'de'Gr%C3%BC%C3%9Fe.txt", &["Grüße.txt"]),
        ("Content-Disposition: inline; filename*=iso-8859-1''%FC.txt", &["ü.txt"]),
        ("Content-Disposition: inline; filename*1=b.exe;\r\n filename*0=\"a.\"", &["a.b.exe"]),
        ("Content-Disposition: inline; filename=\"=?utf-8?B?w7wuZXhl?=\"", &["ü.exe"]),
        ("Content-Disposition: inline; filename=\"a\r\n b.txt\"", &["a b.txt"]),
        // What one program shows and another one does not must not hide the other.
        ("Content-Disposition: inline; filename=a.txt; filename*=''b.exe", &["a.txt", "b.exe"]),
        (
            "Content-Type: a/b; name=c.txt\r\nContent-Disposition: inline; filename=d.exe\r\n\
             Content-Disposition: inline; filename=e.txt",
            &["c.txt", "d.exe", "e.txt"],
        ),
        ("Content-Type: a/b; filename=no.txt\r\nContent-Disposition: inline; name=no.txt", &[]),
        ("Content-Disposition: inline; filename=\"\"\r\nX-Name: name=a", &[]),
    ] {
        assert_eq!(names(&format!("{fields}\r\n\r\ntext\r\n")), expected, "{fields}");
    }
}

#[test]
fn file_names_are_found_at_any_depth() {
    let forwarded = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\
        Content-Disposition: attachment; filename=a.eml\r\nContent-Type: message/rfc822\r\n\r\n\
        Content-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\
        Content-Disposition: attachment; filename=b.exe\r\n\r\nx\r\n--c--\r\n--b--\r\n";
    assert_eq!(names(forwarded), ["a.eml", "b.exe"]);
    assert_eq!(names(""), [""; 0]);
}

#[test]
fn a_swapped_header_steers_nothing() {
    assert!(header_matches(SWAPPED, "from", "outer@example.org"));
    assert!(!header_matches(SWAPPED, "from", "inner@example.org"));
    let error = parse_parts(SWAPPED, &Limits::default()).unwrap_err();
    assert_eq!(error.cause(), Cause::Tree);
    assert!(error.to_string().starts_with("the part tree is malformed: the first part starts at byte "));
}

#[test]
fn a_part_that_contains_itself_is_found() {
    let part =
        |children: Vec<u32>| MessagePart { body: PartType::Multipart(children), ..MessagePart::default() };
    for (children, parent, child) in [(vec![0], 0, 0), (vec![1, 2], 0, 2)] {
        let message = Message { parts: vec![part(children), part(vec![])], ..Message::default() };
        let fault = TreeFault::Child { parent, child };
        assert_eq!(walk(&message, &Limits::default()), Err(FactsError::Tree(fault)));
    }
}

#[test]
fn every_limit_is_tested() {
    let limits = Limits::default();
    let content = b"To: a,b\r\nCc: c;\r\n\r\ntext";
    for (limits, message) in [
        (Limits { header_bytes: 16, ..limits.clone() }, "header_bytes: 17 exceeds the limit of 16"),
        (Limits { header_count: 1, ..limits.clone() }, "header_count: 2 exceeds the limit of 1"),
        (Limits { address_tokens: 1, ..limits.clone() }, "address_tokens: 2 exceeds the limit of 1"),
    ] {
        assert_eq!(exceeded(content, &limits), message);
    }
    let exact = Limits { parts: 6, nesting: 4, ..limits };
    assert!(parse_parts(DIGEST, &exact).is_ok());
    let parts = Limits { parts: 4, ..exact.clone() };
    assert_eq!(exceeded(DIGEST, &parts), "parts: 5 exceeds the limit of 4");
    let nesting = Limits { nesting: 3, ..exact };
    assert_eq!(exceeded(DIGEST, &nesting), "nesting: 4 exceeds the limit of 3");
}

#[test]
fn a_deep_message_is_forgotten_and_a_shallow_one_dropped() {
    // Dropping this one would take more stack than a test has.
    let error = parse_parts(&chain(100_000), &Limits { parts: usize::MAX, ..Limits::default() });
    let limit = Limits::default().nesting;
    assert_eq!(error, Err(FactsError::Limit { name: "nesting", found: limit + 1, limit }));
    assert_eq!(types(&chain(999)), ["message/rfc822", "text/plain"]);
}

#[test]
fn each_thing_is_parsed_once_and_only_if_asked_for() {
    let (limits, mut stages) = (Limits::default(), Vec::new());
    let mut observer = |stage| stages.push(stage);
    let mut facts = Facts::new(b"A: =?utf-8?q?x?=\r\nB: y\r\n", &limits, &mut observer);
    assert!(facts.header_matches("a", &Glob::new("*x").unwrap()).unwrap());
    let fields = &facts.header.as_ref().unwrap().as_ref().unwrap().parts[0].headers;
    assert_eq!(fields.iter().map(|field| field.value.is_empty()).collect::<Vec<_>>(), [false, true]);
    for _ in 0..2 {
        facts.part_type_matches(&[]).unwrap();
    }
    assert_eq!(stages, [Stage::Headers, Stage::Route, Stage::Parse, Stage::Route]);
}
