//! The whole configuration: a text is a checked configuration, which written out
//! again means the same, or an error that tells where in the text it is wrong.
//!
//! The input is a file. It must never cost more time than its length allows, nor
//! panic, whatever is in it.

use std::path::Path;

use lazaret_operator::{Config, ConfigError, Source};

use crate::cost;

/// How the file is called.
const FILE: &str = "lazaret.toml";

/// Longest file that is made of an input, in bytes.
const LONG_BYTES_MAX: usize = 32 << 10;

/// A byte costs this many times what one costs that is only looked at: it becomes a
/// key, a value, a part of a pattern.
const COST: usize = 20;

/// Looks at one input.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match parse(text) {
        Ok(config) => right(&config),
        Err(error) => wrong(&error, text),
    }
    long(text);
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(&Source { file: FILE, text }, None, Path::new("/base"))
}

fn right(config: &Config) {
    assert!(config.spool.is_absolute() && !config.hostname.is_empty());
    config.delivery().check().expect("it is checked");
    assert!(config.warnings().iter().all(|warning| !warning.is_empty()));
    for route in config.routes.iter().filter_map(|route| route.deliver.as_ref()) {
        assert!(config.transports.contains_key(route), "{route:?} leads nowhere");
    }
    let text = toml::to_string(config).expect("a configuration can be written");
    let again = parse(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let value = |config: &Config| serde_json::to_value(config).expect("its keys are text");
    assert_eq!(value(&again), value(config), "{text}");
}

fn wrong(error: &ConfigError, text: &str) {
    let (line, column) = error.place().unwrap_or_else(|| panic!("{error}: where in {text:?}?"));
    let shown = error.to_string();
    let said = shown.strip_prefix(&format!("{FILE}:{line}:{column}: "));
    assert!(said.is_some_and(|said| !said.is_empty()), "{shown}");
    // At the end of the text there is nothing, which may be what is wrong.
    let there = text.split('\n').nth(line - 1).unwrap_or_else(|| panic!("{shown}: there is no such line"));
    assert!((1..=there.chars().count() + 1).contains(&column), "{shown}: {there:?} is shorter");
}

/// The input with its middle part many times over.
fn long(text: &str) {
    let (a, b) = (text.floor_char_boundary(text.len() / 3), text.floor_char_boundary(text.len() * 2 / 3));
    let (head, unit, tail) = (&text[..a], &text[a..b], &text[b..]);
    if unit.is_empty() || text.len() > LONG_BYTES_MAX {
        return;
    }
    let text = format!("{head}{}{tail}", unit.repeat((LONG_BYTES_MAX - text.len()) / unit.len()));
    cost::assert_linear(text.len() * COST, || drop(parse(&text)));
}
