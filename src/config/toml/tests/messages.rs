//! Every error's text as the operator reads it.

use crate::config::parse;

/// The errors of `text` behind one good interface, without file and position.
pub(super) fn errors_of(text: &str) -> Vec<String> {
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
pub(super) fn each_says(header: &str, table: &[(&str, &str)]) {
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
                 workers, cores, poll, max_connections, xdp_mode, busy_poll, frames, removed_server, slow_start, \
                 slow_start_curve, conn_reuse_mode, expire_quiescent_template, sloppy_tcp, sloppy_sctp, when_full, timeouts)",
            ),
            (
                "slow_start = true",
                "director: slow_start is the boolean true (allowed: false or a duration such as \"30s\" or 30)",
            ),
            (
                "slow_start = \"0s\"",
                "director: slow_start \"0s\" is out of range (allowed: such as \"15m\", \"900s\" or 300, from 1 second \
                 to 31 days)",
            ),
            (
                "slow_start_curve = \"linaer\"",
                "director: slow_start_curve \"linaer\" is unknown; did you mean \"linear\"? (allowed: linear, \
                 exponential)",
            ),
            ("when_full = \"drop\"", "director: when_full \"drop\" is unknown (allowed: evict, refuse)"),
            ("conn_reuse_mode = 3", "director: conn_reuse_mode 3 is out of range (allowed: 0 to 2)"),
            (
                "timeouts = 3",
                "director: timeouts is the integer 3 (allowed: a table, written [director.timeouts])",
            ),
            (
                "timeouts.tcp_finn = 3",
                "director: timeouts: key \"tcp_finn\" is unknown; did you mean \"tcp_fin\"? (allowed: tcp, \
                 tcp_fin, none, established, syn_sent, syn_recv, fin_wait, time_wait, close, close_wait, last_ack, \
                 listen, synack, udp, sctp_none, sctp_init1, sctp_init, sctp_cookie_sent, sctp_cookie_replied, \
                 sctp_cookie_wait, sctp_cookie, sctp_cookie_echoed, sctp_established, sctp_shutdown_sent, \
                 sctp_shutdown_received, sctp_shutdown_ack_sent, sctp_rejected, sctp_closed)",
            ),
            (
                "timeouts.tcp = 3\ntimeouts.established = 3",
                "director: timeouts: established stands in line 2 already (allowed: either of both names)",
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
                 addresses, mtu, parent, vlan, vlan_protocol)",
            ),
        ],
    );
}

#[test]
fn what_is_wrong_with_a_vlan_is_said() {
    each_says(
        "[[interface]]\nname = \"a\"\n[[interface]]\nname = \"b\"\nparent = \"a\"\nvlan = 2\n[[interface]]\nname = \"c\"\n\
         parent = \"b\"\nvlan = 3\nvlan_protocol = \"802.1ad\"\n[[interface]]\nname = \"d\"",
        &[
            ("vlan = 7", "interface \"d\": parent is missing (allowed: parent and vlan, or neither)"),
            ("parent = \"a\"", "interface \"d\": vlan is missing (allowed: parent and vlan, or neither)"),
            (
                "vlan_protocol = \"802.1q\"",
                "interface \"d\": parent is missing (allowed: parent and vlan, or neither)",
            ),
            (
                "parent = \"a\"\nvlan = 4095",
                "interface \"d\": vlan 4095 is out of range (allowed: 1 to 4094)",
            ),
            (
                "parent = \"zone9\"\nvlan = 7",
                "interface \"d\": parent \"zone9\" is unknown (allowed: an interface before this one)",
            ),
            (
                "parent = \"c\"\nvlan = 7",
                "interface \"d\": parent is a VLAN in a VLAN (allowed: two tags at most)",
            ),
            (
                "parent = \"a\"\nvlan = 2",
                "interface \"d\": vlan 2 is \"b\" already (allowed: each VLAN once)",
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
    let link_local = "is link-local, which may be on any link (allowed: with interface = its name)";
    for (lines, whose) in [
        ("[[route]]\nto = \"::/0\"\nvia = \"fe80::1\"", "route to ::/0: via"),
        ("[[neighbour]]\naddress = \"fe80::1\"\nmac = \"02:00:00:00:00:01\"", "neighbour fe80::1: address"),
    ] {
        assert_eq!(errors_of(lines), [format!("{whose} \"fe80::1\" {link_local}")]);
        assert_eq!(errors_of(&format!("{lines}\ninterface = \"eth0\"")), [""; 0]);
    }
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
                "virtual service 192.0.2.100: zero port specified for non-persistent service (allowed: with persistent = \
                 true, or a port)",
            ),
            (
                "address = \"192.0.2.100:0\"",
                "virtual service 192.0.2.100: zero port specified for non-persistent service (allowed: with persistent = \
                 true, or a port)",
            ),
            (
                "address = \"192.0.2.100:70000\"",
                "virtual service 1: address \"192.0.2.100:70000\" is no address with a port (allowed: such as \
                 192.0.2.100:80 or [2001:db8::100]:80)",
            ),
            (
                "address = \"2001:db8::1\"",
                "virtual service 2001:db8::1: zero port specified for non-persistent service (allowed: with persistent = \
                 true, or a port)",
            ),
            (
                "address = \"[fe80::1]:80\"",
                "virtual service 1: address fe80::1 is link-local, which says nothing without its link (allowed: \
                 any other address)",
            ),
            (
                "address = \"[::ffff:192.0.2.1]:80\"",
                "virtual service 1: address \"[::ffff:192.0.2.1]:80\" is an IPv4 address written as an IPv6 one \
                 (allowed: the unicast address of a host)",
            ),
            (
                "address = \"[2001:db8::1]:80\"\n[[virtual_service]]\naddress = \"[2001:db8:0::1]:80\"",
                "virtual service [2001:db8::1]:80: address stands in line 2 already (allowed: one service per \
                 protocol, address and port)",
            ),
            (
                "address = \"0.0.0.0:80\"",
                "virtual service 1: address \"0.0.0.0:80\" stands for no address (allowed: the unicast address \
                 of a host)",
            ),
            (
                "name = \"web\"\naddress = \"192.0.2.100:80\"\nscheduler = \"wcl\"",
                "virtual service \"web\": scheduler \"wcl\" is unknown; did you mean \"wlc\"? (allowed: rr, \
                 wrr, lc, wlc, sed, nq, sh, dh, mh, lblc, lblcr, fo, ovf, twos)",
            ),
            (
                "address = \"192.0.2.100:80\"\nscheduler = \"sh\"\nscheduler_flags = [\"sh_port\"]",
                "virtual service 192.0.2.100:80: scheduler_flags \"sh_port\" is unknown; did you mean \
                 \"sh-port\"? (allowed: sh-fallback, sh-port, mh-fallback, mh-port)",
            ),
            (
                "address = \"192.0.2.100:80\"\nscheduler = \"mh\"\nscheduler_flags = [\"sh-port\"]",
                "virtual service 192.0.2.100:80: scheduler_flags \"sh-port\" is not for mh (allowed: \
                 mh-fallback, mh-port)",
            ),
            (
                "address = \"192.0.2.100:80\"\nscheduler_flags = [\"mh-port\"]",
                "virtual service 192.0.2.100:80: scheduler_flags \"mh-port\" is not for wlc (allowed: none)",
            ),
            (
                "address = \"192.0.2.100:80\"\nscheduler_flags = \"sh-port\"",
                "virtual service 192.0.2.100:80: scheduler_flags is the string \"sh-port\" (allowed: an array \
                 of flags, such as [\"sh-port\"])",
            ),
            (
                "address = \"192.0.2.100:80\"\nscheduler = \"mh\"\nmh_table_size = 65536",
                "virtual service 192.0.2.100:80: mh_table_size 65536 is no prime; did you mean 65537? \
                 (allowed: primes from 251 to 1000003)",
            ),
            (
                "address = \"192.0.2.100:80\"\nscheduler = \"mh\"\nmh_table_size = 249",
                "virtual service 192.0.2.100:80: mh_table_size 249 is out of range (allowed: 251 to 1000003)",
            ),
            (
                "address = \"192.0.2.100:80\"\nscheduler = \"sh\"\nmh_table_size = 65537",
                "virtual service 192.0.2.100:80: mh_table_size is not for sh (allowed: with scheduler = \
                 \"mh\")",
            ),
            (
                "address = \"192.0.2.100:80\"\nprotocol = \"udp\"\nno_server = \"reset\"",
                "virtual service 192.0.2.100:80: no_server \"reset\" is not for udp (allowed: icmp, drop)",
            ),
            (
                "address = \"192.0.2.100:80\"\nmss_clamp = \"yes\"",
                "virtual service 192.0.2.100:80: mss_clamp is the string \"yes\" (allowed: true, false or bytes, \
                 such as 1400)",
            ),
            (
                "address = \"192.0.2.100:80\"\nprotocol = \"udp\"\nsloppy_tcp = true",
                "virtual service 192.0.2.100:80: sloppy_tcp is not for udp (allowed: with protocol = \"tcp\")",
            ),
            (
                "address = \"192.0.2.100:80\"\nprotocol = \"sctp\"\nno_server = \"reset\"",
                "virtual service 192.0.2.100:80: no_server \"reset\" is not for sctp (allowed: icmp, drop)",
            ),
            (
                "address = \"192.0.2.100:80\"\none_packet = true",
                "virtual service 192.0.2.100:80: one_packet is not for tcp (allowed: with protocol = \"udp\")",
            ),
            (
                "address = \"192.0.2.100:80\"\nmss_clamp = 100",
                "virtual service 192.0.2.100:80: mss_clamp 100 is out of range (allowed: 536 to 65495)",
            ),
            (
                "address = \"192.0.2.100:80\"\nforward = \"snat\"",
                "virtual service 192.0.2.100:80: forward \"snat\" is unknown; did you mean \"nat\"? \
                 (allowed: nat, dr, tun, masq, gate, ipip)",
            ),
            (
                "address = \"192.0.2.100:80\"\nprotocol = \"gre\"",
                "virtual service 192.0.2.100:80: protocol \"gre\" is unknown (allowed: tcp, udp, sctp)",
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
                 \"real_server\"? (allowed: name, address, protocol, match, fwmark, scheduler, scheduler_flags, \
                 mh_table_size, forward, no_server, mss_clamp, timeouts, persistent, netmask, \
                 persistence_mask, sloppy_tcp, sloppy_sctp, one_packet, helper, removed_server, slow_start, \
                 slow_start_curve, quorum, hysteresis, on_down, alpha, fail_open, passive, check, sorry_server, real_server)",
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
fn what_is_wrong_with_services_of_many_ports_is_said() {
    let real = "[[virtual_service.real_server]]\naddress";
    let all = "address = \"192.0.2.100\"\npersistent = true";
    let group = "fwmark = 5\nmatch = [{ address = \"192.0.2.100:80\" }]";
    let such = "(allowed: such as 192.0.2.100:80, 192.0.2.100:8000-8100, or 192.0.2.100 for all ports)";
    let own = |text: String, error: String| (text, error);
    let wrong = |address: &str, error: &str| {
        let text = format!("fwmark = 5\nmatch = [{{ address = \"{address}\" }}]");
        own(text, format!("virtual service fwmark 5: match 1: address {error}"))
    };
    let table = [
        own(
            format!("{all}\n{real} = \"10.0.0.11:80\""),
            "virtual service 192.0.2.100: real server 10.0.0.11:80: address has port 80, and the service has all ports, \
             which lead to the same ones of its servers (allowed: none)"
                .to_owned(),
        ),
        own(
            format!("{group}\n{real} = \"10.0.0.11:80\""),
            "virtual service fwmark 5: real server 10.0.0.11:80: address has port 80, and dr cannot change the port \
             (allowed: none; or forward = \"nat\")"
                .to_owned(),
        ),
        own(
            group.replace("fwmark = 5\n", ""),
            "virtual service 1: fwmark is missing".to_owned(),
        ),
        own(
            group.replace('5', "0"),
            "virtual service 1: fwmark 0 is out of range (allowed: 1 to 4294967295)".to_owned(),
        ),
        own(
            format!("{group}\nprotocol = \"udp\""),
            "virtual service fwmark 5: protocol is for a single address (allowed: protocol in each match)".to_owned(),
        ),
        own(
            format!("{group}\naddress = \"192.0.2.101:80\""),
            "virtual service 192.0.2.101:80: match is for groups (allowed: match and fwmark, or address)".to_owned(),
        ),
        own(
            "fwmark = 5\nmatch = []".to_owned(),
            "virtual service fwmark 5: match is empty (allowed: what clients address, such as [{ address = \
             \"192.0.2.100:80\" }])"
                .to_owned(),
        ),
        own(
            "fwmark = 5\nmatch = [{ address = \"192.0.2.100:80-90\" }, { address = \"192.0.2.100:85\" }]".to_owned(),
            "virtual service fwmark 5: match 2: address stands in line 3 already (allowed: one service per protocol, \
             address and port)"
                .to_owned(),
        ),
        own(
            "fwmark = 5\nmatch = [{ address = \"192.0.2.100:80\" }, { address = \"[2001:db8::1]:80\" }]".to_owned(),
            "virtual service fwmark 5: match 2: address 2001:db8::1 is of another family than the first (allowed: a \
             group for each family)"
                .to_owned(),
        ),
        own(
            format!("{group}\n[[virtual_service]]\n{}", group.replace("80", "81")),
            "virtual service fwmark 5: fwmark stands in line 2 already (allowed: each number once in a family)".to_owned(),
        ),
        wrong(
            "192.0.2.0/24",
            "\"192.0.2.0/24\" is a prefix: the director has each address of its own (allowed: a match for each address)",
        ),
        wrong("192.0.2.1:90-80", &format!("\"192.0.2.1:90-80\" has no ports between the first and the last {such}")),
        wrong("192.0.2.1:80-", &format!("\"192.0.2.1:80-\" has no ports between the first and the last {such}")),
        wrong("web:80", &format!("\"web:80\" is no address with ports {such}")),
        own(
            "address = \"192.0.2.100:69\"\nprotocol = \"udp\"\nhelper = \"ftp\"".to_owned(),
            "virtual service 192.0.2.100:69: helper \"ftp\" is not for udp (allowed: none)".to_owned(),
        ),
        own(
            format!("{group}\nhelper = \"ftp\""),
            "virtual service fwmark 5: helper \"ftp\" finds no TCP port 21 among the matches (allowed: with port 21)"
                .to_owned(),
        ),
    ];
    for (lines, error) in &table {
        let found = errors_of(&format!("[[virtual_service]]\n{lines}"));
        assert!(found.contains(error), "{lines}: {found:?}");
    }
    let good = [
        all.to_owned(),
        group.to_owned(),
        format!("{all}\n[[virtual_service]]\naddress = \"192.0.2.100:80\""),
    ];
    for lines in good {
        assert_eq!(
            errors_of(&format!("[[virtual_service]]\n{lines}\n{real} = \"10.0.0.11\"")),
            [""; 0],
            "{lines}"
        );
    }
}

#[test]
fn what_is_wrong_with_a_real_server_is_said() {
    each_says(
        "[[virtual_service]]\nname = \"web\"\naddress = \"192.0.2.100:80\"\n[[virtual_service.real_server]]",
        &[
            ("", "virtual service \"web\": real server 1: address is missing"),
            (
                "address = \"10.0.0.11\"\nweight = 65536",
                "virtual service \"web\": real server 10.0.0.11: weight 65536 is out of range (allowed: 0 to \
                 65535)",
            ),
            (
                "address = \"10.0.0.11\"\nupper_threshold = 5\nlower_threshold = 6",
                "virtual service \"web\": real server 10.0.0.11: lower_threshold 6 is above the upper one, 5 \
                 (allowed: 0 to upper_threshold)",
            ),
            (
                "address = \"10.0.0.11\"\nlower_threshold = 6",
                "virtual service \"web\": real server 10.0.0.11: lower_threshold 6 is above the upper one, 0 \
                 (allowed: 0 to upper_threshold)",
            ),
            (
                "address = \"10.0.0.11\"\nupper_threshold = -1",
                "virtual service \"web\": real server 10.0.0.11: upper_threshold -1 is out of range (allowed: \
                 0 to 200000000)",
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
                 IPv4 service, which nat cannot bridge (allowed: IPv4; or forward = \"tun\")",
            ),
            (
                "address = \"[2001:db8::11]:80\"",
                "virtual service \"web\": real server [2001:db8::11]:80: address 2001:db8::11 is IPv6 behind an \
                 IPv4 service, which dr cannot bridge (allowed: IPv4; or forward = \"tun\")",
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
                 \"weight\"? (allowed: address, weight, forward, upper_threshold, lower_threshold, check)",
            ),
        ],
    );
}

#[test]
fn what_is_wrong_with_a_real_server_of_an_ipv6_service_is_said() {
    each_says(
        "[[virtual_service]]\nname = \"web\"\naddress = \"[2001:db8::100]:80\"\n[[virtual_service.real_server]]",
        &[
            (
                "address = \"10.0.0.11\"",
                "virtual service \"web\": real server 10.0.0.11: address 10.0.0.11 is IPv4 behind an IPv6 \
                 service, which dr cannot bridge (allowed: IPv6; or forward = \"tun\")",
            ),
            (
                "address = \"[2001:db8::11]:8080\"\nforward = \"tun\"",
                "virtual service \"web\": real server [2001:db8::11]:8080: address has port 8080, and tun cannot \
                 change the port (allowed: 80, the service's port, or none; or forward = \"nat\")",
            ),
            (
                "address = \"fe80::11\"",
                "virtual service \"web\": real server fe80::11: address fe80::11 is link-local, which says nothing \
                 without its link (allowed: any other address)",
            ),
            (
                "address = \"[2001:db8::100]:8080\"\nforward = \"nat\"",
                "virtual service \"web\": real server [2001:db8::100]:8080: address 2001:db8::100 is the \
                 service's own (allowed: the server's address)",
            ),
        ],
    );
}

#[test]
fn a_tunnel_may_lead_through_the_other_family_and_other_methods_stay_in_theirs() {
    for (vip, rip, forward) in [
        ("[2001:db8::100]:80", "[2001:db8::11]:8080", "nat"),
        ("[2001:db8::100]:80", "2001:db8::11", "dr"),
        ("[2001:db8::100]:80", "2001:db8::11", "tun"),
        ("[2001:db8::100]:80", "10.0.0.11", "tun"),
        ("192.0.2.100:80", "2001:db8::11", "ipip"),
    ] {
        let text = format!(
            "[[virtual_service]]\naddress = \"{vip}\"\n[[virtual_service.real_server]]\n\
             address = \"{rip}\"\nforward = \"{forward}\""
        );
        assert_eq!(errors_of(&text), [""; 0], "{text}");
    }
}

#[test]
fn all_errors_of_a_file_come_at_once_in_its_order_and_in_the_form_that_editors_jump_to() {
    let text = "[director]\nworkers = 0\n\n[[virtual_service]]\nname = \"web\"\naddress = \"192.0.2.100:80\"\n\
                scheduler = \"wcl\"\n\n[[interface]]\nname = \"eth0\"\nmtu = 1\n\n[extra]\n";
    assert_eq!(
        parse("director.toml", text).unwrap_err().to_string(),
        "director.toml:2:11: director: workers 0 is out of range (allowed: 1 to 256)\n\
         director.toml:7:13: virtual service \"web\": scheduler \"wcl\" is unknown; did you mean \"wlc\"? \
         (allowed: rr, wrr, lc, wlc, sed, nq, sh, dh, mh, lblc, lblcr, fo, ovf, twos)\n\
         director.toml:11:7: interface \"eth0\": mtu 1 is out of range (allowed: 68 to 65535)\n\
         director.toml:13:2: key \"extra\" is unknown (allowed: director, control, interface, route, neighbour, \
         notify, check, virtual_service)"
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
