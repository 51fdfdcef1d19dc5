//! What can be said behind `cargo xtask fuzz`.
//!
//! It must never take a word that means nothing.

use std::path::PathBuf;

/// What was asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Time for all targets together.
    pub minutes: Option<u64>,
    /// Only this target.
    pub target: Option<String>,
    /// With the nightly compiler and its address sanitizer.
    pub sanitizer: bool,
    /// Not a run but this one input, with all that the target says about it.
    pub input: Option<PathBuf>,
}

impl Options {
    /// Reads the words; `None` if they are not understood.
    pub fn parse(words: &[&str]) -> Option<Self> {
        let mut options = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next();
            match *word {
                "--minutes" => options.minutes = Some(value()?.parse().ok().filter(|&minutes| minutes > 0)?),
                "--target" => options.target = Some((*value()?).to_owned()),
                "--input" => options.input = Some(PathBuf::from(value()?)),
                "--sanitizer" => options.sanitizer = true,
                _ => return None,
            }
        }
        (options.input.is_none() || options.target.is_some()).then_some(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_understood_or_refused() {
        let options = |words: &str| Options::parse(&words.split_whitespace().collect::<Vec<_>>());
        assert_eq!(options(""), Some(Options::default()));
        let some =
            Options { minutes: Some(3), target: Some("data".into()), sanitizer: true, ..Options::default() };
        assert_eq!(options("--minutes 3 --sanitizer --target data"), Some(some));
        for wrong in ["--minutes", "--minutes 0", "--minutes x", "data", "--targets data", "--input file"] {
            assert_eq!(options(wrong), None, "{wrong}");
        }
    }
}
