//! What a session does with messages: asks the gate, writes to the spool, and
//! answers once the message is durable.
//!
//! Trouble of our own is answered 4xx. After a failure that leaves in doubt
//! whether a message is durable nothing must ever be answered: the connection is
//! dropped, and the client sends it again.

use std::sync::Arc;

use lazaret_envelope::{Line, Origin};
use lazaret_smtp::Reply;
use lazaret_smtp::server::{Begin, End, Offer, Refusal};
use lazaret_spool::{Draft, Spool};
use tracing::{debug, info};

use super::hangup::Hangup;
use super::sessions::Place;
use crate::gate::{Denied, IntakeGate, Reason};
use crate::room::ROOM_STEP_BYTES;

/// Takes in the messages of one session.
pub(super) struct Receiver {
    spool: Spool,
    gate: Arc<IntakeGate>,
    place: Arc<Place>,
    /// The message that is coming in, or why it will be refused.
    message: Option<Result<Draft, Denied>>,
    /// Bytes since room was looked at.
    unlooked: u64,
}

impl Receiver {
    pub(super) fn new(spool: Spool, gate: Arc<IntakeGate>, place: Arc<Place>) -> Self {
        Self { spool, gate, place, message: None, unlooked: 0 }
    }

    fn peer(&self) -> &Line {
        self.place.socket.name()
    }

    /// Says whether there is room, before a recipient is named: a client need not send
    /// what can't be taken in.
    pub(super) fn offer(&self, offer: Offer<'_>, out: &mut Vec<u8>) {
        match self.gate.admit(&self.spool, offer.announced()) {
            Ok(()) => offer.accept(out),
            Err(denied) => offer.refuse(&self.refused(denied), out),
        }
    }

    /// Opens a file for a message, or refuses it before its content is sent.
    pub(super) fn begin(&mut self, begin: Begin<'_>, out: &mut Vec<u8>) -> Result<(), Hangup> {
        if !self.place.begin_message() {
            return Err(Hangup::Stopping);
        }
        match self.open(&begin) {
            Ok(draft) => {
                begin.accept(out);
                self.message = Some(Ok(draft));
                self.unlooked = 0;
            }
            Err(denied) => {
                begin.refuse(&self.refused(denied), out);
                self.place.end_message();
            }
        }
        Ok(())
    }

    fn open(&self, begin: &Begin<'_>) -> Result<Draft, Denied> {
        self.gate.admit(&self.spool, begin.announced())?;
        let origin = Origin { client: Some(self.peer().clone()), ..begin.origin() };
        let draft = self.spool.begin(origin, begin.transaction().clone());
        draft.map_err(|error| self.gate.denied(&error))
    }

    /// Writes content. Should that fail, the file goes at once, and the client
    /// is told at the end of the data.
    pub(super) fn content(&mut self, bytes: &[u8]) {
        if let Some(Ok(draft)) = &mut self.message {
            let written = draft.write(bytes).map_err(|error| self.gate.denied(&error));
            if let Err(denied) = written.and_then(|()| self.look_for_room(bytes.len() as u64)) {
                self.message = Some(Err(denied));
            }
        }
    }

    /// A client need not announce how much it sends: a large message must not use
    /// up what is kept for the mail that is there.
    fn look_for_room(&mut self, more: u64) -> Result<(), Denied> {
        self.unlooked += more;
        if self.unlooked < ROOM_STEP_BYTES {
            return Ok(());
        }
        self.unlooked = 0;
        self.gate.still_fits(&self.spool)
    }

    /// Removes a message that the protocol refuses.
    pub(super) fn abandon(&mut self, refusal: Refusal) {
        self.message = None;
        self.place.end_message();
        let reason = match refusal {
            Refusal::TooLarge => Reason::TooLarge,
            Refusal::Bare(_) => Reason::BareLineEnds,
        };
        self.gate.count_refused(reason);
        info!(peer = ?self.peer(), reason = reason.word(), "message refused");
    }

    /// Makes the message durable, then says so.
    pub(super) fn end(&mut self, end: End<'_>, out: &mut Vec<u8>) -> Result<(), Hangup> {
        let reply = match self.message.take() {
            Some(Ok(draft)) => self.commit(draft)?,
            Some(Err(denied)) => self.refused(denied),
            // The protocol asks only about what was begun; 4xx loses nothing.
            None => Denied::Broken.reply(),
        };
        end.finish(&reply, out);
        self.place.end_message();
        Ok(())
    }

    fn commit(&self, draft: Draft) -> Result<Reply, Hangup> {
        let error = match draft.commit() {
            Ok(accepted) => {
                self.gate.count_accepted();
                return Ok(Reply::new(250, [2, 0, 0], format!("queued as {}", accepted.id)));
            }
            Err(error) => error,
        };
        match self.gate.denied(&error) {
            Denied::Broken => Err(Hangup::Broken),
            denied => Ok(self.refused(denied)),
        }
    }

    /// Counts a refusal; returns the reply. Why mail does not come in is logged by
    /// the gate, once and not for each message.
    fn refused(&self, denied: Denied) -> Reply {
        self.gate.count_refused(denied.reason());
        debug!(peer = ?self.peer(), reason = denied.reason().word(), "message refused");
        denied.reply()
    }
}
