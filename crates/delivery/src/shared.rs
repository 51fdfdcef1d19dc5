//! What the threads of all transports share.
//!
//! Once the spool is broken it must never be touched again, and whoever asks here
//! first knows.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use crossbeam_channel::{Receiver, Sender};
use lazaret_envelope::Line;
use lazaret_spool::{SpoolError, Throttle};
use tracing::error;

use crate::config::RetryConfig;
use crate::cutoff::CutOff;
use crate::job::TransportId;
use crate::pool::Pool;
use crate::sockets::Sockets;
use crate::task::Task;

/// What the threads share.
pub(crate) struct Shared {
    pub(crate) hostname: String,
    pub(crate) retry: RetryConfig,
    pub(crate) pools: BTreeMap<TransportId, Pool>,
    pub(crate) sockets: Arc<Sockets>,
    pub(crate) cut_off: Arc<CutOff>,
    pub(crate) in_flight: AtomicUsize,
    pub(crate) stopping: AtomicBool,
    /// The spool can't be relied on any more.
    pub(crate) broken: AtomicBool,
    pub(crate) on_broken: Box<dyn Fn(SpoolError) + Send + Sync>,
    /// Journals that there is no room for.
    pub(crate) no_room: Throttle,
    pub(crate) stopped: Receiver<Infallible>,
    /// Given to each thread, so that the end of all can be waited for; taken
    /// away at the stop.
    pub(crate) alive: Mutex<Option<Sender<Infallible>>>,
}

impl Shared {
    pub(crate) fn pool(&self, id: TransportId) -> Option<&Pool> {
        self.pools.get(&id)
    }

    /// The transport that has a message next: one that may do something for it,
    /// if there is one. `None` if it is none of this configuration.
    pub(crate) fn choose(&self, task: &mut Task) -> Option<(TransportId, &Pool)> {
        task.prefer(|id| self.pool(id).is_none_or(|pool| !pool.transport.refuses()));
        let id = task.next_transport()?;
        Some((id, self.pool(id)?))
    }

    /// Whether what the transport of this name has delivered is in its recipient's
    /// hands.
    pub(crate) fn is_final(&self, name: &Line) -> bool {
        self.pools.values().any(|pool| pool.name == *name && pool.is_final)
    }

    /// Whether nothing new may be started.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(SeqCst) || self.is_broken()
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(SeqCst)
    }

    /// The message is moved on; nothing is in hand of it any more.
    pub(crate) fn landed(&self, result: Result<(), SpoolError>) {
        self.in_flight.fetch_sub(1, SeqCst);
        if let Err(error) = result {
            self.broken_by(error);
        }
    }

    pub(crate) fn broken_by(&self, error: SpoolError) {
        if !self.broken.swap(true, SeqCst) {
            error!(%error, "the spool can't be relied on any more: deliveries end");
            (self.on_broken)(error);
        }
    }
}
