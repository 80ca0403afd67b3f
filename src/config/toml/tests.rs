//! Every error's text as the operator reads it, and the one promise about all texts: no panic.

use super::{parse, read};
use crate::config::{Config, Poll, XdpMode};
use crate::net::{InterfaceId, Proto};
use crate::service::{Method, RealId, SchedulerName};
use proptest::prelude::*;
use std::fmt::Write;
use std::time::Duration;

const WHOLE: &str = r#"
[director]
workers = 2
cores = [2, 3]
max_connections = 1_000_000
poll = "busy"
busy_poll = true
xdp_mode = "generic"
frames = 4096
[director.timeouts]
tcp = "15m"
tcp_fin = 60
udp = "300"

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
scheduler = "wrr"
forward = "nat"

[[virtual_service.real_server]]
address = "10.0.0.11:8080"
weight = 0

[[virtual_service.real_server]]
address = "10.0.0.12"
forward = "ipip"

[[virtual_service]]
address = "192.0.2.100:53"
protocol = "udp"

[[virtual_service.real_server]]
address = "10.0.0.13:53"
"#;

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
    let timeouts = [director.timeouts.tcp, director.timeouts.tcp_fin, director.timeouts.udp];
    assert_eq!(timeouts, [900, 60, 300].map(Duration::from_secs));

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
    assert_eq!((web.name.as_str(), web.proto, web.scheduler), ("web", Proto::Tcp, SchedulerName::Wrr));
    assert_eq!((dns.name.as_str(), dns.proto), ("udp 192.0.2.100:53", Proto::Udp));
    assert_eq!(dns.scheduler, SchedulerName::Wlc);
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

/// The errors of `text` behind one good interface, without file and position.
fn errors_of(text: &str) -> Vec<String> {
    let text = format!(
        "{text}\n[[interface]]\nname = \"eth0\"\naddresses = [\"192.0.2.1/24\"]\n\
         [[interface]]\nname = \"eth1\"\n"
    );
    match parse("f", &text) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.iter().map(|error| error.message.clone()).collect(),
    }
}

#[track_caller]
fn each_says(header: &str, table: &[(&str, &str)]) {
    for (lines, error) in table {
        assert_eq!(errors_of(&format!("{header}\n{lines}")), [*error], "{lines}");
    }
}

#[test]
fn what_is_wrong_with_the_director_is_said() {
    each_says(
        "[director]",
        &[
            ("workers = 0", "director: workers 0 is out of range (allowed: 1 to 256)"),
            ("workers = 257", "director: workers 257 is out of range (allowed: 1 to 256)"),
            ("workers = \"2\"", "director: workers is the string \"2\" (allowed: an integer from 1 to 256)"),
            ("workers = 1.5", "director: workers is the float 1.5 (allowed: an integer from 1 to 256)"),
            ("workers = [1]", "director: workers is an array (allowed: an integer from 1 to 256)"),
            ("cores = 1", "director: cores is the integer 1 (allowed: an array of core numbers)"),
            ("cores = [1, -1]", "director: cores -1 is out of range (allowed: 0 to 8191)"),
            ("cores = [1, 2, 1]", "director: cores names 1 twice (allowed: each core once)"),
            (
                "workers = 2\ncores = [1]",
                "director: cores names 1 for 2 workers (allowed: a core for each worker)",
            ),
            (
                "max_connections = 200_000_001",
                "director: max_connections 200000001 is out of range (allowed: 1 to 200000000)",
            ),
            (
                "poll = \"adaptative\"",
                "director: poll \"adaptative\" is unknown; did you mean \"adaptive\"? (allowed: adaptive, busy)",
            ),
            ("poll = true", "director: poll is the boolean true (allowed: adaptive, busy)"),
            ("xdp_mode = \"skb\"", "director: xdp_mode \"skb\" is unknown (allowed: auto, native, generic)"),
            ("busy_poll = 1", "director: busy_poll is the integer 1 (allowed: true or false)"),
            ("frames = 32", "director: frames 32 is out of range (allowed: 64 to 1048576)"),
            (
                "frames = 100",
                "director: frames 100 is no power of two; did you mean 128? (allowed: powers of two from 64 to \
                 1048576)",
            ),
            (
                "max_conections = 1",
                "director: key \"max_conections\" is unknown; did you mean \"max_connections\"? (allowed: \
                 workers, cores, poll, max_connections, xdp_mode, busy_poll, frames, timeouts)",
            ),
            (
                "timeouts = 3",
                "director: timeouts is the integer 3 (allowed: a table, written [director.timeouts])",
            ),
            (
                "timeouts.tcp_finn = 3",
                "director: timeouts: key \"tcp_finn\" is unknown; did you mean \"tcp_fin\"? (allowed: tcp, \
                 tcp_fin, udp)",
            ),
            (
                "timeouts.udp = 2678401",
                "director: timeouts: udp 2678401 is out of range (allowed: such as \"15m\", \"900s\" or 300, \
                 from 1 second to 31 days)",
            ),
            (
                "timeouts.udp = 1979-05-27",
                "director: timeouts: udp is the datetime 1979-05-27 (allowed: a duration such as \"15m\", \
                 \"900s\" or 300, from 1 second to 31 days)",
            ),
        ],
    );
}

#[test]
fn what_is_wrong_with_an_interface_is_said() {
    each_says(
        "[[interface]]",
        &[
            ("", "interface 1: name is missing"),
            ("name = \"\"", "interface 1: name \"\" is empty (allowed: a name)"),
            (
                "name = \"a\"\nmac = \"02:00\"",
                "interface \"a\": mac \"02:00\" is no MAC address (allowed: six pairs of hexadecimal digits, \
                 such as 02:00:00:00:00:01)",
            ),
            (
                "name = \"a\"\nmac = \"01:00:5e:00:00:01\"",
                "interface \"a\": mac \"01:00:5e:00:00:01\" is not the address of one station (allowed: six \
                 pairs of hexadecimal digits, such as 02:00:00:00:00:01)",
            ),
            (
                "name = \"a\"\naddresses = [\"10.0.0.1/24\", \"10.0.0.2/33\"]",
                "interface \"a\": addresses \"10.0.0.2/33\" is no address with a prefix length (allowed: such \
                 as 192.0.2.1/24)",
            ),
            (
                "name = \"a\"\naddresses = [\"127.0.0.1/8\"]",
                "interface \"a\": addresses \"127.0.0.1/8\" is a loopback address (allowed: the unicast \
                 address of a host)",
            ),
            (
                "name = \"a\"\naddresses = \"10.0.0.1/24\"",
                "interface \"a\": addresses is the string \"10.0.0.1/24\" (allowed: an array of addresses, \
                 such as [\"192.0.2.1/24\"])",
            ),
            ("name = \"a\"\nmtu = 67", "interface \"a\": mtu 67 is out of range (allowed: 68 to 65535)"),
            (
                "name = \"a\"\nmtu = 65536",
                "interface \"a\": mtu 65536 is out of range (allowed: 68 to 65535)",
            ),
            (
                "name = \"a\"\nadresses = []",
                "interface \"a\": key \"adresses\" is unknown; did you mean \"addresses\"? (allowed: name, mac, \
                 addresses, mtu)",
            ),
        ],
    );
}

#[test]
fn the_same_mac_on_two_interfaces_is_right() {
    let mac = "mac = \"02:00:00:00:00:01\"\n";
    assert_eq!(
        errors_of(&format!("[[interface]]\nname = \"a\"\n{mac}[[interface]]\nname = \"b\"\n{mac}")),
        [""; 0]
    );
}

#[test]
fn what_is_wrong_with_a_route_or_neighbour_is_said() {
    each_says(
        "[[route]]",
        &[
            ("via = \"192.0.2.254\"", "route 1: to is missing"),
            (
                "to = \"192.0.2.1/24\"\nvia = \"192.0.2.254\"",
                "route 1: to \"192.0.2.1/24\" has bits set behind its prefix; did you mean \"192.0.2.0/24\"? \
                 (allowed: a network's first address)",
            ),
            ("to = \"10.0.0.0/8\"", "route to 10.0.0.0/8: via is missing (allowed: via, interface, or both)"),
            (
                "to = \"10.0.0.0/8\"\nvia = \"203.0.113.1\"",
                "route to 10.0.0.0/8: via \"203.0.113.1\" is in no interface's prefix (allowed: a neighbour of \
                 an interface, or interface = its name)",
            ),
            (
                "to = \"10.0.0.0/8\"\nvia = \"gw\"",
                "route to 10.0.0.0/8: via \"gw\" is no IP address (allowed: such as 192.0.2.1)",
            ),
            (
                "to = \"10.0.0.0/8\"\ninterface = \"eth11\"",
                "route to 10.0.0.0/8: interface \"eth11\" is unknown; did you mean \"eth1\"? (allowed: eth0, \
                 eth1)",
            ),
            (
                "to = \"10.0.0.0/8\"\ninterface = \"eth0\"\nvia = \"2001:db8::1\"",
                "route to 10.0.0.0/8: via \"2001:db8::1\" is of another family than the route (allowed: IPv4)",
            ),
            (
                "to = \"10.0.0.0/8\"\ninterface = \"eth0\"\n[[route]]\nto = \"10.0.0.0/8\"\ninterface = \"eth1\"",
                "route to 10.0.0.0/8: to stands in line 2 already (allowed: one route to a prefix)",
            ),
            (
                "to = \"10.0.0.0/8\"\ninterface = \"eth0\"\nmetric = 1",
                "route to 10.0.0.0/8: key \"metric\" is unknown (allowed: to, via, source, interface)",
            ),
        ],
    );
    each_says(
        "[[neighbour]]",
        &[
            ("address = \"192.0.2.9\"", "neighbour 192.0.2.9: mac is missing"),
            ("mac = \"02:00:00:00:00:01\"", "neighbour 1: address is missing"),
            (
                "address = \"224.0.0.1\"\nmac = \"02:00:00:00:00:01\"",
                "neighbour 1: address \"224.0.0.1\" is a multicast address (allowed: the unicast address of a \
                 host)",
            ),
            (
                "address = \"10.0.0.1\"\nmac = \"02:00:00:00:00:01\"",
                "neighbour 10.0.0.1: address \"10.0.0.1\" is in no interface's prefix (allowed: a neighbour of \
                 an interface, or interface = its name)",
            ),
            (
                "address = \"192.0.2.9\"\nmac = \"02:00:00:00:00:01\"\n[[neighbour]]\naddress = \
                 \"192.0.2.9\"\nmac = \"02:00:00:00:00:02\"",
                "neighbour 192.0.2.9: address stands in line 2 already (allowed: one MAC per neighbour)",
            ),
        ],
    );
}

#[test]
fn what_is_wrong_with_a_virtual_service_is_said() {
    each_says(
        "[[virtual_service]]",
        &[
            ("", "virtual service 1: address is missing"),
            (
                "address = \"192.0.2.100\"",
                "virtual service 1: address \"192.0.2.100\" has no port (allowed: such as \"192.0.2.100:80\")",
            ),
            (
                "address = \"192.0.2.100:0\"",
                "virtual service 1: address \"192.0.2.100:0\" has port 0, and services of all ports come in a \
                 later version (allowed: ports 1 to 65535)",
            ),
            (
                "address = \"192.0.2.100:70000\"",
                "virtual service 1: address \"192.0.2.100:70000\" is no address with a port (allowed: such as \
                 192.0.2.100:80)",
            ),
            (
                "address = \"[2001:db8::1]:80\"",
                "virtual service 1: address 2001:db8::1 is IPv6, and IPv6 comes in a later version (allowed: \
                 IPv4)",
            ),
            (
                "address = \"0.0.0.0:80\"",
                "virtual service 1: address \"0.0.0.0:80\" stands for no address (allowed: the unicast address \
                 of a host)",
            ),
            (
                "name = \"web\"\naddress = \"192.0.2.100:80\"\nscheduler = \"wcl\"",
                "virtual service \"web\": scheduler \"wcl\" is unknown; did you mean \"wlc\"? (allowed: rr, \
                 wrr, lc, wlc)",
            ),
            (
                "address = \"192.0.2.100:80\"\nforward = \"snat\"",
                "virtual service 192.0.2.100:80: forward \"snat\" is unknown; did you mean \"nat\"? \
                 (allowed: nat, dr, tun, masq, gate, ipip)",
            ),
            (
                "address = \"192.0.2.100:80\"\nprotocol = \"sctp\"",
                "virtual service 192.0.2.100:80: protocol \"sctp\" is unknown (allowed: tcp, \
                 udp)",
            ),
            (
                "address = \"192.0.2.100:80\"\n[[virtual_service]]\naddress = \"192.0.2.100:80\"",
                "virtual service 192.0.2.100:80: address stands in line 2 already (allowed: one \
                 service per protocol, address and port)",
            ),
            (
                "name = \"a\"\naddress = \"192.0.2.100:80\"\n[[virtual_service]]\nname = \"a\"\naddress = \
                 \"192.0.2.100:81\"",
                "virtual service \"a\": name stands in line 2 already (allowed: each name once)",
            ),
            (
                "address = \"192.0.2.100:80\"\nreal_servers = []",
                "virtual service 192.0.2.100:80: key \"real_servers\" is unknown; did you mean \
                 \"real_server\"? (allowed: name, address, protocol, scheduler, forward, real_server)",
            ),
            (
                "address = \"192.0.2.100:80\"\nreal_server = [\"10.0.0.1\"]",
                "virtual service 192.0.2.100:80: real server 1 is the string \"10.0.0.1\" (allowed: a \
                 table)",
            ),
            (
                "address = \"192.0.2.100:80\"\n[virtual_service.real_server]\naddress = \"10.0.0.1\"",
                "virtual service 192.0.2.100:80: real_server is a table (allowed: tables, each written \
                 [[virtual_service.real_server]])",
            ),
        ],
    );
}

#[test]
fn one_address_may_serve_tcp_and_udp() {
    let service = "[[virtual_service]]\naddress = \"192.0.2.100:53\"\n";
    assert_eq!(errors_of(&format!("{service}{service}protocol = \"udp\"")), [""; 0]);
}

#[test]
fn what_is_wrong_with_a_real_server_is_said() {
    each_says(
        "[[virtual_service]]\nname = \"web\"\naddress = \"192.0.2.100:80\"\n[[virtual_service.real_server]]",
        &[
            ("", "virtual service \"web\": real server 1: address is missing"),
            (
                "address = \"10.0.0.11:0\"",
                "virtual service \"web\": real server 1: address \"10.0.0.11:0\" has port 0, and services of \
                 all ports come in a later version (allowed: ports 1 to 65535)",
            ),
            (
                "address = \"10.0.0.11\"\nweight = 65536",
                "virtual service \"web\": real server 10.0.0.11: weight 65536 is out of range (allowed: 0 to \
                 65535)",
            ),
            (
                "address = \"10.0.0.11:8080\"\nforward = \"dr\"",
                "virtual service \"web\": real server 10.0.0.11:8080: address has port 8080, and dr cannot \
                 change the port (allowed: 80, the service's port, or none; or forward = \"nat\")",
            ),
            (
                "address = \"10.0.0.11:8080\"\nforward = \"ipip\"",
                "virtual service \"web\": real server 10.0.0.11:8080: address has port 8080, and tun cannot \
                 change the port (allowed: 80, the service's port, or none; or forward = \"nat\")",
            ),
            (
                "address = \"2001:db8::11\"\nforward = \"nat\"",
                "virtual service \"web\": real server 2001:db8::11: address 2001:db8::11 is IPv6 behind an \
                 IPv4 service, which nat cannot bridge (allowed: IPv4)",
            ),
            (
                "address = \"2001:db8::11\"\nforward = \"tun\"",
                "virtual service \"web\": real server 2001:db8::11: address 2001:db8::11 is IPv6 behind an \
                 IPv4 service, which comes in a later version (allowed: IPv4)",
            ),
            (
                "address = \"192.0.2.100:8080\"\nforward = \"nat\"",
                "virtual service \"web\": real server 192.0.2.100:8080: address 192.0.2.100 is the service's \
                 own (allowed: the server's address)",
            ),
            (
                "address = \"10.0.0.11\"\n[[virtual_service.real_server]]\naddress = \"10.0.0.11:80\"",
                "virtual service \"web\": real server 10.0.0.11:80: address stands in line 5 already \
                 (allowed: each server once in a service)",
            ),
            (
                "address = \"10.0.0.11\"\nwieght = 2",
                "virtual service \"web\": real server 10.0.0.11: key \"wieght\" is unknown; did you mean \
                 \"weight\"? (allowed: address, weight, forward)",
            ),
        ],
    );
}

#[test]
fn all_errors_of_a_file_come_at_once_in_its_order_and_in_the_form_that_editors_jump_to() {
    let text = "[director]\nworkers = 0\n\n[[virtual_service]]\nname = \"web\"\naddress = \"192.0.2.100:80\"\n\
                scheduler = \"wcl\"\n\n[[interface]]\nname = \"eth0\"\nmtu = 1\n\n[extra]\n";
    assert_eq!(
        parse("director.toml", text).unwrap_err().to_string(),
        "director.toml:2:11: director: workers 0 is out of range (allowed: 1 to 256)\n\
         director.toml:7:13: virtual service \"web\": scheduler \"wcl\" is unknown; did you mean \"wlc\"? \
         (allowed: rr, wrr, lc, wlc)\n\
         director.toml:11:7: interface \"eth0\": mtu 1 is out of range (allowed: 68 to 65535)\n\
         director.toml:13:2: key \"extra\" is unknown (allowed: director, interface, route, neighbour, \
         virtual_service)"
    );
}

#[test]
fn every_error_of_the_syntax_is_said_with_what_was_found() {
    let text = "x = @\ninterface = [\nb = 1\nb = 2\n";
    let errors = parse("f", text).unwrap_err().to_string();
    let lines: Vec<&str> = errors.lines().collect();
    assert!(lines.len() > 1, "{errors}");
    assert_eq!(
        lines[0],
        "f:1:5: not TOML: string values must be quoted, expected literal string, found \"@\""
    );
    assert!(lines.iter().all(|line| line.contains(": not TOML: ")), "{errors}");

    let twice = parse("f", "[director]\nworkers = 1\nworkers = 2").unwrap_err().to_string();
    assert_eq!(twice, "f:3:1: not TOML: duplicate key, found \"workers\"");
}

#[test]
fn a_broken_interface_does_not_make_errors_of_what_refers_to_it() {
    let text = "[[interface]]\nname = \"eth0\"\naddresses = [\"192.0.2.1/64\"]\n\
                [[route]]\nto = \"0.0.0.0/0\"\nvia = \"192.0.2.254\"\n";
    let errors = parse("f", text).unwrap_err().to_string();
    assert_eq!(errors.lines().count(), 1, "{errors}");
}

#[test]
fn inline_tables_on_one_line_are_told_apart() {
    let errors = parse("f", "interface = [{ name = \"a\" }, { name = \"a\" }]").unwrap_err().to_string();
    assert_eq!(
        errors,
        "f:1:39: interface \"a\": name stands in line 1 already (allowed: each interface once)"
    );
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

/// The whole configuration with some of its characters overwritten, removed or repeated elsewhere.
fn mutated(edits: &[(usize, usize, String)]) -> String {
    let mut text: Vec<char> = WHOLE.chars().collect();
    for (at, removed, inserted) in edits {
        let at = at % (text.len() + 1);
        let end = (at + removed).min(text.len());
        text.splice(at..end, inserted.chars());
    }
    text.into_iter().collect()
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}|[\\[\\]{}=.,\"'\\\\#\\n\\r a-z0-9é]{0,200}") {
        let _ = parse("f", &text).map_err(|errors| errors.to_string());
    }

    #[test]
    fn no_slip_in_a_good_file_makes_it_panic_and_each_error_is_one_line(
        edits in prop::collection::vec(
            (any::<usize>(), 0usize..8, "[\\[\\]{}=.,\"'\\\\#\\n a-z0-9é-]{0,6}"), 1..6),
    ) {
        let text = mutated(&edits);
        if let Err(errors) = parse("f", &text) {
            prop_assert_eq!(errors.to_string().lines().count(), errors.iter().count());
            let lines = text.split('\n').count();
            for error in errors.iter() {
                prop_assert!(error.position.is_some_and(|place| (1..=lines).contains(&place.line)));
            }
        }
    }

    #[test]
    fn no_value_in_any_keys_place_makes_it_panic(
        key in 0..WHOLE.matches(" = ").count(),
        value in "-?(0|[1-9][0-9]{0,24})|\"[^\"\\\\\\x00-\\x1f\\x7f]{0,20}\"|\\[1, \"a\"\\]|\\{ a = 1 \\}|1979-05-27|nan|true",
    ) {
        let lines = WHOLE.lines().filter(|line| !line.is_empty());
        let mut seen = 0;
        let mut text = String::new();
        for line in lines {
            match line.split_once(" = ") {
                Some((name, _)) if seen == key => { seen += 1; writeln!(text, "{name} = {value}").unwrap() }
                Some(_) => { seen += 1; writeln!(text, "{line}").unwrap() }
                None => writeln!(text, "{line}").unwrap(),
            }
        }
        if let Err(errors) = parse("f", &text) {
            prop_assert!(!errors.to_string().contains("not TOML"), "{}", errors);
        }
    }
}
