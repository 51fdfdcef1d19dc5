//! What a next hop offers in its answer to EHLO or LHLO.
//!
//! What was not offered must never be used.

use crate::reply::Reply;
use crate::xforward::Attributes;

/// The extensions that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offer {
    /// PIPELINING (RFC 2920)
    pub pipelining: bool,
    /// SIZE (RFC 1870), with the largest message in bytes; 0 if none is named.
    pub size: Option<u64>,
    /// 8BITMIME (RFC 6152)
    pub eight_bit_mime: bool,
    /// SMTPUTF8 (RFC 6531)
    pub smtputf8: bool,
    /// DSN (RFC 3461)
    pub dsn: bool,
    /// REQUIRETLS (RFC 8689). It counts only where it is offered by who has shown
    /// under TLS that he is who he says.
    pub requiretls: bool,
    /// CHUNKING (RFC 3030)
    pub chunking: bool,
    /// STARTTLS (RFC 3207)
    pub starttls: bool,
    /// AUTH with PLAIN among its mechanisms (RFC 4954).
    pub auth_plain: bool,
    /// AUTH with LOGIN.
    pub auth_login: bool,
    /// XFORWARD, with what may be told.
    pub xforward: Attributes,
}

impl Offer {
    /// Reads the answer to EHLO or LHLO. RFC 5321 section 4.1.1.1: its first
    /// line is the name of the host, and unknown keywords are ignored.
    #[must_use]
    pub fn parse(reply: &Reply) -> Self {
        let mut offer = Self::default();
        for line in reply.text.iter().skip(1) {
            let mut words = line.as_str().split_ascii_whitespace();
            let keyword = words.next().unwrap_or_default().to_ascii_uppercase();
            match keyword.as_str() {
                "PIPELINING" => offer.pipelining = true,
                "SIZE" => offer.size = Some(words.next().and_then(|max| max.parse().ok()).unwrap_or(0)),
                "8BITMIME" => offer.eight_bit_mime = true,
                "SMTPUTF8" => offer.smtputf8 = true,
                "DSN" => offer.dsn = true,
                "CHUNKING" => offer.chunking = true,
                "STARTTLS" => offer.starttls = true,
                "AUTH" => words.for_each(|mechanism| {
                    offer.auth_plain |= mechanism.eq_ignore_ascii_case("PLAIN");
                    offer.auth_login |= mechanism.eq_ignore_ascii_case("LOGIN");
                }),
                "XFORWARD" => offer.xforward = Attributes::offered(words),
                "REQUIRETLS" => offer.requiretls = true,
                _ => {}
            }
        }
        offer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ReplyParser;

    #[test]
    fn keywords_are_read_in_any_case_after_the_first_line() {
        let mut text =
            &b"250-DSN greets\r\n250-pipelining\r\n250-SIZE 9\r\n250-XDSN\r\n250 8bitmime x\r\n"[..];
        let offer = Offer::parse(&ReplyParser::default().feed(&mut text).unwrap().unwrap());
        let expected = Offer { pipelining: true, size: Some(9), eight_bit_mime: true, ..Offer::default() };
        assert_eq!(offer, expected);
        let mut text = &b"250-x\r\n250-StartTLS\r\n250 AUTH cram-md5 login plain\r\n"[..];
        let offer = Offer::parse(&ReplyParser::default().feed(&mut text).unwrap().unwrap());
        assert!(offer.starttls && offer.auth_plain && offer.auth_login);
        for (line, size) in [("SIZE", 0), ("SIZE x", 0), ("SIZE 18446744073709551615", u64::MAX)] {
            let text = format!("250-x\r\n250 {line}\r\n");
            let reply = ReplyParser::default().feed(&mut text.as_bytes()).unwrap().unwrap();
            assert_eq!(Offer::parse(&reply).size, Some(size));
        }
    }
}
