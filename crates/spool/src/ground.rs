//! What the file system below a spool is known not to keep of what
//! `queue-layout.md` assumes, and what has to be done more for it.
//!
//! Told by its kind, and for ext4 by what the kernel tells of a journal. What is
//! not known is not doubted: a warning must never be wrong.

use std::fmt;
use std::fs;
use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::fs::{StatFs, fstatfs, major, minor, stat, statfs};

/// Why a file system is no ground for a spool. Its text ends with what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// Files are on another machine.
    Network(&'static str),
    /// Files are in memory.
    Volatile(&'static str),
    /// Names are not written in an order that a power cut respects.
    NoJournal(&'static str),
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(kind) => write!(
                f,
                "{kind}, a network file system: renames, fsync and locks don't keep there what the spool needs, \
                 and acknowledged mail may be lost or delivered twice"
            ),
            Self::Volatile(kind) => {
                write!(f, "{kind}, which is in memory: all mail in it is lost when the machine goes down")
            }
            Self::NoJournal(kind) => write!(
                f,
                "{kind} without a journal: a power cut may lose acknowledged mail, or the whole spool"
            ),
        }?;
        f.write_str(match self {
            Self::NoJournal(EXT4) => "; give it one while it is not mounted (tune2fs -O has_journal)",
            _ => "; put it on a local disk with ext4, xfs or btrfs",
        })
    }
}

/// What is known against the file system that `root` is on.
#[must_use]
pub fn doubt(root: &Path) -> Option<Doubt> {
    // Where the kernel does not answer nothing is known.
    let magic = magic(statfs(root).ok()?);
    let device = stat(root).ok()?.st_dev;
    judge(magic, || {
        let link = fs::read_link(format!("/sys/dev/block/{}:{}", major(device), minor(device))).ok()?;
        let name = link.file_name()?.to_owned();
        fs::read_to_string(Path::new("/proc/fs/ext4").join(name).join("options")).ok()
    })
}

/// What makes the names of a directory durable, those that went among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SyncNames {
    /// fsync(2) of the directory.
    OfDirectory,
    /// syncfs(2).
    OfFileSystem,
}

/// What it takes where `top` is.
///
/// On btrfs a name that was renamed away can come back though the directory was
/// fsynced since, if something else was fsynced at the time of the rename: seen with
/// Linux 6.18, where the old name stays in the log until a transaction is committed,
/// by default for 30 s (btrfs(5), `commit`). syncfs(2) commits one, and was no slower
/// there.
pub(crate) fn sync_names(top: BorrowedFd<'_>) -> SyncNames {
    match fstatfs(top).map(magic) {
        Ok(BTRFS) => SyncNames::OfFileSystem,
        _ => SyncNames::OfDirectory,
    }
}

fn magic(system: StatFs) -> u64 {
    system.f_type.cast_unsigned() & u64::from(u32::MAX)
}

/// The file system that may have a journal or not.
const EXT4: &str = "ext4";

/// Superblock numbers of statfs(2), 32 bits each.
const EXT: u64 = 0xef53;
const BTRFS: u64 = 0x9123_683e;

/// Judges by the number of the kind; `ext4_options` reads the kernel's list of
/// options, one a line, of which `data=` is there if and only if a journal is.
fn judge(magic: u64, ext4_options: impl FnOnce() -> Option<String>) -> Option<Doubt> {
    match magic {
        0x6969 => Some(Doubt::Network("NFS")),
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => Some(Doubt::Network("SMB")),
        0x0102_1997 => Some(Doubt::Network("9p")),
        0x5346_414f | 0x6b41_4653 => Some(Doubt::Network("AFS")),
        0x00c3_6400 => Some(Doubt::Network("Ceph")),
        0x7375_7245 => Some(Doubt::Network("Coda")),
        0x0102_1994 => Some(Doubt::Volatile("tmpfs")),
        0x8584_58f6 => Some(Doubt::Volatile("ramfs")),
        0x4d44 => Some(Doubt::NoJournal("FAT")),
        0x2011_bab0 => Some(Doubt::NoJournal("exFAT")),
        EXT => {
            let options = ext4_options()?;
            let known = options.lines().any(|line| line == "rw" || line == "ro");
            let journal = options.lines().any(|line| line.starts_with("data="));
            (known && !journal).then_some(Doubt::NoJournal(EXT4))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_named_and_nothing_else() {
        let nothing = || None;
        for (magic, doubt) in [
            (0x6969, Some(Doubt::Network("NFS"))),
            (0xff53_4d42, Some(Doubt::Network("SMB"))),
            (0x0102_1994, Some(Doubt::Volatile("tmpfs"))),
            (0x4d44, Some(Doubt::NoJournal("FAT"))),
            // xfs, btrfs, overlayfs, FUSE.
            (0x5846_5342, None),
            (BTRFS, None),
            (0x794c_7630, None),
            (0x6573_5546, None),
            // ext of which nothing is told, such as ext2 by its own driver.
            (EXT, None),
        ] {
            assert_eq!(judge(magic, nothing), doubt, "{magic:x}");
        }
    }

    #[test]
    fn a_journal_of_ext4_is_told_by_its_options() {
        let judge = |options: &str| judge(EXT, || Some(options.to_owned()));
        assert_eq!(judge("rw\nbarrier\ndata=ordered\ncommit=5\n"), None);
        assert_eq!(judge("ro\ndata=journal\n"), None);
        assert_eq!(judge("rw\nnojournal_checksum\nbarrier\n"), Some(Doubt::NoJournal(EXT4)));
        assert_eq!(judge("something else\n"), None);
    }

    #[test]
    fn what_to_do_fits_the_trouble() {
        let told = |doubt: Doubt| doubt.to_string();
        assert!(told(Doubt::NoJournal(EXT4)).ends_with("(tune2fs -O has_journal)"));
        for doubt in [Doubt::NoJournal("FAT"), Doubt::Network("NFS"), Doubt::Volatile("tmpfs")] {
            assert!(told(doubt).ends_with("; put it on a local disk with ext4, xfs or btrfs"), "{doubt}");
        }
    }
}
