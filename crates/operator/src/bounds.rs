//! What the values of a configuration must be at least, and where mail must not go:
//! values with which a daemon would start and do nothing useful.
//!
//! One list, so that each is refused with its place, the least value and why. It
//! must never look at the machine: a text is right or wrong wherever it is read.

use std::path::Path;

use lazaret_delivery::TransportConfig;
use lazaret_envelope::{ByteSize, Span};
use lazaret_intake::ListenAddress;
use lazaret_route::Limits;
use lazaret_worker::WorkersConfig;

use crate::Config;

/// A value that would stop all mail: the key's path, and what is wrong with it.
pub type Wrong = (String, String);

/// The first value that is less than anything could work with, and less than the
/// message needs on which each cell proves itself: with it, all mail would fault, and
/// be blamed for what is the configuration's fault.
pub fn too_small(config: &Config) -> Option<Wrong> {
    let workers = &config.workers;
    let (limits, least) = (&workers.limits, Limits::LEAST);
    let of = |value: ByteSize, least: ByteSize| (value < least).then(|| least.to_string());
    let no_time = |span: Span| span.0.is_zero().then(|| "1ms".to_owned());
    let limit = |value: usize, least: usize| (value < least).then(|| least.to_string());
    let none_fits = "parsing the least of mail needs that, so every message would be deferred";
    let none_has_less = "any mail has that, so every message would be deferred";
    let (memory, max_size) = (WorkersConfig::MEMORY_LEAST, WorkersConfig::MAX_SIZE_LEAST);
    let rows = [
        ("count", (workers.count < 1).then(|| "1".to_owned()), "nobody would route mail"),
        ("max_size", of(workers.max_size, max_size), "hardly any message would be taken in"),
        ("memory", of(workers.memory, memory), none_fits),
        ("cpu_time", no_time(workers.cpu_time), none_fits),
        ("wall_time", no_time(workers.wall_time), none_fits),
        ("limits.recipients", limit(limits.recipients, least.recipients), none_has_less),
        ("limits.header_bytes", limit(limits.header_bytes, least.header_bytes), none_has_less),
        ("limits.header_count", limit(limits.header_count, least.header_count), none_has_less),
        ("limits.parts", limit(limits.parts, least.parts), "one text with one attachment has that"),
        ("limits.nesting", limit(limits.nesting, least.nesting), "one text with one attachment has that"),
        ("limits.hops", limit(limits.hops, least.hops), "what any MTA has passed on would be refused"),
    ];
    rows.into_iter().find_map(|(key, least, why)| {
        let what = format!(
            "[workers] {key}: must be at least {}: {why}; raise it, or leave it out for the default",
            least?
        );
        Some((format!("workers.{key}"), what))
    })
}

/// The first Maildir that would lie in the spool, where all is Lazaret's own.
pub fn mail_in_spool(config: &Config) -> Option<Wrong> {
    config.transports.iter().find_map(|(name, transport)| {
        let TransportConfig::Maildir(maildir) = transport else { return None };
        let spool = config.spool.display();
        Path::new(&maildir.path).starts_with(&config.spool).then(|| {
            let what = format!(
                "[transport.{name}] path: {:?} is in the spool {spool}, where nothing else may be: \
                 choose a folder beside it",
                maildir.path
            );
            (format!("transport.{name}.path"), what)
        })
    })
}

/// The first listener whose address another one has already. Of port 0 each gets
/// another port.
pub fn address_twice(config: &Config) -> Option<Wrong> {
    let fixed = |address: &ListenAddress| !matches!(address, ListenAddress::Tcp(tcp) if tcp.port() == 0);
    config.listen.iter().enumerate().find_map(|(at, listen)| {
        let first = config.listen[..at].iter().position(|other| other.address == listen.address)?;
        fixed(&listen.address).then(|| {
            let what = format!(
                "listener {}: {} is the address of listener {} already: give it another, or leave it out",
                at + 1,
                listen.address,
                first + 1
            );
            (format!("listen[{at}].address"), what)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Source;

    fn refusal(text: &str) -> String {
        let source = Source { file: "lazaret.toml", text };
        Config::parse(&source, None, Path::new("/base")).expect_err(text).to_string()
    }

    #[test]
    fn what_stops_all_mail_is_refused_with_its_place() {
        for (text, start, part) in [
            ("[workers]\ncount = 0\n", "lazaret.toml:2:9: ", "count: must be at least 1"),
            ("[workers]\nmax_size = \"1023B\"\n", "lazaret.toml:2:12: ", "at least 1KiB"),
            ("[workers]\nmemory = \"1KiB\"\n", "lazaret.toml:2:10: ", "memory: must be at least 64KiB"),
            ("[workers]\ncpu_time = \"0s\"\n", "lazaret.toml:2:12: ", "at least 1ms"),
            ("[workers]\nwall_time = \"0s\"\n", "lazaret.toml:2:13: ", "at least 1ms"),
            (
                "[workers.limits]\nheader_count = 1\n",
                "lazaret.toml:2:16: ",
                "limits.header_count: must be at least 5",
            ),
            (
                "[workers.limits]\nheader_bytes = 9\n",
                "lazaret.toml:2:16: ",
                "every message would be deferred",
            ),
            (
                "[workers.limits]\nnesting = 1\n",
                "lazaret.toml:2:11: ",
                "at least 2: one text with one attachment",
            ),
            ("[workers]\nlimits = { parts = 2 }\n", "lazaret.toml:2:20: ", "leave it out for the default"),
            ("[workers.limits]\nhops = 0\n", "lazaret.toml:2:8: ", "any MTA"),
            ("\nspool = \"\"\n", "lazaret.toml:2:9: ", "spool: name a folder"),
        ] {
            let error = refusal(text);
            assert!(error.starts_with(start) && error.contains(part), "{error}");
        }
    }

    #[test]
    fn mail_does_not_go_into_the_spool_or_nowhere() {
        for path in ["spool", "spool/mail/{local}", "/base/spool/x"] {
            let error = refusal(&format!("[transport.a]\ntype = \"maildir\"\npath = \"{path}\"\n"));
            let said = error.starts_with("lazaret.toml:3:8: ") && error.contains("in the spool /base/spool");
            assert!(said, "{error}");
        }
        let error = refusal("[transport.a]\ntype = \"maildir\"\npath = \"\"\n");
        assert!(error.starts_with("lazaret.toml:3:8: ") && error.contains("path: name a folder"), "{error}");
    }

    #[test]
    fn no_two_listeners_have_one_address() {
        let two = |one: &str, other: &str| {
            format!("[[listen]]\naddress = \"{one}\"\n[[listen]]\naddress = \"{other}\"\n")
        };
        for address in ["127.0.0.1:10025", "unix:a.sock"] {
            let error = refusal(&two(address, address));
            assert!(error.starts_with("lazaret.toml:4:11: ") && error.contains("of listener 1"), "{error}");
        }
        for (one, other) in [("127.0.0.1:0", "127.0.0.1:0"), ("127.0.0.1:10025", "127.0.0.2:10025")] {
            let text = two(one, other);
            let source = Source { file: "lazaret.toml", text: &text };
            assert!(Config::parse(&source, None, Path::new("/base")).is_ok(), "{text}");
        }
    }
}
