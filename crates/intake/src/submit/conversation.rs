//! `-bs`: SMTP on standard input and output, as mail clients speak it to
//! sendmail(1).
//!
//! The protocol is the listeners' own; what differs is that there is no daemon,
//! so every problem of the spool is answered with 4xx. It must never answer 250
//! before the message is durable.

use std::io::{Read, Write};
use std::sync::Arc;

use lazaret_envelope::Origin;
use lazaret_smtp::server::{Begin, Config, DATA_STEP_BYTES_MAX, End, Event, Offer, Session};
use lazaret_smtp::{BareLineEnds, Dialect, Reply};
use lazaret_spool::Spool;

use super::{Submission, SubmitError, Target, read};
use crate::room::ROOM_STEP_BYTES;

/// Most recipients of one message.
const RECIPIENTS_MAX: usize = 1000;

/// Speaks SMTP until the client says QUIT or goes.
///
/// # Errors
/// Standard input or output failed. What was answered 250 is in the spool.
pub fn converse(
    spool: &Spool,
    submission: &Submission,
    mut input: impl Read,
    mut output: impl Write,
) -> Result<(), SubmitError> {
    let config = Config {
        dialect: Dialect::Smtp,
        hostname: submission.hostname.clone(),
        size_max: submission.size_max,
        recipients_max: RECIPIENTS_MAX,
        bare: BareLineEnds::Normalize,
        ..Config::default()
    };
    let mut session = Session::new(Arc::new(config));
    let mut receiver = Receiver { spool, submission, message: None, unlooked: 0 };
    let (mut buffer, mut out, mut count) = (vec![0; DATA_STEP_BYTES_MAX], Vec::new(), 0);
    loop {
        let mut piece = &buffer[..count];
        let closed = loop {
            match session.step(&mut piece, &mut out) {
                Event::NeedInput => break false,
                // TLS is not offered here, so nobody gets that far with it.
                Event::Close | Event::StartTls(_) => break true,
                Event::Flush => {}
                Event::Offer(offer) => receiver.offer(offer, &mut out),
                Event::Begin(begin) => receiver.begin(begin, &mut out),
                Event::Content(bytes) => receiver.content(bytes),
                Event::Abandon(_) => receiver.message = None,
                Event::End(end) => receiver.end(end, &mut out),
            }
            output.write_all(&out).map_err(SubmitError::Output)?;
            out.clear();
        };
        output.write_all(&out).and_then(|()| output.flush()).map_err(SubmitError::Output)?;
        out.clear();
        if closed {
            return Ok(());
        }
        count = read(&mut input, &mut buffer)?;
        if count == 0 {
            return Ok(());
        }
    }
}

/// Takes in the messages of the session.
struct Receiver<'s> {
    spool: &'s Spool,
    submission: &'s Submission,
    /// The message that is coming in, or why it will be refused.
    message: Option<Result<Target, SubmitError>>,
    /// Bytes since room was looked at.
    unlooked: u64,
}

impl Receiver<'_> {
    fn offer(&self, offer: Offer<'_>, out: &mut Vec<u8>) {
        match self.submission.expect_room(self.spool, offer.announced()) {
            Ok(()) => offer.accept(out),
            Err(error) => offer.refuse(&refusal(&error), out),
        }
    }

    fn begin(&mut self, begin: Begin<'_>, out: &mut Vec<u8>) {
        let origin = Origin { client: super::client(), ..begin.origin() };
        let target = self
            .submission
            .expect_room(self.spool, begin.announced())
            .and_then(|()| Ok(Target::open(self.spool, origin, begin.transaction().clone())?));
        match target {
            Ok(target) => {
                begin.accept(out);
                (self.message, self.unlooked) = (Some(Ok(target)), 0);
            }
            Err(error) => begin.refuse(&refusal(&error), out),
        }
    }

    fn content(&mut self, bytes: &[u8]) {
        let Some(Ok(target)) = &mut self.message else { return };
        let mut written = target.write(bytes).map_err(SubmitError::from);
        self.unlooked += bytes.len() as u64;
        if self.unlooked >= ROOM_STEP_BYTES {
            self.unlooked = 0;
            written = written.and_then(|()| self.submission.look_for_room(self.spool, None));
        }
        if let Err(error) = written {
            self.message = Some(Err(error));
        }
    }

    fn end(&mut self, end: End<'_>, out: &mut Vec<u8>) {
        let reply = match self.message.take() {
            Some(Ok(target)) => match target.commit() {
                Ok(Some(id)) => Reply::new(250, [2, 0, 0], format!("queued as {id}")),
                Ok(None) => Reply::new(250, [2, 0, 0], "put into drop/"),
                Err(error) => refusal(&error.into()),
            },
            Some(Err(error)) => refusal(&error),
            // The protocol asks only about what was begun; 4xx loses nothing.
            None => Reply::new(451, [4, 3, 0], "try again later"),
        };
        end.finish(&reply, out);
    }
}

/// Whatever it is, it is ours: the client is to come back.
fn refusal(error: &SubmitError) -> Reply {
    let (code, status) = match error {
        SubmitError::NoRoom(_) | SubmitError::QueueFull(_) => (452, [4, 3, 1]),
        _ => (451, [4, 3, 0]),
    };
    Reply::new(code, status, error.to_string())
}
