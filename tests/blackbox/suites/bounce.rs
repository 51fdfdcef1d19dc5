//! What senders are told: bounces, delays, successes, and what is never told.
//!
//! Notices are read as bytes, by nothing of the program's own. A case must see
//! that the original is gone, too: told of and still there would be as wrong.

use std::time::Duration;

use crate::lab::{Config, Lab, cli};
use crate::sink::{Behaviour, Sink, Step, Taken};
use crate::smtp::Client;
use crate::trial::Case;
use crate::wait::until;

/// Longest time for a message, and what is told of it, to get anywhere.
const SHORT_TIME_MAX: Duration = Duration::from_secs(30);

/// Daemons that are killed at some moment of a bounce.
const KILLS: u32 = 12;

const SENDER: &str = "anna@sender.example";
const REFUSE: Behaviour = Behaviour::Reply("550 5.1.1 nobody of that name");
const BUSY: Behaviour = Behaviour::Reply("450 4.2.0 busy just now");
const CONTENT: &[u8] = b"Subject: of the original\r\nX-Mark: 4711\r\n\r\nbody of the original\r\n";

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("bounce::one_of_three_is_refused", one_of_three),
        Case::new("bounce::mail_is_given_up_in_time", given_up),
        Case::new("bounce::a_delay_is_told_to_who_asks", delayed),
        Case::new("bounce::never_means_never", never),
        Case::new("bounce::a_success_is_told_where_it_is_asked_for", success),
        Case::new("bounce::the_whole_message_comes_back_if_asked_for", whole),
        Case::new("bounce::mail_from_nobody_waits_for_a_person", null_sender),
        Case::new("bounce::an_international_bounce", international),
        Case::new("bounce::eight_bits_come_back_as_they_were", eight_bits),
        Case::new("bounce::an_operator_gives_up_what_is_in_quarantine", operator),
        Case::new("bounce::no_kill_loses_a_bounce", kills),
    ]
}

/// A next hop that takes everything but mail to `c@` and `e@`, and to which all
/// mail goes, notices too.
fn sink() -> Sink {
    let script =
        vec![(Step::Recipient, Some("c@r.example"), REFUSE), (Step::Recipient, Some("e@r.example"), BUSY)];
    Sink::start(script)
}

fn lab(sink: &Sink, tables: &str) -> Lab {
    Lab::with(&Config::default().to(sink.address()).tables(tables))
}

/// Everything fails at once and for good.
const IMPATIENT: &str = "[retry]\nlifetime = \"0s\"\nbounce_lifetime = \"0s\"\nattempts = 1\n";

/// Sends a message; `from` and `to` are what follows `MAIL FROM:` and `RCPT TO:`.
#[track_caller]
fn send(lab: &Lab, daemon: &crate::daemon::Daemon, from: &str, to: &[&str], content: &[u8]) {
    let mut client = Client::connect(daemon.smtp()).expect("a session");
    let mut told = client.command(&format!("MAIL FROM:{from}")).expect("a reply");
    for recipient in to {
        assert_eq!(told.code, 250, "{told:?} {}", lab.log_tail());
        told = client.command(&format!("RCPT TO:{recipient}")).expect("a reply");
    }
    assert_eq!(told.code, 250, "{told:?}");
    assert_eq!(client.command("DATA").expect("a reply").code, 354);
    client.send(&crate::smtp::stuffed(content)).expect("the content goes out");
    assert_eq!(client.reply().expect("a reply").code, 250);
}

/// The notices among what the sink took.
fn notices(sink: &Sink) -> Vec<Taken> {
    sink.taken().into_iter().filter(|taken| taken.sender.is_empty()).collect()
}

/// The one notice, as text; bytes that are no UTF-8 are replaced.
#[track_caller]
fn notice(lab: &Lab, sink: &Sink) -> String {
    let came = until(SHORT_TIME_MAX, || !notices(sink).is_empty() && lab.spool().passing().is_empty());
    let all = notices(sink);
    assert!(came && all.len() == 1, "{} notices, {:?}", all.len(), lab.spool().passing());
    assert_eq!(all[0].recipients, [SENDER]);
    let text = String::from_utf8_lossy(&all[0].content).into_owned();
    for field in
        ["Auto-Submitted: auto-replied\r\n", "MIME-Version: 1.0\r\n", "multipart/report; report-type="]
    {
        assert!(text.contains(field), "{field} in {text}");
    }
    assert!(all[0].content.split(|&byte| byte == b'\n').all(|line| line.len() <= 999));
    text
}

#[track_caller]
fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}

/// Nothing is left anywhere.
#[track_caller]
fn all_gone(lab: &Lab) {
    let states = ["incoming", "outbound", "waiting", "deferred", "journal"];
    let left = || states.iter().flat_map(|state| lab.spool().names(state)).collect::<Vec<_>>();
    assert!(until(SHORT_TIME_MAX, || left().is_empty()), "left: {:?}", left());
}

fn one_of_three() {
    let sink = sink();
    let lab = lab(&sink, "");
    let daemon = lab.start();
    let to = ["<b@r.example>", "<c@r.example> ORCPT=rfc822;Carl+2Bx@r.example", "<d@r.example>"];
    send(&lab, &daemon, &format!("<{SENDER}> ENVID=job+2B7"), &to, CONTENT);
    let text = notice(&lab, &sink);
    has(
        &text,
        &[
            "Original-Envelope-Id: job+7\r\n",
            "Original-Recipient: rfc822;Carl+x@r.example\r\nFinal-Recipient: rfc822;c@r.example\r\n",
            "Action: failed\r\nStatus: 5.1.1\r\nRemote-MTA: dns; [127.0.0.1]\r\n",
            "Diagnostic-Code: smtp; 550 5.1.1 nobody of that name\r\n",
            "Content-Type: text/rfc822-headers\r\n",
            "Subject: of the original\r\nX-Mark: 4711\r\n",
        ],
    );
    assert!(!text.contains("body of the original") && !text.contains("<b@r.example>"), "{text}");
    let others: Vec<_> = sink.taken().into_iter().filter(|taken| !taken.sender.is_empty()).collect();
    assert_eq!((others.len(), others[0].recipients.len()), (1, 2));
    all_gone(&lab);
    assert_eq!(daemon.terminate().code(), Some(0));
}

fn given_up() {
    let sink = sink();
    let lab = lab(&sink, IMPATIENT);
    let daemon = lab.start();
    send(&lab, &daemon, &format!("<{SENDER}>"), &["<b@r.example>", "<e@r.example>"], CONTENT);
    has(
        &notice(&lab, &sink),
        &[
            "Final-Recipient: rfc822;e@r.example\r\nAction: failed\r\nStatus: 4.4.7\r\n",
            "450 4.2.0 busy just now",
        ],
    );
    all_gone(&lab);
    assert_eq!(daemon.terminate().code(), Some(0));
}

fn delayed() {
    let sink = sink();
    let lab = lab(&sink, "[retry]\ndelay_notice = \"1ms\"\n");
    let daemon = lab.start();
    let to = ["<e@r.example> NOTIFY=DELAY", "<b@r.example> NOTIFY=DELAY"];
    send(&lab, &daemon, &format!("<{SENDER}>"), &to, CONTENT);
    let text = notice(&lab, &sink);
    has(&text, &["Action: delayed\r\nStatus: 4.2.0\r\n", "Will-Retry-Until: ", "Your message is delayed"]);
    assert!(!text.contains("b@r.example"), "{text}");
    assert_eq!(lab.spool().names("waiting").len(), 1);
    assert_eq!(daemon.terminate().code(), Some(0));
}

fn never() {
    let sink = sink();
    let lab = lab(&sink, IMPATIENT);
    let daemon = lab.start();
    let to = ["<c@r.example> NOTIFY=NEVER", "<e@r.example> NOTIFY=SUCCESS,DELAY"];
    send(&lab, &daemon, &format!("<{SENDER}>"), &to, CONTENT);
    all_gone(&lab);
    assert_eq!(sink.count(), 0);
    assert_eq!(daemon.terminate().code(), Some(0));
}

fn success() {
    let sink = sink();
    let here = "recipient = \"*@here.example\"\ndeliver = \"mailboxes\"\n";
    let lab = Lab::with(&Config::default().to(sink.address()).route(here));
    let daemon = lab.start();
    let to = ["<m@here.example> NOTIFY=SUCCESS", "<b@r.example> NOTIFY=SUCCESS", "<d@r.example>"];
    send(&lab, &daemon, &format!("<{SENDER}> RET=FULL"), &to, CONTENT);
    let text = notice(&lab, &sink);
    has(
        &text,
        &[
            "Final-Recipient: rfc822;m@here.example\r\nAction: delivered\r\nStatus: 2.0.0\r\n",
            "Final-Recipient: rfc822;b@r.example\r\nAction: relayed\r\nStatus: 2.0.0\r\n",
        ],
    );
    assert!(!text.contains("d@r.example") && !text.contains("body of the original"), "{text}");
    all_gone(&lab);
    assert_eq!(daemon.terminate().code(), Some(0));
}

fn whole() {
    let sink = sink();
    let lab = lab(&sink, "");
    let daemon = lab.start();
    send(&lab, &daemon, &format!("<{SENDER}> RET=FULL"), &["<c@r.example>"], CONTENT);
    let text = notice(&lab, &sink);
    has(&text, &["Content-Type: message/rfc822\r\n", std::str::from_utf8(CONTENT).expect("is ASCII")]);
    all_gone(&lab);
    assert_eq!(daemon.terminate().code(), Some(0));
}

fn null_sender() {
    let sink = sink();
    let lab = lab(&sink, IMPATIENT);
    let daemon = lab.start();
    for to in ["<c@r.example>", "<e@r.example>"] {
        send(&lab, &daemon, "<>", &[to], CONTENT);
    }
    let spool = lab.spool();
    assert!(until(SHORT_TIME_MAX, || spool.reports().len() == 2), "{:?}", spool.names("deferred"));
    assert!(spool.reports().iter().all(|report| report.cause() == "undeliverable"));
    assert_eq!((sink.count(), spool.passing()), (0, vec![]));
    // A bounce that can't be delivered either makes no other one.
    send(&lab, &daemon, "<e@r.example>", &["<c@r.example>"], CONTENT);
    assert!(until(SHORT_TIME_MAX, || spool.reports().len() == 3), "{:?}", spool.names("deferred"));
    assert!(until(SHORT_TIME_MAX, || spool.passing().is_empty()));
    assert_eq!((sink.count(), spool.names("deferred").len()), (0, 6));
    assert_eq!(daemon.terminate().code(), Some(0));
}

fn international() {
    let sink = Sink::start(vec![(Step::Recipient, Some("grün@r.example"), REFUSE)]);
    let lab = lab(&sink, "");
    let daemon = lab.start();
    let from = format!("<{SENDER}> SMTPUTF8 BODY=8BITMIME");
    send(&lab, &daemon, &from, &["<grün@r.example>"], "Subject: für alle\r\n\r\nx\r\n".as_bytes());
    has(
        &notice(&lab, &sink),
        &[
            "Content-Type: message/global-delivery-status\r\n",
            "Final-Recipient: utf-8;grün@r.example\r\n",
            "Content-Type: message/global-headers\r\n",
            "Subject: für alle\r\n",
        ],
    );
    all_gone(&lab);
    assert_eq!(daemon.terminate().code(), Some(0));
}

fn eight_bits() {
    let sink = sink();
    let lab = lab(&sink, "");
    let daemon = lab.start();
    let content = b"Subject: \xe4\xf6\xfc\r\n\r\n\xff\xfe\r\n";
    send(&lab, &daemon, &format!("<{SENDER}> RET=FULL BODY=8BITMIME"), &["<c@r.example>"], content);
    has(&notice(&lab, &sink), &["Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n"]);
    let bytes = &notices(&sink)[0].content;
    assert!(bytes.windows(content.len()).any(|window| window == content), "{}", bytes.escape_ascii());
    all_gone(&lab);
    assert_eq!(daemon.terminate().code(), Some(0));
}

fn operator() {
    let sink = sink();
    let to_sender = format!("recipient = \"{SENDER}\"\ndeliver = \"hop\"\n");
    let hop = format!("[transport.hop]\ntype = \"smtp\"\nnext_hops = [\"{}\"]\n", sink.address());
    let lab = Lab::with(&Config::without_routes().tables(&hop).route(&to_sender));
    let daemon = lab.start();
    let spool = lab.spool();
    send(&lab, &daemon, &format!("<{SENDER}>"), &["<b@r.example>", "<c@r.example> NOTIFY=NEVER"], CONTENT);
    send(&lab, &daemon, "<>", &["<b@r.example>"], CONTENT);
    assert!(until(SHORT_TIME_MAX, || spool.reports().len() == 2), "{:?}", spool.names("deferred"));
    let ids: Vec<String> = spool.ids("deferred").into_iter().collect();
    let bounced = cli(&lab, &["deferred", "bounce", "--json", &ids[0]]);
    assert_eq!(bounced.code, Some(0), "{bounced:?}");
    let json: serde_json::Value = serde_json::from_str(&bounced.stdout).expect("JSON");
    assert_eq!((&json[0]["id"], json[0]["notice"].is_string()), (&ids[0].as_str().into(), true), "{json}");
    let text = notice(&lab, &sink);
    has(&text, &["Final-Recipient: rfc822;b@r.example\r\nAction: failed\r\n", "administrator"]);
    assert!(!text.contains("c@r.example"), "{text}");
    // Nobody can be told of the other one: it stays.
    assert_eq!(daemon.terminate().code(), Some(0));
    let refused = cli(&lab, &["deferred", "bounce", &ids[1]]);
    assert!(refused.code != Some(0) && refused.stderr.contains("nobody to tell"), "{refused:?}");
    assert_eq!(spool.ids("deferred").into_iter().collect::<Vec<_>>(), ids[1..]);
}

/// Killed at one moment after the other while a message is refused: its sender is
/// told. Kills follow what appears on disk, not a clock.
fn kills() {
    let sink = sink();
    let lab = lab(&sink, "");
    lab.prepare();
    for number in 0..KILLS {
        let mut seen = crate::wait::Watch::on(&[
            lab.spool().path("journal"),
            lab.spool().path("tmp"),
            lab.spool().path("incoming"),
            lab.spool().path("outbound"),
        ]);
        let daemon = lab.start();
        send(&lab, &daemon, &format!("<s{number}@sender.example>"), &["<c@r.example>"], CONTENT);
        // Each time a few appearances later: in tmp/, incoming/, outbound/, journal/ …
        for _ in 0..number {
            if seen.next(Duration::from_millis(200)).is_none() {
                break;
            }
        }
        daemon.kill9();
        let daemon = lab.start();
        all_gone(&lab);
        assert_eq!(daemon.terminate().code(), Some(0));
    }
    let told = notices(&sink);
    for number in 0..KILLS {
        let sender = format!("s{number}@sender.example");
        let count = told.iter().filter(|taken| taken.recipients == [sender.as_str()]).count();
        // Once, unless the kill fell between the notice and its line in the journal,
        // or between the next hop's word for the notice and ours.
        assert!((1..=2).contains(&count), "{sender} was told {count} times");
    }
    crate::trial::figures(&format!("bounce, kills: {KILLS} kills, {} notices", told.len()));
}
