//! Mail that goes round in a loop ends, and its sender is told once.
//!
//! Real daemons hand mail to each other, or to themselves, until one of them has
//! had enough. A case must see that nothing goes round any more: no message may be
//! left anywhere but in quarantine.

use std::time::Duration;

use crate::daemon::Daemon;
use crate::lab::{Config, Lab};
use crate::maildir::Maildirs;
use crate::smtp::Client;
use crate::trial::Case;
use crate::wait::until;

/// Longest time for mail to go round and round, and for what comes of it to arrive.
const TIME_MAX: Duration = Duration::from_secs(60);

/// Who has a mailbox: all other mail goes round.
const HOME: &str = "recipient = \"*@home.example\"\ndeliver = \"mailboxes\"\n";

const CONTENT: &[u8] = b"Received: from elsewhere\r\nSubject: round\r\n\r\nReceived: not a hop\r\n";

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("loops::a_daemon_that_delivers_to_itself_ends", itself),
        Case::new("loops::two_daemons_that_deliver_to_each_other_end", each_other),
    ]
}

/// Takes mail at a socket beside its configuration, and hands what is not for
/// `home.example` to another.
fn config(next_hop: &str) -> Config {
    let tables = format!(
        "[[listen]]\nprotocol = \"smtp\"\naddress = \"unix:in.sock\"\n\
         [transport.round]\ntype = \"smtp\"\nnext_hops = [\"unix:{next_hop}\"]\n"
    );
    let config = Config::default().tables(&tables).route("deliver = \"round\"\n");
    config.route(HOME)
}

fn send(daemon: &Daemon, from: &str, to: &[&str]) {
    let mut client = Client::connect(daemon.smtp()).expect("a session");
    let id = client.deliver(from, to, CONTENT);
    assert!(id.is_ok(), "{id:?}");
}

/// Waits until nothing goes round; what lies in quarantine then.
#[track_caller]
fn quiet(labs: &[&Lab]) -> Vec<String> {
    let passing = || labs.iter().flat_map(|lab| lab.spool().passing()).collect::<Vec<_>>();
    // A message leaves one spool after the other has it.
    assert!(until(TIME_MAX, || passing().is_empty()), "{:?}", passing());
    labs.iter().flat_map(|lab| lab.spool().reports()).map(|report| report.cause().to_owned()).collect()
}

/// The one message in the mailboxes.
#[track_caller]
fn only(mail: &Maildirs) -> String {
    let copies = mail.copies();
    assert!(copies.values().map(Vec::len).sum::<usize>() == 1, "{copies:?}");
    let path = copies.values().flatten().next().expect("one copy");
    assert!(path.to_string_lossy().contains("/home.example/anna/"), "{path:?}");
    String::from_utf8_lossy(&std::fs::read(path).expect("readable")).into_owned()
}

/// The header fields that hosts add.
fn hops(text: &str) -> usize {
    text.lines().filter(|line| line.starts_with("Received: ")).count()
}

fn itself() {
    let lab = Lab::with(&config("in.sock"));
    let daemon = lab.start();
    send(&daemon, "anna@home.example", &["a@round.example", "b@round.example"]);
    assert!(until(TIME_MAX, || !lab.mail().copies().is_empty()), "{}", lab.log_tail());
    assert!(quiet(&[&lab]).is_empty());
    let notice = only(&lab.mail());
    for to in ["a", "b"] {
        let told = format!("Final-Recipient: rfc822;{to}@round.example\nAction: failed\nStatus: 5.4.6\n");
        assert!(notice.contains(&told), "{notice}");
    }
    // The notice's own, and those that it returns: one more than by default is allowed.
    assert_eq!(hops(&notice), 1 + 101, "{notice}");
    assert_eq!(daemon.terminate().code(), Some(0));
}

/// One of them has had enough sooner, and that is the one that tells the sender.
fn each_other() {
    let (first, second) = (Lab::new(), Lab::new());
    let socket = |lab: &Lab| lab.path("in.sock").to_string_lossy().into_owned();
    first.configure(&config(&socket(&second)).tables("[workers.limits]\nhops = 20\n"));
    second.configure(&config(&socket(&first)));
    let (one, other) = (first.start(), second.start());
    send(&one, "anna@home.example", &["a@round.example"]);
    assert!(until(TIME_MAX, || !first.mail().copies().is_empty()), "{}", first.log_tail());
    assert!(quiet(&[&first, &second]).is_empty());
    assert!(second.mail().copies().is_empty());
    assert_eq!(hops(&only(&first.mail())), 1 + 21);

    // Of mail from nobody nobody is told, and a notice that goes round itself ends as such.
    send(&one, "", &["b@round.example"]);
    send(&other, "c@round.example", &["d@round.example"]);
    let causes = || [&first, &second].iter().flat_map(|lab| lab.spool().reports()).count();
    assert!(until(TIME_MAX, || causes() == 2), "{}", first.log_tail());
    assert_eq!(quiet(&[&first, &second]), ["undeliverable"; 2]);
    only(&first.mail());
    for daemon in [one, other] {
        assert_eq!(daemon.terminate().code(), Some(0));
    }
}
