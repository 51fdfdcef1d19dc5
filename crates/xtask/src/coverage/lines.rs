//! Which lines of a file count, and which of these were run.
//!
//! Reads what `llvm-cov export -format=lcov` prints. Lines of tests don't count: they
//! are run by themselves. It must never count a line that holds no code.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// How often each line with code was run, by its number.
pub type Runs = BTreeMap<usize, u64>;

/// The files that were counted, by path.
pub fn read(lcov: &str) -> BTreeMap<PathBuf, Runs> {
    let mut files: BTreeMap<PathBuf, Runs> = BTreeMap::new();
    let mut here = None;
    for line in lcov.lines() {
        if let Some(path) = line.strip_prefix("SF:") {
            here = Some(files.entry(PathBuf::from(path)).or_default());
        } else if let (Some(runs), Some(data)) = (&mut here, line.strip_prefix("DA:")) {
            let mut numbers = data.split(',').map(str::parse::<u64>);
            if let (Some(Ok(number)), Some(Ok(count))) = (numbers.next(), numbers.next()) {
                *runs.entry(usize::try_from(number).unwrap_or(usize::MAX)).or_default() += count;
            }
        }
    }
    files
}

/// What is known of one file.
pub struct Coverage {
    /// Its path from the top of the project.
    pub path: PathBuf,
    /// Lines that count.
    pub lines: usize,
    /// Those that were run.
    pub covered: usize,
    /// Those that were not, and nothing else that counts between them.
    pub missed: Vec<RangeInclusive<usize>>,
}

impl Coverage {
    /// Puts both together: the file's text, and what was run of it.
    pub fn of(path: &Path, text: &str, runs: &Runs) -> Self {
        let tests = of_tests(text);
        let counts = runs.iter().filter(|(number, _)| !tests.iter().any(|range| range.contains(number)));
        let mut coverage = Self { path: path.to_owned(), lines: 0, covered: 0, missed: Vec::new() };
        let mut missing = false;
        for (&number, &count) in counts {
            coverage.lines += 1;
            coverage.covered += usize::from(count > 0);
            match coverage.missed.last_mut() {
                _ if count > 0 => {}
                Some(range) if missing => *range = *range.start()..=number,
                _ => coverage.missed.push(number..=number),
            }
            missing = count == 0;
        }
        coverage
    }
}

/// Where the items are that are there for tests only: from the attribute to the line
/// that ends the item, which is indented as the attribute is.
fn of_tests(text: &str) -> Vec<RangeInclusive<usize>> {
    let mut found = Vec::new();
    let mut open: Option<(usize, &str)> = None;
    for (number, line) in (1..).zip(text.lines()) {
        let indent = &line[..line.len() - line.trim_start().len()];
        match open {
            None if line.trim_start() == "#[cfg(test)]" => open = Some((number, indent)),
            Some((start, outer)) if indent == outer && line.ends_with(['}', ';']) => {
                found.push(start..=number);
                open = None;
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "fn a() {\n    b();\n    c();\n}\n\n    #[cfg(test)]\n    fn d() {\n        \
        e();\n    }\nfn f() {}\n#[cfg(test)]\nmod tests;\n";
    const LCOV: &str = "SF:/x/a.rs\nFN:1,a\nDA:1,3\nDA:2,0\nDA:4,0\nDA:7,1\nDA:8,0\nDA:9,1\nDA:10,2\n\
        end_of_record\nSF:/x/b.rs\nDA:1,0\nend_of_record\n";

    #[test]
    fn lines_of_tests_are_left_out() {
        assert_eq!(of_tests(TEXT), [6..=9, 11..=12]);
        let files = read(LCOV);
        let coverage = Coverage::of(Path::new("a.rs"), TEXT, &files[Path::new("/x/a.rs")]);
        assert_eq!((coverage.lines, coverage.covered), (4, 2));
        assert_eq!(coverage.missed, [2..=4]);
        let none = Coverage::of(Path::new("b.rs"), "fn a() {}", &files[Path::new("/x/b.rs")]);
        assert_eq!((none.lines, none.covered, none.missed), (1, 0, vec![1..=1]));
    }
}
