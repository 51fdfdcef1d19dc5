//! A Postfix of our own: Debian's files, a configuration and a queue in a
//! temporary folder, everything relayed to one next hop.
//!
//! Its users are ones that every Debian has, so that nothing is added to the
//! system. It must never listen anywhere but on loopback.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::{bracketed, end, free_address, libraries, root};
use crate::process::Owned;
use crate::smtp::Client;
use crate::wait::until;

/// The Debian package.
pub const PACKAGE: &str = "postfix";

/// Longest time until it listens.
const START_TIME_MAX: Duration = Duration::from_secs(30);

/// What stands for the user `postfix`, with its uid and gid: base-passwd has them.
const OWNER: (&str, u32, u32) = ("daemon", 1, 1);

/// What stands for the group `postdrop`.
const DROP_GROUP: (&str, u32) = ("mail", 8);

/// Directories of the queue: name, group, mode.
const DIRECTORIES: [(&str, u32, u32); 14] = [
    ("active", 0, 0o700),
    ("bounce", 0, 0o700),
    ("corrupt", 0, 0o700),
    ("defer", 0, 0o700),
    ("deferred", 0, 0o700),
    ("flush", 0, 0o700),
    ("hold", 0, 0o700),
    ("incoming", 0, 0o700),
    ("private", 0, 0o700),
    ("saved", 0, 0o700),
    ("trace", 0, 0o700),
    ("maildrop", DROP_GROUP.1, 0o1730),
    ("public", DROP_GROUP.1, 0o2710),
    ("pid", 0, 0o755),
];

/// A running Postfix.
pub struct Postfix {
    master: Owned,
    folder: TempDir,
    smtp: SocketAddr,
}

impl Postfix {
    /// Starts one that relays to `next_hop`; `main` and `master` are added to
    /// what Debian ships.
    pub fn start(next_hop: SocketAddr, main: &str, master: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("postfix-").tempdir().expect("failed to make a folder");
        let smtp = free_address();
        prepare(folder.path());
        write(&folder.path().join("etc/main.cf"), &(base(folder.path(), next_hop) + main));
        write(&folder.path().join("etc/master.cf"), &(services(smtp) + master));
        let root = root(PACKAGE);
        let child = Command::new(root.join("usr/lib/postfix/sbin/master"))
            .arg("-c")
            .arg(folder.path().join("etc"))
            .env_clear()
            .env("LD_LIBRARY_PATH", libraries(&root, &["postfix"]))
            // What postfix(1) would set: where the log goes.
            .envs([("POSTLOG_SERVICE", "postlog"), ("POSTLOG_HOSTNAME", "mta.example.org")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("failed to start Postfix: {error}"));
        let postfix = Self { master: Owned(child), folder, smtp };
        let listens = until(START_TIME_MAX, || Client::connect(smtp).is_ok());
        assert!(listens, "Postfix does not listen:\n{}", postfix.log());
        postfix
    }

    /// Where it takes mail from strangers.
    pub fn smtp(&self) -> SocketAddr {
        self.smtp
    }

    /// Its log.
    pub fn log(&self) -> String {
        let log = fs::read(self.folder.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// What waits in its queue.
    pub fn deferred(&self) -> usize {
        files(&self.folder.path().join("queue/deferred"))
    }

    /// All that is in its queue.
    pub fn queued(&self) -> usize {
        let queue = self.folder.path().join("queue");
        ["maildrop", "incoming", "active", "deferred", "hold", "corrupt"]
            .iter()
            .map(|name| files(&queue.join(name)))
            .sum()
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("Postfix's log ended so:\n{}", lines[lines.len().saturating_sub(60)..].join("\n"));
        }
        end(&mut self.master, self.folder.path());
    }
}

fn prepare(folder: &Path) {
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("failed to set a mode");
    };
    mode(folder, 0o755);
    for name in ["etc", "queue", "data"] {
        fs::create_dir(folder.join(name)).expect("failed to make a folder");
    }
    chown(folder.join("data"), Some(OWNER.1), Some(OWNER.2)).expect("failed to change an owner");
    for (name, group, bits) in DIRECTORIES {
        let path = folder.join("queue").join(name);
        fs::create_dir(&path).expect("failed to make a folder");
        let owner = if name == "pid" { 0 } else { OWNER.1 };
        chown(&path, Some(owner), Some(group)).expect("failed to change an owner");
        mode(&path, bits);
    }
}

/// What an administrator would have before he adds a recipe. Clients are
/// strangers, whose header fields Postfix does not rewrite, and none are dropped.
fn base(folder: &Path, next_hop: SocketAddr) -> String {
    let (root, folder) = (root(PACKAGE), folder.display());
    let (root, owner, group) = (root.display(), OWNER.0, DROP_GROUP.0);
    let next_hop = bracketed(next_hop);
    format!(
        "compatibility_level = 3.6\n\
         queue_directory = {folder}/queue\n\
         data_directory = {folder}/data\n\
         command_directory = {root}/usr/sbin\n\
         daemon_directory = {root}/usr/lib/postfix/sbin\n\
         shlib_directory = {root}/usr/lib/postfix\n\
         meta_directory = {folder}/etc\n\
         mail_owner = {owner}\n\
         setgid_group = {group}\n\
         default_privs = nobody\n\
         import_environment = MAIL_CONFIG TZ LANG=C POSTLOG_SERVICE POSTLOG_HOSTNAME LD_LIBRARY_PATH\n\
         export_environment = TZ MAIL_CONFIG LANG LD_LIBRARY_PATH\n\
         maillog_file = {folder}/log\n\
         maillog_file_prefixes = {folder}\n\
         inet_interfaces = 127.0.0.1\n\
         inet_protocols = ipv4\n\
         myhostname = mta.example.org\n\
         mydestination =\n\
         alias_maps =\n\
         alias_database =\n\
         local_recipient_maps =\n\
         local_header_rewrite_clients =\n\
         message_drop_headers =\n\
         relayhost = {next_hop}\n\
         smtp_line_length_limit = 0\n\
         message_size_limit = 52428800\n\
         minimal_backoff_time = 1s\n\
         queue_run_delay = 1s\n\n"
    )
}

/// Debian's services, none of them in a chroot, with SMTP at `smtp`.
fn services(smtp: SocketAddr) -> String {
    let shipped = fs::read_to_string(root(PACKAGE).join("usr/share/postfix/master.cf.dist"))
        .expect("failed to read Debian's master.cf");
    let mut text = String::new();
    for line in shipped.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            // From here on transports that call other programs.
            ["maildrop", ..] => break,
            ["smtp", "inet", private, unprivileged, _, wakeup, most, command] => {
                text += &format!("{smtp} inet {private} {unprivileged} n {wakeup} {most} {command}\n");
            }
            [name, kind, private, unprivileged, _, wakeup, most, command] if !line.starts_with(' ') => {
                text += &format!("{name} {kind} {private} {unprivileged} n {wakeup} {most} {command}\n");
            }
            _ => text += &format!("{line}\n"),
        }
    }
    text
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|error| panic!("failed to write {path:?}: {error}"));
}

/// How many files there are below a folder.
fn files(folder: &Path) -> usize {
    let entries: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    entries.iter().map(|path| if path.is_dir() { files(path) } else { 1 }).sum()
}
