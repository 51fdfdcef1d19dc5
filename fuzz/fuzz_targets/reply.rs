//! Replies of a server.
//!
//! The oracle is `lazaret_fuzz::reply`'s; this file must never have one of its own.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lazaret_fuzz::reply::check(data));
