//! What a program is given, and what becomes of what it says.

use super::*;
use crate::test_spool::TestSpool;

/// A program that tells what it was given, and a spool with mail for it.
struct Rig {
    spool: TestSpool,
    cut_off: Arc<CutOff>,
}

const CONTENT: &str = "Subject: x\r\n\r\n.dot\r\nend\r\n";

/// Writes down its arguments, its environment and its input.
const TELLS: &str =
    "printf '<%s>' \"$@\"; echo; env | sort; ls /proc/self/fd | sort -n | tr '\\n' ' '; cat > input";

/// Tells which descriptors a program has.
const DESCRIPTORS: &str = "ls /proc/self/fd | sort -n | tr '\\n' ' '";

impl Rig {
    fn new() -> Self {
        Self { spool: TestSpool::new(), cut_off: Arc::new(CutOff::new().unwrap()) }
    }

    fn pipe(&self, script: &str, arguments: &[&str], keys: &str) -> Pipe {
        let command: Vec<String> = ["/bin/sh", "-c", script, "script"]
            .iter()
            .chain(arguments)
            .map(|text| format!("'''{text}'''"))
            .collect();
        let folder = self.spool.folder().display();
        let text = format!("command = [{}]\ndirectory = '{folder}'\n{keys}", command.join(", "));
        let config: PipeConfig = toml::from_str(&text).unwrap();
        config.fits().unwrap();
        Pipe::new(&config, "program", "hub.example", &self.cut_off).unwrap()
    }

    fn run(&self, pipe: &Pipe, sender: &str, recipients: &[&str]) -> Handled {
        let outbound = self.spool.routed(sender, recipients, CONTENT);
        let message = outbound.open().unwrap();
        let parcel = Parcel { message: &message, trace: "Received: by x;\r\n\tnow\r\n", may_repeat: false };
        let places: Vec<usize> = (0..recipients.len()).collect();
        pipe.transaction(&parcel, &places).unwrap()
    }

    fn input(&self) -> String {
        std::fs::read_to_string(self.spool.folder().join("input")).unwrap()
    }
}

#[test]
fn a_program_gets_the_message_the_addresses_and_nothing_else() {
    let rig = Rig::new();
    let pipe = rig.pipe(TELLS, &["-f", "{sender}", "--", "{recipients}"], "");
    let handled = rig.run(&pipe, "<s@x>", &["a@b", "\"; touch x\"@d"]);
    let [Outcome::Delivered(one), Outcome::Delivered(two)] = &handled.outcomes[..] else {
        panic!("{handled:?}")
    };
    assert_eq!(one, two);
    let told = one.as_str();
    assert!(told.starts_with("exit status 0: <-f><s@x><--><a@b><\"; touch x\"@d>\\nMESSAGE_ID=01"), "{told}");
    // What the shell adds is its own.
    for variable in told.split("\\n").filter(|word| word.contains('=')) {
        let name = variable.split('=').next().unwrap();
        assert!(["MESSAGE_ID", "PATH", "SENDER", "PWD", "SHLVL", "_"].contains(&name), "{told}");
    }
    // Those that this very process was started with are passed on by everybody.
    let plain = Command::new("sh").args(["-c", DESCRIPTORS]).output().unwrap();
    let plain = String::from_utf8(plain.stdout).unwrap();
    assert!(told.ends_with(&format!("\\n{}", plain.trim())), "{told}, where a plain one has {plain}");
    assert_eq!(rig.input(), "Received: by x;\n\tnow\nSubject: x\n\n.dot\nend\n");
}

#[test]
fn what_is_asked_for_stands_on_top() {
    let rig = Rig::new();
    let keys = "per_recipient = true\nreturn_path = true\ndelivered_to = true\nline_ends = 'crlf'";
    let pipe = rig.pipe("cat > input; echo $RECIPIENT $1", &["{local}"], keys);
    let handled = rig.run(&pipe, "<>", &["Ann@b"]);
    assert_eq!(handled.outcomes, [Outcome::Delivered(Line::escaped("exit status 0: Ann@b Ann"))]);
    let top = "Return-Path: <>\r\nDelivered-To: Ann@b\r\nReceived: by x;\r\n\tnow\r\n";
    assert_eq!((rig.input(), pipe.recipients_max()), (format!("{top}{CONTENT}"), 1));
}

#[test]
fn who_could_pass_for_an_option_is_refused_and_nobody_else() {
    let rig = Rig::new();
    let pipe = rig.pipe("echo \"$@\"", &["{recipients}"], "");
    let handled = rig.run(&pipe, "<>", &["a@b", "-rf@b", "c@d"]);
    let [Outcome::Delivered(told), Outcome::Permanent(why), Outcome::Delivered(_)] = &handled.outcomes[..]
    else {
        panic!("{handled:?}")
    };
    assert!(
        told.as_str() == "exit status 0: a@b c@d" && why.as_str().starts_with("5.1.3 <-rf@b>"),
        "{handled:?}"
    );
    let handled = rig.run(&pipe, "<>", &["-rf@b"]);
    assert!(matches!(&handled.outcomes[..], [Outcome::Permanent(_)]), "{handled:?}");
}

#[test]
fn a_program_need_not_read_the_message() {
    let rig = Rig::new();
    let handled = rig.run(&rig.pipe("exec <&-; exit 67", &[], ""), "<>", &["a@b"]);
    assert_eq!(handled.outcomes, [Outcome::Permanent(Line::escaped("exit status 67 (EX_NOUSER)"))]);
}

#[test]
fn a_program_that_is_not_there_is_trouble_and_nobodys_fault() {
    let rig = Rig::new();
    let config: PipeConfig = toml::from_str("command = ['/nowhere/program']").unwrap();
    let pipe = Pipe::new(&config, "program", "h", &rig.cut_off).unwrap();
    let handled = rig.run(&pipe, "<>", &["a@b"]);
    let trouble = handled.trouble.unwrap();
    assert!(handled.outcomes.is_empty() && trouble.as_str().starts_with("failed to run /nowhere/program: "));
}

#[test]
fn one_that_hangs_is_tried_again() {
    let rig = Rig::new();
    let handled = rig.run(&rig.pipe("exec sleep 1000", &[], "timeout = '50ms'"), "<>", &["a@b"]);
    assert_eq!(handled.outcomes, [Outcome::Transient(Line::escaped("not done after 50ms, ended"))]);
}

#[test]
fn damaged_bytes_reach_no_program() {
    let rig = Rig::new();
    let outbound = rig.spool.routed("<>", &["a@b"], CONTENT);
    rig.spool.damage(&outbound);
    let message = outbound.open().unwrap();
    let parcel = Parcel { message: &message, trace: "", may_repeat: false };
    let damaged = rig.pipe("touch started", &[], "").transaction(&parcel, &[0]).unwrap_err();
    assert!(damaged.0.as_str().contains("blake3:") && !rig.spool.folder().join("started").exists());
}

#[test]
fn keys_that_do_not_fit_each_other_are_refused() {
    for (keys, part) in [
        ("command = []", "absolute path"),
        ("command = ['/p', '{local}']", "per_recipient = true"),
        ("command = ['/p']\ndirectory = 'x'", "directory: \"x\""),
        ("command = ['/p']\ndelivered_to = true", "delivered_to"),
        ("command = ['/p']\ntimeout = '0s'", "timeout"),
        ("command = ['/p']\ncpu_time = '1500ms'", "cpu_time"),
        ("command = ['/p']\nmemory = '0B'", "memory"),
    ] {
        let config: PipeConfig = toml::from_str(keys).unwrap();
        let error = config.fits().unwrap_err().to_string();
        assert!(error.contains(part), "{keys}: {error}");
    }
}
