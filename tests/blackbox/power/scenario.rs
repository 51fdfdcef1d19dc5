//! The scenarios: what each is about, its letters, and how the program is
//! configured in all of them.
//!
//! A scenario's letters and configuration must never depend on what happens in it.

use std::net::SocketAddr;
use std::ops::Range;

use super::letters::{Kind, Letter, PARTS_MAX};
use crate::lab::Config;

/// What goes on while the power is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// Mail comes in by several sessions and `submit`, and goes to Maildirs.
    Intake,
    /// Other programs put mail into `drop/`.
    Drop,
    /// Mail goes to several next hops, one of which refuses some, for now or for good.
    NextHops,
    /// Poison among the mail is deferred.
    Quarantine,
    /// Deliveries hang.
    Outbound,
    /// An operator releases and deletes while the daemon runs.
    Release,
    /// An operator releases and deletes while none runs.
    ReleaseAlone,
    /// The daemon is stopped and started again with mail under way.
    Stop,
    /// The daemon recovers from an earlier cut.
    Recovery,
    /// It goes on after that.
    AfterRecovery,
    /// As intake, but a letter counts as taken before the program says so: a
    /// program that answers too early looks like that.
    Early,
    /// The power goes whenever a certain message is parsed.
    ParserLoop,
    /// The power goes whenever a certain message is delivered.
    DeliveryLoop,
}

/// Letters that are in quarantine when an operator comes.
pub const HELD: usize = 9;

/// The letter that cuts the power in the loops, and is slow in recovery.
pub const TRIGGER: usize = 0;

/// Mailboxes on this host.
pub const DESK: &str = "desk@mail.example";
const ANNA: &str = "anna@mail.example";
const BRUNO: &str = "bruno@mail.example";

/// At the first next hop.
const HOP: &str = "desk@hop.example";
const HOP_TOO: &str = "anna@hop.example";
/// Refused for now until the workload says otherwise.
pub const BUSY: &str = "busy@hop.example";
/// Refused for good.
pub const NOBODY: &str = "nobody@hop.example";

/// At the second next hop.
const SECOND: &str = "desk@second.example";

/// At the next hop that hangs, where the scenario has it so.
pub const SLOW: &str = "desk@slow.example";

/// Transports that are SMTP while the power may fail. The checker's are Maildirs
/// of the same names: what is in a journal holds for them too.
pub const HOPS: [&str; 3] = ["hop", "second", "slow"];

impl Scenario {
    /// Those whose disk states are explored.
    pub const EXPLORED: [Self; 10] = [
        Self::Intake,
        Self::Drop,
        Self::NextHops,
        Self::Quarantine,
        Self::Outbound,
        Self::Release,
        Self::ReleaseAlone,
        Self::Stop,
        Self::Recovery,
        Self::AfterRecovery,
    ];

    const OTHERS: [Self; 3] = [Self::Early, Self::ParserLoop, Self::DeliveryLoop];

    /// Its name in command lines and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Intake => "intake",
            Self::Drop => "drop",
            Self::NextHops => "next-hops",
            Self::Quarantine => "defer",
            Self::Outbound => "outbound",
            Self::Release => "release",
            Self::ReleaseAlone => "release-without-daemon",
            Self::Stop => "stop",
            Self::Recovery => "recovery",
            Self::AfterRecovery => "after-recovery",
            Self::Early => "early-answer",
            Self::ParserLoop => "parser-loop",
            Self::DeliveryLoop => "delivery-loop",
        }
    }

    /// The scenario of a name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::EXPLORED.into_iter().chain(Self::OTHERS).find(|scenario| scenario.name() == name)
    }

    /// Whether an earlier cut comes before what is explored.
    pub const fn follows_a_cut(self) -> bool {
        matches!(self, Self::Recovery | Self::AfterRecovery)
    }

    /// The letters that lie in quarantine before anything is recorded, for want
    /// of a route.
    pub const fn held(self) -> Range<usize> {
        match self {
            Self::Release | Self::ReleaseAlone => 0..HELD,
            _ => 0..0,
        }
    }

    /// A letter.
    pub fn letter(self, number: usize) -> Letter {
        let kind = match self {
            Self::Quarantine => {
                [Kind::Plain, Kind::Limit, Kind::Plain, Kind::Memory, Kind::Plain, Kind::Time][number % 6]
            }
            _ if self.follows_a_cut() && number == TRIGGER => Kind::Time,
            Self::ParserLoop if number == TRIGGER => Kind::Slow,
            _ => Kind::Plain,
        };
        let recipients: &[&'static str] = match self {
            Self::Intake | Self::Drop | Self::Early => &[DESK, ANNA, BRUNO][..=number % 3],
            Self::Quarantine | Self::ParserLoop => &[DESK],
            _ if self.follows_a_cut() && number == TRIGGER => &[DESK],
            Self::DeliveryLoop if number == TRIGGER => &[SLOW],
            Self::DeliveryLoop => &[DESK],
            Self::Release | Self::ReleaseAlone => [&[DESK][..], &[DESK, HOP]][number % 2],
            Self::Stop => [&[DESK][..], &[HOP], &[HOP, SECOND, DESK]][number % 3],
            Self::Outbound | Self::Recovery | Self::AfterRecovery => {
                [&[SLOW][..], &[HOP, SLOW], &[SLOW, DESK], &[HOP]][number % 4]
            }
            Self::NextHops => {
                [&[HOP][..], &[HOP, HOP_TOO], &[HOP, SECOND, DESK], &[HOP, BUSY], &[SECOND, NOBODY, HOP]]
                    [number % 5]
            }
        };
        Letter { number, kind, recipients: recipients.to_vec() }
    }

    /// The configuration; without next hops that of the checker.
    pub fn config(self, hops: Option<[SocketAddr; HOPS.len()]>) -> Config {
        let cpu_time = match (self, hops) {
            (Self::ParserLoop, _) => "600s",
            // Long enough to be caught at it.
            (_, Some(_)) if self.follows_a_cut() => "400ms",
            (_, Some(_)) => "100ms",
            // The checker pays it in each state.
            (_, None) => "50ms",
        };
        let limits = format!("cpu_time = \"{cpu_time}\"\nlimits = {{ parts = {PARTS_MAX} }}\n");
        // Soon enough for a workload to see the next round.
        let retry = "[retry]\nfirst = \"1s\"\nmax = \"1s\"\n";
        let start = Config::default().workers(&limits).tables(SMALL_DISK).tables(retry);
        let config = HOPS.iter().enumerate().fold(start, |config, (place, name)| {
            let transport = match hops {
                Some(addresses) => format!(
                    "[transport.{name}]\ntype = \"smtp\"\nnext_hops = [\"{}\"]\nconnections = 8\n",
                    addresses[place]
                ),
                None => format!(
                    "[transport.{name}]\ntype = \"maildir\"\npath = \"{AFTERWARDS}/{{domain}}/{{local}}\"\n"
                ),
            };
            config
                .tables(&transport)
                .route(&format!("recipient = \"*@{name}.example\"\ndeliver = \"{name}\"\n"))
        });
        // Has every message parsed whole.
        config.route("part_type = \"application/x-never\"\ndeliver = \"mailboxes\"\n")
    }
}

/// The file systems of the rig are hardly larger than what is kept free by default.
pub const SMALL_DISK: &str = "[intake]\nreserve = \"4MiB\"\n";

/// The folder of what the checker's run delivers for next hops.
pub const AFTERWARDS: &str = "afterwards";
