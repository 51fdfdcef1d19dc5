//! A recipient taken apart, for the variables of paths and commands.
//!
//! What comes of it is untrusted still: it must never be taken for a part of a
//! path, or for an argument, without a look at it.

use lazaret_envelope::Address;

/// What `{local}` and `{domain}` mean.
pub(crate) struct Parts {
    /// The local part as it is meant, without quotes.
    pub(crate) local: String,
    /// The domain in lower case, without a dot at its end.
    pub(crate) domain: String,
}

impl Parts {
    /// Takes a recipient apart; `hostname` is the domain of `postmaster`.
    pub(crate) fn of(recipient: &Address, hostname: &str) -> Self {
        let local = unquoted(recipient.local());
        // RFC 5321 section 4.5.1: postmaster is known in every case.
        let postmaster = local.eq_ignore_ascii_case("postmaster");
        let domain = recipient.domain().unwrap_or(hostname);
        let domain = domain.strip_suffix('.').unwrap_or(domain).to_lowercase();
        Self { local: if postmaster { "postmaster".to_owned() } else { local }, domain }
    }
}

/// A local part as it is meant. RFC 5321 section 4.1.2: the quotes are not part
/// of it, and neither is a backslash before a character.
fn unquoted(local: &str) -> String {
    let Some(inside) = local.strip_prefix('"').and_then(|text| text.strip_suffix('"')) else {
        return local.to_owned();
    };
    let mut plain = String::with_capacity(inside.len());
    let mut chars = inside.chars();
    while let Some(c) = chars.next() {
        plain.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_as_they_are_meant() {
        for (address, local, domain) in [
            ("Ann.Lee@Example.ORG.", "Ann.Lee", "example.org"),
            ("PostMaster", "postmaster", "hub.example"),
            ("\"a \\\" c\"@d", "a \" c", "d"),
            ("\"\"@d", "", "d"),
        ] {
            let parts = Parts::of(&address.parse().unwrap(), "hub.example");
            assert_eq!((parts.local.as_str(), parts.domain.as_str()), (local, domain));
        }
    }
}
