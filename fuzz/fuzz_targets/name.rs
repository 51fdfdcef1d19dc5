//! Names of messages' files.
//!
//! The oracle is `lazaret_fuzz::name`'s; this file must never have one of its own.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lazaret_fuzz::name::check(data));
