//! How much of everything a configuration may ask for, and what holds where it does
//! not say.
//!
//! Nothing may be told here that depends on a configuration.

/// Longest name of a transport, in bytes.
pub const TRANSPORT_NAME_BYTES_MAX: usize = 64;

/// Most transports of one configuration.
pub const TRANSPORTS_MAX: usize = 1000;

/// Most threads of one transport: connections or workers.
pub const THREADS_MAX: usize = 1000;

/// Most connections of all transports.
pub const CONNECTIONS_MAX: usize = 100_000;

/// Most messages in the queue of one transport.
pub const QUEUE_MAX: usize = 100_000;

/// Most recipients of one SMTP transaction: their outcomes are held in memory.
pub const SMTP_RECIPIENTS_MAX: usize = 1000;

/// Messages that wait in memory for one transport.
pub(crate) fn default_queue() -> usize {
    1000
}
