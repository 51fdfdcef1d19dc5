//! Values of ours, built from the bytes of a fuzzer: addresses, lines, times,
//! envelopes.
//!
//! What is built is valid by construction or goes through the parser that makes
//! it so. It must never build what could not come about.

use arbitrary::{Arbitrary, Result, Unstructured};
use lazaret_envelope::{
    Address, Content, Digest, Envelope, Forwarded, Line, MailParams, MessageId, Origin, Protocol, RcptParams,
    Recipient, ReversePath, Sender, Timestamp, Transaction,
};

/// Parts of which addresses are put together.
const ADDRESS_PARTS: [&str; 14] = [
    "a",
    "A.b",
    "\"q \\\" >\"",
    "ü",
    "..",
    "+x=y",
    "@",
    "@b",
    "@[192.0.2.1]",
    "@ü.example",
    ".",
    "\"",
    "\\",
    ">",
];

/// Protocols of an origin.
const PROTOCOLS: [Protocol; 6] =
    [Protocol::Smtp, Protocol::Esmtp, Protocol::Lmtp, Protocol::Submit, Protocol::Drop, Protocol::Notice];

/// Parameters of MAIL, each of which is right.
const MAIL_WORDS: [&str; 8] = [
    "BODY=7BIT",
    "body=8bitmime",
    "SMTPUTF8",
    "RET=FULL",
    "RET=hdrs",
    "ENVID=a+2Bb",
    "REQUIRETLS",
    "ENVID=x",
];

/// Parameters of RCPT, each of which is right.
const RCPT_WORDS: [&str; 6] = [
    "NOTIFY=NEVER",
    "NOTIFY=SUCCESS,DELAY",
    "notify=failure",
    "ORCPT=rfc822;a+40b",
    "ORCPT=x-y;",
    "ORCPT=utf-8;+5C",
];

/// An address, or what is none.
pub(crate) fn address(u: &mut Unstructured<'_>) -> Result<Address> {
    if bool::arbitrary(u)? {
        let text: String = (0..u.int_in_range(1..=4)?)
            .map(|_| u.choose(&ADDRESS_PARTS).copied())
            .collect::<Result<Vec<_>>>()?
            .concat();
        if let Ok(address) = text.parse() {
            return Ok(address);
        }
    }
    let text = <&str>::arbitrary(u)?;
    Ok(text.parse().unwrap_or_else(|_| "a@b.example".parse().expect("an address")))
}

/// Any line.
pub(crate) fn line(u: &mut Unstructured<'_>) -> Result<Line> {
    <&[u8]>::arbitrary(u).map(Line::escaped)
}

/// Any time that has a text form.
pub(crate) fn time(u: &mut Unstructured<'_>) -> Result<Timestamp> {
    let nanos = u.int_in_range(Timestamp::MIN.as_nanosecond()..=Timestamp::MAX.as_nanosecond())?;
    Ok(Timestamp::from_nanosecond(nanos).unwrap_or(Timestamp::UNIX_EPOCH))
}

/// Any id.
pub(crate) fn id(u: &mut Unstructured<'_>) -> Result<MessageId> {
    u128::arbitrary(u).map(MessageId::from_u128)
}

/// Any digest.
pub(crate) fn digest(u: &mut Unstructured<'_>) -> Result<Digest> {
    <[u8; 32]>::arbitrary(u).map(Digest)
}

/// Whatever `make` makes, or nothing.
pub(crate) fn maybe<T>(
    u: &mut Unstructured<'_>,
    make: impl FnOnce(&mut Unstructured<'_>) -> Result<T>,
) -> Result<Option<T>> {
    if bool::arbitrary(u)? { make(u).map(Some) } else { Ok(None) }
}

/// Some of the words, each once at most by name, with a blank between them.
fn params(u: &mut Unstructured<'_>, words: &[&str]) -> Result<String> {
    let mut chosen: Vec<&str> = Vec::new();
    for word in words {
        let name = |word: &str| word.split('=').next().map(str::to_ascii_uppercase);
        if bool::arbitrary(u)? && chosen.iter().all(|other| name(other) != name(word)) {
            chosen.push(word);
        }
    }
    Ok(chosen.join(" "))
}

/// A sender with its parameters.
pub(crate) fn sender(u: &mut Unstructured<'_>) -> Result<Sender> {
    let path = ReversePath(maybe(u, address)?);
    Ok(Sender { path, params: MailParams::parse(&params(u, &MAIL_WORDS)?).expect("right parameters") })
}

/// A recipient with its parameters.
pub(crate) fn recipient(u: &mut Unstructured<'_>) -> Result<Recipient> {
    let address = address(u)?;
    Ok(Recipient { address, params: RcptParams::parse(&params(u, &RCPT_WORDS)?).expect("right parameters") })
}

/// An envelope of up to five recipients.
pub(crate) fn envelope(u: &mut Unstructured<'_>) -> Result<Envelope> {
    let origin = Origin {
        protocol: *u.choose(&PROTOCOLS)?,
        client: maybe(u, line)?,
        helo: maybe(u, line)?,
        tls: maybe(u, line)?,
        upstream_id: maybe(u, line)?,
        user: maybe(u, line)?,
        forwarded: Forwarded {
            name: maybe(u, line)?,
            address: maybe(u, line)?,
            port: maybe(u, line)?,
            protocol: maybe(u, line)?,
            helo: maybe(u, line)?,
            source: maybe(u, line)?,
        },
    };
    let recipients = (0..u.int_in_range(1..=5)?).map(|_| recipient(u)).collect::<Result<_>>()?;
    Ok(Envelope {
        id: id(u)?,
        arrived: time(u)?,
        origin,
        transaction: Transaction { sender: sender(u)?, recipients },
        content: Content { size: u64::arbitrary(u)?, digest: digest(u)? },
    })
}
