//! As whom a program runs.
//!
//! Names are looked up in the system's own lists; users from elsewhere (LDAP) go
//! by their numbers. It must never fall back to another user.

use std::fs;
use std::io;

use super::config::PipeConfig;

/// The system's users (passwd(5)).
const USERS: &str = "/etc/passwd";

/// The system's groups (group(5)).
const GROUPS: &str = "/etc/group";

/// Numbers of a user and of a group; `None` where it is the daemon's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Identity {
    pub(super) user: Option<u32>,
    pub(super) group: Option<u32>,
}

/// Why it is not known as whom a program would run.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// A list can't be read.
    #[error("user: failed to read {file}: {source}")]
    Unreadable {
        /// Which list.
        file: &'static str,
        /// How it was refused.
        source: io::Error,
    },
    /// Nobody of this name is listed.
    #[error(
        "{key}: {name:?} is not listed in {file}: add it, or give the number of one that comes from elsewhere"
    )]
    Unknown {
        /// Which key.
        key: &'static str,
        /// What is written.
        name: String,
        /// Where it was looked for.
        file: &'static str,
    },
    /// A user's number has no group of its own.
    #[error("user = {0:?} is a number without an entry in {USERS}: set group, too")]
    NoGroup(String),
}

impl UserError {
    /// The key that is wrong.
    pub(super) fn key(&self) -> &'static str {
        match self {
            Self::Unknown { key, .. } => key,
            Self::Unreadable { .. } | Self::NoGroup(_) => "user",
        }
    }
}

impl Identity {
    /// Looks up what is configured.
    pub(super) fn of(config: &PipeConfig) -> Result<Self, UserError> {
        let users = config.user.as_ref().map(|_| read(USERS)).transpose()?.unwrap_or_default();
        let groups = config.group.as_ref().map(|_| read(GROUPS)).transpose()?.unwrap_or_default();
        Self::find(config, &users, &groups)
    }

    fn find(config: &PipeConfig, users: &str, groups: &str) -> Result<Self, UserError> {
        let unknown = |key, name: &str, file| UserError::Unknown { key, name: name.to_owned(), file };
        let mut identity = Self::default();
        if let Some(name) = &config.user {
            let listed = entry(users, name);
            let number = |place: usize| listed.as_ref().and_then(|fields| fields.get(place)?.parse().ok());
            let own = name.parse().ok().or_else(|| number(2));
            identity.user = Some(own.ok_or_else(|| unknown("user", name, USERS))?);
            identity.group = number(3);
        }
        match (&config.group, &config.user) {
            (Some(name), _) => {
                let listed = || entry(groups, name).and_then(|fields| fields.get(2)?.parse().ok());
                let number = name.parse().ok().or_else(listed);
                identity.group = Some(number.ok_or_else(|| unknown("group", name, GROUPS))?);
            }
            (None, Some(name)) if identity.group.is_none() => return Err(UserError::NoGroup(name.clone())),
            (None, _) => {}
        }
        Ok(identity)
    }
}

fn read(file: &'static str) -> Result<String, UserError> {
    let bytes = fs::read(file).map_err(|source| UserError::Unreadable { file, source })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The fields of the entry with this name, or this number.
fn entry<'a>(list: &'a str, name: &str) -> Option<Vec<&'a str>> {
    let mut entries = list.lines().map(|line| line.split(':').collect::<Vec<_>>());
    entries.find(|fields| fields[0] == name || fields.get(2) == Some(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_found() {
        let users = "root:x:0:0::/:/bin/sh\n+::::::\nfilter:x:110:120::/:/bin/false\n";
        let groups = "root:x:0:\nmail:x:8:a,b\n";
        let find = |user: Option<&str>, group: Option<&str>| {
            let text = "command = ['/p']";
            let mut config: PipeConfig = toml::from_str(text).unwrap();
            (config.user, config.group) = (user.map(str::to_owned), group.map(str::to_owned));
            Identity::find(&config, users, groups)
                .map(|found| (found.user, found.group))
                .map_err(|e| e.to_string())
        };
        assert_eq!(find(None, None), Ok((None, None)));
        assert_eq!(find(Some("filter"), None), Ok((Some(110), Some(120))));
        assert_eq!(find(Some("110"), Some("mail")), Ok((Some(110), Some(8))));
        assert_eq!(find(None, Some("77")), Ok((None, Some(77))));
        assert_eq!(find(Some("5000"), Some("5001")), Ok((Some(5000), Some(5001))));
        for (user, group, part) in [
            (Some("nobody"), None, "user: \"nobody\" is not listed in /etc/passwd"),
            (None, Some("filter"), "group: \"filter\" is not listed in /etc/group"),
            (Some("5000"), None, "set group, too"),
        ] {
            let error = find(user, group).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
