//! What the reader makes of good files; of bad ones in `messages`, of any text at all in `any_text`.

mod any_text;
mod checks;
mod control;
mod messages;

use super::{parse, read};
use crate::config::{Config, Poll, XdpMode};
use crate::net::{InterfaceId, Proto};
use crate::service::{
    Conduct, Method, MssClamp, NoServer, Policy, RealId, Reuse, SchedulerName, SchedulerOptions, State,
    Thresholds, Timeouts, WhenFull,
};
use std::fmt::Write;
use std::time::Duration;

/// A file with every key in it.
const WHOLE: &str = r#"
[director]
workers = 2
cores = [2, 3]
max_connections = 1_000_000
poll = "busy"
busy_poll = true
xdp_mode = "generic"
frames = 4096
removed_server = "expire_nodest"
slow_start = "30s"
conn_reuse_mode = 1
when_full = "refuse"
sloppy_sctp = true
sloppy_tcp = true
[director.timeouts]
tcp = "15m"
tcp_fin = 60
udp = "300"
time_wait = 7
sctp_established = "1h"

[control]
socket = "/run/lvx/a.sock"
mode = "0600"
owner = "root"
group = 0
state_dir = "/var/lib/lvx/a"
watch = true
listen = "192.0.2.1:9180"
tls_certificate = "/etc/lvx/tls.crt"
tls_key = "/etc/lvx/tls.key"
token_file = "/etc/lvx/token"

[[interface]]
name = "eth0"
mac = "02:00:00:00:00:01"
addresses = ["192.0.2.1/24", "192.0.2.100/32"]
mtu = 1500

[[interface]]
name = "eth1"
addresses = ["10.0.0.1/24"]

[[route]]
to = "0.0.0.0/0"
via = "192.0.2.254"
source = "192.0.2.1"

[[route]]
to = "198.51.100.0/24"
interface = "eth1"

[[neighbour]]
address = "10.0.0.11"
mac = "02:00:00:00:00:11"

[[virtual_service]]
name = "web"
address = "192.0.2.100:80"
scheduler = "mh"
scheduler_flags = ["mh-port", "mh-fallback"]
mh_table_size = 4093
no_server = "reset"
mss_clamp = 1400
removed_server = "keep"
slow_start = false
slow_start_curve = "exponential"
sloppy_tcp = false
forward = "nat"

[[virtual_service.real_server]]
address = "10.0.0.11:8080"
weight = 0
upper_threshold = 100
lower_threshold = 80

[[virtual_service.real_server]]
address = "10.0.0.12"
forward = "ipip"

[[virtual_service]]
address = "192.0.2.100:53"
protocol = "udp"
one_packet = true
[virtual_service.timeouts]
udp = 5
established = "20m"

[[virtual_service.real_server]]
address = "10.0.0.13:53"
"#;

/// Whatever the reader understands must be written by the writer: a key that is new here is new there.
#[test]
fn a_configuration_that_is_written_again_reads_as_the_same() {
    let text = whole().to_toml().unwrap();
    assert_eq!(parse("written", &text).unwrap_or_else(|errors| panic!("{errors}\n{text}")), whole());
    let more = "[[interface]]\nname = \"a\"\n[[virtual_service]]\naddress = \"192.0.2.1:80\"\npersistent = 60\n\
         netmask = \"255.255.255.0\"\ntimeouts.close = 5\n[[virtual_service]]\naddress = \"[2001:db8::1]:53\"\n\
         protocol = \"udp\"\none_packet = true\npersistent = true\n[[virtual_service]]\naddress = \"192.0.2.1:80\"\nprotocol = \"sctp\"\n\
         sloppy_sctp = true\n[[interface]]\nname = \"a.7\"\nparent = \"a\"\nvlan = 7\nvlan_protocol = \"802.1ad\"\n\
         [[virtual_service]]\naddress = \"192.0.2.9\"\npersistent = true\nreal_server = [{ address = \"10.0.0.9\" }]\n\
         [[virtual_service]]\nfwmark = 5\nforward = \"nat\"\nhelper = \"none\"\nreal_server = [{ address = \"10.0.0.8\" }]\n\
         match = [{ address = \"192.0.2.7:80-90\" }, { address = \"192.0.2.8\", protocol = \"udp\" }]\n\
         [director]\nexpire_quiescent_template = false\nwhen_full = \"refuse\"";
    let config = parse("f", more).unwrap();
    let text = config.to_toml().unwrap();
    assert_eq!(parse("written", &text).unwrap_or_else(|errors| panic!("{errors}\n{text}")), config);
    let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    for file in examples.read_dir().unwrap().map(|file| file.unwrap().path()) {
        if file.extension().is_some_and(|extension| extension == "toml") {
            let config = read(&file).unwrap();
            assert_eq!(parse("written", &config.to_toml().unwrap()).unwrap(), config, "{}", file.display());
        }
    }
}

#[test]
fn the_control_section_arrives_and_its_absence_is_its_defaults() {
    let control = whole().control;
    assert_eq!(
        (control.mode, control.owner.as_deref(), control.group.as_deref()),
        (0o600, Some("root"), Some("0"))
    );
    assert!(control.watch && control.is_written);
    assert_eq!(control.remote.unwrap().listen.port(), 9180);
    let default = parse("f", "[[interface]]\nname = \"a\"").unwrap().control;
    assert_eq!(default, crate::config::Control::default());
    assert_eq!((default.mode, default.is_written), (0o660, false));
}

fn whole() -> Config {
    parse("f", WHOLE).unwrap()
}

#[test]
fn every_key_arrives_where_it_belongs() {
    let director = whole().director;
    assert_eq!((director.workers, &director.cores[..]), (Some(2), &[2, 3][..]));
    assert_eq!((director.max_connections, director.frames), (1_000_000, 4096));
    assert_eq!((director.poll, director.busy_poll), (Poll::Busy, true));
    assert_eq!(director.xdp_mode, XdpMode::Generic);
    let states = [
        State::Established,
        State::FinWait,
        State::Udp,
        State::TimeWait,
        State::SctpEstablished,
        State::Close,
    ];
    let seconds =
        |timeouts: Timeouts| states.map(|state| timeouts.get(state).map(|silence| silence.as_secs()));
    let said = [Some(900), Some(60), Some(300), Some(7), Some(3600), None];
    assert_eq!(seconds(director.conduct.timeouts), said);
    let Conduct { reuse, sloppy_tcp, sloppy_sctp, when_full, .. } = director.conduct;
    assert_eq!((reuse, sloppy_tcp, sloppy_sctp, when_full), (Reuse::Closed, true, true, WhenFull::Refuse));
    let [web, dns] = &whole().services[..] else { panic!("there are two") };
    assert_eq!((web.policy.sloppy, dns.policy.sloppy), (Some(false), None));
    assert!(!web.policy.one_packet && dns.policy.one_packet);
    assert!(web.policy.timeouts.is_empty());
    assert_eq!(seconds(dns.policy.timeouts), [Some(1200), None, Some(5), None, None, None]);

    let config = whole();
    assert_eq!(config.interfaces[0].mtu_bytes, Some(1500));
    assert_eq!(config.interfaces[0].mac.unwrap().to_string(), "02:00:00:00:00:01");
    assert_eq!(config.interfaces[0].addresses.len(), 2);
    assert_eq!((config.interfaces[1].mac, config.interfaces[1].mtu_bytes), (None, None));
}

#[test]
fn a_route_or_neighbour_without_interface_leads_where_its_address_is_at_home() {
    let config = whole();
    let interfaces: Vec<InterfaceId> = config.routes.iter().map(|route| route.interface).collect();
    assert_eq!(interfaces, [InterfaceId(0), InterfaceId(1)]);
    assert_eq!((config.routes[1].via, config.routes[1].source), (None, None));
    assert_eq!(config.routes[0].source, Some("192.0.2.1".parse().unwrap()));
    assert_eq!(config.neighbours[0].interface, InterfaceId(1));
}

#[test]
fn of_two_interfaces_that_hold_the_gateway_the_longer_prefix_wins() {
    let text = "interface = [{ name = \"a\", addresses = [\"10.0.0.1/8\"] },
                             { name = \"b\", addresses = [\"10.1.0.1/16\"] }]
                route = [{ to = \"0.0.0.0/0\", via = \"10.1.0.254\" }]";
    assert_eq!(parse("f", text).unwrap().routes[0].interface, InterfaceId(1));
}

#[test]
fn services_and_servers_take_ipvsadms_defaults_and_their_services_port() {
    let [web, dns] = &whole().services[..] else { panic!("two services") };
    assert_eq!((web.name.as_str(), web.proto, web.scheduler), ("web", Proto::Tcp, SchedulerName::Mh));
    assert_eq!((dns.name.as_str(), dns.proto), ("udp 192.0.2.100:53", Proto::Udp));
    assert_eq!((dns.scheduler, dns.options), (SchedulerName::Wlc, SchedulerOptions::default()));
    assert_eq!(web.options, SchedulerOptions { fallback: true, port: true, mh_table_size: 4093 });
    let of = |policy: Policy| (policy.no_server, policy.mss_clamp, policy.persistence);
    assert_eq!(of(web.policy), (NoServer::Reset, MssClamp::Bytes(1400), None));
    assert_eq!(of(dns.policy), (NoServer::Icmp, MssClamp::Fit, None));
    assert_eq!(web.reals[0].thresholds, Thresholds { upper: 100, lower: 80 });
    assert_eq!(web.reals[1].thresholds, Thresholds::default());
    let reals: Vec<_> = web.reals.iter().map(|r| (r.endpoint.to_string(), r.weight, r.method)).collect();
    let tunnelled = ("10.0.0.12:80".to_owned(), 1, Method::Tun);
    assert_eq!(reals, [("10.0.0.11:8080".to_owned(), 0, Method::Nat), tunnelled]);
    assert_eq!(dns.reals[0].method, Method::Dr);
}

#[test]
fn a_file_with_one_interface_is_a_configuration() {
    let config = parse("f", "[[interface]]\nname = \"eth0\"").unwrap();
    assert_eq!(config.director, crate::config::Director::default());
    assert!(config.services.is_empty() && config.routes.is_empty());
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let (missing, binary) = (folder.path().join("missing.toml"), folder.path().join("binary.toml"));
    let errors = read(&missing).unwrap_err().to_string();
    assert!(errors.starts_with(&format!("{}: cannot read the file: ", missing.display())), "{errors}");

    std::fs::write(&binary, b"x = \"\xff\"").unwrap();
    let errors = read(&binary).unwrap_err().to_string();
    assert_eq!(errors, format!("{}: byte 5 is not UTF-8, which TOML is written in", binary.display()));

    // A hole takes no room on the disk.
    let huge = folder.path().join("huge.toml");
    std::fs::File::create(&huge).unwrap().set_len((64 << 20) + 1).unwrap();
    let errors = read(&huge).unwrap_err().to_string();
    assert_eq!(errors, format!("{}: the file is larger than 64 MiB, the most that is read", huge.display()));
}

/// A file of this many services with this many servers each.
fn large(services: usize, reals: usize) -> String {
    let mut text = "[[interface]]\nname = \"eth0\"\n".to_owned();
    for service in 0..services {
        let (a, b) = (service >> 8, service & 255);
        writeln!(text, "[[virtual_service]]\naddress = \"192.1.{a}.{b}:80\"\nscheduler = \"wrr\"").unwrap();
        for real in 0..reals {
            let (c, d) = (real >> 8, real & 255);
            writeln!(text, "[[virtual_service.real_server]]\naddress = \"10.0.{c}.{d}\"\nweight = 2")
                .unwrap();
        }
    }
    text
}

#[test]
fn one_server_more_than_the_limit_is_refused_where_it_stands() {
    let limit = RealId::LIMIT;
    assert_eq!(limit % 2048, 0);
    assert!(parse("f", &large(limit / 2048, 2048)).is_ok());
    let mut text = large(limit / 2048, 2048);
    let line = text.lines().count() + 1;
    text.push_str("[[virtual_service.real_server]]\naddress = \"10.99.0.1\"\n");
    let errors = parse("f", &text).unwrap_err().to_string();
    let expected = "real server 2049: there are 131073 real servers by here (allowed: 131072 in all)";
    assert!(errors.starts_with(&format!("f:{line}:1: ")), "{errors}");
    assert!(errors.ends_with(expected), "{errors}");
}

#[test]
#[ignore = "a measurement: cargo test --release --lib config -- --ignored --nocapture thousand"]
fn a_thousand_services_of_a_hundred_servers_are_read_within_a_second() {
    let text = large(1000, 100);
    let before = std::time::Instant::now();
    let config = parse("f", &text).unwrap();
    let took = before.elapsed();
    println!("{} services, {} bytes: {took:?}", config.services.len(), text.len());
    assert!(took < Duration::from_secs(1), "{took:?}");
}
