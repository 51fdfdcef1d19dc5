//! The route table, and what it asks of a message: envelope and bytes in, one
//! route per recipient out.
//!
//! The parent compiles the table to check the configuration and to turn route
//! ids into actions. The cell compiles the same table and judges messages with
//! it, inside its memory and time budget; nothing of a message is parsed before
//! a condition asks for it, and nothing outlives the verdict.
//!
//! This crate must never perform I/O, start a thread or read a clock, and never
//! change a byte of a message.

#![forbid(unsafe_code)]

mod condition;
mod config;
mod facts;
mod glob;
mod header;
mod id;
mod limits;
mod table;
mod verdict;

pub use condition::{CONDITION_DEPTH_MAX, KeyError};
pub use config::{ConditionConfig, Globs, RouteConfig};
pub use facts::{Facts, FactsError, Parts, TreeFault};
pub use glob::GLOB_BYTES_MAX;
pub use id::{ROUTES_MAX, RouteId};
pub use limits::Limits;
pub use table::{Action, Needs, RouteTable, TableError};
pub use verdict::{Verdict, VerdictError};
