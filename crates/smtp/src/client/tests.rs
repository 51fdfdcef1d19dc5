//! Conversations with next hops that follow a script.

use std::sync::Arc;

use lazaret_envelope::{MailParams, Recipient, ReversePath, Sender, Transaction, take_path};
use proptest::prelude::*;

use super::{
    Client, Do, EightBit, Finished, Mail, Outcome, ProtocolError, RCPT_WINDOW, Refusal, Setup, Step,
};
use crate::Dialect;
use crate::xforward::Told;

mod setup;

const PLAIN: &str = "250 next.example\r\n";
const PIPELINING: &str = "250-next.example\r\n250 PIPELINING\r\n";
const EVERYTHING: &str = "250-next.example\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-8BITMIME\r\n\
                          250-SMTPUTF8\r\n250-DSN\r\n250 REQUIRETLS\r\n";

fn mail(sender: &str, recipients: &[&str]) -> Mail {
    let (path, params) = take_path(sender).unwrap();
    let sender = Sender { path, params: MailParams::parse(params).unwrap() };
    let recipients = recipients.iter().map(|text| {
        let (path, params) = take_path(text).unwrap();
        Recipient { address: path.0.unwrap(), params: lazaret_envelope::RcptParams::parse(params).unwrap() }
    });
    let transaction = Arc::new(Transaction { sender, recipients: recipients.collect() });
    Mail { transaction, size: 7, told: None, counted: false, eight_bit: EightBit::Send }
}

/// A client that has said hello, to a next hop that answered `offer`.
fn ready(offer: &str, dialect: Dialect) -> Client {
    greeted(offer, dialect, Setup::default())
}

/// The same for a client that may have more to do before mail goes.
fn greeted(offer: &str, dialect: Dialect, setup: Setup) -> Client {
    let mut client = Client::new("me.example", dialect, setup);
    assert!(matches!(client.next(), Do::Receive(Step::Greeting)));
    client.received(b"220 next.example\r\n").unwrap();
    let hello = if dialect == Dialect::Smtp { "EHLO me.example\r\n" } else { "LHLO me.example\r\n" };
    assert_eq!(sent(&mut client), hello);
    client.received(offer.as_bytes()).unwrap();
    client
}

fn start(client: &mut Client, mail: Mail) {
    let Do::Ready(ready) = client.next() else { panic!("not ready") };
    ready.start(mail);
}

fn sent(client: &mut Client) -> String {
    match client.next() {
        Do::Send(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        other => panic!("nothing to send, but {other:?}"),
    }
}

fn send_content(client: &mut Client, content: &str) -> String {
    let mut wire = Vec::new();
    let Do::Content(mut stream) = client.next() else { panic!("no content wanted") };
    stream.encode(content.as_bytes(), &mut wire);
    stream.finish();
    String::from_utf8(wire).unwrap() + &sent(client)
}

fn finished(client: &mut Client) -> Finished {
    match client.next() {
        Do::Done(finished) => finished,
        other => panic!("not done, but {other:?}"),
    }
}

/// The outcomes as text: `step class reply`.
fn shown(finished: &Finished) -> Vec<String> {
    let show = |(class, reply, step)| format!("{step}: {class} {reply}");
    let deliveries = finished.deliveries.iter().map(|delivery| match &delivery.outcome {
        Outcome::Delivered(reply) => show(("delivered", reply, delivery.step)),
        Outcome::Transient(reply) => show(("transient", reply, delivery.step)),
        Outcome::Permanent(reply) => show(("permanent", reply, delivery.step)),
    });
    deliveries.collect()
}

/// Runs a transaction up to its end: what the client must send, and what the
/// next hop says then.
fn run(client: &mut Client, mail: Mail, script: &[(&str, &str)]) -> Vec<String> {
    start(client, mail);
    for (expected, replies) in script {
        let text = if *expected == CONTENT { send_content(client, "a\r\n.b\r\n") } else { sent(client) };
        assert_eq!(text, *expected);
        client.received(replies.as_bytes()).unwrap();
    }
    shown(&finished(client))
}

const CONTENT: &str = "a\r\n..b\r\n.\r\n";

#[test]
fn a_message_goes_out_step_by_step() {
    let mut client = ready(PLAIN, Dialect::Smtp);
    let script = [
        ("MAIL FROM:<a@b>\r\n", "250 ok\r\n"),
        ("RCPT TO:<c@d>\r\n", "250 ok\r\n"),
        ("RCPT TO:<e@f>\r\n", "550 5.1.1 who?\r\n"),
        ("DATA\r\n", "354 go\r\n"),
        (CONTENT, "250 2.0.0 queued as 1\r\n"),
    ];
    // What was not offered is not used.
    let message = mail("<a@b> BODY=8BITMIME RET=FULL ENVID=x", &["<c@d> NOTIFY=NEVER", "<e@f>"]);
    let outcomes = run(&mut client, message, &script);
    assert_eq!(outcomes, ["end of data: delivered 250 2.0.0 queued as 1", "RCPT: permanent 550 5.1.1 who?"]);
    assert!(matches!(client.next(), Do::Ready(_)), "ready for another one");
}

#[test]
fn what_is_offered_is_used_in_one_go() {
    let mut client = ready(EVERYTHING, Dialect::Smtp);
    let sender = "<ä@b> BODY=8BITMIME RET=FULL ENVID=x";
    let commands = "MAIL FROM:<ä@b> SIZE=7 BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=x\r\n\
                    RCPT TO:<c@d> NOTIFY=NEVER ORCPT=rfc822;x\r\nRCPT TO:<e@f>\r\nDATA\r\n";
    let script =
        [(commands, "250 ok\r\n451 4.2.0 later\r\n250 ok\r\n354 go\r\n"), (CONTENT, "250 queued\r\n")];
    let outcomes = run(&mut client, mail(sender, &["<c@d> NOTIFY=NEVER ORCPT=rfc822;x", "<e@f>"]), &script);
    assert_eq!(outcomes, ["RCPT: transient 451 4.2.0 later", "end of data: delivered 250 queued"]);
}

const GROUP: &str = "MAIL FROM:<>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\nDATA\r\n";

#[test]
fn refusals_in_a_group_are_told_apart() {
    for (replies, outcome) in [
        ("550 no\r\n503 x\r\n503 x\r\n503 x\r\n", ["MAIL: permanent 550 no"; 2]),
        ("451 no\r\n503 x\r\n503 x\r\n554 x\r\n", ["MAIL: transient 451 no"; 2]),
        ("250 ok\r\n550 no\r\n550 no\r\n554 x\r\n", ["RCPT: permanent 550 no"; 2]),
        ("250 ok\r\n250 ok\r\n250 ok\r\n452 full\r\n", ["DATA: transient 452 full"; 2]),
        ("250 ok\r\n250 ok\r\n552 no\r\n554 no\r\n", ["DATA: permanent 554 no", "RCPT: transient 552 no"]),
        (
            "250 ok\r\n250 ok\r\n552 5.2.2 full\r\n554 no\r\n",
            ["DATA: permanent 554 no", "RCPT: permanent 552 5.2.2 full"],
        ),
    ] {
        let mut client = ready(PIPELINING, Dialect::Smtp);
        assert_eq!(run(&mut client, mail("<>", &["<c@d>", "<e@f>"]), &[(GROUP, replies)]), outcome);
        assert_eq!(sent(&mut client), "RSET\r\n");
        assert!(matches!(client.next(), Do::Receive(Step::Rset)));
        client.received(b"250 ok\r\n").unwrap();
        assert!(matches!(client.next(), Do::Ready(_)));
    }
}

#[test]
fn nobody_accepted_but_data_gets_a_lone_dot() {
    let mut client = ready(PIPELINING, Dialect::Smtp);
    let script = [(GROUP, "250 ok\r\n550 no\r\n550 no\r\n354 go\r\n"), (".\r\n", "250 delivered\r\n")];
    let outcomes = run(&mut client, mail("<>", &["<c@d>", "<e@f>"]), &script);
    assert_eq!(outcomes, ["RCPT: permanent 550 no"; 2]);
    assert!(matches!(client.next(), Do::Ready(_)));
}

#[test]
fn no_dot_goes_to_a_next_hop_that_is_confused() {
    let confused = "550 no\r\n250 ok\r\n250 ok\r\n354 go\r\n";
    let nobody = "250 ok\r\n550 no\r\n550 no\r\n354 go\r\n";
    for (dialect, replies) in [(Dialect::Smtp, confused), (Dialect::Lmtp, nobody)] {
        let mut client = ready(PIPELINING, dialect);
        let outcomes = run(&mut client, mail("<>", &["<c@d>", "<e@f>"]), &[(GROUP, replies)]);
        assert!(outcomes.iter().all(|outcome| outcome.contains("permanent 550 no")));
        assert!(matches!(client.next(), Do::Close));
    }
}

#[test]
fn step_by_step_no_data_is_asked_for_when_nobody_was_accepted() {
    let mut client = ready(PLAIN, Dialect::Smtp);
    let script = [("MAIL FROM:<>\r\n", "250 ok\r\n"), ("RCPT TO:<c@d>\r\n", "550 no\r\n")];
    assert_eq!(run(&mut client, mail("<>", &["<c@d>"]), &script), ["RCPT: permanent 550 no"]);
    assert_eq!(sent(&mut client), "RSET\r\n");
    client.received(b"500 what?\r\n").unwrap();
    assert!(matches!(client.next(), Do::Refused(Refusal::Reply { step: Step::Rset, .. })));
    assert_eq!(sent(&mut client), "QUIT\r\n");
}

#[test]
fn many_recipients_go_out_in_windows() {
    let addresses: Vec<String> = (0..250).map(|number| format!("<u{number}@b>")).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let mut client = ready(PIPELINING, Dialect::Smtp);
    start(&mut client, mail("<>", &addresses));
    for (commands, data) in [(RCPT_WINDOW, false), (RCPT_WINDOW, false), (52, true)] {
        let text = sent(&mut client);
        assert_eq!((text.lines().count(), text.ends_with("DATA\r\n")), (commands, data));
        for _ in 0..commands - usize::from(data) {
            assert!(matches!(client.next(), Do::Receive(Step::Mail | Step::Rcpt)));
            client.received(b"250 ok\r\n").unwrap();
        }
    }
    client.received(b"354 go\r\n").unwrap();
    send_content(&mut client, "");
    client.received(b"250 ok\r\n").unwrap();
    assert!(finished(&mut client).deliveries.iter().all(|d| matches!(d.outcome, Outcome::Delivered(_))));
}

#[test]
fn lmtp_gives_each_recipient_its_own_reply() {
    let mut client = ready(PIPELINING, Dialect::Lmtp);
    let commands = GROUP.replace("DATA", "RCPT TO:<c@d>\r\nDATA");
    let script = [
        (commands.as_str(), "250 ok\r\n250 ok\r\n550 no\r\n250 ok\r\n354 go\r\n"),
        (CONTENT, "250 ok\r\n452 4.2.2 full\r\n"),
    ];
    let outcomes = run(&mut client, mail("<>", &["<c@d>", "<e@f>", "<c@d>"]), &script);
    let expected =
        ["end of data: delivered 250 ok", "RCPT: permanent 550 no", "end of data: transient 452 4.2.2 full"];
    assert_eq!(outcomes, expected);
}

#[test]
fn what_the_next_hop_lacks_is_refused_without_asking() {
    let limited = "250-x\r\n250 SIZE 6\r\n";
    for (offer, sender, reply) in [
        (PLAIN, "<a@b> SMTPUTF8", "550 5.6.7 the next hop does not offer SMTPUTF8"),
        (PLAIN, "<ä@b>", "550 5.6.7 the next hop does not offer SMTPUTF8"),
        (
            EVERYTHING,
            "<a@b> REQUIRETLS",
            "550 5.7.30 the next hop does not offer REQUIRETLS under verified TLS",
        ),
        (limited, "<a@b>", "552 5.3.4 the next hop takes at most 6 bytes, these are 7"),
    ] {
        let mut client = ready(offer, Dialect::Smtp);
        assert_eq!(run(&mut client, mail(sender, &["<c@d>"]), &[]), [format!("offer: permanent {reply}")]);
        assert!(matches!(client.next(), Do::Ready(_)));
    }
    // One recipient that can't be named does not keep the others from theirs.
    let mut client = ready(PIPELINING, Dialect::Smtp);
    let script = [
        ("MAIL FROM:<>\r\nRCPT TO:<c@d>\r\nDATA\r\n", "250 ok\r\n250 ok\r\n354 go\r\n"),
        (CONTENT, "250 ok\r\n"),
    ];
    let outcomes = run(&mut client, mail("<>", &["<ü@d>", "<c@d>"]), &script);
    let refused = "offer: permanent 550 5.6.7 the next hop does not offer SMTPUTF8";
    assert_eq!(outcomes, [refused, "end of data: delivered 250 ok"]);
}

#[test]
fn hello_falls_back_to_helo() {
    let mut client = ready("502 what?\r\n", Dialect::Smtp);
    assert_eq!(sent(&mut client), "HELO me.example\r\n");
    assert!(matches!(client.next(), Do::Receive(Step::Hello)));
    client.received(b"250 hello\r\n").unwrap();
    let Do::Ready(ready) = client.next() else { panic!() };
    ready.quit();
    assert_eq!(sent(&mut client), "QUIT\r\n");
    assert!(matches!(client.next(), Do::Receive(Step::Quit)));
    client.received(b"221 bye\r\n").unwrap();
    assert!(matches!(client.next(), Do::Close));
}

#[test]
fn an_unwilling_next_hop_is_named_with_its_reply() {
    for (offer, dialect) in [("450 later\r\n", Dialect::Smtp), ("500 what?\r\n", Dialect::Lmtp)] {
        let mut client = ready(offer, dialect);
        let Do::Refused(Refusal::Reply { step: Step::Hello, reply }) = client.next() else { panic!() };
        assert_eq!(reply.to_string(), offer.trim());
        assert_eq!(sent(&mut client), "QUIT\r\n");
    }
    let mut client = Client::new("me.example", Dialect::Smtp, Setup::default());
    client.received(b"421 full\r\n").unwrap();
    assert!(matches!(client.next(), Do::Refused(Refusal::Reply { step: Step::Greeting, .. })));
    assert!(matches!(client.next(), Do::Close));
    let mut client = ready("421 no time\r\n", Dialect::Smtp);
    assert!(matches!(client.next(), Do::Refused(Refusal::Reply { step: Step::Hello, .. })));
    assert!(matches!(client.next(), Do::Close));
}

#[test]
fn after_421_the_undecided_are_transient_and_the_connection_is_over() {
    let mut client = ready(PIPELINING, Dialect::Smtp);
    let script = [(GROUP, "250 ok\r\n550 no\r\n421 4.3.2 bye\r\n")];
    let outcomes = run(&mut client, mail("<>", &["<c@d>", "<e@f>"]), &script);
    assert_eq!(outcomes, ["RCPT: permanent 550 no", "RCPT: transient 421 4.3.2 bye"]);
    assert!(matches!(client.next(), Do::Close));
    let mut idle = ready(PLAIN, Dialect::Smtp);
    idle.received(b"421 timeout\r\n").unwrap();
    assert!(matches!(idle.next(), Do::Close));
}

#[test]
fn a_broken_connection_is_uncertain_only_behind_the_final_dot() {
    let mut client = ready(PIPELINING, Dialect::Smtp);
    start(&mut client, mail("<>", &["<c@d>", "<e@f>"]));
    sent(&mut client);
    client.received(b"250 ok\r\n250 ok\r\n550 no\r\n354 go\r\n").unwrap();
    let mut behind = ready(PIPELINING, Dialect::Smtp);
    start(&mut behind, mail("<>", &["<c@d>"]));
    sent(&mut behind);
    behind.received(b"250 ok\r\n250 ok\r\n354 go\r\n").unwrap();
    send_content(&mut behind, "x");
    assert!(matches!(behind.next(), Do::Receive(Step::DataEnd)));

    client.broken("connection reset");
    let before = finished(&mut client);
    assert!(!before.uncertain);
    let reset = "end of data: transient 451 4.4.2 connection reset";
    assert_eq!(shown(&before), [reset, "RCPT: permanent 550 no"]);
    behind.broken("connection reset");
    let after = finished(&mut behind);
    assert!(after.uncertain);
    assert_eq!(shown(&after), [reset]);
    assert!(matches!(behind.next(), Do::Close));
}

#[test]
fn nonsense_ends_the_connection_and_loses_nobody() {
    for (replies, outcome) in [
        ("hello\r\n", "MAIL: transient 451 4.4.2 not a reply: \"hello\""),
        ("354 go\r\n", "MAIL: transient 451 4.4.2 unexpected reply to MAIL: 354 go"),
        ("250 ok\r\n354 go\r\n", "RCPT: transient 451 4.4.2 unexpected reply to RCPT: 354 go"),
        ("250 ok\r\n250 ok\r\n250 ok\r\n", "DATA: transient 451 4.4.2 unexpected reply to DATA: 250 ok"),
        (
            "250 ok\r\n250 ok\r\n354 go\r\n250 x\r\n",
            "end of data: transient 451 4.4.2 unsolicited reply: 250 x",
        ),
        ("250 ok\r\n250 ok\r\n354 go\r\n552 big\r\n", "end of data: permanent 552 big"),
    ] {
        let mut client = ready(PIPELINING, Dialect::Smtp);
        start(&mut client, mail("<>", &["<c@d>"]));
        sent(&mut client);
        let error = client.received(replies.as_bytes());
        assert_eq!(error.is_ok(), replies.contains("552"), "{error:?}");
        assert_eq!(shown(&finished(&mut client)), [outcome]);
        assert!(matches!(client.next(), Do::Close));
        assert_eq!(client.received(b"250 more\r\n"), Ok(()));
    }
    let mut client = Client::new("me.example", Dialect::Smtp, Setup::default());
    assert!(matches!(client.received(b"220 x\r\n250 early\r\n"), Err(ProtocolError::Unsolicited(_))));
}

proptest! {
    #[test]
    fn whatever_a_next_hop_says_everybody_gets_an_outcome(
        replies in prop::collection::vec(
            prop::sample::select(vec!["250 ok\r\n", "354 go\r\n", "450 x\r\n", "550 x\r\n", "421 x\r\n", "25", "x\r\n", "250-x\r\n"]),
            0..12,
        ),
        pipelining: bool,
        lmtp: bool,
        recipients in 0_usize..4,
    ) {
        let dialect = if lmtp { Dialect::Lmtp } else { Dialect::Smtp };
        let mut client = ready(if pipelining { PIPELINING } else { PLAIN }, dialect);
        start(&mut client, mail("<>", &["<c@d>"; 4][..recipients]));
        let (mut replies, mut dots, mut results) = (replies.into_iter(), 0, Vec::new());
        loop {
            match client.next() {
                Do::Send(bytes) => dots += usize::from(bytes.ends_with(b"\r\n.\r\n")),
                Do::Receive(_) => match replies.next() {
                    Some(reply) => drop(client.received(reply.as_bytes())),
                    None => client.broken("over"),
                },
                Do::Content(mut content) => {
                    content.encode(b"x", &mut Vec::new());
                    content.finish();
                }
                Do::Done(finished) => results.push(finished),
                Do::Ready(ready) => ready.quit(),
                Do::Refused(_) => {}
                Do::Secure(secure) => secure.established(true),
                Do::Close => break,
            }
        }
        prop_assert_eq!(results.len(), 1);
        prop_assert_eq!(results[0].deliveries.len(), recipients);
        let delivered = results[0].deliveries.iter().any(|d| matches!(d.outcome, Outcome::Delivered(_)));
        prop_assert!(!delivered || dots == 1);
        prop_assert!(!results[0].uncertain || dots == 1);
    }

    #[test]
    fn no_bytes_panic(pieces: Vec<Vec<u8>>) {
        let mut client = Client::new("me.example", Dialect::Smtp, Setup::default());
        for piece in pieces {
            let _ = client.received(&piece);
            let _ = client.next();
        }
    }
}

#[test]
fn a_transaction_without_recipients_is_done_at_once() {
    let mut client = ready(PLAIN, Dialect::Smtp);
    let sender = Sender { path: ReversePath(None), params: MailParams::default() };
    let transaction = Arc::new(Transaction { sender, recipients: Vec::new() });
    assert!(
        run(
            &mut client,
            Mail { transaction, size: 0, told: None, counted: false, eight_bit: EightBit::Send },
            &[]
        )
        .is_empty()
    );
}

#[test]
fn a_next_hop_is_told_whose_mail_it_is_before_each_message_if_it_wants_to_know() {
    let told = Told { ident: Some(lazaret_envelope::Line::escaped("7")), ..Told::default() };
    let message = || Mail { told: Some(told.clone()), ..mail("<a@b>", &["<c@d>"]) };
    let mut client = ready("250-x\r\n250 XFORWARD IDENT\r\n", Dialect::Smtp);
    for reply in ["250 ok\r\n", "550 not you\r\n"] {
        let script = [
            ("XFORWARD IDENT=7\r\n", reply),
            ("MAIL FROM:<a@b>\r\n", "250 ok\r\n"),
            ("RCPT TO:<c@d>\r\n", "250 ok\r\n"),
            ("DATA\r\n", "354 go\r\n"),
            (CONTENT, "250 queued\r\n"),
        ];
        assert_eq!(run(&mut client, message(), &script), ["end of data: delivered 250 queued"]);
    }
    let script = [("XFORWARD IDENT=7\r\n", "421 bye\r\n")];
    assert_eq!(run(&mut client, message(), &script), ["MAIL: transient 421 bye"]);
    let mut client = ready(PLAIN, Dialect::Smtp);
    start(&mut client, message());
    assert_eq!(sent(&mut client), "MAIL FROM:<a@b>\r\n");
}

#[test]
fn eight_bit_bodies_go_out_as_they_are_unless_that_is_not_wanted() {
    let mut client = ready(PLAIN, Dialect::Smtp);
    let message = mail("<a@b> BODY=8BITMIME", &["<c@d>"]);
    let strict = Mail { eight_bit: EightBit::Fail, ..message.clone() };
    let refused = "offer: permanent 554 5.6.3 the next hop does not offer 8BITMIME";
    assert_eq!(run(&mut client, strict.clone(), &[]), [refused]);
    start(&mut client, message);
    assert_eq!(sent(&mut client), "MAIL FROM:<a@b>\r\n");
    let mut client = ready(EVERYTHING, Dialect::Smtp);
    start(&mut client, strict);
    assert!(sent(&mut client).starts_with("MAIL FROM:<a@b> SIZE=7 BODY=8BITMIME\r\n"));
}

#[test]
fn content_that_data_is_not_made_for_goes_with_its_length() {
    const CHUNKING: &str = "250-x\r\n250-PIPELINING\r\n250 CHUNKING\r\n";
    let message = || Mail { counted: true, ..mail("<a@b>", &["<c@d>", "<e@f>"]) };
    let commands = "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\n";
    for (offer, dialect, pipelined) in [
        (CHUNKING, Dialect::Smtp, true),
        (CHUNKING, Dialect::Lmtp, true),
        ("250-x\r\n250 CHUNKING\r\n", Dialect::Smtp, false),
    ] {
        let mut client = ready(offer, dialect);
        start(&mut client, message());
        let pieces = if pipelined { vec![commands] } else { commands.split_inclusive('\n').collect() };
        for (piece, at) in pieces.iter().zip(0..) {
            assert_eq!(sent(&mut client), *piece);
            let replies = ["250 ok\r\n", "250 ok\r\n", "550 no\r\n"];
            let replies = if pipelined { replies.concat() } else { replies[at].to_owned() };
            client.received(replies.as_bytes()).unwrap();
        }
        assert_eq!(sent(&mut client), "BDAT 7 LAST\r\n");
        let mut wire = Vec::new();
        let Do::Content(mut content) = client.next() else { panic!("no content wanted") };
        content.encode(b".\r\n\0", &mut wire);
        content.encode(b"\r\r\n", &mut wire);
        content.finish();
        assert_eq!(wire, b".\r\n\0\r\r\n", "as it is");
        assert!(matches!(client.next(), Do::Receive(Step::DataEnd)), "and no dot behind it");
        client.received(b"250 2.0.0 queued\r\n").unwrap();
        let outcomes = shown(&finished(&mut client));
        assert_eq!(outcomes, ["end of data: delivered 250 2.0.0 queued", "RCPT: permanent 550 no"]);
        assert!(matches!(client.next(), Do::Ready(_)));
    }
    // Nobody accepted: no content. Not offered: DATA.
    let mut client = ready(CHUNKING, Dialect::Smtp);
    let script = [(commands, "250 ok\r\n550 no\r\n550 no\r\n")];
    assert_eq!(run(&mut client, message(), &script), ["RCPT: permanent 550 no"; 2]);
    assert_eq!(sent(&mut client), "RSET\r\n");
    let mut client = ready(PIPELINING, Dialect::Smtp);
    start(&mut client, message());
    assert_eq!(sent(&mut client), format!("{commands}DATA\r\n"));
    // Refused in the middle; lost behind the last byte.
    for (end, outcome, uncertain) in [
        (Some("552 5.3.4 too big\r\n"), "end of data: permanent 552 5.3.4 too big", false),
        (None, "end of data: transient 451 4.4.2 reset", true),
    ] {
        let mut client = ready(CHUNKING, Dialect::Smtp);
        start(&mut client, message());
        sent(&mut client);
        client.received(b"250 ok\r\n250 ok\r\n250 ok\r\n").unwrap();
        sent(&mut client);
        if let Some(end) = end {
            client.received(end.as_bytes()).unwrap();
        } else {
            let Do::Content(content) = client.next() else { panic!("no content wanted") };
            content.finish();
            client.broken("reset");
        }
        let finished = finished(&mut client);
        assert_eq!((shown(&finished), finished.uncertain), (vec![outcome.to_owned(); 2], uncertain));
    }
}
