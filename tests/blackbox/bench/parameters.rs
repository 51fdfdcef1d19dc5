//! What a benchmark is told on its command line.
//!
//! Nothing may be taken from anywhere else, so that the line says all of it.

use std::num::NonZeroU32;

use super::hung::HangsAt;

/// What can be said.
pub const HELP: &str = "\
parameters of the paired benchmark:
  --messages N      healthy messages of a run (10000)
  --rounds N        rounds of runs: healthy mail alone, beside benign mail of the sizes of
                    the poison, and beside poison (3)
  --poison PERCENT  poison, as a percentage of the healthy messages (5)
  --connections N   SMTP connections, each with one message at a time (4)
  --rate N          healthy messages a second that are offered; without it as many
                    as are taken, so that latency is that of a full queue
  --deadly          only such poison as ends in quarantine, not all families of it, of
                    which some are harmless at a size that makes a benchmark
  --copies          the same few poisonous messages again and again
  --own             own poison and own mail only, though test data is there
  --to-the-end      waits until all poison is dealt with, too; not measured
  --hung STEP       no poison, but as many messages for a second next hop, which in
                    the second run of a round hangs at STEP: greeting, hello, mail,
                    rcpt, data, dot, or drip (a byte now and then)
  --workers LINE    another line of [workers], such as 'spares = 8'
TMPDIR names the file system on which everything happens: best one with a journal, as spools
are kept on. A round of the default size leaves 800 MB there until all are done.
";

/// One benchmark.
#[derive(Clone, Debug)]
pub struct Parameters {
    /// Healthy messages of a run.
    pub messages: u32,
    /// Rounds of runs.
    pub rounds: u32,
    /// Poison, in percent of the healthy messages.
    pub poison: u32,
    /// SMTP connections.
    pub connections: u32,
    /// Healthy messages a second that are offered.
    pub rate: Option<NonZeroU32>,
    /// Poison that turns out harmless takes no part.
    pub deadly: bool,
    /// Poison repeats itself.
    pub copies: bool,
    /// Test data is left alone.
    pub own: bool,
    /// A run ends when everything is dealt with.
    pub wait_for_rest: bool,
    /// Where a second next hop hangs.
    pub hung: Option<HangsAt>,
    /// More lines of `[workers]`.
    pub workers: String,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            messages: 10_000,
            rounds: 3,
            poison: 5,
            connections: 4,
            rate: None,
            deadly: false,
            copies: false,
            own: false,
            wait_for_rest: false,
            hung: None,
            workers: String::new(),
        }
    }
}

impl Parameters {
    /// Reads them; `None` if help is asked for.
    ///
    /// # Errors
    /// What is not understood.
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut parameters = Self::default();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            let number = |text: String| {
                let number = text.parse::<u32>().ok().filter(|&number| number > 0);
                number.ok_or_else(|| format!("no number above 0: {text}"))
            };
            match word.as_str() {
                "--messages" => parameters.messages = number(value()?)?,
                "--rounds" => parameters.rounds = number(value()?)?,
                "--poison" => parameters.poison = number(value()?)?.min(100),
                "--connections" => parameters.connections = number(value()?)?,
                "--rate" => parameters.rate = NonZeroU32::new(number(value()?)?),
                "--deadly" => parameters.deadly = true,
                "--copies" => parameters.copies = true,
                "--own" => parameters.own = true,
                "--to-the-end" => parameters.wait_for_rest = true,
                "--workers" => parameters.workers += &(value()? + "\n"),
                "--hung" => {
                    let step = value()?;
                    let hangs = HangsAt::named(&step).ok_or_else(|| format!("no such step: {step}"))?;
                    parameters.hung = Some(hangs);
                }
                "-h" | "--help" => return Ok(None),
                _ => return Err(format!("not understood: {word}")),
            }
        }
        Ok(Some(parameters))
    }
}
