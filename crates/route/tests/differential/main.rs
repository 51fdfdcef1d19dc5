//! What routes ask of a message, held against what Python's email package says, on
//! all real mail of the test data.
//!
//! Where both differ, class and message stand in `judged.txt`, with the reason: what
//! is not there, or differs no more, fails. It must never pass where Python or the
//! data is missing: it says so.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a test program reports to people")]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lazaret_route::{Facts, Limits};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use serde_json::Value;

/// Fields that are compared.
const FIELDS: [&str; 4] = ["Subject", "List-Id", "From", "To"];

/// Classes of differences, the reason for each (indented by four), and the messages
/// (by two).
const JUDGED: &str = include_str!("judged.txt");

/// Names the folder of test data.
const TESTDATA_VARIABLE: &str = "LAZARET_TESTDATA";

fn main() {
    let arguments = Arguments::from_args();
    let trial = Trial::ignorable_test("facts_are_those_that_python_reads", compare);
    libtest_mimic::run(&arguments, vec![trial]).exit();
}

fn compare() -> Result<Completion, Failed> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let named = std::env::var_os(TESTDATA_VARIABLE).filter(|name| !name.is_empty());
    let folder = root.join(named.map_or_else(|| PathBuf::from("../shared"), PathBuf::from)).join("mail");
    if !folder.is_dir() {
        return Ok(Completion::ignored_with(format!("no test data: set {TESTDATA_VARIABLE}")));
    }
    if Command::new("python3").arg("--version").stdout(Stdio::null()).status().is_err() {
        return Ok(Completion::ignored_with("no tool: python3"));
    }
    let files = mail(&folder);
    let theirs = python(&files);
    assert_eq!(files.len(), theirs.len(), "Python has answered for each message");
    let mut found = BTreeSet::new();
    let mut shown = Vec::new();
    for (file, theirs) in files.iter().zip(&theirs) {
        let name = file.strip_prefix(&folder).unwrap_or(file).display().to_string();
        for (class, what) in differences(&fs::read(file).expect("readable"), theirs) {
            shown.push(format!("{class}: {name}: {what}"));
            found.insert((class, name.clone()));
        }
    }
    let judged = judged();
    println!(
        "figures: facts: {} messages, {} of them judged differently by Python",
        files.len(),
        found.len()
    );
    let unjudged: Vec<_> = found.difference(&judged).collect();
    assert!(unjudged.is_empty(), "not judged yet: {unjudged:#?}, of {shown:#?}");
    let passed: Vec<_> = judged.difference(&found).filter(|(_, name)| folder.join(name).is_file()).collect();
    assert!(passed.is_empty(), "both say the same by now: {passed:#?}");
    Ok(Completion::Completed)
}

fn judged() -> BTreeSet<(String, String)> {
    let (mut judged, mut class) = (BTreeSet::new(), "");
    for line in JUDGED.lines().filter(|line| !line.is_empty() && !line.starts_with(['#'])) {
        match line.strip_prefix("  ") {
            None => class = line,
            Some(reason) if reason.starts_with(' ') => {}
            Some(file) => drop(judged.insert((class.to_owned(), file.to_owned()))),
        }
    }
    judged
}

fn mail(folder: &Path) -> Vec<PathBuf> {
    let entries = |folder: &Path| {
        let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
        entries.collect::<Vec<_>>()
    };
    let folders = entries(folder).into_iter().filter(|path| path.is_dir());
    let mut files: Vec<PathBuf> = folders
        .flat_map(|folder| entries(&folder))
        .filter(|path| path.extension().is_some_and(|end| end == "eml"))
        .collect();
    files.sort();
    files
}

fn python(files: &[PathBuf]) -> Vec<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/differential/facts.py");
    let mut child = Command::new("python3")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 starts");
    let mut names: Vec<u8> = Vec::new();
    files.iter().for_each(|file| names.extend(format!("{}\n", file.display()).bytes()));
    let mut stdin = child.stdin.take().expect("a pipe");
    let writer = std::thread::spawn(move || stdin.write_all(&names));
    let output = child.wait_with_output().expect("python3 ends");
    writer.join().expect("no panic").expect("it read all names");
    let text = String::from_utf8(output.stdout).expect("JSON is UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Classes of differences, and what each is about.
fn differences(content: &[u8], theirs: &Value) -> Vec<(String, String)> {
    let limits = Limits::default();
    let mut observe = |_| ();
    let mut facts = Facts::new(content, &limits, &mut observe);
    let mut found = Vec::new();
    let words = |text: &String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    for field in FIELDS {
        let mut ours: Vec<String> =
            facts.field_texts(field).expect("real mail is within the limits").iter().map(words).collect();
        ours.sort();
        let theirs = texts(&theirs[field]);
        if ours != theirs {
            found.push((class_of_text(&ours, &theirs), format!("{field}: {ours:?} and {theirs:?}")));
        }
    }
    let parts = facts.parts().expect("real mail is within the limits");
    let names = parts.names.iter().map(words).collect();
    for (what, ours) in [("types", &parts.types), ("names", &names)] {
        let theirs = texts(&theirs[what]).into_iter().collect();
        found.extend(difference(what, ours, &theirs));
    }
    found
}

/// The class of a difference between two sets, and what only one of them has.
fn difference(what: &str, ours: &BTreeSet<String>, theirs: &BTreeSet<String>) -> Option<(String, String)> {
    let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).cloned().collect::<Vec<_>>();
    let (more, fewer) = (only(ours, theirs), only(theirs, ours));
    let class = match (more.is_empty(), fewer.is_empty()) {
        (true, true) => return None,
        (false, true) => "more here",
        (true, false) => "fewer here",
        (false, false) => "others",
    };
    Some((format!("{what}, {class}"), format!("{more:?} and {fewer:?}")))
}

fn texts(value: &Value) -> Vec<String> {
    let list = value.as_array().into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn class_of_text(ours: &[String], theirs: &[String]) -> String {
    let dense = |texts: &[String]| texts.concat().replace(char::is_whitespace, "");
    let ascii = |texts: &[String]| texts.concat().chars().filter(char::is_ascii_graphic).collect::<String>();
    if ours.len() != theirs.len() {
        "text, another number of fields"
    } else if theirs.iter().any(|text| text.starts_with('?')) {
        "text, not decoded by Python"
    } else if dense(ours) == dense(theirs) {
        "text, other blanks"
    } else if ascii(ours) == ascii(theirs) {
        "text, other characters beyond ASCII"
    } else {
        "text, other"
    }
    .to_owned()
}
