//! The server's side of SMTP and LMTP.
//!
//! The oracle is `lazaret_fuzz::session`'s; this file must never have one of its own.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lazaret_fuzz::session::check(data));
