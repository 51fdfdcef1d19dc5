//! What senders are told, and when: round after round.

use std::io::Read;

use lazaret_envelope::Envelope;

use super::*;

const REFUSED: Rule = ("RCPT TO:<c", Act::Say("550 5.1.1 who?\r\n"));
const BUSY: Rule = ("RCPT TO:<e", Act::Say("450 4.2.0 busy\r\n"));

impl Rig {
    /// Mail is given up at the first failure, and told to be delayed at once.
    fn impatient(rules: &[Rule], attempts: u32) -> Self {
        Self::with(rules, |spool, server| {
            let (lifetime, delay_notice) = (Duration::ZERO, Duration::from_millis(1));
            let retry = RetryConfig {
                lifetime,
                bounce_lifetime: lifetime,
                attempts,
                delay_notice,
                ..RetryConfig::default()
            };
            Config { retry, ..config(spool, server, 2, 100) }
        })
    }

    fn run_from(&self, sender: &str, recipients: &[&str], transport: &str) {
        self.submit(self.spool.routed(sender, recipients, CONTENT), &vec![transport; recipients.len()]);
        self.settle();
    }

    /// The one notice, taken out of `incoming/`: its envelope and its content.
    pub(super) fn notice(&self) -> (Envelope, String) {
        assert_eq!(self.spool.names(Dir::Incoming).len(), 1, "one notice");
        let outbound = self.spool.claimed();
        let message = outbound.open().unwrap();
        let mut content = String::new();
        message.content().read_to_string(&mut content).unwrap();
        outbound.done(&message.envelope).unwrap();
        let Envelope { origin, transaction, .. } = &message.envelope;
        assert_eq!(origin.protocol, lazaret_envelope::Protocol::Notice);
        assert_eq!((transaction.sender.path.as_str(), transaction.recipients.len()), ("", 1));
        assert_eq!(transaction.recipients[0].address.as_str(), "s@x");
        (message.envelope, content)
    }
}

#[test]
fn the_sender_is_told_who_was_refused_and_the_message_goes() {
    let rig = Rig::new(&[REFUSED]);
    let outbound = rig.spool.routed("<s@x>", &["a@b", "c@d"], CONTENT);
    let id = outbound.name().id.to_string();
    rig.submit(outbound, &["next", "next"]);
    rig.settle();
    assert_eq!(rig.spool.counts(), [1, 0, 0, 0]);
    rig.spool.owner.flush().unwrap();
    assert_eq!(rig.spool.journals(), "");
    let (envelope, content) = rig.notice();
    assert_eq!(envelope.origin.upstream_id.unwrap().as_str(), id);
    assert!(content.contains("Final-Recipient: rfc822;c@d\r\nAction: failed\r\nStatus: 5.1.1\r\n"));
    assert!(content.contains("\r\n\r\nSubject: x\r\n") && !content.contains("a@b"), "{content}");
}

#[test]
fn mail_that_goes_round_in_a_loop_ends() {
    let rig = Rig::new(&[]);
    let run = |sender, recipients: &[&str]| {
        let transports = vec![TransportId::LOOP; recipients.len()];
        rig.delivery.submit(Job { outbound: rig.spool.routed(sender, recipients, CONTENT), transports });
        rig.settle();
    };
    assert_eq!(rig.delivery.status().len(), 2, "what has never had anything to do is not shown");
    run("<s@x>", &["a@b", "c@d", "e@f NOTIFY=NEVER"]);
    assert_eq!(rig.spool.counts(), [1, 0, 0, 0]);
    let (_, content) = rig.notice();
    for to in ["a@b", "c@d"] {
        let told = format!("Final-Recipient: rfc822;{to}\r\nAction: failed\r\nStatus: 5.4.6\r\n");
        assert!(content.contains(&told), "{content}");
    }
    assert!(!content.contains("e@f"), "{content}");
    run("<>", &["a@b"]);
    assert_eq!(rig.spool.counts(), [0, 0, 0, 1]);
    assert!(rig.spool.report().contains("cause undeliverable\n"), "{}", rig.spool.report());
    let status = rig.delivery.status().pop().unwrap();
    assert_eq!((status.transport.as_str(), status.delivered, status.failed), ("loop", 0, 4));
}

#[test]
fn who_was_refused_is_not_asked_again_and_told_of_once() {
    let rig = Rig::new(&[REFUSED, BUSY]);
    rig.run(&["a@b", "c@d", "e@f"], &["next"; 3]);
    assert_eq!(rig.spool.counts(), [1, 0, 1, 0]);
    assert!(!rig.notice().1.contains("e@f"), "told at the end of the round in which it was refused");
    for _ in 0..2 {
        rig.submit(rig.spool.woken(), &["next"; 3]);
        rig.settle();
        assert_eq!(rig.spool.counts(), [0, 0, 1, 0]);
    }
    assert_eq!((rig.server.count("RCPT TO:<c"), rig.server.count("RCPT TO:<e")), (1, 3));
    // Routed elsewhere meanwhile, the third gets it; the second has failed for good.
    rig.submit(rig.spool.woken(), &["mail"; 3]);
    rig.settle();
    assert_eq!((rig.spool.counts(), rig.mailboxes()), ([0; 4], vec!["a@b".to_owned(), "e@f".into()]));
}

#[test]
fn a_round_that_ended_before_its_notice_is_made_up_for() {
    let rig = Rig::new(&[]);
    let outbound = rig.spool.routed("<s@x>", &["a@b", "c@d"], CONTENT);
    let line = |text: &str| lazaret_envelope::Line::escaped(text);
    let key = lazaret_spool::Key {
        original: "c@d".parse().unwrap(),
        transport: line("next"),
        final_address: "c@d".parse().unwrap(),
    };
    let time = Timestamp::now();
    outbound.note(&[lazaret_spool::Done::Refused { time, key, reply: line("h:25: 550 5.7.1 no") }]).unwrap();
    rig.submit(outbound, &["next", "next"]);
    rig.settle();
    assert_eq!((rig.server.count("RCPT TO:<c"), rig.server.count("RCPT TO:<a")), (0, 1));
    assert!(rig.notice().1.contains("Status: 5.7.1\r\n"));
    assert_eq!(rig.spool.counts(), [0; 4]);
}

#[test]
fn mail_from_nobody_is_left_to_a_person_who_may_have_it_tried_again() {
    let rig = Rig::new(&[REFUSED]);
    rig.run_from("<>", &["a@b", "c@d"], "next");
    assert_eq!(rig.spool.counts(), [0, 0, 0, 1]);
    let report = rig.spool.report();
    for part in
        ["cause undeliverable\n", "detail 127.0.0.1:", " <c@d> via next: 127.0.0.1:", "550 5.1.1 who?\n"]
    {
        assert!(report.contains(part), "{part} in {report}");
    }
    rig.spool.owner.release(rig.spool.names(Dir::Deferred)[0].id).unwrap();
    rig.submit(rig.spool.claimed(), &["next", "mail"]);
    rig.settle();
    assert_eq!((rig.spool.counts(), rig.mailboxes()), ([0; 4], vec!["c@d".to_owned()]));
    assert_eq!(rig.server.count("RCPT TO:<a"), 1);
}

#[test]
fn mail_is_given_up_in_time_but_not_before_it_was_tried() {
    let rig = Rig::impatient(&[BUSY], 2);
    rig.run_from("<s@x>", &["a@b", "e@f"], "next");
    assert_eq!(rig.spool.counts(), [0, 0, 1, 0], "two rounds at least");
    rig.submit(rig.spool.woken(), &["next"; 2]);
    rig.settle();
    assert_eq!(rig.spool.counts(), [1, 0, 0, 0]);
    let (_, content) = rig.notice();
    assert!(content.contains("Status: 4.4.7\r\n") && content.contains("smtp; 450 4.2.0 busy\r\n"));
    assert_eq!((rig.server.count("RCPT TO:<a"), rig.server.count("RCPT TO:<e")), (1, 2));
}

#[test]
fn who_was_not_even_tried_at_the_last_is_told_of_too() {
    let rig = Rig::impatient(&[("greeting", Act::SayAndClose("421 go away\r\n"))], 1);
    rig.run_from("<s@x>", &["a@b", "c@d"], "next");
    let (_, content) = rig.notice();
    assert_eq!(content.matches("Status: 4.4.7\r\n").count(), 2, "{content}");
    let null = rig.spool.routed("<>", &["a@b"], CONTENT);
    rig.submit(null, &["next"]);
    rig.settle();
    assert_eq!(rig.spool.counts(), [0, 0, 0, 1], "a bounce has a lifetime too");
}

#[test]
fn nobody_is_told_what_he_does_not_want_to_know() {
    let rig = Rig::new(&[REFUSED]);
    rig.run_from("<s@x>", &["a@b", "c@d NOTIFY=NEVER", "c@e NOTIFY=SUCCESS,DELAY"], "next");
    assert_eq!(rig.spool.counts(), [0; 4]);
}

#[test]
fn a_success_is_told_where_it_is_asked_for_and_nobody_else_tells_it() {
    let rig = Rig::new(&[]);
    rig.run_from("<s@x>", &["a@b NOTIFY=SUCCESS", "c@d"], "mail");
    let (_, content) = rig.notice();
    assert!(content.contains("Final-Recipient: rfc822;a@b\r\nAction: delivered\r\nStatus: 2.0.0\r\n"));
    assert!(!content.contains("c@d") && rig.spool.counts() == [0; 4]);
    rig.run_from("<s@x>", &["a@b NOTIFY=SUCCESS,FAILURE", "c@d"], "next");
    assert!(rig.notice().1.contains("Action: relayed\r\n"));
    let offers = Rig::new(&[("EHLO", Act::Say("250-next.hop\r\n250 DSN\r\n"))]);
    offers.run_from("<s@x>", &["a@b NOTIFY=SUCCESS"], "next");
    assert_eq!((offers.spool.counts(), offers.server.count("RCPT TO:<a@b> NOTIFY=SUCCESS")), ([0; 4], 1));
}

#[test]
fn a_delay_is_told_once_to_who_asks() {
    let rig = Rig::impatient(&[BUSY], 9);
    rig.run_from("<s@x>", &["a@b NOTIFY=DELAY", "e@f NOTIFY=DELAY,FAILURE", "e@g"], "next");
    let (_, content) = rig.notice();
    assert!(content.contains("Final-Recipient: rfc822;e@f\r\nAction: delayed\r\nStatus: 4.2.0\r\n"));
    assert!(content.contains("Will-Retry-Until: ") && !content.contains("e@g") && !content.contains("a@b"));
    rig.submit(rig.spool.woken(), &["next"; 3]);
    rig.settle();
    assert_eq!(rig.spool.counts(), [0, 0, 1, 0], "no second notice");
}

#[test]
fn a_notice_names_so_many_and_counts_the_others() {
    let rig = Rig::new(&[("RCPT", Act::Say("550 5.1.1 who?\r\n"))]);
    let recipients: Vec<String> = (0..1200).map(|number| format!("u{number}@b")).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    rig.run_from("<s@x>", &recipients, "next");
    let (_, content) = rig.notice();
    assert_eq!(content.matches("Action: failed\r\n").count(), 1000);
    assert!(content.contains("200 more recipients"));
}
