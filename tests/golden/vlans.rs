//! VLANs: tags on the way in, other tags, or none, on the way out.

use super::case::Case;
use super::network::{ETH0, ETH1, HTTP, Server, VIP, client, client_receives, dr, nat, tun};
use super::packet::{Packet, pieces, tagged};

pub fn cases() -> Vec<Case> {
    vec![vlan_in_untagged_out(), vlan_to_vlan(), vlan_one_arm(), qinq(), vlan_unknown(), vlan_fragments()]
}

const DOT1Q: u16 = 0x8100;
const DOT1AD: u16 = 0x88a8;

/// Clients in VLAN 100 on eth0; servers untagged on eth1, or in `servers`.
fn network(servers: &str) -> String {
    let (addresses, name) =
        if servers.is_empty() { ("[\"10.0.0.1/24\"]", "eth1") } else { ("[]", "servers") };
    format!(
        r#"
[[interface]]
name = "eth0"
mac = "02:00:00:00:00:01"

[[interface]]
name = "eth0.100"
parent = "eth0"
vlan = 100
addresses = ["192.0.2.1/24", "192.0.2.100/32"]

[[interface]]
name = "eth1"
mac = "02:00:00:00:00:02"
addresses = {addresses}
{servers}
[[route]]
to = "0.0.0.0/0"
via = "192.0.2.254"

[[route]]
to = "198.51.100.0/24"
via = "10.0.0.254"

[[neighbour]]
address = "192.0.2.254"
interface = "eth0.100"
mac = "02:00:00:00:00:fe"

[[neighbour]]
address = "10.0.0.254"
interface = "{name}"
mac = "02:00:00:00:00:fd"

[[neighbour]]
address = "10.0.0.11"
interface = "{name}"
mac = "02:00:00:00:00:11"

[[neighbour]]
address = "10.0.0.12"
interface = "{name}"
mac = "02:00:00:00:00:12"
"#
    )
}

/// A frame of a client's, in VLAN 100 with some priority.
fn from_client(frame: &[u8]) -> Vec<u8> {
    tagged(frame, &[(DOT1Q, 5, 100)])
}

/// One connection by each method, there and where it passes back, between tagged and other frames.
fn connect(case: &mut Case, servers: &[Server], to_server: &[(u16, u8, u16)]) {
    for (n, server) in (1..).zip(servers) {
        let place = usize::from(n) - 1;
        let syn = Packet::tcp("S", client(n), HTTP);
        case.opened(HTTP, place);
        case.carries_in(HTTP, place, &[syn.frame()]);
        let time = case.comes(100 * u64::from(n), ETH0, from_client(&syn.frame()));
        case.goes(time, ETH1, tagged(&server.receives(&syn), to_server));
        if server.method.sees_replies() {
            let answer = server.answers(Packet::tcp("SA", HTTP, client(n)));
            case.carries_out(HTTP, place, &[answer.frame()]);
            let time = case.comes(100 * u64::from(n) + 50, ETH1, tagged(&answer.frame(), to_server));
            case.goes(time, ETH0, tagged(&client_receives(&answer, HTTP), &[(DOT1Q, 0, 100)]));
        }
    }
}

fn servers() -> [Server; 3] {
    [nat(11, 8080), dr(12, 80), tun(21, 80)]
}

fn vlan_in_untagged_out() -> Case {
    let mut case = Case::new(
        "vlan_in_untagged_out",
        "Clients in VLAN 100 on eth0, servers untagged on eth1: the tag is taken off, and put before what goes back.",
    )
    .network(network(""))
    .web("rr", &servers());
    connect(&mut case, &servers(), &[]);
    case
}

fn vlan_to_vlan() -> Case {
    let mut case = Case::new(
        "vlan_to_vlan",
        "Clients in VLAN 100 on eth0, servers in VLAN 200 on eth1: each side sees its own tag.",
    )
    .network(network(
        "\n[[interface]]\nname = \"servers\"\nparent = \"eth1\"\nvlan = 200\naddresses = [\"10.0.0.1/24\"]\n",
    ))
    .web("rr", &servers());
    connect(&mut case, &servers(), &[(DOT1Q, 0, 200)]);
    case
}

fn vlan_one_arm() -> Case {
    let network = network("")
        .replace("addresses = [\"10.0.0.1/24\"]", "")
        .replace("addresses = [\"192.0.2.1/24\", ", "addresses = [\"10.0.0.1/24\", \"192.0.2.1/24\", ");
    let network = network.replace("interface = \"eth1\"", "interface = \"eth0.100\"");
    let mut case = Case::new(
        "vlan_one_arm",
        "Direct routing within one VLAN: what comes in with its tag goes out with its tag, by the same interface.",
    )
    .network(network)
    .web("rr", &[dr(12, 80)]);
    let syn = Packet::tcp("S", client(1), HTTP);
    case.opened(HTTP, 0);
    case.carries_in(HTTP, 0, &[syn.frame()]);
    let time = case.comes(0, ETH0, from_client(&syn.frame()));
    let sent = syn.hop(super::network::ETH0_MAC, dr(12, 80).mac()).frame();
    case.goes(time, ETH0, tagged(&sent, &[(DOT1Q, 0, 100)]));
    case
}

fn qinq() -> Case {
    let mut case = Case::new(
        "qinq",
        "Servers in VLAN 7 within the provider's VLAN 300 on eth1 (802.1ad): two tags, also on their answers.",
    )
    .network(network(
        "\n[[interface]]\nname = \"provider\"\nparent = \"eth1\"\nvlan = 300\nvlan_protocol = \"802.1ad\"\n\
         \n[[interface]]\nname = \"servers\"\nparent = \"provider\"\nvlan = 7\naddresses = [\"10.0.0.1/24\"]\n",
    ))
    .web("rr", &servers());
    connect(&mut case, &servers(), &[(DOT1AD, 0, 300), (DOT1Q, 0, 7)]);
    case
}

fn vlan_unknown() -> Case {
    let mut case = Case::new(
        "vlan_unknown",
        "A frame of a VLAN that is none of the director's, or with three tags: left to the host (not_ip). In a VLAN of its \
         own, what is no service's is left to the host as it came (not_ours).",
    )
    .network(network(""))
    .web("rr", &[nat(11, 8080)]);
    let syn = Packet::tcp("S", client(1), HTTP).frame();
    case.left(0, tagged(&syn, &[(DOT1Q, 0, 101)]), "not_ip");
    case.left(1, tagged(&syn, &[(DOT1AD, 0, 100)]), "not_ip");
    case.left(2, tagged(&syn, &[(DOT1Q, 0, 100), (DOT1Q, 0, 100), (DOT1Q, 0, 100)]), "not_ip");
    case.left(3, from_client(&Packet::tcp("S", client(1), (VIP, 22)).frame()), "not_ours");
    case
}

fn vlan_fragments() -> Case {
    let mut case = Case::new(
        "vlan_fragments",
        "Fragments in a VLAN, the last one first, and a packet that is fragmented on its way out of one.",
    )
    .network(network(
        "\n[[interface]]\nname = \"servers\"\nparent = \"eth1\"\nvlan = 200\naddresses = [\"10.0.0.1/24\"]\n",
    ))
    .web("rr", &[nat(11, 8080)]);
    let server = nat(11, 8080);
    let tag = |frame: &Vec<u8>| tagged(frame, &[(DOT1Q, 0, 200)]);
    let syn = Packet { dont_fragment: false, ..Packet::tcp("S", client(1), HTTP) }.with(vec![9; 2000]);
    let (come, go) = (pieces(&syn.frame(), 1480), pieces(&server.receives(&syn), 1480));
    case.opened(HTTP, 0);
    case.carries_in(HTTP, 0, &come);
    case.waits(0, ETH0, from_client(&come[1]));
    let time = case.comes(10, ETH0, from_client(&come[0]));
    go.iter().for_each(|piece| case.goes(time, ETH1, tag(piece)));
    case.carries_in(HTTP, 0, &[syn.frame()]);
    let time = case.comes(20, ETH0, from_client(&syn.frame()));
    case.goes_in_pieces(time, ETH1, go.iter().map(tag).collect());
    case
}
