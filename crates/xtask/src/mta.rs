//! The mail servers that suites speak to: unpacked below `target/`, not installed.
//!
//! Their packages conflict with each other, and each wants to be the system's
//! mailer. So Debian's packages, with the libraries that this machine lacks, are
//! fetched into a folder for each server and unpacked there; the suites start
//! them by hand. What was unpacked is kept for later runs. It must never change
//! anything outside of `target/`, but for apt's own lists.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::exec::Line;
use crate::tally::Tally;

/// Longest time to fetch the packages of one server, or to unpack one of them.
const SERVER_TIME_MAX: Duration = Duration::from_secs(120);

/// Debian's packages that bring a server. The suites look for the same names.
const PACKAGES: [&str; 3] = ["postfix", "exim4-daemon-light", "dovecot-lmtpd"];

/// What is unpacked beside a server: the library that shows Exim a user whom this
/// machine does not have.
const BESIDE: [(&str, &str); 1] = [("exim4-daemon-light", "libnss-wrapper")];

/// The servers that are not there.
pub fn missing(root: &Path) -> Vec<&'static str> {
    PACKAGES.into_iter().filter(|package| !folder(root, package).is_dir()).collect()
}

/// Says which versions are there.
pub fn announce(root: &Path) {
    for package in PACKAGES {
        let debs = debs(&folder(root, package).join("debs"));
        let names: Vec<_> = debs.iter().filter_map(|deb| deb.file_stem()?.to_str()).collect();
        println!("{package} below target/mta: {}", names.join(", "));
    }
}

/// Fetches and unpacks a server.
///
/// # Errors
/// Why it is not there.
pub fn unpack(root: &Path, package: &str, tally: &mut Tally) -> Result<(), String> {
    let folder = folder(root, package);
    let new = folder.with_extension("new");
    let failed = |error| format!("failed to prepare {}: {error}", new.display());
    if new.exists() {
        fs::remove_dir_all(&new).map_err(failed)?;
    }
    // apt wants `partial` to be there.
    let (fetched, unpacked) = (new.join("debs"), new.join("root"));
    fs::create_dir_all(fetched.join("partial")).map_err(failed)?;
    fs::create_dir_all(&unpacked).map_err(failed)?;
    // Not `apt-get download`: this one also brings the libraries that are missing here.
    let fetch = Line::new("apt-get install -q -y --download-only --reinstall --no-install-recommends")
        .arg("-oAPT::Sandbox::User=root")
        .arg(&format!("-oDir::Cache::archives={}", fetched.display()))
        .arg(package)
        .env("DEBIAN_FRONTEND", "noninteractive");
    let beside = BESIDE.iter().filter(|(server, _)| *server == package);
    let fetch = beside.fold(fetch, |line, (_, library)| line.arg(library));
    fetch.run(root, SERVER_TIME_MAX, tally)?;
    for deb in debs(&fetched) {
        Line::new("dpkg -x").arg(&deb.to_string_lossy()).arg(&unpacked.to_string_lossy()).run(
            root,
            SERVER_TIME_MAX,
            tally,
        )?;
    }
    // Nothing here is to give anybody rights that he does not have.
    Line::new("chmod -R ug-s").arg(&unpacked.to_string_lossy()).run(root, SERVER_TIME_MAX, tally)?;
    fs::rename(&new, &folder).map_err(failed)
}

fn folder(root: &Path, package: &str) -> PathBuf {
    root.join("target/mta").join(package)
}

fn debs(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut debs: Vec<PathBuf> = entries.filter(|path| path.extension() == Some(OsStr::new("deb"))).collect();
    debs.sort();
    debs
}
