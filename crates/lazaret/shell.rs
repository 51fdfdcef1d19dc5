//! Text that a person can paste into a shell.
//!
//! Nothing must come out of here that a shell would understand as anything but one
//! word.

use std::path::Path;

/// A text as one word.
pub fn quoted(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:@%+,=".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// A path as one word.
pub fn path(path: &Path) -> String {
    quoted(&path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_stays_one_word() {
        for (text, word) in [
            ("/var/spool/lazaret", "/var/spool/lazaret"),
            ("", "''"),
            ("a b", "'a b'"),
            ("it's", "'it'\\''s'"),
            ("$(rm)", "'$(rm)'"),
            ("~x", "'~x'"),
        ] {
            assert_eq!(quoted(text), word);
        }
    }
}
