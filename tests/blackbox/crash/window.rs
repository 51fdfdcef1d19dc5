//! How long the window is in which a kill makes a delivery be repeated: from
//! where the copy can be seen to where the message is gone from `outbound/`.
//!
//! Measured on an idle spool, one message after the other. It must never be
//! judged: what is slow is the machine.

use std::time::{Duration, Instant};

use super::campaign::config;
use super::copies::{self, make_boxes};
use super::ledger::SENDER;
use crate::lab::Lab;
use crate::sink::Sink;
use crate::smtp::Client;
use crate::wait::Watch;

/// Messages whose window is measured, for each transport.
const MESSAGES: usize = 100;

/// Longest wait for a message to come and to go.
const MESSAGE_TIME_MAX: Duration = Duration::from_secs(30);

/// The windows of one transport, the shortest first.
pub struct Windows(Vec<Duration>);

impl Windows {
    /// The window that `percent` of the messages did not exceed.
    pub fn percentile(&self, percent: usize) -> Duration {
        let place = (self.0.len() * percent).div_ceil(100).saturating_sub(1);
        self.0.get(place).copied().unwrap_or_default()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// Measures both transports: SMTP, then Maildir.
pub fn measure() -> [Windows; 2] {
    let sink = Sink::start(vec![]);
    let lab = Lab::with(&config(0, &sink));
    make_boxes(&lab);
    let daemon = lab.start();
    let mut client = Client::connect(daemon.smtp()).expect("a session");
    let mut sent = 0;
    let smtp = windows(&lab, &mut client, "one@sink.example.org", || {
        sent += 1;
        sink.takes_more_than(sent - 1, MESSAGE_TIME_MAX)
    });
    let mut new = Watch::on(&[copies::folder(&lab, "left").join("new")]);
    let maildir =
        windows(&lab, &mut client, "left@boxes.example.org", || new.next(MESSAGE_TIME_MAX).is_some());
    assert_eq!(daemon.terminate().code(), Some(0));
    [smtp, maildir]
}

/// Sends messages to a recipient; `seen` waits until the next copy is there.
fn windows(lab: &Lab, client: &mut Client, recipient: &str, mut seen: impl FnMut() -> bool) -> Windows {
    let mut gone = Watch::going(&[lab.spool().path("outbound")]);
    let window = |number: usize| {
        let content = format!("Subject: number {number}\r\n\r\ntext\r\n");
        client.deliver(SENDER, &[recipient], content.as_bytes()).expect("a message is taken");
        std::thread::scope(|scope| {
            let gone = scope.spawn(|| {
                gone.next(MESSAGE_TIME_MAX).expect("a message goes");
                Instant::now()
            });
            assert!(seen(), "nothing was delivered");
            let seen = Instant::now();
            gone.join().expect("whoever waits does not panic").saturating_duration_since(seen)
        })
    };
    let mut windows: Vec<Duration> = (0..MESSAGES).map(window).collect();
    windows.sort();
    Windows(windows)
}
