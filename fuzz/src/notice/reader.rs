//! A plain reader of messages in several parts (RFC 5322, 2045, 2046): fields,
//! parts, encodings.
//!
//! It reads what a careful writer writes and panics at anything else, since what is
//! read with it is ours. It must never be lenient.

/// A field, its value on one line.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) value: String,
}

/// A part that holds no others.
#[derive(Debug)]
pub(super) struct Part {
    /// Its type without attributes.
    pub(super) kind: String,
    /// Its transfer encoding.
    pub(super) encoding: String,
    /// As it is on the wire.
    pub(super) bytes: Vec<u8>,
}

/// The fields of a header that ends at the first empty line, and what is behind it.
pub(super) fn header(message: &[u8]) -> (Vec<Field>, &[u8]) {
    let end = find(message, b"\r\n\r\n").expect("a header ends with an empty line");
    (fields(&message[..end + 2]), &message[end + 4..])
}

/// The fields on lines that all end in CRLF.
fn fields(lines: &[u8]) -> Vec<Field> {
    let text = std::str::from_utf8(lines).expect("a header is UTF-8 at most");
    let text = text.strip_suffix("\r\n").expect("its last line has an end");
    let mut fields: Vec<Field> = Vec::new();
    for line in text.split("\r\n") {
        if line.starts_with([' ', '\t']) {
            assert!(!line.trim_matches([' ', '\t']).is_empty(), "a folded line is not blank");
            fields.last_mut().expect("the first line begins a field").value.push_str(line);
        } else {
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("{line:?} is no field"));
            let fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            assert!(!name.is_empty() && name.bytes().all(fine), "{name:?} is no name of a field");
            fields.push(Field { name: name.to_owned(), value: value.to_owned() });
        }
    }
    fields.iter_mut().for_each(|field| field.value = field.value.trim().to_owned());
    fields
}

/// Groups of fields with an empty line between them (RFC 3464 section 2.1).
pub(super) fn groups(bytes: &[u8]) -> Vec<Vec<Field>> {
    let (mut groups, mut rest) = (Vec::new(), bytes);
    while let Some(end) = find(rest, b"\r\n\r\n") {
        groups.push(fields(&rest[..end + 2]));
        rest = &rest[end + 4..];
    }
    groups.push(fields(rest));
    groups
}

/// An attribute of a `Content-Type`, its quotes taken off.
pub(super) fn attribute(value: &str, name: &str) -> String {
    let mut found = value.split(';').skip(1).filter_map(|attribute| attribute.trim().split_once('='));
    let (_, value) =
        found.find(|(found, _)| *found == name).unwrap_or_else(|| panic!("no {name} in {value}"));
    value.trim_matches('"').to_owned()
}

/// The parts between boundaries (RFC 2046 section 5.1.1): the CRLF before one is a
/// part of it.
pub(super) fn multipart(body: &[u8], boundary: &str) -> Vec<Part> {
    let body = [b"\r\n", body].concat();
    let delimiter = format!("\r\n--{boundary}");
    let mut rest = &body[find(&body, delimiter.as_bytes()).expect("there is a part") + delimiter.len()..];
    let mut parts = Vec::new();
    while let Some(part) = rest.strip_prefix(b"\r\n") {
        let end = find(part, delimiter.as_bytes()).expect("a part ends at a boundary");
        parts.push(Part::read(&part[..end]));
        rest = &part[end + delimiter.len()..];
    }
    assert_eq!(rest, b"--\r\n", "nothing is behind the last boundary");
    parts
}

impl Part {
    fn read(bytes: &[u8]) -> Self {
        // An empty body may have lost its CRLF to the boundary.
        let bytes = [bytes, b"\r\n\r\n"].concat();
        let (fields, body) = header(&bytes);
        let body = body.strip_suffix(b"\r\n\r\n").unwrap_or(b"").to_vec();
        let value = |name: &str| {
            let mut named = fields.iter().filter(|field| field.name == name);
            let value = named.next().map_or(String::new(), |field| field.value.clone());
            assert!(named.next().is_none(), "one {name}: {fields:?}");
            value
        };
        let kind = value("Content-Type");
        let kind = kind.split(';').next().unwrap_or_default().to_owned();
        Self { kind, encoding: value("Content-Transfer-Encoding"), bytes: body }
    }

    /// Its bytes as they were before they were encoded (RFC 2045 section 6).
    pub(super) fn decoded(&self) -> Vec<u8> {
        match self.encoding.as_str() {
            "7bit" => {
                assert!(self.bytes.is_ascii());
                self.bytes.clone()
            }
            "8bit" => self.bytes.clone(),
            "quoted-printable" => quoted_printable(&self.bytes),
            "base64" => base64(&self.bytes),
            other => panic!("{other:?} is no encoding that we use"),
        }
    }
}

fn quoted_printable(mut rest: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte != b'=' {
            decoded.push(byte);
        } else if let Some(behind) = rest.strip_prefix(b"\r\n") {
            rest = behind;
        } else {
            let digits = std::str::from_utf8(&rest[..2]).expect("two digits");
            decoded.push(u8::from_str_radix(digits, 16).expect("two digits"));
            rest = &rest[2..];
        }
    }
    decoded
}

fn base64(bytes: &[u8]) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut decoded, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for byte in bytes.iter().filter(|byte| !matches!(byte, b'\r' | b'\n' | b'=')) {
        let value = ALPHABET.iter().position(|other| other == byte).expect("a digit of base64");
        bits = bits << 6 | u32::try_from(value).expect("less than 64");
        held += 6;
        if held >= 8 {
            held -= 8;
            decoded.push((bits >> held & 255) as u8);
        }
    }
    decoded
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
