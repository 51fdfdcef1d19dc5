//! The route table, as text and as values.
//!
//! The oracle is `lazaret_fuzz::route`'s; this file must never have one of its own.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lazaret_fuzz::route::check(data));
