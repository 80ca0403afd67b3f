//! lvx's ipvsadm beside the real one: the same tables printed, the same command lines understood or refused.

#![cfg(all(feature = "xdp", target_os = "linux"))]

mod real;

use super::grammar;
use super::listing::Page;
use super::names::System;
use super::request::*;
use super::restore::{self, Rules};
use super::table::{Connection, Server, Service, Table};
use crate::control::report::Traffic;
use crate::net::Proto;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use real::Real;
use std::net::IpAddr;

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// What we make of a command line, as far as the real one's run shows it: exit code, what is said on standard error, and
/// what the kernel is asked to change.
fn ours(words: &[&str], stdin: &str) -> (i32, String, Vec<Request>) {
    let names = System::new();
    let is_change = |request: &Request| {
        !matches!(request, Request::List(..) | Request::Save(_) | Request::Help | Request::Version)
    };
    let (mut requests, refusals, ended_well) = match grammar::parse(&owned(words), &names) {
        Ok(Request::Restore) => {
            let Rules { requests, refusals, ended_well } = restore::read(stdin, &names);
            (requests, refusals.into_iter().map(|(_, refusal)| refusal).collect(), ended_well)
        }
        Ok(request) => (vec![request], vec![], true),
        Err(refusal) => (vec![], vec![refusal], false),
    };
    requests.retain(is_change);
    let code = match refusals.last() {
        Some(refusal) if !ended_well => refusal.exit_code().into(),
        _ => 0,
    };
    let said = refusals.iter().map(|refusal| format!("{}\n", refusal.message("ipvsadm"))).collect();
    (code, said, requests)
}

fn same(real: &Real, words: &[&str], stdin: &str) {
    let run = real.run(words, stdin);
    let (code, stderr, changes) = ours(words, stdin);
    assert_eq!((code, stderr, changes), (run.code, run.stderr, run.changes), "ipvsadm {words:?} < {stdin:?}");
}

const COMMANDS: &[&str] = &[
    "-A",
    "-E",
    "-D",
    "-C",
    "-L",
    "-l",
    "-Z",
    "-a",
    "-e",
    "-d",
    "-S",
    "--start-daemon=master",
    "--stop-daemon=backup",
];

/// Every option with an argument that is right.
const OPTIONS: &[&str] = &[
    "-t 192.0.2.1:80",
    "-u 192.0.2.1:53",
    "--sctp-service 192.0.2.1:2904",
    "-f 5",
    "-s rr",
    "-p",
    "-p 60",
    "-M 255.255.255.0",
    "--pe sip",
    "-b flag-1",
    "-o",
    "-r 10.0.0.11:8080",
    "-m",
    "-i",
    "-g",
    "-w 3",
    "-x 10",
    "-y 5",
    "-n",
    "-c",
    "--timeout",
    "--daemon",
    "--stats",
    "--rate",
    "--thresholds",
    "--persistent-conn",
    "--tun-info",
    "--nosort",
    "--sort",
    "-X",
    "--syncid 7",
    "--sync-maxlen 1000",
    "--mcast-interface eth1",
    "--mcast-group 224.0.0.90",
    "--mcast-group ff02::81",
    "--mcast-port 8849",
    "--mcast-ttl 2",
    "--tun-type gue",
    "--tun-type gre",
    "--tun-type ipip",
    "--tun-port 6080",
    "--tun-nocsum",
    "--tun-csum",
    "--tun-remcsum",
];

#[test]
fn every_command_judges_every_option_as_the_real_one_does() {
    let real = Real::before(&Table::default(), &[]);
    for command in COMMANDS {
        same(&real, &[command], "");
        for option in OPTIONS {
            let bare: Vec<&str> = std::iter::once(*command).chain(option.split(' ')).collect();
            same(&real, &bare, "");
            let with_service: Vec<&str> =
                [*command, "-t", "192.0.2.1:80"].into_iter().chain(option.split(' ')).collect();
            same(&real, &with_service, "");
            let with_server: Vec<&str> = [*command, "-t", "192.0.2.1:80", "-r", "10.0.0.11"]
                .into_iter()
                .chain(option.split(' '))
                .collect();
            same(&real, &with_server, "");
        }
    }
}

#[test]
fn what_operators_write_and_mistype_means_what_it_means_to_the_real_one() {
    let real = Real::before(&Table::default(), &[]);
    let long = "x".repeat(40);
    let cases = [
        "",
        "-A",
        "-x",
        "foo",
        "-A foo",
        "-A -t",
        "-A -t 192.0.2.1",
        "-A -t 192.0.2.1:80",
        "-A -t192.0.2.1:80 -s rr",
        "-A --tcp-service=192.0.2.1:80 --scheduler=sh -b sh-port,sh-fallback",
        "-At 192.0.2.1:80",
        "-AD",
        "-A -t 192.0.2.1:80 -D",
        "-A -q",
        "-Aq",
        "--foo",
        "-A --foo",
        "-A --list=x",
        "-A -t 192.0.2.1:80 --ops=1",
        "-A -t 192.0.2.1:80 -p -s rr",
        "-A -t 192.0.2.1:0 -p",
        "-A -t 192.0.2.1:0",
        "-A -t 192.0.2.1 -p 0",
        "-A -t 192.0.2.1:80 -p 2678400",
        "-A -t 192.0.2.1:80 -p 2678401",
        "-A -t 192.0.2.1:80 -p x",
        "-A -t 192.0.2.1:80 -p600",
        "-A -t 192.0.2.1:80 -p=600",
        "-A -t 192.0.2.1:80 --persistent=600",
        "-A -t 192.0.2.1:http",
        "-A -u 192.0.2.1:domain",
        "-A -t 192.0.2.1:nosuchservice",
        "-A -t localhost:80",
        "-A -t 80",
        "-A -t :80",
        "-A -t 10.1:80",
        "-A -t 0x0a000001:80",
        "-A -t 192.0.2.1:65536",
        "-A -t 192.0.2.1:-1",
        "-A -t 192.0.2.1:+80",
        "-A -t [2001:db8::1]:80",
        "-A -t [2001:db8::1]",
        "-A -t 2001:db8::1",
        "-A -t 2001:db8::1 -p",
        "-A -t [10.0.0.1]:80 -p",
        "-A -t [2001:db8::1]80",
        "-A -t [2001:db8::1",
        "-A -t [2001:db8::1]:80 -M 64 -p",
        "-A -t [2001:db8::1]:80 -M 129",
        "-A -M 64 -t [2001:db8::1]:80",
        "-A -t [2001:db8::1]:80 -M 0",
        "-A -t 192.0.2.1:80 -M 24",
        "-A -t 192.0.2.1:80 -M 255.255.255.0 -p",
        "-A -t 192.0.2.1:80 -M 300.1.1.1",
        "-A -f 5",
        "-A -f 0",
        "-A -f -1",
        "-A -f x",
        "-A -f 4294967295",
        "-A -f 4294967296",
        "-A -f 5 -6",
        "-A -6 -f 5",
        "-A -6 -t 192.0.2.1:80",
        "-A -f 5 -6 -p -M 64",
        "-A -f 5 -o",
        "-A -t 192.0.2.1:80 -o",
        "-A -u 192.0.2.1:53 -o",
        "-A -t 192.0.2.1:80 -s sh -b mh-port",
        "-A -t 192.0.2.1:80 -b sh-port",
        "-A -t 192.0.2.1:80 -b flag-4",
        "-A -t 192.0.2.1:80 -b flag-1,flag-2,flag-3",
        "-A -t 192.0.2.1:80 -s mh -b mh-port,mh-fallback",
        "-A -t 192.0.2.1:80 -b mh-port -s mh",
        "-A -t 192.0.2.1:80 -t 192.0.2.2:80",
        "-A -t 192.0.2.1:80 -u 192.0.2.2:80",
        "-A -t 192.0.2.1:80 extra",
        "-A -- -t 192.0.2.1:80",
        "-A - -t 192.0.2.1:80",
        "-a -t 192.0.2.1:80",
        "-a -r 10.0.0.1",
        "-a -t 192.0.2.1:80 -r 10.0.0.1",
        "-a -r 10.0.0.1 -t 192.0.2.1:80 -m",
        "-a -t 192.0.2.1:80 -r 10.0.0.1 -m",
        "-a -t 192.0.2.1:80 -r 10.0.0.1:8080 -m -w 5 -x 100 -y 50",
        "-a -t 192.0.2.1:80 -r 10.0.0.1:8080 -g",
        "-a -t 192.0.2.1:80 -r 10.0.0.1:8080 -i",
        "-a -t 192.0.2.1:80 -r 10.0.0.1:8080 -m -i",
        "-a -f 5 -r 10.0.0.1:8080 -g",
        "-a -f 5 -r 10.0.0.1",
        "-a -f 5 -6 -r [2001:db8::11]:80",
        "-a -f 5 -6 -r 10.0.0.1:80",
        "-a -f 5 -r [2001:db8::11]:80 -i",
        "-a -t 192.0.2.1:80 -r [2001:db8::11]:80 -m",
        "-a -t [2001:db8::1]:80 -r [2001:db8::11]:8080 -m",
        "-a -t [2001:db8::1]:80 -r 2001:db8::11 -g",
        "-a -t [2001:db8::1]:80 -r 10.0.0.1 -i",
        "-a -t 192.0.2.1:80 -r 10.0.0.1 -w 65535",
        "-a -t 192.0.2.1:80 -r 10.0.0.1 -w -1",
        "-a -t 192.0.2.1:80 -r 10.0.0.1 -w",
        "-a -t 192.0.2.1:80 -r 10.0.0.1 -x 2147483647",
        "-a -t 192.0.2.1:80 -r 10.0.0.1 -x 2147483648",
        "-a -t 192.0.2.1:80 -r 10.0.0.1 -y x",
        "-a -t 192.0.2.1:80 -r 80",
        "-a -t 192.0.2.1:80 -r 10.0.0.1:http -m",
        "-a -t 192.0.2.1:80 -r nosuchhost.invalid",
        "-a -t 192.0.2.1:80 -r 10.0.0.1 -i --tun-type gue --tun-port 6080",
        "-a -t 192.0.2.1:80 -r 10.0.0.1 -i --tun-type gue",
        "-a -t 192.0.2.1:80 -r 10.0.0.1 -i --tun-type gre --tun-csum",
        "-a -t 192.0.2.1:80 -r 10.0.0.1 -i --tun-type gre --tun-remcsum",
        "-a -t 192.0.2.1:80 -r 10.0.0.1 -i --tun-csum",
        "-a -t 192.0.2.1:80 -r 10.0.0.1 -i --tun-type gre --tun-csum --tun-nocsum",
        "-a -t 192.0.2.1:80 -r 10.0.0.1 -i --tun-type gue --tun-port 6080 --tun-csum --tun-remcsum",
        "-a -t 192.0.2.1:80 -r 10.0.0.1 -i --tun-type x",
        "-a -t 192.0.2.1:80 -r 10.0.0.1 -i --tun-port 0",
        "-a -t 192.0.2.1:80 -r 10.0.0.1 -m --tun-type ipip",
        "-a -t 192.0.2.1:80 -r 10.0.0.1 --tun-type gue --tun-remcsum --tun-port 1 -i",
        "-e -t 192.0.2.1:80 -r 10.0.0.1 -w 0",
        "-d -t 192.0.2.1:80 -r 10.0.0.1:8080",
        "-d -t 192.0.2.1:80 -r 10.0.0.1",
        "-d -t 192.0.2.1:80 -r 10.0.0.1 -w 1",
        "-D -t 192.0.2.1:80",
        "-D -f 5 -6",
        "-D",
        "-C",
        "-C -n",
        "-Z",
        "-Z -t 192.0.2.1:80",
        "-Z -f 5",
        "--set",
        "--set 1 2",
        "--set 900 120 300",
        "--set 0 0 300",
        "--set 1 2 3 4",
        "--set 1 x 3",
        "--set -1 2 3",
        "--set 2678401 2 3",
        "--set 1 2 3 -n",
        "-L -c --stats",
        "-L --timeout --rate",
        "-L --daemon --persistent-conn",
        "-L -c --persistent-conn",
        "-L -t 192.0.2.1:80 -c",
        "-L --timeout --daemon",
        "-L -n -n",
        "-Lnn",
        "-LnX",
        "-L extra",
        "-S -n",
        "-S -t 192.0.2.1:80",
        "--start-daemon",
        "--start-daemon master",
        "--start-daemon both",
        "--stop-daemon both",
        "--start-daemon backup --syncid 255 --mcast-interface eth1",
        "--start-daemon master --syncid 256",
        "--start-daemon master --mcast-group 10.0.0.1",
        "--start-daemon master --mcast-group 2001:db8::1",
        "--start-daemon master --mcast-group x",
        "--start-daemon master --mcast-port 0",
        "--start-daemon master --mcast-ttl 256",
        "--start-daemon master --sync-maxlen 65508",
        "--stop-daemon backup --syncid 3",
        "--stop-daemon master --mcast-port 8848",
        "-R extra",
        "-R -n",
        "-h extra",
        "-A -t 192.0.2.1:80 -h",
    ];
    for case in cases {
        let words: Vec<&str> = case.split_whitespace().collect();
        // Without words, and with -h and -v, it prints and succeeds.
        if matches!(words.first(), None | Some(&"-h")) {
            continue;
        }
        same(&real, &words, "");
    }
    same(&real, &["-A", "-t", "192.0.2.1:80", "-s", &long], "");
    same(&real, &["-A", "-t", "192.0.2.1:80", "--pe", &long], "");
    same(&real, &["-A", "-t", ""], "");
    same(&real, &["-A", "", "-t", "192.0.2.1:80"], "");
    same(&real, &["--start-daemon", "master", "--mcast-interface", &long], "");
}

#[test]
fn rules_are_restored_as_the_real_one_restores_them() {
    let real = Real::before(&Table::default(), &[]);
    for rules in [
        "",
        "-A -t 192.0.2.1:80 -s wlc\n-a -t 192.0.2.1:80 -r 10.0.0.11:80 -m -w 1\n",
        "ipvsadm -A -t 192.0.2.1:80\n\n\t-a  -t 192.0.2.1:80\t-r 10.0.0.11 -m",
        "-A -t 192.0.2.1:80\n-A -t nonsense:x:y\n-A -t 192.0.2.2:80\n",
        "-A -t 192.0.2.1:80 -q\n-A -t 192.0.2.2:80\n",
        "-C\n-A -f 5 -6 -p 600 -M 64\n-a -f 5 -6 -r [2001:db8::11]:80 -i --tun-type ipip\n",
        "-R\n-A -t 192.0.2.2:80\n",
        "   \n \n-A -t 192.0.2.2:80\r\n",
    ] {
        same(&real, &["-R"], rules);
    }
}

fn address(is_v6: bool) -> BoxedStrategy<IpAddr> {
    match is_v6 {
        false => prop_oneof![
            (0..4u8).prop_map(|host| IpAddr::from([10, 0, 0, host])),
            any::<[u8; 4]>().prop_map(IpAddr::from)
        ]
        .boxed(),
        true => prop_oneof![
            (0..4u16).prop_map(|host| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, host])),
            any::<[u16; 8]>().prop_map(IpAddr::from)
        ]
        .boxed(),
    }
}

/// Numbers around the places where they are shortened.
fn count() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..2_000u64,
        (7..15u32, -1..2i64).prop_map(|(power, off)| 10u64.pow(power).saturating_add_signed(off)),
        any::<u64>().prop_map(|bits| bits >> 8),
    ]
}

fn traffic() -> impl Strategy<Value = Traffic> {
    (count(), count(), count(), count(), count()).prop_map(
        |(connections, in_packets, out_packets, in_bytes, out_bytes)| Traffic {
            connections,
            in_packets,
            out_packets,
            in_bytes,
            out_bytes,
        },
    )
}

/// ipvsadm 1.31 reads 32 bits of a server's counts (of a service's, all 64), and of its rates; we show what there is.
fn as_the_real_one_reads(traffic: Traffic) -> Traffic {
    Traffic {
        in_bytes: traffic.in_bytes,
        out_bytes: traffic.out_bytes,
        ..as_the_real_one_reads_rates(traffic)
    }
}

fn as_the_real_one_reads_rates(rate: Traffic) -> Traffic {
    let low = |count: u64| u64::from(count as u32);
    let Traffic { connections, in_packets, out_packets, in_bytes, out_bytes } = rate;
    Traffic {
        connections: low(connections),
        in_packets: low(in_packets),
        out_packets: low(out_packets),
        in_bytes: low(in_bytes),
        out_bytes: low(out_bytes),
    }
}

fn server(is_v6: bool) -> impl Strategy<Value = Server> {
    let tunnel = (select(&TunnelKind::ALL[..]), any::<u16>(), 0..3u8)
        .prop_map(|(kind, port, checksum)| Tunnel { kind, port, checksum: TunnelChecksum(checksum) });
    let forward = select(vec![Forward::Masq, Forward::Tunnel, Forward::Route]);
    let spec = (address(is_v6), any::<u16>(), forward, tunnel, any::<u16>(), any::<(u32, u32)>());
    (spec, any::<(u32, u32, u32)>(), traffic(), traffic()).prop_map(
        |(
            (address, port, forward, tunnel, weight, (upper, lower)),
            (active, inactive, persistent),
            total,
            rate,
        )| Server {
            spec: ServerSpec {
                address,
                port,
                forward,
                tunnel,
                weight,
                upper_threshold: upper,
                lower_threshold: lower,
            },
            weight,
            active,
            inactive,
            persistent,
            total: as_the_real_one_reads(total),
            rate: as_the_real_one_reads_rates(rate),
        },
    )
}

fn service() -> impl Strategy<Value = Service> {
    any::<bool>().prop_flat_map(|is_v6| {
        let protocol = select(&Proto::ALL[..]);
        let key = prop_oneof![
            3 => (protocol, address(is_v6), any::<u16>()).prop_map(|(protocol, address, port)| ServiceKey::Address { protocol, address, port }),
            1 => (1..u32::MAX / 2).prop_map(move |mark| ServiceKey::Fwmark { mark, is_v6 }),
        ];
        let mask = match is_v6 {
            false => prop_oneof![
                Just(Mask::V4([255; 4].into())),
                any::<[u8; 4]>().prop_map(|mask| Mask::V4(mask.into()))
            ]
            .boxed(),
            true => prop_oneof![Just(Mask::V6(128)), (1..129u8).prop_map(Mask::V6)].boxed(),
        };
        let scheduler = select(vec!["rr", "wlc", "sh", "mh", "lblcr"]);
        let flags = prop_oneof![Just(0), 0..8u8];
        let spec = (key, scheduler, flags, option::of(1..2_678_400u32), mask, any::<bool>(), select(vec!["", "sip"]));
        (spec, traffic(), traffic(), vec(server(is_v6), 0..6))
    }).prop_map(|((key, scheduler, flags, persistent, mask, one_packet, engine), total, rate, servers)| Service {
        spec: ServiceSpec {
            key,
            scheduler: scheduler.to_owned(),
            // sh and mh have two flags.
            flags: SchedulerFlags(if matches!(scheduler, "sh" | "mh") { flags & 3 } else { flags }),
            persistent,
            mask,
            one_packet,
            engine: engine.to_owned(),
        },
        total,
        rate,
        servers,
    })
}

fn connection() -> impl Strategy<Value = Connection> {
    any::<bool>()
        .prop_flat_map(|is_v6| {
            let end = || (address(is_v6), any::<u16>());
            let protocol = select(vec!["TCP", "UDP", "SCTP", "IP"]);
            let state = select(vec!["NONE", "ESTABLISHED", "SYN_RECV", "UDP"]);
            (protocol, end(), end(), end(), state, 0..700_000u32)
        })
        .prop_map(|(protocol, client, virtual_, server, state, expires)| Connection {
            protocol: protocol.to_owned(),
            client,
            virtual_,
            server,
            state: state.to_owned(),
            expires,
        })
}

/// Format options, each alone and in company.
const FORMATS: &[&[&str]] = &[
    &["-Ln"],
    &["-Ln", "--stats"],
    &["-Ln", "--rate"],
    &["-Ln", "--stats", "--exact"],
    &["-LnX", "--rate"],
    &["-Ln", "--thresholds"],
    &["-Ln", "--persistent-conn"],
    &["-Ln", "--tun-info"],
    &["-Ln", "--nosort"],
    &["-Ln", "--stats", "--rate", "--thresholds", "--persistent-conn", "--tun-info"],
    &["-Ln", "--rate", "--thresholds", "--nosort"],
    &["-Ln", "--thresholds", "--persistent-conn"],
    &["-Ln", "--persistent-conn", "--tun-info"],
    &["-Sn"],
    &["-Lnc"],
    &["-Lnc", "--persistent-conn"],
];

fn printed(words: &[&str], table: &Table, connections: &[Connection]) -> String {
    let names = System::new();
    let request = grammar::parse(&owned(words), &names).unwrap();
    let (Request::List(_, format) | Request::Save(format)) = request else { panic!("{request:?}") };
    let mut text = String::new();
    let page = Page::new(&mut text, format, &names);
    match request {
        Request::List(List::All, _) => page.all(table),
        Request::List(List::Connections, _) => page.connections(connections.iter().cloned()),
        Request::Save(_) => page.rules(table),
        other => panic!("{other:?}"),
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn listings_are_byte_for_byte_the_real_ones(
        services in vec(service(), 0..8),
        size in 256..1_048_576u32,
        connections in vec(connection(), 0..6),
    ) {
        let mut services = services;
        services.dedup_by_key(|service| service.spec.key);
        let table = Table { size, services };
        let real = Real::before(&table, &connections);
        for words in FORMATS {
            prop_assert_eq!(printed(words, &table, &connections), real.run(words, "").stdout, "ipvsadm {:?}", words);
        }
    }

    #[test]
    fn saved_rules_are_restored_to_what_they_were(services in vec(service(), 0..8)) {
        let table = Table { size: 4096, services };
        let rules = printed(&["-Sn"], &table, &[]);
        let (code, stderr, changes) = ours(&["-R"], &rules);
        // A rule that ipvsadm itself could not have been given is refused by both.
        let run = Real::before(&table, &[]).run(&["-R"], &rules);
        prop_assert_eq!((code, stderr, changes), (run.code, run.stderr, run.changes));
    }
}

#[test]
fn names_are_those_of_the_machine() {
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let service = |protocol, at: &str, port| Service {
        spec: ServiceSpec {
            key: ServiceKey::Address { protocol, address: address(at), port },
            scheduler: "wlc".to_owned(),
            flags: SchedulerFlags(0),
            persistent: None,
            mask: Mask::V4([255; 4].into()),
            one_packet: false,
            engine: String::new(),
        },
        total: Traffic::default(),
        rate: Traffic::default(),
        servers: Vec::new(),
    };
    let table = Table {
        size: 4096,
        services: vec![
            service(Proto::Tcp, "127.0.0.1", 80),
            service(Proto::Udp, "127.0.0.1", 53),
            service(Proto::Tcp, "127.0.0.1", 54321),
            service(Proto::Sctp, "127.0.0.1", 2904),
        ],
    };
    let real = Real::before(&table, &[]);
    for words in [&["-L"][..], &["-S"], &["-L", "--stats"]] {
        assert_eq!(printed(words, &table, &[]), real.run(words, "").stdout, "ipvsadm {words:?}");
    }
}
