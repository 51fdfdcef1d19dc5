//! What is done about faults, cause by cause: the `[workers.faults]` table.
//!
//! Quarantine, unless the configuration says that such mail is to pass, as it
//! came in and with no route asked: some rather have a message unfiltered than
//! late. What the disk or the configuration is to blame for must never pass.

use std::collections::BTreeMap;

use lazaret_envelope::Cause;
use lazaret_route::RouteId;
use serde::{Deserialize, Serialize};

/// The causes that mail can be passed for: those that a worker finds, of blame
/// `message` or `unknown`. Who was interrupted is in quarantine before there is a
/// worker.
const PASSABLE: [Cause; 10] = [
    Cause::Memory,
    Cause::CpuTime,
    Cause::WallTime,
    Cause::Crash,
    Cause::Panic,
    Cause::Limit,
    Cause::Tree,
    Cause::Killed,
    Cause::BusError,
    Cause::InvalidVerdict,
];

/// What becomes of a message that faulted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FaultAction {
    /// It goes to `deferred/`.
    Defer,
    /// It goes, unchanged, to all its recipients by the transport of this name.
    Pass(String),
}

/// The `[workers.faults]` table: `"defer"`, the default, or
/// `{ pass = "transport" }` for each cause.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, FaultAction>", into = "BTreeMap<String, FaultAction>")]
pub struct Faults(BTreeMap<Cause, FaultAction>);

impl Faults {
    /// The transport for messages with a fault of this cause; `None` for
    /// quarantine.
    #[must_use]
    pub fn pass(&self, cause: Cause) -> Option<&str> {
        match self.0.get(&cause) {
            Some(FaultAction::Pass(transport)) => Some(transport),
            Some(FaultAction::Defer) | None => None,
        }
    }

    /// Every cause whose messages pass, with the transport.
    pub fn passes(&self) -> impl Iterator<Item = (Cause, &str)> {
        self.0.keys().filter_map(|&cause| Some((cause, self.pass(cause)?)))
    }
}

impl TryFrom<BTreeMap<String, FaultAction>> for Faults {
    type Error = String;

    fn try_from(written: BTreeMap<String, FaultAction>) -> Result<Self, String> {
        let entry = |(word, action): (String, FaultAction)| {
            let cause: Cause = word.parse()?;
            if PASSABLE.contains(&cause) || action == FaultAction::Defer {
                return Ok((cause, action));
            }
            let words = PASSABLE.map(Cause::word).join(", ");
            Err(format!("{cause}: such messages are always deferred; those that can pass are {words}"))
        };
        written.into_iter().map(entry).collect::<Result<_, _>>().map(Self)
    }
}

impl From<Faults> for BTreeMap<String, FaultAction> {
    fn from(faults: Faults) -> Self {
        faults.0.into_iter().map(|(cause, action)| (cause.to_string(), action)).collect()
    }
}

/// Which way a message goes to delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// By the route of each recipient, in order.
    Routed(Vec<RouteId>),
    /// To nobody: it goes round in a loop.
    Loop {
        /// How many recipients there are.
        recipients: usize,
    },
    /// Past the routes: it faulted, and such mail is to pass.
    Bypass {
        /// The transport for all recipients.
        transport: String,
        /// How many there are.
        recipients: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use lazaret_envelope::Blame;

    fn parse(text: &str) -> Result<Faults, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn everything_is_deferred_unless_it_is_to_pass() {
        let faults = parse("memory = { pass = 'around' }\ncrash = 'defer'\nno-route = 'defer'\n").unwrap();
        assert_eq!(faults.passes().collect::<Vec<_>>(), [(Cause::Memory, "around")]);
        assert!(Cause::ALL.iter().all(|&cause| faults.pass(cause).is_some() == (cause == Cause::Memory)));
        assert_eq!(parse(&toml::to_string(&faults).unwrap()), Ok(faults));
        assert_eq!(parse(""), Ok(Faults::default()));
    }

    #[test]
    fn what_can_not_pass_is_refused() {
        for cause in Cause::ALL {
            let passes = parse(&format!("{cause} = {{ pass = 'around' }}"));
            assert_eq!(passes.is_ok(), PASSABLE.contains(&cause), "{cause}: {passes:?}");
            let blamable = matches!(cause.blame(), Blame::Message | Blame::Unknown);
            assert!(blamable || passes.is_err(), "{cause}");
        }
        for (text, part) in [
            ("damaged = { pass = 'x' }", "always deferred; those that can pass are memory, cpu-time"),
            ("memry = 'defer'", "is no cause"),
            ("memory = 'drop'", "drop"),
            ("memory = { pas = 'x' }", "pas"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
