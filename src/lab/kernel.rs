//! The kernel's own forwarding in the director's place: what lvx is compared with.

use super::namespace::{feed, run};
use super::plan::{HTTP_PORT, Node, Plan, Server};
use super::topology::need;
use super::{Error, Family, Layout, Topology};

impl Topology {
    /// Makes the director's kernel forward HTTP by nftables, in shares of these weights: what lvx is compared with.
    /// `None` where the kernel has no such way (TUN, mixed). Undone by [`Topology::stop_kernel_forwarding`].
    ///
    /// # Errors
    /// If nft is not there or refuses the rules.
    pub fn start_kernel_forwarding(&self, weights: &[u16]) -> Result<Option<KernelWay>, Error> {
        let (way, rules) = match self.layout() {
            Layout::Nat => (KernelWay::Dnat, dnat_rules(&self.plan, weights)),
            Layout::Dr => {
                (KernelWay::Mac, mac_rules(&self.plan, weights, &self.mac(Node::Director)?, &self.macs()?))
            }
            Layout::Tun | Layout::Mixed => return Ok(None),
        };
        need("nft", "nftables")?;
        let director = self.node(Node::Director)?;
        feed(&mut director.command(&["nft", "-f", "-"]), &rules)?;
        director.sysctl(forwarding(self.plan.family), "1")?;
        Ok(Some(way))
    }

    /// Takes the rules away again.
    ///
    /// # Errors
    /// If there are none.
    pub fn stop_kernel_forwarding(&self, way: KernelWay) -> Result<(), Error> {
        let director = self.node(Node::Director)?;
        director.sysctl(forwarding(self.plan.family), "0")?;
        let table = way.table(self.plan.family);
        run(&mut director.command(&["nft", "delete", "table", table, "lvx_lab"])).map(drop)
    }

    fn macs(&self) -> Result<Vec<String>, Error> {
        self.plan.servers.iter().map(|server| self.mac(server.node())).collect()
    }

    fn mac(&self, node: Node) -> Result<String, Error> {
        let output = self.exec(node, &["cat", "/sys/class/net/eth0/address"])?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

/// How the kernel forwards in the director's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KernelWay {
    /// Destination NAT with connection tracking.
    Dnat,
    /// The destination MAC chosen by a hash of the client, without connection tracking, at the interface's ingress.
    Mac,
}

impl KernelWay {
    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            KernelWay::Dnat => "nft DNAT",
            KernelWay::Mac => "nft: MAC by hash, no conntrack",
        }
    }

    /// The kind of table that it stands in.
    const fn table(self, family: Family) -> &'static str {
        match self {
            KernelWay::Dnat => header(family),
            KernelWay::Mac => "netdev",
        }
    }
}

/// nft's word for a header of this family, and for a table of it.
const fn header(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

/// The sysctl by which a kernel forwards.
const fn forwarding(family: Family) -> &'static str {
    match family {
        Family::V4 => "net.ipv4.ip_forward",
        Family::V6 => "net.ipv6.conf.all.forwarding",
    }
}

/// An interval as wide as its weight for each value; the intervals lie side by side from 0. Their sum, and the
/// elements of an nft map.
fn intervals(weighted: impl Iterator<Item = (String, u16)>) -> (u32, String) {
    let mut shares = Vec::new();
    let mut first = 0_u32;
    for (value, weight) in weighted.filter(|&(_, weight)| weight > 0) {
        let last = first + u32::from(weight) - 1;
        shares.push(format!("{first}-{last} : {value}"));
        first = last + 1;
    }
    (first, shares.join(", "))
}

/// Every packet for the service gets the MAC of the server that its client hashes to, and goes out where it came in.
fn mac_rules(plan: &Plan, weights: &[u16], own: &str, servers: &[String]) -> String {
    let (sum, map) = intervals(servers.iter().cloned().zip(weights.iter().copied()));
    let ip = header(plan.family);
    format!(
        "table netdev lvx_lab {{\n  chain ingress {{\n    type filter hook ingress device \"eth0\" priority 0;\n    \
         {ip} daddr {} tcp dport {HTTP_PORT} ether saddr set {own} ether daddr set jhash {ip} saddr . tcp sport mod {sum} \
         map {{ {map} }} fwd to \"eth0\"\n  }}\n}}\n",
        plan.vip
    )
}

/// `numgen inc` counts connections modulo the sum of the weights; each server has an interval of them. The reply's
/// source is put back by conntrack, and servers reply through the director: no masquerading.
fn dnat_rules(plan: &Plan, weights: &[u16]) -> String {
    let endpoint = |server: &Server| format!("{} . {}", server.http.ip(), server.http.port());
    let (sum, map) = intervals(plan.servers.iter().map(endpoint).zip(weights.iter().copied()));
    let ip = header(plan.family);
    format!(
        "table {ip} lvx_lab {{\n  chain prerouting {{\n    type nat hook prerouting priority dstnat;\n    \
         {ip} daddr {} tcp dport {HTTP_PORT} dnat to numgen inc mod {sum} map {{ {map} }}\n  }}\n}}\n",
        plan.vip
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_shares_are_the_weights() {
        let rules = dnat_rules(&Layout::Nat.plan(Family::V4, 3), &[4, 0, 2]);
        assert!(rules.contains("mod 6 map { 0-3 : 10.30.0.11 . 8080, 4-5 : 10.30.0.13 . 8080 }"), "{rules}");
    }

    #[test]
    fn the_kernels_rules_are_of_the_labs_family() {
        let rules = dnat_rules(&Layout::Nat.plan(Family::V6, 1), &[1]);
        assert!(
            rules.starts_with("table ip6 lvx_lab") && rules.contains("ip6 daddr 2001:db8:20::100 "),
            "{rules}"
        );
        assert!(rules.contains("0-0 : 2001:db8:30::11 . 8080"), "{rules}");
        let rules = mac_rules(&Layout::Dr.plan(Family::V6, 1), &[1], "02:00:00:00:00:09", &["".to_owned()]);
        assert!(
            rules.contains("ip6 daddr 2001:db8:20::100 ") && rules.contains("jhash ip6 saddr"),
            "{rules}"
        );
    }

    #[test]
    fn each_client_hashes_to_a_servers_mac() {
        let macs = ["02:00:00:00:00:01".to_owned(), "02:00:00:00:00:02".to_owned()];
        let rules = mac_rules(&Layout::Dr.plan(Family::V4, 2), &[1, 3], "02:00:00:00:00:09", &macs);
        assert!(rules.contains("mod 4 map { 0-0 : 02:00:00:00:00:01, 1-3 : 02:00:00:00:00:02 }"), "{rules}");
    }
}
