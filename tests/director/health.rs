//! Servers that fall ill behind a director, and get well again.

use crate::bed::{Bed, LVX, eventually, in_turn};
use lvx::control::desired::ServerState;
use lvx::lab::{Director, Layout, Node, Process, ProcessId, Signal};
use serde_json::Value;
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A connection is accepted, and a page is there; believed soon.
const CHECKS: &str = r#"check = [
    { type = "tcp", interval = "50ms", rise = 1, fall = 2 },
    { type = "http", path = "/health", interval = "50ms", timeout = "200ms", rise = 1, fall = 2 },
]"#;

/// The lab's configuration, whose service has these keys too.
fn config(bed: &Bed, keys: &str) -> String {
    bed.director_config(&in_turn()).replace("scheduler = \"rr\"", &format!("scheduler = \"rr\"\n{keys}"))
}

/// nginx of a server.
pub fn nginx(bed: &Bed, number: u8) -> ProcessId {
    let file = bed.dir().join(format!("nginx{number}/nginx.pid"));
    ProcessId::of(fs::read_to_string(file).unwrap().trim().parse().unwrap()).unwrap()
}

/// Starts nginx of a server again.
pub fn start_again(bed: &Bed, number: u8) -> Process {
    let prefix = bed.dir().join(format!("nginx{number}")).display().to_string();
    let argv = ["nginx", "-e", "stderr", "-p", &prefix, "-c", &format!("{prefix}/nginx.conf")];
    let log = bed.dir().join(format!("server{number}-again.log"));
    bed.node(Node::Server(number)).unwrap().spawn(&argv, &log).unwrap()
}

/// What `lvx status --json` has of the first service.
fn service(bed: &Bed) -> Value {
    let line = format!("{LVX} status --json --socket {}", bed.control_socket().display());
    let json: Value = serde_json::from_str(&bed.on(Node::Director, &line)).unwrap();
    json["services"][0].clone()
}

/// How the servers are, in a word.
pub fn states(bed: &Bed) -> Vec<ServerState> {
    let service = service(bed);
    let servers = service["servers"].as_array().unwrap();
    servers.iter().map(|server| serde_json::from_value(server["state"].clone()).unwrap()).collect()
}

/// Waits until the log has such a line, of which there was none before; how long that took, and the line.
pub fn told(bed: &Bed, after: usize, words: &str) -> (Duration, String) {
    let began = Instant::now();
    loop {
        let log = bed.log().split_off(after);
        if let Some(line) = log.lines().find(|line| line.contains(words)) {
            return (began.elapsed(), line.to_owned());
        }
        assert!(began.elapsed() < crate::bed::PATIENCE, "no {words:?} in {log}");
        sleep(Duration::from_millis(1));
    }
}

/// A director with these keys in its service, whose servers have all been asked once.
pub fn direct(bed: &Bed, keys: &str) -> Director {
    let director = bed.direct_by(&config(bed, keys));
    eventually("verdict", || {
        service(bed)["servers"].as_array().unwrap().iter().all(|server| server["health"].is_object())
    });
    director
}

#[test]
fn a_killed_server_is_out_of_rotation_and_back_when_it_returns() {
    use ServerState::{Down, Up};
    let bed = Bed::new(Layout::Nat);
    let _director = direct(&bed, CHECKS);
    assert_eq!(states(&bed), [Up; 3]);
    assert_eq!(bed.load(30).answers.len(), 3);

    let before = bed.log().len();
    assert!(nginx(&bed, 1).signal(Signal::KILL));
    let (took, line) = told(&bed, before, "server down");
    println!("killed: out of rotation within {} ms", took.as_millis());
    // Whichever check has failed often enough first.
    let (server, cause) = ("server=10.30.0.11:8080 was=\"suspect\"", "connect: connection refused");
    assert!(line.contains(server) && line.contains(cause), "{line}");
    assert_eq!(states(&bed), [Down, Up, Up]);
    let answers = bed.load(30).answers;
    assert!(answers.len() == 2 && !answers.contains_key("server 1"), "{answers:?}");

    // A reload that leaves its checks as they are does not bring it back.
    let before = bed.log().len();
    let reloaded = config(&bed, CHECKS).replace("weight = 1", "weight = 2");
    assert!(!bed.reload(&_director, &reloaded).contains("not reloaded"));
    assert_eq!(states(&bed), [Down, Up, Up]);
    bed.load(30);

    let _nginx = start_again(&bed, 1);
    let (took, _) = told(&bed, before, "server up service=\"http\" server=10.30.0.11:8080 was=\"down\"");
    println!("returned: in rotation within {} ms of the start of its process", took.as_millis());
    assert_eq!(bed.load(30).answers.len(), 3);
}

#[test]
fn a_hung_server_is_found_by_http_though_its_port_accepts_connections() {
    let bed = Bed::new(Layout::Nat);
    let _director = direct(&bed, CHECKS);
    let (before, nginx) = (bed.log().len(), nginx(&bed, 2));
    assert!(nginx.signal(Signal::STOP));
    let (took, line) = told(&bed, before, "server down");
    println!("hung: out of rotation within {} ms", took.as_millis());
    assert!(
        line.contains("server=10.30.0.12:8080 was=\"suspect\" cause=\"check http: timed out after 200ms"),
        "{line}"
    );
    let answers = bed.load(30).answers;
    assert!(answers.len() == 2 && !answers.contains_key("server 2"), "{answers:?}");
    assert!(nginx.signal(Signal::CONT));
    told(&bed, before, "server up service=\"http\" server=10.30.0.12:8080");
    assert_eq!(bed.load(30).answers.len(), 3);
}

/// A check that says of a server what a file says: it is well while there is one of its address.
fn by_files(bed: &Bed, keys: &str) -> String {
    let path = bed.dir().join("up-{address}");
    format!(
        "check = {{ type = \"file\", path = \"{}\", interval = \"50ms\", rise = 1, fall = 1 }}\n{keys}",
        path.display()
    )
}

/// Has the file say that a server is well, or that it is not.
fn seems_well(bed: &Bed, number: u8, is_well: bool) {
    let file = bed.dir().join(format!("up-{}", bed.plan.server(number).unwrap().rip));
    if is_well { fs::write(file, "").unwrap() } else { fs::remove_file(file).unwrap() }
}

#[test]
fn when_all_servers_seem_down_all_are_scheduled_unless_the_service_would_rather_not() {
    for (keys, opens) in [("", true), ("fail_open = false", false)] {
        let bed = Bed::new(Layout::Nat);
        (1..=3).for_each(|number| seems_well(&bed, number, true));
        let _director = direct(&bed, &by_files(&bed, keys));
        (1..=3).for_each(|number| seems_well(&bed, number, false));
        eventually("servers down", || states(&bed) == [ServerState::Down; 3]);
        assert_eq!(service(&bed)["fails_open"].as_bool().unwrap_or_default(), opens);
        assert_eq!(bed.log().contains("all are scheduled"), opens, "{}", bed.log());
        if opens {
            assert_eq!(bed.load(30).answers.len(), 3);
        } else {
            bed.ask().unwrap_err();
        }
        seems_well(&bed, 3, true);
        eventually("server 3 up", || states(&bed)[2] == ServerState::Up);
        assert_eq!(bed.load(30).answers.into_keys().collect::<Vec<_>>(), ["server 3"]);
    }
}

#[test]
fn connections_of_a_server_that_is_down_go_on_or_end_as_the_service_says() {
    for (keys, is_kept) in [("", true), ("on_down = \"reset\"", false)] {
        let bed = Bed::new(Layout::Nat);
        (1..=3).for_each(|number| seems_well(&bed, number, true));
        let _director = direct(&bed, &by_files(&bed, keys));
        let mut visits = bed.visit_each();
        seems_well(&bed, 1, false);
        eventually("server 1 down", || states(&bed)[0] == ServerState::Down);
        // Where it ends, that is so at once, or when the next round over the table comes.
        let ended = || service(&bed)["servers"][0]["active"] == 0;
        if !is_kept {
            eventually("end of the connection", ended);
        }
        let answers: Vec<bool> = visits.iter_mut().map(|visit| visit.ask().is_ok()).collect();
        assert_eq!(answers, [is_kept, true, true]);
    }
}

#[test]
fn a_server_that_nobody_has_asked_yet_is_up_or_with_alpha_down() {
    use ServerState::{Down, Up};
    for (keys, expected) in [("", Up), ("alpha = true", Down)] {
        let bed = Bed::new(Layout::Nat);
        // Whether there is a file cannot be told: neither is a verdict on the server.
        let nowhere = bed.dir().join("nginx1/nginx.conf/up");
        let check = format!(
            "check = {{ type = \"file\", path = \"{}\", says = \"weight\" }}\n{keys}",
            nowhere.display()
        );
        let _director = bed.direct_by(&config(&bed, &check));
        assert_eq!(states(&bed), [expected; 3]);
        assert_eq!(bed.ask().is_ok(), expected == Up);
    }
}

#[test]
fn the_sorry_server_takes_over_when_all_others_are_down_and_programs_are_told() {
    let bed = Bed::new(Layout::Nat);
    let told = bed.dir().join("told");
    let sorry = format!("{CHECKS}\nsorry_server = {{ address = \"10.30.0.13:8080\", forward = \"nat\" }}");
    let two = in_turn().map(|service| service.without(3));
    let config =
        bed.director_config(&two).replace("scheduler = \"rr\"", &format!("scheduler = \"rr\"\n{sorry}"));
    let line = format!("echo \"$0 $LVX_SERVER $1\" >> {}", told.display());
    let notify =
        format!("\n[[notify]]\ncommand = [\"/bin/sh\", \"-c\", '{line}', \"{{service}}\", \"{{state}}\"]\n");
    let _director = bed.direct_by(&(config + &notify));
    eventually("verdict", || service(&bed)["servers"][1]["health"].is_object());
    assert_eq!(bed.load(20).answers.into_keys().collect::<Vec<_>>(), ["server 1", "server 2"]);
    [1, 2].into_iter().for_each(|number| assert!(nginx(&bed, number).signal(Signal::KILL)));
    eventually("loss of the quorum", || service(&bed)["has_lost_quorum"] == true);
    assert_eq!(bed.load(20).answers.into_keys().collect::<Vec<_>>(), ["server 3"]);
    let _nginx = start_again(&bed, 2);
    eventually("quorum", || service(&bed)["has_lost_quorum"].is_null());
    assert_eq!(bed.load(20).answers.into_keys().collect::<Vec<_>>(), ["server 2"]);
    let wanted = [
        "http 10.30.0.12:8080 down",
        "http  without its quorum",
        "http 10.30.0.12:8080 up",
        "http  in quorum",
    ];
    eventually("word to the program", || {
        let told = fs::read_to_string(&told).unwrap_or_default();
        wanted.iter().all(|line| told.lines().any(|found| found == *line))
    });
}

#[test]
fn while_the_directors_own_link_is_down_no_server_is_taken_for_ill() {
    let bed = Bed::new(Layout::Nat);
    let _director = direct(&bed, CHECKS);
    let before = bed.log().len();
    bed.on(Node::Director, "ip link set eth1 down");
    let (_, line) = told(&bed, before, "server unasked");
    assert!(line.contains("eth1 is down") || line.contains("there is no route"), "{line}");
    // Long enough for many probes.
    sleep(Duration::from_millis(600));
    assert!(!states(&bed).contains(&ServerState::Down), "{}", bed.log());
    bed.on(Node::Director, "ip link set eth1 up");
    told(&bed, before, "server asked again");
    eventually("servers up", || states(&bed) == [ServerState::Up; 3]);
    assert_eq!(bed.load(30).answers.len(), 3);
}
