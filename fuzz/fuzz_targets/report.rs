//! Reports about deferred messages.
//!
//! The oracle is `lazaret_fuzz::report`'s; this file must never have one of its own.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lazaret_fuzz::report::check(data));
