//! Clients that are named in the configuration, by address, by network, or as
//! whoever gets to a Unix socket.
//!
//! Only addresses count: a client's name is what it says, or what its DNS says. It
//! must never take one network for another because of how it is written.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// Where a session comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    /// An address; one of IPv4 is never written as IPv6.
    Ip(IpAddr),
    /// A Unix socket.
    Unix,
}

/// Some clients: `"192.0.2.7"`, `"127.0.0.0/8"`, `"2001:db8::/32"`, or `"unix"` for
/// whoever may connect to a Unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Clients(Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Network { address: IpAddr, bits: u8 },
    Unix,
}

/// What the clients of a Unix socket are called.
const UNIX: &str = "unix";

impl Clients {
    /// Whether a client is one of these.
    pub(crate) fn contain(self, peer: Peer) -> bool {
        match (self.0, peer) {
            (Kind::Unix, Peer::Unix) => true,
            (Kind::Network { address, bits }, Peer::Ip(peer)) => {
                address.is_ipv4() == peer.is_ipv4() && masked(peer, bits) == address
            }
            _ => false,
        }
    }
}

/// An address with all but its first `bits` bits taken away.
pub(crate) fn masked(address: IpAddr, bits: u8) -> IpAddr {
    let bits = u32::from(bits);
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - bits.min(32)).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - bits.min(128)).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

impl TryFrom<String> for Clients {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == UNIX {
            return Ok(Self(Kind::Unix));
        }
        let expected = || {
            format!("{text:?}: expected an address (\"192.0.2.7\"), a network (\"127.0.0.0/8\") or \"unix\"")
        };
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text.as_str(), None),
        };
        let address: IpAddr = address.parse().map_err(|_| expected())?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => all,
            Some(bits) => bits.parse().ok().filter(|&bits| bits <= all).ok_or_else(expected)?,
        };
        let network = masked(address, bits);
        if network != address {
            return Err(format!("{text:?} has bits behind its first {bits}: write \"{network}/{bits}\""));
        }
        Ok(Self(Kind::Network { address, bits }))
    }
}

impl From<Clients> for String {
    fn from(clients: Clients) -> Self {
        clients.to_string()
    }
}

impl fmt::Display for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Kind::Network { address, bits } => write!(f, "{address}/{bits}"),
            Kind::Unix => f.write_str(UNIX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clients(text: &str) -> Result<Clients, String> {
        text.to_owned().try_into()
    }

    #[test]
    fn networks_contain_their_addresses_and_no_others() {
        for (text, peer, inside) in [
            ("127.0.0.0/8", "127.255.0.1", true),
            ("127.0.0.0/8", "128.0.0.1", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.6", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "127.0.0.1", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::1", "::1", true),
        ] {
            let peer = Peer::Ip(peer.parse().unwrap());
            assert_eq!(clients(text).unwrap().contain(peer), inside, "{text} {peer:?}");
            assert!(!clients(text).unwrap().contain(Peer::Unix));
        }
        assert!(clients("unix").unwrap().contain(Peer::Unix));
        assert!(!clients("unix").unwrap().contain(Peer::Ip(Ipv4Addr::LOCALHOST.into())));
    }

    #[test]
    fn mistakes_are_named_and_what_is_right_is_written_back() {
        for (text, part) in [
            ("localhost", "expected an address"),
            ("127.0.0.1/33", "expected an address"),
            ("127.0.0.1/x", "expected an address"),
            ("::1/129", "expected an address"),
            ("127.0.0.1/8", "write \"127.0.0.0/8\""),
        ] {
            let error = clients(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        for text in ["127.0.0.0/8", "unix", "::1/128"] {
            assert_eq!(clients(text).unwrap().to_string(), text);
        }
    }
}
