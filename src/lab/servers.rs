//! What real servers run: nginx, and a UDP echo that says who answers.

use super::namespace::run;
use super::plan::Server;
use super::{Error, Interrupt, Namespace, Process};
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long `/large` is, unless a lab wants another.
pub const LARGE_FILE_BYTES: u64 = 100_000_000;

/// The file that every server of a lab serves as `/large`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LargeFile {
    /// Where it is.
    pub path: PathBuf,
    /// How long it is.
    pub bytes: u64,
    /// SHA-256 in hexadecimal, from sha256sum.
    pub sha256: String,
}

impl LargeFile {
    /// Writes `bytes` random bytes, so that a lost, doubled or misplaced segment shows.
    pub(super) fn generate(path: PathBuf, bytes: u64) -> Result<LargeFile, Error> {
        let tried = || Error::io(format!("write {}", path.display()));
        let random = File::open("/dev/urandom").map_err(Error::io("open /dev/urandom"))?;
        let mut file = File::create(&path).map_err(tried())?;
        io::copy(&mut random.take(bytes), &mut file).map_err(tried())?;
        let output = run(Command::new("sha256sum").arg(&path))?;
        let sha256 = String::from_utf8_lossy(&output.stdout).chars().take(64).collect();
        Ok(LargeFile { path, bytes, sha256 })
    }
}

/// Where nginx of the server of this number has its files.
pub(super) fn http_dir(dir: &Path, number: u8) -> PathBuf {
    dir.join(format!("nginx{number}"))
}

/// While this file of nginx's is there, `/ready` is answered, and otherwise 404.
pub(super) const READY_FILE: &str = "ready";

/// Starts nginx for `server` and waits until it listens.
pub(super) fn start_http(
    server: &Server,
    namespace: &Namespace,
    dir: &Path,
    large: &LargeFile,
    listens_at_rip: bool,
    interrupt: &Interrupt,
) -> Result<Process, Error> {
    let prefix = http_dir(dir, server.number);
    let config = prefix.join("nginx.conf");
    let tried = || Error::io(format!("write {}", config.display()));
    fs::create_dir_all(&prefix).map_err(tried())?;
    fs::write(prefix.join(READY_FILE), "ready\n").map_err(tried())?;
    fs::write(&config, nginx_config(server, large, listens_at_rip)).map_err(tried())?;
    let log = dir.join(format!("server{}.log", server.number));
    let (prefix, config) = (prefix.to_string_lossy(), config.to_string_lossy());
    let mut nginx = namespace.spawn(&["nginx", "-e", "stderr", "-p", &prefix, "-c", &config], &log)?;
    let what = format!("nginx of server {} at {}", server.number, server.http);
    interrupt.wait_until(&what, &mut nginx, || {
        let connect = || TcpStream::connect_timeout(&server.http, Duration::from_millis(100)).is_ok();
        namespace.inside(connect).unwrap_or(false)
    })?;
    Ok(nginx)
}

/// One process, in the foreground: easy to find and to kill. No access log: it would be the slowest part.
fn nginx_config(server: &Server, large: &LargeFile, listens_at_rip: bool) -> String {
    let at_rip = SocketAddr::new(server.rip, server.http.port());
    let too = if listens_at_rip && at_rip != server.http {
        format!("\n        listen {at_rip} backlog=4096;")
    } else {
        String::new()
    };
    format!(
        "daemon off;
master_process off;
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_timeout 30s;
    keepalive_requests 100000;
    default_type text/plain;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        listen {listen} backlog=4096;{too}
        location / {{ return 200 \"server {number}\\n\"; }}
        location = /health {{ return 200 \"ok\\n\"; }}
        location = /ready {{ alias {READY_FILE}; log_not_found off; }}
        location = /large {{ alias {large}; default_type application/octet-stream; }}
    }}
}}
",
        listen = server.http,
        number = server.number,
        large = large.path.display(),
    )
}

/// Starts the UDP echo of `server`, a child `lvx lab udp-echo`, and waits until it answers.
pub(super) fn start_echo(
    server: &Server,
    namespace: &Namespace,
    dir: &Path,
    lvx: &Path,
    interrupt: &Interrupt,
) -> Result<Process, Error> {
    let (address, name) = (server.echo.to_string(), format!("server {}", server.number));
    let log = dir.join(format!("echo{}.log", server.number));
    let mut echo = namespace.spawn(&[&*lvx.to_string_lossy(), "lab", "udp-echo", &address, &name], &log)?;
    interrupt.wait_until(&format!("UDP echo of {name} at {address}"), &mut echo, || {
        namespace
            .inside(|| ask_echo(server.echo, b"hello", Duration::from_millis(100), 0))
            .is_ok_and(|a| a.is_ok())
    })?;
    Ok(echo)
}

/// Sends one datagram from `port` (0: any) and waits for the answer.
pub(super) fn ask_echo(
    to: SocketAddr,
    datagram: &[u8],
    patience: Duration,
    port: u16,
) -> io::Result<Vec<u8>> {
    let socket = match to {
        SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)),
        SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)),
    }?;
    // Connected, so that an answer from any other address than the one asked is not taken.
    socket.connect(to)?;
    socket.set_read_timeout(Some(patience))?;
    socket.send(datagram)?;
    let mut answer = vec![0; 65536];
    let len = socket.recv(&mut answer)?;
    answer.truncate(len);
    Ok(answer)
}

/// Answers each datagram with `name`, a blank and the datagram itself, until the process is killed.
///
/// # Errors
/// If the socket cannot be bound to `address`.
pub fn udp_echo(address: SocketAddr, name: &str) -> io::Result<()> {
    // Bound to the one address, so that answers leave with it as their source: the VIP, in DR and TUN.
    answer_on(&UdpSocket::bind(address)?, name)
}

fn answer_on(socket: &UdpSocket, name: &str) -> ! {
    let mut datagram = vec![0; 65536];
    loop {
        // An error here is an ICMP error about an earlier answer: the next datagram is another matter.
        let Ok((len, from)) = socket.recv_from(&mut datagram) else { continue };
        let _ = socket.send_to(&[name.as_bytes(), b" ", &datagram[..len]].concat(), from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_large_file_is_as_long_as_asked_and_its_hash_is_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let first = LargeFile::generate(dir.path().join("a"), 100_003).unwrap();
        let second = LargeFile::generate(dir.path().join("b"), 100_003).unwrap();
        assert_eq!(fs::metadata(&first.path).unwrap().len(), 100_003);
        assert_ne!(first.sha256, second.sha256);
        assert!(first.sha256.len() == 64 && first.sha256.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }

    #[test]
    fn the_echo_says_who_answers_and_gives_the_datagram_back() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = socket.local_addr().unwrap();
        std::thread::spawn(move || answer_on(&socket, "server 7"));
        assert_eq!(ask_echo(to, b"hello", Duration::from_secs(5), 0).unwrap(), b"server 7 hello");
    }
}
