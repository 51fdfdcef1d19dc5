//! The targets: one for each file in `fuzz/fuzz_targets/`, and what suits it.
//!
//! The folder is the list, so that none can be forgotten. It must never name a
//! target that is not there.

use std::path::Path;

/// A fuzz target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name, and that of its program.
    pub name: String,
}

/// What the inputs of a target are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taste {
    /// Longest input, in bytes.
    pub length_max: u32,
    /// Its dictionary, in `fuzz/dictionaries/`.
    pub dictionary: Option<&'static str>,
    /// Whether real mail is good to begin with.
    pub mail: bool,
}

impl Target {
    /// Every target, by name.
    ///
    /// # Errors
    /// The folder can't be listed.
    pub fn all(fuzz: &Path) -> Result<Vec<Self>, String> {
        let folder = fuzz.join("fuzz_targets");
        let entries =
            std::fs::read_dir(&folder).map_err(|error| format!("failed to list {folder:?}: {error}"))?;
        let name = |entry: std::io::Result<std::fs::DirEntry>| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            Some(Self { name: name.strip_suffix(".rs")?.to_owned() })
        };
        let mut targets: Vec<Self> = entries.filter_map(name).collect();
        targets.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(targets)
    }

    /// What its inputs are like.
    pub fn taste(&self) -> Taste {
        let taste = |length_max, dictionary, mail| Taste { length_max, dictionary, mail };
        match self.name.as_str() {
            "address" | "reply" => taste(3000, Some("smtp"), false),
            "session" => taste(8000, Some("smtp"), false),
            "data" => taste(100_000, None, true),
            "facts" => taste(64 << 10, Some("mime"), true),
            "envelope" | "report" | "journal" => taste(9000, Some("documents"), false),
            "route" | "config" => taste(4000, Some("configuration"), false),
            "name" => taste(200, Some("documents"), false),
            "recovery" => taste(600, None, false),
            "notice" => taste(6000, Some("smtp"), false),
            "request" => taste(4096, Some("requests"), false),
            _ => taste(4000, None, false),
        }
    }
}
