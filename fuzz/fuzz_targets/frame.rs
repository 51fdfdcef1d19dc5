//! What a cell and its worker say to each other.
//!
//! The oracle is `lazaret_fuzz::frame`'s; this file must never have one of its own.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lazaret_fuzz::frame::check(data));
