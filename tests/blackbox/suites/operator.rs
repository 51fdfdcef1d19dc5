//! What an operator does: stop, look, release, delete, check.
//!
//! Looks for the words that an operator needs, never for whole sentences.

use std::process::Command;
use std::time::Duration;

use crate::content::carries;
use crate::daemon::STOP_TIME_MAX;
use crate::lab::{Config, LAZARET, Lab, cli, submitted};
use crate::process::finish;
use crate::spooldir::has_strike;
use crate::trial::Case;
use crate::wait::{Watch, until};

/// Longest time for one message to get anywhere.
const SHORT_TIME_MAX: Duration = Duration::from_secs(30);

/// Messages that are on their way when the daemon is stopped.
const UNDER_WAY: usize = 100;

const RECIPIENT: &str = "desk@example.org";
const MESSAGE: &[u8] = b"From: sender@example.com\r\nSubject: for the operator\r\n\r\ntext\r\n";

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("operator::clean_stop_costs_nothing", clean_stop),
        Case::new("operator::drain_delivers_and_ends", drain),
        Case::new("operator::one_daemon_per_spool", one_daemon_per_spool),
        Case::new("operator::status_counts", status_counts),
        Case::new("operator::deferred_release_and_delete", deferred_release_and_delete),
        Case::new("operator::check_names_the_damage", check_names_the_damage),
        Case::new("operator::config_check_names_the_place", config_check_names_the_place),
        Case::new("operator::a_first_configuration_and_the_manual", a_first_configuration_and_the_manual),
    ]
}

fn clean_stop() {
    let lab = Lab::new();
    lab.prepare();
    let ids: Vec<String> = (0..UNDER_WAY).map(|_| submitted(&lab, RECIPIENT, MESSAGE)).collect();
    let spool = lab.spool();
    let mut claims = Watch::on(&spool.workers());
    let daemon = lab.start();
    claims.next(SHORT_TIME_MAX).expect("a claim");
    let status = daemon.terminate();
    assert_eq!(status.code(), Some(0), "stopped within {STOP_TIME_MAX:?}, but badly");
    for state in ["tmp", "claimed"] {
        assert_eq!(spool.names(state), Vec::<String>::new(), "left in {state}/");
    }
    let marked: Vec<String> = spool.passing().into_iter().filter(|path| has_strike(last(path))).collect();
    assert!(marked.is_empty(), "a clean stop is nobody's fault: {marked:?}");
    assert_eq!(lab.drain(), Some(0));
    assert!(ids.iter().all(|id| lab.mail().count(id) == 1), "each once");
    assert_eq!(spool.names("deferred"), Vec::<String>::new());
}

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn drain() {
    let lab = Lab::new();
    lab.prepare();
    let id = submitted(&lab, RECIPIENT, MESSAGE);
    assert_eq!(lab.drain(), Some(0));
    assert_eq!(carries(&lab.mail().only(&id), MESSAGE), Ok(()));
    lab.configure(&Config::without_routes());
    let id = submitted(&lab, RECIPIENT, MESSAGE);
    assert_eq!(lab.drain(), Some(1), "something was newly deferred");
    assert_eq!(lab.spool().report(&id).expect("a report").cause(), "no-route");
}

fn one_daemon_per_spool() {
    let lab = Lab::new();
    let mut first = lab.start();
    let Err(second) = lab.try_start() else { panic!("two daemons on one spool") };
    assert_ne!(second.status.expect("it ends by itself").code(), Some(0));
    let pid = first.pid().to_string();
    let named = second.log.split(|c: char| !c.is_ascii_digit()).any(|number| number == pid);
    assert!(named, "the first one, {pid}, is not named:\n{}", second.log);
    assert!(first.is_alive());
    assert_eq!(first.terminate().code(), Some(0));
}

fn status_counts() {
    let lab = Lab::new();
    lab.prepare();
    submitted(&lab, RECIPIENT, MESSAGE);
    let without = cli(&lab, &["status"]);
    assert_eq!(without.code, Some(0), "{without:?}");
    assert!(without.stdout.contains("incoming"), "{without:?}");
    let daemon = lab.start();
    let with = cli(&lab, &["status"]);
    assert_eq!(with.code, Some(0), "{with:?}");
    for word in ["incoming", "claimed", "outbound", "waiting", "deferred"] {
        assert!(with.stdout.contains(word), "{word} is not told: {with:?}");
    }
    let json: serde_json::Value =
        serde_json::from_str(&cli(&lab, &["status", "--json"]).stdout).expect("JSON");
    assert!(json.is_object(), "{json}");
    assert_eq!(daemon.terminate().code(), Some(0));
}

fn deferred_release_and_delete() {
    let lab = Lab::with(&Config::without_routes());
    let daemon = lab.start();
    let [released, deleted] = [0, 1].map(|_| submitted(&lab, RECIPIENT, MESSAGE));
    let spool = lab.spool();
    assert!(until(SHORT_TIME_MAX, || spool.reports().len() == 2), "deferred/: {:?}", spool.names("deferred"));
    let listed = cli(&lab, &["deferred", "list", "--json"]);
    let _: serde_json::Value =
        serde_json::from_str(&listed.stdout).unwrap_or_else(|e| panic!("{e}: {listed:?}"));
    let shown = cli(&lab, &["deferred", "show", &released]);
    assert_eq!((listed.code, shown.code), (Some(0), Some(0)), "{listed:?}\n{shown:?}");
    for text in [&listed.stdout, &shown.stdout] {
        assert!(text.contains(&released) && text.contains("no-route"), "{text}");
    }
    assert!(shown.stdout.contains("sender@example.com"), "{shown:?}");
    let gone = cli(&lab, &["deferred", "delete", &deleted]);
    assert_eq!(gone.code, Some(0), "{gone:?}");
    assert!(until(SHORT_TIME_MAX, || !spool.ids("deferred").contains(&deleted)));
    assert_eq!(daemon.terminate().code(), Some(0));
    // The route that was missing is added; then the message may try again.
    lab.configure(&Config::default());
    let daemon = lab.start();
    let back = cli(&lab, &["deferred", "release", &released]);
    assert_eq!(back.code, Some(0), "{back:?}");
    assert!(until(SHORT_TIME_MAX, || lab.mail().count(&released) == 1), "it does not arrive");
    assert_eq!(carries(&lab.mail().only(&released), MESSAGE), Ok(()));
    assert_eq!((lab.mail().count(&deleted), spool.names("deferred")), (0, vec![]));
    assert_eq!(daemon.terminate().code(), Some(0));
}

fn check_names_the_damage() {
    let lab = Lab::new();
    lab.prepare();
    let id = submitted(&lab, RECIPIENT, MESSAGE);
    let whole = cli(&lab, &["check"]);
    assert_eq!(whole.code, Some(0), "{whole:?}");
    let spool = lab.spool();
    let name = &spool.names("incoming")[0];
    let path = spool.path("incoming").join(name);
    let mut bytes = std::fs::read(&path).expect("failed to read");
    *bytes.last_mut().expect("not empty") ^= 1;
    std::fs::write(&path, bytes).expect("failed to write");
    let damaged = cli(&lab, &["check"]);
    assert!(damaged.code.is_some_and(|code| code != 0), "{damaged:?}");
    let said = damaged.stdout + &damaged.stderr;
    assert!(said.contains(&id) && said.contains("digest"), "{said}");
    assert!(path.exists(), "it must not be touched without being asked");
}

fn config_check_names_the_place() {
    let lab = Lab::new();
    let good = cli(&lab, &["config", "check"]);
    assert_eq!(good.code, Some(0), "{good:?}");
    let text = Config::default().text();
    for (bad, line, column) in [
        ("[workers]\ncount = two\n".to_owned(), 2, 9),
        (text.replace("count = 2", "cuont = 2"), 8, 1),
        (text.replace("type = \"maildir\"", "type = \"maildri\""), 11, 8),
        (text.replace("deliver = \"mailboxes\"", "deliver = \"mailbxoes\""), 15, 11),
    ] {
        std::fs::write(lab.config(), &bad).expect("failed to write the configuration");
        let said = cli(&lab, &["config", "check"]);
        assert!(said.code.is_some_and(|code| code != 0), "{bad}\n{said:?}");
        let said = said.stdout + &said.stderr;
        let short = format!("lazaret.toml:{line}:{column}");
        let long = (said.contains("lazaret.toml"), said.contains(&format!("line {line}, column {column}")));
        assert!(said.contains(&short) || long == (true, true), "expected {short}:\n{bad}\n{said}");
    }
}

fn a_first_configuration_and_the_manual() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(LAZARET);
        finish(command.args(arguments).current_dir(&folder), b"", SHORT_TIME_MAX)
    };
    let written = run(&["init"]);
    assert_eq!(written.code, Some(0), "{written:?}");
    let again = run(&["init"]);
    assert!(again.code == Some(73) && again.stderr.contains("is there already"), "{again:?}");
    let right = run(&["--config", "lazaret.toml", "config", "check"]);
    assert!(right.code == Some(0) && !right.stdout.contains("warning"), "{right:?}");
    let shown = run(&["--config", "lazaret.toml", "config", "show"]);
    assert!(shown.stdout.contains("workers.memory"), "{shown:?}");
    let missing = ["--config", "etc/my mail/lazaret.toml", "config", "check"];
    let missed = run(&missing);
    let (_, advised) = missed.stderr.trim_end().rsplit_once(": lazaret ").expect("a command");
    let mut typed = Command::new("/bin/sh");
    typed.args(["-c", &format!("\"$1\" {advised}"), "sh", LAZARET]).current_dir(&folder);
    let typed = finish(&mut typed, b"", SHORT_TIME_MAX);
    assert!((missed.code, typed.code) == (Some(78), Some(0)), "{missed:?} {typed:?}");
    assert_eq!(run(&missing).code, Some(0));
    std::fs::write(folder.path().join("empty.toml"), "# Nothing.\n").expect("a file");
    let empty = run(&["--config", "empty.toml", "config", "check"]);
    assert!(empty.code == Some(0) && empty.stdout.contains("sets nothing"), "{empty:?}");
    let man = run(&["man", "pages"]);
    assert_eq!(man.code, Some(0), "{man:?}");
    for page in ["lazaret.8", "lazaret-deferred-release.8", "lazaret.toml.5"] {
        let text = std::fs::read_to_string(folder.path().join("pages").join(page)).expect("a page");
        assert!(text.contains(".SH NAME"), "{page}");
    }
}
