//! A Dovecot of our own that takes mail by LMTP and files it in Maildirs below a
//! temporary folder.
//!
//! Its programs look for each other below /usr, so they run in a mount namespace
//! where Debian's files lie over the system's. It must never listen anywhere but on
//! loopback.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::{end, free_address, root};
use crate::process::Owned;
use crate::smtp::Client;
use crate::wait::until;

/// The Debian package.
pub const PACKAGE: &str = "dovecot-lmtpd";

/// Longest time until it listens.
const START_TIME_MAX: Duration = Duration::from_secs(30);

/// Who owns the mail: uid and gid of `mail`.
const OWNER: u32 = 8;

/// Where others ask whether a login is right, in its folder.
const AUTH_SOCKET: &str = "auth";

/// A running Dovecot.
pub struct Dovecot {
    master: Owned,
    folder: TempDir,
    lmtp: SocketAddr,
}

impl Dovecot {
    /// Starts one.
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("dovecot-").tempdir().expect("failed to make a folder");
        let (path, lmtp) = (folder.path(), free_address());
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("failed to set a mode");
        fs::create_dir(path.join("mail")).expect("failed to make a folder");
        chown(path.join("mail"), Some(OWNER), Some(OWNER)).expect("failed to change an owner");
        fs::write(path.join("users"), "").expect("failed to write the users");
        let config = path.join("dovecot.conf");
        fs::write(&config, text(path, lmtp)).expect("failed to write the configuration");
        let files = root(PACKAGE).join("usr");
        let child = Command::new("unshare")
            .args(["--mount", "sh", "-c"])
            .arg("mount -t overlay overlay -o lowerdir=\"$0\":/usr /usr && exec /usr/sbin/dovecot -F -c \"$1\"")
            .arg(files)
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("failed to start Dovecot: {error}"));
        let dovecot = Self { master: Owned(child), folder, lmtp };
        assert!(until(START_TIME_MAX, || dovecot.session().is_some()), "no Dovecot:\n{}", dovecot.log());
        dovecot
    }

    /// Where it takes mail by LMTP.
    pub fn lmtp(&self) -> SocketAddr {
        self.lmtp
    }

    /// Lets a user log in.
    pub fn admit(&self, user: &str, password: &str) {
        let line = format!("{user}:{{PLAIN}}{password}::::::\n");
        fs::write(self.folder.path().join("users"), line).expect("failed to write the users");
    }

    /// The socket at which servers of other protocols ask who may log in.
    pub fn auth(&self) -> PathBuf {
        self.folder.path().join(AUTH_SOCKET)
    }

    /// A session with it, up to its hello.
    pub fn session(&self) -> Option<Client> {
        let mut client = Client::dial(self.lmtp).ok()?;
        let greeted = client.reply().is_ok_and(|reply| reply.code == 220);
        let hello = client.command("LHLO client.example.net").is_ok_and(|reply| reply.code == 250);
        (greeted && hello).then_some(client)
    }

    /// The files in a recipient's Maildir.
    pub fn filed(&self, local: &str, domain: &str) -> Vec<PathBuf> {
        let new = self.folder.path().join("mail").join(domain).join(local).join("new");
        fs::read_dir(new).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    }

    /// Its log.
    pub fn log(&self) -> String {
        let log = fs::read(self.folder.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("Dovecot's log ended so:\n{}", lines[lines.len().saturating_sub(60)..].join("\n"));
        }
        end(&mut self.master, self.folder.path());
    }
}

/// Everybody has a Maildir; users are ones that every Debian has.
fn text(folder: &Path, lmtp: SocketAddr) -> String {
    let (here, port) = (folder.display(), lmtp.port());
    format!(
        "protocols = lmtp\n\
         base_dir = {here}/run\n\
         state_dir = {here}/state\n\
         log_path = {here}/log\n\
         default_login_user = nobody\n\
         default_internal_user = daemon\n\
         default_internal_group = daemon\n\
         ssl = no\n\
         mail_location = maildir:{here}/mail/%d/%n\n\
         first_valid_uid = 1\n\
         first_valid_gid = 1\n\
         userdb {{\n driver = static\n args = uid={OWNER} gid={OWNER} home={here}/mail/%d/%n allow_all_users=yes\n}}\n\
         passdb {{\n driver = passwd-file\n args = {here}/users\n}}\n\
         auth_mechanisms = plain login\n\
         service auth {{\n unix_listener {here}/{AUTH_SOCKET} {{\n  mode = 0666\n }}\n}}\n\
         service lmtp {{\n inet_listener lmtp {{\n  address = 127.0.0.1\n  port = {port}\n }}\n}}\n\
         service stats {{\n unix_listener stats-writer {{\n  mode = 0666\n }}\n}}\n"
    )
}
