//! `lazaret config show`: every value in force, and where it comes from.
//!
//! Keys are those of the file, one a line. What holds is asked of the checked
//! configuration; where a value comes from, of the text that it was read from. No
//! key may be left out: that a value is not shown must never hide it.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::{Config, EMBEDDED, load_with_text};
use crate::exit::{self, Failure};
use lazaret_operator::Source;

/// One value in force.
struct InForce {
    /// Such as `workers.memory` or `listen[0].address`.
    key: String,
    value: Value,
    /// `FILE:LINE`; `None` where nothing is written and the default holds.
    place: Option<String>,
}

/// `lazaret config show`
pub fn show(named: Option<&Path>, as_json: bool) -> Result<ExitCode, Failure> {
    let (config, text) = load_with_text(named)?;
    let file =
        config.file.as_deref().map_or("embedded default".to_owned(), |file| file.display().to_string());
    let values = in_force(&config, &Source { file: &file, text: &text });
    exit::print(if as_json { json_text(&values) } else { plain_text(&values) })?;
    Ok(ExitCode::SUCCESS)
}

fn in_force(config: &Config, source: &Source<'_>) -> Vec<InForce> {
    let mut values = Vec::new();
    let whole = serde_json::to_value(config).expect("a configuration has keys that are text");
    flatten(String::new(), whole, &mut |key, value| {
        let embedded = Source { file: "embedded default", text: EMBEDDED };
        // What a file leaves out as a whole comes from the embedded one.
        let table = key.split(['.', '[']).next().unwrap_or(&key);
        let left_out = !source.has(table);
        let place = source.line(&key).or_else(|| embedded.line(&key).filter(|_| left_out));
        values.push(InForce { key, value, place });
    });
    values
}

/// Every value that is no table, under its whole key.
fn flatten(key: String, value: Value, each: &mut impl FnMut(String, Value)) {
    match value {
        Value::Object(table) if !table.is_empty() => {
            for (name, value) in table {
                let path = if key.is_empty() { name } else { format!("{key}.{name}") };
                flatten(path, value, each);
            }
        }
        Value::Array(tables) if tables.iter().any(Value::is_object) => {
            for (at, value) in tables.into_iter().enumerate() {
                flatten(format!("{key}[{at}]"), value, each);
            }
        }
        value => each(key, value),
    }
}

fn plain_text(values: &[InForce]) -> String {
    let mut text = String::new();
    let width = values.iter().map(|value| value.key.len()).max().unwrap_or(0);
    for InForce { key, value, place } in values {
        let value = if value.is_null() { "(not set)".to_owned() } else { value.to_string() };
        let place = place.as_deref().unwrap_or("default");
        let _ = writeln!(text, "{key:width$} = {value:<24}  # {place}");
    }
    text
}

fn json_text(values: &[InForce]) -> String {
    let value =
        |InForce { key, value, place }: &InForce| json!({ "key": key, "value": value, "place": place });
    let values: Vec<Value> = values.iter().map(value).collect();
    format!("{:#}\n", Value::Array(values))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::parse;

    fn places(text: &str) -> Vec<String> {
        let source = Source { file: "lazaret.toml", text };
        let told = |value: &InForce| {
            format!("{} = {} # {}", value.key, value.value, value.place.as_deref().unwrap_or("default"))
        };
        in_force(&parse(text).unwrap(), &source).iter().map(told).collect()
    }

    #[test]
    fn every_value_tells_where_it_comes_from() {
        let told = places(
            "spool = \"here\"\n[workers]\ncount = 3\nlimits = { parts = 7 }\n[[listen]]\n[[listen]]\n\
             address = \"127.0.0.1:0\"\nsessions = 5\n",
        );
        for line in [
            "spool = \"/base/here\" # lazaret.toml:1",
            "workers.count = 3 # lazaret.toml:3",
            "workers.memory = \"24MiB\" # default",
            "workers.limits.parts = 7 # lazaret.toml:4",
            "workers.limits.recipients = 500000 # default",
            "listen[0].sessions = 100 # default",
            "listen[1].sessions = 5 # lazaret.toml:8",
        ] {
            assert!(told.iter().any(|told| told == line), "{line} is not in {told:#?}");
        }
        let embedded = "transport.mailboxes.path = \"/base/mail/{domain}/{local}\" # embedded default:";
        assert!(told.iter().any(|told| told.starts_with(embedded)), "{told:#?}");
    }
}
