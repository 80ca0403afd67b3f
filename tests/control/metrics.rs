//! `/metrics`, of a desk that has no packets: what is counted is counted by hand.

use crate::judges::{is_valid_classic, samples, samples_of_open_metrics, scrape};
use crate::office::{Office, SERVICES, eventually};
use lvx::control::api::Transaction;
use lvx::control::desired::Edit;
use lvx::dataplane::counters::Turn;
use lvx::dataplane::verdict::{DropReason, Verdict};
use lvx::service::RealId;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

const OPEN: &str =
    "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

/// An address of this process's own, so that nobody else listens there.
fn own_address() -> SocketAddr {
    let [_, a, b, c] = std::process::id().to_be_bytes();
    (Ipv4Addr::new(127, a.wrapping_add(1), b, c), 9110).into()
}

fn knock(office: &Office) -> UnixStream {
    UnixStream::connect(&office.config.control.socket).unwrap()
}

/// The metrics in the classic format.
fn classic(office: &Office) -> String {
    let (head, text) = scrape(knock(office), "*/*");
    assert!(head.starts_with("http/1.0 200") && head.contains("text/plain; version=0.0.4"), "{head}");
    text
}

/// The value of a sample.
fn value<'t>(text: &'t str, sample: &str) -> Option<&'t str> {
    text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '))
}

#[test]
fn what_was_counted_is_there_under_its_name_in_both_formats() {
    // Whatever the operator likes to call it.
    let office = Office::with("", &SERVICES.replace("\"web\"", "'web \"of\" \\ things'"));
    office.connect("192.0.2.1:80", "10.0.0.2:8080", 3);
    let counters = &office.shared.counters[0];
    counters.forwarded.add(7);
    counters.count(Verdict::Drop(DropReason::TtlExpired));
    counters.real(RealId(1)).in_bytes.add(640);
    counters.count_latency(RealId(1), 900);
    counters.work.lent(5);
    counters.work.spent(Turn::Busy, Duration::from_millis(1500));

    let text = classic(&office);
    is_valid_classic(&text);
    let of = |labels: &str| format!("{{service=\"web \\\"of\\\" \\\\ things\",{labels}}}");
    let second = of("server=\"10.0.0.2:8080\",forward=\"nat\"");
    let latency = |le: &str| {
        let labels = second.trim_start_matches('{');
        format!("lvx_server_latency_seconds_bucket{{le=\"{le}\",{labels}")
    };
    for (sample, expected) in [
        ("lvx_forwarded_packets_total{worker=\"0\"}".to_owned(), "7"),
        ("lvx_dropped_packets_total{worker=\"0\",reason=\"ttl_expired\"}".to_owned(), "1"),
        ("lvx_dropped_packets_total{worker=\"0\",reason=\"too_big\"}".to_owned(), "0"),
        ("lvx_worker_seconds_total{worker=\"0\",mode=\"busy\"}".to_owned(), "1.5"),
        ("lvx_worker_batch_packets_bucket{le=\"4.0\",worker=\"0\"}".to_owned(), "0"),
        ("lvx_worker_batch_packets_bucket{le=\"8.0\",worker=\"0\"}".to_owned(), "1"),
        ("lvx_connections".to_owned(), "3"),
        ("lvx_connections_limit".to_owned(), "65536"),
        (format!("lvx_server_incoming_bytes_total{second}"), "640"),
        (format!("lvx_server_active_connections{second}"), "3"),
        (format!("lvx_server_weight{second}"), "2"),
        (
            format!("lvx_service_incoming_bytes_total{}", of("protocol=\"tcp\",address=\"192.0.2.1:80\"")),
            "640",
        ),
        (latency("0.000512"), "0"),
        (latency("0.001024"), "1"),
        (latency("+Inf"), "1"),
        (format!("lvx_server_latency_seconds_sum{second}"), "0.0009"),
    ] {
        assert_eq!(value(&text, &sample), Some(expected), "{sample}\n{text}");
    }
    assert!(!text.contains("latency_seconds_count{service=\"web \\\"of\\\" \\\\ things\",server=\"10.0.0.1"));

    let (head, open) = scrape(knock(&office), OPEN);
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(open.ends_with("\n# EOF\n"));
    assert_eq!(samples_of_open_metrics(&open), samples(&text));
    assert_eq!(value(&open, &format!("lvx_server_weight{second}")), Some("2"));
}

#[test]
fn a_server_is_there_once_also_while_it_departs_and_counts_on_when_it_is_back() {
    let office = Office::new();
    office.connect("192.0.2.1:80", "10.0.0.2:8080", 2);
    let edit = |text: &str| {
        let edits: Vec<Edit> = serde_json::from_str(text).unwrap();
        office.client.edit(&Transaction { edits, ..Transaction::default() }).unwrap();
    };
    let server = "{service=\"web\",server=\"10.0.0.2:8080\",forward=\"nat\"}";
    let state = |word: &str| server.replace('}', &format!(",state=\"{word}\"}}"));
    edit(r#"[{ "edit": "delete_server", "service": "web", "server": "10.0.0.2:8080" }]"#);
    let text = classic(&office);
    is_valid_classic(&text);
    assert_eq!(value(&text, &format!("lvx_server_active_connections{server}")), Some("2"));
    assert_eq!(value(&text, &format!("lvx_server_weight{server}")), Some("0"));
    assert_eq!(value(&text, &format!("lvx_server_state{}", state("departed"))), Some("1"));
    edit(
        r#"[{ "edit": "add_server", "service": "web", "table": { "address": "10.0.0.2:8080", "forward": "nat", "weight": 5 } }]"#,
    );
    let text = classic(&office);
    assert_eq!(text.matches(&format!("lvx_server_weight{server}")).count(), 1);
    assert_eq!(value(&text, &format!("lvx_server_state{}", state("up"))), Some("1"));
    assert_eq!(value(&text, &format!("lvx_server_active_connections{server}")), Some("2"));
}

#[test]
fn a_service_says_how_many_of_its_servers_are_how_and_whether_enough_are_well() {
    let quorum = SERVICES.replacen("name = \"web\"", "name = \"web\"\nquorum = 3", 1);
    let office = Office::with("", &quorum);
    let values = |office: &Office| {
        let text = classic(office);
        is_valid_classic(&text);
        let states = ["up", "starting", "suspect", "down", "draining", "maintenance"];
        let servers = states.map(|state| {
            let sample = format!("lvx_service_servers{{service=\"web\",state=\"{state}\"}}");
            value(&text, &sample).unwrap().parse::<u32>().unwrap()
        });
        let flags = ["quorum_lost", "failing_open"]
            .map(|flag| value(&text, &format!("lvx_service_{flag}{{service=\"web\"}}")).unwrap().to_owned());
        (servers, flags.concat())
    };
    let timed =
        |office: &Office| classic(office).matches("\nlvx_server_state_seconds{service=\"web\"").count();
    assert_eq!(values(&office), ([2, 0, 0, 0, 0, 0], "00".to_owned()));
    assert_eq!(timed(&office), 0, "nobody has said how they are");
    let edits =
        r#"[{ "edit": "maintain", "server": "10.0.0.1" }, { "edit": "drain", "server": "10.0.0.2" }]"#;
    let edits: Vec<Edit> = serde_json::from_str(edits).unwrap();
    office.client.edit(&Transaction { edits, ..Transaction::default() }).unwrap();
    assert_eq!(values(&office), ([0, 0, 0, 0, 1, 1], "10".to_owned()));
    assert_eq!(timed(&office), 2);
}

#[test]
fn histograms_of_servers_are_there_as_the_operator_says_those_of_services_always() {
    const SERVER: &str = "\nlvx_server_latency_seconds_count{";
    let answered = |office: &Office| {
        let counters = &office.shared.counters[0];
        [(0, 900), (1, 20)].into_iter().for_each(|(id, micros)| counters.count_latency(RealId(id), micros));
    };
    let of_service = |name: &str, address: &str| {
        format!(
            "lvx_service_latency_seconds_count{{service=\"{name}\",protocol=\"tcp\",address=\"{address}\"}}"
        )
    };
    let web = of_service("web", "192.0.2.1:80");
    let office = Office::with("server_histograms = \"never\"", SERVICES);
    let file = std::fs::read_to_string(&office.file).unwrap();
    answered(&office);
    for (now, servers) in [("never", 0), ("always", 2), ("auto", 2), ("never", 0)] {
        std::fs::write(&office.file, file.replace("never", now)).unwrap();
        office.client.reload().unwrap();
        let text = classic(&office);
        is_valid_classic(&text);
        assert_eq!((value(&text, &web), text.matches(SERVER).count()), (Some("2"), servers), "{now}");
    }
    drop(office);

    let large = Office::with("", &many_servers());
    answered(&large);
    let text = classic(&large);
    assert_eq!(value(&text, &of_service("tcp 192.0.2.1:80", "192.0.2.1:80")), Some("2"));
    assert_eq!(text.matches(SERVER).count(), 0);
}

#[test]
fn a_port_of_its_own_has_the_metrics_and_nothing_else() {
    let at = own_address();
    let office = Office::with(&format!("metrics = \"{at}\""), SERVICES);
    let (head, text) = scrape(TcpStream::connect(at).unwrap(), "*/*");
    assert!(head.starts_with("http/1.0 200"), "{head}");
    assert_eq!(samples(&text), samples(&classic(&office)));
    for request in ["GET /v1/status", "POST /v1/reload", "GET /", "POST /metrics"] {
        let mut stream = TcpStream::connect(at).unwrap();
        write!(stream, "{request} HTTP/1.0\r\nhost: lvx\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.0 40"), "{request}: {answer}");
    }
    drop(office);
    assert!(TcpStream::connect(at).is_err());
}

/// Some twelve megabytes of metrics: more than waits anywhere to be read.
fn many_servers() -> String {
    let service = |i: usize| {
        let server = |j: usize| {
            format!("[[virtual_service.real_server]]\naddress = \"10.{i}.{}.{}:80\"\n", j / 250, 1 + j % 250)
        };
        format!("[[virtual_service]]\naddress = \"192.0.2.{}:80\"\n", 1 + i)
            + &(0..500).map(server).collect::<String>()
    };
    "[[interface]]\nname = \"eth0\"\n".to_owned() + &(0..20).map(service).collect::<String>()
}

/// Asks, and reads only how it begins.
fn ask_and_stop(office: &Office) -> UnixStream {
    let mut stream = knock(office);
    stream.write_all(format!("GET /metrics HTTP/1.0\r\naccept: {OPEN}\r\n\r\n").as_bytes()).unwrap();
    stream.read_exact(&mut [0; 100]).unwrap();
    stream
}

#[test]
fn scrapes_take_turns_and_who_leaves_early_gives_his_up() {
    let office = Office::with("", &many_servers());
    let first = ask_and_stop(&office);
    std::thread::scope(|scope| {
        let second = scope.spawn(|| scrape(knock(&office), OPEN));
        std::thread::sleep(Duration::from_millis(300));
        assert!(!second.is_finished());
        office.client.status().unwrap();
        drop(first);
        let (head, text) = second.join().unwrap();
        assert!(head.starts_with("http/1.0 200") && text.ends_with("# EOF\n"), "{head}");
        assert_eq!(samples_of_open_metrics(&text), samples(&text));
        assert!(samples(&text) > 10_000 * 8);
    });
}

#[test]
fn a_reader_who_is_too_slow_hears_no_end_and_keeps_nobody_waiting_for_long() {
    let office = Office::with("", &many_servers());
    let begun = Instant::now();
    let mut slow = ask_and_stop(&office);
    slow.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let (head, _) = scrape(knock(&office), OPEN);
    assert!(head.starts_with("http/1.0 503"), "too long for the next to wait: {head}");
    // A bit now and then, so that it is not taken for gone.
    eventually("a turn", || {
        let _ = slow.read(&mut [0; 1000]).unwrap();
        begun.elapsed() > Duration::from_secs(24)
    });
    let mut turn = String::new();
    while !turn.ends_with("# EOF\n") {
        assert!(begun.elapsed() < Duration::from_secs(60));
        let _ = slow.read(&mut [0; 1000]);
        turn = scrape(knock(&office), OPEN).1;
    }
    let mut rest = Vec::new();
    let _ = slow.read_to_end(&mut rest);
    assert!(!rest.ends_with(b"# EOF\n"));
}
