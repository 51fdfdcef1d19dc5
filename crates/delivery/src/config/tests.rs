//! What the tables say, and what they must not.

use lazaret_envelope::ByteSize;

use super::*;
use crate::smtp::config::{BreakerConfig, Timeouts, TlsLevel, Without8BitMime};

#[derive(Debug, Deserialize, Serialize, PartialEq)]
struct File {
    transport: BTreeMap<String, TransportConfig>,
    #[serde(default)]
    retry: RetryConfig,
    #[serde(default)]
    delivery: DeliveryConfig,
}

fn check(text: &str) -> Result<(), String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
    let config = Config {
        hostname: "mx.example".into(),
        transports: file.transport,
        retry: file.retry,
        connections: file.delivery.connections,
    };
    config.check().map_err(|error| error.to_string())
}

#[test]
fn defaults_are_those_that_the_documentation_names() {
    let text = "[transport.m]\ntype = 'maildir'\npath = '/m/{address}'\n\
                [transport.s]\ntype = 'smtp'\nnext_hops = ['localhost:25', '[::1]:26']\n\
                [transport.s.timeouts]\ngreeting = '5m'";
    let file: File = toml::from_str(text).unwrap();
    let maildir = MaildirConfig { path: "/m/{address}".into(), workers: 4, queue: 1000 };
    assert_eq!(file.transport["m"], TransportConfig::Maildir(maildir));
    let timeouts = Timeouts { greeting: Duration::from_secs(300), ..Timeouts::default() };
    let next_hops = vec!["localhost:25".into(), "[::1]:26".into()];
    let smtp = SmtpConfig {
        next_hops,
        connections: 20,
        queue: 1000,
        recipients_per_transaction: 1000,
        timeouts,
        breaker: BreakerConfig::default(),
        xforward: false,
        without_8bitmime: Without8BitMime::Send,
        tls: TlsLevel::Off,
        tls_ca: "/etc/ssl/certs/ca-certificates.crt".into(),
        tls_name: None,
        user: None,
        password_file: None,
        auth_unencrypted: false,
        least_progress: ByteSize(64 << 10),
    };
    assert_eq!(file.transport["s"], TransportConfig::Smtp(smtp));
    assert_eq!(
        file.retry,
        RetryConfig {
            first: Duration::from_secs(60),
            max: Duration::from_secs(3600),
            lifetime: Duration::from_secs(5 * 24 * 3600),
            bounce_lifetime: Duration::from_secs(5 * 24 * 3600),
            attempts: 10,
            delay_notice: Duration::from_secs(4 * 3600),
        }
    );
    assert_eq!(toml::from_str::<File>(&toml::to_string(&file).unwrap()).unwrap(), file);
    assert_eq!(check(text), Ok(()));
}

#[test]
fn mistakes_name_the_table_the_key_and_the_fix() {
    const SMTP: &str = "[transport.s]\ntype = 'smtp'\n";
    const MAILDIR: &str = "[transport.m]\ntype = 'maildir'\n";
    for (table, text, parts) in [
        ("", "[transport.'a b']\ntype = 'maildir'\npath = '/m'", ["[transport.\"a b\"]", "letters"]),
        ("", "[transport.loop]\ntype = 'discard'", ["[transport.loop]", "choose another name"]),
        ("", "[transport.operator]\ntype = 'discard'", ["[transport.operator]", "choose another name"]),
        (SMTP, "next_hops = []", ["[transport.s] next_hops", "10026"]),
        (SMTP, "next_hops = ['::1:25']", ["\"::1:25\"", "host:port"]),
        (SMTP, "next_hops = ['a:0']", ["\"a:0\"", "host:port"]),
        (SMTP, "next_hops = ['a']", ["\"a\"", "host:port"]),
        (SMTP, "next_hops = ['a:1']\nconnections = 0", ["connections: 0", "1 to 1000"]),
        (SMTP, "next_hops = ['a:1']\nrecipients_per_transaction = 1001", ["recipients_per_tr", "1 to 1000"]),
        (SMTP, "next_hops = ['a:1']\nconections = 5", ["unknown field `conections`", "connections"]),
        (SMTP, "next_hops = ['a:1']\ntimeouts = { data = '0s' }", ["timeouts.data", "longer than 0s"]),
        (SMTP, "next_hops = ['a:1']\ntls = 'on'", ["unknown variant `on`", "opportunistic"]),
        (SMTP, "next_hops = ['a:1']\ntls_name = 'a b'", ["[transport.s] tls_name", "mx.example.org"]),
        (SMTP, "next_hops = ['unix:/x']\ntls = 'verified'", ["tls_name", "Unix socket has no name"]),
        (SMTP, "next_hops = ['a:1']\nuser = 'x'", ["[transport.s] user", "needs password_file"]),
        (SMTP, "next_hops = ['a:1']\npassword_file = 'x'", ["password_file", "needs user"]),
        (SMTP, "next_hops = ['a:1']\nuser = ''\npassword_file = 'x'", ["user", "no name that could be said"]),
        (
            SMTP,
            "next_hops = ['a:1']\nuser = 'x'\npassword_file = 'x'\ntls = 'opportunistic'",
            ["only under TLS", "auth_unencrypted = true"],
        ),
        (SMTP, "next_hops = ['unix:']", ["\"unix:\"", "unix:/path"]),
        (SMTP, "next_hops = ['a:1']\n[delivery]\nconnections = 0", ["[delivery] connections: 0", "from 1"]),
        (SMTP, "next_hops = ['a:1']\nbreaker = { failures = 0 }", ["breaker", "at least 1"]),
        (SMTP, "next_hops = ['a:1']\nbreaker = { pause_first = '3m' }", ["breaker", "not longer than"]),
        (SMTP, "next_hops = ['a:1']\ntimeouts = { data = '5' }", ["\"5\" is no span of time", "\"30s\""]),
        (MAILDIR, "path = '/m/{user}'", ["[transport.m] path", "{user}"]),
        (MAILDIR, "path = '/m'\nworkers = 1001", ["workers: 1001", "1 to 1000"]),
        (MAILDIR, "path = '/m'\nqueue = 0", ["queue: 0", "1 to 100000"]),
        (MAILDIR, "path = '/m'\n[retry]\nfirst = '2h'", ["[retry] max: 1h is shorter", "first = 2h"]),
        (MAILDIR, "path = '/m'\n[retry]\nmax = '1s'", ["[retry] max: 1s is shorter", "first = 1m"]),
        (MAILDIR, "path = '/m'\n[retry]\nfirst = '0s'", ["[retry] first", "longer than 0s"]),
        (MAILDIR, "path = '/m'\n[retry]\nlast = '2h'", ["unknown field `last`", "first"]),
        ("", "[transport.x]\ntype = 'discard'\npath = '/m'", ["unknown field `path`", ""]),
        ("", "[transport.x]\ntype = 'uucp'", ["unknown variant `uucp`", "maildir"]),
    ] {
        let error = check(&format!("{table}{text}")).unwrap_err();
        assert!(parts.iter().all(|part| error.contains(part)), "{text}: {error}");
    }
    let config = Config {
        hostname: "a b".into(),
        transports: BTreeMap::new(),
        retry: RetryConfig::default(),
        connections: 1,
    };
    assert!(matches!(config.check(), Err(ConfigError::Hostname(_))));
}
