//! Servers that refuse, hang, or are not there.

use crate::bed::{Bed, MS, PATIENCE, V4, V6, change_of, next, target};
use lvx::health::Health::{Down, Up};
use lvx::service::check::{Grpc, Http, HttpVersion, Kind, Pace, Tls};
use rustix::process::Signal;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

fn http() -> Kind {
    Kind::Http(Box::default())
}

#[test]
fn a_closed_port_is_refused_at_once_in_either_family() {
    let bed = Bed::new();
    for addr in [V4, V6] {
        for kind in [Kind::Tcp, http(), Kind::Tls(Tls::default()), Kind::Grpc(Grpc::default())] {
            let cause = "connect: connection refused".to_owned();
            assert_eq!(bed.ask(SocketAddr::new(addr, 80), kind), Err(cause));
        }
        assert_eq!(bed.ask(SocketAddr::new(addr, 0), Kind::Ping), Ok(()));
    }
}

#[test]
fn a_black_hole_is_found_out_by_the_timeout_in_either_family() {
    let bed = Bed::new();
    // Neighbours are still heard: it is the packets to the server that vanish.
    bed.firewall("meta l4proto tcp drop; icmp type echo-request drop; icmpv6 type echo-request drop;");
    for addr in [V4, V6] {
        let server = SocketAddr::new(addr, 80);
        let ask = |kind| bed.ask_for(server, kind, 150 * MS);
        assert_eq!(ask(Kind::Tcp), Err("timed out after 150ms connecting".to_owned()));
        assert_eq!(ask(http()), Err("timed out after 150ms connecting".to_owned()));
        assert_eq!(ask(Kind::Ping), Err("timed out after 150ms waiting for the reply".to_owned()));
    }
}

#[test]
fn a_host_that_says_no_is_heard() {
    let bed = Bed::new();
    bed.firewall(
        "meta l4proto tcp reject with icmpx type admin-prohibited; \
         icmp type echo-request reject with icmp type host-unreachable; \
         icmpv6 type echo-request reject with icmpv6 type addr-unreachable;",
    );
    for addr in [V4, V6] {
        let server = SocketAddr::new(addr, 80);
        assert_eq!(bed.ask(server, Kind::Ping), Err("host unreachable (ICMP)".to_owned()));
        let cause = bed.ask(server, Kind::Tcp).unwrap_err();
        assert!(["connect: no route to host", "connect: permission denied"].contains(&&*cause), "{cause}");
    }
}

#[test]
fn a_server_that_hangs_is_found_by_http_and_not_by_tcp() {
    let mut bed = Bed::new();
    let config = bed.file(
        "nginx.conf",
        "daemon off;\nmaster_process off;\npid nginx.pid;\nevents {}\nhttp {\naccess_log off;\nclient_body_temp_path a;\n\
         proxy_temp_path b;\nfastcgi_temp_path c;\nuwsgi_temp_path d;\nscgi_temp_path e;\n\
         server { listen 8080; location / { return 200; } }\n}",
    );
    let (prefix, config) = (bed.dir().to_string_lossy().into_owned(), config.to_string_lossy().into_owned());
    let nginx = bed.serve(&["nginx", "-e", "stderr", "-p", &prefix, "-c", &config], 8080);

    let server = SocketAddr::new(V4, 8080);
    let pace = Pace { timeout: 500 * MS, rise: 1, fall: 1, ..Pace::every(50 * MS) };
    let (tcp, http) = (target(server, Kind::Tcp, pace), target(server, http(), pace));
    let driver = bed.driver();
    driver.set([tcp.clone(), http.clone()]);
    let up = [next(&driver), next(&driver)].map(|event| change_of(event).0);
    assert_eq!(up, [Up, Up]);

    assert!(bed.process(nginx).signal(Signal::STOP));
    let fallen = next(&driver);
    assert_eq!(*fallen.target, http);
    assert_eq!(change_of(fallen), (Down, "timed out after 500ms waiting for the answer".to_owned()));
    std::thread::sleep(500 * MS);
    assert!(driver.events().is_empty());
    assert_eq!(driver.status(&tcp).unwrap().health, Up);

    assert!(bed.process(nginx).signal(Signal::CONT));
    let risen = next(&driver);
    assert_eq!((&*risen.target, change_of(risen.clone()).0), (&http, Up));
}

#[test]
fn what_hangs_in_the_midst_of_a_protocol_holds_nothing_when_its_probe_is_over() {
    let bed = Bed::new();
    // It takes connections, and says nothing.
    let silent = bed.server.inside(|| TcpListener::bind((V4, 0))).unwrap().unwrap();
    let server = silent.local_addr().unwrap();
    let pace = Pace { timeout: 20 * MS, ..Pace::every(50 * MS) };
    let tls = Some(Tls::default());
    let with = |version, tls| Kind::Http(Box::new(Http { version, tls, ..Http::default() }));
    let kinds = [
        with(HttpVersion::Http11, None),
        with(HttpVersion::Http2, None),
        with(HttpVersion::Http2, tls.clone()),
        Kind::Grpc(Grpc::default()),
    ];
    let targets = kinds.map(|kind| target(server, kind, pace));
    let driver = bed.driver();
    driver.set(targets.clone());
    let probes = |n| targets.iter().all(|target| driver.status(target).unwrap().failures >= n);
    let until = Instant::now() + PATIENCE;
    let reach = |n| {
        while !probes(n) {
            // Nobody else takes them from the queue.
            silent.set_nonblocking(true).unwrap();
            while silent.accept().is_ok() {}
            assert!(Instant::now() < until);
            std::thread::sleep(5 * MS);
        }
    };
    let connections = || {
        let table = std::fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
        // State 01, to the silent server's port.
        let to = format!(":{:04X} 01", server.port());
        table.lines().filter(|line| line.contains(&to)).count()
    };
    let connections = || bed.inside_director(connections);
    reach(10);
    assert!(connections() <= targets.len());
    driver.set([]);
    let until = Instant::now() + Duration::from_secs(5);
    while connections() > 0 {
        assert!(Instant::now() < until, "{} connections are left", connections());
        std::thread::sleep(10 * MS);
    }
}
