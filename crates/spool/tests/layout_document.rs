//! `queue-layout.md` is normative: its names, modes and limits are held against
//! those of the code. This must never be made to pass by leaving something out.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use lazaret_envelope::LINE_BYTES_MAX;
use lazaret_spool::layout::{
    CLAIMED, CONTROL_SOCKET, DROP_WRITING, FULL_FILE, JOURNAL_SUFFIX, LOCK_FILE, REPORT_SUFFIX, TAKEN,
    VERSION_FILE, VERSION_TEXT,
};
use lazaret_spool::{
    Dir, FINDINGS_MAX, INTERRUPTIONS_MAX, JOURNAL_WORDS, Remedy, STRIKES_MAX, Spool, Trouble,
};

fn document() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../queue-layout.md");
    std::fs::read_to_string(path).expect("queue-layout.md lies at the top of the repository")
}

/// The rows of the table below a heading, as cells.
fn rows(document: &str, heading: &str) -> Vec<Vec<String>> {
    let section = document.split(&format!("\n## {heading}\n")).nth(1).expect("the section is there");
    let section = section.split("\n## ").next().unwrap_or(section);
    let table = section.lines().filter(|line| line.starts_with('|'));
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    table.filter(|line| !line.starts_with("| ---")).map(cells).collect()
}

#[test]
fn every_directory_and_its_mode_is_described() {
    let document = document();
    let described: BTreeSet<(String, String)> = rows(&document, "Directories")
        .into_iter()
        .filter(|row| row.len() == 3 && row[0].starts_with('`'))
        .map(|row| (row[0].clone(), row[1].clone()))
        .collect();
    let mut known: BTreeSet<(String, String)> =
        Dir::FIXED.iter().map(|dir| (format!("`{dir}/`"), format!("{:04o}", dir.mode()))).collect();
    known.insert((format!("`{CLAIMED}/`"), "0700".to_owned()));
    assert_eq!(described, known);
}

#[test]
fn what_is_made_is_what_is_described() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("spool");
    Spool::create(&root).unwrap();
    for row in rows(&document(), "Directories").iter().filter(|row| row.len() == 3 && row[0].starts_with('`'))
    {
        use std::os::unix::fs::PermissionsExt;
        let path = root.join(row[0].trim_matches(|c| c == '`' || c == '/'));
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(format!("{mode:04o}"), row[1], "{}", path.display());
    }
    assert_eq!(std::fs::read_to_string(root.join(VERSION_FILE)).unwrap(), VERSION_TEXT);
}

#[test]
fn every_file_beside_the_messages_is_described() {
    let document = document();
    for name in [VERSION_FILE, LOCK_FILE, CONTROL_SOCKET, FULL_FILE] {
        assert!(document.contains(&format!("| `{name}` |")), "{name}");
    }
    for name in [
        format!("ID{REPORT_SUFFIX}"),
        format!("ID{JOURNAL_SUFFIX}"),
        format!("{DROP_WRITING}ID"),
        format!("{TAKEN}ID"),
    ] {
        assert!(document.contains(&format!("| `{name}` |")), "{name}");
    }
    assert!(document.contains(VERSION_TEXT.trim_end()));
}

#[test]
fn the_numbers_are_the_codes() {
    let document = document();
    assert!(document.contains(&format!("at most {LINE_BYTES_MAX} bytes")));
    assert!(document.contains(&format!("fewer than {} interruptions", INTERRUPTIONS_MAX - 1)));
    assert!(document.contains(&format!("`outbound/`, {} interruptions", INTERRUPTIONS_MAX - 1)));
    assert_eq!(STRIKES_MAX, 1, "`claimed/N/`, a strike already");
    assert!(document.contains(&format!("1-{}", "500,000")) && lazaret_envelope::RECIPIENTS_MAX == 500_000);
}

#[test]
fn the_example_envelope_is_one() {
    let document = document();
    let lines = document.lines().filter_map(|line| line.strip_prefix("    "));
    let text: String = lines
        .skip_while(|line| !line.starts_with("lazaret-envelope"))
        .take_while(|line| *line != "end")
        .map(|line| format!("{line}\n"))
        .collect();
    let text = text.replace("5f…", &"5f".repeat(32)) + "end\n";
    let (envelope, offset) = lazaret_envelope::Envelope::parse(text.as_bytes()).expect("the example parses");
    assert_eq!((envelope.to_string(), offset), (text.clone(), text.len()), "and prints as it stands there");
    for row in
        rows(&document, "The message file").iter().filter(|row| row.len() == 4 && row[0].starts_with('`'))
    {
        let key = row[0].trim_matches('`');
        let known = format!("lazaret-envelope 1\n{key} ?\nend\n");
        let error = lazaret_envelope::Envelope::parse(known.as_bytes()).unwrap_err().to_string();
        assert!(!error.contains("unknown field"), "{key} is a key: {error}");
    }
}

#[test]
fn every_line_of_a_journal_is_described() {
    let described: Vec<String> = rows(&document(), "The message file")
        .into_iter()
        .filter(|row| row.len() == 2 && row[0].starts_with('`'))
        .filter_map(|row| row[0].trim_matches('`').split(' ').next().map(str::to_owned))
        .collect();
    assert_eq!(described, JOURNAL_WORDS);
}

#[test]
fn the_letters_of_a_name_are_described() {
    let name = "01KAN97F000000000000000001.g1.s1.i1.a1.d20261122T080000Z.t.cmemory";
    assert_eq!(name.parse::<lazaret_spool::Name>().unwrap().to_string(), name);
    let document = document();
    for part in ["`gN`", "`sN`", "`iN`", "`aN`", "`dTIME`", "`t`", "`cCAUSE`"] {
        assert!(rows(&document, "Names").iter().any(|row| row[0] == part), "{part}");
    }
}

#[test]
fn every_finding_and_its_repair_are_described() {
    let described: Vec<(String, String)> = rows(&document(), "Check and repair")
        .into_iter()
        .filter(|row| row.len() == 4 && row[0].starts_with('`'))
        .map(|row| (row[0].clone(), row[3].clone()))
        .collect();
    let when = |trouble: &Trouble| {
        let beside = |dir: Dir| trouble.is_repaired_beside(dir);
        match (trouble.remedy(), beside(Dir::Incoming), beside(Dir::Top)) {
            (Remedy::Tell(_), ..) => "never",
            (_, true, true) => "any time",
            (_, true, false) => {
                let safe: Vec<Dir> = Dir::FIXED.into_iter().filter(|dir| beside(*dir)).collect();
                assert_eq!(safe, [Dir::Incoming, Dir::Waiting, Dir::Deferred]);
                "any time in `incoming/`, `waiting/`, `deferred/`"
            }
            (_, false, _) => "at rest",
        }
    };
    let known: Vec<(String, String)> = Trouble::ALL
        .iter()
        .map(|trouble| (format!("`{}`", trouble.word()), when(trouble).to_owned()))
        .collect();
    assert_eq!(described, known, "in the order of repairs");
    assert!(document().contains("100,000 findings") && FINDINGS_MAX == 100_000);
}
