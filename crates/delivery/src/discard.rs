//! Delivery to nowhere: what a route sends here is taken and gone.
//!
//! The log tells of each message, since nothing else will. It must never look
//! at a message's bytes.

use lazaret_envelope::Line;
use tracing::info;

use crate::outcome::{Handled, Outcome};
use crate::parcel::Parcel;

/// Most recipients at a time: their outcomes are held in memory together.
pub(crate) const RECIPIENTS_MAX: usize = 1000;

/// A transport that takes everything.
#[derive(Debug)]
pub(crate) struct Discard {
    name: String,
}

impl Discard {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned() }
    }

    /// Takes the message for the recipients at these places of the envelope.
    pub(crate) fn take(&self, parcel: &Parcel<'_>, places: &[usize]) -> Handled {
        let envelope = &parcel.message.envelope;
        info!(id = %envelope.id, transport = %self.name, from = %envelope.transaction.sender.path,
            recipients = places.len(), "discarded");
        let taken = Outcome::Delivered(Line::escaped("discarded"));
        Handled { outcomes: vec![taken; places.len()], trouble: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_spool::TestSpool;

    #[test]
    fn everybody_asked_for_has_it() {
        let spool = TestSpool::new();
        let outbound = spool.routed("<s@x>", &["a@b", "c@d", "e@f"], "Subject: x\r\n\r\n");
        let message = outbound.open().unwrap();
        let parcel = Parcel { message: &message, trace: "", may_repeat: false };
        let handled = Discard::new("nowhere").take(&parcel, &[0, 2]);
        let gone = || Outcome::Delivered(Line::escaped("discarded"));
        assert_eq!((handled.outcomes, handled.trouble), (vec![gone(), gone()], None));
    }
}
