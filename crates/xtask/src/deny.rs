//! Holds the dependencies of both workspaces to `deny.toml`: licences, what is banned,
//! and where they come from, by cargo-deny.
//!
//! Advisories are no part of it: what they say changes while nothing here does. It
//! must never take another version of the program than is named here, nor put it
//! where a person keeps his own.

use crate::exec::Line;

/// The version that is built. Without optimisation and what only advisories need it
/// takes a minute on two processors, a third of the usual.
const BUILD: &str = "cargo install --quiet --locked --debug --no-default-features --root target/deny \
    --target-dir target/deny/build cargo-deny@0.20.2";

/// Where it is then.
const PROGRAM: &str = "target/deny/bin/cargo-deny --locked --config deny.toml";

/// What it is asked. A crate of which there are two versions is named and allowed.
const QUESTIONS: &str = "check --hide-inclusion-graph licenses bans sources";

/// The commands, in order.
pub fn lines() -> Vec<Line> {
    vec![
        Line::new(BUILD),
        Line::new(&format!("{PROGRAM} --manifest-path Cargo.toml --workspace {QUESTIONS}")),
        Line::new(&format!("{PROGRAM} --manifest-path fuzz/Cargo.toml {QUESTIONS}")),
    ]
}
