//! What counting costs: the cell's allocator with its count and without, on the
//! same message in the same process, by turns.
//!
//! `cargo bench -p lazaret-worker --bench allocator` prints microseconds a message,
//! the median of many blocks, and the ratio block by block. It must never
//! compare two builds.

use std::hint::black_box;
use std::time::Instant;

use lazaret_envelope::{Address, Transaction};
use lazaret_route::{Facts, Limits, RouteConfig, RouteTable};

#[global_allocator]
static ALLOCATOR: lazaret_worker::Allocator = lazaret_worker::Allocator;

/// Blocks of each kind.
const BLOCKS: usize = 300;

/// Messages in a block.
const MESSAGES: usize = 200;

fn main() {
    let route: RouteConfig =
        serde_json::from_str(r#"{"part_type": "application/x-never", "deliver": "nowhere"}"#)
            .expect("a route");
    let table = RouteTable::compile(&[route]).expect("a table");
    let recipient: Address = "desk@example.org".parse().expect("an address");
    let transaction = Transaction { recipients: vec![recipient.into()], ..Transaction::default() };
    let content = message();
    let limits = Limits::default();
    let block = || {
        let start = Instant::now();
        for _ in 0..MESSAGES {
            let mut nobody = |_| ();
            let mut facts = Facts::new(&content, &limits, &mut nobody);
            black_box(table.judge(&transaction, &mut facts)).expect("a verdict");
        }
        start.elapsed().as_secs_f64() * 1e6 / MESSAGES as f64
    };
    let (mut plain, mut counted, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..BLOCKS {
        lazaret_worker::count_allocations(false);
        let without = block();
        lazaret_worker::count_allocations(true);
        let with = block();
        plain.push(without);
        counted.push(with);
        ratios.push(with / without);
    }
    report("parsed whole, not counted, microseconds", &mut plain);
    report("parsed whole, counted, microseconds", &mut counted);
    report("ratio", &mut ratios);
}

/// Three kilobytes with a text, its HTML twin and an attachment.
fn message() -> Vec<u8> {
    let head = "From: Anna <anna@example.org>\r\nTo: desk@example.org, Bruno <bruno@example.net>\r\n\
        Subject: =?utf-8?q?The_minutes?= of Tuesday\r\nMIME-Version: 1.0\r\n\
        Content-Type: multipart/mixed; boundary=outer\r\n\r\n--outer\r\n\
        Content-Type: multipart/alternative; boundary=inner\r\n\r\n--inner\r\n\
        Content-Type: text/plain; charset=utf-8\r\n\r\n";
    let html = "--inner\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n";
    let attachment = "--inner--\r\n--outer\r\nContent-Type: application/octet-stream; name=\"minutes.bin\"\r\n\
        Content-Transfer-Encoding: base64\r\n\r\n";
    let text = "A line of text as people write it.\r\n".repeat(20);
    let bytes = "QSBsaW5lIG9mIHRleHQgYXMgcGVvcGxlIHdyaXRlIGl0Lg==\r\n".repeat(20);
    [head, &text, html, &text, attachment, &bytes, "--outer--\r\n"].concat().into_bytes()
}

#[expect(clippy::print_stdout, reason = "a benchmark reports to people")]
fn report(what: &str, values: &mut [f64]) {
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values[((values.len() - 1) as f64 * share) as usize];
    println!("{what}: median {:.3}, 10th {:.3}, 90th {:.3} of a hundred", at(0.5), at(0.1), at(0.9));
}
