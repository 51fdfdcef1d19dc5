//! What came of a reload, in words and as JSON.
//!
//! What is not in force must never be told as if it were.

mod command;

pub use command::command;

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::differences::Difference;

/// What came of a reload.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Reloaded {
    /// The file that was read again; none where the embedded default is in force.
    pub file: Option<String>,
    /// What has changed and is in force now.
    pub in_force: Vec<Difference>,
    /// What has changed in the file and is not in force before a restart.
    pub needs_restart: Vec<Difference>,
    /// What is not wrong and hardly meant.
    pub warnings: Vec<String>,
}

impl Reloaded {
    /// For the log, whoever asked.
    pub fn log(&self) {
        for warning in &self.warnings {
            warn!("configuration: {warning}");
        }
        if self.in_force.is_empty() && self.needs_restart.is_empty() {
            return info!(file = self.file, "reloaded: nothing has changed");
        }
        let lines = |found: &[Difference]| {
            let found = found.iter().map(|Difference { key, change }| format!("{key}: {change}"));
            found.collect::<Vec<_>>().join("; ")
        };
        let (in_force, needs_restart) = (lines(&self.in_force), lines(&self.needs_restart));
        info!(file = self.file, in_force, needs_restart, "reloaded");
    }

    fn as_text(&self) -> String {
        let Some(file) = &self.file else {
            return "there is no configuration file to read again: the embedded default is in force\n".into();
        };
        let mut text = String::new();
        for warning in &self.warnings {
            let _ = writeln!(text, "{file}: warning: {warning}");
        }
        for (found, title) in [
            (&self.in_force, "in force now"),
            (&self.needs_restart, "needs a restart; in force is what was before"),
        ] {
            if !found.is_empty() {
                let _ = writeln!(text, "{title}:");
            }
            for Difference { key, change } in found {
                let _ = writeln!(text, "  {key}: {change}");
            }
        }
        if self.in_force.is_empty() && self.needs_restart.is_empty() {
            let _ = writeln!(text, "{file}: nothing has changed");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_force_is_told_apart_from_what_is_not() {
        let found = |key: &str| vec![Difference { key: key.into(), change: "changed".into() }];
        let nothing = Reloaded { file: Some("x.toml".into()), ..Reloaded::default() };
        assert_eq!(nothing.as_text(), "x.toml: nothing has changed\n");
        let told = Reloaded {
            in_force: found("route"),
            needs_restart: found("listen"),
            warnings: vec!["careful".into()],
            ..nothing
        };
        let expected = "x.toml: warning: careful\nin force now:\n  route: changed\n\
            needs a restart; in force is what was before:\n  listen: changed\n";
        assert_eq!(told.as_text(), expected);
        assert!(Reloaded::default().as_text().contains("the embedded default is in force"));
    }
}
