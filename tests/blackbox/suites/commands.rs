//! Commands where something is in the way: a daemon that does not answer, a user who
//! may not, a configuration that is named in two ways; and the same for programs.
//!
//! Looks for the words that an operator needs, never for whole sentences.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::advice::typed;
use crate::lab::{Config, LAZARET, Lab, cli, submitted};
use crate::process::{Finished, finish};
use crate::trial::{Case, Needs};
use crate::wait::until;

/// Longest time for a command, whatever is in its way.
const COMMAND_TIME_MAX: Duration = Duration::from_secs(30);

/// Exit statuses of sysexits(3).
const USAGE: Option<i32> = Some(64);
const TEMPORARY: Option<i32> = Some(75);
const FORBIDDEN: Option<i32> = Some(77);

/// A user who owns nothing.
const NOBODY: u32 = 65534;

const RECIPIENT: &str = "desk@example.org";
const MESSAGE: &[u8] = b"From: sender@example.com\r\nSubject: x\r\n\r\ntext\r\n";

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("commands::a_stopped_daemon_is_named", stopped_daemon),
        Case::new("commands::a_hung_daemon_is_named", hung_daemon),
        Case::new("commands::who_may_not_is_told_who_may", another_user).needs(&[Needs::Root]),
        Case::new("commands::intake_that_stays_closed_says_so", intake_stays_closed),
        Case::new("commands::each_has_its_json", each_has_its_json),
        Case::new("commands::init_and_the_names_of_a_configuration", names_of_a_configuration),
    ]
}

fn run(lab: &Lab, args: &[&str]) -> Finished {
    finish(Command::new(LAZARET).args(args).arg("--config").arg(lab.config()), b"", COMMAND_TIME_MAX)
}

const ASKING: &[&[&str]] =
    &[&["status"], &["pause", "routing"], &["resume", "intake"], &["reload"], &["check", "--repair"]];

fn stopped_daemon() {
    let lab = Lab::new();
    let daemon = lab.start();
    let id = submitted(&lab, RECIPIENT, MESSAGE);
    assert!(until(COMMAND_TIME_MAX, || lab.mail().count(&id) == 1));
    let pid = daemon.pid();
    let process = Pid::from_raw(pid.cast_signed()).expect("a process");
    kill_process(process, Signal::STOP).expect("failed to stop it");
    let release: &[&str] = &["deferred", "release", &id];
    for args in ASKING.iter().chain([&release]) {
        let said = run(&lab, args);
        let words = [format!("pid {pid}, does not answer"), format!("kill -CONT {pid}")];
        assert!(words.iter().all(|words| said.stderr.contains(words)), "{args:?}: {said:?}");
        assert_eq!(said.code, TEMPORARY, "{args:?}: {said:?}");
    }
    let advised = typed(&format!("kill -CONT {pid}"));
    assert_eq!(advised.code, Some(0), "{advised:?}");
    assert_eq!(run(&lab, &["status"]).code, Some(0));
    assert_eq!(daemon.terminate().code(), Some(0));
}

/// One that takes a command, and never says anything.
fn hung_daemon() {
    let lab = Lab::new();
    lab.prepare();
    let socket = lab.path("spool").join("control");
    std::fs::remove_file(&socket).expect("a daemon leaves its socket");
    let _silent = UnixListener::bind(&socket).expect("failed to listen");
    let said = run(&lab, &["status"]);
    let pid = std::process::id();
    let words = [format!("pid {pid}, does not answer for 5 s"), format!("kill {pid}"), "its log".to_owned()];
    assert!(said.code == TEMPORARY && words.iter().all(|words| said.stderr.contains(words)), "{said:?}");
}

fn another_user() {
    let lab = Lab::new();
    let (daemon, program) = lab.start_copy();
    let open = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("failed to set a mode");
    };
    open(program.parent().expect("a folder"), 0o755);
    open(&program, 0o755);
    open(&lab.config(), 0o644);
    for args in [&["status"][..], &["deferred", "list"], &["pause", "intake"], &["reload"], &["check"]] {
        let mut command = Command::new(&program);
        command.args(args).arg("--config").arg(lab.config()).uid(NOBODY).gid(NOBODY);
        let said = finish(&mut command, b"", COMMAND_TIME_MAX);
        let how = format!("sudo -u root {} {} --config ", program.display(), args.join(" "));
        let told = said.stderr.contains("only root, the owner of the spool") && said.stderr.contains(&how);
        assert!(said.code == FORBIDDEN && told, "{args:?}: {said:?}");
    }
    assert_eq!(daemon.terminate().code(), Some(0));
}

fn intake_stays_closed() {
    let all = rustix::fs::statvfs(std::env::temp_dir()).expect("the disk can be looked at");
    // Less than all of the disk, and more than is ever left of it.
    let reserve = all.f_blocks * all.f_frsize - (1 << 20);
    let lab = Lab::with(&Config::default().tables(&format!("[intake]\nreserve = \"{reserve}B\"\n")));
    let checked = cli(&lab, &["config", "check"]);
    assert!(checked.code == Some(0) && checked.stdout.contains("warning: [intake] reserve"), "{checked:?}");
    let daemon = lab.start();
    assert_eq!(run(&lab, &["pause", "intake"]).code, Some(0));
    let resumed = run(&lab, &["resume", "intake"]);
    let told = resumed.stdout.contains("does not go on") && resumed.stdout.contains("too little room");
    assert!(resumed.code == Some(0) && told, "{resumed:?}");
    let json = json(&lab, &["resume", "intake", "--json"]);
    assert!(json["works"] == false && json["why"].as_str().is_some_and(|why| why.contains("room")), "{json}");
    lab.configure(&Config::default());
    assert_eq!(run(&lab, &["reload"]).code, Some(0));
    let resumed = run(&lab, &["resume", "intake"]);
    assert!(resumed.stdout.contains("intake goes on"), "{resumed:?}");
    assert_eq!(daemon.terminate().code(), Some(0));
}

#[track_caller]
fn json(lab: &Lab, args: &[&str]) -> Value {
    let said = run(lab, args);
    assert_eq!(said.code, Some(0), "{args:?}: {said:?}");
    serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{args:?}: {error}: {said:?}"))
}

fn each_has_its_json() {
    let lab = Lab::with(&Config::without_routes());
    let daemon = lab.start();
    let ids = [0; 3].map(|_| submitted(&lab, RECIPIENT, MESSAGE));
    assert!(until(COMMAND_TIME_MAX, || lab.spool().ids("deferred").len() == 3));
    assert_eq!(json(&lab, &["pause", "routing", "--json"])["works"], false);
    for (word, did, id) in [("release", "released", &ids[0]), ("delete", "deleted", &ids[1])] {
        let done = json(&lab, &["deferred", word, id, "--json"]);
        assert_eq!((&done[0]["id"], &done[0]["did"]), (&id.as_str().into(), &did.into()));
    }
    assert_eq!(json(&lab, &["deferred", "bounce", &ids[2], "--json"])[0]["id"], ids[2].as_str());
    let resumed = json(&lab, &["resume", "routing", "--json"]);
    assert_eq!((&resumed["part"], &resumed["works"]), (&"routing".into(), &true.into()));
    for args in [&["reload", "--json"][..], &["status", "--json"], &["config", "show", "--json"]] {
        let shown = json(&lab, args);
        assert!(shown.is_object() || shown.is_array(), "{shown}");
    }
    assert_eq!(json(&lab, &["config", "check", "--json"])["right"], true);
    assert_eq!(daemon.terminate().code(), Some(0));
}

fn names_of_a_configuration() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |variable: Option<&str>, args: &[&str]| {
        let mut command = Command::new(LAZARET);
        command.args(args).current_dir(&folder).env_remove("LAZARET_CONFIG");
        command.envs(variable.map(|value| ("LAZARET_CONFIG", value)));
        finish(&mut command, b"", COMMAND_TIME_MAX)
    };
    let is_there = |name: &str| folder.path().join(name).is_file();
    assert!(run(None, &["--config", "a.toml", "init"]).code == Some(0) && is_there("a.toml"));
    assert!(run(Some("b.toml"), &["init"]).code == Some(0) && is_there("b.toml"));
    assert!(run(Some("b.toml"), &["init", "c.toml"]).code == Some(0) && is_there("c.toml"));
    let both = run(None, &["--config", "d.toml", "init", "e.toml"]);
    assert!(
        both.code == USAGE && both.stderr.contains("d.toml") && both.stderr.contains("e.toml"),
        "{both:?}"
    );
    assert!(!is_there("lazaret.toml") && !is_there("d.toml") && !is_there("e.toml"));
    for (args, code) in [(&["status"][..], USAGE), (&["submit", "a@example.org"], TEMPORARY)] {
        let empty = run(Some(""), args);
        assert!(empty.code == code && empty.stderr.contains("unset LAZARET_CONFIG"), "{empty:?}");
    }
}
