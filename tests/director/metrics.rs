//! The metrics of a director at work, read by Prometheus, and every query of the dashboard.

use crate::bed::{Bed, PATIENCE, eventually, in_turn};
use crate::judges::{is_valid_classic, samples, samples_of_open_metrics, scrape};
use lvx::lab::{LabService, Layout, Node, Process};
use lvx::service::SchedulerName;
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

const METRICS: &str = "127.0.0.1:9110";
const PROMETHEUS: &str = "127.0.0.1:9090";

/// A lab with a server of each method, and a configuration that has the metrics on a port of their own.
fn bed() -> (Bed, String) {
    let bed = Bed::new(Layout::Mixed);
    let services = [in_turn()[0].clone(), LabService::echo(SchedulerName::Rr, &[1, 1, 1])];
    let config = bed.director_config(&services);
    let config = config.replacen("[control]", &format!("[control]\nmetrics = \"{METRICS}\""), 1);
    (bed, config)
}

/// A connection to a port of the director's loopback interface.
fn connect(bed: &Bed, to: &str) -> TcpStream {
    let stream = bed.node(Node::Director).unwrap().inside(|| TcpStream::connect(to)).unwrap().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A Prometheus that reads the metrics every second, and has read them.
fn prometheus(bed: &Bed) -> Process {
    let (config, data) = (bed.dir().join("prometheus.yml"), bed.dir().join("prometheus"));
    let scrape =
        format!("scrape_configs: [{{ job_name: lvx, static_configs: [{{ targets: [\"{METRICS}\"] }}] }}]");
    fs::write(&config, format!("global: {{ scrape_interval: 1s }}\n{scrape}\n")).unwrap();
    let argv = [
        "prometheus".to_owned(),
        format!("--config.file={}", config.display()),
        format!("--storage.tsdb.path={}", data.display()),
        format!("--web.listen-address={PROMETHEUS}"),
    ];
    let director = bed.node(Node::Director).unwrap();
    let process = director.spawn(&argv, &bed.dir().join("prometheus.log")).unwrap();
    eventually("Prometheus", || director.inside(|| TcpStream::connect(PROMETHEUS).is_ok()).unwrap());
    eventually("scrape", || query(bed, "up == 1").is_ok_and(|found| found.len() == 1));
    process
}

/// What Prometheus finds, sample by sample.
fn query(bed: &Bed, expression: &str) -> Result<Vec<Value>, String> {
    let mut path = "/api/v1/query?query=".to_owned();
    expression.bytes().for_each(|byte| write!(path, "%{byte:02X}").unwrap());
    let mut stream = connect(bed, PROMETHEUS);
    write!(stream, "GET {path} HTTP/1.0\r\nhost: prometheus\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, json) = answer.split_once("\r\n\r\n").unwrap();
    let answer: Value = serde_json::from_str(json).map_err(|error| format!("{error}: {answer}"))?;
    match answer["status"].as_str() {
        Some("success") => Ok(answer["data"]["result"].as_array().unwrap().clone()),
        _ => Err(answer.to_string()),
    }
}

/// The value of the only sample that is found.
fn number(bed: &Bed, expression: &str) -> f64 {
    let found = query(bed, expression).unwrap();
    let [sample] = &found[..] else { panic!("{expression}: {found:?}") };
    sample["value"][1].as_str().unwrap().parse().unwrap()
}

/// Some of everything: connections, datagrams, a packet that dies here, and one that is the host's.
fn traffic(bed: &Bed) {
    bed.load(60);
    bed.echo(6);
    bed.on(Node::Client, &format!("ping -c 1 -W 5 {}", bed.plan.vip));
    let to = bed.plan.echo();
    let dies_here = || {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.set_ttl(2)?;
        socket.send_to(b"not another hop", to)
    };
    bed.node(Node::Client).unwrap().inside(dies_here).unwrap().unwrap();
}

#[test]
fn prometheus_reads_what_has_passed_and_every_server_has_its_answer_times() {
    let (bed, config) = bed();
    let director = bed.direct_by(&config);
    let _prometheus = prometheus(&bed);
    traffic(&bed);

    let (_, classic) = scrape(connect(&bed, METRICS), "*/*");
    is_valid_classic(&classic);
    let (_, open) = scrape(connect(&bed, METRICS), "application/openmetrics-text");
    assert_eq!(samples_of_open_metrics(&open), samples(&classic));

    // 60 over HTTP and 7 over UDP, of which one had a hop too few.
    eventually("scrape of it all", || {
        query(&bed, "sum(lvx_service_connections_total) == 67").is_ok_and(|found| found.len() == 1)
    });
    assert_eq!(number(&bed, "up"), 1.0);
    assert!(number(&bed, "scrape_samples_scraped") >= samples(&classic) as f64 - 200.0);
    // Each HTTP connection was answered, and no UDP one is measured.
    assert_eq!(number(&bed, "sum(lvx_server_latency_seconds_count)"), 60.0);
    assert_eq!(number(&bed, "lvx_service_latency_seconds_count"), 60.0);
    for (server, forward) in [(1, "nat"), (2, "dr"), (3, "tun")] {
        let server = bed.plan.server(server).unwrap();
        let at = SocketAddr::new(server.rip, server.http.port());
        let of = format!("{{service=\"http\",server=\"{at}\",forward=\"{forward}\"}}");
        assert_eq!(number(&bed, &format!("lvx_server_latency_seconds_count{of}")), 20.0);
        let p50 = format!("histogram_quantile(0.5, lvx_server_latency_seconds_bucket{of})");
        let seconds = number(&bed, &p50);
        println!("{forward}: half the answers within {seconds} s");
        assert!((1e-6..5.0).contains(&seconds), "{forward}: {seconds}");
    }
    assert_eq!(number(&bed, "sum(lvx_dropped_packets_total{reason=\"ttl_expired\"})"), 1.0);
    let received = number(&bed, "sum(lvx_port_received_frames_total)");
    assert_eq!(number(&bed, "sum(lvx_worker_batch_packets_sum)"), received);
    let report = director.stop().unwrap();
    let became = report.forwarded + report.to_host + report.dropped;
    assert!(received > 0.0 && received <= became as f64, "{received} of {became}");
}

/// The queries of a dashboard: what a panel shows, what a variable is chosen from, and what notes are made of.
struct Queries {
    panels: Vec<(String, String)>,
    variables: Vec<String>,
    notes: Vec<String>,
}

fn queries_of(dashboard: &Value) -> Queries {
    let list = |value: &Value| value.as_array().unwrap().clone();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let targets = |panel: &Value| {
        let title = text(&panel["title"]);
        list(&panel["targets"])
            .iter()
            .map(|target| (title.clone(), text(&target["expr"])))
            .collect::<Vec<_>>()
    };
    let panels = list(&dashboard["panels"]);
    let variables = list(&dashboard["templating"]["list"]);
    Queries {
        panels: panels.iter().filter(|panel| panel["type"] != "row").flat_map(targets).collect(),
        variables: variables
            .iter()
            .filter(|variable| variable["type"] == "query")
            .map(|variable| text(&variable["query"]["query"]))
            .collect(),
        notes: list(&dashboard["annotations"]["list"]).iter().map(|note| text(&note["expr"])).collect(),
    }
}

/// With the variables' values in, as Grafana puts them: everything of everything.
fn filled_in(expression: &str) -> String {
    let filled = expression.replace("$__rate_interval", "10s");
    let filled = ["job", "instance", "service", "server"]
        .iter()
        .fold(filled, |filled, name| filled.replace(&format!("=~\"${name}\""), "=~\".*\""));
    assert!(!filled.contains('$'), "{filled}");
    filled
}

#[test]
fn every_query_of_the_dashboard_finds_something() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/grafana/lvx.json");
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let Queries { panels, variables, notes } = queries_of(&dashboard);
    assert!(panels.len() > 50 && variables.len() == 4 && notes.len() == 1);

    let (bed, config) = bed();
    let _director = bed.direct_by(&config);
    let _prometheus = prometheus(&bed);
    for note in notes {
        query(&bed, &filled_in(&note)).unwrap();
    }
    let mut wanted = panels;
    let deadline = Instant::now() + 6 * PATIENCE;
    while !wanted.is_empty() {
        assert!(Instant::now() < deadline, "nothing is found of: {wanted:#?}");
        traffic(&bed);
        std::thread::sleep(Duration::from_secs(1));
        wanted.retain(|(_, expression)| query(&bed, &filled_in(expression)).unwrap().is_empty());
    }
    // Grafana's own function: the values that this label has in these series.
    for values in variables {
        let inside = values.strip_prefix("label_values(").unwrap().strip_suffix(')').unwrap();
        let (series, label) = inside.rsplit_once(", ").unwrap();
        let found = query(&bed, &format!("group by ({label}) ({})", filled_in(series))).unwrap();
        assert!(found.iter().any(|group| group["metric"][label].is_string()), "{values}: {found:?}");
    }
}
