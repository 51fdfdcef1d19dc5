//! What the end of a program means for its recipients.
//!
//! The statuses are those of sysexits(3), read as Postfix's pipe(8) does. It
//! must never call anything delivered but status 0 of a program that was left
//! alone.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use lazaret_envelope::Line;

use crate::outcome::Outcome;

/// The statuses of sysexits(3): number, name, whether it may work later.
const SYSEXITS: [(i32, &str, bool); 15] = [
    (64, "EX_USAGE", false),
    (65, "EX_DATAERR", false),
    (66, "EX_NOINPUT", false),
    (67, "EX_NOUSER", false),
    (68, "EX_NOHOST", false),
    (69, "EX_UNAVAILABLE", false),
    (70, "EX_SOFTWARE", false),
    (71, "EX_OSERR", true),
    (72, "EX_OSFILE", false),
    (73, "EX_CANTCREAT", false),
    (74, "EX_IOERR", true),
    (75, "EX_TEMPFAIL", true),
    (76, "EX_PROTOCOL", false),
    (77, "EX_NOPERM", false),
    (78, "EX_CONFIG", false),
];

/// What a program that ended by itself has said with its status and its output.
pub(super) fn outcome(status: ExitStatus, output: &[u8]) -> Outcome {
    let output = output.trim_ascii();
    let told = |what: String| {
        let colon: &[u8] = if output.is_empty() { b"" } else { b": " };
        Line::escaped([what.as_bytes(), colon, output].concat())
    };
    let Some(code) = status.code() else {
        let signal = status.signal().unwrap_or_default();
        return Outcome::Transient(told(format!("ended by signal {signal}")));
    };
    if code == 0 {
        return Outcome::Delivered(told("exit status 0".to_owned()));
    }
    let known = SYSEXITS.iter().find(|(number, ..)| *number == code);
    let text = told(
        known.map_or(format!("exit status {code}"), |(_, name, _)| format!("exit status {code} ({name})")),
    );
    let later = match class(output) {
        Some(class) => class == b'4',
        None => known.is_none_or(|(.., later)| *later),
    };
    if later { Outcome::Transient(text) } else { Outcome::Permanent(text) }
}

/// The class of an enhanced status code at the start of an output, `4` or `5`
/// (RFC 3463 section 2: class, subject and detail, the last two of 1 to 3 digits).
fn class(output: &[u8]) -> Option<u8> {
    let word = output.split(|byte| byte.is_ascii_whitespace()).next()?;
    let mut numbers = word.split(|&byte| byte == b'.');
    let class = numbers.next().filter(|class| *class == b"4" || *class == b"5")?;
    let number = |number: &[u8]| (1..=3).contains(&number.len()) && number.iter().all(u8::is_ascii_digit);
    let whole =
        numbers.next().is_some_and(number) && numbers.next().is_some_and(number) && numbers.next().is_none();
    whole.then_some(class[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(code: i32, output: &str) -> Outcome {
        outcome(ExitStatus::from_raw(code << 8), output.as_bytes())
    }

    fn later(code: i32, output: &str) -> bool {
        match exit(code, output) {
            Outcome::Transient(_) => true,
            Outcome::Permanent(_) => false,
            Outcome::Delivered(_) | Outcome::Relayed(_) => panic!("{code} is no success"),
        }
    }

    #[test]
    fn statuses_mean_what_sysexits_says() {
        for code in 1..=255 {
            let never = [64, 65, 66, 67, 68, 69, 70, 72, 73, 76, 77, 78].contains(&code);
            assert_eq!(later(code, "oh"), !never, "{code}");
        }
        assert_eq!(exit(0, ""), Outcome::Delivered(Line::escaped("exit status 0")));
        assert_eq!(exit(0, "5.7.1 no"), Outcome::Delivered(Line::escaped("exit status 0: 5.7.1 no")));
        let text = "exit status 67 (EX_NOUSER): who?\\nnobody\\u{1b}";
        assert_eq!(exit(67, "\nwho?\nnobody\x1b\n"), Outcome::Permanent(Line::parse(text).unwrap()));
    }

    #[test]
    fn a_status_in_the_output_decides() {
        assert!(later(69, "4.2.2 full\nreally") && !later(75, " 5.7.1 no") && !later(1, "5.1.1"));
        for no_status in ["5.7 no", "5.7.1.2 no", "5..1", "2.0.0 fine", "5.7.1234", "x 5.7.1", "5.7.1, no"] {
            assert!(later(75, no_status), "{no_status}");
        }
    }

    #[test]
    fn a_signal_says_nothing_about_the_message() {
        let killed = outcome(ExitStatus::from_raw(9), b"5.7.1 no");
        assert_eq!(killed, Outcome::Transient(Line::escaped("ended by signal 9: 5.7.1 no")));
    }
}
