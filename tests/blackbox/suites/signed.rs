//! Signed mail through Postfix, Lazaret and Postfix: signatures that are good when
//! it comes in are good when it arrives.
//!
//! Each case shows as well that a change would be seen. It must never count a
//! signature that was broken before.

use std::path::Path;

use crate::content::wire;
use crate::corpus::{self, Message};
use crate::dkim::{Key, has_its_body};
use crate::mta::passage::{Arrived, FIELDS_TWICE, pass, recipient};
use crate::mta::postfix::PACKAGE;
use crate::mta::sandwich::{Sandwich, Way};
use crate::trial::{Case, Needs, figures};

/// Messages of the repository that are signed here: what a server may be tempted to
/// change. None has a bare CR, which the recipes make a space.
const OWN: [&str; 8] = [
    "plain",
    "attachment",
    "dot-lines",
    "folded-header",
    "long-line",
    "many-recipients",
    "trailing-blank-lines",
    "utf8-headers",
];

const FORMS: [&str; 3] = ["simple/simple", "relaxed/relaxed", "relaxed/simple"];

/// The cases.
pub fn cases() -> Vec<Case> {
    const SIGNER: &[Needs] = &[Needs::Server(PACKAGE), Needs::Tool("openssl")];
    const BOTH: &[Needs] = &[Needs::Server(PACKAGE), Needs::Tool("openssl"), Needs::TestData];
    vec![
        Case::new("signed::our_own_by_smtp", || own(Way::Smtp)).needs(SIGNER),
        Case::new("signed::our_own_by_lmtp", || own(Way::Lmtp)).needs(SIGNER),
        Case::new("signed::our_own_by_pipe", || own(Way::Pipe)).needs(SIGNER),
        Case::new("signed::real_mail_by_smtp", real).needs(BOTH),
    ]
}

/// Through the sandwich.
fn through(way: Way, messages: &[Message]) -> Arrived {
    let sandwich = Sandwich::start(way);
    let arrived = pass(sandwich.postfix.smtp(), &sandwich.sink, messages, FIELDS_TWICE + 1);
    sandwich.finish();
    arrived
}

fn own(way: Way) {
    let (key, other) = (Key::new(), Key::new());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mail");
    let mut messages = Vec::new();
    for name in OWN {
        let path = folder.join(format!("{name}.eml"));
        let bytes =
            wire(&std::fs::read(&path).unwrap_or_else(|error| panic!("failed to read {path:?}: {error}")));
        messages.extend(FORMS.map(|forms| Message { path: path.clone(), bytes: key.sign(&bytes, forms) }));
    }
    let arrived = through(way, &messages);
    for (place, message) in messages.iter().enumerate() {
        let (path, found) = (message.path.display(), &arrived[&recipient(place)]);
        assert!(key.verifies(&message.bytes), "{path}: its signature was never good");
        assert!(key.verifies(found), "{path}: {}", String::from_utf8_lossy(found));
        let longer = [&found[..], b"x\r\n"].concat();
        assert!(!key.verifies(&longer), "{path}: another body would not be seen");
        assert!(!other.verifies(found), "{path}: another header would not be seen");
    }
    figures(&format!("signed, {way:?}: {} signatures of our own verify when they arrive", messages.len()));
}

/// Real mail whose bodies are still those that were signed.
fn real() {
    let mut signed: Vec<Message> = corpus::real();
    signed.retain(|message| has_its_body(&wire(&message.bytes)));
    assert!(signed.len() >= 3, "{} signed messages in the corpus", signed.len());
    let arrived = through(Way::Smtp, &signed);
    for (place, message) in signed.iter().enumerate() {
        assert!(has_its_body(&arrived[&recipient(place)]), "{}", message.path.display());
    }
    figures(&format!("signed: {} bodies of real mail as they were signed", signed.len()));
}
