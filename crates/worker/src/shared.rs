//! What all workers need, and what each of them counts.
//!
//! No lock of these may be held while a message is in a cell.

use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::Sender;
use lazaret_envelope::MessageId;
use lazaret_spool::{Outbound, Owner, SpoolError, Throttle};

use crate::backlog::Backlog;
use crate::budget::WorkersConfig;
use crate::bypass::Way;
use crate::costs::Costs;
use crate::frame::Setup;
use crate::machine::Permits;
use crate::precedent::Precedent;
use crate::repeats::Repeats;
use crate::stop::Stop;
use crate::template::Program;

/// A message on its way to delivery.
#[derive(Debug)]
pub struct Routed {
    /// The message.
    pub outbound: Outbound,
    /// Which way it goes.
    pub way: Way,
}

/// What all workers need.
pub(crate) struct Shared {
    pub(crate) owner: Owner,
    pub(crate) backlog: Arc<Backlog>,
    pub(crate) config: WorkersConfig,
    pub(crate) setup: Setup,
    pub(crate) repeats: Repeats,
    pub(crate) permits: Permits,
    pub(crate) precedent: Precedent,
    pub(crate) costs: Costs,
    pub(crate) program: Program,
    pub(crate) stop: Stop,
    pub(crate) routed: Sender<Routed>,
    pub(crate) on_broken: Box<dyn Fn(SpoolError) + Send + Sync>,
    /// Messages that there is no descriptor for.
    pub(crate) failing: Throttle,
}

/// What a worker counts.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// The process id of the cell; 0 while there is none.
    pub(crate) cell: AtomicU32,
    pub(crate) judged: AtomicU64,
    pub(crate) faults: AtomicU64,
    pub(crate) passed: AtomicU64,
    pub(crate) cells_started: AtomicU64,
    message: Mutex<Option<MessageId>>,
}

impl Meter {
    pub(crate) fn set_message(&self, id: Option<MessageId>) {
        *self.message.lock().unwrap_or_else(PoisonError::into_inner) = id;
    }

    pub(crate) fn message(&self) -> Option<MessageId> {
        *self.message.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
