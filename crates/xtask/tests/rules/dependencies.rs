//! Every dependency from outside stands in ARCHITECTURE.md with its reason.
//!
//! A row `| \`name\` | reason |` for each that is linked into a program of ours;
//! tests' helpers are free. A row must never be there without a reason.

use crate::{manifest, tree};

/// Where the reasons stand.
const DOCUMENT: &str = "ARCHITECTURE.md";

/// Names without a row that gives a reason.
fn unexplained<'a>(document: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let has_reason = |name: &str| {
        document
            .lines()
            .filter_map(|line| line.strip_prefix(&format!("| `{name}` |")))
            .any(|rest| rest.split('|').any(|cell| cell.trim().contains(' ')))
    };
    let mut found: Vec<String> = names.filter(|name| !has_reason(name)).map(str::to_owned).collect();
    found.sort();
    found.dedup();
    found
}

#[test]
fn every_dependency_has_its_reason() {
    let document = std::fs::read_to_string(tree::root().join(DOCUMENT))
        .unwrap_or_else(|error| panic!("failed to read {DOCUMENT}: {error}"));
    let manifests = manifest::all();
    let names = manifests.iter().filter(|m| m.name != "lazaret-fuzz").flat_map(|m| &m.normal);
    let foreign = names.map(String::as_str).filter(|name| !name.starts_with("lazaret"));
    crate::assert_none(&unexplained(&document, foreign));
}

#[test]
fn a_dependency_without_reason_is_found() {
    let document = "| `a` | counts things |\n| `b` | |\n`c` | in words\n";
    assert_eq!(unexplained(document, ["a", "b", "c", "b"].into_iter()), ["b", "c"]);
}
