//! The control socket over TCP: TLS and the token, and lvx's own commands.

use crate::office::{Office, SERVICES};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

struct Remote {
    office: Office,
    at: SocketAddr,
    tls: Arc<rustls::ClientConfig>,
}

fn remote() -> Remote {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("tls.crt"), made.cert.pem()).unwrap();
    fs::write(path("tls.key"), made.signing_key.serialize_pem()).unwrap();
    fs::write(path("token"), format!("{TOKEN}\n")).unwrap();
    // A port that is free; the director says which.
    let keys = format!(
        "listen = \"127.0.0.1:0\"\ntls_certificate = {:?}\ntls_key = {:?}\ntoken_file = {:?}\n",
        path("tls.crt"),
        path("tls.key"),
        path("token")
    );
    let office = Office::in_dir(dir, &keys, SERVICES);
    let at = office.api.as_ref().and_then(|api| api.remote()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Remote { office, at, tls: Arc::new(tls) }
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

    fn path(&self, name: &str) -> PathBuf {
        self.office.dir.path().join(name)
    }

    fn url(&self) -> String {
        format!("https://localhost:{}", self.at.port())
    }

    /// An lvx that knows where the director is, and what opens the way.
    fn lvx(&self) -> Command {
        let mut lvx = Command::new(env!("CARGO_BIN_EXE_lvx"));
        lvx.env("LVX_SOCKET", self.url())
            .env("LVX_TOKEN_FILE", self.path("token"))
            .env("LVX_CA_FILE", self.path("tls.crt"));
        lvx
    }
}

/// What a command says; whether it succeeded.
fn said(lvx: &mut Command) -> (bool, String) {
    let output = lvx.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout) + &text(output.stderr))
}

/// Clocks go on from one command to the next.
fn but_for_numbers(text: &str) -> String {
    let mut shape = text.replace(|c: char| c.is_ascii_digit(), "#");
    while shape.contains("##") {
        shape = shape.replace("##", "#");
    }
    shape
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
fn who_is_not_root_here_has_the_director_do_nothing_on_its_host_that_its_file_does_not_say() {
    let remote = remote();
    let new = remote.path("new.toml");
    let text = fs::read_to_string(&remote.office.file).unwrap();
    let check =
        |kind: &str| text.replacen("[[virtual_service]]", &format!("[[virtual_service]]\ncheck = {kind}"), 1);
    for (text, doing) in [
        (format!("{text}\n[[notify]]\ncommand = [\"/bin/a\", \"b\"]\n"), "run /bin/a b"),
        (format!("{text}\n[[notify]]\nurl = \"https://a.example/b\"\n"), "post to https://a.example"),
        (check("{ type = \"script\", command = [\"/bin/a\"], user = \"c\" }"), "run /bin/a as c"),
        (check("{ type = \"file\", path = \"/etc/shadow\" }"), "look at /etc/shadow"),
    ] {
        fs::write(&new, text).unwrap();
        let (is_done, text) = said(remote.lvx().arg("apply").arg(&new));
        assert!(!is_done && text.contains(&format!("the director is not to {doing} (allowed: ")), "{text}");
    }
    fs::write(&new, check("\"tcp\"")).unwrap();
    let (is_done, text) = said(remote.lvx().arg("apply").arg(&new));
    assert!(is_done, "{text}");
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

#[test]
fn every_command_says_the_same_over_tcp_as_at_the_socket() {
    let remote = remote();
    remote.office.connect("192.0.2.1:80", "10.0.0.1:8080", 3);
    let new = remote.path("new.toml");
    fs::write(&new, fs::read_to_string(&remote.office.file).unwrap().replace("weight = 2", "weight = 9"))
        .unwrap();
    let new = new.to_str().unwrap();
    for words in [
        &["status", "--json"][..],
        &["plan", new],
        &["plan", new, "--json"],
        &["config"],
        &["versions"],
        &["connections", "--client", "203.0.113.144"],
        &["top", "--once"],
        &["ipvsadm", "-Ln"],
        &["ipvsadm", "-Sn"],
        &["reload"],
    ] {
        let far = said(remote.lvx().args(words));
        let near = said(remote.lvx().env("LVX_SOCKET", remote.path("lvx.sock")).args(words));
        assert!(far.0 && near.0, "{words:?}: {far:?} {near:?}");
        assert_eq!(but_for_numbers(&far.1), but_for_numbers(&near.1), "{words:?}");
    }
    // What they change is changed.
    let applied = said(remote.lvx().args(["apply", new, "--confirm", "5m"]));
    assert!(applied.0 && applied.1.contains("weight 2 -> 9"), "{applied:?}");
    assert!(said(remote.lvx().arg("confirm")).0);
    assert!(said(remote.lvx().args(["ipvsadm", "-d", "-t", "192.0.2.1:80", "-r", "10.0.0.1:8080"])).0);
    let listed = said(remote.lvx().args(["ipvsadm", "-Sn"])).1;
    assert!(listed.contains("-r 10.0.0.2:8080 -m -w 9") && !listed.contains("10.0.0.1"), "{listed}");
    let undone = said(remote.lvx().args(["rollback", "--socket", &remote.url()]));
    assert!(undone.0, "{undone:?}");
    let killed = said(remote.lvx().args(["connections", "--service", "192.0.2.1:80", "--kill"]));
    assert!(killed.0 && killed.1.starts_with("3 "), "{killed:?}");
}

#[test]
fn a_command_that_is_not_heard_says_why() {
    let remote = remote();
    let refused = |what: &str, lvx: &mut Command, wanted: &[&str]| {
        let (is_well, text) = said(lvx);
        assert!(!is_well && wanted.iter().all(|part| text.contains(part)), "{what}: {text}");
    };
    fs::write(remote.path("other"), "fedcba9876543210fedcba9876543210").unwrap();
    fs::write(remote.path("none"), "").unwrap();
    let token = "the token is missing, or is another";
    refused(
        "another token",
        remote.lvx().args(["status", "--token-file"]).arg(remote.path("other")),
        &[token],
    );
    refused("no token", remote.lvx().arg("status").env_remove("LVX_TOKEN_FILE"), &[token]);
    let missing = remote.path("missing");
    let name = missing.to_str().unwrap();
    refused("no token file", remote.lvx().args(["status", "--token-file", name]), &["cannot read", name]);
    refused("no CA file", remote.lvx().args(["status", "--ca-file", name]), &["cannot read", name]);
    let none = remote.path("none");
    refused(
        "an empty CA file",
        remote.lvx().args(["status", "--ca-file"]).arg(&none),
        &["no certificate is in it"],
    );
    refused("nobody vouches", remote.lvx().arg("status").env_remove("LVX_CA_FILE"), &["UnknownIssuer"]);
    let url = format!("https://127.0.0.1:{}", remote.at.port());
    refused("another name", remote.lvx().args(["status", "--socket", &url]), &[&url, "not valid for name"]);
    refused(
        "no TLS",
        remote.lvx().args(["status", "--socket", "http://localhost:1"]),
        &["nothing but https"],
    );
    let wrong = said(remote.lvx().args(["ipvsadm", "-Ln"]).env("LVX_SOCKET", "http://localhost:1"));
    assert!(!wrong.0 && wrong.1.contains("nothing but https"), "{wrong:?}");

    let word = said(remote.lvx().arg("status").env_remove("LVX_TOKEN_FILE").env("LVX_TOKEN", TOKEN));
    assert!(word.0, "{word:?}");
    let url = remote.url();
    drop(remote);
    let (is_well, text) = said(Command::new(env!("CARGO_BIN_EXE_lvx")).args(["status", "--socket", &url]));
    assert!(!is_well && text.starts_with(&format!("no director is heard at {url}: ")), "{text}");
}
