//! Conversations with next hops of all kinds.

use super::*;
use crate::outcome::Outcome;
use crate::parcel::Parcel;
use crate::test_server::{Act, Rule, Server};
use crate::test_spool::TestSpool;
use lazaret_smtp::Dialect;
use std::time::Duration;

const CONTENT: &str = "Subject: x\r\n\r\n.dot\r\n";
const TRACE: &str = "Received: by x\r\n";

/// Long enough for a busy machine to answer, short enough to be waited for.
const STEP: Duration = Duration::from_millis(200);

fn timeouts() -> Timeouts {
    let long = Duration::from_secs(10);
    Timeouts {
        connect: long,
        greeting: STEP,
        command: STEP,
        line: long,
        data: STEP,
        end_of_data: STEP,
        transaction: long,
        idle: long,
    }
}

/// For next hops that are never silent: no machine is too busy for that.
fn smtp(next_hops: &[&str]) -> Smtp {
    let long = Duration::from_secs(30);
    let patient = Timeouts { greeting: long, command: long, data: long, end_of_data: long, ..timeouts() };
    transport(next_hops, Dialect::Smtp, patient)
}

/// For next hops that are.
fn impatient(next_hops: &[&str]) -> Smtp {
    transport(next_hops, Dialect::Smtp, timeouts())
}

fn transport(next_hops: &[&str], dialect: Dialect, timeouts: Timeouts) -> Smtp {
    let next_hops: Vec<String> = next_hops.iter().map(|&next_hop| format!("{next_hop:?}")).collect();
    let config =
        format!("next_hops = [{}]\nleast_progress = '256KiB'\nxforward = true", next_hops.join(", "));
    let config = SmtpConfig { timeouts, ..toml::from_str(&config).unwrap() };
    let sockets = Arc::new(Sockets::new(9, 1));
    Smtp::new(&config, dialect, (0, "reinject"), "hub.example", &sockets).unwrap()
}

/// One transaction with two recipients: what became of it, without the name of
/// the next hop.
fn run(smtp: &Smtp, kept: &mut Option<Session>) -> (Vec<String>, Option<String>) {
    run_with(smtp, kept, "<s@x>", CONTENT)
}

fn run_with(
    smtp: &Smtp,
    kept: &mut Option<Session>,
    sender: &str,
    content: &str,
) -> (Vec<String>, Option<String>) {
    let spool = TestSpool::new();
    let outbound = spool.routed(sender, &["a@b", "c@d"], content);
    let message = outbound.open().unwrap();
    let parcel = Parcel { message: &message, trace: TRACE, may_repeat: false };
    let handled = smtp.transaction(kept, &parcel, &[0, 1]).unwrap();
    let short = |text: &Line| text.as_str().split_once(": ").unwrap().1.to_owned();
    let shown = |outcome: &Outcome| match outcome {
        Outcome::Delivered(reply) | Outcome::Relayed(reply) => format!("delivered {}", short(reply)),
        Outcome::Transient(reply) => format!("transient {}", short(reply)),
        Outcome::Permanent(reply) => format!("permanent {}", short(reply)),
    };
    (handled.outcomes.iter().map(shown).collect(), handled.trouble.as_ref().map(short))
}

fn meet(rules: &[Rule]) -> (Vec<String>, Option<String>, Vec<String>) {
    let server = Server::start(rules);
    let (outcomes, trouble) = run(&impatient(&[&server.address]), &mut None);
    (outcomes, trouble, server.log())
}

#[test]
fn a_message_goes_out_with_the_field_on_top() {
    let (outcomes, trouble, log) = meet(&[]);
    assert_eq!(outcomes, ["delivered 250 queued"; 2]);
    assert_eq!(trouble, None);
    let message = format!("message: {TRACE}Subject: x\r\n\r\n..dot\r\n.\r\n");
    let commands = ["MAIL FROM:<s@x>", "RCPT TO:<a@b>", "RCPT TO:<c@d>", "DATA", message.as_str()];
    assert_eq!(log[..2], ["connected", "EHLO hub.example"]);
    assert_eq!(log[2..], commands);
}

#[test]
fn each_recipient_gets_the_reply_that_decided() {
    for (key, reply, first, second) in [
        ("MAIL", "451 later\r\n", "transient 451 later", "transient 451 later"),
        ("MAIL", "550 never\r\n", "permanent 550 never", "permanent 550 never"),
        ("RCPT", "452 later\r\n", "transient 452 later", "transient 452 later"),
        ("RCPT TO:<c", "550 5.1.1 who?\r\n", "delivered 250 queued", "permanent 550 5.1.1 who?"),
        ("RCPT TO:<c", "450 4.2.1 busy\r\n", "delivered 250 queued", "transient 450 4.2.1 busy"),
        ("DATA", "451 later\r\n", "transient 451 later", "transient 451 later"),
        (".", "452 4.3.1 full\r\n", "transient 452 4.3.1 full", "transient 452 4.3.1 full"),
        (".", "554 spam\r\n", "permanent 554 spam", "permanent 554 spam"),
    ] {
        let (outcomes, trouble, _) = meet(&[(key, Act::Say(reply))]);
        assert_eq!((outcomes, trouble), (vec![first.to_owned(), second.to_owned()], None), "{key} {reply}");
    }
}

#[test]
fn a_next_hop_that_does_not_say_hello_is_trouble_and_not_the_mails_fault() {
    for (key, act, expected) in [
        ("greeting", Act::Say("421 4.3.2 full\r\n"), "refused at greeting: 421 4.3.2 full"),
        ("greeting", Act::Say("554 no SMTP here\r\n"), "refused at greeting: 554 no SMTP here"),
        ("greeting", Act::Silence, "accepts connections, no banner for 200ms"),
        ("greeting", Act::Trickle, "accepts connections, no banner for 200ms"),
        ("greeting", Act::Close, "the next hop closed the connection"),
        ("greeting", Act::Say("SSH-2.0\r\n"), "not a reply: \"SSH-2.0\""),
        ("EHLO", Act::Say("450 later\r\n"), "refused at hello: 450 later"),
        ("EHLO", Act::Silence, "no reply to hello for 200ms"),
    ] {
        let (outcomes, trouble, _) = meet(&[(key, act)]);
        assert_eq!((outcomes.len(), trouble.as_deref()), (0, Some(expected)));
    }
}

#[test]
fn whoever_falls_silent_or_goes_away_is_named_with_the_step() {
    for (key, act, expected) in [
        ("MAIL", Act::Silence, "no reply to MAIL for 200ms"),
        ("MAIL", Act::Trickle, "no reply to MAIL for 200ms"),
        ("RCPT TO:<c", Act::Silence, "no reply to RCPT for 200ms"),
        ("DATA", Act::Silence, "no reply to DATA for 200ms"),
        ("DATA", Act::Close, "the next hop closed the connection"),
        (".", Act::Silence, "takes messages, no reply to the final dot for 200ms"),
        (".", Act::Close, "the next hop closed the connection"),
        (".", Act::Say("999 what\r\n"), "not a reply: \"999 what\""),
    ] {
        let (outcomes, trouble, _) = meet(&[(key, act)]);
        assert_eq!(outcomes, [format!("transient 451 4.4.2 {expected}"), outcomes[1].clone()], "{key}");
        assert_eq!(trouble.as_deref(), Some(expected));
    }
    let (outcomes, trouble, _) = meet(&[("RCPT TO:<c", Act::SayAndClose("421 4.3.2 bye\r\n"))]);
    assert_eq!(outcomes, ["transient 421 4.3.2 bye"; 2]);
    assert_eq!(trouble.as_deref(), Some("421 4.3.2 bye"));
}

#[test]
fn the_whole_has_a_deadline_too() {
    let server = Server::start(&[("DATA", Act::Silence)]);
    let mut smtp = smtp(&[&server.address]);
    smtp.timeouts.command = Duration::from_secs(10);
    smtp.timeouts.transaction = STEP;
    assert_eq!(run(&smtp, &mut None).1.as_deref(), Some("not done after 200ms"));
}

#[test]
fn the_next_next_hop_is_tried() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let busy = Server::start(&[("greeting", Act::Say("421 busy\r\n"))]);
    let good = Server::start(&[]);
    let (outcomes, trouble) = run(&smtp(&[&closed, &busy.address, &good.address]), &mut None);
    assert_eq!(
        (outcomes.as_slice(), trouble),
        (["delivered 250 queued".to_owned(), outcomes[1].clone()].as_slice(), None)
    );
    let (outcomes, trouble) = run(&smtp(&[&closed, &busy.address]), &mut None);
    let trouble = trouble.unwrap();
    assert!(
        outcomes.is_empty() && trouble.contains("refused") && trouble.ends_with("greeting: 421 busy"),
        "{trouble}"
    );
}

#[test]
fn a_next_hop_in_trouble_is_named_once() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let spool = TestSpool::new();
    let outbound = spool.routed("<s@x>", &["a@b", "c@d"], CONTENT);
    let message = outbound.open().unwrap();
    let parcel = Parcel { message: &message, trace: TRACE, may_repeat: false };
    let trouble = |next_hop: &str| {
        let handled = smtp(&[next_hop]).transaction(&mut None, &parcel, &[0, 1]).unwrap();
        handled.trouble.unwrap().as_str().to_owned()
    };
    assert_eq!(trouble(&closed), format!("{closed}: refuses connections"));
    let (_, port) = closed.rsplit_once(':').unwrap();
    let named = trouble(&format!("localhost:{port}"));
    assert!(named.starts_with(&format!("localhost:{port}: refuses connections at ")), "{named}");
}

#[test]
fn a_connection_serves_one_message_after_the_other() {
    let server = Server::start(&[("RCPT TO:<c", Act::Say("550 no\r\n"))]);
    let (smtp, mut kept) = (smtp(&[&server.address]), None);
    for _ in 0..3 {
        assert_eq!(run(&smtp, &mut kept).0, ["delivered 250 queued", "permanent 550 no"]);
    }
    assert_eq!((server.count("connected"), server.count("EHLO"), server.count("message")), (1, 1, 3));
    kept.unwrap().quit();
    assert_eq!(server.log().last().unwrap(), "QUIT");
}

#[test]
fn a_connection_that_went_away_meanwhile_is_replaced() {
    for goodbye in [Act::SayAndClose("250 queued\r\n"), Act::SayAndClose("250 queued\r\n421 idle\r\n")] {
        let server = Server::start(&[(".", goodbye)]);
        let (smtp, mut kept) = (smtp(&[&server.address]), None);
        for _ in 0..2 {
            assert_eq!(run(&smtp, &mut kept), (vec!["delivered 250 queued".to_owned(); 2], None));
        }
        assert_eq!((server.count("connected"), server.count("message")), (2, 2));
    }
}

#[test]
fn no_final_dot_stands_behind_damaged_bytes() {
    let server = Server::start(&[]);
    let spool = TestSpool::new();
    let outbound = spool.routed("<s@x>", &["a@b"], CONTENT);
    spool.damage(&outbound);
    let message = outbound.open().unwrap();
    let parcel = Parcel { message: &message, trace: TRACE, may_repeat: false };
    let mut kept = None;
    let damaged = smtp(&[&server.address]).transaction(&mut kept, &parcel, &[0]).unwrap_err();
    assert!(damaged.0.as_str().contains("blake3:") && kept.is_none());
    while server.count("cut: ") == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(server.count("message: "), 0);
}

#[test]
fn no_last_byte_stands_behind_damaged_ones() {
    let server = Server::start(&[("EHLO", Act::Say("250-x\r\n250 CHUNKING\r\n"))]);
    let spool = TestSpool::new();
    // Of two blocks, with something that DATA is not made for.
    let outbound = spool.routed("<s@x>", &["a@b"], &("\0".to_owned() + &"x\r\n".repeat(30_000)));
    spool.damage(&outbound);
    let message = outbound.open().unwrap();
    let parcel = Parcel { message: &message, trace: TRACE, may_repeat: false };
    let mut kept = None;
    let damaged = smtp(&[&server.address]).transaction(&mut kept, &parcel, &[0]).unwrap_err();
    assert!(damaged.0.as_str().contains("blake3:") && kept.is_none());
    let size = message.envelope.content.size + TRACE.len() as u64;
    while server.count("held ") == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let log = server.log();
    let [command, held] = &log[log.len() - 2..] else { panic!("{log:?}") };
    assert_eq!(*command, format!("BDAT {size} LAST"));
    let held: u64 = held["held ".len()..].parse().unwrap();
    assert!(held > 0 && held < size, "{held} of {size}");
}

#[test]
fn why_data_is_not_taken_is_heard() {
    let server = Server::start(&[("DATA", Act::SayAndClose("354 go\r\n552 5.3.4 too big\r\n"))]);
    let (outcomes, _) = run(&smtp(&[&server.address]), &mut None);
    assert!(outcomes.iter().all(|outcome| outcome == "permanent 552 5.3.4 too big"), "{outcomes:?}");
}

#[test]
fn what_the_first_lacks_the_second_may_have() {
    let utf8 = Act::Say("250-x\r\n250 SMTPUTF8\r\n");
    let (plain, good) = (Server::start(&[]), Server::start(&[("EHLO", utf8)]));
    let sender = "<s@x> SMTPUTF8";
    let (outcomes, trouble) = run_with(&smtp(&[&plain.address, &good.address]), &mut None, sender, CONTENT);
    assert_eq!((outcomes, trouble), (vec!["delivered 250 queued".to_owned(); 2], None));
    assert_eq!((plain.count("MAIL"), good.count("MAIL")), (0, 1));
    // Nobody has it: that is how it is.
    let (outcomes, _) = run_with(&smtp(&[&plain.address, &plain.address]), &mut None, sender, CONTENT);
    assert_eq!(outcomes, ["permanent 550 5.6.7 the next hop does not offer SMTPUTF8"; 2]);
    // Somebody who can't be asked may have it.
    let closed = Server::start(&[("greeting", Act::Close)]);
    let (outcomes, trouble) = run_with(&smtp(&[&plain.address, &closed.address]), &mut None, sender, CONTENT);
    assert!(outcomes.iter().all(|outcome| outcome.starts_with("transient 550 5.6.7 ")), "{outcomes:?}");
    assert_eq!(trouble, None);
}

#[test]
fn lmtp_answers_for_each_recipient() {
    let server = Server::start(&[(".", Act::Say("250 2.1.5 one\r\n552 5.2.2 full\r\n"))]);
    let (lmtp, mut kept) = (transport(&[&server.address], Dialect::Lmtp, timeouts()), None);
    for _ in 0..2 {
        let (outcomes, trouble) = run(&lmtp, &mut kept);
        assert_eq!(outcomes, ["delivered 250 2.1.5 one", "permanent 552 5.2.2 full"]);
        assert_eq!(trouble, None);
    }
    assert_eq!(
        (server.count("LHLO hub.example"), server.count("EHLO"), server.count("connected")),
        (1, 0, 1)
    );
}

#[test]
fn a_lone_lmtp_reply_leaves_the_other_recipient_undecided() {
    let server = Server::start(&[(".", Act::SayAndClose("250 2.1.5 one\r\n"))]);
    let (outcomes, trouble) = run(&transport(&[&server.address], Dialect::Lmtp, timeouts()), &mut None);
    assert_eq!(outcomes[0], "delivered 250 2.1.5 one");
    assert!(outcomes[1].starts_with("transient 451 4.4.2 "), "{outcomes:?}");
    assert!(trouble.is_some());
}

#[test]
fn a_unix_socket_is_a_next_hop_like_any_other() {
    let (server, folder) = (Server::start(&[]), tempfile::tempdir().unwrap());
    let path = folder.path().join("lmtp.sock");
    server.also_at(&path);
    let next_hop = format!("unix:{}", path.display());
    let (outcomes, _) = run(&transport(&[&next_hop], Dialect::Lmtp, timeouts()), &mut None);
    assert_eq!(outcomes[0], "delivered 250 queued");
    let nowhere = format!("unix:{}", folder.path().join("nowhere").display());
    let (outcomes, trouble) = run(&smtp(&[&nowhere]), &mut None);
    assert!(outcomes.is_empty() && trouble.unwrap().contains("failed to connect"));
}

#[test]
fn a_reply_byte_by_byte_is_not_waited_for() {
    let long = Duration::from_secs(30);
    let slow = Timeouts { greeting: long, command: long, line: STEP, ..timeouts() };
    for (key, step) in [("greeting", "greeting"), ("MAIL", "MAIL"), (".", "end of data")] {
        let slow = Timeouts { end_of_data: long, ..slow };
        let server = Server::start(&[(key, Act::Trickle)]);
        let (outcomes, trouble) = run(&transport(&[&server.address], Dialect::Smtp, slow), &mut None);
        let expected = format!("begins a line of its reply to {step} and does not end it for 200ms");
        assert_eq!(trouble, Some(expected));
        assert_eq!(outcomes.len(), if key == "greeting" { 0 } else { 2 });
    }
}

#[test]
fn a_message_that_is_not_taken_fast_enough_is_given_up() {
    let server = Server::start(&[("DATA", Act::SayAndSleep("354 go\r\n"))]);
    let content = "x".repeat(98) + "\r\n";
    let (outcomes, trouble) =
        run_with(&impatient(&[&server.address]), &mut None, "<s@x>", &content.repeat(200_000));
    assert_eq!(trouble.as_deref(), Some("stalls after DATA, takes less than 256KiB in 200ms"));
    assert!(outcomes.iter().all(|outcome| outcome.starts_with("transient ")), "{outcomes:?}");
}

#[test]
fn a_next_hop_that_wants_to_know_is_told_whose_mail_it_is() {
    let offer = Act::Say("250-x\r\n250 XFORWARD ADDR PROTO SOURCE\r\n");
    let (outcomes, trouble, log) = meet(&[("EHLO", offer)]);
    assert_eq!((outcomes, trouble), (vec!["delivered 250 queued".to_owned(); 2], None));
    assert_eq!(log[2..4], ["XFORWARD ADDR=[UNAVAILABLE] PROTO=ESMTP SOURCE=REMOTE", "MAIL FROM:<s@x>"]);
}
