//! The control socket over TCP.

use crate::office::{Office, SERVICES};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A port that nobody has, for the moment.
fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

struct Remote {
    _office: Office,
    at: SocketAddr,
    tls: Arc<rustls::ClientConfig>,
}

fn remote() -> Remote {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("tls.crt"), made.cert.pem()).unwrap();
    std::fs::write(path("tls.key"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(path("token"), format!("{TOKEN}\n")).unwrap();
    let at = free_port();
    let keys = format!(
        "listen = \"{at}\"\ntls_certificate = {:?}\ntls_key = {:?}\ntoken_file = {:?}\n",
        path("tls.crt"),
        path("tls.key"),
        path("token")
    );
    let office = Office::in_dir(dir, &keys, SERVICES);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Remote { _office: office, at, tls: Arc::new(tls) }
}

impl Remote {
    fn ask(&self, token: &str) -> String {
        let mut tcp = TcpStream::connect(self.at).unwrap();
        tcp.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let name = "localhost".try_into().unwrap();
        let mut connection = rustls::ClientConnection::new(self.tls.clone(), name).unwrap();
        let mut stream = rustls::Stream::new(&mut connection, &mut tcp);
        let request = format!("GET /v1/status HTTP/1.1\r\nhost: lvx\r\n{token}connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }
}

#[test]
fn who_has_the_token_is_heard_and_nobody_else() {
    let remote = remote();
    let answer = remote.ask(&format!("authorization: Bearer {TOKEN}\r\n"));
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"services\":2"), "{answer}");
    let close = format!("{}0", &TOKEN[..TOKEN.len() - 1]);
    for header in [
        String::new(),
        format!("authorization: Bearer {close}\r\n"),
        format!("authorization: Bearer {TOKEN}0\r\n"),
        format!("authorization: Basic {TOKEN}\r\n"),
        "authorization: Bearer \r\n".to_owned(),
    ] {
        assert!(remote.ask(&header).starts_with("HTTP/1.1 401 "), "{header}");
    }
}

#[test]
fn without_tls_nobody_is_heard() {
    let remote = remote();
    let mut tcp = TcpStream::connect(remote.at).unwrap();
    tcp.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    tcp.write_all(format!("GET /v1/status HTTP/1.1\r\nauthorization: Bearer {TOKEN}\r\n\r\n").as_bytes())
        .unwrap();
    let mut answer = Vec::new();
    let _ = tcp.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&answer));
    // Who says nothing does not keep the others waiting.
    let _silent = TcpStream::connect(remote.at).unwrap();
    assert!(remote.ask(&format!("authorization: Bearer {TOKEN}\r\n")).starts_with("HTTP/1.1 200 "));
}
