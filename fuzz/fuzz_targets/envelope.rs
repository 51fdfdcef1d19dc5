//! Envelopes, of messages and of dropped files.
//!
//! The oracle is `lazaret_fuzz::envelope`'s; this file must never have one of its own.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lazaret_fuzz::envelope::check(data));
