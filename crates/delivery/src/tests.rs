//! Messages on their way from `outbound/` to wherever they belong.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};
use lazaret_envelope::Timestamp;
use lazaret_spool::{Dir, Outbound, Severity};

use crate::test_server::{Act, Rule, Server};
use crate::test_spool::TestSpool;
use crate::*;

mod notices;
mod untried;

const CONTENT: &str = "Subject: x\r\n\r\nx\r\n";

/// Long enough for whatever must happen on a busy machine.
const SOON: Duration = Duration::from_secs(20);

const BREAKER: BreakerConfig = BreakerConfig {
    failures: 3,
    pause_first: Duration::from_millis(200),
    pause_max: Duration::from_millis(200),
};

/// Transports `mail` (Maildir) and `next` (SMTP to the server of the rules).
struct Rig {
    spool: TestSpool,
    server: Server,
    delivery: Delivery,
    broken: Receiver<Severity>,
}

fn config(spool: &TestSpool, server: &Server, connections: usize, queue: usize) -> Config {
    let path = spool.folder().join("mail/{address}").to_str().unwrap().to_owned();
    let timeouts = Timeouts { idle: Duration::from_millis(50), ..Timeouts::default() };
    let transports = BTreeMap::from([
        ("mail".to_owned(), TransportConfig::Maildir(MaildirConfig { path, workers: 2, queue: 100 })),
        (
            "next".to_owned(),
            TransportConfig::Smtp(SmtpConfig {
                connections,
                queue,
                timeouts,
                breaker: BREAKER,
                least_progress: lazaret_envelope::ByteSize(1),
                ..toml::from_str(&format!("next_hops = [{:?}]", server.address)).unwrap()
            }),
        ),
    ]);
    Config { hostname: "hub.example".into(), transports, retry: RetryConfig::default(), connections: 500 }
}

impl Rig {
    fn new(rules: &[Rule]) -> Self {
        Self::sized(rules, 2, 100)
    }

    fn sized(rules: &[Rule], connections: usize, queue: usize) -> Self {
        Self::with(rules, |spool, server| config(spool, server, connections, queue))
    }

    fn with(rules: &[Rule], config: impl FnOnce(&TestSpool, &Server) -> Config) -> Self {
        let (spool, server) = (TestSpool::new(), Server::start(rules));
        let (tell, broken) = unbounded();
        let config = config(&spool, &server);
        let delivery = Delivery::start(&config, move |error| tell.send(error.severity()).unwrap()).unwrap();
        Self { spool, server, delivery, broken }
    }

    fn submit(&self, outbound: Outbound, transports: &[&str]) {
        let transports = transports.iter().map(|name| self.delivery.transport(name).unwrap()).collect();
        self.delivery.submit(Job { outbound, transports });
    }

    /// Hands over a new message and waits until it is moved on.
    fn run(&self, recipients: &[&str], transports: &[&str]) {
        self.submit(self.spool.routed("<s@x>", recipients, CONTENT), transports);
        self.settle();
    }

    fn settle(&self) {
        until(|| self.delivery.in_flight() == 0);
    }

    fn mailboxes(&self) -> Vec<String> {
        let folder = self.spool.folder().join("mail");
        let mut names: Vec<String> = fs::read_dir(folder)
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().path())
            .filter(|path| fs::read_dir(path.join("new")).is_ok_and(|mut files| files.next().is_some()))
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    }

    fn status(&self, transport: &str) -> Status {
        self.delivery.status().into_iter().find(|status| status.transport.as_str() == transport).unwrap()
    }
}

fn until(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < SOON, "waited in vain");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn what_everybody_has_is_gone_and_leaves_no_journal() {
    let rig = Rig::new(&[]);
    rig.run(&["a@b", "c@d"], &["next", "next"]);
    assert_eq!((rig.spool.counts(), rig.spool.journals().as_str()), ([0; 4], ""));
    rig.run(&["a@b", "c@d", "e@f"], &["mail", "next", "mail"]);
    rig.spool.owner.flush().unwrap();
    assert_eq!((rig.spool.counts(), rig.spool.journals().as_str()), ([0; 4], ""));
    assert_eq!((rig.mailboxes(), rig.server.count("message")), (vec!["a@b".to_owned(), "e@f".into()], 2));
    let Status { delivered, failed, queued, active, .. } = rig.status("mail");
    assert_eq!((delivered, failed, queued), (2, 0, 0));
    until(|| rig.status("mail").active == 0);
    assert!(active <= 1 && rig.status("next").delivered == 3);
}

#[test]
fn who_failed_for_now_is_tried_again_and_nobody_else() {
    let rig = Rig::new(&[("RCPT TO:<c", Act::Say("450 busy\r\n"))]);
    rig.run(&["a@b", "c@d", "e@f"], &["next", "next", "mail"]);
    assert_eq!(rig.spool.counts(), [0, 0, 1, 0]);
    let journal = rig.spool.journals();
    for line in [
        "<a@b> next <a@b> 127.0.0.1:",
        ": 250 queued\n",
        "<c@d> next <c@d> 127.0.0.1:",
        ": 450 busy\n",
        "<e@f> mail <e@f> /",
    ] {
        assert!(journal.contains(line), "{line} in {journal}");
    }
    let name = rig.spool.names(Dir::Waiting)[0];
    let pause = name.due.unwrap().duration_since(Timestamp::now());
    assert!(name.attempts == 1 && (40..=60).contains(&pause.as_secs()), "{pause:?}");

    rig.submit(rig.spool.woken(), &["next", "next", "mail"]);
    rig.settle();
    assert_eq!((rig.server.count("RCPT TO:<a"), rig.server.count("RCPT TO:<c")), (1, 2));
    assert_eq!(rig.spool.names(Dir::Waiting)[0].attempts, 2);
    assert_eq!(rig.mailboxes(), ["e@f"]);
    assert!(rig.status("next").trouble.unwrap().what.as_str().ends_with(": 450 busy"));
}

#[test]
fn a_next_hop_that_hangs_holds_up_nobody_else() {
    let rig = Rig::new(&[("greeting", Act::Silence)]);
    for number in 0..5 {
        let to = format!("u{number}@b");
        rig.submit(rig.spool.routed("<>", &[&to, "x@y"], CONTENT), &["mail", "next"]);
    }
    until(|| rig.mailboxes().len() == 5);
    until(|| (rig.status("next").active, rig.status("next").queued) == (2, 3));
    assert_eq!(rig.delivery.in_flight(), 5);

    let start = Instant::now();
    rig.delivery.stop(Duration::from_millis(20));
    assert!(start.elapsed() < Duration::from_secs(5), "the sockets were shut down");
    assert_eq!((rig.spool.counts(), rig.delivery.in_flight()), ([5, 0, 0, 0], 0));
    assert!(rig.spool.names(Dir::Incoming).iter().all(|name| name.attempts == 0), "nobody is blamed");
    let journal = rig.spool.journals();
    assert_eq!((journal.matches("delivered ").count(), journal.matches("failed ").count()), (5, 0));
    rig.submit(rig.spool.claimed(), &["mail", "next"]);
    assert_eq!((rig.spool.counts()[0], rig.delivery.in_flight()), (5, 0), "comes back after the stop");
}

#[test]
fn a_transaction_under_way_may_finish_at_a_stop() {
    let rig = Rig::new(&[]);
    for number in 0..20 {
        let to = format!("u{number}@b");
        rig.submit(rig.spool.routed("<>", &[&to], CONTENT), &["next"]);
    }
    rig.delivery.stop(SOON);
    let [incoming, outbound, waiting, deferred] = rig.spool.counts();
    assert_eq!((outbound, waiting, deferred), (0, 0, 0));
    until(|| rig.server.count("message") == 20 - incoming);
}

#[test]
fn a_queue_that_stands_still_overflows_to_the_disk_without_an_attempt() {
    let rig = Rig::sized(&[("greeting", Act::Silence)], 1, 1);
    for _ in 0..4 {
        rig.submit(rig.spool.routed("<>", &["a@b"], CONTENT), &["next"]);
        until(|| rig.status("next").active == 1);
    }
    assert_eq!((rig.spool.counts(), rig.status("next").parked), ([0, 2, 2, 0], 2));
    let name = rig.spool.names(Dir::Waiting)[0];
    let pause = name.due.unwrap().duration_since(Timestamp::now());
    assert!((40..=60).contains(&pause.as_secs()) && name.attempts == 0, "{name}");
    drop(rig.delivery);
    assert_eq!(rig.spool.counts(), [4, 0, 0, 0], "what only waited for room comes back at a stop");
}

#[test]
fn mail_for_a_next_hop_in_trouble_waits_for_a_probe_and_then_comes_back_by_itself() {
    let rig = Rig::sized(&[("greeting", Act::SayAndClose("421 busy\r\n"))], 1, 100);
    for _ in 0..9 {
        rig.submit(rig.spool.routed("<>", &["a@b"], CONTENT), &["next"]);
    }
    rig.settle();
    let attempts: u32 = rig.spool.names(Dir::Waiting).iter().map(|name| name.attempts).sum();
    assert!(attempts < 9, "most were not even tried");
    // Each probe takes one message; what comes back is routed again.
    let connections = rig.server.count("connected");
    until(|| rig.spool.counts()[0] == 1);
    rig.submit(rig.spool.claimed(), &["next"]);
    until(|| rig.server.count("connected") == connections + 1);
    rig.settle();
    rig.server.follow(&[]);
    until(|| {
        let there = rig.spool.counts()[0];
        (0..there).for_each(|_| rig.submit(rig.spool.claimed(), &["next"]));
        rig.server.count("message") == 9
    });
    rig.settle();
    assert_eq!((rig.spool.counts(), rig.status("next").parked), ([0; 4], 0));
    assert_eq!(rig.status("next").next_hops[0].trouble, None);
}

#[test]
fn who_has_another_transport_too_gets_it_there_first() {
    let rig = Rig::sized(&[("greeting", Act::Close)], 1, 100);
    for number in 0..5 {
        rig.run(&["a@b", &format!("u{number}@b")], &["next", "mail"]);
    }
    assert_eq!(rig.mailboxes().len(), 5);
    // One may have been called already, to probe.
    let names = [Dir::Waiting, Dir::Incoming].map(|dir| rig.spool.names(dir)).concat();
    let attempts: u32 = names.iter().map(|name| name.attempts).sum();
    assert!(names.len() == 5 && (3..=5).contains(&attempts), "{names:?}");
}

#[test]
fn many_recipients_go_out_in_several_transactions_that_are_noted_one_by_one() {
    let rig = Rig::new(&[("RCPT TO:<u1000@", Act::Say("450 busy\r\n"))]);
    let recipients: Vec<String> = (0..1500).map(|number| format!("u{number}@b")).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    rig.run(&recipients, &vec!["next"; 1500]);
    assert_eq!((rig.server.count("message"), rig.spool.counts()), (2, [0, 0, 1, 0]));
    let journal = rig.spool.journals();
    assert_eq!((journal.matches("delivered ").count(), journal.matches("failed ").count()), (1499, 1));
}

/// Messages for many in lots of ten, over at most so many connections of the
/// transport, and of all.
fn in_tens(rules: &[Rule], connections: usize, all: usize) -> Rig {
    Rig::with(rules, |spool, server| {
        let mut config = config(spool, server, connections, 100);
        let Some(TransportConfig::Smtp(smtp)) = config.transports.get_mut("next") else { unreachable!() };
        smtp.recipients_per_transaction = 10;
        smtp.timeouts.connect = Duration::from_secs(1);
        Config { connections: all, ..config }
    })
}

fn many(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("u{number}@b")).collect()
}

#[test]
fn a_message_for_many_has_half_of_the_connections_while_they_are_free() {
    let rig = in_tens(&[(".", Act::Silence)], 6, 500);
    let recipients = many(200);
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    rig.submit(rig.spool.routed("<s@x>", &recipients, CONTENT), &vec!["next"; 200]);
    until(|| rig.server.count("message") == 3);
    rig.server.follow(&[]);
    for number in 0..20 {
        rig.submit(rig.spool.routed("<s@x>", &[&format!("v{number}@b")], CONTENT), &["next"]);
    }
    // The others are not held up.
    until(|| rig.status("next").delivered == 20);
    assert_eq!(rig.server.count("message"), 23);
    assert_eq!(rig.server.count("RCPT TO:<u"), 30, "one that has it, two that help, all of them stuck");
    rig.delivery.stop(Duration::from_millis(20));
    assert_eq!(rig.spool.counts(), [1, 0, 0, 0]);
    // What was cut off is tried again; the next one finds what was done.
    let rest = Rig { spool: rig.spool, ..in_tens(&[], 6, 500) };
    rest.submit(rest.spool.claimed(), &vec!["next"; 200]);
    rest.settle();
    assert_eq!((rest.spool.counts(), rest.server.count("RCPT TO:<u")), ([0; 4], 200));
}

#[test]
fn all_are_served_once_however_many_connections_there_are() {
    for (connections, all) in [(1, 500), (8, 2), (8, 500)] {
        let rig = in_tens(&[("RCPT TO:<u77@", Act::Say("450 busy\r\n"))], connections, all);
        let recipients = many(300);
        let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
        rig.run(&recipients, &vec!["next"; 300]);
        let log = rig.server.log();
        let mut asked: Vec<&String> = log.iter().filter(|line| line.starts_with("RCPT")).collect();
        asked.sort();
        asked.dedup();
        assert_eq!((asked.len(), rig.server.count("RCPT"), rig.server.count("message")), (300, 300, 30));
        assert_eq!(rig.spool.counts(), [0, 0, 1, 0]);
        let journal = rig.spool.journals();
        assert_eq!((journal.matches("delivered ").count(), journal.matches("failed ").count()), (299, 1));
        assert_eq!(rig.status("next").delivered, 299);
    }
}

#[test]
fn when_the_next_hop_is_gone_the_rest_is_not_tried() {
    let rig = Rig::sized(&[(".", Act::Close)], 1, 100);
    let recipients: Vec<String> = (0..1500).map(|number| format!("u{number}@b")).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    rig.run(&recipients, &vec!["next"; 1500]);
    assert_eq!((rig.server.count("connected"), rig.spool.counts()), (1, [0, 0, 1, 0]));
    let journal = rig.spool.journals();
    let lines: Vec<&str> = journal.lines().filter(|line| line.starts_with("failed ")).collect();
    let [asked, rest] = lines[..] else { panic!("{lines:?}") };
    assert!(asked.contains("<u0@b>") && asked.ends_with(" (and 999 more recipients)"), "{asked}");
    assert!(rest.contains("<u1000@b>") && rest.ends_with(" (and 499 more recipients)"), "{rest}");
    assert_eq!(rig.status("next").failed, 1500);
}

#[test]
fn a_recipient_who_is_named_twice_gets_it_once() {
    let rig = Rig::new(&[]);
    rig.run(&["a@b", "a@b", "c@d"], &["next"; 3]);
    assert_eq!((rig.server.count("RCPT"), rig.spool.counts()), (2, [0; 4]));
}

#[test]
fn damaged_bytes_go_to_quarantine() {
    for transport in ["mail", "next"] {
        let rig = Rig::new(&[]);
        let outbound = rig.spool.routed("<>", &["a@b"], CONTENT);
        rig.spool.damage(&outbound);
        rig.submit(outbound, &[transport]);
        rig.settle();
        assert_eq!((rig.spool.counts(), rig.mailboxes().len()), ([0, 0, 0, 1], 0));
        let report = rig.spool.report();
        assert!(report.contains("cause damaged\nblame disk\ndetail the bytes are not those"), "{report}");
        assert_eq!(rig.server.count("message"), 0);
    }
}

#[test]
fn what_can_not_be_read_goes_to_quarantine_and_what_is_gone_is_forgotten() {
    let rig = Rig::new(&[]);
    let path =
        |outbound: &Outbound| rig.spool.owner.spool().path(Dir::Outbound).join(outbound.name().to_string());
    let outbound = rig.spool.routed("<>", &["a@b"], CONTENT);
    fs::write(path(&outbound), "nonsense\n").unwrap();
    rig.submit(outbound, &["mail"]);
    rig.settle();
    assert!(rig.spool.report().contains("cause envelope\n"));
    let outbound = rig.spool.routed("<>", &["a@b"], CONTENT);
    fs::remove_file(path(&outbound)).unwrap();
    rig.submit(outbound, &["mail"]);
    rig.settle();
    assert_eq!(rig.spool.counts(), [0, 0, 0, 1]);
}

#[test]
fn jobs_of_another_configuration_are_routed_again() {
    let rig = Rig::new(&[]);
    let mut small = config(&rig.spool, &rig.server, 1, 1);
    small.transports.remove("next");
    let other = Delivery::start(&small, |_| {}).unwrap();
    let transports = vec![rig.delivery.transport("next").unwrap()];
    other.submit(Job { outbound: rig.spool.routed("<>", &["a@b"], CONTENT), transports });
    assert_eq!((rig.spool.counts(), other.in_flight()), ([0, 0, 1, 0], 0));
    assert_eq!(other.transport("next"), None);
    // For another number of recipients than there are.
    rig.run(&["a@b"], &["mail", "mail"]);
    assert!(rig.spool.report().contains("detail 2 recipients were routed, but the envelope has 1\n"));
}

#[test]
fn a_broken_spool_is_told_once_and_not_touched_again() {
    let rig = Rig::new(&[]);
    let outbound = rig.spool.routed("<>", &["a@b"], CONTENT);
    let journal = lazaret_spool::layout::journal_name(outbound.name().id);
    fs::create_dir(rig.spool.owner.spool().path(Dir::Journal).join(journal)).unwrap();
    rig.submit(outbound, &["mail"]);
    assert_eq!(rig.broken.recv_timeout(SOON), Ok(Severity::Broken));
    rig.run(&["a@b"], &["mail"]);
    rig.delivery.stop(SOON);
    assert_eq!((rig.spool.counts(), rig.mailboxes().len()), ([0, 2, 0, 0], 0));
    assert!(rig.broken.try_recv().is_err());
}

#[test]
fn jobs_may_come_from_everywhere_at_once() {
    let rig = Rig::sized(&[], 4, 2);
    let jobs: Vec<Outbound> =
        (0..80).map(|number| rig.spool.routed("<>", &[&format!("u{number}@b"), "x@y"], CONTENT)).collect();
    let jobs = std::sync::Mutex::new(jobs);
    let submitted = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(outbound) = { jobs.lock().unwrap().pop() } {
                    rig.submit(outbound, &["next", "mail"]);
                    submitted.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    rig.settle();
    // Some may have found no room while the other transport had nothing to do.
    until(|| {
        let there = rig.spool.counts()[0];
        (0..there).for_each(|_| rig.submit(rig.spool.claimed(), &["next", "mail"]));
        rig.delivery.is_idle() && rig.spool.counts()[0] == 0
    });
    assert_eq!((submitted.into_inner(), rig.spool.counts()), (80, [0; 4]));
    assert_eq!((rig.server.count("message"), rig.status("mail").delivered), (80, 80));
}
