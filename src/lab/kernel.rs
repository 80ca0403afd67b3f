//! The kernel's own forwarding in the director's place: what lvx is compared with.

use super::namespace::{feed, run};
use super::plan::{HTTP_PORT, Node, Plan};
use super::topology::need;
use super::{Error, Topology};

impl Topology {
    /// Makes the director's kernel forward HTTP by netfilter, with the servers' shares in random order: what
    /// lvx is compared with. Undone by [`Topology::stop_kernel_forwarding`]. NAT only.
    ///
    /// # Errors
    /// If nft is not there or refuses the rules.
    pub fn start_kernel_forwarding(&self, weights: &[u16]) -> Result<(), Error> {
        need("nft", "nftables")?;
        let rules = dnat_rules(&self.plan, weights);
        let director = self.node(Node::Director)?;
        feed(&mut director.command(&["nft", "-f", "-"]), &rules)?;
        director.sysctl("net.ipv4.ip_forward", "1")
    }

    /// Takes the rules away again.
    ///
    /// # Errors
    /// If there are none.
    pub fn stop_kernel_forwarding(&self) -> Result<(), Error> {
        let director = self.node(Node::Director)?;
        director.sysctl("net.ipv4.ip_forward", "0")?;
        run(&mut director.command(&["nft", "delete", "table", "ip", "lvx_lab"])).map(drop)
    }
}

/// `numgen inc` counts connections modulo the sum of the weights; each server has an interval of them. The reply's
/// source is put back by conntrack, and servers reply through the director: no masquerading.
fn dnat_rules(plan: &Plan, weights: &[u16]) -> String {
    let mut shares = Vec::new();
    let mut first = 0_u32;
    for (server, &weight) in plan.servers.iter().zip(weights).filter(|&(_, &weight)| weight > 0) {
        let last = first + u32::from(weight) - 1;
        shares.push(format!("{first}-{last} : {} . {}", server.http.ip(), server.http.port()));
        first = last + 1;
    }
    format!(
        "table ip lvx_lab {{\n  chain prerouting {{\n    type nat hook prerouting priority dstnat;\n    \
         ip daddr {} tcp dport {HTTP_PORT} dnat to numgen inc mod {first} map {{ {} }}\n  }}\n}}\n",
        plan.vip,
        shares.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::Layout;

    #[test]
    fn the_kernels_shares_are_the_weights() {
        let rules = dnat_rules(&Layout::Nat.plan(3), &[4, 0, 2]);
        assert!(rules.contains("mod 6 map { 0-3 : 10.30.0.11 . 8080, 4-5 : 10.30.0.13 . 8080 }"), "{rules}");
    }
}
