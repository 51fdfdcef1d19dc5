//! A real cell, seen from outside, and what is said where a kernel lacks a part
//! of the jail.
//!
//! What the cell says of itself must never be all that is looked at here.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use lazaret_envelope::{Address, ByteSize, Cause, Transaction};
use lazaret_route::{Globs, RouteConfig};
use lazaret_worker::{BUILT_IN_MESSAGE, Fate, JailMode, Specimen, WorkersConfig};
use libtest_mimic::{Failed, Trial};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use seccompiler::{SeccompAction, SeccompFilter, TargetArch, apply_filter};

/// Threads of a cell.
const THREADS: usize = 8;

/// First argument of a program that starts a cell where a system call is lacking.
pub(crate) const WITHOUT: &str = "without";

pub(crate) fn trials() -> impl Iterator<Item = Trial> {
    [
        Trial::test("cell::jailed as seen from outside", jailed),
        Trial::test("cell::free when asked for", free),
        Trial::test("cell::of a template that makes few copies", few_copies),
        Trial::test("cell::of a new template when one was killed", killed_template),
        Trial::test("cell::stopped while it makes way", stopped),
        Trial::test("cell::asked to leave its message by somebody else", asked_by_others),
        Trial::test("cell::leaves its message, and goes on with others", leaves),
        Trial::test("cell::leaves what holds memory for as long as there is room", leaves_heavy),
        Trial::test("cell::least memory is enough for the built-in message", least_memory),
        Trial::test("cell::without Landlock", without_landlock),
        Trial::test("cell::without seccomp", without_seccomp),
        Trial::test("cell::without close_range", without_close_range),
    ]
    .into_iter()
}

/// The value of a line of a file below /proc.
fn value(file: &str, key: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{file}: {error}"));
    let line = text.lines().find_map(|line| line.strip_prefix(key)).expect(key);
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn jailed() -> Result<(), Failed> {
    let mut cell = Specimen::start(Vec::new(), JailMode::Required)?;
    assert!(cell.jail().is_some_and(|state| state.is_full()), "{:?}", cell.jail());
    let process = format!("/proc/{}", cell.pid());
    let threads: Vec<_> = fs::read_dir(format!("{process}/task"))?.collect::<Result<_, _>>()?;
    assert_eq!(threads.len(), THREADS);
    for thread in threads {
        assert_eq!(value(&thread.path().join("comm").display().to_string(), ""), "lazaret-cell");
        let status = thread.path().join("status").display().to_string();
        for (key, expected) in [("Seccomp:", "2"), ("NoNewPrivs:", "1"), ("CapEff:", "0000000000000000")] {
            assert_eq!(value(&status, key), expected, "{key} {status}");
        }
    }
    let command = fs::read(format!("{process}/cmdline"))?;
    assert!(command.starts_with(b"lazaret-cell\0"), "{}", String::from_utf8_lossy(&command));
    for (key, expected) in [
        ("Max open files", "4 4 files"),
        ("Max core file size", "0 0 bytes"),
        ("Max file size", "0 0 bytes"),
        ("Max processes", "0 0 processes"),
    ] {
        assert_eq!(value(&format!("{process}/limits"), key), expected, "{key}");
    }
    assert_eq!(value(&format!("{process}/oom_score_adj"), ""), "1000");
    cell.judge()?;
    if rustix::process::geteuid().is_root() {
        let open: BTreeMap<_, _> = fs::read_dir(format!("{process}/fd"))?
            .map(|entry| entry.and_then(|entry| Ok((entry.file_name(), fs::read_link(entry.path())?))))
            .collect::<Result<_, _>>()?;
        let kinds: Vec<_> = open
            .iter()
            .map(|(fd, to)| format!("{fd:?} {}", to.display()))
            .map(|to| to[..8].to_owned())
            .collect();
        assert_eq!(kinds, ["\"0\" sock", "\"1\" pipe", "\"2\" pipe"], "{open:?}");
    } else {
        let error = fs::read_dir(format!("{process}/fd")).map(drop).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied, "it can be looked into");
    }
    Ok(())
}

fn free() -> Result<(), Failed> {
    let cell = Specimen::start(Vec::new(), JailMode::Off)?;
    for entry in fs::read_dir(format!("/proc/{}/fd", cell.pid()))? {
        let to = fs::read_link(entry?.path())?.display().to_string();
        assert!(
            !to.contains("memfd:lazaret-cell"),
            "it gives the page's descriptor back without a jail, too"
        );
    }
    assert_eq!(cell.jail().map(|state| state.to_string()), Some("none".to_owned()));
    assert_eq!(
        value(&format!("/proc/{}/status", cell.pid()), "Seccomp:"),
        value("/proc/self/status", "Seccomp:")
    );
    Ok(())
}

/// Whoever learns the layout of one cell's memory has not learnt that of all.
fn few_copies() -> Result<(), Failed> {
    let mut cell = Specimen::start(Vec::new(), JailMode::Required)?;
    let mut copies = BTreeMap::new();
    for _ in 0..40 {
        assert_eq!(value(&format!("/proc/{}/status", cell.pid()), "PPid:"), std::process::id().to_string());
        *copies.entry(cell.template_pid()).or_insert(0) += 1;
        cell.replace()?;
        cell.judge()?;
    }
    let most = copies.into_values().max();
    assert_eq!(most, Some(16), "of one template");
    Ok(())
}

fn killed_template() -> Result<(), Failed> {
    let mut cell = Specimen::start(Vec::new(), JailMode::Required)?;
    let template = cell.template_pid();
    let pid = Pid::from_raw(template.cast_signed()).expect("a process");
    kill_process(pid, Signal::KILL)?;
    cell.judge()?;
    cell.replace()?;
    assert_ne!(cell.template_pid(), template);
    Ok(cell.judge()?)
}

/// A message that takes long has its cell sleep, and be stopped, and go on: that is no
/// call that ends it.
fn stopped() -> Result<(), Failed> {
    let mut cell = Specimen::start(vec![asks_for_subject()], JailMode::Required)?;
    let pid = Pid::from_raw(cell.pid().cast_signed()).expect("a process");
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    let message = takes_long(400, 24 << 10);
    let judged = AtomicBool::new(false);
    let fate = thread::scope(|scope| {
        scope.spawn(|| {
            while let Some(state) = state_of(pid).filter(|_| !judged.load(Ordering::Relaxed)) {
                // While it waits for the message, and then while it makes way.
                if state == 'S' && pidfd_send_signal(&process, Signal::STOP).is_ok() {
                    while state_of(pid).is_some_and(|state| state == 'S') {}
                    // Fails only where the cell has ended, as the judgment does then.
                    let _ = pidfd_send_signal(&process, Signal::CONT);
                }
            }
        });
        let fate = cell.judge_message(&to_postmaster(), message.as_bytes());
        judged.store(true, Ordering::Relaxed);
        fate
    });
    match fate? {
        Fate::Verdict(_) => Ok(()),
        fate => Err(format!("{fate:?}").into()),
    }
}

/// A message is not to blame for what somebody does to its cell.
fn asked_by_others() -> Result<(), Failed> {
    let mut cell = Specimen::start(vec![asks_for_subject()], JailMode::Required)?;
    let (pid, judged) = (AtomicU32::new(cell.pid()), AtomicBool::new(false));
    let message = takes_long(1000, 0);
    let (fates, asked) = thread::scope(|scope| {
        let others = scope.spawn(|| {
            let mut asked = 0;
            while !judged.load(Ordering::Relaxed) {
                let kill = format!("kill -USR1 {}", pid.load(Ordering::Relaxed));
                let end = Command::new("/bin/sh").args(["-c", &kill]).stderr(Stdio::null()).status();
                asked += u32::from(end.is_ok_and(|end| end.success()));
            }
            asked
        });
        let judge = |_| {
            cell.replace()?;
            pid.store(cell.pid(), Ordering::Relaxed);
            cell.judge_message(&to_postmaster(), message.as_bytes())
        };
        let fates: Result<Vec<_>, _> = (0..20).map(judge).collect();
        judged.store(true, Ordering::Relaxed);
        (fates, others.join())
    });
    assert!(asked.is_ok_and(|asked| asked > 0), "others can ask");
    assert!(fates?.iter().all(|fate| matches!(fate, Fate::Verdict(_))), "and are not heard");
    Ok(())
}

/// Where there is no processor for it in time a cell is ended after all; so this counts
/// messages, in many cells.
fn leaves() -> Result<(), Failed> {
    let mut cell = Specimen::start(vec![asks_for_subject()], JailMode::Required)?;
    let mut left = BTreeMap::new();
    for _ in 0..4 * THREADS {
        let pid = cell.pid();
        assert_eq!(cell.judge_at_once(&to_postmaster(), takes_long(4000, 0).as_bytes())?, None);
        if cell.pid() == 0 {
            cell.replace()?;
            continue;
        }
        assert_eq!(cell.pid(), pid, "the same cell");
        cell.judge()?;
        assert_eq!(cell.pid(), pid, "which goes on with the next message");
        *left.entry(pid).or_insert(0) += 1;
    }
    let most = left.into_values().max();
    // The last thread has nobody to relieve it: its cell has asked to be replaced.
    assert!(most.is_some_and(|most| most < THREADS - 1), "{most:?} messages were left by one cell");
    Ok(())
}

/// What is mapped is given back, and heap is not.
fn leaves_heavy() -> Result<(), Failed> {
    let routes = vec![asks_for_subject(), asks_for_parts()];
    let mut cell = Specimen::start(routes, JailMode::Required)?;
    let pid = cell.pid();
    let large = takes_long(40_000, 40 << 20);
    assert_eq!(cell.judge_at_once(&to_postmaster(), large.as_bytes())?, None);
    assert_eq!(cell.pid(), pid, "one that holds what is mapped");
    cell.judge()?;
    let many = "--p\r\nq:\r\n\r\n".repeat(2 << 20);
    let heavy = format!("Content-Type: multipart/mixed; boundary=p\r\n\r\n{many}--p--\r\n");
    assert_eq!(cell.judge_at_once(&to_postmaster(), heavy.as_bytes())?, None);
    assert_eq!(cell.pid(), 0, "one that holds as much heap as a cell may for all of them");
    Ok(())
}

fn asks_for_parts() -> RouteConfig {
    RouteConfig {
        part_type: Some(Globs::One("application/x-never".to_owned())),
        deliver: Some("x".to_owned()),
        ..RouteConfig::default()
    }
}

fn asks_for_subject() -> RouteConfig {
    RouteConfig {
        header: Some(BTreeMap::from([("Subject".to_owned(), "never".to_owned())])),
        deliver: Some("x".to_owned()),
        ..RouteConfig::default()
    }
}

/// A message with so many unfinished encoded words, each of which is looked at to its end,
/// and so many bytes of text.
fn takes_long(words: usize, bytes: usize) -> String {
    format!("Subject: {}\r\n\r\n{}", "=?ee?Q?o".repeat(words), "text\r\n".repeat(bytes / 6))
}

/// How a process is: a letter of proc_pid_stat(5); none if it is no more.
fn state_of(pid: Pid) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid())).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

fn to_postmaster() -> Transaction {
    let to: Address = "postmaster@localhost".parse().expect("an address");
    Transaction { recipients: vec![to.into()], ..Transaction::default() }
}

/// The least memory that can be configured is enough for the least of mail, with
/// some to spare, and not for nothing at all.
fn least_memory() -> Result<(), Failed> {
    let least = WorkersConfig::MEMORY_LEAST.0;
    let judge = |memory: u64| -> Result<Fate, Failed> {
        let config =
            WorkersConfig { memory: ByteSize(memory), memory_per_byte: 0, ..WorkersConfig::default() };
        let never = Some(Globs::One("application/x-never".to_owned()));
        let asks = RouteConfig { part_type: never, deliver: Some("x".to_owned()), ..RouteConfig::default() };
        let mut cell = Specimen::start_at(Path::new("/proc/self/exe"), vec![asks], config)?;
        Ok(cell.judge_message(&to_postmaster(), BUILT_IN_MESSAGE.as_bytes())?)
    };
    assert!(matches!(judge(least / 2)?, Fate::Verdict(_)), "{:?}", judge(least / 2)?);
    assert!(matches!(judge(least / 64)?, Fate::Fault(Cause::Memory, _)), "{:?}", judge(least / 64)?);
    Ok(())
}

fn without_landlock() -> Result<(), Failed> {
    let missing = "Landlock, Landlock for TCP, signals and abstract sockets (ABI 6)";
    lacking(libc::SYS_landlock_create_ruleset, missing)
}

fn without_seccomp() -> Result<(), Failed> {
    lacking(libc::SYS_seccomp, "seccomp")
}

fn without_close_range() -> Result<(), Failed> {
    lacking(libc::SYS_close_range, "closing of descriptors")
}

fn lacking(number: libc::c_long, missing: &str) -> Result<(), Failed> {
    let run = |jail| -> Result<String, Failed> {
        let mut command = Command::new("/proc/self/exe");
        command.args([WITHOUT, &number.to_string(), jail]).stdin(Stdio::null()).stderr(Stdio::inherit());
        Ok(String::from_utf8(command.output()?.stdout)?.trim().to_owned())
    };
    assert_eq!(run("best-effort")?, format!("partial, without {missing}"));
    let refused = run("required")?;
    assert!(refused.starts_with("the jail of a new cell is not what"), "{refused}");
    assert!(refused.contains(&format!("partial, without {missing}")), "{refused}");
    Ok(())
}

/// Says how a cell is jailed where a system call is lacking. Seccomp itself is
/// what plays the poorer kernel.
#[allow(clippy::print_stdout, reason = "this is the answer to the test")]
pub(crate) fn without(number: &str, jail: &str) -> ExitCode {
    let lacking = BTreeMap::from([(number.parse().expect("a number"), Vec::new())]);
    let architecture = TargetArch::try_from(std::env::consts::ARCH).expect("a known one");
    let (rest, lack) = (SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS.cast_unsigned()));
    let filter = SeccompFilter::new(lacking, rest, lack, architecture).expect("a filter");
    let filter: seccompiler::BpfProgram = filter.try_into().expect("a program");
    apply_filter(&filter).expect("a kernel with seccomp");
    let mode = if jail == "required" { JailMode::Required } else { JailMode::BestEffort };
    match Specimen::start(Vec::new(), mode) {
        Ok(cell) => println!("{}", cell.jail().expect("a state")),
        Err(error) => println!("{error}"),
    }
    ExitCode::SUCCESS
}
