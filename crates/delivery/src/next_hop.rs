//! How a next hop is doing: what all threads of a transport know of it together.
//!
//! Whoever wants to ask it takes a ticket and says how it went; a ticket that is
//! dropped says nothing. The log names a next hop in trouble once and then every
//! so often. It must never be asked without a ticket.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lazaret_envelope::{Line, Span};
use lazaret_spool::Throttle;
use tracing::{info, warn};

use crate::breaker::{Breaker, BreakerState, Change, Permit};
use crate::endpoint::Endpoint;
use crate::smtp::config::BreakerConfig;

/// One next hop of a transport.
#[derive(Debug)]
pub(crate) struct NextHop {
    transport: String,
    name: String,
    endpoint: Endpoint,
    health: Mutex<Health>,
    failing: Throttle,
}

#[derive(Debug)]
struct Health {
    breaker: Breaker,
    trouble: Option<Trouble>,
}

/// What is wrong with a next hop since it last did what it was asked.
#[derive(Debug)]
struct Trouble {
    /// The latest.
    what: Line,
    /// Since when there is any.
    since: Instant,
}

/// How a next hop is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextHopStatus {
    /// As it stands in the configuration.
    pub next_hop: Line,
    /// Whether it is asked at all.
    pub breaker: BreakerState,
    /// What is wrong with it, and for how long it has not done what it was asked.
    pub trouble: Option<(Line, Duration)>,
}

/// The right to ask a next hop.
#[must_use]
#[derive(Debug)]
pub(crate) struct Ticket<'a> {
    next_hop: &'a NextHop,
    /// Until it was reported how it went.
    permit: Option<Permit>,
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl NextHop {
    pub(crate) fn new(transport: &str, name: &str, endpoint: Endpoint, config: BreakerConfig) -> Self {
        let mut hasher = DefaultHasher::new();
        (transport, name).hash(&mut hasher);
        Self {
            transport: transport.to_owned(),
            name: name.to_owned(),
            endpoint,
            health: Mutex::new(Health { breaker: Breaker::new(config, hasher.finish()), trouble: None }),
            failing: Throttle::default(),
        }
    }

    /// Where it listens.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// A ticket, if it may be asked now.
    pub(crate) fn ask(&self) -> Option<Ticket<'_>> {
        let permit = self.health().breaker.ask(Instant::now())?;
        Some(Ticket { next_hop: self, permit: Some(permit) })
    }

    /// Whether nobody may ask it now.
    pub(crate) fn refuses(&self) -> bool {
        self.health().breaker.refuses(Instant::now())
    }

    /// It may be asked now, whatever is known of it.
    pub(crate) fn hasten(&self) {
        self.health().breaker.hasten(Instant::now());
    }

    /// For how long it has not done what it was asked.
    pub(crate) fn troubled_for(&self) -> Duration {
        self.health().trouble.as_ref().map_or(Duration::ZERO, |trouble| trouble.since.elapsed())
    }

    pub(crate) fn status(&self) -> NextHopStatus {
        let health = self.health();
        NextHopStatus {
            next_hop: Line::escaped(&self.name),
            breaker: health.breaker.state(Instant::now()),
            trouble: health.trouble.as_ref().map(|trouble| (trouble.what.clone(), trouble.since.elapsed())),
        }
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket<'_> {
    /// It did what it was asked.
    pub(crate) fn succeeded(mut self) {
        let Self { next_hop, permit } = &mut self;
        *permit = None;
        let mut health = next_hop.health();
        let trouble = health.trouble.take();
        if health.breaker.succeeded() == Change::Closed {
            let after = trouble.map_or(Duration::ZERO, |trouble| trouble.since.elapsed());
            info!(transport = %next_hop.transport, next_hop = %next_hop.name, ?after,
                "next hop takes mail again");
        }
    }

    /// It did not.
    pub(crate) fn failed(mut self, what: &Line) {
        let Some(permit) = self.permit.take() else { return };
        let NextHop { transport, name, failing, .. } = self.next_hop;
        let (mut health, now) = (self.next_hop.health(), Instant::now());
        let since = health.trouble.take().map_or(now, |trouble| trouble.since);
        health.trouble = Some(Trouble { what: what.clone(), since });
        if let Some(unsaid) = failing.say() {
            warn!(%transport, next_hop = %name, trouble = %what, unsaid, "next hop in trouble");
        }
        if let Change::Opened(pause) = health.breaker.failed(permit, now) {
            let millis = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
            let pause = Span(Duration::from_millis(millis));
            info!(%transport, next_hop = %name, trouble = %what, next_probe = %pause,
                "next hop is not asked for now; its mail waits");
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.next_hop.health().breaker.abandoned(permit, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next_hop(config: BreakerConfig) -> NextHop {
        NextHop::new("reinject", "127.0.0.1:25", Endpoint::Tcp("127.0.0.1:25".into()), config)
    }

    #[test]
    fn all_who_ask_share_what_is_known() {
        let config = BreakerConfig { failures: 2, ..BreakerConfig::default() };
        let next_hop = next_hop(config);
        let what = Line::escaped("no banner\x1b");
        let (one, two) = (next_hop.ask().unwrap(), next_hop.ask().unwrap());
        drop(next_hop.ask());
        one.failed(&what);
        assert!(!next_hop.refuses());
        two.failed(&what);
        assert!(next_hop.refuses() && next_hop.ask().is_none());
        let NextHopStatus { breaker, trouble, .. } = next_hop.status();
        assert!(matches!(breaker, BreakerState::Open(_)));
        assert_eq!(trouble.unwrap().0.as_str(), "no banner\\u{1b}");
    }

    #[test]
    fn a_success_forgets_the_trouble() {
        let next_hop = next_hop(BreakerConfig::default());
        next_hop.ask().unwrap().failed(&Line::escaped("x"));
        next_hop.ask().unwrap().succeeded();
        assert_eq!((next_hop.status().trouble, next_hop.troubled_for()), (None, Duration::ZERO));
    }
}
