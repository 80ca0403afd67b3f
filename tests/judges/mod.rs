//! Who judges what `/metrics` says: others' parsers.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

/// The classic text format, by Prometheus's own tool, which also knows how metrics are to be named.
pub fn is_valid_classic(text: &str) {
    let (ok, said) = judged(&["promtool", "check", "metrics"], text);
    assert!(ok && said.is_empty(), "{said}");
}

/// OpenMetrics, by the Python client's parser; how many samples it has found.
pub fn samples_of_open_metrics(text: &str) -> usize {
    let count = "import sys\n\
        from prometheus_client.openmetrics.parser import text_string_to_metric_families as families\n\
        print(sum(len(family.samples) for family in families(sys.stdin.read())))";
    // Debian's, which has the module.
    let (ok, said) = judged(&["/usr/bin/python3", "-c", count], text);
    assert!(ok, "{said}");
    said.trim().parse().unwrap()
}

/// Lines that are samples.
pub fn samples(text: &str) -> usize {
    text.lines().filter(|line| !line.starts_with('#')).count()
}

/// Asks for the metrics over a connection; the head of the answer, and the text as far as it came.
pub fn scrape(mut stream: impl Read + Write, accept: &str) -> (String, String) {
    // HTTP/1.0: the text as it is, until the connection is closed.
    write!(stream, "GET /metrics HTTP/1.0\r\nhost: lvx\r\naccept: {accept}\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    let (head, text) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    (head.to_lowercase(), text.to_owned())
}

fn judged(argv: &[&str], text: &str) -> (bool, String) {
    let mut command = Command::new(argv[0]);
    command.args(&argv[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut judge = command.spawn().unwrap_or_else(|error| panic!("{}: {error}; run scripts/setup", argv[0]));
    let mut stdin = judge.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || {
            // Who has seen enough reads no more.
            let _ = stdin.write_all(text.as_bytes());
        });
        judge.wait_with_output().unwrap()
    });
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}
