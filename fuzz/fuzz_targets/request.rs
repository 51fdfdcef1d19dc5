//! What a command asks of the daemon.
//!
//! The oracle is `lazaret_fuzz::request`'s; this file must never have one of its own.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lazaret_fuzz::request::check(data));
