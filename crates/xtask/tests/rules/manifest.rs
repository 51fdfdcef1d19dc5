//! Reads what the rules need of a Cargo.toml: the package's name and the names
//! in its dependency sections.
//!
//! A plain reader of the one style that this workspace uses. What it does not
//! understand must never pass silently: it panics.

use crate::tree;

/// A member of the workspace.
pub struct Manifest {
    /// Its package name.
    pub name: String,
    /// What it needs to run or to build.
    pub normal: Vec<String>,
    /// What only its tests need.
    pub dev: Vec<String>,
}

/// Every package of the repository.
pub fn all() -> Vec<Manifest> {
    let manifests: Vec<Manifest> = tree::texts()
        .into_iter()
        .filter(|file| file.path == "Cargo.toml" || file.path.ends_with("/Cargo.toml"))
        .filter_map(|file| parse(&file.text))
        .collect();
    assert!(manifests.len() >= 9, "the members were not found");
    manifests
}

/// Reads one manifest; `None` for a workspace without a package.
pub fn parse(text: &str) -> Option<Manifest> {
    let (mut section, mut name) = (String::new(), None);
    let (mut normal, mut dev) = (Vec::new(), Vec::new());
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_matches(['[', ']']).to_owned();
            assert!(
                !section.contains("ependencies."),
                "write dependencies as lines, not as sections: {line}"
            );
        } else if section == "package" && line.starts_with("name") {
            name = line.split('"').nth(1).map(str::to_owned);
        } else if !section.starts_with("workspace") && section.ends_with("dependencies") {
            assert!(!line.contains("package ="), "a renamed dependency hides what it is: {line}");
            let dependency = line.split(['.', ' ', '=']).next().expect("split gives one").trim_matches('"');
            let list = if section.ends_with("dev-dependencies") { &mut dev } else { &mut normal };
            list.push(dependency.to_owned());
        }
    }
    Some(Manifest { name: name?, normal, dev })
}

#[test]
fn every_kind_of_section_is_read() {
    let text = "[package]\nname = \"x\"\n[workspace.dependencies]\nno = \"1\"\n[dependencies]\na.workspace = true\n\
        \"b\" = { version = \"1\" }\n[target.'cfg(unix)'.dependencies]\nc = \"1\"\n[build-dependencies]\nd = \"1\"\n\
        [dev-dependencies]\ne.workspace = true\n[[test]]\nname = \"t\"\n";
    let manifest = parse(text).unwrap();
    assert_eq!(manifest.name, "x");
    assert_eq!(manifest.normal, ["a", "b", "c", "d"]);
    assert_eq!(manifest.dev, ["e"]);
}
