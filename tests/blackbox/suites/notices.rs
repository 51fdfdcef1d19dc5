//! What Lazaret tells senders, through a real Postfix and a real Exim to the sender's
//! mailbox.
//!
//! Mail for `elsewhere.example` goes to a next hop of its own, which has trouble; all
//! else goes back to the MTA, notices too. A notice must never be answered by another
//! one.

use std::net::SocketAddr;
use std::time::Duration;

use crate::lab::Lab;
use crate::mta::exim::{self, Exim};
use crate::mta::exim_sandwich::EximSandwich;
use crate::mta::postfix::{self, Postfix};
use crate::mta::sandwich::{Sandwich, Way, with_hop_beside};
use crate::sink::{Behaviour, Sink, Step, Taken};
use crate::smtp::{Client, stuffed};
use crate::trial::{Case, Needs};
use crate::wait::until;

/// Longest time until something has arrived.
const ARRIVAL_TIME_MAX: Duration = Duration::from_secs(120);

const SENDER: &str = "alma@example.org";
const RECIPIENT: &str = "bo@elsewhere.example";

const MESSAGE: &[u8] = b"From: alma@example.org\r\nTo: bo@elsewhere.example\r\n\
    Date: Mon, 02 Nov 2026 10:00:00 +0000\r\nMessage-ID: <2@example.org>\r\nSubject: told of\r\n\r\nHello.\r\n";

const REFUSED: Behaviour = Behaviour::Reply("550 5.1.1 nobody here");
const BUSY: Behaviour = Behaviour::Reply("450 4.2.0 busy just now");

/// The cases.
pub fn cases() -> Vec<Case> {
    const POSTFIX: &[Needs] = &[Needs::Server(postfix::PACKAGE)];
    const EXIM: &[Needs] = &[Needs::Server(exim::PACKAGE)];
    vec![
        Case::new("notices::a_bounce_through_postfix", || through_postfix(Way::Smtp, bounce)).needs(POSTFIX),
        Case::new("notices::a_delay_through_postfix", || through_postfix(Way::Lmtp, delay)).needs(POSTFIX),
        Case::new("notices::one_refused_by_the_sender_ends_in_postfix", || {
            through_postfix(Way::Smtp, refused)
        })
        .needs(POSTFIX),
        Case::new("notices::a_bounce_through_exim", || through_exim(Way::Smtp, bounce)).needs(EXIM),
        Case::new("notices::a_delay_through_exim", || through_exim(Way::Lmtp, delay)).needs(EXIM),
        Case::new("notices::one_refused_by_the_sender_ends_in_exim", || through_exim(Way::Smtp, refused))
            .needs(EXIM),
    ]
}

/// Whom a case has to do with.
struct Parts<'a> {
    /// Where strangers bring mail.
    smtp: SocketAddr,
    lab: &'a Lab,
    /// The sender's mailbox, and all others.
    mailboxes: &'a Sink,
    /// The next hop for `elsewhere.example`.
    beside: &'a Sink,
}

fn through_postfix(way: Way, case: fn(&Parts<'_>)) {
    let beside = Sink::start(Vec::new());
    let sandwich = Sandwich::start_with(way, |config| with_hop_beside(&config, beside.address()));
    let Sandwich { postfix, lab, sink, .. } = &sandwich;
    case(&Parts { smtp: postfix.smtp(), lab, mailboxes: sink, beside: &beside });
    assert!(until(ARRIVAL_TIME_MAX, || Postfix::queued(postfix) == 0), "something is left in Postfix");
    sandwich.finish();
}

fn through_exim(way: Way, case: fn(&Parts<'_>)) {
    let beside = Sink::start(Vec::new());
    let sandwich = EximSandwich::start_with(way, |config| with_hop_beside(&config, beside.address()));
    let EximSandwich { exim, lab, sink, .. } = &sandwich;
    case(&Parts { smtp: Exim::smtp(exim), lab, mailboxes: sink, beside: &beside });
    sandwich.finish();
}

impl Parts<'_> {
    fn send(&self, recipient: &str) {
        let mut client = Client::connect(self.smtp).expect("a session with the MTA");
        for (command, code) in
            [(&*format!("MAIL FROM:<{SENDER}>"), 250), (&format!("RCPT TO:{recipient}"), 250), ("DATA", 354)]
        {
            let reply = client.command(command).expect("a reply");
            assert_eq!(reply.code, code, "{command}: {}", reply.text);
        }
        client.send(&stuffed(MESSAGE)).expect("the message is sent");
        assert_eq!(client.reply().expect("a reply").code, 250);
    }

    /// What has arrived in the mailboxes, once it is so much and Lazaret is idle.
    #[track_caller]
    fn arrive(&self, count: usize) -> Vec<Taken> {
        let arrived = || self.mailboxes.count() >= count && self.lab.spool().passing().is_empty();
        assert!(
            until(ARRIVAL_TIME_MAX, arrived),
            "{} of {count}: {}",
            self.mailboxes.count(),
            self.lab.log_tail()
        );
        let taken = self.mailboxes.taken();
        assert_eq!(taken.len(), count, "more than was expected");
        taken
    }

    /// The one notice, which has these parts.
    #[track_caller]
    fn notice(&self, parts: &[&str]) {
        let notice = self.arrive(1).remove(0);
        assert_eq!((notice.sender.as_str(), &notice.recipients[..]), ("", &[SENDER.to_owned()][..]));
        let text = String::from_utf8_lossy(&notice.content).into_owned();
        let always = [
            "Content-Type: multipart/report; report-type=",
            "Auto-Submitted: auto-replied",
            "Final-Recipient: rfc822;bo@elsewhere.example",
            "Message-ID: <2@example.org>",
        ];
        for part in always.iter().chain(parts) {
            assert!(text.contains(part), "{part} is missing: {text}");
        }
    }
}

fn bounce(parts: &Parts<'_>) {
    parts.beside.follow(vec![(Step::Recipient, Some(RECIPIENT), REFUSED)]);
    parts.send(&format!("<{RECIPIENT}>"));
    parts.notice(&["Action: failed", "Status: 5.1.1", "550 5.1.1 nobody here"]);
    assert!(parts.lab.spool().ids("waiting").is_empty() && parts.lab.spool().ids("deferred").is_empty());
}

/// The MTA has handed on that this is wanted.
fn delay(parts: &Parts<'_>) {
    parts.beside.follow(vec![(Step::Recipient, Some(RECIPIENT), BUSY)]);
    parts.send(&format!("<{RECIPIENT}> NOTIFY=DELAY"));
    parts.notice(&["Action: delayed", "Status: 4.2.0", "Will-Retry-Until: "]);
    assert_eq!(parts.lab.spool().ids("waiting").len(), 1);
}

/// The sender's own mailbox refuses the notice: nobody is told of that.
fn refused(parts: &Parts<'_>) {
    parts.beside.follow(vec![(Step::Recipient, Some(RECIPIENT), REFUSED)]);
    parts.mailboxes.follow(vec![(Step::Recipient, Some(SENDER), REFUSED)]);
    parts.send(&format!("<{RECIPIENT}>"));
    let asked = || {
        let told = |line: &&String| line.starts_with("RCPT") && line.contains(SENDER);
        parts.mailboxes.heard().iter().filter(told).count()
    };
    assert!(
        until(ARRIVAL_TIME_MAX, || asked() > 0),
        "the notice does not get there: {}",
        parts.lab.log_tail()
    );
    // Mail goes on meanwhile, and nothing else arrives with it.
    parts.send("<cara@example.net>");
    assert_eq!(parts.arrive(1)[0].recipients, ["cara@example.net"]);
    assert_eq!(asked(), 1);
    assert!(parts.lab.spool().ids("waiting").is_empty() && parts.lab.spool().ids("deferred").is_empty());
}
