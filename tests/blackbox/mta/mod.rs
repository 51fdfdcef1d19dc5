//! Real mail servers: unpacked below `target/` by `cargo xtask check`, started by
//! hand with configuration files of `examples/`, in which only ports, paths and
//! users are replaced.
//!
//! They must never be the system's own servers, nor outlive their case.

pub mod dovecot;
pub mod exim;
pub mod exim_sandwich;
pub mod passage;
pub mod postfix;
pub mod sandwich;

use std::net::{SocketAddr, TcpListener};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, test_kill_process_group};

use crate::process::Owned;
use crate::wait::until;

/// Longest time until a server has ended.
const END_TIME_MAX: Duration = Duration::from_secs(30);

/// Where `cargo xtask check` unpacks them.
const FOLDER: &str = "target/mta";

/// Where a server is unpacked.
pub fn root(package: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(FOLDER).join(package).join("root")
}

/// Why a server can't be started.
pub fn missing(package: &str) -> Option<String> {
    if !root(package).is_dir() {
        return Some(format!("no {package} in {FOLDER}: cargo xtask check unpacks it there"));
    }
    let is_root = rustix::process::geteuid().is_root();
    (!is_root).then(|| format!("not root, which {package} has to be started by"))
}

/// Where an unpacked server finds its libraries: what LD_LIBRARY_PATH has to say.
pub fn libraries(root: &Path, own: &[&str]) -> String {
    let lib = root.join("usr/lib");
    let mut folders: Vec<PathBuf> = own.iter().map(|name| lib.join(name)).collect();
    let shared = std::fs::read_dir(&lib).into_iter().flatten().flatten().map(|entry| entry.path());
    folders.extend(shared.filter(|path| path.to_string_lossy().ends_with("-linux-gnu")));
    let folders: Vec<String> = folders.iter().map(|path| path.display().to_string()).collect();
    folders.join(":")
}

/// A file of `examples/` with the places of this run in it. What is to be
/// replaced must be there.
#[track_caller]
pub fn example(name: &str, places: &[(&str, &str)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
    let text =
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("failed to read {path:?}: {error}"));
    places.iter().fold(text, |text, (place, here)| {
        assert!(text.contains(place), "examples/{name} does not say {place:?}");
        text.replace(place, here)
    })
}

/// Ends a server by SIGTERM, since SIGKILL would leave its children behind, waits for
/// those that end after it, where it has a process group of its own, and removes its
/// folder. One that is still at work would make parts of that anew.
fn end(server: &mut Owned, folder: &Path) {
    let group = Pid::from_raw(server.pid().cast_signed()).expect("a process has a number");
    if server.is_alive() {
        server.terminate();
        server.wait(END_TIME_MAX);
    }
    until(END_TIME_MAX, || test_kill_process_group(group).is_err());
    until(END_TIME_MAX, || std::fs::remove_dir_all(folder).is_ok() || !folder.exists());
}

/// Ports below those that the kernel gives to whoever asks for any (ip(7),
/// ip_local_port_range): until a server has one of them nobody gets it by chance.
const PORTS: Range<u16> = 16_384..32_768;

/// An address of this host that nobody listens on, never the same twice.
pub fn free_address() -> SocketAddr {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    for _ in PORTS {
        let number = std::process::id().wrapping_mul(64).wrapping_add(ASKED.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + (number % u32::from(PORTS.end - PORTS.start)) as u16;
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener.local_addr().expect("a bound socket has an address");
        }
    }
    panic!("no port of {PORTS:?} is free");
}

/// An address as Postfix and Exim write a next hop: `[127.0.0.1]:25`.
pub fn bracketed(address: SocketAddr) -> String {
    format!("[{}]:{}", address.ip(), address.port())
}
