//! Lazaret between Exim and Exim, by the recipe of `examples/exim`.
//!
//! What comes out must be what the same Exim makes of the same mail when its way
//! to Lazaret leads straight back.

use std::net::SocketAddr;

use crate::corpus::Message;
use crate::lab::Lab;
use crate::mta::exim::{Exim, PACKAGE};
use crate::mta::passage::{Arrived, FIELDS_TWICE, compare, own, pass, real};
use crate::mta::{example, free_address};
use crate::sink::Sink;
use crate::trial::{Case, Needs};

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("exim::smtp_own", || through(&own())).needs(&[Needs::Server(PACKAGE)]),
        Case::new("exim::smtp_real", || through(&real())).needs(&[Needs::Server(PACKAGE), Needs::TestData]),
    ]
}

/// An Exim with its two ports, from which mail goes to `filter`, and in the end to
/// `sink`.
fn start(smtp: SocketAddr, back: SocketAddr, filter: SocketAddr, sink: &Sink) -> Exim {
    let port = |prefix: &str, address: SocketAddr| format!("{prefix}{}", address.port());
    let recipe = example(
        "exim/exim.conf",
        &[
            ("= 25 : 10026", &format!("= {} : {}", smtp.port(), back.port())),
            ("{10026}", &format!("{{{}}}", back.port())),
            ("port = 10025", &port("port = ", filter)),
            ("port = 2525", &port("port = ", sink.address())),
        ],
    );
    Exim::start(smtp, &recipe)
}

fn control(messages: &[Message]) -> Arrived {
    let (sink, smtp, back) = (Sink::start(Vec::new()), free_address(), free_address());
    let _exim = start(smtp, back, back, &sink);
    pass(smtp, &sink, messages, FIELDS_TWICE)
}

fn through(messages: &[Message]) {
    let without = control(messages);
    let (sink, lab) = (Sink::start(Vec::new()), Lab::new());
    let (smtp, back) = (free_address(), free_address());
    let spool = lab.path("spool");
    lab.configure_with(&example(
        "exim/lazaret.toml",
        &[
            ("/var/spool/lazaret", &spool.to_string_lossy()),
            ("127.0.0.1:10025", "127.0.0.1:0"),
            ("127.0.0.1:10026", &back.to_string()),
        ],
    ));
    let daemon = lab.start();
    let exim = start(smtp, back, daemon.smtp(), &sink);
    let with = pass(smtp, &sink, messages, FIELDS_TWICE + 1);
    compare("exim", messages, &without, &with);
    drop(exim);
    assert_eq!(daemon.terminate().code(), Some(0));
    assert_eq!(lab.spool().passing(), Vec::<String>::new(), "nothing is left on its way");
}
