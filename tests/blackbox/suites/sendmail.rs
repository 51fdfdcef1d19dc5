//! The program under the names of sendmail's family, as other programs call it.
//!
//! No daemon runs, unless a case is about one: what a call leaves behind must be in
//! the spool when it ends.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::Duration;

use crate::content::carries;
use crate::lab::{Config, LAZARET, Lab, submitted};
use crate::process::{self, Finished};
use crate::sink::{Behaviour, Sink, Step};
use crate::trial::Case;
use crate::wait::until;

/// Longest time for one call.
const CALL_TIME_MAX: Duration = Duration::from_secs(120);

/// Longest time for mail to get where it belongs.
const ARRIVAL_TIME_MAX: Duration = Duration::from_secs(30);

/// A message that is larger than the memory that it may take to submit it.
const LARGE_BYTES: usize = 200 << 20;

/// The address space of a call with it, in KiB: the program itself has some 20 MiB.
const ADDRESS_SPACE_KIB: usize = 64 << 10;

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("sendmail::recipients_of_the_header", header),
        Case::new("sendmail::typed_mail_becomes_a_message", typed),
        Case::new("sendmail::lists_and_names_of_recipients", lists),
        Case::new("sendmail::no_message_and_no_spool_are_75", nothing),
        Case::new("sendmail::smtp_on_standard_input", smtp),
        Case::new("sendmail::the_queue_is_listed", queue),
        Case::new("sendmail::names_without_work_succeed", names),
        Case::new("sendmail::q_has_waiting_mail_tried_at_once", hurry),
        Case::new("sendmail::own_trouble_is_75", trouble),
        Case::new("sendmail::memory_does_not_depend_on_size", memory).alone(),
    ]
}

/// Runs the program as `name`.
fn call(lab: &Lab, name: &str, args: &[&str], input: &[u8]) -> Finished {
    let path = lab.path(name);
    if !path.exists() {
        symlink(LAZARET, &path).expect("failed to make a link");
    }
    let mut command = Command::new(path);
    command.args(args).env("LAZARET_CONFIG", lab.config());
    process::finish(&mut command, input, CALL_TIME_MAX)
}

fn header() {
    let lab = Lab::new();
    lab.prepare();
    let input = b"To: Alma <alma@example.org>,\n bo@example.org\nBcc: hidden@example.org\nSubject: x\n\
        From: me@example.org\nDate: Mon, 02 Nov 2026 10:00:00 +0000\n\n.x\n";
    let sent = call(&lab, "sendmail", &["-t", "-oi", "-f", "me@example.org"], input);
    assert_eq!((sent.code, sent.stdout.as_str(), sent.stderr.as_str()), (Some(0), "", ""));
    assert_eq!(lab.drain(), Some(0));
    let copies = lab.mail().copies();
    assert_eq!(copies.len(), 1);
    for person in ["alma", "bo", "hidden"] {
        let of_person =
            |path: &&std::path::PathBuf| path.starts_with(lab.path("mail/example.org").join(person));
        let path =
            copies.values().flatten().find(of_person).unwrap_or_else(|| panic!("nothing for {person}"));
        let delivered = fs::read(path).expect("failed to read a delivered file");
        let expected = b"To: Alma <alma@example.org>,\n bo@example.org\nSubject: x\n\
            From: me@example.org\nDate: Mon, 02 Nov 2026 10:00:00 +0000\n\n.x\n";
        assert_eq!(carries(&delivered, expected), Ok(()));
    }
    let nobody = call(&lab, "sendmail", &["-t"], b"Subject: x\n\nx\n");
    assert_eq!(nobody.code, Some(65), "{}", nobody.stderr);
}

/// What one recipient has got, without the fields that start with one of `names`.
fn got(lab: &Lab, person: &str, names: &[&str]) -> String {
    let new = lab.path("mail/example.org").join(person).join("new");
    let files: Vec<_> = fs::read_dir(&new).expect("a Maildir").flatten().collect();
    assert_eq!(files.len(), 1, "{person}");
    let text = fs::read_to_string(files[0].path()).expect("failed to read a delivered file");
    let (header, body) = text.split_once("\n\n").expect("an empty line");
    let mut left = names.to_vec();
    let mut rest = String::new();
    let mut skipped = false;
    for line in header.lines() {
        skipped = if line.starts_with([' ', '\t']) {
            skipped
        } else {
            let name = left.iter().position(|name| line.starts_with(name));
            name.map(|place| left.remove(place)).is_some()
        };
        if !skipped {
            rest += &format!("{line}\n");
        }
    }
    assert_eq!(left, [""; 0], "fields that are missing: {text}");
    rest + "\n" + body
}

fn typed() {
    let lab = Lab::new();
    lab.prepare();
    let cases = [
        ("a", "hello world\n", "From: \"Alma Doe\" <me@example.org>\n\nhello world\n"),
        (
            "b",
            "From me Mon Jan 1 00:00:00 2026\nSubject: x\nnot a header\n\nhi\n",
            "From: \"Alma Doe\" <me@example.org>\nSubject: x\n\nnot a header\n\nhi\n",
        ),
        ("c", "Subject: x\nFrom: b@c\n\nhi\n", "Subject: x\nFrom: b@c\n\nhi\n"),
    ];
    for (person, input, _) in cases {
        let recipient = format!("{person}@example.org");
        let args = ["-f", "me@example.org", "-F", "Alma Doe", &recipient];
        let sent = call(&lab, "sendmail", &args, input.as_bytes());
        assert_eq!((sent.code, sent.stderr.as_str()), (Some(0), ""));
    }
    assert_eq!(lab.drain(), Some(0));
    for (person, _, expected) in cases {
        let found = got(&lab, person, &["Received:", "Date:", "Message-ID: <"]);
        assert!(found.ends_with(expected), "{person}: {found}");
    }
}

fn lists() {
    let lab = Lab::new();
    lab.prepare();
    for recipients in ["a@example.org,b@example.org", "Name <c@example.org>"] {
        let sent = call(&lab, "sendmail", &["-G", "-f", "me@example.org", recipients], b"\nx\n");
        assert_eq!((sent.code, sent.stderr.as_str()), (Some(0), ""), "{recipients}");
    }
    assert_eq!(lab.drain(), Some(0));
    for person in ["a", "b", "c"] {
        assert_eq!(got(&lab, person, &["Received:"]), "\nx\n", "{person}");
    }
}

fn nothing() {
    let lab = Lab::new();
    lab.prepare();
    let mut closed = Command::new("sh");
    closed.args(["-c", "exec \"$0\" submit a@example.org <&-", LAZARET]).env("LAZARET_CONFIG", lab.config());
    let refused = process::finish(&mut closed, b"", CALL_TIME_MAX);
    assert_eq!(refused.code, Some(75), "{}", refused.stderr);
    assert!(refused.stderr.contains("standard input is closed"), "{}", refused.stderr);
    assert_eq!(lab.spool().names("incoming"), Vec::<String>::new());
    // An empty message is one all the same.
    let mut empty = Command::new("sh");
    empty.args(["-c", "exec \"$0\" submit a@example.org </dev/null", LAZARET]);
    let taken = process::finish(empty.env("LAZARET_CONFIG", lab.config()), b"", CALL_TIME_MAX);
    assert_eq!(taken.code, Some(0), "{}", taken.stderr);
    // Where no spool is, none is made: nobody would serve it.
    let other = Lab::new();
    let sent = call(&other, "sendmail", &["a@example.org"], b"x\n");
    let said = [other.path("spool"), other.config()].map(|path| path.display().to_string());
    assert!(sent.code == Some(75) && said.iter().all(|part| sent.stderr.contains(part)), "{}", sent.stderr);
    assert!(!other.path("spool").exists());
}

fn smtp() {
    let lab = Lab::new();
    lab.prepare();
    let input =
        b"EHLO me\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<desk@example.org>\r\nDATA\r\nSubject: x\r\n\r\n\
        ..y\r\n.\r\nQUIT\r\n";
    let talked = call(&lab, "sendmail", &["-bs", "-odb", "-oem"], input);
    assert_eq!(talked.code, Some(0), "{}", talked.stderr);
    let (_, id) = talked.stdout.split_once("250 2.0.0 queued as ").expect("the message is taken");
    let id = id[..26].to_owned();
    assert_eq!(lab.drain(), Some(0));
    assert_eq!(carries(&lab.mail().only(&id), b"Subject: x\r\n\r\n.y\r\n"), Ok(()));
}

fn queue() {
    let lab = Lab::new();
    lab.prepare();
    let empty = call(&lab, "mailq", &[], b"");
    assert_eq!((empty.code, empty.stdout.as_str()), (Some(0), "Mail queue is empty\n"));
    let id = submitted(&lab, "desk@example.org", b"x\n");
    for listed in [call(&lab, "mailq", &[], b""), call(&lab, "sendmail", &["-bp"], b"")] {
        let lines: Vec<&str> = listed.stdout.lines().collect();
        let [message, recipient, "", "-- 1 KB in 1 messages"] = lines[..] else { panic!("{lines:?}") };
        assert!(message.starts_with(&format!("{id}  incoming  3  ")), "{message}");
        assert!(message.ends_with("<sender@example.com>"), "{message}");
        assert_eq!(recipient.trim(), "desk@example.org");
    }
}

fn names() {
    let lab = Lab::new();
    for (name, args) in [("newaliases", &[][..]), ("sendmail", &["-bi"]), ("sendmail", &["-I"])] {
        let done = call(&lab, name, args, b"");
        assert_eq!((done.code, done.stdout + &done.stderr), (Some(0), String::new()), "{name} {args:?}");
    }
    let usage = call(&lab, "sendmail", &["-Z", "a@example.org"], b"");
    assert_eq!(usage.code, Some(64), "{}", usage.stderr);
}

/// Mail that would wait for an hour, and mail of a next hop that is not to be asked
/// for an hour.
fn hurry() {
    let busy = Sink::start(vec![(Step::Recipient, None, Behaviour::Reply("450 4.2.1 busy"))]);
    let down = Sink::start(vec![(Step::Greeting, None, Behaviour::Close)]);
    let patient = "[retry]\nfirst = \"1h\"\nmax = \"1h\"\n";
    let breaker = "breaker = { failures = 1, pause_first = \"1h\", pause_max = \"1h\" }";
    let down_hop =
        format!("[transport.down]\ntype = \"smtp\"\nnext_hops = [\"{}\"]\n{breaker}\n", down.address());
    let config = Config::default().to(busy.address()).tables(patient).tables(&down_hop);
    let lab = Lab::with(&config.route("recipient = \"*@down.example\"\ndeliver = \"down\"\n"));
    let daemon = lab.start();
    for to in ["a@busy.example", "b@down.example"] {
        submitted(&lab, to, b"Subject: x\n\nx\n");
    }
    let waiting = || lab.spool().names("waiting").len();
    assert!(until(ARRIVAL_TIME_MAX, || waiting() == 2), "{:?}", lab.spool().passing());
    for (sink, option, left) in [(&busy, "-q", 1), (&down, "-q30m", 0)] {
        sink.follow(Vec::new());
        let done = call(&lab, "sendmail", &[option], b"");
        assert_eq!((done.code, done.stdout + &done.stderr), (Some(0), String::new()), "{option}");
        assert!(until(ARRIVAL_TIME_MAX, || sink.count() == 1), "{option}: {:?}", lab.spool().passing());
        assert!(until(ARRIVAL_TIME_MAX, || waiting() == left && lab.spool().names("outbound").is_empty()));
    }
    assert_eq!(daemon.terminate().code(), Some(0));
    let alone = call(&lab, "sendmail", &["-q"], b"");
    assert!(alone.code == Some(75) && alone.stderr.contains("no daemon runs on "), "{alone:?}");
}

fn trouble() {
    let lab = Lab::new();
    fs::write(lab.config(), "spool = 7\n").expect("failed to write the configuration");
    for args in [&["-i", "a@example.org"][..], &["-t"], &["-bs"], &["-bp"]] {
        let failed = call(&lab, "sendmail", args, b"To: a@example.org\n\nx\n");
        assert_eq!(failed.code, Some(75), "{args:?}: {}", failed.stderr);
    }
}

fn memory() {
    let lab = Lab::with(&Config::default().workers("max_size = \"256 MiB\"\n"));
    let mut input = b"To: desk@example.org\nSubject: large\n\n".to_vec();
    let line = [b"x".repeat(75), b"\n".to_vec()].concat();
    while input.len() < LARGE_BYTES {
        input.extend_from_slice(&line);
    }
    symlink(LAZARET, lab.path("sendmail")).expect("failed to make a link");
    lab.prepare();
    for args in ["-i desk@example.org", "-t -i"] {
        let mut limited = Command::new("sh");
        let script = format!("ulimit -v {ADDRESS_SPACE_KIB} && exec \"$0\" {args}");
        limited.arg("-c").arg(script).arg(lab.path("sendmail")).env("LAZARET_CONFIG", lab.config());
        let sent = process::finish(&mut limited, &input, CALL_TIME_MAX);
        assert_eq!(sent.code, Some(0), "{args}: {}", sent.stderr);
    }
    let sizes = lab.spool().names("incoming").into_iter().map(|name| {
        fs::metadata(lab.path("spool/incoming").join(name)).expect("failed to look at a message").len()
    });
    let sizes: Vec<u64> = sizes.collect();
    assert!(sizes.len() == 2 && sizes.iter().all(|&size| size > LARGE_BYTES as u64), "{sizes:?}");
}
