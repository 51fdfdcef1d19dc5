//! The fields that a message must have and a person has not typed: From, Date and
//! Message-ID.
//!
//! A field that is there must never be given a second time.

use std::fmt::Write;

use lazaret_envelope::{MessageId, ReversePath, Timestamp};

/// Most characters of a full name that are used. With the longest address behind
/// it a line stays below the 998 bytes of RFC 5322 section 2.1.1.
const NAME_CHARS_MAX: usize = 100;

/// Longest encoded word, in bytes (RFC 2047 section 2).
const WORD_BYTES_MAX: usize = 75;

/// Whoever wrote a message.
pub(super) struct Author<'a> {
    /// `-F`.
    pub(super) name: Option<&'a str>,
    /// The envelope's sender.
    pub(super) sender: &'a ReversePath,
    /// The name of this host.
    pub(super) hostname: &'a str,
}

impl Author<'_> {
    /// The fields that a header lacks, with CRLF line ends. RFC 5322 section 3.6
    /// demands From and Date: with both it is a message, and nothing is added;
    /// without, it gets the Message-ID as well that it SHOULD have.
    pub(super) fn missing(&self, has: impl Fn(&str) -> bool) -> String {
        let (from, date) = (has("from"), has("date"));
        let mut added = String::new();
        if !from {
            added += &self.from();
        }
        if !date {
            let _ = write!(added, "Date: {}\r\n", Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S +0000"));
        }
        if !(from && date || has("message-id")) {
            let _ = write!(added, "Message-ID: <{}@{}>\r\n", unique(), self.hostname);
        }
        added
    }

    fn from(&self) -> String {
        // Who is nobody writes as the host's own bounces do.
        let address = self
            .sender
            .0
            .as_ref()
            .map_or_else(|| format!("MAILER-DAEMON@{}", self.hostname), ToString::to_string);
        match self.name.map(phrase).filter(|name| !name.is_empty()) {
            Some(name) => format!("From: {name} <{address}>\r\n"),
            None => format!("From: {address}\r\n"),
        }
    }
}

/// A name as RFC 5322 section 3.2.5 has it: a quoted string, or encoded words if
/// it is not ASCII.
fn phrase(name: &str) -> String {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    let name: String = name.trim().chars().take(NAME_CHARS_MAX).map(printable).collect();
    if name.is_empty() {
        name
    } else if name.is_ascii() {
        format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
    } else {
        encoded(&name)
    }
}

/// RFC 2047 section 4.2, with the characters that section 5 (3) lets stand in a
/// phrase; no character is divided between two words.
fn encoded(name: &str) -> String {
    const START: &str = "=?UTF-8?Q?";
    const END: &str = "?=";
    let (mut words, mut word) = (String::new(), START.to_owned());
    for c in name.chars() {
        let mut piece = String::new();
        match c {
            ' ' => piece.push('_'),
            c if c.is_ascii_alphanumeric() => piece.push(c),
            c => c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| {
                let _ = write!(piece, "={byte:02X}");
            }),
        }
        if word.len() + piece.len() + END.len() > WORD_BYTES_MAX {
            words += &format!("{word}{END}\r\n ");
            START.clone_into(&mut word);
        }
        word += &piece;
    }
    words + &word + END
}

/// What no other message has.
fn unique() -> MessageId {
    let millis = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default();
    let mut random = [0; 16];
    // Without random bytes the time has to do: two messages in one millisecond
    // would share their Message-ID, which costs neither of them anything here.
    let _ = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::NONBLOCK);
    MessageId::from_parts(millis, u128::from_ne_bytes(random))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn author<'a>(name: &'a str, sender: &'a ReversePath) -> Author<'a> {
        Author { name: Some(name), sender, hostname: "host.example" }
    }

    #[test]
    fn full_names_are_phrases() {
        for (name, phrase) in [
            ("Alma Doe", "\"Alma Doe\""),
            ("Al \"x\\\" <b@c>", "\"Al \\\"x\\\\\\\" <b@c>\""),
            ("x\r\nBcc: a@b", "\"x  Bcc: a@b\""),
            ("J\u{fc}rgen B", "=?UTF-8?Q?J=C3=BCrgen_B?="),
            (" \t", ""),
        ] {
            assert_eq!(super::phrase(name), phrase, "{name:?}");
        }
        let long = super::phrase(&"\u{20ac}".repeat(300));
        assert_eq!(long.matches("=E2=82=AC").count(), NAME_CHARS_MAX);
        assert!(
            long.split("\r\n ").all(|word| word.len() <= WORD_BYTES_MAX && word.ends_with("?=")),
            "{long}"
        );
    }

    #[test]
    fn only_what_is_missing_is_added() {
        let nobody = ReversePath(None);
        let names = |there: &[&str]| -> Vec<String> {
            let added = author("", &nobody).missing(|name| there.contains(&name));
            added.lines().filter_map(|line| Some(line.split_once(':')?.0.to_owned())).collect()
        };
        assert_eq!(names(&[]), ["From", "Date", "Message-ID"]);
        assert_eq!(names(&["date"]), ["From", "Message-ID"]);
        assert_eq!(names(&["from", "message-id"]), ["Date"]);
        assert_eq!(names(&["from", "date"]), [""; 0]);
        assert!(author("", &nobody).missing(|_| false).starts_with("From: MAILER-DAEMON@host.example\r\n"));
    }

    #[test]
    fn two_messages_have_two_ids() {
        assert_ne!(unique(), unique());
    }
}
