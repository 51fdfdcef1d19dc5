//! `lazaret check` on spools that were damaged with ordinary file operations, and
//! beside a daemon that works.
//!
//! Every message is accounted for at the end. No file may be deleted by a repair.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::content::carries;
use crate::lab::{Config, Lab, cli, submitted};
use crate::smtp;
use crate::trial::{Case, figures};
use crate::wait::until;

/// Longest time for the mail of a case to arrive.
const ARRIVAL_TIME_MAX: Duration = Duration::from_secs(60);

/// Messages that are on their way while the spool is checked.
const LOAD: usize = 400;

const RECIPIENT: &str = "desk@example.org";
const MESSAGE: &[u8] = b"From: sender@example.com\r\nSubject: to be checked\r\n\r\ntext of some length\r\n";

/// An id that no message of a case has, but for its last character.
const OTHER_ID: &str = "01KAN97F00000000000000000";

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("check::every_damage_is_named_and_repaired", every_damage),
        Case::new("check::missing_directories_are_made", missing_directories),
        Case::new("check::a_copy_goes_and_what_differs_stays_and_is_said", copies_of_one_id),
        Case::new("check::a_person_is_told_of_hard_links", hard_link),
        Case::new("check::quick_leaves_out_the_digests", quick),
        Case::new("check::no_false_alarm_beside_a_daemon", no_false_alarm),
        Case::new("check::repair_beside_a_daemon", repair_beside_a_daemon),
    ]
}

/// What `check --json` finds: kinds with their paths.
fn found(lab: &Lab, more: &[&str]) -> (Option<i32>, Value, BTreeSet<(String, String)>) {
    let said = cli(lab, &[&["check", "--json"], more].concat());
    let json: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"));
    let text = |finding: &Value, key: &str| finding[key].as_str().expect("a text").to_owned();
    let findings = json["findings"].as_array().expect("a list").iter();
    let kinds = findings.map(|finding| (text(finding, "kind"), text(finding, "path"))).collect();
    (said.code, json, kinds)
}

/// The number of each file in a folder and below.
fn inodes(folder: &Path, into: &mut BTreeSet<u64>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let status = entry.path().symlink_metadata().expect("it is there");
        if status.is_dir() {
            inodes(&entry.path(), into);
        }
        into.insert(status.ino());
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("failed to change a mode");
}

fn change(path: &Path, how: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("failed to read");
    how(&mut bytes);
    fs::write(path, bytes).expect("failed to write");
}

fn every_damage() {
    let lab = Lab::new();
    lab.prepare();
    let ids: Vec<String> = (0..8).map(|_| submitted(&lab, RECIPIENT, MESSAGE)).collect();
    let spool = lab.spool();
    let path = |dir: &str, name: &str| spool.path(dir).join(name);
    let name = |number: usize| format!("{}.g1", ids[number]);
    let message = |number: usize| path("incoming", &name(number));
    let mut expected: BTreeSet<(String, String)> = BTreeSet::new();
    let mut expect = |kind: &str, path: String| assert!(expected.insert((kind.to_owned(), path)));

    change(&message(0), |bytes| bytes[0] = b'x');
    expect("envelope", format!("incoming/{}", name(0)));
    change(&message(1), |bytes| *bytes.last_mut().expect("not empty") ^= 1);
    expect("digest", format!("incoming/{}", name(1)));
    change(&message(2), |bytes| {
        let at = bytes.len() - 10;
        bytes[at..].fill(0);
    });
    expect("nul-tail", format!("incoming/{}", name(2)));
    change(&message(3), |bytes| bytes.truncate(bytes.len() - 5));
    expect("size", format!("incoming/{}", name(3)));
    fs::rename(message(4), path("waiting", &format!("{OTHER_ID}1.g1"))).expect("failed to rename");
    expect("other-message", format!("waiting/{OTHER_ID}1.g1"));
    set_mode(&message(5), 0o644);
    expect("mode", format!("incoming/{}", name(5)));
    // The next name of the same message, as a restored backup leaves it.
    fs::copy(message(6), path("waiting", &format!("{}.g2", ids[6]))).expect("failed to copy");
    expect("duplicate", format!("waiting/{}.g2", ids[6]));
    fs::rename(message(7), path("incoming", &format!("{}.g1.t", ids[7]))).expect("failed to rename");
    expect("misplaced", format!("incoming/{}.g1.t", ids[7]));

    let write = |dir: &str, name: &str, text: &str| {
        fs::write(path(dir, name), text).expect("failed to write");
        set_mode(&path(dir, name), 0o600);
    };
    write("tmp", &format!("{OTHER_ID}2.g0"), "lazaret-envelope 1\n");
    expect("unfinished", format!("tmp/{OTHER_ID}2.g0"));
    write("drop", &format!(".writing.{OTHER_ID}3"), "lazaret-envelope 1\n");
    expect("unfinished", format!("drop/.writing.{OTHER_ID}3"));
    write("journal", &format!("{OTHER_ID}4.log"), "lazaret-journal 1\n");
    expect("orphan-journal", format!("journal/{OTHER_ID}4.log"));
    write("journal", &format!("{}.log", ids[5]), "no journal\n");
    expect("journal", format!("journal/{}.log", ids[5]));
    write("deferred", &format!("{OTHER_ID}5.report"), "no report\n");
    expect("orphan-report", format!("deferred/{OTHER_ID}5.report"));
    expect("report", format!("deferred/{OTHER_ID}5.report"));
    write("incoming", "a\x1b[31m\nb", "no message\n");
    expect("foreign", "incoming/a\\u{1b}[31m\\nb".to_owned());
    write("outbound", "notes.txt", "no message\n");
    expect("foreign", "outbound/notes.txt".to_owned());
    fs::create_dir(path("claimed", "old")).expect("failed to make a directory");
    expect("foreign", "claimed/old".to_owned());
    write(".", "core", "no file of the spool\n");
    expect("foreign", "core".to_owned());
    fs::create_dir(path("incoming", &format!("{OTHER_ID}6.g1"))).expect("failed to make a directory");
    expect("no-file", format!("incoming/{OTHER_ID}6.g1"));
    symlink("/etc/hostname", path("waiting", &format!("{OTHER_ID}7.g1"))).expect("failed to make a link");
    expect("no-file", format!("waiting/{OTHER_ID}7.g1"));
    set_mode(&spool.path("deferred"), 0o755);
    expect("mode", "deferred".to_owned());
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(spool.path("journal"), Some(1), None).expect("failed to give it away");
        expect("owner", "journal".to_owned());
    }
    fs::write(spool.path("version"), "\0\0\0\0").expect("failed to write");
    expect("version", "version".to_owned());

    let mut before = BTreeSet::new();
    inodes(&spool.path("."), &mut before);
    let (code, _, named) = found(&lab, &[]);
    assert_eq!((code, &named), (Some(1), &expected));
    let text = cli(&lab, &["check"]);
    assert!(!text.stdout.contains('\x1b') && text.stderr.is_empty(), "{text:?}");
    for (kind, path) in &expected {
        assert!(text.stdout.contains(&format!("{path}\n")) && text.stdout.contains(kind), "{path}: {text:?}");
    }
    let mut untouched = BTreeSet::new();
    inodes(&spool.path("."), &mut untouched);
    assert_eq!(before, untouched, "a check changes nothing");

    let (code, repaired, _) = found(&lab, &["--repair"]);
    assert_eq!(code, Some(0), "{repaired:#}");
    let mut after = BTreeSet::new();
    inodes(&spool.path("."), &mut after);
    // Of the two names of one message that are verified equal the older one goes.
    assert!(before.difference(&after).count() <= 1, "a repair deletes nothing");
    let (code, again, named) = found(&lab, &[]);
    assert_eq!((code, named.len()), (Some(0), 0), "{again:#}");
    assert_eq!(found(&lab, &["--repair"]).0, Some(0));

    assert_eq!(lab.drain(), Some(0));
    for (number, id) in ids.iter().enumerate() {
        let copies = lab.mail().count(id);
        if number < 5 {
            assert_eq!(copies, 0, "message {number} is damaged");
        } else {
            assert_eq!(copies, 1, "message {number}");
            assert_eq!(carries(&lab.mail().only(id), MESSAGE), Ok(()));
        }
    }
    let quarantine = spool.ids("deferred");
    for id in &ids[..4] {
        let cause = spool.report(id).unwrap_or_else(|| panic!("no report about {id}")).cause().to_owned();
        assert!(["damaged", "envelope"].contains(&cause.as_str()), "{cause}");
    }
    assert!(quarantine.contains(&format!("{OTHER_ID}1")), "{quarantine:?}");
    assert_eq!(found(&lab, &[]).0, Some(0));
}

fn missing_directories() {
    let lab = Lab::new();
    lab.prepare();
    let id = submitted(&lab, RECIPIENT, MESSAGE);
    for name in ["waiting", "journal", "claimed"] {
        fs::remove_dir_all(lab.spool().path(name)).expect("failed to remove");
    }
    fs::remove_file(lab.spool().path("version")).expect("failed to remove");
    let (code, json, kinds) = found(&lab, &[]);
    let kinds: Vec<&str> = kinds.iter().map(|(kind, _)| kind.as_str()).collect();
    let directory = "missing-directory";
    assert_eq!((code, &kinds[..]), (Some(1), &[directory, directory, directory, "version"][..]), "{json:#}");
    assert_eq!(found(&lab, &["--repair"]).0, Some(0));
    assert_eq!(found(&lab, &[]).0, Some(0));
    assert_eq!(lab.drain(), Some(0));
    assert_eq!(lab.mail().count(&id), 1);
}

fn copies_of_one_id() {
    let lab = Lab::new();
    lab.prepare();
    let ids = [(); 2].map(|()| submitted(&lab, RECIPIENT, MESSAGE));
    let path = |dir: &str, id: &str| lab.spool().path(dir).join(format!("{id}.g1"));
    ids.iter().for_each(|id| {
        fs::copy(path("incoming", id), path("waiting", id)).expect("failed to copy");
    });
    change(&path("waiting", &ids[1]), |bytes| *bytes.last_mut().expect("not empty") ^= 1);
    let said = cli(&lab, &["check", "--repair"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stdout.contains(&format!("waiting/{}.g1\n", ids[0])), "{said:?}");
    for words in ["verified to be the same message and was removed", "not the same message"] {
        assert_eq!(said.stdout.matches(words).count(), 1, "{words}: {said:?}");
    }
    assert!(!path("incoming", &ids[0]).exists() && path("waiting", &ids[0]).exists(), "{said:?}");
    assert_eq!(lab.spool().ids("deferred"), [ids[1].clone()].into());

    // The report's own advice can be followed.
    let shown = cli(&lab, &["deferred", "show", &ids[1]]);
    assert_eq!((shown.code, shown.stdout.matches("\nfile ").count()), (Some(0), 2), "{shown:?}");
    let json = cli(&lab, &["deferred", "show", &ids[1], "--json"]);
    let json: Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(json["other_paths"].as_array().map(Vec::len), Some(1), "{json:#}");
    assert_eq!(lab.drain(), Some(0));
    assert_eq!(lab.mail().count(&ids[0]), 1);
}

fn hard_link() {
    let lab = Lab::new();
    lab.prepare();
    let id = submitted(&lab, RECIPIENT, MESSAGE);
    let other = lab.path("other name");
    fs::hard_link(lab.spool().path("incoming").join(format!("{id}.g1")), &other).expect("failed to link");
    let (code, json, _) = found(&lab, &["--repair"]);
    assert_eq!((code, &json["findings"][0]["kind"]), (Some(1), &Value::from("hard-link")), "{json:#}");
    assert!(json["findings"][0]["left"].is_string(), "{json:#}");
    fs::remove_file(other).expect("failed to remove");
    assert_eq!(found(&lab, &[]).0, Some(0));
}

fn quick() {
    let lab = Lab::new();
    lab.prepare();
    let id = submitted(&lab, RECIPIENT, MESSAGE);
    let path = lab.spool().path("incoming").join(format!("{id}.g1"));
    change(&path, |bytes| *bytes.last_mut().expect("not empty") ^= 1);
    assert_eq!(found(&lab, &["--quick"]).0, Some(0));
    assert_eq!(found(&lab, &[]).0, Some(1));
    change(&path, |bytes| bytes.push(0));
    assert_eq!(found(&lab, &["--quick"]).0, Some(1), "the size shows without a digest");
}

fn no_false_alarm() {
    let lab = Lab::new();
    let daemon = lab.start();
    let address = daemon.smtp();
    let mut checks = 0;
    std::thread::scope(|scope| {
        let load = |_: usize| {
            scope.spawn(move || {
                (0..LOAD / 4)
                    .map(|_| {
                        smtp::deliver(address, "sender@example.com", &[RECIPIENT], MESSAGE).expect("taken")
                    })
                    .collect::<Vec<String>>()
            })
        };
        let loads: Vec<_> = (0..4).map(load).collect();
        while loads.iter().any(|load| !load.is_finished()) || lab.mail().copies().len() < LOAD {
            let (code, json, _) = found(&lab, &[]);
            assert_eq!(code, Some(0), "{json:#}");
            checks += 1;
            assert!(checks < 1000, "{} of {LOAD} have arrived", lab.mail().copies().len());
        }
        let ids: Vec<String> = loads.into_iter().flat_map(|load| load.join().expect("a load")).collect();
        assert!(ids.iter().all(|id| lab.mail().count(id) == 1), "each once");
    });
    figures(&format!("check beside a daemon: messages {LOAD}, checks {checks}, false alarms 0"));
    assert_eq!(daemon.terminate().code(), Some(0));
}

fn repair_beside_a_daemon() {
    let lab = Lab::with(&Config::without_routes());
    let daemon = lab.start();
    let id = submitted(&lab, RECIPIENT, MESSAGE);
    let spool = lab.spool();
    assert!(until(ARRIVAL_TIME_MAX, || spool.reports().len() == 1), "{:?}", spool.names("deferred"));
    let name = spool.names("deferred").into_iter().find(|name| !name.ends_with("report")).expect("a message");
    change(&spool.path("deferred").join(&name), |bytes| *bytes.last_mut().expect("not empty") ^= 1);
    fs::write(spool.path("deferred").join("notes"), "x").expect("failed to write");
    fs::write(spool.path("journal").join(format!("{OTHER_ID}1.log")), "lazaret-journal 1\n")
        .expect("failed to write");
    set_mode(&spool.path("waiting"), 0o755);
    let (code, json, kinds) = found(&lab, &["--repair"]);
    assert_eq!(code, Some(1), "{json:#}");
    let kinds: Vec<&str> = kinds.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["digest", "foreign", "mode", "mode", "orphan-journal"], "{json:#}");
    let left: Vec<&Value> =
        json["findings"].as_array().expect("a list").iter().filter(|f| !f["left"].is_null()).collect();
    let said = left.first().and_then(|finding| finding["left"].as_str()).expect("one is left");
    assert!(left.len() == 1 && said.contains(&daemon.pid().to_string()), "{json:#}");
    let shown = cli(&lab, &["deferred", "show", &id]);
    assert!(spool.names("deferred").iter().any(|name| name.ends_with(".cdamaged")), "{shown:?}");
    assert_eq!(daemon.terminate().code(), Some(0));
    assert_eq!(found(&lab, &["--repair"]).0, Some(0));
    assert_eq!(found(&lab, &[]).0, Some(0));
}
