//! The built-in benign message on which every new cell proves itself.
//!
//! A cell that can't judge this one must never be given mail: it would be the
//! mail that is blamed.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use lazaret_envelope::{
    Address, Budget, Content, Digest, Envelope, Line, MessageId, Protocol, Timestamp, Transaction,
};
use rustix::fs::MemfdFlags;
use tracing::{error, info, warn};

use crate::budget::Allowance;
use crate::cell::STACKS_BYTES;
use crate::child::{Cell, CellError, Ended};
use crate::frame::Answer;
use crate::jail::{JailMode, JailState};
use crate::reports::fault_of;
use crate::slow::Turn;
use crate::stop::Stop;
use crate::template::Template;

/// Small, and with a little of everything that real mail has. What it needs is the
/// least that can be configured: [`Limits::LEAST`](lazaret_route::Limits::LEAST),
/// [`MEMORY_LEAST`](crate::WorkersConfig::MEMORY_LEAST).
pub const MESSAGE: &str = "From: Lazaret <postmaster@localhost>\r\n\
    To: postmaster@localhost\r\n\
    Subject: =?utf-8?q?Self-test?=\r\n\
    MIME-Version: 1.0\r\n\
    Content-Type: multipart/mixed; boundary=b\r\n\
    \r\n\
    --b\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Transfer-Encoding: quoted-printable\r\n\
    \r\n\
    All is well=2E\r\n\
    --b\r\n\
    Content-Type: application/octet-stream\r\n\
    Content-Transfer-Encoding: base64\r\n\
    \r\n\
    QWxsIGlzIHdlbGwu\r\n\
    --b--\r\n";

/// What the self-test may cost: far more than it does, on a machine under load.
const BUDGET: Budget =
    Budget { memory: 16 << 20, cpu: Duration::from_secs(10), wall: Duration::from_secs(60) };

/// Address space for the self-test, in bytes.
const SPACE: u64 = (1 << 30) + STACKS_BYTES;

/// The message in a file of its own.
#[derive(Debug)]
pub(crate) struct SelfTest {
    file: OwnedFd,
    id: MessageId,
    size: u64,
}

impl SelfTest {
    pub(crate) fn new() -> io::Result<Self> {
        let id = MessageId::from_parts(0, 0);
        let recipient: Address = "postmaster@localhost".parse().map_err(io::Error::other)?;
        let size = MESSAGE.len() as u64;
        let envelope = Envelope {
            id,
            arrived: Timestamp::UNIX_EPOCH,
            origin: Protocol::Submit.into(),
            transaction: Transaction { recipients: vec![recipient.into()], ..Transaction::default() },
            content: Content { size, digest: Digest([0; 32]) },
        };
        let file = rustix::fs::memfd_create("lazaret-self-test", MemfdFlags::CLOEXEC)?;
        let text = format!("{envelope}{MESSAGE}");
        let written = rustix::io::pwrite(&file, text.as_bytes(), 0)?;
        if written == text.len() { Ok(Self { file, id, size }) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    /// Has a new cell judge the message.
    pub(crate) fn start(&self, template: &mut Template, stop: &Stop) -> Result<Cell, CellError> {
        let cell = self.judge(template.cell()?, stop)?;
        match cell.jail() {
            Some(state) if template.jail().accepts(state) => Ok(cell),
            Some(state) => Err(CellError::Jail(state)),
            None => {
                Err(CellError::SelfTest(Line::escaped("it took a message before it said how it is jailed")))
            }
        }
    }

    /// Says once, loudly where something is missing, how the cells will be jailed:
    /// as a first one, which gets no mail, was. A cell that can't be had at all is
    /// tried again by the workers, unless its jail is required.
    pub(crate) fn prove_jail(&self, template: &mut Template, stop: &Stop) -> Result<(), CellError> {
        match self.start(template, stop).map(|cell| cell.jail()) {
            Ok(Some(JailState::NONE)) if template.jail() == JailMode::Off => {
                warn!("[workers] jail = \"off\": a message that takes over the parser has all our rights");
            }
            Ok(Some(state)) if state.is_full() => info!(jail = %state, "cells are jailed"),
            Ok(Some(state)) if state.confines() => {
                warn!(jail = %state, "this kernel lacks a part of the jail")
            }
            Ok(state) => error!(
                jail = %state.unwrap_or(JailState::NONE),
                "CELLS ARE NOT FULLY JAILED: this system lacks what keeps a message that takes over the \
                 parser from doing harm; [workers] jail = \"required\" refuses to start without it"
            ),
            Err(error) if template.jail() == JailMode::Required => return Err(error),
            Err(error) => error!(%error, "no cell yet, and nothing known about its jail"),
        }
        Ok(())
    }

    /// Has a cell judge the message.
    pub(crate) fn judge(&self, cell: Cell, stop: &Stop) -> Result<Cell, CellError> {
        let file: BorrowedFd<'_> = self.file.as_fd();
        let judged = cell.judge(
            (self.id, 1),
            file,
            Allowance { budget: BUDGET, space: SPACE + self.size, slow: None, behind: false },
            stop,
            &mut |_| Ok(Turn::Its),
        );
        let fault = fault_of(&judged);
        match (judged.ended, judged.cell) {
            (Ended::Answered(Answer::Verdict(_)), Some(cell)) => Ok(cell),
            (ended, _) => {
                let why = fault.map_or_else(|| format!("{ended:?}"), |(_, detail)| detail);
                Err(CellError::SelfTest(Line::escaped(format!("at stage {}: {why}", judged.stage))))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use lazaret_route::{Facts, FactsError, Limits, RouteConfig, RouteTable};

    use super::*;

    /// Judges the message with a route that asks for everything.
    fn judge(limits: &Limits) -> Result<(), FactsError> {
        let asks = "part_type = \"application/x-never\"\ndeliver = \"x\"\n";
        let route: RouteConfig = toml::from_str(asks).unwrap();
        let table = RouteTable::compile(&[route]).unwrap();
        let to: Address = "postmaster@localhost".parse().unwrap();
        let transaction = Transaction { recipients: vec![to.into()], ..Transaction::default() };
        table.judge(&transaction, &mut Facts::new(MESSAGE.as_bytes(), limits, &mut |_| ())).map(drop)
    }

    #[test]
    fn the_least_limits_are_those_that_it_keeps() {
        let least = Limits::LEAST;
        assert_eq!(judge(&least), Ok(()));
        for (expected, limits) in [
            ("recipients", Limits { recipients: least.recipients - 1, ..least.clone() }),
            ("header_bytes", Limits { header_bytes: least.header_bytes - 1, ..least.clone() }),
            ("header_count", Limits { header_count: least.header_count - 1, ..least.clone() }),
            ("parts", Limits { parts: least.parts - 1, ..least.clone() }),
            ("nesting", Limits { nesting: least.nesting - 1, ..least.clone() }),
        ] {
            let refused = judge(&limits);
            let of_it = matches!(&refused, Err(FactsError::Limit { name, .. }) if *name == expected);
            assert!(of_it, "{expected}: {refused:?}");
        }
    }
}
