//! Exim, Lazaret, Exim, by the recipes of `examples/exim`, and what takes the mail in
//! the end.
//!
//! It must never add to a recipe anything but places of this run, and what a case is
//! about.

use std::net::SocketAddr;
use std::os::unix::fs::chown;

use super::exim::{Exim, OWNER};
use super::sandwich::{Way, open, program_for_others};
use super::{example, free_address};
use crate::daemon::Daemon;
use crate::lab::Lab;
use crate::sink::Sink;

/// All of it. The first to be dropped stands first.
pub struct EximSandwich {
    /// Takes mail from strangers, and takes it back.
    pub exim: Exim,
    /// Takes mail from Exim.
    pub daemon: Daemon,
    /// Where the daemon lives.
    pub lab: Lab,
    /// Where Exim delivers everything.
    pub sink: Sink,
}

impl EximSandwich {
    /// Starts it.
    pub fn start(way: Way) -> Self {
        Self::start_with(way, |config| config)
    }

    /// Starts it with a configuration of Lazaret that is more than the recipe's.
    pub fn start_with(way: Way, more: impl FnOnce(String) -> String) -> Self {
        let (sink, lab, lmtp, back) = (Sink::start(Vec::new()), Lab::new(), free_address(), free_address());
        let spool = lab.path("spool");
        let config = example(
            "exim/lazaret.toml",
            &[
                ("/var/spool/lazaret", &spool.to_string_lossy()),
                ("127.0.0.1:10025", "127.0.0.1:0"),
                ("127.0.0.1:10024", &lmtp.to_string()),
                ("127.0.0.1:10026", &back.to_string()),
            ],
        );
        lab.configure_with(&more(config));
        open(&lab.path(""));
        let daemon = lab.start();
        let exim = match way {
            Way::Smtp => by_smtp(back, daemon.smtp(), &sink),
            Way::Lmtp => {
                let port = format!("port = {}", lmtp.port());
                start("exim/lmtp.exim.conf", back, &sink, &[("port = 10024", &port)])
            }
            Way::Pipe => by_pipe(&lab, back, &sink),
        };
        Self { exim, daemon, lab, sink }
    }

    /// Stops Lazaret, which must have nothing left.
    pub fn finish(self) {
        drop(self.exim);
        assert_eq!(self.daemon.terminate().code(), Some(0));
        assert_eq!(self.lab.spool().passing(), Vec::<String>::new(), "nothing is left on its way");
    }
}

/// Exim alone: the recipe, in which the way to Lazaret leads straight back.
pub fn without_lazaret(sink: &Sink) -> Exim {
    let back = free_address();
    by_smtp(back, back, sink)
}

fn by_smtp(back: SocketAddr, filter: SocketAddr, sink: &Sink) -> Exim {
    start("exim/exim.conf", back, sink, &[("port = 10025", &format!("port = {}", filter.port()))])
}

fn by_pipe(lab: &Lab, back: SocketAddr, sink: &Sink) -> Exim {
    let (program, config) = (program_for_others(lab), lab.config());
    chown(lab.path("spool/drop"), None, Some(OWNER)).expect("failed to change a group");
    let places = [
        // Here Exim has no right to become somebody else.
        ("user = lazaret", "user = Debian-exim"),
        ("/usr/bin/lazaret", &program.to_string_lossy()),
        ("/etc/lazaret/lazaret.toml", &config.to_string_lossy()),
    ];
    start("exim/pipe.exim.conf", back, sink, &places)
}

/// An Exim with two ports, from which mail goes to `sink` in the end.
fn start(recipe: &str, back: SocketAddr, sink: &Sink, places: &[(&str, &str)]) -> Exim {
    let smtp = free_address();
    let ports = format!("= {} : {}", smtp.port(), back.port());
    let (guard, out) = (format!("{{{}}}", back.port()), format!("port = {}", sink.address().port()));
    let common = [("= 25 : 10026", &*ports), ("{10026}", &guard), ("port = 2525", &out)];
    Exim::start(smtp, &example(recipe, &[&common, places].concat()))
}
