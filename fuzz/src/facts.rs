//! What routes ask of a message, in a real cell of the real program: it comes to a
//! verdict within its budget, or to a fault that is the message's own; never to a
//! hang, to nonsense, or to a death that nobody can explain.
//!
//! The input is a message. Where the cell comes to a verdict, the same is asked for
//! here, where a fuzzer sees what is run, and must be the same. What kills a parser
//! must never be parsed here.

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::Duration;

use lazaret_envelope::{Address, Cause, Span, Transaction};
use lazaret_route::{ConditionConfig, Facts, Globs, Limits, RouteConfig, RouteTable, Verdict};
use lazaret_worker::{Fate, Specimen, WorkersConfig};

/// Names the program whose cells are used.
pub const PROGRAM_VARIABLE: &str = "LAZARET_FUZZ_PROGRAM";

/// Stack of the thread that parses large messages here, in bytes: a build for
/// fuzzing takes more of it than a cell.
const STACK_BYTES: usize = 512 << 20;

/// CPU time that a message may take in the cell, in milliseconds: what comes to a verdict
/// is parsed here again, by a build that takes many times as long, on a machine that may
/// be busy, and must be through before the fuzzer takes it for a hang.
const CPU_MILLIS: u64 = 100;

/// Messages of up to this size are parsed without a thread of their own, in bytes.
const SMALL_BYTES_MAX: usize = 2 << 10;

/// Recipients, each of whom finds another route.
const RECIPIENTS: [&str; 6] = ["header@a", "types@a", "names@a", "many@a", "both@a", "none@a"];

thread_local! {
    static SPECIMEN: RefCell<Option<Specimen>> = const { RefCell::new(None) };
    static TABLE: RouteTable = RouteTable::compile(&routes()).expect("a table");
}

/// Looks at one input.
pub fn check(data: &[u8]) {
    let transaction = Transaction {
        recipients: RECIPIENTS.map(|to| to.parse::<Address>().expect("an address").into()).into(),
        ..Transaction::default()
    };
    let fate = SPECIMEN.with_borrow_mut(|specimen| {
        let specimen = specimen.get_or_insert_with(start);
        specimen.judge_message(&transaction, data).expect("a cell")
    });
    match fate {
        Fate::Verdict(verdict) => assert_eq!(here(&transaction, data), Ok(verdict)),
        Fate::Fault(cause @ (Cause::Limit | Cause::Tree), detail) => {
            assert_eq!(here(&transaction, data), Err((cause, detail)));
        }
        Fate::Fault(Cause::Memory | Cause::CpuTime | Cause::Crash | Cause::Panic, _) => {}
        Fate::Fault(cause, detail) => panic!("not the message's own fault: {cause}: {detail}"),
    }
}

fn start() -> Specimen {
    let program = std::env::var_os(PROGRAM_VARIABLE).map(PathBuf::from);
    let program = program.unwrap_or_else(|| panic!("set {PROGRAM_VARIABLE} to a release build of lazaret"));
    let cpu_time = Span(Duration::from_millis(CPU_MILLIS));
    let config = WorkersConfig { cpu_time, ..WorkersConfig::default() };
    Specimen::start_at(&program, routes(), config).expect("a cell")
}

/// The verdict by this build; a fault as the cell would tell it.
fn here(transaction: &Transaction, data: &[u8]) -> Result<Verdict, (Cause, String)> {
    let judge = || {
        let limits = Limits::default();
        let mut observe = |_| ();
        let mut facts = Facts::new(data, &limits, &mut observe);
        let judged = TABLE.with(|table| table.judge(transaction, &mut facts));
        judged.map_err(|error| (error.cause(), error.to_string()))
    };
    if data.len() <= SMALL_BYTES_MAX {
        return judge();
    }
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, judge);
        thread.expect("a thread").join().expect("it doesn't panic")
    })
}

fn routes() -> Vec<RouteConfig> {
    let one = |text: &str| Some(Globs::One(text.to_owned()));
    let header = |name: &str, glob: &str| Some([(name.to_owned(), glob.to_owned())].into());
    let types = |glob: &str| ConditionConfig { part_type: one(glob), ..ConditionConfig::default() };
    let deliver = || Some("a".to_owned());
    let rest = || RouteConfig { deliver: deliver(), ..RouteConfig::default() };
    let subject = ConditionConfig { header: header("Subject", "*e*"), ..ConditionConfig::default() };
    vec![
        RouteConfig { recipient: one("header@*"), header: header("Subject", "*a*"), ..rest() },
        RouteConfig { recipient: one("header@*"), header: header("List-Id", "*.*"), ..rest() },
        RouteConfig { recipient: one("types@*"), part_type: one("text/html"), ..rest() },
        RouteConfig { recipient: one("types@*"), part_type: one("application/*"), ..rest() },
        RouteConfig { recipient: one("names@*"), part_name: one("*a*.*"), ..rest() },
        RouteConfig { recipient: one("names@*"), part_name: one("*"), ..rest() },
        RouteConfig {
            recipient: one("many@*"),
            all: Some(vec![types("text/*"), types("image/*")]),
            ..rest()
        },
        RouteConfig { recipient: one("both@*"), any: Some(vec![types("message/*"), subject]), ..rest() },
        RouteConfig { recipient: one("both@*"), header: header("Content-Type", "*multipart*"), ..rest() },
        rest(),
    ]
}
