//! Places in the web that are told of changes: a real server, over TLS too, that is busy, or hangs.

use crate::bed::{Bed, MS, PATIENCE, V4};
use lvx::health::{Driver, Facts, Notifier};
use lvx::service::check::Hook;
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

const SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/health/hook_server.py");

fn facts(server: &str) -> Facts {
    vec![("service", "web".to_owned()), ("server", server.to_owned()), ("state", "down".to_owned())]
}

fn hook(authority: &str, path: &str) -> Hook {
    Hook {
        is_https: false,
        authority: authority.to_owned(),
        path: path.to_owned(),
        headers: vec![("authorization".to_owned(), "Bearer 7".to_owned())],
        verify: true,
        ca: None,
        retries: Hook::RETRIES,
    }
}

/// What was posted so far.
fn posted(log: &Path) -> Vec<Value> {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Waits until so much was posted to a path, and returns it.
fn wait(log: &Path, path: &str, count: usize) -> Vec<Value> {
    let until = Instant::now() + PATIENCE;
    loop {
        let found: Vec<Value> = posted(log).into_iter().filter(|note| note["path"] == path).collect();
        if found.len() >= count {
            return found;
        }
        assert!(Instant::now() < until, "{path}: {found:?}");
        std::thread::sleep(10 * MS);
    }
}

fn tell_all(driver: &Driver, hook: Hook, servers: &[&str]) -> Notifier {
    let notifier = Notifier::hook(driver, hook, PATIENCE);
    servers.iter().for_each(|server| notifier.tell(facts(server)));
    notifier
}

#[test]
fn a_place_is_told_each_change_in_order_and_again_if_it_was_busy_and_one_that_hangs_delays_no_other() {
    let mut bed = Bed::new();
    let log = bed.dir().join("posted");
    bed.serve(&["python3", SERVER, "8080", &log.to_string_lossy()], 8080);
    let (driver, at) = (bed.driver(), format!("{V4}:8080"));
    let began = Instant::now();
    let _hangs = tell_all(&driver, hook(&at, "/hang"), &["a", "b"]);
    let _gone = tell_all(&driver, hook(&at, "/gone"), &["a", "b"]);
    let _busy = tell_all(&driver, hook(&at, "/busy"), &["a", "b"]);
    let _told = tell_all(&driver, hook(&at, "/told?in=order"), &["a", "b", "c"]);
    assert!(began.elapsed() < Duration::from_secs(1), "nobody waits for them");

    let told = wait(&log, "/told?in=order", 3);
    println!("told within {} ms, beside one that hangs", began.elapsed().as_millis());
    let servers = |notes: &[Value]| {
        notes.iter().map(|note| note["body"]["server"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(servers(&told), ["a", "b", "c"]);
    let mut first = told[0].clone();
    let time = first["body"]["time"].take().as_u64().unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!((now - 60..=now).contains(&time), "{time}");
    let body = json!({ "time": null, "service": "web", "server": "a", "state": "down" });
    let expected = json!({ "path": "/told?in=order", "authorization": "Bearer 7", "type": "application/json",
        "host": at, "status": 204, "body": body });
    assert_eq!(first, expected);

    // The first waits for its turn, a second and two more.
    let busy = wait(&log, "/busy", 4);
    assert_eq!(servers(&busy), ["a", "a", "a", "b"]);
    assert!(began.elapsed() >= Duration::from_secs(3));
    let statuses: Vec<u64> = busy.iter().map(|note| note["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [503, 503, 204, 204]);
    // Who says no hears it once.
    assert_eq!(servers(&wait(&log, "/gone", 2)), ["a", "b"]);
    assert_eq!(servers(&wait(&log, "/hang", 1)), ["a"]);
}

#[test]
fn by_tls_only_a_place_is_told_whose_certificate_is_one_to_trust() {
    let mut bed = Bed::new();
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new([V4.to_string()]).unwrap().self_signed(&key).unwrap();
    let (certificate, key) = (bed.file("own.crt", &own.pem()), bed.file("own.key", &key.serialize_pem()));
    let log = bed.dir().join("posted");
    let [log_word, certificate_word, key_word] =
        [&log, &certificate, &key].map(|path| path.to_string_lossy().into_owned());
    bed.serve(&["python3", SERVER, "8443", &log_word, &certificate_word, &key_word], 8443);
    let (driver, at) = (bed.driver(), format!("{V4}:8443"));
    let https = |path: &str| Hook { is_https: true, retries: 0, ..hook(&at, path) };
    let _stranger = tell_all(&driver, https("/stranger"), &["a"]);
    let _trusted = tell_all(&driver, Hook { ca: Some(certificate), ..https("/trusted") }, &["a"]);
    let _any = tell_all(&driver, Hook { verify: false, ..https("/any") }, &["a"]);
    wait(&log, "/trusted", 1);
    wait(&log, "/any", 1);
    assert!(posted(&log).iter().all(|note| note["path"] != "/stranger"));
}

#[test]
fn a_name_is_looked_up_and_what_hangs_is_tried_again() {
    let bed = Bed::new();
    let listener = bed.inside_director(|| TcpListener::bind(("127.0.0.1", 0))).unwrap();
    let at = format!("localhost:{}", listener.local_addr().unwrap().port());
    let driver = bed.driver();
    let notifier = Notifier::hook(&driver, hook(&at, "/"), 200 * MS);
    notifier.tell(facts("a"));
    // The first time, nobody answers.
    let (silent, _) = listener.accept().unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    let mut request = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(request.read_line(&mut head).unwrap() > 0);
    }
    assert!(head.starts_with("POST / HTTP/1.1\r\n") && head.contains(&format!("host: {at}\r\n")), "{head}");
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
    let mut rest = Vec::new();
    request.read_to_end(&mut rest).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&rest).unwrap()["server"], "a");
    drop(silent);
}
