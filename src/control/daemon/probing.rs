//! The road for the director's own probes along the data path: made when the first is wanted, live, and there until the
//! director ends.

use crate::control::kernel::ProbeNamespace;
use crate::dataplane::port::probe::ProbeDoor;
use crate::dataplane::probe::{self, PORTS, Probes};
use crate::dataplane::snapshot::{Published, Snapshot};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

/// What those who probe need: a port for each probe, and the namespace to probe from.
#[derive(Debug, Clone)]
pub struct ProbeRoad {
    /// Gives out ports.
    pub probes: Arc<Probes>,
    /// Leads into the namespace, once somebody wanted probes.
    pub door: Arc<ProbeDoor>,
}

/// The daemon's care of it.
#[derive(Debug)]
pub(super) struct Probing {
    pub(super) road: ProbeRoad,
    is_wanted: bool,
    namespace: Option<ProbeNamespace>,
}

impl Probing {
    /// Nobody wants probes yet.
    pub(super) fn new(published: Arc<Published>) -> Probing {
        let road = ProbeRoad { probes: Arc::new(Probes::new(published)), door: Arc::default() };
        Probing { road, is_wanted: false, namespace: None }
    }

    /// Says whether probes are wanted, and makes the road if they are and it is not there.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn want(&mut self, is_wanted: bool) -> io::Result<()> {
        self.is_wanted = is_wanted;
        if !is_wanted || self.namespace.is_some() {
            return Ok(());
        }
        let (namespace, ends) = ProbeNamespace::open()?;
        self.road.door.open(ends);
        self.namespace = Some(namespace);
        warn_of_overlap();
        Ok(())
    }

    /// The addresses that probes will come from.
    pub(super) fn sources(&self, snapshot: &Snapshot) -> BTreeSet<IpAddr> {
        let is_open = self.is_wanted && self.namespace.is_some();
        if is_open { probe::sources(snapshot) } else { BTreeSet::new() }
    }

    /// Lets probes come from these, answers to which are steered here by now.
    ///
    /// # Errors
    /// What the system says; then no probes come.
    pub(super) fn set_sources(&mut self, sources: BTreeSet<IpAddr>) -> io::Result<()> {
        let Some(namespace) = &mut self.namespace else { return Ok(()) };
        let set = namespace.set_addresses(&sources);
        self.road.probes.set_sources(if set.is_ok() { sources } else { BTreeSet::new() });
        set
    }
}

/// Answers to the host's own connections from probes' ports reach it by way of the director, which is slow.
fn warn_of_overlap() {
    let read = |name: &str| fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap_or_default();
    let (given, reserved) = (read("ip_local_port_range"), read("ip_local_reserved_ports"));
    if !overlaps(&given, &reserved) {
        return;
    }
    let (first, last, reserved) = (PORTS.start(), PORTS.end(), reserved.trim());
    let comma = if reserved.is_empty() { "" } else { "," };
    tracing::warn!(
        "the kernel gives connections of this host the ports that probes along the data path come from, {first} to {last}, \
         too: their packets take a detour through the director; \
         `sysctl net.ipv4.ip_local_reserved_ports={reserved}{comma}{first}-{last}` keeps them apart"
    );
}

/// Whether the kernel gives out any of the probes' ports: those of `given` (`32768 60999`) without `reserved`
/// (`8080,61000-65535`), as sysctl shows them.
fn overlaps(given: &str, reserved: &str) -> bool {
    let port = |text: &str| text.trim().parse::<u16>().ok();
    let mut ends = given.split_whitespace().filter_map(port);
    let (Some(low), Some(high)) = (ends.next(), ends.next()) else { return false };
    let reserved: Vec<(u16, u16)> = reserved
        .split(',')
        .filter_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            Some((port(first)?, port(last)?))
        })
        .collect();
    let is_given = |port: u16| {
        (low..=high).contains(&port) && !reserved.iter().any(|&(first, last)| (first..=last).contains(&port))
    };
    PORTS.into_iter().any(is_given)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_ports_overlap_with_those_of_probes_unless_they_are_reserved() {
        for (given, reserved, overlap) in [
            ("32768\t60999\n", "\n", false),
            ("1024\t65535\n", "\n", true),
            ("1024\t61000\n", "", true),
            ("1024\t65535\n", "61000-65535\n", false),
            ("1024\t65535\n", "8080,9000-9100,61000-62000,62001-65535\n", false),
            ("1024\t65535\n", "61000-65534\n", true),
            ("", "", false),
        ] {
            assert_eq!(overlaps(given, reserved), overlap, "{given:?} without {reserved:?}");
        }
    }
}
