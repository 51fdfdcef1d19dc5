//! Another configuration for a daemon at work: what was right takes effect, what
//! was wrong changes nothing, and no message notices.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::cgroup::{Controller, Group};
use crate::daemon::Daemon;
use crate::lab::{Config, Lab, cli, submitted};
use crate::maildir::Maildirs;
use crate::poison;
use crate::process::{self, Finished, is_running};
use crate::sink::{Behaviour, Sink, Step};
use crate::smtp::{self, Client};
use crate::spooldir::has_strike;
use crate::suites::storm;
use crate::trial::{Case, Needs, figures};
use crate::wait::{Watch, until};

/// Longest wait for something that takes a few seconds at most.
const TIME_MAX: Duration = Duration::from_secs(120);

/// Messages that come in while the configuration changes again and again.
const MESSAGES: usize = 1000;

/// How often it changes meanwhile.
const RELOADS: usize = 10;

/// Exit status of a command that met a wrong configuration (EX_CONFIG).
const WRONG: Option<i32> = Some(78);

/// Exit status of what the operating system had no room for (EX_OSERR).
const SYSTEM: Option<i32> = Some(71);

/// Threads and processes that a daemon may have more than it has: enough to
/// prepare the workers, too few to start them.
const THREADS_LEFT: u64 = 16;

const RECIPIENT: &str = "desk@example.org";
const MESSAGE: &[u8] = b"From: sender@example.com\r\nTo: desk@example.org\r\nSubject: x\r\n\r\ntext\r\n";

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("reload::worker_count_under_load", worker_count_under_load).alone(),
        Case::new("reload::message_in_its_cell_goes_back_unmarked", message_in_its_cell),
        Case::new("reload::larger_budget_lets_a_message_through", larger_budget),
        Case::new("reload::another_route_and_transport", another_route_and_transport),
        Case::new("reload::delivery_under_way_is_not_cut", delivery_under_way),
        Case::new("reload::within_a_storm", within_a_storm),
        Case::new("reload::required_jail_is_proven_first", required_jail)
            .needs(&[Needs::Group(Controller::Pids)]),
        Case::new("reload::without_threads_ends_in_order", without_threads)
            .needs(&[Needs::Group(Controller::Pids)]),
        Case::new("reload::broken_file_changes_nothing", broken_file),
        Case::new("reload::too_much_for_the_memory_changes_nothing", too_much_for_the_memory),
        Case::new("reload::largest_size_holds_for_intake", largest_size),
        Case::new("reload::what_needs_a_restart_is_told", what_needs_a_restart),
        Case::new("reload::sighup", sighup),
        Case::new("reload::pauses_stay", pauses_stay),
        Case::new("reload::only_what_differs_is_replaced", only_what_differs),
    ]
}

fn reload(lab: &Lab) -> Finished {
    cli(lab, &["reload"])
}

/// Reloads what must be right; what is said.
#[track_caller]
fn reloaded(lab: &Lab) -> String {
    let reloaded = reload(lab);
    assert_eq!((reloaded.code, reloaded.stderr.as_str()), (Some(0), ""), "{reloaded:?}");
    reloaded.stdout
}

fn status(lab: &Lab) -> Value {
    let status = cli(lab, &["status", "--json"]);
    serde_json::from_str(&status.stdout).unwrap_or_else(|error| panic!("{error}: {status:?}"))
}

fn threads(lab: &Lab) -> usize {
    status(lab)["daemon"]["workers"].as_array().expect("workers").len()
}

#[track_caller]
fn assert_arrives(lab: &Lab, id: &str) {
    assert!(
        until(TIME_MAX, || lab.mail().count(id) == 1),
        "{id} does not arrive: {:?}",
        lab.spool().passing()
    );
}

#[track_caller]
fn stops_cleanly(daemon: Daemon) {
    assert_eq!(daemon.terminate().code(), Some(0));
}

fn write(lab: &Lab, text: &str) {
    std::fs::write(lab.config(), text).expect("failed to write the configuration");
}

fn judged(lab: &Lab) -> u64 {
    let status = status(lab);
    let workers = status["daemon"]["workers"].as_array().expect("workers");
    workers.iter().map(|worker| worker["judged"].as_u64().expect("a number")).sum()
}

/// Other workers and another route each time.
fn worker_count_under_load() {
    let more = "sender = \"odd@example.com\"\ndeliver = \"mailboxes\"\n";
    let [few, many] =
        [Config::default().workers("spares = 1\n"), Config::default().workers("spares = 4\n").route(more)];
    let lab = Lab::with(&many);
    let daemon = lab.start();
    let spool = lab.spool();
    let mut names = Watch::on(&["incoming", "deferred"].map(|state| spool.path(state)));
    let sent = AtomicUsize::new(0);
    let ids: Vec<String> = std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut client = Client::connect(daemon.smtp()).unwrap_or_else(|failure| panic!("{failure}"));
            let senders = ["odd@example.com", "even@example.com"].iter().cycle().take(MESSAGES);
            let deliver = |sender: &&str| {
                let id = client.deliver(sender, &[RECIPIENT], MESSAGE);
                sent.fetch_add(1, Ordering::SeqCst);
                id.unwrap_or_else(|failure| panic!("intake was interrupted: {failure}"))
            };
            senders.map(deliver).collect()
        });
        for (at, config) in [&few, &many].into_iter().cycle().take(RELOADS).enumerate() {
            let reached = || client.is_finished() || sent.load(Ordering::SeqCst) > at * MESSAGES / RELOADS;
            assert!(until(TIME_MAX, reached), "nothing comes in");
            lab.configure(config);
            let said = reloaded(&lab);
            assert!(said.contains("workers.spares: ") && said.contains("route: "), "{said}");
        }
        client.join().expect("everything was taken")
    });
    let arrived = until(TIME_MAX, || lab.mail().copies().len() == MESSAGES && spool.passing().is_empty());
    let copies = lab.mail().copies();
    assert!(arrived, "{} arrived: {:?}", copies.len(), spool.passing());
    assert!(ids.iter().all(|id| copies.get(id).is_some_and(|copies| copies.len() == 1)), "each once");
    assert_eq!((spool.names("deferred"), spool.names("waiting")), (vec![], vec![]));
    let names = names.drain();
    let marked: Vec<&String> = names.iter().filter(|name| has_strike(name)).collect();
    assert!(marked.is_empty(), "a reload is nobody's fault: {marked:?}");
    let back = names.len() - MESSAGES;
    figures(&format!(
        "reload: {MESSAGES} messages during {RELOADS} reloads: each once, {back} put back, 0 marked"
    ));
    stops_cleanly(daemon);
}

fn message_in_its_cell() {
    let lab = Lab::with(&Config::parsing_everything().workers("cpu_time = \"600s\"\n"));
    let daemon = lab.start();
    let spool = lab.spool();
    let mut names = Watch::on(&[spool.path("incoming")]);
    let id = submitted(&lab, RECIPIENT, &poison::slow());
    let parsing =
        || !spool.names("claimed").is_empty() && daemon.cells().iter().any(|&cell| is_running(cell));
    assert!(until(TIME_MAX, parsing), "no cell is at work");
    lab.configure(&Config::default());
    assert!(reloaded(&lab).contains("route: 2 -> 1 routes"));
    assert_arrives(&lab, &id);
    let names = names.drain();
    assert_eq!(names.len(), 2, "it came in, and back: {names:?}");
    assert!(!names.iter().any(|name| has_strike(name)), "a reload is nobody's fault: {names:?}");
    assert_eq!(spool.names("deferred"), Vec::<String>::new());
    stops_cleanly(daemon);
}

fn larger_budget() {
    let lab = Lab::with(&Config::parsing_everything().workers("memory = \"256KiB\"\nmemory_per_byte = 0\n"));
    let daemon = lab.start();
    let part = "--b\r\nContent-Transfer-Encoding: base64\r\n\r\nVGV4dA==\r\n".repeat(5000);
    let message = format!("From: a@b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n{part}--b--\r\n");
    let message = message.as_bytes();
    let spool = lab.spool();
    let ids = [0, 1].map(|_| submitted(&lab, RECIPIENT, message));
    assert!(until(TIME_MAX, || spool.reports().len() == 2), "deferred/: {:?}", spool.names("deferred"));
    assert!(ids.iter().all(|id| spool.report(id).is_some_and(|report| report.cause() == "memory")));
    let shown = cli(&lab, &["deferred", "show", &ids[0]]);
    assert!(shown.stdout.contains("raise workers.memory (now \"256KiB\")"), "{shown:?}");
    lab.configure(&Config::parsing_everything());
    let said = reloaded(&lab);
    assert!(said.contains("workers.memory: \"256KiB\" -> \"24MiB\""), "{said}");
    assert_arrives(&lab, &submitted(&lab, RECIPIENT, message));
    for id in ids {
        let released = cli(&lab, &["deferred", "release", &id]);
        assert_eq!(released.code, Some(0), "{released:?}");
        assert_arrives(&lab, &id);
    }
    assert_eq!(spool.names("deferred"), Vec::<String>::new());
    stops_cleanly(daemon);
}

fn another_route_and_transport() {
    let lab = Lab::with(&Config::without_routes());
    let daemon = lab.start();
    let id = submitted(&lab, RECIPIENT, MESSAGE);
    let spool = lab.spool();
    assert!(until(TIME_MAX, || spool.report(&id).is_some()), "it is not deferred");
    lab.configure(&Config::default());
    let said = reloaded(&lab);
    assert!(said.contains("route: 0 -> 1 routes") && !said.contains("restart"), "{said}");
    assert_eq!(cli(&lab, &["deferred", "release", &id]).code, Some(0));
    assert_arrives(&lab, &id);
    write(&lab, &Config::default().text().replace("mail/{domain}", "elsewhere/{domain}"));
    let said = reloaded(&lab);
    assert!(said.contains("transport.mailboxes: changed"), "{said}");
    let id = submitted(&lab, RECIPIENT, MESSAGE);
    let elsewhere = Maildirs::new(lab.path("elsewhere"));
    assert!(until(TIME_MAX, || elsewhere.count(&id) == 1), "it does not arrive: {:?}", spool.passing());
    stops_cleanly(daemon);
}

fn delivery_under_way() {
    let (hangs, takes) = (Sink::start(vec![(Step::Dot, None, Behaviour::Hang)]), Sink::start(vec![]));
    let text = |workers: &str, sink: &Sink| {
        let route = "recipient = \"*@example.net\"\ndeliver = \"away\"\n";
        let text = Config::default().workers(workers).route(route).text();
        format!("{text}\n[transport.away]\ntype = \"smtp\"\nnext_hops = [\"{}\"]\n", sink.address())
    };
    let lab = Lab::new();
    write(&lab, &text("", &hangs));
    let daemon = lab.start();
    let id = submitted(&lab, "far@example.net", MESSAGE);
    let is_active = || status(&lab)["daemon"]["transports"][0]["active"] == 1;
    assert!(until(TIME_MAX, is_active), "no delivery is under way: {}", status(&lab));
    let spool = lab.spool();
    let mut names = Watch::on(&[spool.path("incoming")]);
    write(&lab, &text("spares = 3\n", &hangs));
    assert!(reloaded(&lab).contains("workers.spares: default -> 3"));
    assert!(is_active() && spool.ids("outbound") == [id.clone()].into(), "it was cut: {}", status(&lab));
    assert_arrives(&lab, &submitted(&lab, RECIPIENT, MESSAGE));
    write(&lab, &text("spares = 3\n", &takes));
    assert!(reloaded(&lab).contains("transport.away: changed"));
    assert!(until(TIME_MAX, || takes.taken().len() == 1), "it does not arrive: {:?}", spool.passing());
    let back: Vec<String> = names.drain().into_iter().filter(|name| name.starts_with(&id)).collect();
    assert!(back.len() == 1 && !back[0].contains(".i"), "it went back once, without a count: {back:?}");
    assert!(until(TIME_MAX, || spool.passing().is_empty()), "{:?}", spool.passing());
    assert_eq!((hangs.taken().len(), takes.taken().len()), (0, 1));
    stops_cleanly(daemon);
}

/// Where no cell starts, a reload costs no message anything, and is done.
fn within_a_storm() {
    let lab = Lab::new();
    let (daemon, program) = lab.start_copy();
    assert_arrives(&lab, &submitted(&lab, RECIPIENT, MESSAGE));
    storm::spoil(&daemon, &program);
    let id = submitted(&lab, RECIPIENT, MESSAGE);
    let is_paused = || !status(&lab)["daemon"]["routing_paused"].is_null();
    assert!(until(TIME_MAX, is_paused), "claiming goes on");
    lab.configure(&Config::parsing_everything());
    assert!(reloaded(&lab).contains("route: 1 -> 2 routes"));
    assert!(until(TIME_MAX, is_paused), "claiming goes on with the new configuration");
    assert!(lab.spool().ids("incoming").contains(&id), "{:?}", lab.spool().passing());
    storm::mend(&program);
    assert_arrives(&lab, &id);
    assert!(!is_paused() && lab.spool().names("deferred").is_empty(), "{}", status(&lab));
    stops_cleanly(daemon);
}

/// A cell that can't be started can't prove that it is jailed.
fn required_jail() {
    let lab = Lab::with(&Config::default().workers("jail = \"best-effort\"\n"));
    let daemon = lab.start();
    assert_arrives(&lab, &submitted(&lab, RECIPIENT, MESSAGE));
    let group = Group::around(&daemon, Controller::Pids);
    lab.configure(&Config::default().workers("jail = \"required\"\n"));
    // No thread for the template, and then too few for a cell.
    for (left, told) in [(0, "failed to start a cell"), (6, "the cell ended by itself without an answer")] {
        group.limit(Some(process::threads(daemon.pid()) + left));
        let refused = reload(&lab);
        assert_eq!(refused.code, SYSTEM, "{refused:?}");
        assert!(refused.stderr.contains(told), "{refused:?}");
        assert_eq!(judged(&lab), 1, "the workers are others");
    }
    group.limit(None);
    let said = reloaded(&lab);
    assert!(said.contains("workers.jail: \"best-effort\" -> \"required\""), "{said}");
    assert_arrives(&lab, &submitted(&lab, RECIPIENT, MESSAGE));
    drop(group);
    stops_cleanly(daemon);
}

/// A machine that has no threads for the workers, once those before them are gone.
fn without_threads() {
    let lab = Lab::with(&Config::parsing_everything().workers("cpu_time = \"600s\"\n"));
    let daemon = lab.start();
    let spool = lab.spool();
    let id = submitted(&lab, RECIPIENT, &poison::slow());
    let parsing = || daemon.cells().iter().any(|&cell| is_running(cell));
    assert!(until(TIME_MAX, || !spool.names("claimed").is_empty() && parsing()), "no cell is at work");
    let group = Group::around(&daemon, Controller::Pids);
    group.limit(Some(process::threads(daemon.pid()) + THREADS_LEFT));
    lab.configure(&Config::parsing_everything().workers("spares = 100\n"));
    let failed = reload(&lab);
    assert_eq!(failed.code, SYSTEM, "{failed:?}");
    assert!(failed.stderr.contains("failed to start the workers"), "{failed:?}");
    assert_eq!(daemon.ended().code(), SYSTEM);
    assert!(lab.log_tail().contains("can't be put in force"), "{}", lab.log_tail());
    let names = spool.names("incoming");
    assert!(names.len() == 1 && names[0].starts_with(&id) && !has_strike(&names[0]), "{names:?}");
    drop(group);
    lab.configure(&Config::default());
    assert_eq!(lab.drain(), Some(0));
    assert_eq!(lab.mail().count(&id), 1);
}

fn broken_file() {
    let lab = Lab::new();
    let daemon = lab.start();
    let before = threads(&lab);
    write(&lab, &Config::default().workers("spares = 0\n").text().replace("count = 2", "cuont = 2"));
    let refused = reload(&lab);
    assert_eq!(refused.code, WRONG, "{refused:?}");
    assert!(refused.stderr.contains("lazaret.toml:8:1: "), "{refused:?}");
    daemon.hang_up();
    assert!(until(TIME_MAX, || lab.log().contains("lazaret.toml:8:1: ")), "the log does not tell");
    // Not reloaded: so that commands find the spool.
    lab.configure(&Config::default());
    assert_eq!(threads(&lab), before);
    assert_arrives(&lab, &submitted(&lab, RECIPIENT, MESSAGE));
    stops_cleanly(daemon);
}

fn too_much_for_the_memory() {
    let lab = Lab::new();
    let daemon = lab.start();
    assert_arrives(&lab, &submitted(&lab, RECIPIENT, MESSAGE));
    for (line, told) in [
        ("memory_total = \"64MiB\"\n", "workers.memory_total has 96MiB"),
        ("max_size = \"1TiB\"\n", "workers.max_size = 1TiB"),
    ] {
        lab.configure(&Config::default().workers(line).workers("spares = 0\n"));
        let refused = reload(&lab);
        assert_eq!(refused.code, WRONG, "{refused:?}");
        assert!(refused.stderr.contains("the workers need ") && refused.stderr.contains(told), "{refused:?}");
        assert!(lab.log().contains(told), "the log does not tell");
    }
    assert_eq!(judged(&lab), 1, "the workers are others");
    assert_arrives(&lab, &submitted(&lab, RECIPIENT, MESSAGE));
    stops_cleanly(daemon);
}

fn largest_size() {
    let lab = Lab::with(&Config::default().workers("max_size = \"10KiB\"\n"));
    let daemon = lab.start();
    let message = [MESSAGE, &b"a line of text\r\n".repeat(1000)].concat();
    let deliver = || smtp::deliver(daemon.smtp(), "a@example.com", &[RECIPIENT], &message);
    let refused = deliver().expect_err("it is too large");
    assert!(refused.to_string().contains("552"), "{refused}");
    lab.configure(&Config::default());
    assert!(reloaded(&lab).contains("workers.max_size: \"10KiB\" -> \"50MiB\""));
    let id = deliver().unwrap_or_else(|failure| panic!("{failure}"));
    assert_arrives(&lab, &id);
    stops_cleanly(daemon);
}

fn what_needs_a_restart() {
    let lab = Lab::new();
    let daemon = lab.start();
    let text = Config::default().workers("spares = 0\n").text();
    let text = text.replace("protocol = \"smtp\"", "protocol = \"smtp\"\nsessions = 7");
    write(&lab, &format!("hostname = \"other.example.org\"\n{text}"));
    let told = reloaded(&lab);
    let (in_force, later) = told.split_once("needs a restart").unwrap_or_else(|| panic!("{told}"));
    assert!(in_force.contains("workers.spares") && later.contains("listen: changed"), "{told}");
    assert!(later.contains("hostname: ") && !later.contains("workers"), "{told}");
    let client = Client::connect(daemon.smtp()).unwrap_or_else(|failure| panic!("{failure}"));
    client.vanish();
    let json = cli(&lab, &["reload", "--json"]);
    let told: Value = serde_json::from_str(&json.stdout).unwrap_or_else(|e| panic!("{e}: {json:?}"));
    let keys = |list: &Value| {
        let list = list.as_array().unwrap_or_else(|| panic!("{told}")).iter();
        list.map(|found| found["key"].as_str().expect("a key").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(keys(&told["needs_restart"]), ["hostname", "listen"], "still: {told}");
    assert_eq!(keys(&told["in_force"]), [""; 0], "that is done: {told}");
    // A command could not find the daemon by this file any more.
    write(&lab, &text.replace("\"spool\"", "\"elsewhere\""));
    daemon.hang_up();
    assert!(until(TIME_MAX, || lab.log().contains("/elsewhere")), "the log does not tell");
    let asked = cli(&lab, &["reload"]);
    assert!(asked.stderr.contains("if `spool` has changed, that needs a restart"), "{asked:?}");
    assert!(!lab.path("elsewhere").exists());
    stops_cleanly(daemon);
}

fn sighup() {
    let lab = Lab::new();
    let daemon = lab.start();
    lab.configure(&Config::default().workers("spares = 2\n"));
    daemon.hang_up();
    assert!(
        until(TIME_MAX, || threads(&lab) == 7),
        "two workers, as many again, a second look, two spares: {}",
        status(&lab)
    );
    assert!(until(TIME_MAX, || lab.log().contains("workers.spares: default -> 2")), "the log does not tell");
    assert_arrives(&lab, &submitted(&lab, RECIPIENT, MESSAGE));
    stops_cleanly(daemon);
}

fn pauses_stay() {
    let lab = Lab::new();
    let daemon = lab.start();
    assert_eq!(["routing", "intake"].map(|part| cli(&lab, &["pause", part]).code), [Some(0); 2]);
    let id = submitted(&lab, RECIPIENT, MESSAGE);
    write(
        &lab,
        &(Config::default().workers("spares = 1\n").text() + "[intake]\nmemory_pressure = \"20%\"\n"),
    );
    assert!(reloaded(&lab).contains("intake.memory_pressure: \"10%\" -> \"20%\""));
    for part in ["routing_paused", "intake_paused"] {
        let status = status(&lab);
        assert!(status["daemon"][part].as_str().is_some_and(|why| why.contains("operator")), "{status}");
    }
    assert_eq!(lab.spool().ids("incoming"), [id.clone()].into());
    assert_eq!(["routing", "intake"].map(|part| cli(&lab, &["resume", part]).code), [Some(0); 2]);
    assert_arrives(&lab, &id);
    stops_cleanly(daemon);
}

fn only_what_differs() {
    let lab = Lab::new();
    let daemon = lab.start();
    assert_arrives(&lab, &submitted(&lab, RECIPIENT, MESSAGE));
    write(&lab, &(Config::default().text() + "# another comment\n"));
    let said = reloaded(&lab);
    assert!(said.contains("nothing has changed"), "{said}");
    write(&lab, &(Config::default().text() + "[intake]\nmemory_pressure = \"20%\"\n"));
    let said = reloaded(&lab);
    assert!(said.contains("intake.memory_pressure"), "{said}");
    assert_eq!(judged(&lab), 1, "the workers are others");
    stops_cleanly(daemon);
    assert_ne!(reload(&lab).code, Some(0), "no daemon to reload");
}
