//! Makes Maildirs that are missing, durably.
//!
//! A Maildir is three folders. `tmp/` comes last: whoever can write there may
//! rely on the rest. It must never change a folder that is there.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Mode of the folders: mail is for its owner.
const MODE: u32 = 0o700;

/// Makes the names in a folder durable.
pub(super) fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes a Maildir and the folders above it, and makes durable what stands in
/// each of them from `fixed` down: a try that was cut short may have made some
/// before. One at a time: the caller holds a lock.
pub(super) fn make(maildir: &Path, fixed: &Path) -> io::Result<()> {
    let existing = maildir.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("/"));
    for folder in ["cur", "new"] {
        make_one(&maildir.join(folder))?;
    }
    let top = if fixed.starts_with(existing) { existing } else { fixed };
    for folder in maildir.ancestors().take_while(|folder| folder.starts_with(top)) {
        match sync(folder) {
            // Not ours to read, so not ours to make anything in.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && folder != existing => {}
            result => result?,
        }
    }
    make_one(&maildir.join("tmp"))?;
    sync(maildir)
}

fn make_one(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(MODE).create(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn missing_folders_are_made_for_their_owner_alone() {
        let root = tempfile::tempdir().unwrap();
        let fixed = root.path().join("srv/mail");
        let maildir = fixed.join("b.example/a");
        make(&maildir, &fixed).unwrap();
        make(&maildir, &fixed).unwrap();
        for folder in ["srv", "srv/mail/b.example", "srv/mail/b.example/a/tmp", "srv/mail/b.example/a/new"] {
            let mode = root.path().join(folder).metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, MODE, "{folder}");
        }
    }

    #[test]
    fn a_file_in_the_way_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("a"), "").unwrap();
        assert!(make(&root.path().join("a/b"), root.path()).is_err());
    }
}
