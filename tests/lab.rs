//! The lab itself: what it builds works, and nothing of it stays. Needs root.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "clippy does not take the functions that tests share for tests")]

#[cfg(feature = "xdp")]
use lvx::lab::Namespace;
use lvx::lab::{self, Error, Family, Layout, Node, Options, Topology};
use std::collections::BTreeMap;
use std::fs;
#[cfg(feature = "xdp")]
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const LVX: &str = env!("CARGO_BIN_EXE_lvx");

/// A name that no other test has, also in another run of the tests at the same time.
fn name(test: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("t{}_{}_{test}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Small, so that tests are quick.
fn options() -> Options {
    Options { lvx: LVX.into(), large_file_bytes: 2_000_000, ..Options::default() }
}

/// A lab of this layout, or one clear line that says why there is none.
fn topology(name: &str, layout: Layout, options: Options) -> Topology {
    Topology::new(name, layout, options).unwrap_or_else(|error| panic!("{error}"))
}

fn lvx(args: &[&str]) -> Output {
    Command::new(LVX).args(args).output().expect("cargo has built it")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Fails the test without root, where `lvx` in a child process would fail less clearly.
fn need_root() {
    assert!(is_root(), "{}", Error::NotRoot);
}

fn is_root() -> bool {
    fs::read_to_string("/proc/self/status").is_ok_and(|status| status.contains("\nUid:\t0\t0"))
}

/// What there is of a lab: namespaces, its file, its directory, its processes.
fn traces(name: &str) -> Vec<String> {
    let entries = |dir: &str| -> Vec<String> {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|entry| entry.path().display().to_string()).collect()
    };
    let mut found: Vec<String> = entries("/run/netns");
    found.extend(entries("/run/lvx-lab"));
    found.extend(entries(&std::env::temp_dir().to_string_lossy()));
    // A command line that names the lab's namespace or directory, but for the tests' own children that tell
    // about it.
    for process in entries("/proc") {
        let command = fs::read(Path::new(&process).join("cmdline")).unwrap_or_default();
        found.push(format!("{process} {}", String::from_utf8_lossy(&command).replace('\0', " ")));
    }
    found.retain(|trace| {
        trace.contains(&format!("lvx-{name}-"))
            || trace.contains(&format!("lab-{name}-"))
            || trace.contains(&format!("/{name}.json"))
    });
    found
}

fn assert_no_traces(name: &str) {
    assert_eq!(traces(name), Vec::<String>::new());
}

#[test]
fn a_lab_is_up_until_it_is_down_and_then_nothing_is_left() {
    need_root();
    let name = name("updown");
    let up = lvx(&["lab", "up", "dr", "--name", &name, "--servers", "2", "--no-director"]);
    assert!(up.status.success(), "{}", text(&up));
    let ping = lvx(&["lab", "exec", "--name", &name, "client", "ping", "-c", "1", "10.20.0.100"]);
    assert!(ping.status.success(), "{}", text(&ping));
    let status = text(&lvx(&["lab", "status"]));
    assert!(status.contains(&format!("lab {name} (dr, 2 real servers) is up")), "{status}");
    let again = lvx(&["lab", "up", "nat", "--name", &name]);
    assert!(!again.status.success() && text(&again).contains("is up already"), "{}", text(&again));
    for _ in 0..2 {
        let down = lvx(&["lab", "down", "--name", &name]);
        assert!(down.status.success(), "{}", text(&down));
        assert_no_traces(&name);
    }
}

#[test]
fn a_command_on_a_node_gives_its_own_exit_code() {
    let name = name("exec");
    let _lab = topology(&name, Layout::Dr, options());
    let exec = |argv: &[&str]| lvx(&[&["lab", "exec", "--name", &name], argv].concat()).status.code();
    assert_eq!(exec(&["server1", "sh", "-c", "exit 7"]), Some(7));
    assert_ne!(exec(&["server9", "true"]), Some(0));
}

#[test]
fn a_dropped_lab_leaves_nothing_behind() {
    let name = name("drop");
    let mut lab = topology(&name, Layout::Nat, options());
    lab.start_servers().unwrap();
    assert!(traces(&name).len() > 10, "the lab is there: {:?}", traces(&name));
    drop(lab);
    assert_no_traces(&name);
}

#[test]
fn a_panic_leaves_nothing_behind() {
    need_root();
    let name = name("panic");
    let result = std::panic::catch_unwind(|| {
        let mut lab = topology(&name, Layout::Dr, options());
        lab.start_http().unwrap();
        panic!("as a failing test does");
    });
    assert!(result.is_err());
    assert_no_traces(&name);
}

#[test]
fn a_lab_that_cannot_be_finished_leaves_nothing_behind() {
    need_root();
    let name = name("unfinished");
    // No kernel gives a veth so many queues.
    let error = Topology::new(&name, Layout::Dr, Options { queues: 60_000, ..options() }).unwrap_err();
    assert!(error.to_string().contains("numtxqueues 60000"), "{error}");
    assert_no_traces(&name);
}

#[test]
fn what_a_killed_process_left_is_found_and_removed_by_down() {
    need_root();
    for signal in ["-KILL", "-TERM"] {
        let name = name("killed");
        let mut up =
            Command::new(LVX).args(["lab", "up", "nat", "--name", &name, "--no-director"]).spawn().unwrap();
        while !Path::new(&format!("/run/netns/lvx-{name}-server2")).exists() {
            assert!(up.try_wait().unwrap().is_none(), "the lab was built before it could be interrupted");
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(Command::new("kill").args([signal, &up.id().to_string()]).status().unwrap().success());
        assert!(!up.wait().unwrap().success());
        if signal == "-KILL" {
            assert!(!traces(&name).is_empty());
            assert!(
                text(&lvx(&["lab", "status"]))
                    .contains(&format!("lab {name} (nat, 3 real servers) is abandoned"))
            );
            let down = lvx(&["lab", "down", "--name", &name]);
            assert!(down.status.success(), "{}", text(&down));
        }
        assert_no_traces(&name);
    }
}

#[test]
fn an_abandoned_lab_gives_way_to_a_new_one_of_its_name() {
    need_root();
    let name = name("abandoned");
    let mut up =
        Command::new(LVX).args(["lab", "up", "dr", "--name", &name, "--no-director"]).spawn().unwrap();
    while !Path::new(&format!("/run/netns/lvx-{name}-server1")).exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    up.kill().unwrap();
    up.wait().unwrap();
    drop(topology(&name, Layout::Nat, options()));
    assert_no_traces(&name);
}

#[test]
fn two_labs_stand_side_by_side() {
    let (one, two) = (name("one"), name("two"));
    let mut first = topology(&one, Layout::Nat, options());
    let second = topology(&two, Layout::Dr, options());
    drop(second);
    first.start_http().unwrap();
    first.exec(Node::Director, &["curl", "-sS", "--max-time", "5", "http://10.30.0.13:8080/health"]).unwrap();
    assert_no_traces(&two);
}

/// Every layout in every family.
fn all_layouts() -> impl Iterator<Item = (Layout, Family)> {
    Layout::ALL.into_iter().flat_map(|layout| Family::ALL.map(|family| (layout, family)))
}

#[test]
fn the_directors_kernel_answers_ping_for_the_vip_in_every_layout() {
    for (layout, family) in all_layouts() {
        let lab = topology(&name("ping"), layout, Options { family, ..options() });
        let vip = lab.plan.vip.to_string();
        lab.exec(Node::Client, &["ping", "-c", "1", "-W", "2", &vip]).unwrap();
        for server in &lab.plan.servers {
            lab.exec(Node::Director, &["ping", "-c", "1", "-W", "2", &server.rip.to_string()]).unwrap();
        }
    }
}

#[test]
fn an_ipv6_lab_is_shown_as_what_it_is() {
    need_root();
    let name = name("six");
    let up = ["lab", "up", "dr", "--family", "6", "--name", &name, "--servers", "1", "--no-director"];
    let up = lvx(&up);
    assert!(text(&up).contains("VIP 2001:db8:20::100"), "{}", text(&up));
    let curl = ["lab", "exec", "--name", &name, "server1", "curl", "-s", "http://[2001:db8:20::100]/health"];
    assert_eq!(text(&lvx(&curl)), "ok\n");
    let status = text(&lvx(&["lab", "status"]));
    assert!(status.contains(&format!("lab {name} (dr in IPv6, 1 real servers) is up")), "{status}");
    assert!(status.contains("2001:db8:20::11, dr, HTTP at [2001:db8:20::100]:80"), "{status}");
    lvx(&["lab", "down", "--name", &name]);
    assert_no_traces(&name);
}

#[test]
fn in_nat_the_kernel_can_forward_by_weight_and_the_download_is_whole() {
    for family in Family::ALL {
        let mut lab = topology(&name("kernel"), Layout::Nat, Options { family, ..options() });
        lab.start_http().unwrap();
        let way = lab.start_kernel_forwarding(&[4, 3, 2]).unwrap().unwrap();
        let mut shown = 0;
        let tally = lab.load_http(90, |_| shown += 1).unwrap();
        assert_eq!((tally.done, tally.failed), (90, 0), "{:?}", tally.complaints);
        let shares = [("server 1", 40), ("server 2", 30), ("server 3", 20)];
        assert_eq!(tally.answers, BTreeMap::from(shares.map(|(server, count)| (server.to_owned(), count))));
        assert!(shown > 0);
        let (download, large) = (lab.download().unwrap(), lab.large_file().unwrap());
        assert_eq!((download.bytes, &download.sha256), (large.bytes, &large.sha256));
        lab.stop_kernel_forwarding(way).unwrap();
        // The director's kernel refuses at once: nothing listens at the VIP itself.
        assert_eq!(lab.load_http(5, |_| ()).unwrap().failed, 5);
    }
}

#[test]
fn in_dr_the_kernel_can_forward_by_the_clients_hash() {
    for family in Family::ALL {
        let mut lab = topology(&name("mac"), Layout::Dr, Options { family, ..options() });
        lab.start_http().unwrap();
        lab.start_kernel_forwarding(&[1, 1, 1]).unwrap().unwrap();
        let tally = lab.load_http(90, |_| ()).unwrap();
        assert_eq!((tally.done, tally.failed), (90, 0), "{:?}", tally.complaints);
        assert_eq!(tally.answers.len(), 3, "{:?}", tally.answers);
    }
}

/// The way that a packet takes which the director has given the server's MAC.
#[test]
fn in_dr_a_server_takes_packets_for_the_vip_and_replies_past_the_director() {
    for family in Family::ALL {
        let mut lab = topology(&name("dr"), Layout::Dr, Options { family, ..options() });
        lab.start_servers().unwrap();
        let mac = lab.exec(Node::Server(2), &["cat", "/sys/class/net/eth0/address"]).unwrap();
        let mac = String::from_utf8(mac.stdout).unwrap();
        let vip = &lab.plan.vip.to_string();
        lab.exec(Node::Router, &["ip", "neigh", "replace", vip, "lladdr", mac.trim(), "dev", "eth1"])
            .unwrap();
        let tally = lab.load_http(20, |_| ()).unwrap();
        assert_eq!(tally.answers, BTreeMap::from([("server 2".to_owned(), 20)]), "{:?}", tally.complaints);
        let answer = lab.ask_echo(b"hello", Duration::from_secs(2)).unwrap();
        assert_eq!(answer, b"server 2 hello");
        // Of all who hold the VIP, only the director answers ARP or neighbour solicitations for it.
        lab.exec(Node::Router, &["ip", "neigh", "del", vip, "dev", "eth1"]).unwrap();
        assert_eq!(lab.load_http(5, |_| ()).unwrap().failed, 5);
    }
}

#[test]
fn checksum_offload_is_as_asked() {
    for (checksum_offload, state) in [(true, "tx-checksumming: on"), (false, "tx-checksumming: off")] {
        let lab = topology(&name("offload"), Layout::Nat, Options { checksum_offload, ..options() });
        for (node, interface) in [(Node::Router, "eth1"), (Node::Switch, "director-br0")] {
            let said = lab.exec(node, &["ethtool", "-k", interface]).unwrap();
            assert!(text(&said).contains(state), "{node} {interface}");
        }
    }
}

#[test]
fn the_directors_links_have_the_queues_that_were_asked_for() {
    let lab = topology(&name("queues"), Layout::Nat, Options { queues: 2, ..options() });
    for interface in &lab.plan.interfaces {
        let queues =
            lab.exec(Node::Director, &["ls", &format!("/sys/class/net/{interface}/queues")]).unwrap();
        assert_eq!(text(&queues), "rx-0\nrx-1\ntx-0\ntx-1\n");
    }
}

#[test]
fn a_name_that_would_reach_into_another_lab_is_refused() {
    need_root();
    for bad in ["a-b", "", "A", "../x", "a name"] {
        let refused = Topology::new(bad, Layout::Dr, options());
        assert!(matches!(refused, Err(Error::Refused(_))), "{bad:?}");
        assert!(matches!(lab::down(bad), Err(Error::Refused(_))), "{bad:?}");
    }
}

/// Sends a packet inside another: `protocol` says what it is, the kernel writes the outer header.
#[cfg(feature = "xdp")]
fn send_inside(from: &Namespace, packet: &[u8], protocol: u32, to: IpAddr) {
    use rustix::net::{AddressFamily, Protocol, SendFlags, SocketType, sendto, socket};
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let send = || {
        let protocol = Protocol::from_raw(protocol.try_into().unwrap());
        let raw = socket(family, SocketType::RAW, Some(protocol)).unwrap();
        sendto(raw, packet, SendFlags::empty(), &SocketAddr::new(to, 0)).unwrap()
    };
    assert_eq!(from.inside(send).unwrap(), packet.len());
}

/// A UDP datagram and its protocol number inside IP.
#[cfg(feature = "xdp")]
fn inner_packet(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> (Vec<u8>, u32) {
    use etherparse::PacketBuilder;
    let mut packet = Vec::new();
    let (builder, protocol) = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => (PacketBuilder::ipv4(from.octets(), to.octets(), 64), 4),
        (IpAddr::V6(from), IpAddr::V6(to)) => (PacketBuilder::ipv6(from.octets(), to.octets(), 64), 41),
        _ => panic!("one family"),
    };
    builder.udp(from.port(), to.port()).write(&mut packet, payload).unwrap();
    (packet, protocol)
}

/// The way of a packet that the director has encapsulated, a full one included.
#[cfg(feature = "xdp")]
#[test]
fn in_tun_a_server_takes_the_outer_header_off_and_replies_past_the_director() {
    for family in Family::ALL {
        let mut lab = topology(&name("tun"), Layout::Tun, Options { family, ..options() });
        lab.start_servers().unwrap();
        let client = SocketAddr::new(lab.plan.client, 40_000);
        let asks = lab.node(Node::Client).unwrap().inside(|| UdpSocket::bind(client)).unwrap().unwrap();
        asks.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let full = if client.is_ipv4() { 1472 } else { 1452 };
        for (server, length) in [(1, 5), (3, full)] {
            let datagram = vec![b'x'; length];
            let (packet, protocol) = inner_packet(client, lab.plan.echo(), &datagram);
            let to = lab.plan.server(server).unwrap().rip;
            send_inside(lab.node(Node::Director).unwrap(), &packet, protocol, to);
            let mut answer = [0; 2000];
            let (read, from) = asks.recv_from(&mut answer).unwrap();
            assert_eq!(from, lab.plan.echo());
            assert_eq!(answer[..read], [format!("server {server} ").as_bytes(), &datagram].concat());
        }
    }
}

/// 4in6 and 6in4.
#[cfg(feature = "xdp")]
#[test]
fn in_tun_a_server_takes_packets_out_of_a_tunnel_through_the_other_family() {
    for (family, vip, client) in
        [(Family::V4, "[2001:db8:99::1]:7", "[2001:db8:99::9]:7"), (Family::V6, "10.99.0.1:7", "10.99.0.9:7")]
    {
        let mut lab = topology(&name("mixed"), Layout::Tun, Options { family, ..options() });
        lab.start_servers().unwrap();
        let server = lab.node(Node::Server(1)).unwrap();
        for scope in ["all", "lo", "eth0"] {
            server.sysctl(&format!("net.ipv6.conf.{scope}.disable_ipv6"), "0").unwrap();
        }
        let (vip, client): (SocketAddr, SocketAddr) = (vip.parse().unwrap(), client.parse().unwrap());
        server.exec(&["ip", "address", "add", &vip.ip().to_string(), "dev", "lo"]).unwrap();
        let socket = server.inside(|| UdpSocket::bind(vip)).unwrap().unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let (packet, protocol) = inner_packet(client, vip, b"through the other family");
        send_inside(lab.node(Node::Director).unwrap(), &packet, protocol, lab.plan.servers[0].rip);
        let mut datagram = [0; 100];
        let (read, from) = socket.recv_from(&mut datagram).unwrap();
        assert_eq!((&datagram[..read], from), (&b"through the other family"[..], client));
    }
}

/// The whole of it: the director between the client and the servers, by every method.
#[cfg(feature = "xdp")]
#[test]
fn the_demo_shows_that_every_method_works_and_leaves_nothing_behind() {
    need_root();
    let demo = Command::new(LVX)
        .args(["lab", "demo", "--requests", "270", "--methods", "nat,dr,tun,mixed"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let id = demo.id();
    let output = demo.wait_with_output().unwrap();
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    assert_eq!(said.matches("   works").count(), 8, "four methods in two families: {said}");
    for layout in Layout::ALL {
        assert_no_traces(&format!("demo_{layout}_{id}"));
        assert_no_traces(&format!("demo_{layout}6_{id}"));
    }
}

/// `lvx lab demo` of a scenario in short, with its plot in this directory.
#[cfg(feature = "xdp")]
fn scenario(scenario: &str, fault: &str, dir: &Path) -> Command {
    let mut demo = Command::new(LVX);
    demo.args([
        "lab",
        "demo",
        "--scenario",
        scenario,
        "--clients",
        "40",
        "--calm",
        "500ms",
        "--fault",
        fault,
    ]);
    demo.args(["--after", "2500ms", "--plot"]).arg(dir.join("plot.svg"));
    demo.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    demo
}

/// Both cells of a row of the table.
#[cfg(feature = "xdp")]
fn row<'t>(said: &'t str, name: &str) -> [&'t str; 2] {
    let line =
        said.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name:?} in {said}"));
    let cells: Vec<&str> =
        line[name.len()..].split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
    cells.try_into().unwrap_or_else(|cells| panic!("{name}: {cells:?}"))
}

/// The scenario's two runs: clients suffer in the first, and the director finds out in the second.
#[cfg(feature = "xdp")]
fn a_server_falls_ill_and_is_found(name: &str, labels: [&str; 2]) {
    need_root();
    let dir = tempfile::tempdir().unwrap();
    let demo = scenario(name, "1s", dir.path()).spawn().unwrap();
    let lab = format!("demo_{}_{}", name.replace('-', "_"), demo.id());
    let output = demo.wait_with_output().unwrap();
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    let [never, found] = row(&said, "out of rotation after");
    assert!(never == "never" && found.ends_with('s'), "{said}");
    let [lost, _] = row(&said, "failed").map(|failed| failed.parse::<u32>().unwrap());
    assert!(lost > 0, "{said}");
    assert!(row(&said, "requests").iter().all(|requests| requests.parse::<u32>().unwrap() > 100), "{said}");
    assert_eq!(row(&said, "  that to the calm's p99").map(|ratio| ratio.parse::<f64>().is_ok()), [true; 2]);
    assert!(labels.iter().all(|label| said.contains(&format!("{label}  "))), "{said}");

    let plot = fs::read_to_string(dir.path().join("plot.svg")).unwrap();
    let plot = roxmltree::Document::parse(&plot).unwrap();
    let texts: Vec<&str> = plot.descendants().filter_map(|node| node.text()).map(str::trim).collect();
    for label in
        labels.into_iter().chain(["server 1", "server 2", "server 3", "seconds", "p99 of answers, ms"])
    {
        assert!(texts.contains(&label), "no {label:?} in {texts:?}");
    }
    assert!(plot.descendants().filter(|node| node.has_tag_name("polyline")).count() >= 8);
    assert_no_traces(&lab);
}

#[cfg(feature = "xdp")]
#[test]
fn a_scenario_shows_what_a_crash_costs_without_checks_and_with_them() {
    a_server_falls_ill_and_is_found("crash", ["without checks", "with checks"]);
}

#[cfg(feature = "xdp")]
#[test]
fn a_scenario_shows_a_server_without_the_vip_that_only_a_check_via_the_vip_finds() {
    a_server_falls_ill_and_is_found("no-vip", ["checked at its own address", "checked via the VIP"]);
}

#[cfg(feature = "xdp")]
#[test]
fn a_scenario_that_is_broken_off_in_its_fault_leaves_nothing_behind() {
    use std::io::{BufRead, BufReader};
    need_root();
    let dir = tempfile::tempdir().unwrap();
    // A server that is stopped has to go too.
    let mut demo = scenario("hang", "1m", dir.path()).spawn().unwrap();
    let lines = BufReader::new(demo.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.into_iter().any(|line| line.contains("  fault")), "it ended before its fault");
    assert!(Command::new("kill").args(["-INT", &demo.id().to_string()]).status().unwrap().success());
    assert_eq!(demo.wait().unwrap().code(), Some(130));
    assert_no_traces(&format!("demo_hang_{}", demo.id()));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "no empty plot either");
}

#[cfg(feature = "xdp")]
#[test]
fn a_scenario_that_cannot_be_is_refused_with_the_reason() {
    let said = text(&lvx(&["lab", "demo", "--scenario", "no-vip", "--methods", "nat"]));
    assert!(said.contains("there is no no-vip with nat: its servers have no VIP"), "{said}");
    let said = text(&lvx(&["lab", "demo", "--scenario", "fire"]));
    assert!(said.contains("there are crash, hang, flap, all-down and no-vip"), "{said}");
    let said = text(&lvx(&["lab", "demo", "--plot", "x.svg"]));
    assert!(said.contains("--scenario"), "{said}");
}

#[cfg(not(feature = "xdp"))]
#[test]
fn without_a_way_to_decapsulate_a_tun_lab_says_so() {
    let mut lab = topology(&name("tun"), Layout::Tun, options());
    if let Err(error) = lab.start_servers() {
        assert!(error.to_string().contains("built without feature xdp"), "{error}");
    }
}
