//! Where mail goes out: transports, next hops, back-off.
//!
//! [`Delivery`] has a pool of threads for each transport. It is handed routed
//! messages, tries their recipients, and moves each message on: away when
//! nothing is left to be done, to `waiting/` when somebody may get it later, to
//! `deferred/` when its bytes are damaged. Of whom a next hop has refused for good
//! the sender is told, in a message of its own.
//!
//! Recipients are accounted for one by one in the message's journal. This crate
//! must never change a message's bytes, nor let go of one that a next hop has
//! not taken.

#![forbid(unsafe_code)]

mod asks;
mod backoff;
mod braces;
mod breaker;
mod config;
mod copy;
mod cutoff;
mod delivery;
mod discard;
mod endpoint;
mod failures;
mod job;
mod lines;
mod lookup;
mod maildir;
mod next_hop;
pub mod notice;
mod operator;
mod outcome;
mod parcel;
mod parked;
mod pipe;
mod pool;
mod recipient;
mod refuse;
mod round;
mod shared;
mod shares;
mod smtp;
mod sockets;
mod split;
mod task;
mod tell;
#[cfg(test)]
mod test_server;
#[cfg(test)]
mod test_spool;
#[cfg(test)]
mod tests;
mod trace;
mod transactions;
mod transport;

pub use breaker::BreakerState;
pub use config::limits::{
    QUEUE_MAX, SMTP_RECIPIENTS_MAX, THREADS_MAX, TRANSPORT_NAME_BYTES_MAX, TRANSPORTS_MAX,
};
pub use config::{
    Config, ConfigError, DeliveryConfig, DiscardConfig, Files, MaildirConfig, RetryConfig, TransportConfig,
};
pub use copy::LineEnds;
pub use delivery::Delivery;
pub use job::{Job, TransportId};
pub use maildir::{Template, TemplateError, VALUE_BYTES_MAX};
pub use next_hop::NextHopStatus;
pub use operator::{BounceError, bounce};
pub use pipe::{CommandError, PIPE_RECIPIENTS_MAX, PipeConfig, PipeError, UserError};
pub use pool::Status;
pub use smtp::config::{BreakerConfig, SmtpConfig, Timeouts, TlsLevel, Without8BitMime};
pub use smtp::security::SecurityError;
pub use trace::received;
