//! Submitting, with a real spool below.

use std::io::Cursor;

use lazaret_envelope::Envelope;
use lazaret_spool::Dir;
use rustix::io::Errno;

use super::*;
use crate::testing::{Place, contents, fill, names, unfill};

fn submission() -> Submission {
    Submission {
        sender: Some("a@example.org".into()),
        full_name: None,
        recipients: vec!["b@example.org".into()],
        from_header: false,
        relayed: true,
        hostname: "host.example".into(),
        size_max: 1 << 20,
        reserve: Reserve { bytes: 0, inodes: 0 },
        mail: MailParams::default(),
        rcpt: RcptParams::default(),
        ignore_dots: false,
    }
}

/// Hands out one byte at a time.
struct Bytewise<'a>(&'a [u8]);

impl Read for Bytewise<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(1);
        self.0.read(&mut buffer[..length])
    }
}

fn envelope(place: &Place) -> Envelope {
    let name = names(&place.spool, Dir::Incoming).pop().expect("a message");
    Envelope::parse(&std::fs::read(place.spool.path(Dir::Incoming).join(name)).unwrap()).unwrap().0
}

#[test]
fn input_becomes_canonical_content() {
    for (input, content, with_i) in [
        ("", "", ""),
        ("a\nb\n", "a\r\nb\r\n", "a\r\nb\r\n"),
        ("a\r\nb\r\n", "a\r\nb\r\n", "a\r\nb\r\n"),
        ("a\rb\r\r\nc\r", "a b \r\nc ", "a b \r\nc "),
        ("a\n\nno end", "a\r\n\r\nno end", "a\r\n\r\nno end"),
        ("nul\0\u{e9}\n", "nul\0\u{e9}\r\n", "nul\0\u{e9}\r\n"),
        ("a\n.\nb\n", "a\r\n", "a\r\n.\r\nb\r\n"),
        ("a\r\n.\r\nb\r\n", "a\r\n", "a\r\n.\r\nb\r\n"),
        ("a\n.", "a\r\n", "a\r\n."),
        (".\nb\n", "", ".\r\nb\r\n"),
        ("..\n.x\n. \n", "..\r\n.x\r\n. \r\n", "..\r\n.x\r\n. \r\n"),
        (".\rx\n.\r", ". x\r\n. ", ". x\r\n. "),
        ("a.\nb.\n", "a.\r\nb.\r\n", "a.\r\nb.\r\n"),
    ] {
        for (ignore_dots, content) in [(false, content), (true, with_i)] {
            let place = Place::new();
            let submission = Submission { ignore_dots, ..submission() };
            submit(&place.spool, &submission, input.as_bytes()).unwrap();
            submit(&place.spool, &submission, Bytewise(input.as_bytes())).unwrap();
            assert_eq!(contents(&place.spool), [content.as_bytes(); 2], "{input:?} -i {ignore_dots}");
        }
    }
}

#[test]
fn the_envelope_says_who_and_to_whom() {
    let place = Place::new();
    let recipients = ["root", "<c@example.net>", "postmaster", "d\u{fc}@example.net"].map(str::to_owned);
    let mut submission = Submission { recipients: recipients.to_vec(), ..submission() };
    submission.mail.set("RET", Some("HDRS")).unwrap();
    submission.rcpt.set("NOTIFY", Some("NEVER")).unwrap();
    let queued = submit(&place.spool, &submission, &b"x\n"[..]).unwrap();
    let envelope = envelope(&place);
    assert_eq!(queued.id, Some(envelope.id));
    assert_eq!(envelope.origin.protocol, Protocol::Submit);
    assert!(envelope.origin.client.unwrap().as_str().starts_with("uid "));
    assert_eq!(
        envelope.transaction.to_string(),
        "sender <a@example.org> SMTPUTF8 RET=HDRS\nrecipient <root@host.example> NOTIFY=NEVER\n\
         recipient <c@example.net> NOTIFY=NEVER\nrecipient <postmaster@host.example> NOTIFY=NEVER\n\
         recipient <dü@example.net> NOTIFY=NEVER\n"
    );
}

#[test]
fn the_sender_may_be_null_or_left_out() {
    for sender in ["", "<>"] {
        let place = Place::new();
        let submission = Submission { sender: Some(sender.into()), ..submission() };
        submit(&place.spool, &submission, &b""[..]).unwrap();
        assert_eq!(envelope(&place).transaction.sender.path, ReversePath(None));
    }
    let place = Place::new();
    submit(&place.spool, &Submission { sender: None, ..submission() }, &b""[..]).unwrap();
    assert!(envelope(&place).transaction.sender.path.as_str().ends_with("@host.example"));
}

/// Submits what must not be accepted; returns the exit status and the text.
fn refused(place: &Place, submission: &Submission, input: impl Read) -> (u8, String) {
    let error = submit(&place.spool, submission, input).unwrap_err();
    for dir in [Dir::Tmp, Dir::Incoming, Dir::Drop] {
        assert_eq!(names(&place.spool, dir), [""; 0], "{error}");
    }
    (error.exit_code(), error.to_string())
}

#[test]
fn bad_addresses_are_refused_before_anything_is_read() {
    let place = Place::new();
    let unread = || io::empty().chain(Failing);
    for (recipient, text) in [
        ("a\r\nRCPT@b", "bad recipient address \"a\\r\\nRCPT@b\": a control character"),
        ("a\0@b", "bad recipient address \"a\\u{0}@b\": a control character"),
        ("", "bad recipient address \"\": the address is empty"),
        ("<>", "bad recipient address \"<>\": the address is empty"),
        ("a b@c", "bad recipient address \"a b@c\": the local part"),
        ("a@", "bad recipient address \"a@\": the domain"),
    ] {
        let recipients = vec!["fine@example.org".into(), recipient.into()];
        let (code, shown) = refused(&place, &Submission { recipients, ..submission() }, unread());
        assert!(code == 65 && shown.starts_with(text), "{code} {shown}");
    }
    let sender = Submission { sender: Some("a b".into()), ..submission() };
    assert_eq!(refused(&place, &sender, unread()).0, 65);
    let nobody = Submission { recipients: Vec::new(), ..submission() };
    assert_eq!(refused(&place, &nobody, unread()).0, 64);
}

/// Standard input that fails.
struct Failing;

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(Errno::IO.into())
    }
}

#[test]
fn trouble_of_our_own_is_always_75() {
    let place = Place::new();
    for (what, error) in [
        ("create tmp", Errno::NOSPC),
        ("append", Errno::DQUOT),
        ("append", Errno::IO),
        ("sync_file", Errno::IO),
        ("rename incoming", Errno::ROFS),
        ("room", Errno::IO),
        ("create tmp", Errno::MFILE),
        ("create", Errno::ACCESS),
    ] {
        place.faults.fail(what, error);
        assert_eq!(refused(&place, &submission(), &b"x\n"[..]).0, 75, "{what} {error}");
    }
    place.faults.mend();
    fill(&place.spool);
    let (code, text) = refused(&place, &submission(), &b"x\n"[..]);
    assert!(code == 75 && text.starts_with("too many messages are queued in "), "{code} {text}");
    unfill(&place.spool);
    assert_eq!(refused(&place, &submission(), Failing).0, 75);
    assert_eq!(refused(&place, &submission(), Cursor::new("x\n").chain(Failing)).0, 75);
    let missing = Spool::open(&place.folder.path().join("none")).unwrap_err();
    let missing = SubmitError::from(missing);
    assert_eq!(missing.exit_code(), 75);
    assert!(missing.to_string().starts_with("there is no spool at "));
    assert_eq!(SubmitError::NoRoom("spool".into()).exit_code(), 75);
    assert_eq!(SubmitError::NoSender(7).exit_code(), 64);
}

#[test]
fn a_message_of_the_largest_size_fits_and_one_byte_more_does_not() {
    let place = Place::new();
    let submission = Submission { size_max: 100_000, ..submission() };
    let (code, text) = refused(&place, &submission, &[b'x'; 100_001][..]);
    assert_eq!((code, text.as_str()), (69, "message too large: at most 100000 bytes"));
    assert_eq!(refused(&place, &submission, io::repeat(b'\n')).0, 69);
    submit(&place.spool, &submission, &[b'x'; 100_000][..]).unwrap();
    assert_eq!(contents(&place.spool), [[b'x'; 100_000]]);
}

#[test]
fn who_may_not_write_to_tmp_uses_the_drop_box() {
    let place = Place::new();
    place.faults.fail("create tmp", Errno::ACCESS);
    let queued = submit(&place.spool, &submission(), &b"a\n.b\n"[..]).unwrap();
    assert_eq!(queued, Queued { id: None });
    let dropped = names(&place.spool, Dir::Drop);
    assert_eq!(dropped.len(), 1);
    let file = std::fs::read_to_string(place.spool.path(Dir::Drop).join(&dropped[0])).unwrap();
    assert!(file.ends_with("recipient <b@example.org>\nend\na\r\n.b\r\n"), "{file}");
}

/// What `-t` makes of a message: its recipients, and the content.
fn by_header(recipients: &[&str], input: &str) -> (String, Vec<Vec<u8>>) {
    let place = Place::new();
    let recipients = recipients.iter().map(|&text| text.to_owned()).collect();
    let submission = Submission { from_header: true, recipients, ..submission() };
    submit(&place.spool, &submission, input.as_bytes()).unwrap();
    let recipients = envelope(&place).transaction.recipients;
    let shown: Vec<&str> = recipients.iter().map(|recipient| recipient.address.as_str()).collect();
    let content = contents(&place.spool);
    submit(&place.spool, &submission, Bytewise(input.as_bytes())).unwrap();
    assert_eq!(contents(&place.spool)[1], content[0], "{input:?}");
    (shown.join(" "), content)
}

#[test]
fn recipients_are_taken_from_the_header() {
    for (given, input, recipients, content) in [
        (&[][..], "To: a@b, c@d\nSubject: x\n\nTo: no@body\n", "a@b c@d", None),
        (&["x@y"], "To: a@b\nCC : a@b,\n\tRoot <root>\n (c)\n\nx", "x@y a@b root@host.example", None),
        (&[], "To: a@b\nBcc: c@d,\n e@f\nX: y\n\nBcc: z\n", "a@b c@d e@f", Some("To: a@b\nX: y\n\nBcc: z\n")),
        (&[], "bcc:a@b\n\nx\n", "a@b", Some("\nx\n")),
        (
            &[],
            "To: no@body\nResent-To: a@b\nResent-Bcc: c@d\nBcc: no@body\nTo: no@body\n\nx\n",
            "a@b c@d",
            Some("To: no@body\nResent-To: a@b\nTo: no@body\n\nx\n"),
        ),
        (&["x@y"], "Resent-Date: now\nTo: no@body\nResent-cc: a@b\n\n", "x@y a@b", None),
        (&[], "From me now\nTo: a@b\n\nx\n", "a@b", Some("To: a@b\n\nx\n")),
        (&[], "To: a@b\nno field\nCc: no@body\n", "a@b", None),
        (&[], "To: a@b", "a@b", None),
        (&[], "Cc: a@b\n.\nTo: no@body\n", "a@b", Some("Cc: a@b\n")),
        (
            &[],
            "To: undisclosed-recipients:;\nBcc: d\u{fc} <d\u{fc}@b>\n\n",
            "dü@b",
            Some("To: undisclosed-recipients:;\n\n"),
        ),
    ] {
        let content = content.unwrap_or(input).replace('\n', "\r\n");
        assert_eq!(by_header(given, input), (recipients.to_owned(), vec![content.into_bytes()]), "{input:?}");
    }
}

#[test]
fn a_header_that_names_nobody_is_refused() {
    let place = Place::new();
    let submission = Submission { from_header: true, recipients: Vec::new(), ..submission() };
    for (input, text) in [
        ("Subject: x\n\nTo: a@b\n", "no recipient: the header names none"),
        ("", "no recipient: the header names none"),
        ("To: a@b, John Doe\n\n", "bad address in the header field to: words that are no address"),
        ("To: a@b\nResent-Cc: \"x\n\n", "bad address in the header field resent-cc: a quote"),
        ("To: a@b, c@d..\n\n", "bad recipient address \"c@d..\": the domain"),
    ] {
        let (code, shown) = refused(&place, &submission, input.as_bytes());
        assert!(code == 65 && shown.starts_with(text), "{code} {shown}");
    }
    let raw = refused(&place, &submission, &b"To: \xff@b\n\n"[..]);
    assert_eq!(raw.0, 65, "{}", raw.1);
    // It has no end: what is read of it is bounded.
    let (code, shown) = refused(&place, &submission, Cursor::new("X: ").chain(io::repeat(b'x')));
    assert!(code == 65 && shown.starts_with("the header is too long"), "{code} {shown}");
}

/// What is made of `input` that is not said to come from an MTA, and the header
/// that was put in front of it.
fn typed(input: &str) -> (String, String) {
    let place = Place::new();
    let submission =
        Submission { relayed: false, full_name: Some("Al".into()), size_max: 4 << 20, ..submission() };
    submit(&place.spool, &submission, input.as_bytes()).unwrap();
    let content = String::from_utf8(contents(&place.spool).remove(0)).unwrap().replace("\r\n", "\n");
    let ours = |line: &&str| line.starts_with("Date: ") || line.starts_with("Message-ID: <");
    let is_ours = |line: &&str| *line == "From: \"Al\" <a@example.org>\n" || ours(line);
    let added: String = content.split_inclusive('\n').take_while(is_ours).collect();
    (added.clone(), content[added.len()..].to_owned())
}

#[test]
fn what_a_person_types_becomes_a_message() {
    for (input, rest) in [
        ("hello world\n", "\nhello world\n"),
        ("hello", "\nhello"),
        ("", ""),
        ("\nhello\n", "\nhello\n"),
        ("Subject: x\nnot a header\n\nhi\n", "Subject: x\n\nnot a header\n\nhi\n"),
        ("Subject: x\n y\n\nhi: ho\n", "Subject: x\n y\n\nhi: ho\n"),
        ("From me Mon Jan 1\nSubject: x\n\nhi\n", "Subject: x\n\nhi\n"),
        ("From me Mon Jan 1\nhi\n", "\nhi\n"),
        (" indented: text\n", "\n indented: text\n"),
        ("Subject: x", "Subject: x"),
    ] {
        let (added, found) = typed(input);
        let names: Vec<&str> = added.lines().filter_map(|line| Some(line.split_once(':')?.0)).collect();
        assert_eq!((&names[..], found.as_str()), (&["From", "Date", "Message-ID"][..], rest), "{input:?}");
    }
    let (added, rest) = typed("FROM: b@c\nMessage-Id: <1@c>\n\nx\n");
    assert!(added.starts_with("Date: ") && added.lines().count() == 1, "{added}");
    assert_eq!(rest, "FROM: b@c\nMessage-Id: <1@c>\n\nx\n");
}

#[test]
fn what_is_a_message_stays_as_it_is() {
    let long = format!("X: {}\nhello\n", "x".repeat(HEADER_BYTES_MAX - 100));
    let endless = "X: y\n".repeat(HEADER_BYTES_MAX / 5 + 1) + "hello\n";
    for input in [
        "From: b@c\nDate: now\n\nhi\n",
        "From: b@c\nDate: now\nBcc: d@e\n",
        "Received: by here\n\nhi\n",
        "Subject: x\nReceived: by here\nno field\n",
        &endless,
    ] {
        let (added, rest) = typed(input);
        assert!((added.as_str(), rest.as_str()) == ("", input), "{:?}", &rest[..rest.len().min(200)]);
    }
    assert_eq!(typed("From me\nReceived: by here\nno field\n").1, "Received: by here\nno field\n");
    let (added, rest) = typed(&long);
    assert!(added.lines().count() == 3 && rest == long.replace("hello", "\nhello"), "{added}");
    // A line without end is no header, however long it is.
    let line = "x".repeat(2 * HEADER_BYTES_MAX);
    assert!(typed(&line).1 == format!("\n{line}"));
}

#[test]
fn recipients_may_be_written_as_in_a_field() {
    let place = Place::new();
    let recipients = ["a@b.c,d@e.f", "John (x) <g@h>, root", "\"i,j\"@k"].map(str::to_owned).to_vec();
    let sender = Some("Alma <a@b>".to_owned());
    submit(&place.spool, &Submission { sender, recipients, ..submission() }, &b"x"[..]).unwrap();
    let transaction = envelope(&place).transaction;
    let shown: Vec<&str> = transaction.recipients.iter().map(|to| to.address.as_str()).collect();
    assert_eq!(shown, ["a@b.c", "d@e.f", "g@h", "root@host.example", "\"i,j\"@k"]);
    assert_eq!(transaction.sender.path.as_str(), "a@b");
    for bad in ["a@b, John Doe", "a@b, c@", "<a\r\nb@c>", ",", "\"open <a@b>"] {
        let submission = Submission { recipients: vec![bad.into()], ..submission() };
        assert_eq!(refused(&Place::new(), &submission, &b""[..]).0, 65, "{bad:?}");
    }
}

/// What a server on standard input and output answers, and what it took.
fn conversation(place: &Place, input: &str) -> String {
    let mut output = Vec::new();
    converse(&place.spool, &submission(), Bytewise(input.as_bytes()), &mut output).unwrap();
    String::from_utf8(output).unwrap()
}

const SESSION: &str = "EHLO me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n..x\ny\r\n.\r\nQUIT\r\n";

#[test]
fn smtp_is_spoken_on_standard_input() {
    let place = Place::new();
    let said = conversation(&place, SESSION);
    assert!(said.starts_with("220 host.example ESMTP") && said.contains("250 2.0.0 queued as "), "{said}");
    assert!(said.ends_with("221 2.0.0 bye\r\n"), "{said}");
    assert_eq!(contents(&place.spool), [b".x\r\ny\r\n"]);
    let envelope = envelope(&place);
    assert_eq!(envelope.transaction.to_string(), "sender <a@b>\nrecipient <c@d>\n");
    assert!(envelope.origin.client.unwrap().as_str().starts_with("uid "));
    // A client that goes away in the middle leaves nothing.
    let place = Place::new();
    conversation(&place, SESSION.strip_suffix(".\r\nQUIT\r\n").unwrap());
    assert_eq!(contents(&place.spool), [[0; 0]; 0]);
}

#[test]
fn a_problem_of_our_own_is_a_4xx_on_standard_output() {
    let place = Place::new();
    for (what, error) in [("room", Errno::IO), ("create tmp", Errno::NOSPC), ("sync_file", Errno::IO)] {
        place.faults.fail(what, error);
        let said = conversation(&place, SESSION);
        assert!(said.contains("\r\n451 4.3.0 ") && !said.contains("queued"), "{what}: {said}");
        place.faults.mend();
    }
    fill(&place.spool);
    let said = conversation(&place, SESSION);
    assert!(said.contains("\r\n452 4.3.1 ") && !said.contains("queued as"), "{said}");
    assert_eq!(names(&place.spool, Dir::Incoming), [""; 0]);
}
