//! Addresses, ESMTP parameters and command lines.
//!
//! The oracle is `lazaret_fuzz::address`'s; this file must never have one of its own.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lazaret_fuzz::address::check(data));
