//! The services in sum, and the servers of those that are opened.

use crate::office::{Office, SERVICES};
use lvx::control::api::Overview;
use lvx::control::view::ServiceSum;

fn overview(office: &Office, filter: &str, open: &str) -> Overview {
    office.client.overview(filter, open).unwrap()
}

/// Each service's key, how many servers it says it has, and how many it names.
fn told(services: &[ServiceSum]) -> Vec<(&str, usize, Option<usize>)> {
    let told = |sum: &ServiceSum| sum.servers.as_ref().map(Vec::len);
    services.iter().map(|sum| (&sum.service[..], sum.server_count, told(sum))).collect()
}

const WEB: &str = "tcp 192.0.2.1:80";
const DNS: &str = "udp 192.0.2.1:53";

#[test]
fn servers_are_told_of_those_services_that_are_opened() {
    let office = Office::new();
    assert_eq!(told(&overview(&office, "", "").services), [(WEB, 2, None), (DNS, 0, None)]);
    let web = format!("nobody,{WEB}");
    assert_eq!(told(&overview(&office, "", &web).services), [(WEB, 2, Some(2)), (DNS, 0, None)]);
    assert_eq!(told(&overview(&office, "", "all").services), [(WEB, 2, Some(2)), (DNS, 0, Some(0))]);
}

#[test]
fn a_filter_finds_services_by_name_and_servers_by_address() {
    let office = Office::new();
    for (filter, found) in [
        ("WEB", vec![(WEB, 2, Some(2))]),
        ("udp", vec![(DNS, 0, Some(0))]),
        ("192.0.2.1", vec![(WEB, 2, Some(2)), (DNS, 0, Some(0))]),
        ("10.0.0.2", vec![(WEB, 1, Some(1))]),
        ("10.0.0", vec![(WEB, 2, Some(2))]),
        ("10.0.0.9", vec![]),
    ] {
        assert_eq!(told(&overview(&office, filter, "all").services), found, "{filter}");
        let counts =
            |told: Vec<(_, usize, _)>| told.into_iter().map(|(_, count, _)| count).collect::<Vec<_>>();
        let closed = overview(&office, filter, "");
        assert_eq!(counts(told(&closed.services)), counts(found), "{filter}, closed");
    }
    let one = overview(&office, "10.0.0.2", "all");
    assert_eq!(one.services[0].servers.as_ref().unwrap()[0].table.0["address"], "10.0.0.2:8080");
}

#[test]
fn sums_are_those_of_all_servers_also_of_those_removed_and_of_those_filtered_out() {
    let office = Office::new();
    office.connect("192.0.2.1:80", "10.0.0.1:8080", 7);
    office.connect("192.0.2.1:80", "10.0.0.2:8080", 3);
    let without = SERVICES.replace("[[virtual_service.real_server]]\naddress = \"10.0.0.1:8080\"\n", "");
    office.write(&without);
    office.client.reload().unwrap();
    let overview = overview(&office, "10.0.0.2", "all");
    let web = &overview.services[0];
    assert_eq!((web.active, web.inactive, web.server_count), (10, 0, 1));
    assert_eq!((overview.status.connections, overview.totals.connections.current), (10, 10));
    let all = office.client.overview("", WEB).unwrap();
    let servers = all.services[0].servers.as_ref().unwrap();
    assert_eq!(
        servers.iter().map(|row| (row.active, row.departed)).collect::<Vec<_>>(),
        [(3, false), (7, true)]
    );
}
