//! One message for very many: taken in, judged, split over transactions, and
//! resumed after a kill in the middle.
//!
//! What is told is what the next hop has seen. A recipient who got nothing must
//! never be taken for one who was not asked for.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::lab::{Config, Lab};
use crate::memory::Sampler;
use crate::sink::{Behaviour, Sink, Step};
use crate::smtp::{Client, stuffed};
use crate::spooldir::count;
use crate::trial::{Case, figures};
use crate::wait::until;

/// How many recipients, if not this variable says so.
const RECIPIENTS: usize = 20_000;

/// The long form: `LAZARET_RECIPIENTS=250000`.
const VARIABLE: &str = "LAZARET_RECIPIENTS";

/// Commands that are sent before their replies are read.
const PIPELINED: usize = 500;

/// Recipients of one transaction to the next hop.
const PER_TRANSACTION: usize = 1000;

/// Connections of the transport; half of them may be in a transaction of the same
/// message.
pub(super) const CONNECTIONS: usize = 4;
const TRANSACTIONS: usize = CONNECTIONS / 2;

/// How long a slow next hop takes for each message.
const SLOW: Duration = Duration::from_millis(100);

/// Longest time for all of it.
pub(super) const TIME_MAX: Duration = Duration::from_secs(600);

/// What a daemon may hold beside its recipients, and for each of them, in bytes.
pub(super) const MEMORY_BASE: u64 = 64 << 20;
pub(super) const MEMORY_PER_RECIPIENT: u64 = 1 << 10;

/// Rounds in which everybody fails, each with another reply.
const ROUNDS: u32 = 3;

/// What a round may add to the journal while nobody gets the message, in bytes.
const ROUND_BYTES_MAX: u64 = 64 << 10;

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("recipients::very_many_survive_a_kill_in_the_middle", killed).alone(),
        Case::new("recipients::a_slow_next_hop_has_them_over_several_connections", slow).alone(),
        Case::new("recipients::rounds_that_fail_leave_a_small_journal", rounds).alone(),
    ]
}

pub(super) fn number() -> usize {
    let named = std::env::var(VARIABLE).ok();
    named.map_or(RECIPIENTS, |text| text.parse().expect("a number of recipients"))
}

pub(super) fn recipient(number: usize) -> String {
    format!("recipient.{number}@example.org")
}

/// Sends one message to all of them, and reads so many replies after the final dot.
pub(super) fn send<S: Read + Write>(client: &mut Client<S>, all: usize, replies: usize) {
    let reply = client.command("MAIL FROM:<list@example.net>").expect("a reply");
    assert_eq!(reply.code, 250, "{}", reply.text);
    for first in (0..all).step_by(PIPELINED) {
        let batch = first..all.min(first + PIPELINED);
        let commands: String =
            batch.clone().map(|number| format!("RCPT TO:<{}>\r\n", recipient(number))).collect();
        client.send(commands.as_bytes()).expect("a connection");
        for _ in batch {
            let reply = client.reply().expect("a reply");
            assert_eq!(reply.code, 250, "{}", reply.text);
        }
    }
    assert_eq!(client.command("DATA").expect("a reply").code, 354);
    client.send(&stuffed(b"Subject: to everybody\r\n\r\nHello\r\n")).expect("a connection");
    for _ in 0..replies {
        let reply = client.reply().expect("a reply");
        assert_eq!(reply.code, 250, "{}", reply.text);
    }
}

/// Everything goes to the sink.
pub(super) fn config(recipients: usize, sink: &Sink, connections: usize) -> Config {
    let next_hop = sink.address();
    let hop = format!(
        "[transport.hop]\ntype = \"smtp\"\nnext_hops = [\"{next_hop}\"]\nconnections = {connections}\n"
    );
    let config = Config::default().listen(&format!("recipients = {recipients}\n"));
    config.tables(&hop).route("deliver = \"hop\"\n")
}

/// How often each recipient was given the message.
pub(super) fn times(sink: &Sink) -> HashMap<String, usize> {
    let mut times = HashMap::new();
    sink.taken()
        .into_iter()
        .flat_map(|taken| taken.recipients)
        .for_each(|to| *times.entry(to).or_default() += 1);
    times
}

fn killed() {
    let all = number();
    let sink = Sink::start(Vec::new());
    let lab = Lab::with(&config(all, &sink, CONNECTIONS));
    let start = Instant::now();
    let daemon = lab.start();
    let sampler = Sampler::start(daemon.pid());
    send(&mut Client::connect(daemon.smtp()).expect("a session"), all, 1);
    let taken_in = start.elapsed();
    let half = all / PER_TRANSACTION / 2;
    let moves = || sink.count() > half || !lab.spool().ids("deferred").is_empty();
    assert!(until(TIME_MAX, moves) && sink.count() > half, "{}", lab.log_tail());
    daemon.kill9();
    let before = sampler.finish();
    let daemon = lab.start();
    let sampler = Sampler::start(daemon.pid());
    assert!(until(TIME_MAX, || lab.spool().passing().is_empty()), "{:?}", lab.spool().passing());
    let after = sampler.finish();
    let took = start.elapsed();
    assert_eq!(daemon.terminate().code(), Some(0));
    let times = times(&sink);
    let lost = (0..all).filter(|&number| !times.contains_key(&recipient(number))).count();
    let repeated = times.values().filter(|&&times| times > 1).count();
    let daemon_peak = before.daemon.max(after.daemon);
    let per_recipient = daemon_peak / all as u64;
    figures(&format!(
        "recipients: {all}, taken in after {} ms, all done after {} ms, {} transactions, a kill in the middle: \
         {lost} lost, {repeated} repeated; peak memory of the daemon {} KiB ({per_recipient} bytes each), of a cell {} KiB",
        taken_in.as_millis(),
        took.as_millis(),
        sink.count(),
        daemon_peak >> 10,
        before.cell.max(after.cell) >> 10,
    ));
    assert_eq!((lost, times.len()), (0, all), "everybody has it, and nobody else");
    assert!(
        repeated <= TRANSACTIONS * PER_TRANSACTION && times.values().all(|&times| times <= 2),
        "{repeated}"
    );
    let memory_max = MEMORY_BASE + MEMORY_PER_RECIPIENT * all as u64;
    assert!(daemon_peak <= memory_max, "{daemon_peak} bytes, where {memory_max} are the most");
}

fn rounds() {
    let all = number();
    let busy = Behaviour::ReplyNaming("450 4.2.0 busy just now:");
    let sink = Sink::start(vec![(Step::Recipient, None, busy)]);
    let lab = Lab::with(&config(all, &sink, CONNECTIONS).tables("[retry]\nfirst = \"1s\"\nmax = \"1s\"\n"));
    let start = Instant::now();
    let daemon = lab.start();
    let sampler = Sampler::start(daemon.pid());
    send(&mut Client::connect(daemon.smtp()).expect("a session"), all, 1);
    let failed = || lab.spool().names("waiting").iter().any(|name| count(name, 'a') >= ROUNDS);
    assert!(until(TIME_MAX, failed), "{}", lab.log_tail());
    let journal: u64 = (std::fs::read_dir(lab.spool().path("journal")).expect("a directory"))
        .map(|entry| entry.and_then(|entry| entry.metadata()).expect("a journal").len())
        .sum();
    sink.follow(Vec::new());
    // It goes last, when nobody is left to be tried.
    assert!(until(TIME_MAX, || lab.spool().names("journal").is_empty()), "{:?}", lab.spool().passing());
    let peak = sampler.finish().daemon;
    let took = start.elapsed().as_millis();
    assert_eq!(daemon.terminate().code(), Some(0));
    let times = times(&sink);
    let per_recipient = peak / all as u64;
    figures(&format!(
        "recipients: {all}, {ROUNDS} rounds in which all fail, and one in which none does, after {took} ms: \
         {journal} bytes of journal after those, peak memory of the daemon {} KiB ({per_recipient} bytes each)",
        peak >> 10,
    ));
    assert!(times.len() == all && times.values().all(|&times| times == 1), "everybody has it once");
    assert!(journal > 0 && journal <= u64::from(ROUNDS) * ROUND_BYTES_MAX, "{journal}");
    let memory_max = MEMORY_BASE + MEMORY_PER_RECIPIENT * all as u64;
    assert!(peak <= memory_max, "{peak} bytes, where {memory_max} are the most");
}

fn slow() {
    let all = number();
    let time = |connections| {
        let sink = Sink::start(vec![(Step::Dot, None, Behaviour::Pause(SLOW))]);
        let lab = Lab::with(&config(all, &sink, connections));
        let daemon = lab.start();
        send(&mut Client::connect(daemon.smtp()).expect("a session"), all, 1);
        let start = Instant::now();
        let transactions = all.div_ceil(PER_TRANSACTION);
        assert!(until(TIME_MAX, || sink.count() >= transactions), "{}", lab.log_tail());
        let took = start.elapsed().as_millis();
        assert_eq!(daemon.terminate().code(), Some(0));
        let times = times(&sink);
        assert!(times.len() == all && times.values().all(|&times| times == 1), "everybody has it once");
        took
    };
    let (one, many) = (time(1), time(4 * CONNECTIONS));
    figures(&format!(
        "recipients: {all}, a next hop that takes {} ms for each of {} transactions: done after {one} ms over one \
         connection, after {many} ms where the transport may have {}",
        SLOW.as_millis(),
        all.div_ceil(PER_TRANSACTION),
        4 * CONNECTIONS,
    ));
}
