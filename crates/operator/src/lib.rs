//! What an operator says: the configuration, and requests to the daemon.
//!
//! Text in, checked values out: what is wrong is told here, with its place, and
//! nothing behind this crate has to look again. It must never open a file or a
//! socket, nor do what was asked for.

#![forbid(unsafe_code)]

mod bounds;
mod config;
mod intake;
mod request;
mod source;

pub use config::{Config, EMBEDDED};
pub use intake::{IntakeConfig, Percent};
pub use request::{Part, REQUEST_BYTES_MAX, Request, RequestError};
pub use source::{ConfigError, Source};
