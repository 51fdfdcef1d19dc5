//! Journals, torn and whole.
//!
//! The oracle is `lazaret_fuzz::journal`'s; this file must never have one of its own.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lazaret_fuzz::journal::check(data));
