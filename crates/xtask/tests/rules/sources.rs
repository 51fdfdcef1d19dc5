//! What every source and every text must have or must not have.
//!
//! The forbidden words are put together from halves here, so that this file
//! does not hold what it forbids. A rule must never need an exception list.

use crate::tree::{self, Text};

/// The one crate that may talk to the kernel without the compiler's help.
const UNSAFE_CRATE: &str = "crates/worker/";

/// What a crate root says to rule that out for good.
const FORBID: &str = "#![forbid(unsafe_code)]";

/// Lines with the word that only one crate may use, in code (comments and the
/// names of lints don't count).
fn unsafe_lines(text: &str) -> Vec<usize> {
    let word = concat!("uns", "afe");
    let is_word = |code: &str| {
        code.match_indices(word).any(|(place, _)| {
            let edge = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_');
            edge(code[..place].chars().next_back()) && edge(code[place + word.len()..].chars().next())
        })
    };
    numbered(text, |line| is_word(line.split("//").next().expect("split gives one")))
}

/// Numbers of the lines that `matches` picks.
fn numbered(text: &str, matches: impl Fn(&str) -> bool) -> Vec<usize> {
    text.lines().zip(1..).filter(|(line, _)| matches(line)).map(|(_, number)| number).collect()
}

/// Whether the file is the root of a crate. Fuzz targets are none of ours to
/// forbid: their macro exports a symbol.
fn is_root(path: &str) -> bool {
    let folders: Vec<&str> = path.split('/').collect();
    match folders[..] {
        ["crates", _, "src", file] => ["lib.rs", "main.rs"].contains(&file),
        ["crates", "lazaret", file] => file == "main.rs",
        ["crates", _, "tests" | "benches" | "examples", _] | ["tests" | "benches", _] => true,
        ["crates", _, "tests", _, "main.rs"] | ["tests", _, "main.rs"] => true,
        _ => false,
    }
}

/// Stubs, and tests that are left out without saying why.
fn stubs(text: &str) -> Vec<usize> {
    let words = [concat!("to", "do!("), concat!("unimple", "mented!("), concat!("#[ig", "nore]")];
    numbered(text, |line| words.iter().any(|word| line.contains(word)))
}

/// Folders of a machine that somebody worked on, and package sources other than
/// the public default.
fn machine_words(text: &str) -> Vec<usize> {
    let folders = ["/home/", "/Users/", concat!("/ro", "ot/"), concat!("/wo", "rk/")];
    let starts_path = |line: &str, folder: &str| {
        line.match_indices(folder).any(|(place, _)| {
            let before = line[..place].chars().next_back();
            before.is_none_or(|c| !c.is_alphanumeric() && !".-_/}~*".contains(c))
                && line[place + folder.len()..].starts_with(|c: char| c.is_alphanumeric())
        })
    };
    let sources = [concat!("sparse", "+http"), concat!("index-", "url"), concat!("replace", "-with")];
    let registry = concat!("registry", "+http");
    let public = concat!("registry", "+https://github.com/rust-lang/crates.io-index");
    numbered(text, |line| {
        folders.iter().any(|folder| starts_path(line, folder))
            || sources.iter().any(|word| line.contains(word))
            || line.replace(public, "").contains(registry)
    })
}

fn findings(files: &[Text], what: &str, rule: impl Fn(&str) -> Vec<usize>) -> Vec<String> {
    let found = |file: &Text| {
        rule(&file.text).into_iter().map(|line| format!("{}:{line}: {what}", file.path)).collect()
    };
    files.iter().flat_map(|file| -> Vec<String> { found(file) }).collect()
}

#[test]
fn one_crate_alone_talks_to_the_kernel_unchecked() {
    let sources = tree::sources();
    let others: Vec<Text> = sources.into_iter().filter(|file| !file.path.starts_with(UNSAFE_CRATE)).collect();
    let mut found = findings(&others, "only crates/worker may do this", unsafe_lines);
    let roots = others.iter().filter(|file| is_root(&file.path));
    found.extend(
        roots.filter(|file| !file.text.contains(FORBID)).map(|file| format!("{}: lacks {FORBID}", file.path)),
    );
    crate::assert_none(&found);
}

#[test]
fn every_source_says_first_what_it_is_for() {
    let silent = tree::sources().into_iter().filter(|file| !file.text.starts_with("//! "));
    crate::assert_none(&silent.map(|file| file.path).collect::<Vec<_>>());
}

#[test]
fn nothing_names_the_machine_it_was_written_on() {
    crate::assert_none(&findings(
        &tree::texts(),
        "names a machine's folder or package source",
        machine_words,
    ));
}

#[test]
fn nothing_is_left_for_later() {
    crate::assert_none(&findings(&tree::sources(), "a stub, or a test left out without a reason", stubs));
}

#[test]
fn each_rule_finds_what_it_forbids() {
    let word = concat!("uns", "afe");
    assert_eq!(
        unsafe_lines(&format!("a\n{word} {{}}\n// {word}\n{word}_code\nfn x() {{{word} {{}}}}")),
        [2, 5]
    );
    assert_eq!(stubs(&format!("a\n{}{}x)\n#[ignore = \"slow\"]\n#[ig{}", "to", "do!(", "nore]")), [2, 4]);
    for bad in [
        concat!("cd /ho", "me/alma/x"),
        concat!("\"/ro", "ot/x\""),
        concat!("`/wo", "rk/main`"),
        concat!("file:///Us", "ers/x"),
        concat!("source = \"registry", "+https://mirror.example.org/index\""),
        concat!("sparse", "+https://mirror.example.org/"),
    ] {
        assert_eq!(machine_words(bad), if bad.starts_with("file") { vec![] } else { vec![1] }, "{bad}");
    }
    for good in
        ["crates/work/x", "claimed/work/1", "/home/{local}/Maildir", "a/root/b", "/homework/", "/root/"]
    {
        assert!(machine_words(good).is_empty(), "{good}");
    }
    assert!(
        is_root("crates/lazaret/main.rs")
            && is_root("tests/blackbox/main.rs")
            && !is_root("tests/blackbox/lab.rs")
    );
}
