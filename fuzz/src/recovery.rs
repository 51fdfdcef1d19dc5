//! Recovery of a spool full of junk: it comes to an end, loses nothing that may be
//! mail, leaves no mail where nobody looks, and has nothing to do a second time.
//! The same holds for `check --repair` after it.
//!
//! The input says what lies where: names of every kind, right and wrong contents,
//! second names, directories, links and FIFOs. On a real file system, in a folder
//! of its own; a file must never be told by its name alone, but by its bytes.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use arbitrary::{Arbitrary, Result, Unstructured};
use lazaret_envelope::{
    Cause, Content, Digest, Envelope, Line, MessageId, Protocol, Report, Timestamp, Transaction,
};
use lazaret_spool::{CheckOptions, Name, Owner, Spool};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::name;

/// Where spools are made if it is there: in memory.
const MEMORY: &str = "/dev/shm";

/// Directories of a spool that hold something, of two workers and one that is none.
const DIRS: [&str; 11] = [
    "tmp",
    "drop",
    "incoming",
    "claimed/0",
    "claimed/1",
    "claimed/x",
    "outbound",
    "waiting",
    "deferred",
    "journal",
    ".",
];

/// Most things that lie about.
const THINGS_MAX: usize = 9;

/// Something in a spool.
#[derive(Debug)]
struct Thing {
    path: PathBuf,
    what: What,
}

#[derive(Debug)]
enum What {
    File(Vec<u8>),
    Directory,
    Link,
    Fifo,
    /// One more name of the thing before it.
    SecondName,
}

/// What lies at a path: its bytes if it is a file, its kind if it is none.
type Tree = BTreeMap<PathBuf, std::result::Result<Bytes, &'static str>>;

/// The bytes of a file, shown as text.
#[derive(PartialEq)]
struct Bytes(Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

/// Looks at one input.
pub fn check(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let Ok((clean, things)) = build(&mut u) else { return };
    let memory = Path::new(MEMORY);
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let folder = folder.expect("a folder");
    let root = folder.path().join("spool");
    let spool = Spool::create(&root).expect("a spool");
    if clean {
        Owner::take(spool).expect("nobody has it").stop_cleanly().expect("it is stopped");
    }
    for dir in DIRS.iter().filter(|dir| dir.starts_with("claimed/")) {
        fs::create_dir(root.join(dir)).expect("a worker's folder");
    }
    place(&root, &things);
    let before = tree(&root);
    recover(&root);
    let after = tree(&root);
    lost_nothing(&before, &after);
    everything_in_place(&after);
    // The first may have given copies of one message, told by nothing, names that tell.
    recover(&root);
    let again = tree(&root);
    lost_nothing(&after, &again);
    recover(&root);
    assert_eq!(tree(&root), again, "nothing is left to do for another recovery");
    repair(&root, &again);
}

fn open(root: &Path) -> Owner {
    Owner::take(Spool::open(root).expect("a spool")).expect("nobody has it")
}

fn recover(root: &Path) {
    open(root).recover().expect("junk fails no start");
}

/// `check --repair` moves and never deletes, and has nothing to do afterwards.
fn repair(root: &Path, before: &Tree) {
    let mut progress = |_| ();
    let repaired =
        open(root).repair_all(CheckOptions::default(), &mut progress).expect("junk can be repaired");
    let after = tree(root);
    for (path, found) in before {
        assert!(after.values().any(|other| other == found), "{path:?} was deleted: {:#?}", repaired.done);
    }
    let again = open(root).repair_all(CheckOptions::default(), &mut progress).expect("what is repaired");
    let done: Vec<_> = again.done.iter().filter(|(_, outcome)| outcome.done().is_some()).collect();
    assert!(done.is_empty(), "repaired twice: {done:#?}, at first {:#?}", repaired.done);
}

fn tree(root: &Path) -> Tree {
    fn walk(root: &Path, folder: &Path, tree: &mut Tree) {
        for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")) {
            let path = entry.path();
            let kind = entry.file_type().expect("a kind");
            let below = path.strip_prefix(root).expect("below").to_owned();
            let spools = below == Path::new("lock") || below == Path::new("version");
            if kind.is_dir() {
                walk(root, &path, tree);
                if !is_of_a_spool(&below) {
                    tree.insert(below, Err("directory"));
                }
            } else if kind.is_file() && !spools {
                tree.insert(below, Ok(Bytes(fs::read(&path).expect("readable"))));
            } else if !spools {
                tree.insert(below, Err(if kind.is_symlink() { "link" } else { "special" }));
            }
        }
    }
    let mut found = Tree::new();
    walk(root, root, &mut found);
    found
}

/// Whether a folder belongs to the layout of a spool.
fn is_of_a_spool(below: &Path) -> bool {
    below == Path::new("claimed") || DIRS.iter().any(|dir| below == Path::new(dir))
}

/// What may go: unfinished files in `tmp/`, copies of what is taken in again, what
/// a submit has left, reports and journals without their message.
fn may_go(path: &Path, before: &Tree) -> bool {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    match path.parent().and_then(Path::to_str) {
        Some("tmp") => name.parse::<Name>().is_ok_and(|name| {
            !name.taken || before.contains_key(Path::new(&format!("tmp/taken.{}", name.id)))
        }),
        Some("drop") => name.starts_with(".writing."),
        Some("deferred") => id_before(name, ".report").is_some(),
        Some("journal") => id_before(name, ".log").is_some(),
        _ => false,
    }
}

fn is_message(path: &Path) -> bool {
    path.file_name().and_then(OsStr::to_str).is_some_and(|name| name.parse::<Name>().is_ok())
}

fn id_before(name: &str, suffix: &str) -> Option<MessageId> {
    name.strip_suffix(suffix)?.parse().ok()
}

fn lost_nothing(before: &Tree, after: &Tree) {
    for (path, found) in before.iter().filter(|(path, _)| !may_go(path, before)) {
        assert!(
            after.values().any(|other| other == found),
            "{path:?} is lost: {before:#?} became {after:#?}"
        );
    }
    let holds = |dirs: &[&str], id: MessageId| {
        after.keys().any(|path| {
            let parent = path.parent().and_then(Path::to_str).unwrap_or_default();
            let name = path.file_name().and_then(OsStr::to_str).and_then(|name| name.parse::<Name>().ok());
            dirs.contains(&parent) && name.is_some_and(|name| name.id == id)
        })
    };
    for path in before.keys() {
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        let parent = path.parent().and_then(Path::to_str).unwrap_or_default();
        let home = match parent {
            "deferred" => id_before(name, ".report").map(|id| (id, &["deferred"][..])),
            "journal" => id_before(name, ".log").map(|id| (id, &["incoming", "waiting", "deferred"][..])),
            _ => None,
        };
        if let Some((id, dirs)) = home {
            assert!(!holds(dirs, id) || after.contains_key(path), "{path:?} went, and its message is there");
        }
    }
}

/// Nothing is in anybody's hands, and what lies in `tmp/` is to be taken in.
fn everything_in_place(after: &Tree) {
    for path in after.keys() {
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        let parent = path.parent().and_then(Path::to_str).unwrap_or_default();
        match parent {
            "claimed/0" | "claimed/1" | "outbound" => panic!("{path:?} is in nobody's hands"),
            "tmp" => assert!(name.starts_with("taken."), "{path:?}"),
            _ => {}
        }
    }
}

fn place(root: &Path, things: &[Thing]) {
    let mut last: Option<PathBuf> = None;
    for Thing { path, what } in things {
        let path = root.join(path);
        if path.symlink_metadata().is_ok() {
            continue;
        }
        match what {
            What::File(bytes) => fs::write(&path, bytes).expect("a file"),
            What::Directory => fs::create_dir(&path).expect("a folder"),
            What::Link => symlink("/nowhere", &path).expect("a link"),
            What::Fifo => mknodat(CWD, &path, FileType::Fifo, Mode::RUSR, 0).expect("a FIFO"),
            What::SecondName => {
                let file = |last: &&PathBuf| last.is_file() && !last.is_symlink();
                // What is being taken in has no other name, but by somebody's hand.
                let messages = |last: &&PathBuf| [last, &&path].iter().all(|path| is_message(path));
                if let Some(last) = last.as_ref().filter(file).filter(messages) {
                    fs::hard_link(last, &path).expect("a second name");
                }
            }
        }
        last = Some(path);
    }
}

fn build(u: &mut Unstructured<'_>) -> Result<(bool, Vec<Thing>)> {
    let clean = bool::arbitrary(u)?;
    let things = (0..u.int_in_range(1..=THINGS_MAX)?).map(|_| thing(u)).collect::<Result<_>>()?;
    Ok((clean, things))
}

/// One of few ids, so that names meet.
fn id(u: &mut Unstructured<'_>) -> Result<MessageId> {
    Ok(MessageId::from_parts(1_790_000_000_000, u.int_in_range(1..=3)?))
}

fn thing(u: &mut Unstructured<'_>) -> Result<Thing> {
    let id = id(u)?;
    let mut dir = *u.choose(&DIRS)?;
    let name: OsString = match u.int_in_range(0..=11)? {
        0..=5 => message_name(u, id)?.to_string().into(),
        6 => {
            dir = "deferred";
            format!("{id}.report").into()
        }
        7 => {
            dir = "journal";
            format!("{id}.log").into()
        }
        8 => {
            dir = "tmp";
            format!("taken.{id}").into()
        }
        9 => {
            dir = "drop";
            format!(".writing.{id}").into()
        }
        _ => junk_name(u)?,
    };
    let what = match u.int_in_range(0..=15)? {
        0 => What::Directory,
        1 => What::Link,
        2 => What::Fifo,
        3 | 4 => What::SecondName,
        _ => What::File(bytes(u, id)?),
    };
    Ok(Thing { path: Path::new(dir).join(name), what })
}

/// Mostly small counts, sometimes any.
fn message_name(u: &mut Unstructured<'_>, id: MessageId) -> Result<Name> {
    if u.ratio(1, 8)? {
        return Ok(Name { id, ..name::build(u)? });
    }
    let mut name = Name::first(id);
    name.generation = u.int_in_range(0..=3)?;
    name.strikes = u.int_in_range(0..=2)?;
    name.interruptions = u.int_in_range(0..=5)?;
    name.taken = u.ratio(1, 6)?;
    name.cause = if u.ratio(1, 6)? { Some(*u.choose(&Cause::ALL)?) } else { None };
    Ok(name)
}

fn junk_name(u: &mut Unstructured<'_>) -> Result<OsString> {
    let wanted = u.int_in_range(1..=16_usize)?;
    let bytes = u.bytes(wanted.min(u.len()))?;
    let fine: Vec<u8> = bytes.iter().copied().filter(|byte| !matches!(byte, 0 | b'/')).collect();
    let plain = matches!(&fine[..], b"" | b"." | b".." | b"lock" | b"version" | b"control");
    Ok(if plain { "core".into() } else { OsStr::from_bytes(&fine).to_owned() })
}

fn bytes(u: &mut Unstructured<'_>, id: MessageId) -> Result<Vec<u8>> {
    let body = u.int_in_range(0..=2)?;
    let message = |body: u8| format!("Subject: {body}\r\n\r\n{id}\r\n");
    Ok(match u.int_in_range(0..=7)? {
        0..=3 => whole(id, &message(body), blake3::hash(message(body).as_bytes()).into()),
        4 => whole(id, &message(body), [body; 32]),
        5 => Report::new(id, *u.choose(&Cause::ALL)?, Line::escaped("junk"), Timestamp::UNIX_EPOCH)
            .to_string()
            .into_bytes(),
        6 => format!("lazaret-journal 1\ninterrupted 2026-11-22T08:00:00Z {body}\n").into_bytes(),
        _ => <&[u8]>::arbitrary(u)?.to_vec(),
    })
}

fn whole(id: MessageId, text: &str, digest: [u8; 32]) -> Vec<u8> {
    let recipient: lazaret_envelope::Address = "a@b.example".parse().expect("an address");
    let envelope = Envelope {
        id,
        arrived: Timestamp::UNIX_EPOCH,
        origin: Protocol::Submit.into(),
        transaction: Transaction { recipients: vec![recipient.into()], ..Transaction::default() },
        content: Content { size: text.len() as u64, digest: Digest(digest) },
    };
    format!("{envelope}{text}").into_bytes()
}
