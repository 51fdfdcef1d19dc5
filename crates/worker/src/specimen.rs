//! One cell without a pool, to measure a cell and to try its jail.
//!
//! The cell is the very one that a worker has: nothing here may start it in
//! another way.

use std::io;

use lazaret_route::{Limits, RouteConfig};

use crate::child::{Cell, CellError, Program};
use crate::frame::Setup;
use crate::jail::{JailMode, JailState};
use crate::selftest::SelfTest;
use crate::stop::Stop;

/// A cell that has judged the built-in message. The running program must answer
/// to [`CELL_COMMAND`](crate::CELL_COMMAND).
#[derive(Debug)]
pub struct Specimen {
    cell: Option<Cell>,
    self_test: SelfTest,
    stop: Stop,
}

impl Specimen {
    /// Starts a cell, and has it judge the built-in message.
    ///
    /// # Errors
    /// There is no cell, or its jail is not as required.
    pub fn start(routes: Vec<RouteConfig>, jail: JailMode) -> Result<Self, CellError> {
        let prepare = || -> io::Result<_> { Ok((Program::current()?, SelfTest::new()?, Stop::new()?)) };
        let (program, self_test, stop) = prepare().map_err(CellError::Start)?;
        let setup = Setup { routes, limits: Limits::default(), jail };
        let cell = Some(self_test.start(&program, &setup, &stop)?);
        Ok(Self { cell, self_test, stop })
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
}
