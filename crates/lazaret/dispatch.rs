//! From verdict to delivery: turns the route that a cell chose for each recipient
//! into the transport that takes it; for a message that passes although it
//! faulted, the one transport of the bypass; for one that goes round in a loop, the
//! one that refuses it.
//!
//! One thread between the workers and the transports. It decides nothing; it
//! must never look at a message.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Select};
use lazaret_delivery::{Delivery, Job, TransportId};
use lazaret_route::{Action, RouteId, RouteTable};
use lazaret_worker::{Routed, Way};
use tracing::error;

/// The transport of each route.
pub struct Dispatch {
    transports: Vec<TransportId>,
    delivery: Arc<Delivery>,
    /// Messages that were handed on.
    pub dispatched: Arc<AtomicU64>,
}

impl Dispatch {
    /// Looks up the transport of every route.
    ///
    /// # Panics
    /// If a route names a transport that is not there: the configuration that it
    /// comes from is checked.
    pub fn new(table: &RouteTable, delivery: Arc<Delivery>) -> Self {
        let transport = |id| match table.action(RouteId(id)) {
            Action::Deliver(name) => delivery.transport(name).expect("the configuration is checked"),
        };
        let routes = u16::try_from(table.len()).expect("a table has fewer routes");
        Self { transports: (0..routes).map(transport).collect(), dispatched: Arc::default(), delivery }
    }

    /// The transport of each recipient.
    fn transports(&self, way: &Way) -> Option<Vec<TransportId>> {
        match way {
            Way::Routed(routes) => {
                routes.iter().map(|id| self.transports.get(usize::from(id.0)).copied()).collect()
            }
            Way::Loop { recipients } => Some(vec![TransportId::LOOP; *recipients]),
            Way::Bypass { transport, recipients } => {
                self.delivery.transport(transport).map(|transport| vec![transport; *recipients])
            }
        }
    }

    /// Hands on until the workers are gone.
    pub fn start(self, routed: Receiver<Routed>) -> io::Result<JoinHandle<()>> {
        thread::Builder::new().name("dispatch".into()).spawn(move || {
            while let Some(Routed { outbound, way }) = next(&routed) {
                let id = outbound.name().id;
                let transports = self.transports(&way);
                match transports {
                    Some(transports) => self.delivery.submit(Job { outbound, transports }),
                    // A worker lets no such verdict pass; the message stays in
                    // outbound/ and the next start takes it up again.
                    None => error!(%id, "a verdict with a route that is none came through"),
                }
                self.dispatched.fetch_add(1, Ordering::Release);
            }
        })
    }
}

/// The next one; `None` if there will be no more.
///
/// [`Receiver::recv`] gives up the processor some times before it sleeps. On a machine
/// under load its turn comes back after milliseconds, in which a message waits that came
/// at once; so this sleeps, and is woken up by whoever sends.
fn next(routed: &Receiver<Routed>) -> Option<Routed> {
    let mut select = Select::new();
    select.recv(routed);
    select.select().recv(routed).ok()
}
