//! Dependencies between our own crates point down only.
//!
//! lazaret -> operator -> intake, delivery, worker -> spool, smtp, tls, route -> envelope.
//! Tests' dependencies count too: a rule with an exception must never be needed.

use crate::manifest::{self, Manifest};

/// The layers, top first. A crate may use those below its own layer.
const LAYERS: [&[&str]; 5] = [
    &["lazaret"],
    &["lazaret-operator"],
    &["lazaret-intake", "lazaret-delivery", "lazaret-worker"],
    &["lazaret-spool", "lazaret-smtp", "lazaret-tls", "lazaret-route"],
    &["lazaret-envelope"],
];

/// Stand beside the layers and may use any of them; nothing may use them.
const BESIDE: [&str; 1] = ["lazaret-fuzz"];

/// Has nothing to do with the layers.
const APART: &str = "xtask";

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|crates| crates.contains(&name))
}

/// Every edge that points up or sideways, and every crate without a layer.
fn violations(manifests: &[Manifest]) -> Vec<String> {
    let ours = |name: &str| name.starts_with("lazaret") || manifests.iter().any(|m| m.name == name);
    let mut found = Vec::new();
    for manifest in manifests {
        let from = &manifest.name;
        for to in manifest.normal.iter().chain(&manifest.dev).filter(|to| ours(to)) {
            let down = match (layer(from), layer(to)) {
                (Some(from), Some(to)) => from < to,
                (None, Some(_)) => BESIDE.contains(&from.as_str()),
                _ => false,
            };
            if !down {
                found.push(format!("{from} must not depend on {to}"));
            }
        }
        if layer(from).is_none() && from != APART && !BESIDE.contains(&from.as_str()) {
            found.push(format!("{from} has no layer"));
        }
    }
    found
}

#[test]
fn dependencies_point_down_only() {
    crate::assert_none(&violations(&manifest::all()));
}

#[test]
fn a_forbidden_edge_is_found() {
    let package = |name: &str, normal: &[&str], dev: &[&str]| Manifest {
        name: name.into(),
        normal: normal.iter().map(ToString::to_string).collect(),
        dev: dev.iter().map(ToString::to_string).collect(),
    };
    for (forbidden, expected) in [
        (
            package("lazaret-spool", &["fs2", "lazaret-worker"], &[]),
            "lazaret-spool must not depend on lazaret-worker",
        ),
        (package("lazaret-spool", &["lazaret-smtp"], &[]), "lazaret-spool must not depend on lazaret-smtp"),
        (
            package("lazaret-envelope", &[], &["lazaret-spool"]),
            "lazaret-envelope must not depend on lazaret-spool",
        ),
        (package("lazaret-smtp", &["xtask"], &[]), "lazaret-smtp must not depend on xtask"),
        (package("xtask", &["lazaret-spool"], &[]), "xtask must not depend on lazaret-spool"),
        (package("lazaret-odd", &[], &[]), "lazaret-odd has no layer"),
    ] {
        assert_eq!(violations(&[forbidden, package("xtask", &[], &[])]), [expected]);
    }
    assert!(violations(&[package("lazaret", &["lazaret-envelope", "clap"], &["lazaret-spool"])]).is_empty());
}
