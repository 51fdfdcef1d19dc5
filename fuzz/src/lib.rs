//! What must hold for any bytes: one module a fuzz target, each with an oracle
//! that can fail.
//!
//! A target gives its input to `check` of the module that bears its name. Inputs
//! are plain bytes wherever that gets deep, so that mail and documents are seeds
//! as they are. An oracle must never accept what the code under test says of
//! itself: it prints and parses again, cuts in other places, asks another program,
//! or looks at the clock.

#![forbid(unsafe_code)]

pub mod address;
pub mod config;
pub mod data;
pub mod envelope;
pub mod facts;
pub mod frame;
pub mod journal;
pub mod name;
pub mod notice;
pub mod recovery;
pub mod reply;
pub mod report;
pub mod request;
pub mod route;
pub mod session;

mod cost;
mod pieces;
mod words;
