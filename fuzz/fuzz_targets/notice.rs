//! Notices to senders.
//!
//! The oracle is `lazaret_fuzz::notice`'s; this file must never have one of its own.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lazaret_fuzz::notice::check(data));
