//! The repository's rules as tests: what a reviewer would otherwise have to
//! look for by hand.
//!
//! Each rule is a function over names and texts, so that a test can show that
//! it finds what it forbids. A rule must never depend on a network or a clock.

#![forbid(unsafe_code)]

mod dependencies;
mod layers;
mod manifest;
mod sources;
mod tree;

/// Fails with every finding, one a line.
#[track_caller]
fn assert_none(findings: &[String]) {
    assert!(findings.is_empty(), "{} found:\n{}", findings.len(), findings.join("\n"));
}
