//! Mail goes to programs, which do what programs do: say no, hang, flood, leave
//! children behind, and go on when Lazaret does not.
//!
//! The programs are small shell scripts that write down what they saw. A case
//! must never take a program's end for granted: it looks for the process.

use std::path::PathBuf;
use std::time::Duration;

use crate::content::{carries, wire};
use crate::lab::{Config, Lab, submitted};
use crate::process::is_running;
use crate::trial::Case;
use crate::wait::until;

/// Longest time for anything to happen on a busy machine.
const TIME_MAX: Duration = Duration::from_secs(60);

/// Most memory of a daemon whose program floods it, in bytes.
const MEMORY_MAX: u64 = 256 << 20;

/// Bounces, which go to the sender, go to a Maildir.
const TO_PROGRAM: &str = "recipient = \"*@example.org\"\ndeliver = \"program\"\n";

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("pipe::exit_statuses_decide_what_becomes_of_the_mail", statuses),
        Case::new("pipe::one_that_hangs_is_ended_and_holds_nobody_up", hangs),
        Case::new("pipe::a_flood_and_children_left_behind_do_no_harm", flood),
        Case::new("pipe::a_program_outlives_a_killed_daemon_with_the_whole_message", killed),
        Case::new("pipe::a_stop_ends_the_program_and_puts_the_message_back", stopped),
        Case::new("pipe::what_is_discarded_is_gone_and_logged", discarded),
    ]
}

/// A lab whose mail goes to a script, which runs in the lab's folder.
fn lab(script: &str, arguments: &str, keys: &str) -> Lab {
    let lab = Lab::new();
    let program = lab.path("program");
    std::fs::write(&program, script).expect("failed to write the script");
    let folder = lab.path("").display().to_string();
    let table = format!(
        "[transport.program]\ntype = \"pipe\"\ncommand = [\"/bin/sh\", \"{}\", {arguments}]\ndirectory = \"{folder}\"\n{keys}\n",
        program.display()
    );
    // What senders are told is none of the program's.
    let notices = "recipient = \"sender@example.com\"\ndeliver = \"mailboxes\"\n";
    lab.configure(&Config::default().tables(&table).route(TO_PROGRAM).route(notices));
    lab
}

fn read(lab: &Lab, name: &str) -> String {
    std::fs::read_to_string(lab.path(name)).unwrap_or_default()
}

/// The process whose number a script has written down.
#[track_caller]
fn process(lab: &Lab, name: &str) -> u32 {
    assert!(until(TIME_MAX, || read(lab, name).ends_with('\n')), "{name} is not there");
    read(lab, name).trim().parse().expect("a process id")
}

fn statuses() {
    let script =
        "echo $1 >> ran; case $1 in kill) kill -9 $$;; say) echo 5.7.1 no; exit 1;; *) exit $1;; esac\n";
    let lab = lab(script, "\"{local}\"", "per_recipient = true");
    let daemon = lab.start();
    let later = ["71", "74", "75", "1", "127", "kill"];
    let decided = ["0", "64", "65", "67", "69", "73", "77", "78", "say"];
    let submit = |local: &str| submitted(&lab, &format!("{local}@example.org"), b"Subject: x\n\n");
    let waiting = later.map(|status| (submit(status), status));
    let gone = decided.map(|status| (submit(status), status));
    let settled = until(TIME_MAX, || {
        lab.spool().passing().is_empty() && lab.spool().ids("waiting").len() >= waiting.len()
    });
    assert!(settled, "{:?}", lab.spool().passing());
    let kept = lab.spool().ids("waiting");
    for (id, status) in &waiting {
        assert!(kept.contains(id), "{status} means later");
        let why = match *status {
            "kill" => "why=ended by signal 9".to_owned(),
            status => format!("why=exit status {status}"),
        };
        // It is told behind the move.
        let is_told = || lab.log().lines().any(|line| line.contains(id) && line.contains(&why));
        assert!(until(TIME_MAX, is_told), "{why} is not told: {}", lab.log());
    }
    for (id, status) in &gone {
        assert!(!kept.contains(id), "{status} does not mean later");
    }
    assert_eq!(read(&lab, "ran").lines().count(), later.len() + decided.len(), "each ran once");
    assert_eq!(lab.mail().copies().len(), decided.len() - 1, "who was refused is told of");
    assert_eq!(daemon.terminate().code(), Some(0));
}

fn hangs() {
    let script =
        "case $1 in hang) sleep 1000 & echo $! > child; echo $$ > parent; wait;; esac\ncat > ok.$1\n";
    let lab = lab(script, "\"{local}\"", "per_recipient = true\ntimeout = \"1s\"\nworkers = 2");
    let daemon = lab.start();
    let hung = submitted(&lab, "hang@example.org", b"Subject: x\n\n");
    let (parent, child) = (process(&lab, "parent"), process(&lab, "child"));
    submitted(&lab, "healthy@example.org", b"Subject: y\n\n");
    assert!(until(TIME_MAX, || read(&lab, "ok.healthy").ends_with("\n\n")), "the other one goes through");
    assert!(until(TIME_MAX, || lab.spool().ids("waiting").contains(&hung)), "it comes back later");
    assert!(until(TIME_MAX, || !is_running(parent) && !is_running(child)), "the whole group has ended");
    assert!(lab.log().contains("program hangs"), "the log names it");
    assert_eq!(daemon.terminate().code(), Some(0));
    assert!(!lab.path("ok.hang").exists());
}

fn flood() {
    let script = "sleep 1000 & echo $! > child\nhead -c 100000000 /dev/zero\nyes | head -c 1000000 >&2\n";
    let lab = lab(script, "\"{recipients}\"", "");
    let daemon = lab.start();
    submitted(&lab, "a@example.org", b"Subject: x\n\n");
    let child = process(&lab, "child");
    assert!(until(TIME_MAX, || lab.spool().passing().is_empty()), "{:?}", lab.spool().passing());
    assert!(
        lab.spool().ids("waiting").is_empty() && lab.spool().ids("deferred").is_empty(),
        "it is delivered"
    );
    assert!(until(TIME_MAX, || !is_running(child)), "what it left behind has ended");
    let memory = daemon.memory_peak();
    assert!(memory < MEMORY_MAX, "{memory} bytes");
    assert_eq!(daemon.terminate().code(), Some(0));
}

fn killed() {
    let script = "echo $$ > run.$$.tmp; mv run.$$.tmp run.$$.pid\nwhile [ ! -e go ]; do sleep 0.02; done\n\
                  cat > run.$$.tmp; mv run.$$.tmp run.$$.out\n";
    let lab = lab(script, "\"{recipients}\"", "");
    let runs = |ending: &str| -> Vec<PathBuf> {
        let entries =
            std::fs::read_dir(lab.path("")).expect("a folder").map(|entry| entry.expect("an entry").path());
        entries.filter(|path| path.extension().is_some_and(|found| found == ending)).collect()
    };
    let mut message = b"Subject: long\n\n".to_vec();
    message.extend(b"0123456789abcdef\n".repeat(60_000));
    let daemon = lab.start();
    let id = submitted(&lab, "a@example.org", &message);
    assert!(until(TIME_MAX, || runs("pid").len() == 1), "it has started");
    daemon.kill9();
    assert!(lab.spool().ids("outbound").contains(&id), "{:?}", lab.spool().passing());
    let daemon = lab.start();
    assert!(until(TIME_MAX, || runs("pid").len() == 2), "it is started again");
    std::fs::write(lab.path("go"), "").expect("failed to write a file");
    assert!(until(TIME_MAX, || lab.spool().passing().is_empty() && runs("out").len() == 2), "both end");
    for run in runs("out") {
        let seen = std::fs::read(&run).expect("what it has read");
        carries(&seen, &wire(&message)).unwrap_or_else(|why| panic!("{run:?}: {why}"));
    }
    assert_eq!(daemon.terminate().code(), Some(0));
    assert_eq!(runs("pid").len(), 2, "once more, and not again");
}

fn stopped() {
    let lab = lab("echo $$ > pid; sleep 1000\n", "\"{recipients}\"", "");
    let daemon = lab.start();
    let id = submitted(&lab, "a@example.org", b"Subject: x\n\n");
    let program = process(&lab, "pid");
    assert_eq!(daemon.terminate().code(), Some(0));
    assert!(!is_running(program), "it has ended with the daemon");
    let names = lab.spool().names("incoming");
    let [name] = &names[..] else { panic!("{names:?}") };
    let marks: Vec<&str> = name.split('.').skip(1).filter(|part| !part.starts_with('g')).collect();
    assert!(name.starts_with(&id) && marks.is_empty(), "back as if nothing had been: {name}");
}

fn discarded() {
    let lab = Lab::new();
    let table = "[transport.nowhere]\ntype = \"discard\"\n";
    let route = "recipient = \"gone@example.org\"\ndeliver = \"nowhere\"\n";
    lab.configure(&Config::default().tables(table).route(route));
    let daemon = lab.start();
    let gone = submitted(&lab, "gone@example.org", b"Subject: x\n\n");
    let kept = submitted(&lab, "kept@example.org", b"Subject: x\n\n");
    assert!(until(TIME_MAX, || lab.mail().copies().contains_key(&kept) && lab.spool().passing().is_empty()));
    assert!(!lab.mail().copies().contains_key(&gone) && lab.spool().ids("deferred").is_empty());
    let told = |line: &str| line.contains(&gone) && line.contains("discarded") && line.contains("nowhere");
    assert!(lab.log().lines().any(told), "the log tells of it");
    assert_eq!(daemon.terminate().code(), Some(0));
}
