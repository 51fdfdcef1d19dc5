//! The route table: what compiles decides as a plain reading of it does, goes to
//! the cell unchanged, and refuses with the key that is wrong.
//!
//! Text that begins with `[` is a configuration's `[[route]]`s; other bytes build
//! routes. The plain reading asks everything of a message at once and knows nothing
//! of effort; it must never share code with what it judges.

use std::collections::BTreeMap;

use arbitrary::{Arbitrary, Result, Unstructured};
use lazaret_envelope::{ReversePath, Sender, Transaction};
use lazaret_route::{ConditionConfig, Facts, Globs, Limits, RouteConfig, RouteTable, Verdict};

/// The message that is routed, and what it says of itself.
const MESSAGE: &str = "From: Anna <anna@a.example>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= an\r\n alle\r\n\
    List-Id: <l.example>\r\nX-Two: one\r\nX-Two: other\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\
    --b\r\n\r\ntext\r\n--b\r\nContent-Type: image/PNG; name=\"=?utf-8?q?=C3=9C?=.PNG\"\r\n\
    Content-Disposition: inline; filename*=utf-8''b%20b.exe\r\n\r\nx\r\n--b--\r\n";
const FIELDS: [(&str, &str); 6] = [
    ("from", "Anna <anna@a.example>"),
    ("subject", "Grüße an alle"),
    ("list-id", "<l.example>"),
    ("x-two", "one"),
    ("x-two", "other"),
    ("content-type", "multipart/mixed; boundary=b"),
];
const TYPES: [&str; 3] = ["multipart/mixed", "text/plain", "image/png"];
const FILES: [&str; 2] = ["Ü.PNG", "b b.exe"];

/// The sender of one transaction; the other has none.
const SENDER: &str = "Owner+x@L.example";
const RECIPIENTS: [&str; 3] = ["anna@a.example", "Bruno.B@sub.B.example", "postmaster"];

/// Globs, or parts of such.
const GLOBS: [&str; 15] = [
    "*",
    "?",
    "*@*",
    "*@a.example",
    "anna",
    "*.example",
    "<>",
    "",
    "Ü",
    "b*b",
    "image/*",
    "*.exe",
    "*/plain",
    "<l.e*",
    "??e",
];
const NAMES: [&str; 6] = ["List-Id", "subject", "X-TWO", "Received", "content-type", "bad name"];

/// Looks at one input.
pub fn check(data: &[u8]) {
    #[derive(serde::Deserialize)]
    struct File {
        #[serde(default)]
        route: Vec<RouteConfig>,
    }
    let routes = if data.starts_with(b"[") {
        std::str::from_utf8(data)
            .ok()
            .and_then(|text| toml::from_str::<File>(text).ok())
            .map(|file| file.route)
    } else {
        let mut u = Unstructured::new(data);
        (0..u.int_in_range(1..=4).unwrap_or(1)).map(|_| route(&mut u)).collect::<Result<Vec<_>>>().ok()
    };
    routes.iter().for_each(|routes| table(routes));
}

fn table(routes: &[RouteConfig]) {
    let json = serde_json::to_vec(routes).expect("routes can be written");
    assert_eq!(serde_json::from_slice::<Vec<RouteConfig>>(&json).expect("what we write is read"), routes);
    let compiled = match RouteTable::compile(routes) {
        Ok(compiled) => compiled,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    assert_eq!(compiled.len(), routes.len());
    assert_eq!(compiled.deliveries().count(), routes.len());
    let path = |text: &str| ReversePath(Some(text.parse().expect("an address")));
    for path in [ReversePath(None), path(SENDER)] {
        let recipients =
            RECIPIENTS.map(|to| to.parse::<lazaret_envelope::Address>().expect("an address").into());
        let sender = path.as_str().to_owned();
        let transaction =
            Transaction { sender: Sender { path, ..Sender::default() }, recipients: recipients.into() };
        let limits = Limits::default();
        let (mut stages, mut parsed) = (0, false);
        let mut observe = |stage| {
            stages += 1;
            parsed |= stage == lazaret_envelope::Stage::Parse;
        };
        let mut facts = Facts::new(MESSAGE.as_bytes(), &limits, &mut observe);
        let verdict = compiled.judge(&transaction, &mut facts).expect("a message within every limit");
        let Verdict::Routes(found) = verdict else { panic!("a message that does not go round in a loop") };
        for (to, found) in RECIPIENTS.iter().zip(&found) {
            let expected = routes.iter().position(|route| holds(&route.condition(), to, &sender));
            assert_eq!(found.map(|id| usize::from(id.0)), expected, "{to} from <{sender}>: {routes:#?}");
        }
        let needs = compiled.needs();
        assert!(needs.message || !parsed, "it parses only what a rule may ask for");
        assert!(needs.header || needs.message || stages == 0);
        assert!(compiled.catch_all().is_none() || found.iter().all(Option::is_some));
    }
}

/// A plain reading of a condition.
fn holds(config: &ConditionConfig, recipient: &str, sender: &str) -> bool {
    let any = |globs: &Globs, text: &str| globs.as_slice().iter().any(|glob| matches(glob, text));
    let null = |glob: &String| if glob == "<>" { String::new() } else { glob.clone() };
    let ConditionConfig { recipient: to, sender: from, header, part_type, part_name, all, any: some, not } =
        config;
    to.as_ref().is_none_or(|globs| any(globs, recipient))
        && from
            .as_ref()
            .is_none_or(|globs| globs.as_slice().iter().map(null).any(|glob| matches(&glob, sender)))
        && header.iter().flatten().all(|(name, glob)| {
            let mut named = FIELDS.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
            named.any(|(_, text)| matches(glob, text))
        })
        && part_type.as_ref().is_none_or(|globs| TYPES.iter().any(|found| any(globs, found)))
        && part_name.as_ref().is_none_or(|globs| FILES.iter().any(|found| any(globs, found)))
        && all.iter().flatten().all(|inner| holds(inner, recipient, sender))
        && some.as_ref().is_none_or(|list| list.iter().any(|inner| holds(inner, recipient, sender)))
        && not.as_ref().is_none_or(|inner| !holds(inner, recipient, sender))
}

/// A plain matcher: `row[i]` says whether what was read of the glob matches the
/// first `i` characters.
fn matches(glob: &str, text: &str) -> bool {
    let fold = |c: char| {
        let small: Vec<char> = c.to_lowercase().collect();
        if small.len() == 1 { small[0] } else { c }
    };
    let text: Vec<char> = text.chars().collect();
    let mut row = vec![false; text.len() + 1];
    row[0] = true;
    for want in glob.chars() {
        let mut next = vec![false; text.len() + 1];
        for at in 0..=text.len() {
            next[at] = match want {
                '*' => row[at] || (at > 0 && next[at - 1]),
                '?' => at > 0 && row[at - 1],
                want => at > 0 && row[at - 1] && fold(want) == fold(text[at - 1]),
            };
        }
        row = next;
    }
    row[text.len()]
}

fn glob(u: &mut Unstructured<'_>) -> Result<String> {
    if u.ratio(1, 4)? {
        return <&str>::arbitrary(u).map(str::to_owned);
    }
    (0..u.int_in_range(1..=3)?).map(|_| u.choose(&GLOBS).copied()).collect()
}

fn globs(u: &mut Unstructured<'_>) -> Result<Globs> {
    if bool::arbitrary(u)? {
        return glob(u).map(Globs::One);
    }
    (0..u.int_in_range(0..=3)?).map(|_| glob(u)).collect::<Result<_>>().map(Globs::Many)
}

fn condition(u: &mut Unstructured<'_>, depth: u32) -> Result<ConditionConfig> {
    let mut config = ConditionConfig::default();
    for _ in 0..u.int_in_range(0..=2)? {
        match u.int_in_range(0..=7)? {
            0 => config.recipient = Some(globs(u)?),
            1 => config.sender = Some(globs(u)?),
            2 => {
                let field = |u: &mut Unstructured<'_>| Ok(((*u.choose(&NAMES)?).to_owned(), glob(u)?));
                let fields = (0..u.int_in_range(0..=2)?).map(|_| field(u));
                config.header = Some(fields.collect::<Result<BTreeMap<_, _>>>()?);
            }
            3 => config.part_type = Some(globs(u)?),
            4 if depth > 0 => config.all = Some(conditions(u, depth)?),
            5 if depth > 0 => config.any = Some(conditions(u, depth)?),
            7 => config.part_name = Some(globs(u)?),
            6 if depth > 0 => config.not = Some(Box::new(condition(u, depth - 1)?)),
            _ => {}
        }
    }
    Ok(config)
}

fn conditions(u: &mut Unstructured<'_>, depth: u32) -> Result<Vec<ConditionConfig>> {
    (0..u.int_in_range(0..=3)?).map(|_| condition(u, depth - 1)).collect()
}

fn route(u: &mut Unstructured<'_>) -> Result<RouteConfig> {
    let ConditionConfig { recipient, sender, header, part_type, part_name, all, any, not } = condition(u, 4)?;
    let deliver = (!u.ratio(1, 16)?).then(|| "a".to_owned());
    Ok(RouteConfig { recipient, sender, header, part_type, part_name, all, any, not, deliver })
}
