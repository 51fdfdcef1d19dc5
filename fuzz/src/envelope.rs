//! Envelopes: what is parsed prints to what parses to the same, whether it came
//! as text or was built; and no line behind `end` is looked at.
//!
//! Text that begins as an envelope does is parsed; any other bytes build one. A
//! round trip must never be held against text that a person may write otherwise.

use arbitrary::Unstructured;
use lazaret_envelope::{Dropped, Envelope, text_length};

use crate::{cost, words};

/// How an envelope begins; what begins so is taken as text.
const BEGINNING: &[u8] = b"lazaret-";

/// A line of which there may be many.
const MANY: &str = "recipient <\"a b\"@example.org> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;a+20b@example.org\n";

/// Looks at one input.
pub fn check(data: &[u8]) {
    if data.starts_with(BEGINNING) {
        text(data);
    } else if let Ok(envelope) = words::envelope(&mut Unstructured::new(data)) {
        built(&envelope);
    }
}

fn text(data: &[u8]) {
    cost::assert_linear(data.len(), || drop(Envelope::parse(data)));
    if let Ok((envelope, offset)) = Envelope::parse(data) {
        assert_eq!(text_length(data), Some(offset), "both say where the message begins");
        assert_eq!(
            Envelope::parse(&data[..offset]),
            Ok((envelope.clone(), offset)),
            "nothing behind it counts"
        );
        built(&envelope);
    }
    if let Ok((dropped, offset)) = Dropped::parse(data) {
        assert_eq!(text_length(data), Some(offset), "both say where the message begins");
        let text = dropped.to_text();
        let (again, length) = Dropped::parse(text.as_bytes()).expect("what we write parses");
        assert_eq!(length, text.len());
        assert_eq!((again.transaction, again.origin.client), (dropped.transaction, dropped.origin.client));
    }
}

fn built(envelope: &Envelope) {
    let text = format!("{envelope}Subject: x\r\n\r\nend\r\n");
    let (again, offset) = Envelope::parse(text.as_bytes()).expect("what we print parses");
    assert_eq!((&again, &text[offset..]), (envelope, "Subject: x\r\n\r\nend\r\n"));
    for cut in (0..offset).step_by(offset / 8) {
        assert!(Envelope::parse(&text.as_bytes()[..cut]).is_err(), "the first {cut} bytes are no envelope");
    }
    let long = text.replacen("recipient ", &format!("{}recipient ", MANY.repeat(20)), 1);
    cost::assert_linear(long.len(), || drop(Envelope::parse(long.as_bytes())));
}
