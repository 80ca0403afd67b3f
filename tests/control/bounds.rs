//! What arrives is bounded, and whoever misbehaves disturbs nobody.

use crate::office::Office;
use lvx::control::client::{ClientError, Load};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

fn knock(office: &Office) -> UnixStream {
    let stream = UnixStream::connect(&office.config.control.socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
    stream
}

/// What comes until the other end closes; empty also if it resets.
fn rest(mut stream: &UnixStream) -> String {
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn a_request_beyond_a_mebibyte_is_refused_and_one_just_below_is_read() {
    let office = Office::new();
    let sized = |bytes: usize| {
        let empty = "{\"edits\": []}";
        let load = Load::Json(format!("{empty}{}", " ".repeat(bytes - empty.len())).into_bytes());
        office.client.send("POST".parse().unwrap(), "/v1/edits", load)
    };
    assert!(sized(1 << 20).is_ok());
    match sized((1 << 20) + 1) {
        Err(ClientError::Refused(413, problem)) => {
            assert_eq!(problem.error, "the request has more than 1048576 bytes")
        }
        other => panic!("{other:?}"),
    }
    // Announced, and never sent: refused or not, it takes no memory and ends.
    let mut liar = knock(&office);
    liar.write_all(b"POST /v1/edits HTTP/1.1\r\nhost: lvx\r\ncontent-length: 99999999999\r\n\r\n").unwrap();
    assert!(office.client.status().is_ok());
}

#[test]
fn a_thousand_idle_clients_leave_room_for_one_who_asks() {
    let office = Office::new();
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
    let idle: Vec<UnixStream> = (0..1000).map(|_| knock(&office)).collect();
    let half: Vec<UnixStream> = (0..100)
        .map(|_| {
            let mut stream = knock(&office);
            // It may be shown out before.
            let _ = stream.write_all(b"GET /v1/status HTTP/1.1\r\nhost");
            stream
        })
        .collect();
    for _ in 0..20 {
        let asked = Instant::now();
        office.client.status().unwrap();
        assert!(asked.elapsed() < Duration::from_secs(20));
    }
    drop((idle, half));
    office.client.status().unwrap();
}

#[test]
fn whoever_does_not_get_on_with_a_request_is_shown_out_and_others_are_served_meanwhile() {
    let office = Office::new();
    let begun = Instant::now();
    let mut silent = knock(&office);
    let mut half = knock(&office);
    half.write_all(b"GET /v1/status HTTP/1.1\r\nho").unwrap();
    let mut body = knock(&office);
    body.write_all(b"POST /v1/edits HTTP/1.1\r\nhost: lvx\r\ncontent-length: 100\r\n\r\n{ \"edits\"")
        .unwrap();
    let loris = knock(&office);
    let mut drip = loris.try_clone().unwrap();
    let dripping = thread::spawn(move || {
        // A byte now and then, and never the end.
        let _ = drip.write_all(b"GET /v1/status HTTP/1.1\r\n");
        while drip.write_all(b"x-a: b\r\n").is_ok() {
            thread::sleep(Duration::from_millis(300));
        }
    });
    thread::sleep(Duration::from_secs(2));
    office.client.status().unwrap();
    assert_eq!(rest(&half), "");
    assert!(rest(&body).starts_with("HTTP/1.1 408 "));
    assert_eq!(rest(&loris), "");
    assert!(begun.elapsed() < Duration::from_secs(35), "{:?}", begun.elapsed());
    dripping.join().unwrap();
    let _ = silent.write_all(b"GET /v1/status HTTP/1.1\r\nhost: lvx\r\nconnection: close\r\n\r\n");
    assert!(!rest(&silent).contains("500"));
    office.client.status().unwrap();
}

#[test]
fn bytes_that_are_no_http_end_the_connection_and_nothing_else() {
    let office = Office::new();
    for garbage in
        [&b"\x16\x03\x01\x02\x00\x01\x00"[..], b"GET\r\n\r\n", b"\0\0\0\0\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"]
    {
        let mut stream = knock(&office);
        stream.write_all(garbage).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(!rest(&stream).starts_with("HTTP/1.1 2"));
    }
    let mut long = knock(&office);
    let header = format!("GET /v1/status HTTP/1.1\r\nx: {}\r\n", "y".repeat(1 << 20));
    let _ = long.write_all(header.as_bytes());
    assert!(!rest(&long).starts_with("HTTP/1.1 2"));
    for path in
        ["/v1/connections?limit=99999999999999999999", "/v1/connections?from=-1", "/v1/services?service=%FF"]
    {
        assert!(matches!(office.client.get::<()>(path), Err(ClientError::Refused(400 | 404, _))), "{path}");
    }
    office.client.status().unwrap();
}

#[test]
fn answers_that_nobody_reads_do_not_pile_up() {
    let office = Office::new();
    let lazy: Vec<UnixStream> = (0..50)
        .map(|_| {
            let mut stream = knock(&office);
            let _ = stream.write_all(&b"GET /v1/report HTTP/1.1\r\nhost: lvx\r\n\r\n".repeat(100));
            stream
        })
        .collect();
    assert!(office.client.status().is_ok());
    drop(lazy);
    assert!(office.client.report().is_ok());
}
