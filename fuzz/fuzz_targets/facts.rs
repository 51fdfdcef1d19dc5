//! Messages, judged in a real cell within the real budget.
//!
//! The oracle is `lazaret_fuzz::facts`'s; this file must never have one of its own.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lazaret_fuzz::facts::check(data));
