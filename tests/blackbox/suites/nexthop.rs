//! A next hop in trouble delays its own mail and nobody else's.
//!
//! Beside a healthy one stands one that accepts and then hangs, at each step in
//! turn, or says a byte now and then. Deadlines are short, but no time is
//! asserted: what must happen is waited for. The hung one must never be told
//! apart by anything but what it does.

use std::time::Duration;

use crate::daemon::Daemon;
use crate::lab::{Config, Lab, cli};
use crate::sink::{Behaviour, Sink, Skills, Step};
use crate::smtp::Client;
use crate::trial::Case;
use crate::wait::until;

/// Longest time for whatever must happen.
const SOON: Duration = Duration::from_secs(60);

/// Messages for each of the two: more than the hung one's queue holds.
const MESSAGES: usize = 60;

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("nexthop::hangs_before_its_banner", no_banner),
        Case::new("nexthop::hangs_after_ehlo", || {
            hung(Step::Hello, Behaviour::Hang, "no reply to hello for 300ms")
        }),
        Case::new("nexthop::hangs_after_mail", || {
            hung(Step::Mail, Behaviour::Hang, "no reply to MAIL for 300ms")
        }),
        Case::new("nexthop::hangs_after_rcpt", || {
            hung(Step::Recipient, Behaviour::Hang, "no reply to RCPT for 300ms");
        }),
        Case::new("nexthop::hangs_after_data", || {
            hung(Step::Data, Behaviour::Hang, "no reply to DATA for 300ms")
        }),
        Case::new("nexthop::hangs_after_the_final_dot", || {
            hung(Step::Dot, Behaviour::Hang, "no reply to the final dot for 300ms");
        }),
        Case::new("nexthop::says_a_byte_now_and_then", || {
            hung(Step::Greeting, Behaviour::Drip, "no banner for 300ms");
        }),
        Case::new("nexthop::hangs_up", || hung(Step::Greeting, Behaviour::Close, "closed the connection")),
        Case::new("nexthop::is_too_busy", || {
            hung(Step::Greeting, Behaviour::Reply("421 4.3.2 \x1b[2Jbusy"), "421 4.3.2 \\u{1b}[2Jbusy");
        }),
        Case::new("nexthop::lmtp_answers_for_each_recipient", lmtp),
        Case::new("nexthop::what_is_no_text_goes_by_its_length", chunking),
        Case::new("nexthop::the_second_takes_what_the_first_does_not", failover),
    ]
}

fn no_banner() {
    hung(Step::Greeting, Behaviour::Hang, "accepts connections, no banner for 300ms");
}

fn transport(name: &str, next_hops: &[&Sink]) -> String {
    let next_hops: Vec<String> = next_hops.iter().map(|sink| format!("\"{}\"", sink.address())).collect();
    format!(
        "[transport.{name}]\ntype = \"smtp\"\nnext_hops = [{}]\nconnections = 4\nqueue = 20\n\
         breaker = {{ failures = 2, pause_first = \"200ms\", pause_max = \"400ms\" }}\n\
         [transport.{name}.timeouts]\ngreeting = \"300ms\"\ncommand = \"300ms\"\nend_of_data = \"300ms\"\n",
        next_hops.join(", ")
    )
}

fn status(lab: &Lab, transport: &str) -> serde_json::Value {
    let status = cli(lab, &["status", "--json"]);
    let status: serde_json::Value =
        serde_json::from_str(&status.stdout).unwrap_or_else(|error| panic!("{error}: {status:?}"));
    let all = status["daemon"]["transports"].as_array().expect("a list of transports").clone();
    all.into_iter().find(|one| one["name"] == transport).expect("the transport is listed")
}

fn send(daemon: &Daemon, recipients: &[&str]) {
    let mut client = Client::connect(daemon.smtp()).expect("a session");
    for number in 0..MESSAGES * recipients.len() {
        let recipient = recipients[number % recipients.len()];
        let message = format!("Subject: {number}\r\n\r\nfor {recipient}\r\n");
        client.deliver("sender@example.com", &[recipient], message.as_bytes()).expect("the message is taken");
    }
}

/// The next hop does `behaviour` at `step`, which is told in these words; then it
/// is well again.
fn hung(step: Step, behaviour: Behaviour, words: &str) {
    let (well, ill) = (Sink::start(Vec::new()), Sink::start(vec![(step, None, behaviour)]));
    let config = Config::without_routes()
        .tables(&transport("well", &[&well]))
        .tables(&transport("ill", &[&ill]))
        .tables("[retry]\nfirst = \"1s\"\nmax = \"3s\"\n")
        .route("deliver = \"well\"\n")
        .route("recipient = \"*@ill.example\"\ndeliver = \"ill\"\n");
    let lab = Lab::with(&config);
    let daemon = lab.start();
    send(&daemon, &["a@ill.example", "a@well.example"]);
    assert!(until(SOON, || well.count() == MESSAGES), "the healthy one has its mail: {}", well.count());

    let named = |line: &str| {
        line.contains("next hop in trouble")
            && line.contains(&ill.address().to_string())
            && line.contains(words)
    };
    assert!(until(SOON, || lab.log().lines().any(named)), "the log names it: {words}");
    let in_trouble = || {
        let next_hop = &status(&lab, "ill")["next_hops"][0];
        next_hop["trouble"].as_str().is_some_and(|trouble| trouble.contains(words))
            && next_hop["breaker"] != "closed"
    };
    assert!(until(SOON, in_trouble), "status names the trouble: {}", status(&lab, "ill"));
    let text = cli(&lab, &["status"]).stdout;
    assert!(text.contains("IN TROUBLE for") && text.contains(words), "{text}");
    assert_eq!(status(&lab, "well")["next_hops"][0]["trouble"], serde_json::Value::Null);
    assert_eq!(ill.count(), 0);

    ill.follow(Vec::new());
    assert!(until(SOON, || ill.count() >= MESSAGES), "it has its mail: {}", ill.count());
    assert!(until(SOON, || lab.spool().passing().is_empty()), "{:?}", lab.spool().passing());
    assert_eq!(well.count(), MESSAGES, "nothing was delivered twice");
    assert_eq!(status(&lab, "ill")["next_hops"][0]["breaker"], "closed");
    assert_eq!(daemon.terminate().code(), Some(0));
    assert!(!lab.log().contains("somebody else moved it"), "nobody did: {}", lab.log());
}

/// A next hop that hangs is passed over, and comes first again when it is well.
fn failover() {
    let (second, first) =
        (Sink::start(Vec::new()), Sink::start(vec![(Step::Greeting, None, Behaviour::Hang)]));
    let config =
        Config::without_routes().tables(&transport("both", &[&first, &second])).route("deliver = \"both\"\n");
    let lab = Lab::with(&config);
    let daemon = lab.start();
    send(&daemon, &["a@example.org"]);
    assert!(until(SOON, || second.count() == MESSAGES), "{}", second.count());
    assert_eq!(lab.spool().names("waiting"), Vec::<String>::new(), "nothing had to wait");
    first.follow(Vec::new());
    assert!(
        until(SOON, || {
            send(&daemon, &["a@example.org"]);
            first.count() > 0
        }),
        "a probe finds that it is well"
    );
    assert_eq!(daemon.terminate().code(), Some(0));
}

/// What DATA is not made for goes by BDAT where that is offered, and unchanged in any
/// case.
fn chunking() {
    let skills = Skills { offers: &["CHUNKING"], ..Skills::default() };
    let (takes, lacks) = (Sink::skilled(Vec::new(), skills), Sink::start(Vec::new()));
    let config = Config::without_routes()
        .tables(&transport("takes", &[&takes]))
        .tables(&transport("lacks", &[&lacks]).replace("\"smtp\"", "\"lmtp\""))
        .route("deliver = \"takes\"\n")
        .route("recipient = \"*@lacks.example\"\ndeliver = \"lacks\"\n");
    let lab = Lab::with(&config);
    let daemon = lab.start();
    let text = b"Subject: text\r\n\r\n.x\r\n".to_vec();
    let long = ["Subject: long\r\n\r\n.", &"x".repeat(999), "\r\n.\r\n"].concat().into_bytes();
    let large = ["Subject: large\r\n\r\n\0", &".0123456789\r\n".repeat(100_000)].concat().into_bytes();
    let messages = [text, long, large];
    let mut client = Client::connect(daemon.smtp()).expect("a session");
    for message in &messages {
        let to = ["a@takes.example", "b@lacks.example"];
        client.deliver("sender@example.com", &to, message).expect("the message is taken");
    }
    for sink in [&takes, &lacks] {
        assert!(until(SOON, || sink.count() == messages.len()), "{}\n{}", sink.count(), lab.log_tail());
        let taken = sink.taken();
        for message in &messages {
            assert_eq!(taken.iter().filter(|taken| taken.content.ends_with(message)).count(), 1);
        }
    }
    let said = |sink: &Sink, verb: &str| sink.heard().iter().filter(|line| line.starts_with(verb)).count();
    assert_eq!((said(&takes, "DATA"), said(&takes, "BDAT")), (1, 2), "{:?}", takes.heard());
    assert_eq!((said(&lacks, "DATA"), said(&lacks, "BDAT")), (3, 0), "{:?}", lacks.heard());
    assert_eq!(daemon.terminate().code(), Some(0));
}

/// LMTP to several recipients over a connection that serves several messages.
fn lmtp() {
    let sink =
        Sink::start(vec![(Step::Recipient, Some("no@example.org"), Behaviour::Reply("450 4.2.1 busy"))]);
    let table = transport("local", &[&sink]).replace("\"smtp\"", "\"lmtp\"");
    let lab = Lab::with(&Config::without_routes().tables(&table).route("deliver = \"local\"\n"));
    let daemon = lab.start();
    let mut client = Client::connect(daemon.smtp()).expect("a session");
    for number in 0..3 {
        let message = format!("Subject: {number}\r\n\r\n.x\r\n");
        let to = ["a@example.org", "no@example.org", "b@example.org"];
        client.deliver("sender@example.com", &to, message.as_bytes()).expect("the message is taken");
    }
    assert!(until(SOON, || lab.spool().names("waiting").len() == 3), "{}", lab.log_tail());
    let taken = sink.taken();
    assert_eq!(taken.len(), 3);
    assert!(taken.iter().all(|taken| taken.recipients == ["a@example.org", "b@example.org"]), "{taken:?}");
    assert!(taken.iter().all(|taken| taken.content.ends_with(b"\r\n\r\n.x\r\n")), "{taken:?}");
    assert_eq!(daemon.terminate().code(), Some(0));
}
