//! In what two configurations differ, key by key, in the words of the file.
//!
//! Values are told of tables that hold none but numbers, times and sizes. Of
//! transports, listeners and routes only the name or the number: whatever secret
//! may stand in one must never be shown.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::Config;

/// Tables whose keys are told one by one, with their values.
const PLAIN_TABLES: [&str; 4] = ["delivery", "intake", "retry", "workers"];

/// A key that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The key, such as `workers.count`.
    pub key: String,
    /// Such as `2 -> 4`, `added` or `changed`.
    pub change: String,
}

/// Every key that differs.
pub fn differences(from: &Config, to: &Config) -> Vec<Difference> {
    let mut found = Vec::new();
    for (key, from, to) in pairs(&object(from), &object(to)) {
        match (from, to) {
            _ if PLAIN_TABLES.contains(&key) => add_plain(key, from, to, &mut found),
            (Value::Array(from), Value::Array(to)) => {
                let (from, to) = (from.len(), to.len());
                let what = if key == "listen" { "listeners" } else { "routes" };
                let change = if from == to { "changed".into() } else { format!("{from} -> {to} {what}") };
                found.push(Difference { key: key.into(), change });
            }
            (Value::Object(from), Value::Object(to)) => {
                found.extend(pairs(from, to).map(|(name, from, to)| {
                    let change = if from.is_null() {
                        "added"
                    } else if to.is_null() {
                        "removed"
                    } else {
                        "changed"
                    };
                    Difference { key: format!("{key}.{name}"), change: change.into() }
                }))
            }
            (from, to) => add_plain(key, from, to, &mut found),
        }
    }
    found
}

fn object(config: &Config) -> Map<String, Value> {
    match serde_json::to_value(config) {
        Ok(Value::Object(object)) => object,
        other => panic!("a configuration is an object with keys that are text: {other:?}"),
    }
}

/// What is in one of two tables and not the same in the other; null where it is
/// missing.
fn pairs<'a>(
    from: &'a Map<String, Value>,
    to: &'a Map<String, Value>,
) -> impl Iterator<Item = (&'a str, &'a Value, &'a Value)> {
    let added = to.keys().filter(|key| !from.contains_key(*key));
    let value = |table: &'a Map<String, Value>, key| table.get(key).unwrap_or(&Value::Null);
    let pairs = from.keys().chain(added).map(move |key| (key.as_str(), value(from, key), value(to, key)));
    pairs.filter(|(_, from, to)| from != to)
}

fn add_plain(key: &str, from: &Value, to: &Value, found: &mut Vec<Difference>) {
    if let (Value::Object(from), Value::Object(to)) = (from, to) {
        for (name, from, to) in pairs(from, to) {
            add_plain(&format!("{key}.{name}"), from, to, found);
        }
        return;
    }
    let shown = |value: &Value| if value.is_null() { "default".to_owned() } else { value.to_string() };
    found.push(Difference { key: key.into(), change: format!("{} -> {}", shown(from), shown(to)) });
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::config::tests::parse;

    const PLAIN: &str = "spool = \"a\"\nhostname = \"mx\"\n[[listen]]\naddress = \"127.0.0.1:1\"\n\
        [workers]\ncount = 2\n[transport.a]\ntype = \"maildir\"\npath = \"x\"\n[[route]]\ndeliver = \"a\"\n";

    /// How the plain configuration with a replacement differs from the plain one.
    fn told(old: &str, new: &str) -> Vec<String> {
        assert!(PLAIN.contains(old), "{old}");
        let (from, to) = (parse(PLAIN).unwrap(), parse(&PLAIN.replace(old, new)).unwrap());
        differences(&from, &to).into_iter().map(|found| format!("{}: {}", found.key, found.change)).collect()
    }

    #[test]
    fn what_is_the_same_is_no_difference() {
        assert_eq!(told("count = 2", "# a comment\ncount = 2\nmemory = \"24MiB\""), [""; 0]);
    }

    #[test]
    fn keys_are_told_with_their_values() {
        assert_eq!(told("\"a\"\nhost", "\"b\"\nhost"), [r#"spool: "/base/a" -> "/base/b""#]);
        assert_eq!(told("count = 2", "count = 4"), ["workers.count: 2 -> 4"]);
        let more = "count = 2\nmemory = \"1GiB\"\nspares = 5\nlimits = { parts = 7 }\nfaults = { crash = { pass = \"a\" } }";
        let parts = lazaret_route::Limits::default().parts;
        let expected = [
            r#"workers.faults.crash: default -> {"pass":"a"}"#.to_owned(),
            format!("workers.limits.parts: {parts} -> 7"),
            r#"workers.memory: "24MiB" -> "1GiB""#.to_owned(),
            "workers.spares: default -> 5".to_owned(),
        ];
        assert_eq!(told("count = 2", more), expected);
        let tables = "[intake]\nmemory_pressure = \"20%\"\n[retry]\nmax = \"2h\"\n[workers]";
        let expected = [r#"intake.memory_pressure: "10%" -> "20%""#, r#"retry.max: "1h" -> "2h""#];
        assert_eq!(told("[workers]", tables), expected);
    }

    #[test]
    fn what_may_hold_a_secret_is_told_without_it() {
        assert_eq!(told("path = \"x\"", "path = \"y\""), ["transport.a: changed"]);
        let renamed = PLAIN.split_once("count = 2\n").unwrap().1;
        assert_eq!(
            told(renamed, &renamed.replace("transport.a", "transport.b").replace("\"a\"", "\"b\"")),
            ["route: changed", "transport.a: removed", "transport.b: added"]
        );
        assert_eq!(told("127.0.0.1:1", "127.0.0.1:2"), ["listen: changed"]);
        let (listener, route) =
            ("[[listen]]\n[[listen]]\n", "[[route]]\nrecipient = \"*@x\"\ndeliver = \"a\"\n[[route]]\n");
        assert_eq!(told("[[listen]]\n", listener), ["listen: 1 -> 2 listeners"]);
        assert_eq!(told("[[route]]\n", route), ["route: 1 -> 2 routes"]);
    }
}
