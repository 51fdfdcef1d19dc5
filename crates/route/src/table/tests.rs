//! Tests of tables as a whole: what compiles, and what is judged how.

use super::*;
use crate::condition::CONDITION_DEPTH_MAX;
use crate::limits::Limits;
use lazaret_envelope::{Recipient, ReversePath, Sender, Stage};

const CONTENT: &[u8] = b"Subject: hello\r\nX-Spam: yes\r\nContent-Type: multipart/mixed; boundary=b\r\n\
    \r\n--b\r\n\r\ntext\r\n--b\r\nContent-Type: image/png; name=\"A picture.PNG\"\r\n\r\npng\r\n--b--\r\n";

#[derive(serde::Deserialize)]
struct File {
    #[serde(default)]
    route: Vec<RouteConfig>,
}

fn compile(text: &str) -> Result<RouteTable, TableError> {
    RouteTable::compile(&toml::from_str::<File>(text).unwrap().route)
}

fn transaction(sender: &str, recipients: &[&str]) -> Transaction {
    let address = |text: &&str| text.parse().unwrap();
    let path = ReversePath((!sender.is_empty()).then(|| address(&sender)));
    Transaction {
        sender: Sender { path, ..Sender::default() },
        recipients: recipients.iter().map(address).map(Recipient::from).collect(),
    }
}

/// The places of the routes taken, and the stages that were gone through.
fn judge(table: &RouteTable, sender: &str, recipients: &[&str]) -> (Vec<Option<u16>>, Vec<Stage>) {
    let (limits, mut stages) = (Limits::default(), Vec::new());
    let mut observer = |stage| stages.push(stage);
    let mut facts = Facts::new(CONTENT, &limits, &mut observer);
    let Verdict::Routes(routes) = table.judge(&transaction(sender, recipients), &mut facts).unwrap() else {
        panic!("a loop of one hop");
    };
    (routes.into_iter().map(|route| route.map(|id| id.0)).collect(), stages)
}

/// Whether a route of these conditions takes a message from a@example.org to
/// b@example.net.
fn holds(conditions: &str) -> bool {
    let table = compile(&format!("[[route]]\n{conditions}\ndeliver = 'x'")).unwrap();
    judge(&table, "a@example.org", &["b@example.net"]).0 == [Some(0)]
}

#[test]
fn each_condition_holds_when_it_should() {
    for (conditions, expected) in [
        ("", true),
        ("recipient = 'B@*'", true),
        ("recipient = '*@example.org'", false),
        ("recipient = ['*@example.org', '*@example.net']", true),
        ("sender = '*@example.org'", true),
        ("sender = '<>'", false),
        ("header = { subject = 'HELLO' }", true),
        ("header = { subject = 'hello', x-spam = 'no' }", false),
        ("part_type = 'image/*'", true),
        ("part_type = ['video/*', 'TEXT/plain']", true),
        ("part_type = 'video/*'", false),
        ("part_name = '*.png'", true),
        ("part_name = ['*.exe', 'a ?icture.*']", true),
        ("part_name = ['*.exe', 'picture.png']", false),
        ("recipient = 'b@*'\nsender = 'b@*'", false),
        ("all = [{ recipient = 'b@*' }, { sender = 'a@*' }]", true),
        ("all = [{ recipient = 'b@*' }, { sender = 'b@*' }]", false),
        ("any = [{ recipient = 'a@*' }, { part_type = 'image/*' }]", true),
        ("any = [{ recipient = 'a@*' }, { sender = 'b@*' }]", false),
        ("not = { recipient = 'a@*' }", true),
        ("not = { recipient = 'b@*', sender = 'a@*' }", false),
        ("not = { any = [{ sender = 'b@*' }, { not = { header = { X-Spam = 'y*' } } }] }", true),
    ] {
        assert_eq!(holds(conditions), expected, "{conditions}");
    }
}

#[test]
fn the_null_sender_is_written_in_two_ways() {
    for (glob, null, other) in
        [("", true, false), ("<>", true, false), ("*", true, true), ("*@*", false, true)]
    {
        let table = compile(&format!("[[route]]\nsender = '{glob}'\ndeliver = 'x'")).unwrap();
        assert_eq!(judge(&table, "", &["b@c"]).0[0].is_some(), null, "{glob:?}");
        assert_eq!(judge(&table, "a@b", &["b@c"]).0[0].is_some(), other, "{glob:?}");
    }
}

#[test]
fn the_first_match_counts_for_each_recipient() {
    let table = compile(
        "[[route]]\nrecipient = '*@a.example'\nheader = { X-Spam = 'yes' }\ndeliver = 'junk'\n\
         [[route]]\nrecipient = ['*@a.example', '*@b.example']\ndeliver = 'mailboxes'\n\
         [[route]]\nrecipient = 'postmaster'\ndeliver = 'mailboxes'",
    )
    .unwrap();
    let recipients = ["x@b.example", "x@a.example", "x@c.example", "Postmaster", "x@a.example"];
    let (routes, stages) = judge(&table, "", &recipients);
    assert_eq!(routes, [Some(1), Some(0), None, Some(2), Some(0)]);
    assert_eq!(stages, [Stage::Headers, Stage::Route]);
    assert_eq!(table.action(RouteId(0)), &Action::Deliver("junk".into()));
    assert_eq!(table.deliveries().collect::<Vec<_>>(), ["junk", "mailboxes", "mailboxes"]);
}

#[test]
fn no_more_is_parsed_than_the_answer_needs() {
    for (conditions, stages) in [
        ("recipient = '*'\nsender = '*'", &[][..]),
        ("part_type = '*'\nrecipient = 'a@*'", &[]),
        ("any = [{ part_type = '*' }, { header = { subject = '*' } }, { sender = 'a@*' }]", &[]),
        ("all = [{ part_type = '*', sender = '*' }, { not = { recipient = '*' } }]", &[]),
        ("part_type = '*'\nheader = { X-Spam = 'no' }", &[Stage::Headers, Stage::Route]),
        (
            "all = [{ header = { X-Spam = 'y*' }, part_type = '*' }, { header = { Subject = 'x' }, part_type = '*' }]",
            &[Stage::Headers, Stage::Route, Stage::Headers, Stage::Route],
        ),
        ("part_type = '*'", &[Stage::Parse, Stage::Route]),
        ("part_name = '*'\npart_type = '*'", &[Stage::Parse, Stage::Route]),
        (
            "part_type = '*'\nheader = { X-Spam = 'yes' }",
            &[Stage::Headers, Stage::Route, Stage::Parse, Stage::Route],
        ),
    ] {
        let table = compile(&format!("[[route]]\n{conditions}\ndeliver = 'x'")).unwrap();
        let (_, seen) = judge(&table, "a@example.org", &["b@example.net", "c@example.net"]);
        assert_eq!(seen, stages, "{conditions}");
    }
}

#[test]
fn a_table_says_what_it_can_need() {
    let needs =
        |conditions: &str| compile(&format!("[[route]]\n{conditions}\ndeliver = 'x'")).unwrap().needs();
    assert_eq!(needs("recipient = '*'\nsender = '*'"), Needs::default());
    assert_eq!(needs("not = { header = { a = '*' } }"), Needs { header: true, message: false });
    for parts in ["part_type", "part_name"] {
        let needs = needs(&format!("any = [{{ {parts} = '*' }}]"));
        assert_eq!(needs, Needs { header: false, message: true });
    }
}

#[test]
fn the_first_route_without_condition_takes_everything() {
    let catch_all = |text: &str| compile(text).unwrap().catch_all();
    let (asks, all) = ("[[route]]\nsender = '*'\ndeliver = 'x'\n", "[[route]]\ndeliver = 'y'\n");
    assert_eq!(catch_all(&[asks, all].concat()), Some(2));
    assert_eq!(catch_all(&[all, asks, all].concat()), Some(1));
    assert_eq!(catch_all(asks), None);
    assert!(catch_all("").is_none() && compile("").unwrap().is_empty());
}

#[test]
fn recipients_are_limited() {
    let (limits, mut observer) = (Limits { recipients: 1, ..Limits::default() }, |_| ());
    let table = compile("[[route]]\ndeliver = 'x'").unwrap();
    let mut facts = Facts::new(b"", &limits, &mut observer);
    assert!(table.judge(&transaction("", &["a@b"]), &mut facts).is_ok());
    let error = table.judge(&transaction("", &["a@b", "c@d"]), &mut facts).unwrap_err();
    assert_eq!(error.to_string(), "recipients: 2 exceeds the limit of 1");
}

#[test]
fn a_loop_is_told_before_any_route_is_asked() {
    let table = compile("[[route]]\nheader = { Received = '*' }\ndeliver = 'x'").unwrap();
    let judged = |content: &str, hops| {
        let (limits, mut stages) = (Limits { hops, ..Limits::default() }, Vec::new());
        let mut observer = |stage| stages.push(stage);
        let mut facts = Facts::new(content.as_bytes(), &limits, &mut observer);
        let verdict = table.judge(&transaction("", &["a@b", "c@d"]), &mut facts).unwrap();
        (verdict, !stages.is_empty())
    };
    let twice = "Received: a\r\nreceived: b\r\n\r\nReceived: c\r\n";
    assert_eq!(judged(twice, 2), (Verdict::Routes(vec![Some(RouteId(0)); 2]), true));
    assert_eq!(judged(twice, 1), (Verdict::Loop, false));
    let most = "Received: x\r\n".repeat(Limits::default().hops);
    assert!(matches!(judged(&most, Limits::default().hops).0, Verdict::Routes(_)));
}

#[test]
fn mistakes_name_route_key_and_reason() {
    let long = format!("recipient = '{}'", "*".repeat(1001));
    let deep = |levels| format!("{}sender = '*'{}", "not = { ".repeat(levels), " }".repeat(levels));
    for (keys, message) in [
        (long.as_str(), "recipient: the glob has 1001 bytes; at most 1000 are allowed"),
        ("recipient = 'example.org'", "recipient: \"example.org\" matches no address; a whole domain"),
        ("recipient = ''", "recipient: \"\" matches no address"),
        ("recipient = []", "recipient: nothing is given"),
        ("sender = 'example.org'", "sender: \"example.org\" matches no address"),
        ("part_type = 'image'", "part_type: \"image\" matches no media type"),
        ("part_name = ['*.exe', '']", "part_name: nothing is given"),
        ("header = {}", "header: nothing is given"),
        ("header = { 'Subject:' = '*' }", "header: \"Subject:\" is no name of a header field"),
        ("header = { '' = '*' }", "header: \"\" is no name"),
        ("all = []", "all: nothing is given"),
        ("any = [{ sender = '*' }, {}]", "any[2]: nothing is given"),
        ("not = { all = [{ header = { 'ü' = '' } }] }", "not.all[1].header: \"ü\" is no name"),
        (&deep(CONDITION_DEPTH_MAX + 1), "not.not.not."),
    ] {
        let error =
            compile(&format!("[[route]]\ndeliver = 'x'\n[[route]]\n{keys}\ndeliver = 'x'")).unwrap_err();
        assert!(error.to_string().starts_with(&format!("route 2: {message}")), "{error}");
    }
    assert!(holds(&deep(CONDITION_DEPTH_MAX)));
}

#[test]
fn actions_and_the_number_of_routes_are_checked() {
    let error = |text| compile(text).unwrap_err().to_string();
    assert!(
        error("[[route]]\nrecipient = '*'").starts_with("route 1: deliver: the route says nothing to do")
    );
    assert!(error("[[route]]\ndeliver = ''").starts_with("route 1: deliver: nothing is given"));
    let route = RouteConfig { deliver: Some("x".into()), ..RouteConfig::default() };
    assert!(RouteTable::compile(&vec![route.clone(); ROUTES_MAX]).is_ok());
    let too_many = TableError::TooManyRoutes(ROUTES_MAX + 1);
    assert_eq!(RouteTable::compile(&vec![route; ROUTES_MAX + 1]).unwrap_err(), too_many);
}
