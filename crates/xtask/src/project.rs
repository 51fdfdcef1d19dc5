//! Where the project is and where the data of its larger suites lies.
//!
//! Both are found at run time, so that no path of a machine is compiled in or
//! written down. It must never guess: what is not there is said to be missing.

use std::path::PathBuf;

/// Names the folder of test data.
pub const TESTDATA_VARIABLE: &str = "LAZARET_TESTDATA";

/// Where the test data lies from the project's root if nothing else is said.
const TESTDATA_DEFAULT: &str = "../shared";

/// The top of the repository.
pub fn root() -> PathBuf {
    // Cargo sets it for `cargo run`; it names crates/xtask.
    let here =
        std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("crates/xtask"), PathBuf::from);
    here.join("../..").canonicalize().unwrap_or_else(|_| PathBuf::from("."))
}

/// The folder of test data, whether or not it is there.
pub fn test_data() -> PathBuf {
    let named = std::env::var_os(TESTDATA_VARIABLE).filter(|name| !name.is_empty());
    root().join(named.map_or_else(|| PathBuf::from(TESTDATA_DEFAULT), PathBuf::from))
}

/// Whether this run stands for a decision, so that nothing may be left out quietly.
pub fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}
