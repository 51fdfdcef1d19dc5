//! An Exim of our own: Debian's program, the configuration of a recipe, a spool in
//! a temporary folder.
//!
//! The program wants a user whom only its package's installation makes; a list of
//! users of our own, by `libnss_wrapper`, has him. It must never listen anywhere
//! but on loopback.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::{end, libraries, root};
use crate::process::Owned;
use crate::smtp::Client;
use crate::wait::until;

/// The Debian package.
pub const PACKAGE: &str = "exim4-daemon-light";

/// Longest time until it listens.
const START_TIME_MAX: Duration = Duration::from_secs(30);

/// What stands for the user `Debian-exim`: the uid and gid of `daemon`.
pub const OWNER: u32 = 1;

/// A running Exim.
pub struct Exim {
    daemon: Owned,
    folder: TempDir,
    smtp: SocketAddr,
}

impl Exim {
    /// Starts one with a recipe, in which only the folder for its files is still
    /// to be replaced; `smtp` is where it then listens.
    pub fn start(smtp: SocketAddr, recipe: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("exim-").tempdir().expect("failed to make a folder");
        let path = folder.path();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("failed to set a mode");
        for name in ["spool", "log", "run"] {
            fs::create_dir(path.join(name)).expect("failed to make a folder");
            chown(path.join(name), Some(OWNER), Some(OWNER)).expect("failed to change an owner");
        }
        let here = path.display();
        let recipe = recipe
            .replace("/var/spool/exim4", &format!("{here}/spool"))
            .replace("/var/log/exim4", &format!("{here}/log"))
            .replace("/run/exim4", &format!("{here}/run"));
        fs::write(path.join("exim.conf"), base() + &recipe).expect("failed to write the configuration");
        let root = root(PACKAGE);
        let libraries = libraries(&root, &[]);
        let mut wrapper = libraries.split(':').map(|folder| Path::new(folder).join("libnss_wrapper.so"));
        let wrapper = wrapper.find(|path| path.exists()).expect("libnss_wrapper is unpacked, too");
        let child = Command::new(root.join("usr/sbin/exim4"))
            .arg("-C")
            .arg(path.join("exim.conf"))
            .args(["-bdf", "-q1s"])
            .env("LD_LIBRARY_PATH", &libraries)
            .env("LD_PRELOAD", wrapper)
            .env(
                "NSS_WRAPPER_PASSWD",
                with_owner(path, "passwd", &format!("x:{OWNER}:{OWNER}::/:/bin/false")),
            )
            .env("NSS_WRAPPER_GROUP", with_owner(path, "group", &format!("x:{OWNER}:")))
            // Deliveries and queue runs go on when the daemon has ended.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("failed to start Exim: {error}"));
        let mut exim = Self { daemon: Owned(child), folder, smtp };
        let listens = until(START_TIME_MAX, || Client::connect(smtp).is_ok());
        assert!(listens && exim.daemon.is_alive(), "Exim does not listen:\n{}", exim.log());
        exim
    }

    /// Where it takes mail from strangers.
    pub fn smtp(&self) -> SocketAddr {
        self.smtp
    }

    /// Its log.
    pub fn log(&self) -> String {
        let log = |name| fs::read(self.folder.path().join("log").join(name)).unwrap_or_default();
        String::from_utf8_lossy(&[log("mainlog"), log("paniclog")].concat()).into_owned()
    }
}

impl Drop for Exim {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("Exim's log ended so:\n{}", lines[lines.len().saturating_sub(60)..].join("\n"));
        }
        end(&mut self.daemon, self.folder.path());
    }
}

/// What stands before a recipe: the program calls itself, keeps what it needs for
/// that, and changes as little of strangers' mail as it can.
fn base() -> String {
    format!(
        "exim_path = {}\n\
         deliver_drop_privilege\n\
         keep_environment = LD_LIBRARY_PATH : LD_PRELOAD : NSS_WRAPPER_PASSWD : NSS_WRAPPER_GROUP\n\
         tls_advertise_hosts =\n\
         queue_run_max = 1\n\
         smtp_accept_max_per_connection = 0\n\
         smtp_accept_queue_per_connection = 0\n\
         return_path_remove = false\n\
         envelope_to_remove = false\n\
         delivery_date_remove = false\n\n",
        root(PACKAGE).join("usr/sbin/exim4").display()
    )
}

/// The system's list of users or groups, and the one that Exim looks for.
fn with_owner(folder: &Path, list: &str, entry: &str) -> std::path::PathBuf {
    let system = fs::read_to_string(Path::new("/etc").join(list)).expect("failed to read a list of users");
    let path = folder.join(list);
    fs::write(&path, format!("{system}\nDebian-exim:{entry}\n")).expect("failed to write a list of users");
    path
}
