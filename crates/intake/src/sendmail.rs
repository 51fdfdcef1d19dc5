//! The command line of sendmail(8), as programs that send mail write it.
//!
//! Options may be clustered (`-ti`), have their value attached or not (`-fa@b`,
//! `-f a@b`), and stand among the recipients, up to `--`. What can safely be
//! ignored is; what can't be done must never be ignored: it is refused.

use std::ffi::OsString;
use std::path::PathBuf;

use lazaret_envelope::{Line, MailParams, RcptParams, Xtext};

use crate::room::Reserve;
use crate::submit::{EX_USAGE, Submission};

/// What the command line asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// `-bm`: take in a message from standard input.
    #[default]
    Message,
    /// `-bs`: speak SMTP on standard input and output.
    Smtp,
    /// `-bp`: list the queue.
    List,
    /// `-q`, with or without an interval or a selection: have the daemon try all mail
    /// that waits now.
    Queue,
    /// `-bi`, `-I`: rebuild the alias table. There is none.
    Aliases,
}

/// What the command line says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SendmailArgs {
    /// `-b`, `-q`, `-I`.
    pub mode: Mode,
    /// `--config FILE`, `-C FILE`: Lazaret's configuration.
    pub config: Option<PathBuf>,
    /// `-f`, `-r`: the sender; empty for the null sender.
    pub sender: Option<String>,
    /// `-F`: the full name in a From field that is added.
    pub full_name: Option<String>,
    /// The recipients.
    pub recipients: Vec<String>,
    /// `-t`: the header names more of them.
    pub from_header: bool,
    /// `-G`: from an MTA, nothing is to be completed.
    pub relayed: bool,
    /// `-i`, `-oi`: a lone dot does not end the message.
    pub ignore_dots: bool,
    /// `-B`, `-R`, `-V`, `-O smtputf8=yes`, `-O requiretls=yes`.
    pub mail: MailParams,
    /// `-N`.
    pub rcpt: RcptParams,
    /// `-v`: say what was done.
    pub verbose: bool,
}

/// Why a command line is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    /// No such option.
    #[error("unknown option \"{0}\"")]
    Unknown(Line),
    /// An option without its value.
    #[error("option {0} needs a value")]
    Missing(Line),
    /// A value that does not fit.
    #[error("option {option}: bad value \"{value}\", expected {expected}")]
    Value {
        /// The option.
        option: &'static str,
        /// What was given.
        value: Line,
        /// What would have been understood.
        expected: &'static str,
    },
    /// What sendmail can do and Lazaret can't.
    #[error("option {option} ({what}) is not supported")]
    Unsupported {
        /// The option.
        option: Line,
        /// What it would do.
        what: &'static str,
    },
    /// An argument that is no UTF-8.
    #[error("\"{0}\" is not UTF-8")]
    NotUtf8(Line),
}

impl UsageError {
    /// The exit status: `EX_USAGE`.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        EX_USAGE
    }
}

impl SendmailArgs {
    /// Reads the arguments behind the program's name.
    ///
    /// # Errors
    /// The first one that makes no sense.
    pub fn parse(args: impl Iterator<Item = OsString>) -> Result<Self, UsageError> {
        let mut parsed = Self::default();
        let mut args = args.map(|arg| arg.into_string().map_err(|raw| UsageError::NotUtf8(shown_raw(&raw))));
        let mut options = true;
        while let Some(arg) = args.next().transpose()? {
            match arg.strip_prefix('-') {
                Some("-") if options => options = false,
                Some(long) if options && long.starts_with('-') => parsed.long(&arg, &mut args)?,
                Some(cluster) if options && !cluster.is_empty() => parsed.cluster(cluster, &mut args)?,
                _ => parsed.recipients.push(arg),
            }
        }
        Ok(parsed)
    }

    /// The submission that was asked for.
    #[must_use]
    pub fn into_submission(self, hostname: String, size_max: u64, reserve: Reserve) -> Submission {
        let Self { sender, full_name, recipients, from_header, relayed, ignore_dots, mail, rcpt, .. } = self;
        Submission {
            sender,
            full_name,
            recipients,
            from_header,
            relayed,
            mail,
            rcpt,
            ignore_dots,
            hostname,
            size_max,
            reserve,
        }
    }

    fn long(&mut self, arg: &str, args: &mut Args<'_>) -> Result<(), UsageError> {
        let value = match arg.strip_prefix("--config") {
            Some("") => args.next().transpose()?.ok_or_else(|| UsageError::Missing(shown(arg)))?,
            Some(rest) if rest.starts_with('=') => rest[1..].to_owned(),
            _ => return Err(UsageError::Unknown(shown(arg))),
        };
        self.config = Some(value.into());
        Ok(())
    }

    /// Reads `abc` of `-abc`: options without values, up to one that has one.
    fn cluster(&mut self, cluster: &str, args: &mut Args<'_>) -> Result<(), UsageError> {
        let mut letters = cluster.chars();
        while let Some(letter) = letters.next() {
            let attached = letters.as_str();
            match kind(letter) {
                Kind::Flag => self.flag(letter),
                Kind::Value if attached.is_empty() => {
                    let missing = || UsageError::Missing(shown(&format!("-{letter}")));
                    let value = args.next().transpose()?.ok_or_else(missing)?;
                    return self.value(letter, &value);
                }
                // Its value is optional, and so never the next word.
                Kind::Queue => {
                    self.mode = Mode::Queue;
                    return Ok(());
                }
                Kind::Value => return self.value(letter, attached),
                Kind::Unknown => return Err(UsageError::Unknown(shown(&format!("-{letter}")))),
            }
        }
        Ok(())
    }

    fn flag(&mut self, letter: char) {
        match letter {
            'i' => self.ignore_dots = true,
            't' => self.from_header = true,
            'v' => self.verbose = true,
            'G' => self.relayed = true,
            'I' => self.mode = Mode::Aliases,
            _ => {}
        }
    }

    /// The last of several equal options counts.
    fn value(&mut self, letter: char, value: &str) -> Result<(), UsageError> {
        match letter {
            'C' => self.config = Some(value.into()),
            'F' => self.full_name = Some(value.to_owned()),
            'f' | 'r' => self.sender = Some(value.to_owned()),
            'b' => self.mode = mode(value)?.unwrap_or(self.mode),
            'o' if value == "i" => self.ignore_dots = true,
            'O' => self.long_value(value)?,
            'B' => {
                self.mail.body = None;
                let set = self.mail.set("BODY", Some(value));
                set.map_err(|_| bad("-B", value, "7BIT or 8BITMIME"))?;
            }
            'R' => {
                self.mail.ret = None;
                self.mail.set("RET", Some(value)).map_err(|_| bad("-R", value, "full or hdrs"))?;
            }
            'N' => {
                self.rcpt.notify = None;
                let set = self.rcpt.set("NOTIFY", Some(value));
                set.map_err(|_| bad("-N", value, "never, or any of success, failure, delay"))?;
            }
            'V' => self.mail.envid = envid(value)?,
            _ => {}
        }
        Ok(())
    }

    /// `-O name=value`, of which two change what is promised.
    fn long_value(&mut self, text: &str) -> Result<(), UsageError> {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        let flag = match name.to_ascii_lowercase().as_str() {
            "smtputf8" => &mut self.mail.smtputf8,
            "requiretls" => &mut self.mail.requiretls,
            _ => return Ok(()),
        };
        *flag = match value.to_ascii_lowercase().as_str() {
            "yes" => true,
            "no" => false,
            _ => return Err(bad("-O", text, "name=yes or name=no")),
        };
        Ok(())
    }
}

/// The arguments that are still to be read.
type Args<'a> = dyn Iterator<Item = Result<String, UsageError>> + 'a;

/// What an option is.
enum Kind {
    Flag,
    Value,
    Queue,
    Unknown,
}

/// The options of Sendmail, Postfix and Exim. Honoured: `B b C F f G I i N O o q
/// R r t V v`. The rest is accepted because programs write it and nothing depends
/// on it: `-L`, `-p`, `-X` concern sendmail's own working.
fn kind(letter: char) -> Kind {
    match letter {
        'i' | 'v' | 'c' | 'G' | 'I' | 'm' | 'n' | 't' | 'U' => Kind::Flag,
        'A' | 'B' | 'b' | 'C' | 'e' | 'F' | 'f' | 'h' | 'L' | 'N' | 'O' | 'o' | 'p' | 'R' | 'r' | 'V'
        | 'X' => Kind::Value,
        'q' => Kind::Queue,
        _ => Kind::Unknown,
    }
}

/// What `-b` asks for; `-bh` and `-bH` are about host status that nobody keeps.
fn mode(value: &str) -> Result<Option<Mode>, UsageError> {
    let what = match value {
        "h" | "H" => return Ok(None),
        "m" => return Ok(Some(Mode::Message)),
        "s" => return Ok(Some(Mode::Smtp)),
        "p" => return Ok(Some(Mode::List)),
        "i" => return Ok(Some(Mode::Aliases)),
        "d" | "D" => "run as a daemon: that is `lazaret run`",
        "t" | "v" => "test addresses",
        _ => return Err(UsageError::Unknown(shown(&format!("-b{value}")))),
    };
    Err(UsageError::Unsupported { option: shown(&format!("-b{value}")), what })
}

/// An envelope id: xtext as Sendmail wants it, or any printable text as Postfix
/// hands it on, which is encoded then. Empty, as in `-V ${envid}` without one,
/// is none.
fn envid(value: &str) -> Result<Option<Xtext>, UsageError> {
    if value.is_empty() {
        return Ok(None);
    }
    let encoded = || -> String {
        let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'+' && byte != b'=';
        let encode = |byte| if plain(byte) { char::from(byte).into() } else { format!("+{byte:02X}") };
        value.bytes().map(encode).collect()
    };
    let printable = !value.chars().any(char::is_control);
    let xtext = Xtext::parse(value).or_else(|| Xtext::parse(&encoded()).filter(|_| printable));
    xtext.map(Some).ok_or_else(|| bad("-V", value, "a short printable text"))
}

fn bad(option: &'static str, value: &str, expected: &'static str) -> UsageError {
    UsageError::Value { option, value: shown(value), expected }
}

fn shown(text: &str) -> Line {
    Line::escaped(text)
}

fn shown_raw(raw: &OsString) -> Line {
    Line::escaped(raw.as_encoded_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn parse(line: &str) -> Result<SendmailArgs, UsageError> {
        SendmailArgs::parse(line.split(' ').filter(|word| !word.is_empty()).map(OsString::from))
    }

    fn shown_args(line: &str) -> String {
        let args = parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        let SendmailArgs { mode, config, sender, full_name, recipients, from_header, .. } = args;
        let SendmailArgs { relayed, ignore_dots, mail, rcpt, verbose, .. } = args;
        let mut shown = Vec::new();
        shown.extend((mode != Mode::Message).then(|| format!("{mode:?}")));
        shown.extend(from_header.then(|| "t".to_owned()));
        shown.extend(config.map(|path| format!("config={}", path.display())));
        shown.extend(sender.map(|sender| format!("from={sender}")));
        shown.extend(full_name.map(|name| format!("name={name}")));
        shown.extend(relayed.then(|| "G".to_owned()));
        shown.extend(ignore_dots.then(|| "i".to_owned()));
        shown.extend(verbose.then(|| "v".to_owned()));
        shown.extend(recipients);
        shown.join(" ") + &mail.to_string() + &rcpt.to_string()
    }

    #[test]
    fn command_lines_of_the_wild_are_understood() {
        for (line, meaning) in [
            ("a@b", "a@b"),
            ("-oi -f a@b -- c@d e@f", "from=a@b i c@d e@f"),
            ("-i -fa@b c@d", "from=a@b i c@d"),
            ("-FCronDaemon -i -B8BITMIME -oem root", "name=CronDaemon i root BODY=8BITMIME"),
            ("-Am -Ac -oee -odb -odi -odq -om -o7 -o8 -n -h 5 -L x -m -U -X /dev/null -p x -G a", "G a"),
            ("-bm -bh -bH -em -O DeliveryMode=b -v a", "v a"),
            ("-F name -r a@b a -i", "from=a@b name=name i a"),
            ("-vi a - b", "i v a - b"),
            ("-f a -f b c", "from=b c"),
            ("-N success,delay -R hdrs -V id+2Bx a", "a RET=HDRS ENVID=id+2Bx NOTIFY=SUCCESS,DELAY"),
            ("-N never -V QQ=4+x -N failure a", "a ENVID=QQ+3D4+2Bx NOTIFY=FAILURE"),
            ("-O smtputf8=yes -O requiretls=no a", "a SMTPUTF8"),
            ("--config x.toml -C y.toml a", "config=y.toml a"),
            ("--config=x.toml -- -i --config", "config=x.toml -i --config"),
            ("-t -oi -oem", "t i"),
            ("-tif a@b c@d", "t from=a@b i c@d"),
            ("-bs -odb -oem", "Smtp"),
            ("-bp", "List"),
            ("-b p -bh", "List"),
            ("-bi", "Aliases"),
            ("-I", "Aliases"),
            ("-q15m", "Queue"),
            ("-q -v", "Queue v"),
            ("-bs -bm a", "a"),
        ] {
            assert_eq!(shown_args(line), meaning, "{line}");
        }
    }

    #[test]
    fn empty_values_are_values() {
        let words = ["-f", "", "-V", "", "--", "a"].map(OsString::from);
        let args = SendmailArgs::parse(words.into_iter()).unwrap();
        assert_eq!((args.sender.as_deref(), args.mail.envid), (Some(""), None));
    }

    #[test]
    fn what_can_not_be_done_is_refused() {
        for (line, text) in [
            ("-bd", "option -bd (run as a daemon: that is `lazaret run`) is not supported"),
            ("-bv a", "option -bv (test addresses) is not supported"),
            ("-bx", "unknown option \"-bx\""),
            ("-Z a", "unknown option \"-Z\""),
            ("--configure a", "unknown option \"--configure\""),
            ("a -f", "option -f needs a value"),
            ("--config", "option --config needs a value"),
            ("-B 9BIT a", "option -B: bad value \"9BIT\", expected 7BIT or 8BITMIME"),
            ("-R some a", "option -R: bad value \"some\", expected full or hdrs"),
            (
                "-N maybe a",
                "option -N: bad value \"maybe\", expected never, or any of success, failure, delay",
            ),
            ("-O smtputf8 a", "option -O: bad value \"smtputf8\", expected name=yes or name=no"),
            ("-V a\rb a", "option -V: bad value \"a\\rb\", expected a short printable text"),
        ] {
            let error = parse(line).unwrap_err();
            assert_eq!((error.to_string().as_str(), error.exit_code()), (text, 64), "{line}");
        }
        let raw = SendmailArgs::parse([OsString::from_vec(b"\xff@b".to_vec())].into_iter());
        assert_eq!(raw.unwrap_err().to_string(), "\"\\xff@b\" is not UTF-8");
    }

    #[test]
    fn a_submission_is_what_the_command_line_says() {
        let submission = parse("-i -f a b").unwrap().into_submission(
            "h.example".into(),
            5,
            Reserve { bytes: 6, inodes: 7 },
        );
        assert_eq!((submission.sender.as_deref(), submission.recipients.len()), (Some("a"), 1));
        assert!(submission.ignore_dots && submission.size_max == 5 && submission.reserve.inodes == 7);
    }
}
