//! Configurations that can't work on this machine: refused when they are asked about,
//! at start and at a reload, with place, name and reason.
//!
//! Looks for the words that an operator needs, never for whole sentences. A daemon
//! that runs must never be disturbed by a configuration that is refused.

use std::time::Duration;

use serde_json::Value;

use crate::lab::{Config, Lab, cli, submitted};
use crate::trial::Case;
use crate::wait::until;

/// Longest time for one message to get anywhere.
const SHORT_TIME_MAX: Duration = Duration::from_secs(30);

/// Exit status for a configuration that is wrong (sysexits(3)).
const WRONG: Option<i32> = Some(78);

const RECIPIENT: &str = "desk@example.org";
const MESSAGE: &[u8] = b"From: sender@example.com\r\nSubject: x\r\n\r\ntext\r\n";

/// What is written, and what has to be said of it.
const LACKING: &[(&str, &[&str])] = &[
    (
        "[transport.program]\ntype = \"pipe\"\ncommand = [\"/bin/true\"]\nuser = \"nobody-of-that-name\"\n",
        &[
            "lazaret.toml:17:8: ",
            "[transport.program] user: \"nobody-of-that-name\"",
            "/etc/passwd",
            "add it",
        ],
    ),
    (
        "[[listen]]\nprotocol = \"lmtp\"\naddress = \"unix:x.sock\"\ntls = { certificate = \"no.pem\", key = \"k\" }\n",
        &["lazaret.toml:17:7: ", "listener 2: ", "/no.pem: can't be read: No such file"],
    ),
    (
        "[transport.hop]\ntype = \"smtp\"\nnext_hops = [\"127.0.0.1:9\"]\ntls = \"verified\"\ntls_ca = \"ca.pem\"\n",
        &["lazaret.toml:18:10: ", "[transport.hop] tls_ca: ", "/ca.pem: can't be read: No such file"],
    ),
    (
        "[transport.hop]\ntype = \"smtp\"\nnext_hops = [\"127.0.0.1:9\"]\ntls = \"required\"\nuser = \"x\"\n\
         password_file = \"secret\"\n",
        &["lazaret.toml:19:17: ", "[transport.hop] password_file: ", "/secret: ", "No such file"],
    ),
    (
        "[intake]\nreserve = \"1024TiB\"\n",
        &["lazaret.toml:15:11: ", "[intake] reserve: 1024TiB", "no mail would ever come in", "lower it"],
    ),
    ("[retry]\nmax = \"10s\"\n", &["lazaret.toml:15:7: ", "[retry] max: 10s is shorter", "first = 1m"]),
];

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![Case::new("config::what_the_machine_lacks_is_refused", what_the_machine_lacks)]
}

fn what_the_machine_lacks() {
    let lab = Lab::new();
    let daemon = lab.start();
    for (tables, words) in LACKING {
        lab.configure(&Config::default().tables(tables));
        let Err(start) = lab.try_start() else { panic!("{tables}: it starts") };
        assert_eq!(start.status.and_then(|status| status.code()), WRONG, "{start:?}");
        let [checked, json, reloaded] =
            [&["config", "check"][..], &["config", "check", "--json"], &["reload"]]
                .map(|args| cli(&lab, args));
        assert_eq!([checked.code, json.code, reloaded.code], [WRONG; 3], "{checked:?} {json:?} {reloaded:?}");
        for said in [&start.log, &checked.stderr, &reloaded.stderr] {
            assert!(words.iter().all(|word| said.contains(word)), "{words:?}: {said}");
        }
        let json: Value = serde_json::from_str(&json.stdout).unwrap_or_else(|error| panic!("{error}"));
        let place = format!("lazaret.toml:{}:{}: ", json["wrong"][0]["line"], json["wrong"][0]["column"]);
        assert_eq!((&json["right"], place.as_str()), (&Value::from(false), words[0]), "{json}");
        lab.configure(&Config::default());
        let id = submitted(&lab, RECIPIENT, MESSAGE);
        assert!(until(SHORT_TIME_MAX, || lab.mail().count(&id) == 1), "the daemon is disturbed");
    }
    let right = cli(&lab, &["config", "check", "--json"]);
    let json: Value =
        serde_json::from_str(&right.stdout).unwrap_or_else(|error| panic!("{error}: {right:?}"));
    assert_eq!((right.code, &json["right"], &json["wrong"]), (Some(0), &true.into(), &Value::Array(vec![])));
    assert_eq!(daemon.terminate().code(), Some(0));
}
