//! The bytes behind DATA, in both directions.
//!
//! The oracle is `lazaret_fuzz::data`'s; this file must never have one of its own.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lazaret_fuzz::data::check(data));
