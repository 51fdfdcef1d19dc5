//! DKIM signatures (RFC 6376): made with a key of our own, and verified, without
//! anybody's name server.
//!
//! Only for tests of what servers leave of a message. Hashes and signatures are
//! those of openssl(1); what is signed is put together here. It must never be lenient:
//! what it can't read does not verify.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{self, Finished};

/// Longest time for one call of openssl.
const CALL_TIME_MAX: Duration = Duration::from_secs(60);

/// The fields that are signed, those that are missing included.
const SIGNED: [&str; 7] = ["From", "To", "Cc", "Subject", "Date", "Message-ID", "Content-Type"];

/// How a signature puts up with changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Not at all (section 3.4.1, 3.4.3).
    Simple,
    /// With other white space (section 3.4.2, 3.4.4).
    Relaxed,
}

impl Form {
    fn parse(word: &str) -> Option<Self> {
        match word {
            "simple" => Some(Self::Simple),
            "relaxed" => Some(Self::Relaxed),
            _ => None,
        }
    }

    fn field(self, field: &[u8]) -> Vec<u8> {
        if self == Self::Simple {
            return field.to_vec();
        }
        let colon = field.iter().position(|&byte| byte == b':').unwrap_or(field.len());
        let (name, value) = field.split_at(colon);
        let value = single_spaced(value.get(1..).unwrap_or_default());
        [name.trim_ascii().to_ascii_lowercase().as_slice(), b":", value.trim_ascii(), b"\r\n"].concat()
    }

    fn body(self, body: &[u8]) -> Vec<u8> {
        let lines = body.split_inclusive(|&byte| byte == b'\n').map(|line| {
            let line = line.strip_suffix(b"\r\n").unwrap_or(line);
            match self {
                Self::Simple => line.to_vec(),
                Self::Relaxed => single_spaced(line).trim_ascii_end().to_vec(),
            }
        });
        let mut lines: Vec<Vec<u8>> = lines.collect();
        while lines.last().is_some_and(Vec::is_empty) {
            lines.pop();
        }
        if lines.is_empty() && self == Self::Simple {
            lines.push(Vec::new());
        }
        lines.into_iter().flat_map(|line| [line, b"\r\n".to_vec()].concat()).collect()
    }
}

/// Every run of blanks, and every fold, as one space.
fn single_spaced(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for &byte in text.iter().filter(|byte| !matches!(byte, b'\r' | b'\n')) {
        match byte {
            b' ' | b'\t' if out.last() == Some(&b' ') => {}
            b'\t' => out.push(b' '),
            byte => out.push(byte),
        }
    }
    out
}

/// The fields of the header, with their line ends, and the body.
fn parts(message: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let (mut fields, mut rest): (Vec<&[u8]>, _) = (Vec::new(), message);
    while !rest.is_empty() {
        if let Some(body) = rest.strip_prefix(b"\r\n") {
            return (fields, body);
        }
        let mut end = 0;
        loop {
            end += rest[end..].iter().position(|&byte| byte == b'\n').map_or(rest.len() - end, |at| at + 1);
            if !matches!(rest.get(end), Some(b' ' | b'\t')) {
                break;
            }
        }
        fields.push(&rest[..end]);
        rest = &rest[end..];
    }
    (fields, b"")
}

fn is_named(field: &[u8], name: &str) -> bool {
    let colon = field.iter().position(|&byte| byte == b':').unwrap_or(field.len());
    field[..colon].trim_ascii().eq_ignore_ascii_case(name.as_bytes())
}

/// What is signed of the header: each field that is named, the last of that name
/// first, then the signature's own without its value.
fn signed_header(form: Form, fields: &[&[u8]], names: &str, own: &[u8]) -> Vec<u8> {
    let mut left: Vec<&[u8]> = fields.to_vec();
    let mut text = Vec::new();
    for name in names.split(':') {
        if let Some(place) = left.iter().rposition(|field| is_named(field, name.trim())) {
            text.extend(form.field(left.remove(place)));
        }
    }
    let own = form.field(own);
    text.extend_from_slice(own.strip_suffix(b"\r\n").unwrap_or(&own));
    text
}

/// A signature as it stands in a message.
struct Signature<'m> {
    field: &'m [u8],
    tags: Vec<(String, String)>,
}

impl<'m> Signature<'m> {
    fn first(fields: &[&'m [u8]]) -> Option<Self> {
        let field = *fields.iter().find(|field| is_named(field, "DKIM-Signature"))?;
        let text = String::from_utf8_lossy(field).into_owned();
        let (_, value) = text.split_once(':')?;
        let tag = |part: &str| {
            let (name, value) = part.split_once('=')?;
            let value: String = value.chars().filter(|c| !c.is_ascii_whitespace()).collect();
            Some((name.trim().to_owned(), value))
        };
        Some(Self { field, tags: value.split(';').filter_map(tag).collect() })
    }

    fn tag(&self, name: &str) -> Option<&str> {
        self.tags.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The forms of header and body. Section 3.5: "simple" where nothing is said.
    fn forms(&self) -> Option<(Form, Form)> {
        let (header, body) = match self.tag("c") {
            None => ("simple", "simple"),
            Some(word) => word.split_once('/').unwrap_or((word, "simple")),
        };
        Some((Form::parse(header)?, Form::parse(body)?))
    }

    /// Its own field with an empty value.
    fn unsigned(&self) -> Vec<u8> {
        let mut parts: Vec<Vec<u8>> = self.field.split(|&byte| byte == b';').map(<[u8]>::to_vec).collect();
        for part in &mut parts {
            if part.trim_ascii().starts_with(b"b=") {
                let end = part.iter().position(|&byte| byte == b'=').unwrap_or(0);
                part.truncate(end + 1);
            }
        }
        let text = parts.join(&b';');
        [text.as_slice().trim_ascii_end(), b"\r\n"].concat()
    }
}

/// The hash that a body has by a signature's rules, if it is one that we know.
fn body_hash(signature: &Signature<'_>, body: &[u8]) -> Option<String> {
    let (_, form) = signature.forms()?;
    let body = form.body(body);
    let length = signature.tag("l").map_or(Some(body.len()), |length| length.parse().ok())?;
    let digest = match signature.tag("a")?.split_once('-')?.1 {
        "sha1" => "-sha1",
        "sha256" => "-sha256",
        _ => return None,
    };
    Some(hash(digest, body.get(..length)?))
}

fn hash(digest: &str, bytes: &[u8]) -> String {
    openssl("openssl dgst \"$0\" -binary | openssl base64 -A", &[Path::new(digest)], bytes).stdout
}

fn openssl(script: &str, arguments: &[&Path], input: &[u8]) -> Finished {
    let mut command = Command::new("sh");
    command.args(["-c", script]).args(arguments);
    process::finish(&mut command, input, CALL_TIME_MAX)
}

/// Whether the body of a message is the one that its first signature speaks of.
pub fn has_its_body(message: &[u8]) -> bool {
    let (fields, body) = parts(message);
    let Some(signature) = Signature::first(&fields) else { return false };
    signature.tag("bh").is_some_and(|told| body_hash(&signature, body).as_deref() == Some(told))
}

/// A key pair in a folder of its own.
pub struct Key(TempDir);

impl Key {
    /// Makes one.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("failed to make a folder");
        let key = Self(folder);
        let script = "openssl genrsa -out \"$0\" 2048 && openssl rsa -in \"$0\" -pubout -out \"$1\"";
        let made = openssl(script, &[&key.path("private"), &key.path("public")], b"");
        assert_eq!(made.code, Some(0), "{}", made.stderr);
        key
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Puts a signature on top of a message; `forms` is such as `relaxed/simple`.
    pub fn sign(&self, message: &[u8], forms: &str) -> Vec<u8> {
        let (fields, body) = parts(message);
        let (header, body_form) = forms.split_once('/').expect("two forms");
        let (header, body_form) = (Form::parse(header), Form::parse(body_form));
        let (header, body_form) = header.zip(body_form).expect("two forms that are known");
        let names = SIGNED.join(":");
        let bh = hash("-sha256", &body_form.body(body));
        let own = format!(
            "DKIM-Signature: v=1; a=rsa-sha256; c={forms}; d=example.org; s=test;\r\n\th={names};\r\n\tbh={bh};\r\n\tb="
        );
        let text = signed_header(header, &fields, &names, format!("{own}\r\n").as_bytes());
        let script = "openssl dgst -sha256 -sign \"$0\" | openssl base64 -A";
        let signed = openssl(script, &[&self.path("private")], &text);
        assert_eq!(signed.code, Some(0), "{}", signed.stderr);
        [own.as_bytes(), signed.stdout.as_bytes(), b"\r\n", message].concat()
    }

    /// Whether the first signature of a message is one of this key, over what is
    /// there.
    pub fn verifies(&self, message: &[u8]) -> bool {
        let (fields, _) = parts(message);
        let Some(signature) = Signature::first(&fields).filter(|_| has_its_body(message)) else {
            return false;
        };
        let (Some((form, _)), Some(names)) = (signature.forms(), signature.tag("h")) else { return false };
        let text = signed_header(form, &fields, names, &signature.unsigned());
        let value = signature.tag("b").unwrap_or_default();
        std::fs::write(self.path("value"), value).expect("failed to write a signature");
        let script = "openssl base64 -d -A -in \"$1\" -out \"$2\" && \
                      openssl dgst -sha256 -verify \"$0\" -signature \"$2\"";
        let files = [&*self.path("public"), &self.path("value"), &self.path("signature")];
        openssl(script, &files, &text).code == Some(0)
    }
}
