//! What `lazaret deferred show` advises, typed as it stands: by a shell, from anywhere.
//!
//! Every command that is advised for a cause is given, each to a message that nothing
//! was done to before, unless one prepares the next. None may fail.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::lab::{Config, LAZARET, Lab, cli, submitted};
use crate::process::{Finished, finish};
use crate::trial::Case;
use crate::wait::until;

/// Longest time for one message to get anywhere.
const SHORT_TIME_MAX: Duration = Duration::from_secs(30);

const RECIPIENT: &str = "desk@example.org";
const MESSAGE: &[u8] = b"From: sender@example.com\r\nSubject: x\r\n\r\ntext\r\n";

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("advice::a_limit_is_named_with_its_value", limit),
        Case::new("advice::a_budget_is_named_with_its_value", budget),
        Case::new("advice::without_a_route", no_route),
        Case::new("advice::put_there_by_hand", by_hand),
        Case::new("advice::a_bad_file_in_drop_is_mended", bad_drop),
        Case::new("advice::a_folder_is_removed", folder),
        Case::new("advice::one_of_two_files_is_kept", two_files),
    ]
}

/// Types a command into a shell, somewhere else, where the program is found.
pub fn typed(command: &str) -> Finished {
    let folder = Path::new(LAZARET).parent().expect("the program lies in a folder").display();
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).current_dir("/").env("PATH", format!("{folder}:/usr/bin:/bin"));
    finish(&mut shell, b"", SHORT_TIME_MAX)
}

#[track_caller]
fn works(command: &str) {
    let done = typed(command);
    assert_eq!(done.code, Some(0), "{command}: {done:?}");
}

/// What is shown of a message: the text, and the same for programs.
#[track_caller]
fn shown(lab: &Lab, id: &str) -> (String, Value) {
    let text = cli(lab, &["deferred", "show", id]);
    let json = cli(lab, &["deferred", "show", "--json", id]);
    assert_eq!((text.code, json.code), (Some(0), Some(0)), "{text:?} {json:?}");
    let json = serde_json::from_str(&json.stdout).unwrap_or_else(|error| panic!("{error}: {json:?}"));
    (text.stdout, json)
}

/// The commands that are advised, each of which stands in the text as well.
#[track_caller]
fn advised(lab: &Lab, id: &str) -> Vec<String> {
    let (text, json) = shown(lab, id);
    let commands = json["next"].as_array().unwrap_or_else(|| panic!("{json}"));
    let commands: Vec<_> = commands.iter().map(|next| next.as_str().expect("a text").to_owned()).collect();
    assert!(!text.contains("deferred show"), "it sends in circles: {text}");
    for command in &commands {
        assert!(text.contains(command.as_str()), "{command}: {text}");
    }
    commands
}

/// Gives each command that is advised for a cause, each to a message of its own.
#[track_caller]
fn each_works(lab: &Lab, cause: &str, mut make: impl FnMut() -> String, expected: &[&str]) {
    let spool = lab.spool();
    let deferred = |id: &str| until(SHORT_TIME_MAX, || spool.ids("deferred").contains(id));
    for (at, word) in expected.iter().enumerate() {
        let id = make();
        assert!(deferred(&id), "{:?}", spool.passing());
        let commands = advised(lab, &id);
        assert_eq!(shown(lab, &id).1["cause"], cause);
        assert!(commands.len() == expected.len() && commands[at].contains(word), "{commands:?}");
        works(&commands[at]);
    }
}

const EACH: &[&str] = &["reload", "deferred release", "deferred bounce", "deferred delete"];

fn limit() {
    let by_subject = "header = { Subject = \"never so\" }\ndeliver = \"mailboxes\"\n";
    let lab = Lab::with(&Config::default().workers("limits = { header_count = 5 }\n").route(by_subject));
    let daemon = lab.start();
    let mut number = 0;
    let mut make = || {
        number += 1;
        let fields = format!("X: {number}\r\n").repeat(6);
        submitted(&lab, RECIPIENT, &[fields.as_bytes(), MESSAGE].concat())
    };
    let id = make();
    assert!(until(SHORT_TIME_MAX, || lab.spool().ids("deferred").contains(&id)));
    let (text, json) = shown(&lab, &id);
    let named = format!("raise workers.limits.header_count (now 5) in {}", lab.config().display());
    assert!(text.contains(&named), "{named}: {text}");
    assert!(json["advice"].to_string().contains(&named), "{json}");
    assert_eq!(json["budget_memory_bytes"].as_u64().map(|bytes| bytes >> 20), Some(24), "{json}");
    for key in ["budget_cpu_time_ms", "budget_wall_time_ms"] {
        assert!(json[key].as_f64().is_some_and(|millis| millis > 0.0), "{key}: {json}");
    }
    each_works(&lab, "limit", make, EACH);
    assert_eq!(daemon.terminate().code(), Some(0));
}

fn budget() {
    let lab = Lab::with(&Config::parsing_everything().workers("memory = \"256KiB\"\nmemory_per_byte = 0\n"));
    let daemon = lab.start();
    let mut number = 0;
    let make = || {
        number += 1;
        let part = format!("--b\r\nX: {number}\r\nContent-Transfer-Encoding: base64\r\n\r\nVGV4dA==\r\n");
        let head = "From: a@b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n";
        submitted(&lab, RECIPIENT, format!("{head}{}--b--\r\n", part.repeat(5000)).as_bytes())
    };
    each_works(&lab, "memory", make, EACH);
    let id = lab.spool().ids("deferred").into_iter().next().expect("the released one has come back");
    let (text, _) = shown(&lab, &id);
    let named = "raise workers.memory (now \"256KiB\") or workers.memory_per_byte (now 0) in ";
    assert!(text.contains(named), "{text}");
    assert_eq!(daemon.terminate().code(), Some(0));
}

fn no_route() {
    let lab = Lab::with(&Config::without_routes());
    let daemon = lab.start();
    each_works(&lab, "no-route", || submitted(&lab, RECIPIENT, MESSAGE), EACH);
    assert_eq!(daemon.terminate().code(), Some(0));
}

fn by_hand() {
    let lab = Lab::new();
    lab.prepare();
    let spool = lab.spool();
    let make = || {
        let id = submitted(&lab, RECIPIENT, MESSAGE);
        let names = spool.names("incoming");
        let name = names.iter().find(|name| name.starts_with(&id)).expect("it is there");
        let [from, to] = ["incoming", "deferred"].map(|dir| spool.path(dir).join(name));
        std::fs::rename(from, to).expect("failed to move it");
        id
    };
    // Nobody is there to do it but the command itself.
    each_works(&lab, "by-hand", make, &EACH[1..]);
}

fn bad_drop() {
    let lab = Lab::new();
    let daemon = lab.start();
    let spool = lab.spool();
    let written = lab.path("bill");
    std::fs::write(&written, "lazaret-envelope 1\nsender <a@example.org>\nend\nSubject: x\n\ny\n")
        .expect("written");
    std::fs::rename(&written, spool.path("drop").join("bill")).expect("failed to drop");
    assert!(until(SHORT_TIME_MAX, || spool.reports().len() == 1 && spool.ids("deferred").len() == 1));
    let id = spool.ids("deferred").into_iter().next().expect("one");
    let (text, json) = shown(&lab, &id);
    assert_eq!((&json["cause"], &json["blame"]), (&"bad-drop".into(), &"message".into()));
    assert!(text.contains("drop/bill was refused") && !text.contains("disk"), "{text}");
    let checked = cli(&lab, &["check"]);
    assert_eq!(checked.code, Some(0), "it is accounted for: {checked:?}");
    let commands = advised(&lab, &id);
    let [copy, hand_in, delete] = &commands[..] else { panic!("{commands:?}") };
    works(copy);
    let hidden = spool.path("drop").join(format!(".{id}"));
    let mended = std::fs::read_to_string(&hidden)
        .expect("the copy")
        .replace("end\n", "recipient <desk@example.org>\nend\n");
    std::fs::write(&hidden, mended).expect("failed to mend it");
    works(hand_in);
    works(delete);
    assert!(until(SHORT_TIME_MAX, || lab.mail().copies().len() == 1), "it does not arrive");
    assert_eq!(spool.names("deferred"), Vec::<String>::new());
    assert_eq!(daemon.terminate().code(), Some(0));
}

fn folder() {
    let lab = Lab::new();
    lab.prepare();
    let spool = lab.spool();
    std::fs::create_dir(spool.path("drop").join("a folder")).expect("failed to make a folder");
    let daemon = lab.start();
    assert!(until(SHORT_TIME_MAX, || spool.reports().len() == 1 && spool.ids("deferred").len() == 1));
    let id = spool.ids("deferred").into_iter().next().expect("one");
    let deleted = cli(&lab, &["deferred", "delete", &id]);
    assert!(
        deleted.code != Some(0) && deleted.stderr.contains(&format!("deferred show {id}")),
        "{deleted:?}"
    );
    let commands = advised(&lab, &id);
    assert_eq!(commands.len(), 1, "{commands:?}");
    works(&commands[0]);
    assert_eq!(spool.names("deferred"), Vec::<String>::new());
    let checked = cli(&lab, &["check"]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert_eq!(daemon.terminate().code(), Some(0));
}

fn two_files() {
    let lab = Lab::new();
    lab.prepare();
    let id = submitted(&lab, RECIPIENT, MESSAGE);
    let spool = lab.spool();
    let name = spool.names("incoming").pop().expect("it is there");
    let [from, to] = ["incoming", "deferred"].map(|dir| spool.path(dir).join(&name));
    std::fs::rename(&from, &to).expect("failed to move it");
    let another = spool.path("deferred").join(name.replace(".g", ".g9"));
    let text = String::from_utf8(std::fs::read(&to).expect("it can be read")).expect("it is text");
    std::fs::write(&another, text.replace("Subject: x", "Subject: y")).expect("failed to write");
    for command in advised(&lab, &id) {
        works(&command);
    }
    assert_eq!(spool.names("deferred").len(), 1, "{:?}", spool.names("deferred"));
    let kept = advised(&lab, &id);
    assert!(kept.iter().any(|command| command.contains("deferred release")), "{kept:?}");
}
