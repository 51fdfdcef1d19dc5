//! The harness's own cases: what the other suites stand on must itself hold.
//!
//! They must never need the program under test.

use std::sync::mpsc;
use std::time::Duration;

use crate::content::{below_received, canonical, carries, has_bare_cr, unix, wire};
use crate::power;
use crate::sink::{Behaviour, Sink, Step, Taken};
use crate::smtp::{self, Client, Failure};
use crate::spooldir::{has_strike, id_of};
use crate::trial::Case;
use crate::wait::{Watch, until};

/// Longest wait for something that has happened already.
const AT_ONCE: Duration = Duration::from_secs(5);

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("harness::forms_of_content", forms_of_content),
        Case::new("harness::one_received_field_on_top", one_received_field_on_top),
        Case::new("harness::names", names),
        Case::new("harness::client_and_sink_agree", client_and_sink_agree),
        Case::new("harness::sink_follows_its_script", sink_follows_its_script),
        Case::new("harness::sink_tells_before_it_answers", sink_tells_before_it_answers),
        Case::new("harness::watch_sees_what_appears", watch_sees_what_appears),
        Case::new("harness::only_a_torn_write_excuses_a_file_system", only_a_torn_write_excuses),
    ]
}

fn forms_of_content() {
    assert_eq!(wire(b"a\nb\r\nc\r\n\n"), b"a\r\nb\r\nc\r\n\r\n");
    assert_eq!(canonical(b"a\rb\n\r\r\nc\r"), b"a b\r\n \r\nc ");
    assert_eq!(unix(b"a\r\n\rb\r\n\r"), b"a\n\rb\n\r");
    for (bytes, bare) in
        [(&b"a\r\nb\n"[..], false), (b"\r", true), (b"\r\r\n", true), (b"", false), (b"a\rb", true)]
    {
        assert_eq!(has_bare_cr(bytes), bare, "{bytes:?}");
    }
    assert_eq!(smtp::stuffed(b".\r\na.\r\n..b\n.c"), b"..\r\na.\r\n...b\n.c\r\n.\r\n");
    assert_eq!(smtp::stuffed(b""), b".\r\n");
}

fn one_received_field_on_top() {
    let added = b"Received: from a\n\tby b;\n\tnow\n";
    for message in
        [&b"Subject: x\n\ny\n"[..], b" a continuation\nA: b\n", b"", b"no end", b"Received: other\n\nx"]
    {
        let delivered = [added, message].concat();
        assert_eq!(carries(&delivered, message), Ok(()), "{message:?}");
        assert!(carries(message, message).is_err(), "nothing was added to {message:?}");
        assert!(carries(&[added, &delivered[..]].concat(), message).is_err(), "added twice to {message:?}");
        assert!(carries(&[b"X: y\n", &delivered[..]].concat(), message).is_err());
    }
    assert_eq!(below_received(b"Received: a\n b\nC: d\n"), Some(&b"C: d\n"[..]));
    assert!(carries(b"Received: a\nB: c\nx", b"B: c\ny").is_err());
}

fn names() {
    let id = "01KAN3X0000000000000000000";
    assert_eq!(id_of(&format!("{id}.g0")), Some(id.into()));
    for name in [id, &id[1..], "lock", "01kan3x0000000000000000000.g0", "..."] {
        assert_eq!(id_of(name), None, "{name}");
    }
    assert!(
        has_strike(&format!("{id}.g4.s1.a2")) && !has_strike(&format!("{id}.g4.a1")) && !has_strike("x.s1")
    );
}

fn client_and_sink_agree() {
    let sink = Sink::start(vec![]);
    let mut client = Client::connect(sink.address()).expect("a greeting");
    let message = b"Subject: dots\r\n\r\n.\r\n..\r\n.x\r\n\nLF alone\n.\n\r\n";
    let outcome = client.deliver("a@example.org", &["b@example.com", "c@example.net"], message);
    // The sink says another word than Lazaret, so there is no id.
    assert!(
        matches!(&outcome, Err(Failure::Refused(reply)) if reply.text == "2.0.0 sunk as 0"),
        "{outcome:?}"
    );
    assert!(smtp::deliver(sink.address(), "", &["b@example.com"], b"").is_err());
    let taken = |sender: &str, recipients: &[&str], content: &[u8]| Taken {
        sender: sender.into(),
        recipients: recipients.iter().map(ToString::to_string).collect(),
        content: content.into(),
    };
    let expected = [
        taken("a@example.org", &["b@example.com", "c@example.net"], message),
        taken("", &["b@example.com"], b""),
    ];
    assert!(until(AT_ONCE, || sink.taken() == expected), "{:?}", sink.taken());
}

fn sink_follows_its_script() {
    let reply = |code: &str, outcome: Result<String, Failure>| match outcome {
        Err(Failure::Refused(reply)) => assert_eq!(reply.code.to_string(), code),
        other => panic!("expected {code}: {other:?}"),
    };
    let send = |sink: &Sink| smtp::deliver(sink.address(), "a@example.org", &["b@example.com"], b"x\r\n");
    for (step, line) in [
        (Step::Greeting, "554 5.3.2 go away"),
        (Step::Hello, "501 5.5.4 no"),
        (Step::Mail, "451 4.3.0 not now"),
        (Step::Recipient, "550 5.1.1 nobody"),
        (Step::Data, "452 4.3.1 full"),
        (Step::Dot, "554 5.6.0 no"),
    ] {
        let sink = Sink::start(vec![(step, None, Behaviour::Reply(line))]);
        reply(&line[..3], send(&sink));
        assert!(sink.taken().is_empty());
        let sink = Sink::start(vec![(step, None, Behaviour::Close)]);
        assert!(matches!(send(&sink), Err(Failure::Broken(_))), "closed");
    }
    let sink =
        Sink::start(vec![(Step::Recipient, Some("b@example.com"), Behaviour::Reply("450 4.2.1 busy"))]);
    reply("450", send(&sink));
    let other = smtp::deliver(sink.address(), "a@example.org", &["c@example.com"], b"x\r\n");
    reply("250", other);
    // A sink that hangs is stopped while its client still waits.
    let sink = Sink::start(vec![(Step::Greeting, None, Behaviour::Hang)]);
    let address = sink.address();
    let client =
        std::thread::spawn(move || smtp::deliver(address, "a@example.org", &["b@example.com"], b"x\r\n"));
    drop(sink);
    assert!(client.join().expect("no panic").is_err());
}

fn sink_tells_before_it_answers() {
    let (sender, told) = mpsc::channel();
    let sink = Sink::telling(vec![], Box::new(move |taken| drop(sender.send(taken.content.clone()))));
    let send = |text: &[u8]| smtp::deliver(sink.address(), "a@example.org", &["b@example.com"], text);
    assert!(matches!(send(b"one\r\n"), Err(Failure::Refused(reply)) if reply.code == 250));
    assert_eq!(told.try_recv().as_deref(), Ok(&b"one\r\n"[..]), "before the reply that we have");
    sink.follow(vec![(Step::Dot, None, Behaviour::Reply("451 4.3.0 not now"))]);
    assert!(matches!(send(b"two\r\n"), Err(Failure::Refused(reply)) if reply.code == 451));
    assert!(told.try_recv().is_err(), "what is refused is not taken");
}

fn watch_sees_what_appears() {
    let folder = tempfile::tempdir().expect("failed to make a folder");
    let mut watch = Watch::on(&[folder.path()]);
    assert_eq!(watch.next(Duration::ZERO), None);
    for name in ["a", "b"] {
        std::fs::write(folder.path().join(name), "").expect("failed to write");
    }
    std::fs::rename(folder.path().join("a"), folder.path().join("c")).expect("failed to rename");
    assert_eq!(watch.next(AT_ONCE).as_deref(), Some("a"));
    assert_eq!(watch.drain(), ["b", "c"]);
}

fn only_a_torn_write_excuses() {
    let example = |class: &str, text: &str| serde_json::json!({ "class": class, "text": text });
    let refused = "file system does not mount after the crash: [Errno 74] Bad message";
    let (torn, whole) = ("one write torn into random sectors", "after mark: only flushed writes survive");
    assert_eq!(power::unmountable(&serde_json::json!([example(torn, refused), example(torn, refused)])), 2);
    let others = [example(whole, refused), example(torn, "12: lost"), serde_json::json!("a model's")];
    assert_eq!(power::unmountable(&serde_json::json!(others)), 0);
    assert_eq!(power::unmountable(&serde_json::Value::Null), 0);
}
