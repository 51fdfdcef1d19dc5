//! Everything that a check can find in a spool at rest, each thing in its place, and
//! what a repair makes of it.
//!
//! On a real disk. What only root can bring about (another owner) must never be
//! asked for here.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use lazaret_envelope::{Cause, Line, MessageId, Protocol, Report, Timestamp, Transaction};
use lazaret_spool::{CheckOptions, Dir, Name, Outcome, Owner, Spool, check};

/// A file that the spool might have written: only it may read it.
fn put(path: &Path, bytes: impl AsRef<[u8]>) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn accept(owner: &Owner) -> MessageId {
    let recipient: lazaret_envelope::Address = "you@example.org".parse().unwrap();
    let transaction = Transaction { recipients: vec![recipient.into()], ..Transaction::default() };
    let mut draft = owner.spool().begin(Protocol::Submit.into(), transaction).unwrap();
    draft.write(b"Subject: x\r\n\r\ntext\r\n").unwrap();
    draft.commit().unwrap().id
}

/// `WORD PATH` of everything that is wrong.
fn wrong(owner: &Owner) -> BTreeSet<String> {
    let checked = check(owner.spool(), CheckOptions::default(), &mut |_| ()).unwrap();
    let findings = checked.findings.iter();
    findings.map(|finding| format!("{} {}", finding.trouble.word(), finding.place)).collect()
}

/// Puts one thing of each kind where it does not belong; returns what is to be found.
fn plant(root: &Path, owner: &Owner) -> BTreeSet<String> {
    let mut expected = BTreeSet::new();
    let mut plant = |word: &str, path: &str, how: &dyn Fn(&Path)| {
        how(&root.join(path));
        expected.insert(format!("{word} {path}"));
    };
    let folder: &dyn Fn(&Path) = &|path| fs::create_dir(path).unwrap();
    let junk: &dyn Fn(&Path) = &|path| put(path, "junk");
    let number = |number| MessageId::from_parts(1_790_000_000_000, number);
    let id = || number(7);
    // Accepting is the first rename.
    let name = |dir: &str, id| format!("{dir}/{}", Name { generation: 1, ..Name::first(id) });

    plant("foreign", "core", junk);
    plant("version", "version", &|path| fs::write(path, "lazaret-spool 999\n").unwrap());
    plant("foreign", "incoming/junk", junk);
    plant("foreign", "claimed/x", folder);
    plant("no-file", &name("waiting", id()), &|path| symlink("/nowhere", path).unwrap());
    plant("envelope", &name("incoming", accept(owner)), junk);
    plant("size", &name("incoming", accept(owner)), &|path| {
        let bytes = fs::read(path).unwrap();
        fs::write(path, &bytes[..bytes.len() - 3]).unwrap();
    });
    plant("digest", &name("incoming", accept(owner)), &|path| {
        let text = fs::read_to_string(path).unwrap();
        fs::write(path, text.replace("Subject: x", "Subject: y")).unwrap();
    });
    plant("nul-tail", &name("incoming", accept(owner)), &|path| {
        let mut bytes = fs::read(path).unwrap();
        let from = bytes.len() - 5;
        bytes[from..].fill(0);
        fs::write(path, bytes).unwrap();
    });
    let from = root.join(name("incoming", accept(owner)));
    plant("other-message", &name("incoming", number(8)), &|path| fs::rename(&from, path).unwrap());
    plant("foreign", "journal/junk", junk);
    plant("foreign", &format!("journal/{}.log", id()), folder);
    plant("foreign", &format!("deferred/{}.report", number(9)), folder);
    // And it is about no message.
    plant("orphan-report", &format!("deferred/{}.report", number(9)), &|_| ());
    let report = Report::new(number(6), Cause::Memory, Line::escaped("x"), Timestamp::now()).to_string();
    plant("orphan-report", &format!("deferred/{}.report", number(6)), &|path| put(path, &report));
    plant("unfinished", &name("tmp", id()), junk);
    plant("foreign", "tmp/junk", junk);
    plant("foreign", "drop/folder", folder);
    plant("unfinished", &format!("drop/.writing.{}", id()), junk);
    plant("unfinished", "drop/.old", &|path| {
        put(path, "junk");
        let long_ago = SystemTime::now() - Duration::from_secs(48 * 60 * 60);
        fs::File::options().write(true).open(path).unwrap().set_modified(long_ago).unwrap();
    });
    fs::create_dir(root.join("lost+found")).unwrap();
    put(&root.join("drop/.new"), "is still being written");
    expected
}

#[test]
fn everything_that_is_wrong_is_named_and_repaired() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("spool");
    let owner = Owner::take(Spool::create(&root).unwrap()).unwrap();
    assert_eq!(wrong(&owner), BTreeSet::new());
    let expected = plant(&root, &owner);
    assert_eq!(wrong(&owner), expected);
    let repaired = owner.repair_all(CheckOptions::default(), &mut |_| ()).unwrap();
    let said: Vec<String> = repaired
        .done
        .iter()
        .map(|(finding, outcome)| match outcome {
            Outcome::Done(remedy) => remedy.to_string(),
            other => panic!("{finding:?}: {other:?}"),
        })
        .collect();
    for part in
        ["moved to deferred/ and written anew", "under a new id, cause foreign", "deferred, cause damaged"]
    {
        assert!(said.iter().any(|said| said.contains(part)), "{part}: {said:#?}");
    }
    assert_eq!(wrong(&owner), BTreeSet::new());
    let quarantined = fs::read_dir(root.join(Dir::Deferred.to_string())).unwrap().count();
    assert!(quarantined > expected.len(), "nothing was deleted: {quarantined}");
}

#[test]
fn a_frame_that_is_broken_is_mended_before_anything_is_concluded_from_it() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("spool");
    let owner = Owner::take(Spool::create(&root).unwrap()).unwrap();
    fs::remove_dir(root.join("waiting")).unwrap();
    fs::remove_file(root.join("version")).unwrap();
    put(&root.join("control"), "no socket");
    // Whose message it is can't be told while a directory is missing.
    put(
        &root.join(format!("journal/{}.log", MessageId::from_parts(1_790_000_000_000, 7))),
        "lazaret-journal 1\n",
    );
    let expected = ["missing-directory waiting", "version version", "wrong-type control"];
    let expected: BTreeSet<String> = expected.map(str::to_owned).into();
    assert_eq!(wrong(&owner), expected);
    let repaired = owner.repair_all(CheckOptions::default(), &mut |_| ()).unwrap();
    let said: BTreeSet<String> =
        repaired.done.iter().filter_map(|(_, outcome)| Some(outcome.done()?.to_string())).collect();
    for part in ["made, durably", "moved to deferred/ and written anew", "under a new id, cause left-over"] {
        assert!(said.iter().any(|said| said.contains(part)), "{part}: {said:#?}");
    }
    assert_eq!(wrong(&owner), BTreeSet::new());
}
