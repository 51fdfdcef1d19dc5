//! One `[[route]]` of the configuration, as it is written.
//!
//! The same types carry the table to the cell as JSON. Whether a glob or a name
//! makes sense is for [`RouteTable::compile`](crate::RouteTable::compile) to
//! say; these types must never accept a key that means nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One glob or several, any of which may match. In globs `*` stands for any run
/// of characters, dots, `@` and slashes included, `?` for one character, and
/// case does not matter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a glob or a list of globs")]
pub enum Globs {
    /// `"*@example.org"`
    One(String),
    /// `["*@example.org", "*@example.net"]`
    Many(Vec<String>),
}

impl Globs {
    /// The globs, in the order in which they are written.
    #[must_use]
    pub fn as_slice(&self) -> &[String] {
        match self {
            Self::One(glob) => std::slice::from_ref(glob),
            Self::Many(globs) => globs,
        }
    }
}

/// Writes the condition keys into both structs that have them: serde's
/// `flatten` would share them too, but then unknown keys pass and errors lose
/// their line. A later condition (`size`, `client`, `origin`) is a
/// line in the list below, a later action (`expand`, `rewrite`, `reject`,
/// `discard`, `hold`, `copy`, `add_header`) a field beside `deliver`.
macro_rules! with_condition_keys {
    ($($(#[doc = $doc:literal])* $key:ident: $type:ty,)*) => {
        /// The conditions of a combinator. All that are given must hold.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct ConditionConfig {
            $($(#[doc = $doc])* #[serde(skip_serializing_if = "Option::is_none")] pub $key: Option<$type>,)*
        }

        /// One `[[route]]`: conditions, all of which must hold, and one action.
        /// Without conditions it takes every recipient that comes to it.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct RouteConfig {
            $($(#[doc = $doc])* #[serde(skip_serializing_if = "Option::is_none")] pub $key: Option<$type>,)*
            /// Action: deliver by the transport of this name.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub deliver: Option<String>,
        }

        impl RouteConfig {
            /// The conditions without the action.
            #[must_use]
            pub fn condition(&self) -> ConditionConfig {
                ConditionConfig { $($key: self.$key.clone(),)* }
            }
        }
    };
}

with_condition_keys! {
    /// The recipient, as `local@domain`; a whole domain is `*@domain`.
    recipient: Globs,
    /// The envelope sender, as `local@domain`. The null sender `<>`, from whom
    /// bounces come, is written `"<>"` or `""`; `*` matches it too, `*@*` does not.
    sender: Globs,
    /// Field names and the glob that the text of one such field must match, with
    /// encoded words decoded and folds removed. Every field named must be there.
    header: BTreeMap<String, String>,
    /// The `type/subtype` of any part, at any depth, forwarded messages included.
    /// A part that does not say what it is counts as `text/plain`.
    part_type: Globs,
    /// The file name of any part, at any depth, as its Content-Disposition or its
    /// Content-Type tells it, decoded. A part without a file name matches nothing.
    part_name: Globs,
    /// Each of these must hold.
    all: Vec<ConditionConfig>,
    /// At least one of these must hold.
    any: Vec<ConditionConfig>,
    /// This must not hold.
    not: Box<ConditionConfig>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct File {
        route: Vec<RouteConfig>,
    }

    const EVERY_KEY: &str = r#"
        [[route]]
        recipient = "*@lists.example.org"
        sender = ["<>", "*@example.net"]
        header = { "List-Id" = "*", Subject = "*[urgent]*" }
        part_type = "application/*"
        part_name = ["*.exe", "*.scr"]
        all = [{ any = [{ sender = "a@b" }, { recipient = "c@d" }] }, { not = { part_type = "image/*" } }]
        deliver = "reinject"

        [[route]]
        deliver = "mailboxes"
    "#;

    #[test]
    fn routes_round_trip_through_json() {
        let routes = toml::from_str::<File>(EVERY_KEY).unwrap().route;
        assert_eq!(routes[1], RouteConfig { deliver: Some("mailboxes".into()), ..RouteConfig::default() });
        let json = serde_json::to_string(&routes).unwrap();
        assert!(json.ends_with(r#"{"deliver":"mailboxes"}]"#), "{json}");
        assert_eq!(serde_json::from_str::<Vec<RouteConfig>>(&json).unwrap(), routes);
    }

    #[test]
    fn mistakes_are_refused_where_they_stand() {
        for (text, line, what) in [
            ("[[route]]\ndeliver = 'x'\nrecpient = 'a'", 3, "recpient"),
            ("[[route]]\nnot = { deliver = 'x' }", 2, "deliver"),
            ("[[route]]\ndeliver = 'x'\nsender = 5", 3, "expected a glob or a list of globs"),
            ("[[route]]\n\n\nany = {}", 4, "sequence"),
        ] {
            let error = toml::from_str::<File>(text).unwrap_err().to_string();
            assert!(error.contains(&format!("line {line}")) && error.contains(what), "{error}");
        }
    }
}
