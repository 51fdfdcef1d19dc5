//! Mail for a next hop that nobody may ask: it is given up in its time, untried.

use super::*;

/// A rig whose next hop hangs up, and is not asked again after that.
fn rig(attempts: u32) -> Rig {
    Rig::with(&[("greeting", Act::Close)], |spool, server| {
        let mut config = config(spool, server, 1, 100);
        let hour = Duration::from_secs(3600);
        if let Some(TransportConfig::Smtp(next)) = config.transports.get_mut("next") {
            next.breaker = BreakerConfig { failures: 1, pause_first: hour, pause_max: hour };
        }
        let (lifetime, delay_notice) = (Duration::ZERO, Duration::ZERO);
        let retry =
            RetryConfig { lifetime, bounce_lifetime: lifetime, attempts, delay_notice, ..config.retry };
        Config { retry, ..config }
    })
}

#[test]
fn the_sender_is_told_when_the_time_of_untried_mail_is_over() {
    let (rig, transports) = (rig(3), ["next", "next", "mail"]);
    rig.run(&["a@b", "c@d", "e@f"], &transports);
    assert_eq!((rig.server.count("connected"), rig.mailboxes()), (1, vec!["e@f".to_owned()]));
    // Its lifetime is over, but not its least number of attempts: it waits.
    assert_eq!((rig.spool.counts(), rig.spool.names(Dir::Waiting)[0].attempts), ([0, 0, 1, 0], 1));
    rig.submit(rig.spool.woken(), &transports);
    rig.settle();
    assert_eq!((rig.spool.counts(), rig.spool.names(Dir::Waiting)[0].attempts), ([0, 0, 1, 0], 2));
    rig.submit(rig.spool.woken(), &transports);
    rig.settle();
    assert_eq!(rig.spool.counts(), [1, 0, 0, 0], "it is given up, and there is a notice");
    let (_, notice) = rig.notice();
    for to in ["a@b", "c@d"] {
        let told = format!("Final-Recipient: rfc822;{to}\r\nAction: failed\r\nStatus: 4.4.7\r\n");
        assert!(notice.contains(&told), "{notice}");
    }
    assert!(notice.contains("not asked now: in trouble for ") && !notice.contains("e@f"), "{notice}");
    assert_eq!(rig.server.count("connected"), 1, "nobody asked the next hop again");
}

#[test]
fn untried_mail_from_nobody_goes_to_quarantine() {
    let rig = rig(1);
    for count in 1..=2 {
        rig.submit(rig.spool.routed("<>", &["a@b"], CONTENT), &["next"]);
        rig.settle();
        assert_eq!(rig.spool.counts(), [0, 0, 0, count]);
    }
    assert_eq!(rig.server.count("connected"), 1);
}
