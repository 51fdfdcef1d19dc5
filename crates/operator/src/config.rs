//! The configuration: a TOML file, or the embedded default where there is none.
//!
//! Filled up with defaults and checked as a whole, once. An error names file, line
//! and column, and what would be right. What is in [`Config`] must never be
//! invalid.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lazaret_delivery::{DeliveryConfig, RetryConfig, TransportConfig};
use lazaret_intake::ListenConfig;
use lazaret_route::{RouteConfig, RouteTable, TableError};
use lazaret_worker::WorkersConfig;
use serde::{Deserialize, Serialize};

use crate::{ConfigError, IntakeConfig, Source, bounds};

/// What holds where nothing is said, and, commented out, every other key.
pub const EMBEDDED: &str = include_str!("embedded.toml");

/// Everything that is configured, checked. Written as JSON its keys are those of
/// the file.
#[derive(Debug, Clone, Serialize)]
pub struct Config {
    /// The file it comes from; `None` for the embedded default.
    #[serde(skip)]
    pub file: Option<PathBuf>,
    /// Where the spool is.
    pub spool: PathBuf,
    /// The name of this host in `Received:` and in SMTP.
    pub hostname: String,
    /// Where mail comes in.
    pub listen: Vec<ListenConfig>,
    /// When no mail comes in.
    pub intake: IntakeConfig,
    /// The workers and what a message may cost.
    pub workers: WorkersConfig,
    /// Where mail can go.
    #[serde(rename = "transport")]
    pub transports: BTreeMap<String, TransportConfig>,
    /// What all transports share.
    pub delivery: DeliveryConfig,
    /// When what failed is tried again.
    pub retry: RetryConfig,
    /// Which mail goes where.
    #[serde(rename = "route")]
    pub routes: Vec<RouteConfig>,
}

/// The file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    spool: Option<PathBuf>,
    hostname: Option<String>,
    listen: Option<Vec<ListenConfig>>,
    #[serde(default)]
    intake: IntakeConfig,
    #[serde(default)]
    workers: WorkersConfig,
    transport: Option<BTreeMap<String, TransportConfig>>,
    #[serde(default)]
    delivery: DeliveryConfig,
    #[serde(default)]
    retry: RetryConfig,
    route: Option<Vec<RouteConfig>>,
}

impl Written {
    fn parse(source: &Source<'_>) -> Result<Self, ConfigError> {
        toml::from_str(source.text).map_err(|error| source.error(error.span(), error.message()))
    }

    /// An empty path would be the folder that paths start from.
    fn check_paths(&self, source: &Source<'_>) -> Result<(), ConfigError> {
        if self.spool.as_ref().is_some_and(|spool| spool.as_os_str().is_empty()) {
            return Err(source.error(source.place("spool"), "spool: name a folder, such as \"spool\""));
        }
        let empty = |transport: &TransportConfig| matches!(transport, TransportConfig::Maildir(maildir) if maildir.path.is_empty());
        let mut named = self.transport.iter().flatten();
        named.find(|(_, transport)| empty(transport)).map_or(Ok(()), |(name, _)| {
            let what =
                format!("[transport.{name}] path: name a folder, such as \"mail/{{domain}}/{{local}}\"");
            Err(source.error(source.place(&format!("transport.{name}.path")), what))
        })
    }
}

impl Config {
    /// What a text says. `file` is remembered as its file; paths in it are relative to
    /// `base`.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn parse(source: &Source<'_>, file: Option<&Path>, base: &Path) -> Result<Self, ConfigError> {
        let written = Written::parse(source)?;
        written.check_paths(source)?;
        let embedded = Written::parse(&Source { file: "embedded default", text: EMBEDDED })?;
        let hostname = written.hostname.clone().unwrap_or_else(own_hostname);
        let spool = written.spool.clone().or(embedded.spool).expect("the embedded default names a spool");
        let transports =
            written.transport.as_ref().or(embedded.transport.as_ref()).expect("so it does a transport");
        // The embedded route leads to the embedded transport: they go together.
        let embedded_routes = embedded.route.filter(|_| written.transport.is_none()).unwrap_or_default();
        let routes = written.route.as_ref().unwrap_or(&embedded_routes);
        let config = Self {
            file: file.map(Path::to_owned),
            spool: base.join(spool),
            hostname,
            listen: written.listen.clone().or(embedded.listen).unwrap_or_default(),
            intake: written.intake.clone(),
            workers: written.workers.clone(),
            transports: transports.clone(),
            delivery: written.delivery,
            retry: written.retry,
            routes: routes.clone(),
        };
        let config = config.based_on(base);
        config.check(source)?;
        Ok(config)
    }

    /// Whether the parts fit each other.
    fn check(&self, source: &Source<'_>) -> Result<(), ConfigError> {
        if let Err(error) = RouteTable::compile(&self.routes) {
            let path = match &error {
                TableError::Route { route, key, .. } => Some(format!("route[{}].{key}", route - 1)),
                TableError::TooManyRoutes(_) => None,
            };
            return Err(source.error(path.and_then(|path| source.place(&path)), error));
        }
        for (at, route) in self.routes.iter().enumerate() {
            if let Some(name) = route.deliver.as_ref().filter(|name| !self.transports.contains_key(*name)) {
                let names: Vec<&str> = self.transports.keys().map(String::as_str).collect();
                let names = names.join(", ");
                let what = format!(
                    "route {}: deliver = {name:?}: there is no such transport; there is {names}",
                    at + 1
                );
                return Err(source.error(source.place(&format!("route[{at}].deliver")), what));
            }
        }
        for (at, listen) in self.listen.iter().enumerate() {
            let place = || source.place(&format!("listen[{at}]"));
            listen.check().map_err(|error| source.error(place(), format!("listener {}: {error}", at + 1)))?;
        }
        self.check_faults(source)?;
        for wrong in [bounds::too_small, bounds::address_twice, bounds::mail_in_spool] {
            if let Some((key, what)) = wrong(self) {
                return Err(source.error(source.place(&key), what));
            }
        }
        self.delivery().check().map_err(|error| {
            let place = error.key().and_then(|key| source.place(&key));
            source.error(place, error)
        })
    }

    /// Whether mail that is to pass has a transport.
    fn check_faults(&self, source: &Source<'_>) -> Result<(), ConfigError> {
        let mut passes = self.workers.faults.passes();
        let Some((cause, name)) = passes.find(|(_, name)| !self.transports.contains_key(*name)) else {
            return Ok(());
        };
        let names: Vec<&str> = self.transports.keys().map(String::as_str).collect();
        let names = names.join(", ");
        let what = format!(
            "workers.faults: {cause} = {{ pass = {name:?} }}: there is no such transport; there is {names}"
        );
        Err(source.error(source.place(&format!("workers.faults.{cause}.pass")), what))
    }

    /// What is not wrong and hardly meant.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let table = RouteTable::compile(&self.routes).expect("a configuration is checked");
        let mut warnings = Vec::new();
        match table.catch_all() {
            None => warnings.push(
                "no route without conditions: mail that no route matches is deferred (cause no-route); \
                 a last [[route]] with only `deliver` takes everything else"
                    .to_owned(),
            ),
            Some(at) if at < self.routes.len() => warnings.push(format!(
                "route {at} has no condition and takes everything: no route behind it is ever asked; make it the last \
                 [[route]]"
            )),
            Some(_) => {}
        }
        let passes = || self.workers.faults.passes();
        let used =
            |name: &str| table.deliveries().chain(passes().map(|(_, name)| name)).any(|used| used == name);
        for name in self.transports.keys().filter(|name| !used(name)) {
            warnings.push(format!("no route delivers to transport {name:?}"));
        }
        for (cause, transport) in passes() {
            warnings.push(format!(
                "workers.faults: mail that faults for {cause} passes unfiltered by transport {transport:?}: \
                 no route is asked, so rejects and holds are bypassed, and what is made to fault gets through"
            ));
        }
        let max_size = self.workers.max_size;
        // Dots that are doubled, and the commands, come on top of it.
        let tight = |listen: &ListenConfig| listen.session_bytes.0 / 2 < max_size.0;
        for (at, listen) in self.listen.iter().enumerate().filter(|(_, listen)| tight(listen)) {
            warnings.push(format!(
                "listener {}: session_bytes, {}, is less than twice workers.max_size, {max_size}: the largest \
                 messages may not come in",
                at + 1,
                listen.session_bytes
            ));
        }
        warnings
    }

    /// What of this a daemon can put in force that has started with `running`: all
    /// but what it has bound itself to.
    #[must_use]
    pub fn reloaded_into(self, running: &Self) -> Self {
        let Self { spool, hostname, listen, .. } = running.clone();
        Self { spool, hostname, listen, ..self }
    }

    /// What delivery needs of it.
    #[must_use]
    pub fn delivery(&self) -> lazaret_delivery::Config {
        lazaret_delivery::Config {
            hostname: self.hostname.clone(),
            transports: self.transports.clone(),
            retry: self.retry,
            connections: self.delivery.connections,
        }
    }

    /// Makes paths of transports and listeners absolute.
    fn based_on(mut self, base: &Path) -> Self {
        self.listen = self.listen.into_iter().map(|listen| listen.based_on(base)).collect();
        for transport in self.transports.values_mut() {
            match transport {
                TransportConfig::Maildir(maildir) => {
                    maildir.path = base.join(&maildir.path).to_string_lossy().into_owned();
                }
                TransportConfig::Smtp(smtp) | TransportConfig::Lmtp(smtp) => {
                    *smtp = smtp.clone().based_on(base);
                }
                TransportConfig::Pipe(_) | TransportConfig::Discard(_) => {}
            }
        }
        self
    }
}

/// The name of this host; `localhost` if it has none that mail could bear.
fn own_hostname() -> String {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy();
    let fine = !name.is_empty()
        && name
            .split('.')
            .all(|label| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
    if fine { name.into_owned() } else { "localhost".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(&Source { file: "lazaret.toml", text }, None, Path::new("/base"))
    }

    #[test]
    fn the_embedded_default_is_right() {
        let config = parse(EMBEDDED).unwrap();
        assert_eq!(config.spool, Path::new("/base/spool"));
        assert_eq!(config.warnings(), Vec::<String>::new());
        let TransportConfig::Maildir(maildir) = &config.transports["mailboxes"] else { panic!("no maildir") };
        assert_eq!(maildir.path, "/base/mail/{domain}/{local}");
    }

    #[test]
    fn an_empty_file_means_the_default() {
        let (empty, embedded) = (parse("").unwrap(), parse(EMBEDDED).unwrap());
        assert_eq!(empty.routes, embedded.routes);
        assert_eq!(empty.listen, embedded.listen);
    }

    #[test]
    fn errors_name_file_line_and_column() {
        for (text, start, part) in [
            ("spool = 3\n", "lazaret.toml:1:9: ", "invalid type"),
            ("[workers]\nmemory = \"24MB\"\n", "lazaret.toml:2:10: ", "such as \"24MiB\""),
            ("[workers]\nmemry = 3\n", "lazaret.toml:2:1: ", "unknown field `memry`"),
            (
                "\n[[route]]\ndeliver = \"away\"\n",
                "lazaret.toml:3:11: ",
                "there is no such transport; there is mailboxes",
            ),
            ("[[route]]\nrecipient = \"*@*\"\n", "lazaret.toml:1:1: ", "route 1"),
            ("\nhostname = \"a b\"\n", "lazaret.toml:2:12: ", "hostname: \"a b\""),
            ("[retry]\nattempts = 0\n", "lazaret.toml:2:12: ", "[retry] attempts"),
            (
                "[transport.a]\ntype = \"smtp\"\nnext_hops = [\"x\"]\n[[route]]\ndeliver = \"a\"\n",
                "lazaret.toml:3:13: ",
                "[transport.a] next_hops: \"x\"",
            ),
            ("[transport.\"a b\"]\ntype = \"discard\"\n", "lazaret.toml:1:1: ", "[transport.\"a b\"]"),
            (
                "[transport.a]\ntype = \"pipe\"\ncommand = []\n",
                "lazaret.toml:3:11: ",
                "[transport.a] command",
            ),
            (
                "[transport.a]\ntype = \"maildir\"\npath = \"/m/{x}\"\n",
                "lazaret.toml:3:8: ",
                "[transport.a] path",
            ),
            (
                "[transport.a]\ntype = \"maildir\"\npath = \"/m\"\nqueue = 0\n",
                "lazaret.toml:4:9: ",
                "[transport.a] queue: 0",
            ),
            (
                "[transport.a]\ntype = \"smtp\"\nnext_hops = [\"x:1\"]\n[transport.a.timeouts]\ndata = \"0s\"\n",
                "lazaret.toml:5:8: ",
                "timeouts.data",
            ),
            (
                "[transport.a]\ntype = \"smtp\"\nnext_hops = [\"x:1\"]\ntls_name = \"a b\"\n",
                "lazaret.toml:4:12: ",
                "[transport.a] tls_name",
            ),
            (
                "[transport.a]\ntype = \"smtp\"\nnext_hops = [\"x:1\"]\nbreaker = { failures = 0 }\n",
                "lazaret.toml:4:11: ",
                "[transport.a] breaker",
            ),
            ("[delivery]\nconnections = 0\n", "lazaret.toml:2:15: ", "[delivery] connections: 0"),
            ("[retry]\nfirst = \"2h\"\nmax = \"1h\"\n", "lazaret.toml:3:7: ", "[retry] max"),
            ("\n[[listen]]\nidle_timeout = \"0s\"\n", "lazaret.toml:2:1: ", "listener 1: idle_timeout"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(start) && error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_bypass_is_told_and_must_lead_somewhere() {
        let text = |transport: &str| {
            format!(
                "[workers.faults]\nmemory = {{ pass = \"{transport}\" }}\n[transport.a]\ntype = \"maildir\"\npath = \"x\"\n\
                 [transport.b]\ntype = \"maildir\"\npath = \"y\"\n[[route]]\ndeliver = \"a\"\n"
            )
        };
        let warnings = parse(&text("b")).unwrap().warnings();
        assert!(warnings.len() == 1 && warnings[0].contains("memory passes unfiltered"), "{warnings:?}");
        let error = parse(&text("c")).unwrap_err().to_string();
        assert!(error.starts_with("lazaret.toml:2:19: ") && error.contains("there is a, b"), "{error}");
    }

    #[test]
    fn what_is_hardly_meant_is_told() {
        let text = "[transport.a]\ntype = \"maildir\"\npath = \"x\"\n[transport.b]\ntype = \"maildir\"\npath = \"y\"\n\
                    [[route]]\nrecipient = \"*@example.org\"\ndeliver = \"a\"\n";
        let warnings = parse(text).unwrap().warnings();
        assert!(warnings[0].contains("no-route") && warnings[1].contains("\"b\""), "{warnings:?}");
        let early = text.replace("recipient = \"*@example.org\"\n", "");
        let warnings = parse(&format!("{early}[[route]]\ndeliver = \"b\"\n")).unwrap().warnings();
        assert!(warnings.len() == 1 && warnings[0].contains("route 1 has no condition"), "{warnings:?}");
        let small = format!("{text}[[route]]\ndeliver = \"b\"\n[[listen]]\nsession_bytes = \"99MiB\"\n");
        let warnings = parse(&small).unwrap().warnings();
        assert!(
            warnings.len() == 1 && warnings[0].contains("listener 1: session_bytes, 99MiB"),
            "{warnings:?}"
        );
    }
}
