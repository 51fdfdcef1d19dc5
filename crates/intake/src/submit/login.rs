//! The login name of whoever runs this program.
//!
//! From the system's own user list; where users come from elsewhere (LDAP, a
//! container's bare number), from the environment that login(1) sets. It is only
//! the default for a return address and must never be taken for a proof.

use std::fs::File;
use std::io::{BufRead, BufReader};

/// The system's users (passwd(5)).
const USERS: &str = "/etc/passwd";

/// Where the environment has the name.
const VARIABLES: [&str; 2] = ["LOGNAME", "USER"];

/// The name that the system's list has for a user's number.
#[must_use]
pub fn user_name(uid: u32) -> Option<String> {
    File::open(USERS).ok().and_then(|file| find(BufReader::new(file), uid))
}

/// The name, or the number that has none.
pub(super) fn name() -> Result<String, u32> {
    let uid = rustix::process::getuid().as_raw();
    let named = || VARIABLES.iter().find_map(|name| std::env::var(name).ok().filter(|name| !name.is_empty()));
    user_name(uid).or_else(named).ok_or(uid)
}

/// Finds `name:password:uid:…`.
fn find(users: impl BufRead, uid: u32) -> Option<String> {
    users.lines().map_while(Result::ok).find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let found: u32 = fields.nth(1)?.parse().ok()?;
        (found == uid).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn the_name_of_a_number_is_found() {
        let users = "root:x:0:0:root:/root:/bin/sh\n\n+::::::\nmail:x:8:12::/var/mail:/bin/false\n";
        assert_eq!(find(users.as_bytes(), 8).as_deref(), Some("mail"));
        assert_eq!(find(users.as_bytes(), 12), None);
    }
}
