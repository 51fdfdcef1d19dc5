//! Small disks of a case's own: in memory, on a loop device, or of a file system
//! that fails when it is told to.
//!
//! Each is unmounted when it is dropped. Nothing outside of the case's folder must
//! ever be mounted on.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::process::{self, Owned};
use crate::trial::test_data;
use crate::wait::until;

/// Longest time for mounting, unmounting and making a file system.
const MOUNT_TIME_MAX: Duration = Duration::from_secs(30);

/// Longest time for the last process to leave a file system.
const BUSY_TIME_MAX: Duration = Duration::from_secs(10);

/// Serves the rig's file system at a folder, with faults; ends with the mount.
const SERVE: &str = "
import errno, sys
sys.path.insert(0, sys.argv[1])
from model import ModelServer
faults = []
for fault in sys.argv[4:]:
    op, number, error, place = fault.split(':')
    faults.append((op, int(number), getattr(errno, error), place))
ModelServer(sys.argv[2], sys.argv[3], None, faults).serve()
";

/// Why nothing can be mounted here.
pub fn missing() -> Option<String> {
    let folder = tempfile::tempdir().expect("failed to make a folder");
    let mounted = mount(&["-t", "tmpfs", "-o", "size=4k", "tmpfs"], folder.path());
    mounted.as_ref().err().map(|why| format!("nothing can be mounted here (root?): {why}"))
}

/// A mounted file system.
pub struct Disk {
    place: PathBuf,
    server: Option<Owned>,
}

impl Disk {
    /// One in memory, of so many bytes and files.
    pub fn in_memory(place: PathBuf, bytes: u64, files: u64) -> Self {
        fs::create_dir_all(&place).expect("failed to make a folder");
        let options = format!("size={bytes},nr_inodes={files}");
        mount(&["-t", "tmpfs", "-o", &options, "tmpfs"], &place).expect("a tmpfs can be mounted")
    }

    /// An ext4 of 16 MiB in a file beside `place`, that the kernel makes read-only
    /// when it finds an error. `features` are for mkfs.
    pub fn ext4(place: PathBuf, features: &str) -> Self {
        fs::create_dir_all(&place).expect("failed to make a folder");
        let image = place.with_extension("image");
        if !image.exists() {
            fs::File::create(&image)
                .and_then(|file| file.set_len(16 << 20))
                .expect("failed to make an image");
            let made = run(Command::new("mkfs.ext4").args(["-q", "-O", features]).arg(&image));
            made.expect("mkfs.ext4 makes a file system");
        }
        let source = image.to_str().expect("a path of ours is UTF-8");
        mount(&["-t", "ext4", "-o", "loop,errors=remount-ro", source], &place).expect("ext4 can be mounted")
    }

    /// The rig's file system, where `faults` happen: `OP:N:ERRNO:PLACE`, the N-th
    /// such operation on a path that contains PLACE.
    pub fn failing(place: PathBuf, faults: &[&str]) -> Self {
        fs::create_dir_all(&place).expect("failed to make a folder");
        let mut server = Command::new("python3");
        server.args(["-c", SERVE]).arg(test_data().join("rig")).arg(&place).arg(place.with_extension("log"));
        server.args(faults).stdin(Stdio::null()).stdout(Stdio::null());
        let server = Owned(server.spawn().expect("failed to start python3"));
        let disk = Self { place, server: Some(server) };
        assert!(
            until(MOUNT_TIME_MAX, || disk.place.join("fs").is_dir()),
            "the rig's file system is not there"
        );
        disk
    }

    /// Fills it with a file until nothing more fits.
    pub fn fill(&self) -> Filler {
        let path = self.place.join("filler");
        let mut file = fs::File::create(&path).expect("failed to make a file");
        for size in [64 << 10, 512] {
            while file.write_all(&vec![b'x'; size]).is_ok() {}
        }
        Filler(path)
    }

    /// The name of the block device below it.
    pub fn device(&self) -> String {
        let mounts = fs::read_to_string("/proc/self/mounts").expect("failed to read the mounts");
        let here = self.place.to_str().expect("a path of ours is UTF-8");
        let line = mounts.lines().find(|line| line.split(' ').nth(1) == Some(here)).expect("it is mounted");
        line.split(' ').next().unwrap_or_default().trim_start_matches("/dev/").to_owned()
    }

    /// Has the kernel find an error on it.
    pub fn break_down(&self) {
        let trigger = format!("/sys/fs/ext4/{}/trigger_fs_error", self.device());
        fs::write(&trigger, "tests").unwrap_or_else(|error| panic!("{trigger}: {error}"));
    }

    /// Asks for it to be made read-only, as an administrator would.
    ///
    /// # Errors
    /// Why it is not.
    pub fn remount_read_only(&self) -> Result<(), String> {
        run(Command::new("mount").args(["-o", "remount,ro"]).arg(&self.place))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A cell whose daemon has just ended may still have a file open.
        let unmount = || run(Command::new("umount").arg(&self.place)).is_ok();
        if !until(BUSY_TIME_MAX, unmount) {
            let _ = run(Command::new("umount").arg("--lazy").arg(&self.place));
        }
        if let Some(server) = &mut self.server {
            let _ = server.wait(MOUNT_TIME_MAX);
        }
    }
}

/// What takes up room; gives it back when dropped.
pub struct Filler(PathBuf);

impl Drop for Filler {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn mount(words: &[&str], place: &Path) -> Result<Disk, String> {
    run(Command::new("mount").args(words).arg(place))?;
    Ok(Disk { place: place.to_owned(), server: None })
}

fn run(command: &mut Command) -> Result<(), String> {
    let finished = process::finish(command, b"", MOUNT_TIME_MAX);
    if finished.code == Some(0) { Ok(()) } else { Err(finished.stderr.trim().to_owned()) }
}
