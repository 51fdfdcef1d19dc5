//! Puts the parts of a notice together (RFC 6522), with the header fields that
//! keep programs from answering it (RFC 3834).
//!
//! Parts that a standard forbids to encode are told their transfer encoding, or
//! the builder would encode them. It must never let a line out that is longer than
//! SMTP allows.

use lazaret_envelope::Address;
use mail_builder::MessageBuilder;
use mail_builder::encoders::base64::base64_encode_mime;
use mail_builder::headers::HeaderType;
use mail_builder::headers::content_type::ContentType;
use mail_builder::headers::date::Date;
use mail_builder::headers::message_id::MessageId;
use mail_builder::headers::raw::Raw;
use mail_builder::mime::{BodyPart, MimePart};

use super::returned::{Returned, has_fine_lines};
use super::{Notice, status, words};

/// Longest address that stands in `To:`, in bytes: the line holds more than that.
const TO_BYTES_MAX: usize = 900;

/// Hexadecimal digits in a boundary: 128 bits, and few enough that no line is long.
const BOUNDARY_DIGITS: usize = 32;

/// The whole notice.
pub(super) fn content(notice: &Notice<'_>, addressee: &Address, returned: &Returned) -> Vec<u8> {
    let hostname = notice.hostname;
    let unique = format!("{}.{}", notice.envelope.id, notice.now.as_millisecond());
    let (words, status) = (words::text(notice), status::text(notice));
    let boundary = boundary(&[words.as_bytes(), status.as_bytes(), returned.bytes()]);
    let to = if addressee.as_str().len() > TO_BYTES_MAX {
        HeaderType::Raw(Raw::new("undisclosed-recipients:;"))
    } else {
        HeaderType::Raw(Raw::new(format!("<{addressee}>")))
    };
    let report = ContentType::new("multipart/report")
        .attribute(
            "report-type",
            if notice.is_international() { "global-delivery-status" } else { "delivery-status" },
        )
        .attribute("boundary", boundary);
    let parts = vec![
        MimePart::new("text/plain", words),
        status_part(notice, status),
        returned_part(notice, returned),
    ];
    let message = MessageBuilder::new()
        .header("From", Raw::new(format!("Mail Delivery System <MAILER-DAEMON@{hostname}>")))
        .header("To", to)
        .header("Subject", Raw::new(words::subject(notice)))
        .header("Date", Date::new(notice.now.as_second()))
        .header("Message-ID", MessageId::new(format!("{unique}@{hostname}")))
        .header("Auto-Submitted", Raw::new("auto-replied"))
        .header("MIME-Version", Raw::new("1.0"))
        .body(MimePart::new(report, parts));
    message.write_to_vec().expect("memory can be written to")
}

/// A line that can end no part before its time: the digest of all that stands between
/// such lines, so that nobody can have put it there, whatever he knows. (A next hop
/// knows the id of the message, and about the time at which its reply is told.)
fn boundary(parts: &[&[u8]]) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    format!("=_{}", &hasher.finalize().to_hex()[..BOUNDARY_DIGITS])
}

/// RFC 3464 section 2.1: "7bit", and RFC 6533 section 3: "8bit" will do.
fn status_part<'x>(notice: &Notice<'_>, status: String) -> MimePart<'x> {
    let kind =
        if notice.is_international() { "message/global-delivery-status" } else { "message/delivery-status" };
    as_it_is(kind, status.into_bytes())
}

/// RFC 2046 section 5.2.1: `message/rfc822` must not be encoded. A header may be
/// (RFC 6522 section 4, RFC 6533 section 4), and is where it could not go out as it
/// is.
fn returned_part<'x>(notice: &Notice<'_>, returned: &Returned) -> MimePart<'x> {
    let international = notice.envelope.transaction.sender.params.smtputf8;
    let kind = match (returned, international) {
        (Returned::Whole(_), false) => "message/rfc822",
        (Returned::Whole(_), true) => "message/global",
        (Returned::Header(_), false) => "text/rfc822-headers",
        (Returned::Header(_), true) => "message/global-headers",
    };
    let bytes = returned.bytes();
    let may_be_8bit = international || matches!(returned, Returned::Whole(_));
    if has_fine_lines(bytes) && (bytes.is_ascii() || may_be_8bit) {
        return as_it_is(kind, bytes.to_vec());
    }
    let mut encoded = Vec::with_capacity(bytes.len() * 3 / 2);
    base64_encode_mime(bytes, &mut encoded, false).expect("memory can be written to");
    part(kind, "base64", encoded)
}

fn as_it_is<'x>(kind: &'static str, bytes: Vec<u8>) -> MimePart<'x> {
    let encoding = if bytes.is_ascii() { "7bit" } else { "8bit" };
    part(kind, encoding, bytes)
}

fn part<'x>(kind: &'static str, encoding: &'static str, bytes: Vec<u8>) -> MimePart<'x> {
    MimePart::new(kind, BodyPart::Binary(bytes.into())).transfer_encoding(encoding)
}
