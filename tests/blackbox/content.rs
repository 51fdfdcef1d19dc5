//! What becomes of a message's bytes on the way, said once more and on its own:
//! the forms of line ends, and the one field that is added on top.
//!
//! Must never share code with what it checks.

/// Every LF without a CR before it becomes CRLF: how an MTA puts a file on the wire.
pub fn wire(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 32);
    let mut before = 0;
    for &byte in bytes {
        if byte == b'\n' && before != b'\r' {
            out.push(b'\r');
        }
        out.push(byte);
        before = byte;
    }
    out
}

/// Whether a CR stands without an LF behind it.
pub fn has_bare_cr(bytes: &[u8]) -> bool {
    let mut following = bytes.iter().skip(1);
    bytes.iter().any(|&byte| following.next() != Some(&b'\n') && byte == b'\r')
}

/// What `submit` makes of its input: LF becomes CRLF, a stray CR a space.
pub fn canonical(bytes: &[u8]) -> Vec<u8> {
    let mut out = wire(bytes);
    for place in 0..out.len() {
        if out[place] == b'\r' && out.get(place + 1) != Some(&b'\n') {
            out[place] = b' ';
        }
    }
    out
}

/// CRLF becomes LF: how a Maildir holds a message, and how messages are compared.
pub fn unix(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for (place, &byte) in bytes.iter().enumerate() {
        if byte != b'\r' || bytes.get(place + 1) != Some(&b'\n') {
            out.push(byte);
        }
    }
    out
}

/// The bytes below the first `Received:` field with its continuation lines;
/// `None` if the message does not start with one.
pub fn below_received(delivered: &[u8]) -> Option<&[u8]> {
    if !delivered.starts_with(b"Received:") {
        return None;
    }
    let mut rest = delivered;
    loop {
        let end = rest.iter().position(|&byte| byte == b'\n')?;
        rest = &rest[end + 1..];
        if !rest.starts_with(b" ") && !rest.starts_with(b"\t") {
            return Some(rest);
        }
    }
}

/// Whether `delivered` is one `Received:` field and then exactly `expected`.
/// Unlike a comparison below the field this is right for a message that itself
/// begins with a continuation line.
///
/// # Errors
/// What differs.
pub fn carries(delivered: &[u8], expected: &[u8]) -> Result<(), String> {
    let (delivered, expected) = (unix(delivered), unix(expected));
    let Some(added) = delivered.strip_suffix(expected.as_slice()) else {
        let body = below_received(&delivered).unwrap_or(&delivered);
        let place = body.iter().zip(&expected).take_while(|(a, b)| a == b).count();
        return Err(format!(
            "{} bytes instead of {}; first difference at {place}: {:?} instead of {:?}",
            body.len(),
            expected.len(),
            around(body, place),
            around(&expected, place),
        ));
    };
    // A space ends the field for `below_received` even where nothing follows.
    match below_received(&[added, b"."].concat()) {
        Some(b".") => Ok(()),
        _ => Err(format!(
            "instead of one Received: field there was added {:?}",
            String::from_utf8_lossy(added)
        )),
    }
}

fn around(bytes: &[u8], place: usize) -> String {
    let end = bytes.len().min(place + 40);
    String::from_utf8_lossy(&bytes[place.min(end)..end]).into_owned()
}
