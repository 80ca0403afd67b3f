use super::*;
use crate::health::bed::{MS, check, listener, loopback, target};
use crate::service::check::{Check, Kind, Pace};
use Health::{Down, Suspect, Unchecked, Up};
use std::net::{TcpListener, TcpStream};

/// What a test waits for at most; machines may be slow.
const LONG: Duration = Duration::from_secs(20);

fn fast(server: &TcpListener) -> Target {
    target(server.local_addr().unwrap(), check(Kind::Tcp))
}

fn with_pace(server: &TcpListener, pace: Pace) -> Target {
    target(server.local_addr().unwrap(), Check { pace, ..check(Kind::Tcp) })
}

fn driver() -> Driver {
    Driver::start(|| (), ()).unwrap()
}

fn next(driver: &Driver) -> Event {
    driver.events().recv_timeout(LONG).unwrap()
}

fn change(driver: &Driver) -> (Health, Health, String) {
    match next(driver).what {
        What::Health(Change { from, to }, cause) => (from, to, cause.map_or(String::new(), |why| why.cause)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_server_that_stops_listening_falls_with_its_cause_and_comes_back() {
    let server = listener();
    let at = server.local_addr().unwrap();
    let target = fast(&server);
    let driver = driver();
    driver.set([target.clone()]);
    assert_eq!(change(&driver), (Unchecked, Up, String::new()));
    drop(server);
    let refused = "connect: connection refused";
    assert_eq!(change(&driver), (Up, Suspect, refused.to_owned()));
    assert_eq!(change(&driver), (Suspect, Down, refused.to_owned()));
    let status = driver.status(&target).unwrap();
    assert_eq!((status.health, status.failure.unwrap().0.cause.as_str()), (Down, refused));
    assert!(status.failures >= 3 && status.probes > status.failures);
    let _server = TcpListener::bind(at).unwrap();
    assert_eq!(change(&driver), (Down, Up, String::new()));
}

#[test]
fn a_probe_leaves_no_connection_for_the_servers_program_to_accept() {
    let server = listener();
    let driver = driver();
    driver.set([fast(&server)]);
    assert_eq!(change(&driver).1, Up);
    driver.set([]);
    server.set_nonblocking(true).unwrap();
    assert_eq!(server.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn equal_targets_are_one_and_those_that_stay_keep_their_history() {
    let (server, other) = (listener(), TcpListener::bind("[::1]:0").unwrap());
    let (kept, gone) = (fast(&server), fast(&other));
    let driver = driver();
    driver.set([kept.clone(), gone.clone(), kept.clone(), fast(&server)]);
    let up = [next(&driver), next(&driver)].map(|event| event.target.server);
    assert!(up.contains(&kept.server) && up.contains(&gone.server));
    assert_eq!(driver.watches().len(), 2);

    let before = driver.status(&kept).unwrap();
    driver.set([kept.clone()]);
    assert_eq!(driver.status(&gone), None);
    let after = driver.status(&kept).unwrap();
    assert!(after.probes >= before.probes && after.since == before.since);
    // Nothing is news but what changes.
    std::thread::sleep(200 * MS);
    assert_eq!(driver.events().try_recv().ok(), None);
    assert!(driver.status(&kept).unwrap().probes >= before.probes + 2);
}

#[test]
fn a_server_that_hangs_delays_nobody_and_is_said_to_have_timed_out() {
    // Its backlog is full: further SYNs are not answered.
    let hanging =
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None)
            .map(TcpListener::from)
            .unwrap();
    rustix::net::bind(&hanging, &std::net::SocketAddr::from((loopback(), 0))).unwrap();
    rustix::net::listen(&hanging, 0).unwrap();
    let at = hanging.local_addr().unwrap();
    let _in_line: Vec<TcpStream> =
        (0..3).map_while(|_| TcpStream::connect_timeout(&at, 100 * MS).ok()).collect();

    let well = listener();
    let slow = Pace { timeout: Duration::from_secs(5), ..check(Kind::Tcp).pace };
    let driver = driver();
    let stuck: Vec<Target> = (1..=200).map(|n| with_pace(&hanging, Pace { rise: n, ..slow })).collect();
    let well = fast(&well);
    driver.set(stuck.iter().cloned().chain([well.clone()]));
    while next(&driver).target.server != well.server {}
    let first = driver.status(&well).unwrap().probes;
    std::thread::sleep(Duration::from_secs(1));
    let made = driver.status(&well).unwrap().probes - first;
    assert!(made >= 10, "{made} probes a second beside servers that hang");

    let impatient = fast(&hanging);
    driver.set([impatient]);
    assert_eq!(change(&driver), (Unchecked, Down, "timed out after 200ms connecting".to_owned()));
}

#[test]
fn a_suspect_is_asked_at_once_whatever_its_interval() {
    let server = listener();
    let hour = Duration::from_secs(3600);
    let pace = Pace { interval: hour, retry: hour, ..Pace::default() };
    let target = with_pace(&server, pace);
    let driver = driver();
    driver.set([target.clone()]);
    assert_eq!(change(&driver).1, Up);
    driver.suspect(&target, "seen to fail".to_owned());
    assert_eq!(change(&driver), (Up, Suspect, "seen to fail".to_owned()));
    assert_eq!((change(&driver).1, driver.status(&target).unwrap().probes), (Up, 2));
    drop(server);
    driver.suspect(&target, "seen again".to_owned());
    assert_eq!((change(&driver).1, change(&driver).1), (Suspect, Down));
}

#[test]
fn a_source_that_the_director_does_not_have_is_not_held_against_the_server() {
    let server = listener();
    let elsewhere = Check { source: Some([192, 0, 2, 77].into()), ..check(Kind::Tcp) };
    let target = target(server.local_addr().unwrap(), elsewhere);
    let driver = driver();
    driver.set([target.clone()]);
    let until = Instant::now() + LONG;
    while driver.status(&target).unwrap().failures < 3 && Instant::now() < until {
        std::thread::sleep(10 * MS);
    }
    let status = driver.status(&target).unwrap();
    assert_eq!(status.health, Unchecked);
    assert_eq!(status.failure.unwrap().0, Failure::own("connect: cannot assign requested address"));
}
