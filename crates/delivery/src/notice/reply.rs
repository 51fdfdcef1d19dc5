//! What a line of the journal says of a next hop's reply: who said it, and the
//! status in it.
//!
//! A line is `HOST:PORT: CODE TEXT` or `unix:PATH: CODE TEXT` where a next hop
//! spoke; anything else is Lazaret's own word. It must never take a next hop's
//! word for another's name.

use lazaret_envelope::Line;

use super::Action;

/// The parts of a reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reply<'a> {
    /// The next hop that said it, without its port.
    pub(super) host: Option<&'a str>,
    /// Whether it is an SMTP reply.
    pub(super) is_smtp: bool,
    /// What was said, with its codes.
    pub(super) text: &'a str,
}

impl<'a> Reply<'a> {
    pub(super) fn parse(line: &'a Line) -> Self {
        let own = Self { host: None, is_smtp: false, text: line.as_str() };
        let Some((next_hop, text)) = line.as_str().split_once(": ") else { return own };
        if next_hop.starts_with("unix:") && !next_hop.contains(' ') {
            // A socket's path is no name that others could know.
            return Self { host: None, is_smtp: code(text).is_some(), text };
        }
        let Some((host, port)) = next_hop.rsplit_once(':') else { return own };
        let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        if !is_port || host.is_empty() || host.contains(' ') {
            return own;
        }
        Self { host: Some(host), is_smtp: code(text).is_some(), text }
    }

    /// The enhanced status code (RFC 3463): that of the reply where it has one that
    /// fits, else the least that can be said. RFC 3463 section 3.5: X.4.7 is
    /// "delivery time expired".
    pub(super) fn status(&self, action: Action) -> String {
        let class = match action {
            Action::Failed => "5",
            Action::Expired => return "4.4.7".to_owned(),
            Action::Delayed => "4",
            Action::Delivered | Action::Relayed => "2",
        };
        let after_code = if code(self.text).is_some() { &self.text[3..] } else { self.text };
        let word = after_code.trim_start_matches([' ', '-']).split(' ').next().unwrap_or_default();
        let said = word.split('.').collect::<Vec<_>>();
        let number =
            |part: &&str| (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        let fits = said.len() == 3 && said[0] == class && said.iter().all(number);
        if fits { word.to_owned() } else { format!("{class}.0.0") }
    }

    /// The next hop as a name of type `dns`: an address as RFC 5321 section 4.1.3
    /// writes it.
    pub(super) fn dns(&self) -> Option<String> {
        let host = self.host?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        Some(match bare.parse() {
            Ok(std::net::IpAddr::V4(address)) => format!("[{address}]"),
            Ok(std::net::IpAddr::V6(address)) => format!("[IPv6:{address}]"),
            Err(_) => host.to_owned(),
        })
    }
}

/// The three digits at the start of a reply.
fn code(text: &str) -> Option<&str> {
    let code = text.get(..3)?;
    let ends = matches!(text.as_bytes().get(3), None | Some(b' ' | b'-'));
    (ends && code.bytes().all(|byte| byte.is_ascii_digit())).then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_hops_are_told_from_our_own_words() {
        for (line, host, is_smtp, text) in [
            ("127.0.0.1:25: 550 5.1.1 who?", Some("127.0.0.1"), true, "550 5.1.1 who?"),
            ("[::1]:25: 450 x: y", Some("[::1]"), true, "450 x: y"),
            ("mx.example:25: no banner for 30s", Some("mx.example"), false, "no banner for 30s"),
            ("failed to open /a: b", None, false, "failed to open /a: b"),
            ("unix:/run/lmtp: 550 5.1.1 who?", None, true, "550 5.1.1 who?"),
            ("5.4.6 too many hops", None, false, "5.4.6 too many hops"),
            ("x", None, false, "x"),
        ] {
            let line = Line::escaped(line);
            assert_eq!(Reply::parse(&line), Reply { host, is_smtp, text }, "{line}");
        }
    }

    #[test]
    fn a_status_is_taken_where_it_fits() {
        use Action::*;
        for (text, action, status) in [
            ("h:25: 550 5.1.1 who?", Failed, "5.1.1"),
            ("h:25: 550 5.1.1", Failed, "5.1.1"),
            ("h:25: 550 who?", Failed, "5.0.0"),
            ("h:25: 450 4.2.0 busy", Failed, "5.0.0"),
            ("h:25: 450 4.2.0 busy", Delayed, "4.2.0"),
            ("h:25: 450 4.2.0 busy", Expired, "4.4.7"),
            ("h:25: 250 2.0.0 queued", Relayed, "2.0.0"),
            ("/mail/new/x", Delivered, "2.0.0"),
            ("5.4.6 too many hops", Failed, "5.4.6"),
            ("5.4.x6 odd", Failed, "5.0.0"),
            ("5.4.6789 odd", Failed, "5.0.0"),
            ("", Failed, "5.0.0"),
        ] {
            assert_eq!(Reply::parse(&Line::escaped(text)).status(action), status, "{text}");
        }
    }

    #[test]
    fn addresses_are_written_as_literals() {
        let dns = |text: &str| Reply::parse(&Line::escaped(text)).dns();
        assert_eq!(dns("127.0.0.1:25: 550 x"), Some("[127.0.0.1]".into()));
        assert_eq!(dns("[::1]:25: 550 x"), Some("[IPv6:::1]".into()));
        assert_eq!(dns("mx.example:25: 550 x"), Some("mx.example".into()));
        assert_eq!(dns("550 x"), None);
    }
}
