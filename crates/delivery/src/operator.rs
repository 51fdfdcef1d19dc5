//! An operator's word that a message in quarantine is not to be delivered: its
//! sender is told, and it goes.
//!
//! The same steps as at the end of a round, so that the message is never gone
//! before its sender was told. Only an operator may ever bounce what is in
//! quarantine.

use std::collections::HashSet;

use lazaret_envelope::{Address, Envelope, Line, MessageId, Timestamp};
use lazaret_spool::{Done, Key, Quarantined, SpoolError, Unreadable};
use tracing::info;

use crate::config::{Config, OPERATOR};
use crate::tell::{Teller, unsettled};

/// What the sender is told that the next hop said.
const REPLY: &str = "it was returned by the administrator of this mail system";

/// Why a message in quarantine can't be bounced.
#[derive(Debug, thiserror::Error)]
pub enum BounceError {
    /// It is no whole message.
    #[error("message {id} can't be bounced: {why}; lazaret deferred delete {id} removes it without a word")]
    Unreadable {
        /// Which one.
        id: MessageId,
        /// What is wrong with it.
        why: Unreadable,
    },
    /// It came from `<>`.
    #[error(
        "message {0} can't be bounced: it came from <>, so there is nobody to tell; \
         lazaret deferred delete {0} removes it without a word"
    )]
    Nobody(MessageId),
    /// The disk.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// Tells the sender of everybody who has not got the message that he never will, as
/// far as NOTIFY asks for that, and deletes it. The notice, if there was one to
/// send.
///
/// # Errors
/// The message is not whole, nobody can be told, or the disk failed: it is still
/// there then.
pub fn bounce(quarantined: Quarantined, config: &Config) -> Result<Option<MessageId>, BounceError> {
    let id = quarantined.deferred().name.id;
    let message = quarantined.open().and_then(|message| message.verify().map(|()| message));
    let message = message.map_err(|why| BounceError::Unreadable { id, why })?;
    if message.envelope.transaction.sender.path.0.is_none() {
        return Err(BounceError::Nobody(id));
    }
    let history = quarantined.history();
    let open = unsettled(&history, &message.envelope)?;
    if !open.is_empty() {
        history.note(refusals(&message.envelope, open))?;
    }
    let is_final = |name: &Line| config.transports.get(name.as_str()).is_some_and(|found| found.is_final());
    let teller = Teller { hostname: &config.hostname, retry: &config.retry, is_final: &is_final };
    let told = teller.outcomes(&history, &message)?.map(|accepted| accepted.id);
    info!(%id, ?told, "bounced by an operator");
    quarantined.delete()?;
    Ok(told)
}

/// A line for everybody who has not got it, in the order of the envelope.
fn refusals<'a>(envelope: &'a Envelope, mut open: HashSet<&'a Address>) -> impl Iterator<Item = Done> {
    let (time, reply) = (Timestamp::now(), Line::escaped(REPLY));
    let recipients = envelope.transaction.recipients.iter().map(|recipient| &recipient.address);
    recipients.filter(move |recipient| open.remove(recipient)).map(move |to| {
        let key = Key { original: to.clone(), transport: Line::escaped(OPERATOR), final_address: to.clone() };
        Done::Refused { time, key, reply: reply.clone() }
    })
}
