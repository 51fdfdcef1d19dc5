//! Delivery to nobody, and the senders are told: what becomes of mail that goes
//! round in a loop.
//!
//! To the rest it is a transport whose next hop refuses everybody for good, so
//! that the journal, the notice to the sender and mail from `<>`, of which nobody
//! is told, are dealt with as with any refusal. It must never look at a message's
//! bytes.

use lazaret_envelope::Line;
use tracing::warn;

use crate::outcome::{Handled, Outcome};
use crate::parcel::Parcel;

/// What senders are told. RFC 3463 section 3.5: X.4.6 is "routing loop detected".
const REPLY: &str = "5.4.6 too many hops: the message goes round in a loop";

/// A transport that refuses everybody.
#[derive(Debug)]
pub(crate) struct Refuse;

impl Refuse {
    /// Refuses the recipients at these places of the envelope.
    pub(crate) fn take(&self, parcel: &Parcel<'_>, places: &[usize]) -> Handled {
        let envelope = &parcel.message.envelope;
        warn!(id = %envelope.id, from = %envelope.transaction.sender.path, recipients = places.len(),
            "MAIL LOOP: refused, for it has come through more hosts than workers.limits.hops allows");
        let refused = Outcome::Permanent(Line::escaped(REPLY));
        Handled { outcomes: vec![refused; places.len()], trouble: None }
    }
}
