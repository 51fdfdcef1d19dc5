//! What copies of a message are known by: the digest of its content below the
//! trace header fields.
//!
//! Each hop puts fields of its own on top of a message, so the copies of one
//! poison that come in over the same way differ there and nowhere else. The
//! names of fields at the very top are all that is looked at, on raw bytes; what
//! they say, and anything below them, must never be.

use std::io::{self, Read};

use lazaret_envelope::Digest;

/// The fields that a hop puts on top: trace fields (RFC 5321 section 4.4), and
/// what final deliveries, forwarders, checks and signers put beside them.
const TRACE_FIELDS: [&str; 13] = [
    "Received",
    "X-Received",
    "Return-Path",
    "Delivered-To",
    "X-Original-To",
    "Envelope-To",
    "Delivery-Date",
    "Received-SPF",
    "Authentication-Results",
    "DKIM-Signature",
    "ARC-Seal",
    "ARC-Message-Signature",
    "ARC-Authentication-Results",
];

/// Most bytes of trace fields that are left out, well above what mail has that
/// is on its way. Where there are more nothing is left out: they may be the
/// poison, and must not be held against what lies below them.
pub(crate) const TRACE_BYTES_MAX: usize = 16 << 10;

/// Bytes below the trace fields that tell what may be a copy, long before all is read:
/// in most mail the rest of the header and more.
const GLANCE_BYTES: u64 = 8 << 10;

/// Bytes that are read at a time.
const BLOCK_BYTES: usize = 64 << 10;

/// Bytes of the top that are read at a time; most messages have fewer.
const TOP_BYTES: usize = 4 << 10;

/// How many bytes of trace fields a message begins with.
pub(crate) fn trace_length(content: impl Read) -> io::Result<u64> {
    let mut content = content.take(TRACE_BYTES_MAX as u64);
    let mut top = Vec::with_capacity(TOP_BYTES);
    loop {
        let before = top.len();
        content.by_ref().take(TOP_BYTES as u64).read_to_end(&mut top)?;
        match end_of_trace(&top) {
            Some(end) => return Ok(end as u64),
            None if top.len() == TRACE_BYTES_MAX => return Ok(0),
            // The message ends within its trace fields.
            None if top.len() == before => return Ok(top.len() as u64),
            None => {}
        }
    }
}

/// Where the first line stands that belongs to no trace field; `None` if these
/// bytes do not show it.
fn end_of_trace(top: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let length = top[at..].iter().position(|&byte| byte == b'\n')? + 1;
        let line = &top[at..at + length];
        let continues = at > 0 && matches!(line[0], b' ' | b'\t');
        if !continues && !is_trace_field(line) {
            return Some(at);
        }
        at += length;
    }
}

fn is_trace_field(line: &[u8]) -> bool {
    let Some(colon) = line.iter().position(|&byte| byte == b':') else { return false };
    let name = line[..colon].trim_ascii_end();
    TRACE_FIELDS.iter().any(|field| field.as_bytes().eq_ignore_ascii_case(name))
}

/// The digest of the beginning of what follows the first `skipped` bytes.
pub(crate) fn glance_below(content: impl Read, skipped: u64) -> io::Result<Digest> {
    digest_below(content.take(skipped.saturating_add(GLANCE_BYTES)), skipped)
}

/// The digest of what follows the first `skipped` bytes.
pub(crate) fn digest_below(mut content: impl Read, skipped: u64) -> io::Result<Digest> {
    io::copy(&mut content.by_ref().take(skipped), &mut io::sink())?;
    let mut hasher = blake3::Hasher::new();
    let mut block = vec![0; BLOCK_BYTES];
    loop {
        match content.read(&mut block) {
            Ok(0) => return Ok(Digest(*hasher.finalize().as_bytes())),
            Ok(count) => {
                hasher.update(&block[..count]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn trace(text: &str) -> &str {
        &text[..usize::try_from(trace_length(text.as_bytes()).unwrap()).unwrap()]
    }

    #[test]
    fn what_hops_put_on_top_is_left_out() {
        for (top, rest) in [
            ("", "Subject: x\r\n\r\ntext\r\n"),
            ("Received: from a\r\n\tby b\r\nReturn-Path: <>\r\n", "From: a@b\r\nReceived: c\r\n\r\n"),
            ("RECEIVED : from a\r\n", "Received-Date: no\r\n"),
            ("ARC-Seal: i=1\r\n  b=x\r\nDKIM-Signature: v=1\r\n", "ARC-Other: x\r\n"),
            ("Delivered-To: a@b\n", "\nno header at all\n"),
            ("", " Received: a line that continues nothing\r\n"),
            ("", "Received\r\n"),
            ("", ": no name\r\n"),
        ] {
            assert_eq!(trace(&format!("{top}{rest}")), top);
        }
    }

    #[test]
    fn copies_differ_only_in_what_was_put_on_top() {
        let digest = |text: &str| digest_below(text.as_bytes(), trace(text).len() as u64).unwrap();
        let text = "Subject: x\r\n\r\ntext\r\n";
        assert_eq!(digest(text), digest(&format!("Received: from a\r\n by b\r\n{text}")));
        assert_eq!(digest(text).0, *blake3::hash(text.as_bytes()).as_bytes());
        assert_ne!(digest(text), digest(&format!("X-Other: from a\r\n{text}")));
    }

    #[test]
    fn at_a_glance_the_beginning_tells() {
        let long = "Subject: x\r\n\r\n".to_owned() + &"x".repeat(2 * GLANCE_BYTES as usize);
        let glance = |text: &str| glance_below(text.as_bytes(), trace(text).len() as u64).unwrap();
        assert_eq!(glance(&long), glance(&format!("Received: from a\r\n{long}, and another end")));
        assert_ne!(glance(&long), glance(&long.replace("Subject", "X-Other")));
        let short = "Subject: x\r\n\r\ntext\r\n";
        assert_eq!(glance(short), digest_below(short.as_bytes(), 0).unwrap());
    }

    #[test]
    fn too_long_a_trace_is_content() {
        let field = "Received: from a by b for c\r\n";
        let many = field.repeat(TRACE_BYTES_MAX / field.len() - 1) + "Subject: x\r\n";
        assert!(trace(&many).len() > TRACE_BYTES_MAX - 100);
        let more = field.repeat(TRACE_BYTES_MAX / field.len() + 1) + "Subject: x\r\n";
        assert_eq!(trace(&more), "");
        let endless = format!("Received: {}", "x".repeat(2 * TRACE_BYTES_MAX));
        assert_eq!(trace(&endless), "");
    }

    #[test]
    fn a_message_of_nothing_else_is_all_trace() {
        assert_eq!(trace("Received: x\r\n"), "Received: x\r\n");
        assert_eq!(trace("Received: x"), "Received: x");
        assert_eq!(trace(""), "");
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_odd(bytes: Vec<u8>) {
            let length = trace_length(&bytes[..]).unwrap();
            prop_assert!(length <= bytes.len() as u64);
            prop_assert!(digest_below(&bytes[..], length).is_ok());
        }
    }
}
