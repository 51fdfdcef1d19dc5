//! The whole configuration.
//!
//! The oracle is `lazaret_fuzz::config`'s; this file must never have one of its own.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lazaret_fuzz::config::check(data));
