//! Measures the header of a message before anybody parses it.
//!
//! One pass over the bytes, which must never allocate and never decide what a
//! field means.

/// Fields that mail-parser parses as addresses.
const ADDRESS_FIELDS: [&[u8]; 18] = [
    b"From",
    b"To",
    b"Cc",
    b"Bcc",
    b"Reply-To",
    b"Sender",
    b"Resent-To",
    b"Resent-From",
    b"Resent-Bcc",
    b"Resent-Cc",
    b"Resent-Sender",
    b"List-Archive",
    b"List-Help",
    b"List-ID",
    b"List-Owner",
    b"List-Post",
    b"List-Subscribe",
    b"List-Unsubscribe",
];

/// How large a header is.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct HeaderSize {
    /// Bytes before the first empty line.
    pub(crate) bytes: usize,
    /// Lines that start a field.
    pub(crate) fields: usize,
    /// Separators in address fields.
    pub(crate) address_tokens: usize,
    /// `Received:` fields: each host that a message comes through adds one (RFC
    /// 5321 section 4.4).
    pub(crate) hops: usize,
}

/// Measures the header at the start of `content`.
pub(crate) fn measure(content: &[u8]) -> HeaderSize {
    let mut size = HeaderSize::default();
    let mut in_addresses = false;
    let mut rest = content;
    while !rest.is_empty() {
        let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |newline| newline + 1);
        let (line, after) = rest.split_at(end);
        rest = after;
        // RFC 5322 section 2.2.3: a line that starts with a space or tab continues the field.
        let continues = matches!(line[0], b' ' | b'\t');
        if !continues && line.trim_ascii().is_empty() {
            break;
        }
        size.bytes += line.len();
        if !continues {
            let name = field_name(line);
            size.fields += usize::from(name.is_some());
            in_addresses = name.is_some_and(is_address_field);
            size.hops += usize::from(name.is_some_and(|name| name.eq_ignore_ascii_case(b"Received")));
        }
        if in_addresses {
            size.address_tokens += memchr::memchr3_iter(b',', b';', b'\\', line).count();
        }
    }
    size
}

/// What stands before the colon, if there is one.
fn field_name(line: &[u8]) -> Option<&[u8]> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    Some(line[..colon].trim_ascii())
}

fn is_address_field(name: &[u8]) -> bool {
    ADDRESS_FIELDS.iter().any(|field| field.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_measured_up_to_the_empty_line() {
        let size = |bytes, fields, address_tokens| HeaderSize { bytes, fields, address_tokens, hops: 0 };
        assert_eq!(measure(b""), size(0, 0, 0));
        assert_eq!(measure(b"\r\nTo: a,b"), size(0, 0, 0));
        assert_eq!(measure(b"a: b\r\n\r\nc: d\r\n"), size(6, 1, 0));
        assert_eq!(measure(b"a: b\n\nc: d\n"), size(5, 1, 0));
        assert_eq!(measure(b"TO : a,\r\n b;c\\d\r\nSubject: e,f\r\n g,h\r\n"), size(37, 2, 3));
        assert_eq!(measure(b"no colon, no field\r\nnone\r\n"), size(26, 0, 0));
        assert_eq!(measure(b"a: b\r\n \r\n c\r\n\r\n"), size(13, 1, 0));
    }

    #[test]
    fn hops_are_counted_in_the_header_only() {
        let hops = |text: &str| measure(text.as_bytes()).hops;
        assert_eq!(hops("Received: a\r\n\tby b\r\nRECEIVED : c\nreceived:\r\n\r\nReceived: d\r\n"), 3);
        assert_eq!(hops("X-Received: a\r\nSubject: Received: b\r\n Received: c\r\nReceived\r\n"), 0);
    }
}
