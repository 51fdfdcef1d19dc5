//! Postfix, Lazaret, Postfix, by the recipes of `examples/postfix`, and what takes
//! the mail in the end.
//!
//! It must never add to a recipe anything but places of this run.

use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use super::postfix::Postfix;
use super::{bracketed, example, free_address};
use crate::daemon::Daemon;
use crate::lab::{LAZARET, Lab};
use crate::sink::Sink;

/// Who stands for the user `lazaret` of the recipe: Debian's nobody.
const PIPE_USER: (&str, u32) = ("nobody", 65534);

/// How Postfix hands mail to Lazaret.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// `content_filter` to a transport of smtp(8).
    Smtp,
    /// To one of lmtp(8), over a Unix socket.
    Lmtp,
    /// To one of pipe(8), which runs `lazaret submit`.
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
        let (sink, back, filter, lab) = (Sink::start(Vec::new()), free_address(), free_address(), Lab::new());
        let (spool, socket) = (lab.path("spool"), lab.path("lmtp.sock"));
        lab.configure_with(&example(
            "postfix/lazaret.toml",
            &[
                ("/var/spool/lazaret", &spool.to_string_lossy()),
                ("/run/lazaret/lmtp.sock", &socket.to_string_lossy()),
                ("127.0.0.1:10025", &filter.to_string()),
                ("127.0.0.1:10026", &back.to_string()),
            ],
        ));
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
    let (name, id) = PIPE_USER;
    // Where the project lies others need not be able to go.
    let program = lab.path("lazaret");
    std::fs::copy(LAZARET, &program).expect("failed to copy the program");
    open(&program);
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

/// Lets other users in.
fn open(path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("failed to set a mode");
}
