//! What a configuration needs of the machine that it is to run on: memory, files,
//! users, a disk that is large enough.
//!
//! What is wrong here may be right elsewhere, so it is no matter of the text; but
//! with it no daemon would do what was meant, so it is refused as well. It must never
//! change anything on the machine.

use std::io;
use std::path::Path;

use lazaret_envelope::ByteSize;
use lazaret_operator::{Config, ConfigError, Source};
use lazaret_worker::{Available, Fit};
use rustix::fs::{StatVfs, statvfs};

/// Everything that this machine lacks, each with its place.
pub fn lacking(config: &Config, source: &Source<'_>) -> Vec<ConfigError> {
    let wrong = |key: Option<&str>, what: String| source.wrong(key, format!("on this machine: {what}"));
    let mut found = Vec::new();
    let available = Available::of_this_process().ok();
    if let Some(Err(error)) = available.map(|available| Fit::check(&config.workers, &available)) {
        found.push(wrong(Some("workers"), error.to_string()));
    }
    for (at, listen) in config.listen.iter().enumerate() {
        if let Some(Err(error)) = listen.tls.as_ref().map(lazaret_intake::TlsConfig::read) {
            found.push(wrong(Some(&format!("listen[{at}].tls")), format!("listener {}: {error}", at + 1)));
        }
    }
    for error in config.delivery().wrong_here() {
        found.push(wrong(error.key().as_deref(), error.to_string()));
    }
    // What can't be told is said when the spool is opened.
    if let Ok(disk) = disk_of(&config.spool) {
        found.extend(too_much_reserved(config, &disk).map(|(key, what)| wrong(Some(key), what)));
    }
    found
}

/// A reserve that is more than there is keeps intake closed for good.
fn too_much_reserved(config: &Config, disk: &StatVfs) -> Option<(&'static str, String)> {
    let (reserve, spool) = (config.intake.reserve(), config.spool.display());
    let bytes = disk.f_blocks.saturating_mul(disk.f_frsize);
    // File systems that make inodes as they are needed say 0.
    let too_many = disk.f_files > 0 && reserve.inodes >= disk.f_files;
    let never = "no mail would ever come in: lower it, or put the spool on a larger disk";
    if reserve.bytes >= bytes {
        let (reserve, bytes) = (config.intake.reserve, ByteSize(bytes / MIB * MIB));
        return Some((
            "intake.reserve",
            format!(
                "[intake] reserve: {reserve} are to stay free, and all of the disk of {spool} is {bytes}; {never}"
            ),
        ));
    }
    too_many.then(|| {
        let (reserve, inodes) = (reserve.inodes, disk.f_files);
        (
            "intake.reserve_inodes",
            format!("[intake] reserve_inodes: {reserve} are to stay free, and the disk of {spool} has {inodes} in all; {never}"),
        )
    })
}

/// What is not wrong, and keeps mail out for now.
pub fn warnings(config: &Config) -> Vec<String> {
    let Ok(disk) = disk_of(&config.spool) else { return Vec::new() };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free >= config.intake.reserve.0 || too_much_reserved(config, &disk).is_some() {
        return Vec::new();
    }
    vec![format!(
        "[intake] reserve: {} are to stay free, and the disk of {} has {} left: no mail comes in until there is more",
        config.intake.reserve,
        config.spool.display(),
        ByteSize(free / MIB * MIB),
    )]
}

const MIB: u64 = 1 << 20;

/// The disk that a spool is on, or will be on once it is made.
fn disk_of(spool: &Path) -> io::Result<StatVfs> {
    let mut folder = spool;
    loop {
        match (statvfs(folder), folder.parent()) {
            (Err(rustix::io::Errno::NOENT), Some(above)) => folder = above,
            (disk, _) => return Ok(disk?),
        }
    }
}
