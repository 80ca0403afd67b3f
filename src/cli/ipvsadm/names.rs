//! Hosts and ports by name, as this machine has them.

use super::grammar::Names;
use super::listing::Labels;
use crate::net::Proto;
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

/// Names that ports have.
const SERVICES: &str = "/etc/services";

/// The resolver, with what it said before, and the system's table of services.
#[derive(Debug)]
pub(super) struct System {
    hosts: RefCell<HashMap<IpAddr, Option<String>>>,
    by_name: HashMap<(String, Proto), u16>,
    by_port: HashMap<(u16, Proto), String>,
}

impl System {
    /// This machine's. Without a table of services no port has a name.
    pub(super) fn new() -> System {
        System::with_services(&std::fs::read_to_string(SERVICES).unwrap_or_default())
    }

    /// `text` is of the form of services(5): `http 80/tcp www # alias`. Of several lines for one port the first counts.
    fn with_services(text: &str) -> System {
        let (mut by_name, mut by_port) = (HashMap::new(), HashMap::new());
        for line in text.lines() {
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            let (Some(name), Some(at)) = (words.next(), words.next()) else { continue };
            let Some((port, protocol)) = at.split_once('/') else { continue };
            let Ok(port) = port.parse::<u16>() else { continue };
            let Ok(protocol) = protocol.parse::<Proto>() else { continue };
            by_port.entry((port, protocol)).or_insert_with(|| name.to_owned());
            for name in std::iter::once(name).chain(words) {
                by_name.entry((name.to_owned(), protocol)).or_insert(port);
            }
        }
        System { hosts: RefCell::default(), by_name, by_port }
    }
}

impl Names for System {
    fn host(&self, name: &str) -> Option<Ipv4Addr> {
        dns_lookup::lookup_host(name).ok()?.find_map(|address| match address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        })
    }

    fn port(&self, name: &str, protocol: Proto) -> Option<u16> {
        self.by_name.get(&(name.to_owned(), protocol)).copied()
    }
}

impl Labels for System {
    fn of_host(&self, address: IpAddr) -> Option<String> {
        let mut hosts = self.hosts.borrow_mut();
        hosts.entry(address).or_insert_with(|| dns_lookup::lookup_addr(&address).ok()).clone()
    }

    fn of_port(&self, port: u16, protocol: Proto) -> Option<String> {
        self.by_port.get(&(port, protocol)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_have_the_names_of_the_table_and_answer_to_its_aliases() {
        let system = System::with_services(
            "# a comment\nhttp\t\t80/tcp\twww\t# WorldWideWeb\nwww-too 80/tcp\ndomain 53/udp\nm2ua 2904/sctp\nbad\nworse x/tcp\n",
        );
        assert_eq!(system.port("www", Proto::Tcp), Some(80));
        assert_eq!(system.port("http", Proto::Udp), None);
        assert_eq!(system.of_port(80, Proto::Tcp).as_deref(), Some("http"));
        assert_eq!(system.of_port(2904, Proto::Sctp).as_deref(), Some("m2ua"));
        assert_eq!(system.of_port(81, Proto::Tcp), None);
    }
}
