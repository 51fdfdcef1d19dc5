//! Cells in reserve: started and proven, for a worker that has lost its own.
//!
//! A start takes milliseconds in which mail would wait for its worker. The cells
//! are children of one thread of their own, which must outlive the workers: a
//! cell ends with the thread that started it.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::child::{Cell, CellError};
use crate::selftest::SelfTest;
use crate::shared::Shared;
use crate::template::Template;

/// Cells that lie ready, beside the one that is just being started or waits for
/// room: as many as the workers of a small machine lose at a time.
const READY: usize = 2;

/// Cells that may have been started before it was asked for one.
pub(crate) const RESERVE: u32 = READY as u32 + 1;

/// Where workers get cells. Clones draw on one reserve, which ends with the last.
#[derive(Clone)]
pub(crate) struct Nursery(Receiver<Result<Cell, CellError>>);

impl Nursery {
    /// Starts the thread that starts the cells.
    pub(crate) fn start(shared: Arc<Shared>) -> io::Result<(Self, JoinHandle<()>)> {
        let (ready, nursery) = bounded(READY);
        let self_test = SelfTest::new()?;
        let template = Template::new(shared.program.clone(), &shared.setup)?;
        let thread = thread::Builder::new()
            .name("nursery".into())
            .spawn(move || fill(&shared, template, &self_test, &ready))?;
        Ok((Self(nursery), thread))
    }

    /// The next cell, or why there is none; either may be some time old. `None` if
    /// there will be no more.
    pub(crate) fn next(&self) -> Option<Result<Cell, CellError>> {
        self.0.recv().ok()
    }
}

fn fill(
    shared: &Shared,
    mut template: Template,
    self_test: &SelfTest,
    ready: &Sender<Result<Cell, CellError>>,
) {
    while !shared.stop.is_asked() {
        if ready.send(self_test.start(&mut template, &shared.stop)).is_err() {
            break;
        }
    }
}
