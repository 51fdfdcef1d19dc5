//! Recovery and repair of a spool full of junk.
//!
//! The oracle is `lazaret_fuzz::recovery`'s; this file must never have one of its own.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lazaret_fuzz::recovery::check(data));
