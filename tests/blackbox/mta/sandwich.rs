//! Postfix, Lazaret, Postfix, by the recipes of `examples/postfix`, and what takes
//! the mail in the end.
//!
//! It must never add to a recipe anything but places of this run, and what a case is
//! about.

use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use super::postfix::Postfix;
use super::{bracketed, example, free_address};
use crate::daemon::Daemon;
use crate::lab::Lab;
use crate::sink::Sink;

/// Who stands for the user `lazaret` of the recipe: Debian's nobody.
const PIPE_USER: (&str, u32) = ("nobody", 65534);

/// How an MTA hands mail to Lazaret.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// By SMTP.
    Smtp,
    /// By LMTP; Postfix over a Unix socket.
    Lmtp,
    /// By running `lazaret submit`.
    Pipe,
}

/// All of it. The first to be dropped stands first.
pub struct Sandwich {
    /// Takes mail from strangers, and takes it back.
    pub postfix: Postfix,
    /// Takes mail from Postfix.
    pub daemon: Daemon,
    /// Where the daemon lives.
    pub lab: Lab,
    /// Where Postfix delivers everything.
    pub sink: Sink,
}

impl Sandwich {
    /// Starts it.
    pub fn start(way: Way) -> Self {
        Self::start_with(way, |config| config)
    }

    /// Starts it with a configuration of Lazaret that is more than the recipe's.
    pub fn start_with(way: Way, more: impl FnOnce(String) -> String) -> Self {
        let (sink, back, filter, lab) = (Sink::start(Vec::new()), free_address(), free_address(), Lab::new());
        let (spool, socket) = (lab.path("spool"), lab.path("lmtp.sock"));
        let config = example(
            "postfix/lazaret.toml",
            &[
                ("/var/spool/lazaret", &spool.to_string_lossy()),
                ("/run/lazaret/lmtp.sock", &socket.to_string_lossy()),
                ("127.0.0.1:10025", &filter.to_string()),
                ("127.0.0.1:10026", &back.to_string()),
            ],
        );
        lab.configure_with(&more(config));
        open(&lab.path(""));
        let daemon = lab.start();
        let (main, master) = match way {
            Way::Smtp => recipe(filter, back),
            Way::Lmtp => (
                example("postfix/lmtp.main.cf", &[("/run/lazaret/lmtp.sock", &*socket.to_string_lossy())]),
                example("postfix/lmtp.master.cf", &[("127.0.0.1:10026", &*back.to_string())]),
            ),
            Way::Pipe => pipe_recipe(&lab, back),
        };
        let postfix = Postfix::start(sink.address(), &main, &master);
        Self { postfix, daemon, lab, sink }
    }

    /// Stops Lazaret, which must have nothing left.
    pub fn finish(self) {
        drop(self.postfix);
        assert_eq!(self.daemon.terminate().code(), Some(0));
        assert_eq!(self.lab.spool().passing(), Vec::<String>::new(), "nothing is left on its way");
    }
}

/// A configuration in which mail for `*@elsewhere.example` does not go back to the MTA
/// but to another next hop, and who asks for it is told at once that mail is delayed.
pub fn with_hop_beside(config: &str, next_hop: SocketAddr) -> String {
    let last = "[[route]]\ndeliver = \"reinject\"";
    assert!(config.contains(last), "{config}");
    config.replace(
        last,
        &format!(
            "[retry]\ndelay_notice = \"1ms\"\n\n\
             [transport.beside]\ntype = \"smtp\"\nnext_hops = [\"{next_hop}\"]\n\n\
             [[route]]\nrecipient = \"*@elsewhere.example\"\ndeliver = \"beside\"\n\n{last}"
        ),
    )
}

/// Postfix alone: the recipe, in which the way to Lazaret leads straight back.
pub fn without_lazaret(sink: &Sink) -> Postfix {
    let back = free_address();
    let (main, master) = recipe(back, back);
    Postfix::start(sink.address(), &main, &master)
}

/// The lines for main.cf and master.cf, in the state in which all is well.
fn recipe(filter: SocketAddr, back: SocketAddr) -> (String, String) {
    let places = [("[127.0.0.1]:10025", &*bracketed(filter)), ("soft_bounce = yes", "soft_bounce = no")];
    let main = example("postfix/main.cf", &places);
    (main, example("postfix/master.cf", &[("127.0.0.1:10026", &back.to_string())]))
}

fn pipe_recipe(lab: &Lab, back: SocketAddr) -> (String, String) {
    let ((name, id), program) = (PIPE_USER, program_for_others(lab));
    chown(lab.path("spool/drop"), None, Some(id)).expect("failed to change a group");
    let (main, config) = (example("postfix/pipe.main.cf", &[]), lab.config());
    let places = [
        ("127.0.0.1:10026", &*back.to_string()),
        ("user=lazaret", &format!("user={name}")),
        ("/usr/bin/lazaret", &program.to_string_lossy()),
        ("/etc/lazaret/lazaret.toml", &config.to_string_lossy()),
    ];
    (main, example("postfix/pipe.master.cf", &places))
}

/// A copy of the program: where the project lies others need not be able to go.
pub fn program_for_others(lab: &Lab) -> PathBuf {
    let program = lab.copy_of_program();
    open(&program);
    program
}

/// Lets other users in.
pub fn open(path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("failed to set a mode");
}
