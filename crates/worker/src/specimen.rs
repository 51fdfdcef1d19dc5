//! One cell without a pool: to measure a cell, to try its jail, and to have any
//! message judged.
//!
//! The cell is the very one that a worker has: nothing here may start it in
//! another way.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use lazaret_envelope::{Cause, Content, Digest, Envelope, MessageId, Protocol, Timestamp, Transaction};
use lazaret_route::{RouteConfig, Verdict};
use rustix::fs::MemfdFlags;

use crate::budget::{Allowance, WorkersConfig};
use crate::child::{Cell, CellError, Ended, Judged};
use crate::frame::{Answer, Setup};
use crate::jail::{JailMode, JailState};
use crate::reports::fault_of;
use crate::selftest::SelfTest;
use crate::slow::{Delay, GivesWay, Slow, Turn};
use crate::stop::Stop;
use crate::template::{Program, Template};

/// A cell that has judged the built-in message. The program must answer to
/// [`CELL_COMMAND`](crate::CELL_COMMAND).
#[derive(Debug)]
pub struct Specimen {
    template: Template,
    config: WorkersConfig,
    routes: usize,
    cell: Option<Cell>,
    self_test: SelfTest,
    stop: Stop,
}

/// What became of a message in a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It was judged.
    Verdict(Verdict),
    /// It was not, for this cause, and in these words.
    Fault(Cause, String),
}

impl Specimen {
    /// Starts a cell of the running program, and has it judge the built-in message.
    ///
    /// # Errors
    /// There is no cell, or its jail is not as required.
    pub fn start(routes: Vec<RouteConfig>, jail: JailMode) -> Result<Self, CellError> {
        let config = WorkersConfig { jail, ..WorkersConfig::default() };
        Self::of(Program::current().map_err(CellError::Start)?, routes, config)
    }

    /// The same of another build of the program.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_at(
        program: &Path,
        routes: Vec<RouteConfig>,
        config: WorkersConfig,
    ) -> Result<Self, CellError> {
        Self::of(Program::at(program).map_err(CellError::Start)?, routes, config)
    }

    fn of(program: Program, routes: Vec<RouteConfig>, config: WorkersConfig) -> Result<Self, CellError> {
        let setup = Setup { routes, limits: config.limits.clone(), jail: config.jail };
        let prepare =
            || -> io::Result<_> { Ok((Template::new(program, &setup)?, SelfTest::new()?, Stop::new()?)) };
        let (mut template, self_test, stop) = prepare().map_err(CellError::Start)?;
        let cell = Some(self_test.start(&mut template, &stop)?);
        Ok(Self { template, config, routes: setup.routes.len(), cell, self_test, stop })
    }

    /// How its jail is.
    #[must_use]
    pub fn jail(&self) -> Option<JailState> {
        self.cell.as_ref().and_then(Cell::jail)
    }

    /// Its process id; 0 once it has ended.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.cell.as_ref().map_or(0, Cell::pid)
    }

    /// The process id of the template that its next cell will be a copy of, or 0.
    #[must_use]
    pub fn template_pid(&self) -> u32 {
        self.template.pid()
    }

    /// Puts a new cell in its place.
    ///
    /// # Errors
    /// There is none.
    pub fn replace(&mut self) -> Result<(), CellError> {
        self.cell = Some(self.self_test.start(&mut self.template, &self.stop)?);
        Ok(())
    }

    /// Has it judge the built-in message again.
    ///
    /// # Errors
    /// It ended, or wants to be replaced.
    pub fn judge(&mut self) -> Result<(), CellError> {
        if let Some(cell) = self.cell.take() {
            self.cell = Some(self.self_test.judge(cell, &self.stop)?);
        }
        Ok(())
    }

    /// Has a message judged within its budget, in a new cell if the last
    /// one has ended.
    ///
    /// # Errors
    /// There is no new cell, or no file for the message.
    pub fn judge_message(&mut self, transaction: &Transaction, content: &[u8]) -> Result<Fate, CellError> {
        let judged = self.judge_with(transaction, content, &mut |_| Ok(Turn::Its))?;
        Ok(self.fate(&judged, transaction.recipients.len()))
    }

    /// The same, but the message gives way should it take long: `None`.
    ///
    /// # Errors
    /// As [`judge_message`](Self::judge_message).
    pub fn judge_at_once(
        &mut self,
        transaction: &Transaction,
        content: &[u8],
    ) -> Result<Option<Fate>, CellError> {
        let judged = self.judge_with(transaction, content, &mut |delay| match delay {
            Delay::Lingers => Ok(Turn::Its),
            Delay::TakesLong | Delay::TakesVeryLong => Err(GivesWay::Once),
        })?;
        let gave_way = matches!(judged.ended, Ended::GaveWay(_));
        Ok((!gave_way).then(|| self.fate(&judged, transaction.recipients.len())))
    }

    fn judge_with(
        &mut self,
        transaction: &Transaction,
        content: &[u8],
        slow: &mut Slow<'_>,
    ) -> Result<Judged, CellError> {
        let envelope = Envelope {
            id: MessageId::from_parts(0, 1),
            arrived: Timestamp::UNIX_EPOCH,
            origin: Protocol::Submit.into(),
            transaction: transaction.clone(),
            content: Content { size: content.len() as u64, digest: Digest([0; 32]) },
        };
        let bytes = [envelope.to_string().as_bytes(), content].concat();
        let file = rustix::fs::memfd_create("lazaret-specimen", MemfdFlags::CLOEXEC)
            .map_err(|error| CellError::Start(error.into()))?;
        let mut written = 0;
        while written < bytes.len() {
            let count = rustix::io::pwrite(&file, &bytes[written..], written as u64);
            written += count.map_err(|error| CellError::Start(error.into()))?;
        }
        let cell = match self.cell.take() {
            Some(cell) => cell,
            None => self.self_test.start(&mut self.template, &self.stop)?,
        };
        let recipients = transaction.recipients.len();
        let size = content.len() as u64;
        let allowance = Allowance::new(self.config.budget(size), size);
        let mut judged = cell.judge((envelope.id, recipients), file.as_fd(), allowance, &self.stop, slow);
        self.cell = judged.cell.take();
        Ok(judged)
    }

    fn fate(&self, judged: &Judged, recipients: usize) -> Fate {
        match (fault_of(judged), &judged.ended) {
            (Some((cause, detail)), _) => Fate::Fault(cause, detail),
            (None, Ended::Answered(Answer::Verdict(bytes))) => {
                match Verdict::decode(bytes, recipients, self.routes) {
                    Ok(verdict) => Fate::Verdict(verdict),
                    Err(error) => Fate::Fault(Cause::InvalidVerdict, error.to_string()),
                }
            }
            (None, ended) => Fate::Fault(Cause::Killed, format!("{ended:?}, and nobody asked for that")),
        }
    }
}
