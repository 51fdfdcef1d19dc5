//! A routed message on its way to the deliveries.
//!
//! Its transports have numbers, so that a message for many recipients is small. A
//! number must never stand for a transport of another configuration.

use lazaret_spool::Outbound;

use crate::config::limits::TRANSPORTS_MAX;

/// Number of a transport, from [`Delivery::transport`](crate::Delivery::transport).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransportId(u16);

impl TransportId {
    /// The built-in transport for mail that goes round in a loop: all its recipients
    /// are refused, and its sender is told. No configured one has its number.
    pub const LOOP: Self = Self(u16::MAX);
}

const _: () = assert!(TRANSPORTS_MAX < u16::MAX as usize, "no configured transport may be LOOP");

/// The numbers of the configured transports, in the order of their names.
pub(crate) fn numbers() -> impl Iterator<Item = TransportId> {
    (0..).map(TransportId)
}

/// A routed message.
#[derive(Debug)]
pub struct Job {
    /// The message.
    pub outbound: Outbound,
    /// The transport of each recipient of its envelope, in order.
    pub transports: Vec<TransportId>,
}
