//! What a director's log says: each change once, with its cause, in every format.

use crate::bed::{Bed, LVX, PATIENCE, eventually, in_turn};
use lvx::control::client::Client;
use lvx::lab::{Layout, Node, Process, Signal};
use serde_json::Value;
use std::fs;
use std::process::Command;
use std::time::Duration;

/// A director that writes its log beside those of others.
struct Logged<'b> {
    bed: &'b Bed,
    process: Process,
}

impl Logged<'_> {
    /// Starts one by way of the command `by`, with more words for `lvx run`.
    fn start<'b>(bed: &'b Bed, by: &[&str], config: &str, words: &[&str]) -> Logged<'b> {
        let file = bed.dir().join("director.toml");
        fs::write(&file, config).unwrap();
        let argv = [by, &[LVX, "run", "--config", file.to_str().unwrap()], words].concat();
        let process = bed.node(Node::Director).unwrap().spawn(&argv, &bed.dir().join("logged")).unwrap();
        let director = Logged { bed, process };
        eventually("director", || director.text().contains("ready"));
        director
    }

    fn text(&self) -> String {
        fs::read_to_string(self.process.log()).unwrap()
    }

    /// Each line, as an object.
    fn events(&self) -> Vec<Value> {
        let text = self.text();
        // The last one may be half written.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        whole.lines().map(parse).collect()
    }

    /// Waits until so many events have this message; the last of them.
    fn said(&self, message: &str, times: usize) -> Value {
        let mut found = Vec::new();
        eventually(&format!("{times} times {message:?} in {}", self.text()), || {
            found = self.events();
            found.retain(|event| event["message"] == message);
            found.len() == times
        });
        found.pop().unwrap()
    }

    fn reload(&self, config: &str) {
        fs::write(self.bed.dir().join("director.toml"), config).unwrap();
        assert!(self.process.signal(Signal::HUP));
    }

    /// Does what the words say; the process that did it.
    fn lvx(&self, words: &[&str]) -> u32 {
        let mut lvx = Command::new(LVX);
        lvx.args(words).env("LVX_SOCKET", self.bed.control_socket()).stdout(std::process::Stdio::null());
        let mut child = lvx.spawn().unwrap();
        let pid = child.id();
        assert!(child.wait().unwrap().success(), "lvx {words:?}");
        pid
    }

    fn end(mut self) -> Vec<Value> {
        assert!(self.process.terminate(PATIENCE).unwrap().success());
        self.events()
    }
}

#[test]
fn each_change_is_logged_once_with_its_cause() {
    let bed = Bed::new(Layout::Nat);
    let config = bed.director_config(&in_turn());
    let director = Logged::start(&bed, &[], &config, &["--log-format", "json"]);
    let server = |number: u8| bed.plan.server(number).unwrap().http.to_string();
    let service = format!("tcp {}", bed.plan.http());
    let uid = |pid| format!("uid {}, process {pid}", own_uid());

    director.reload(&config.replacen("weight = 1", "weight = 5", 1));
    let changed = director.said("server changed", 1);
    assert_eq!(director.said("reloaded", 1)["by"], "SIGHUP");
    assert_eq!([&changed["by"], &changed["server"], &changed["service"]], ["SIGHUP", &server(1), &service]);
    assert_eq!(changed["changes"], "weight 1 -> 5");

    let new = bed.dir().join("new.toml");
    fs::write(&new, bed.director_config(&in_turn().map(|service| service.without(2)))).unwrap();
    let new = new.to_str().unwrap();
    let by = uid(director.lvx(&["apply", new, "--confirm", "1s"]));
    let applied = director.said("applied", 1);
    assert_eq!((&applied["by"], &applied["confirm_seconds"]), (&by.clone().into(), &1.into()));
    let removed = director.said("server removed", 1);
    assert_eq!([&removed["by"], &removed["server"]], [&by, &server(2)]);
    let undone = director.said("rolled back", 1);
    assert_eq!([&undone["by"], &undone["level"]], ["nobody has confirmed it in time", "WARN"]);
    assert_eq!(director.said("server added", 1)["by"], undone["by"]);

    director.lvx(&["apply", new, "--confirm", "5m"]);
    let by = uid(director.lvx(&["confirm"]));
    assert_eq!(director.said("the last change is confirmed", 1)["by"], by);
    let by = uid(director.lvx(&["rollback"]));
    assert_eq!(director.said("rolled back", 2)["by"], by);

    let by = uid(director.lvx(&["ipvsadm", "-A", "-t", "10.20.0.100:81", "-s", "rr"]));
    assert_eq!(director.said("service added", 1)["by"], by);
    director.lvx(&["ipvsadm", "-Z"]);
    assert_eq!(director.said("traffic counted from 0 again", 1)["services"], 2);
    director.lvx(&["ipvsadm", "-D", "-t", "10.20.0.100:81"]);
    assert_eq!(director.said("service removed", 1)["service"], "tcp 10.20.0.100:81");
    director.reload("interface = 3");
    director.said("edited", 2);

    eventually("word about the bad file", || director.text().contains("not reloaded"));
    let events = director.end();
    // All of it, in its order: nothing is said twice, and nothing else.
    let messages = events.iter().map(|event| event["message"].as_str().unwrap());
    // The worker begins on a thread of its own.
    let (worker, messages): (Vec<&str>, Vec<&str>) = messages.partition(|said| *said == "worker started");
    assert_eq!(worker.len(), 1);
    let (start, rest) = messages.split_at(2);
    assert_eq!(start, ["control socket open", "ready"]);
    let (bad, rest): (Vec<&str>, Vec<&str>) =
        rest.iter().partition(|message| message.contains('\n') || message.starts_with("not reloaded"));
    assert!(bad.len() == 1 && bad[0].contains("director.toml:1:13: "), "{bad:?}");
    #[rustfmt::skip]
    assert_eq!(rest, [
        "reloaded", "server changed",
        "applied", "server removed", "server changed",
        "rolled back", "service changed", "server changed", "server added",
        "applied", "server removed", "server changed",
        "the last change is confirmed",
        "rolled back", "service changed", "server changed", "server added",
        "edited", "service added",
        "traffic counted from 0 again",
        "edited", "service removed",
        "ending", "worker ended",
    ]);
    assert!(events.iter().all(|event| event["timestamp"].is_string() && event["level"].is_string()));
    let ending = events.iter().find(|event| event["message"] == "ending").unwrap();
    assert_eq!(ending["by"], "SIGTERM");
}

/// Whose processes ours are.
fn own_uid() -> u32 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").unwrap().uid()
}

#[test]
fn links_and_neighbours_are_lost_and_found_by_name() {
    let bed = Bed::new(Layout::Nat);
    let director = Logged::start(&bed, &[], &bed.director_config(&in_turn()), &["--log-format=json"]);
    let rip = bed.plan.server(2).unwrap().rip.to_string();
    bed.on(Node::Server(2), "ip link set eth0 arp off");
    bed.on(Node::Director, &format!("ip neigh del {rip} dev eth1"));
    let lost = director.said("neighbour lost: its MAC is not known", 1);
    assert_eq!([&lost["neighbour"], &lost["interface"], &lost["level"]], [&rip[..], "eth1", "WARN"]);
    bed.on(Node::Server(2), "ip link set eth0 arp on");
    assert_eq!(director.said("neighbour found", 1)["neighbour"], rip);

    // Else, that leads to the servers too.
    bed.on(Node::Director, "ip route del default");
    bed.on(Node::Director, "ip link set eth1 down");
    let down = director.said("link down", 1);
    assert_eq!([&down["interface"], &down["level"]], ["eth1", "ERROR"]);
    assert_eq!(director.said("there are servers that no route leads to", 1)["servers"], 3);
    bed.on(Node::Director, "ip link set eth1 up");
    director.said("routes lead to all servers again", 1);
    assert_eq!(director.said("link up", 1)["interface"], "eth1");
    let events = director.end();
    let lost = events.iter().filter(|event| event["message"].as_str().unwrap().contains("neighbour lost"));
    assert_eq!(lost.count(), 1, "what the link lost goes without saying: {events:?}");
}

#[test]
fn a_full_table_is_logged_when_it_begins_and_when_it_is_over() {
    let bed = Bed::new(Layout::Nat);
    let config = bed.director_config_with("max_connections = 12\nwhen_full = \"refuse\"", &in_turn());
    let director = Logged::start(&bed, &[], &config, &["--log-format", "json"]);
    let visits: Vec<_> = (0..12).map(|_| bed.visit()).collect();
    let full = "the connection table is full: new connections are refused or end others (max_connections)";
    // Each says its SYN again, for some seconds.
    std::thread::scope(|scope| {
        (0..3).for_each(|_| drop(scope.spawn(|| bed.ask().unwrap_err())));
    });
    assert_eq!(director.said(full, 1)["level"], "WARN");
    drop(visits);
    // It takes ten seconds of calm.
    std::thread::sleep(Duration::from_secs(5));
    let over = director.said("the connection table has room again", 1);
    assert!(over["count"].as_u64().unwrap() >= 3, "{over}");
    director.said(full, 1);
}

#[test]
fn a_flood_is_held_back_and_counted() {
    let bed = Bed::new(Layout::Nat);
    let director = Logged::start(&bed, &[], &bed.director_config(&in_turn()), &["--log-format", "json"]);
    fs::write(bed.dir().join("director.toml"), "interface = 3").unwrap();
    let client = Client::new(&bed.control_socket());
    for _ in 0..1000 {
        client.reload().unwrap_err();
    }
    let events = director.end();
    let message = |event: &Value| event["message"].as_str().unwrap().to_owned();
    let said = events.iter().filter(|event| message(event).starts_with("not reloaded")).count();
    let held = events.iter().map(message).filter_map(|text| {
        text.split_once(" more were held back: not reloaded")
            .map(|(count, _)| count.parse::<usize>().unwrap())
    });
    assert_eq!(said + held.sum::<usize>(), 1000, "each is logged or counted");
    assert!((100..1000).contains(&said), "{said}");
}

#[test]
fn the_journal_gets_priorities_and_no_times() {
    let bed = Bed::new(Layout::Nat);
    // As systemd has it.
    let by = ["sh", "-c", "JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) exec \"$@\"", "sh"];
    let director = Logged::start(&bed, &by, &bed.director_config(&in_turn()), &[]);
    director.reload("interface = 3");
    eventually("word about the bad file", || director.text().contains("not reloaded"));
    let text = director.text();
    assert!(text.lines().any(|line| line.starts_with("<6>ready ")), "{text}");
    assert!(text.lines().any(|line| line.starts_with("<3>not reloaded")), "{text}");
    assert!(text.lines().all(|line| line.starts_with(['<'])) && !text.contains('\x1b'), "{text}");
    drop(director);
    // Somebody else's journal is none of ours.
    let by = ["env", "JOURNAL_STREAM=1:1"];
    fs::remove_file(bed.dir().join("logged")).unwrap();
    let director = Logged::start(&bed, &by, &bed.director_config(&in_turn()), &[]);
    assert!(
        director.text().contains("Z  INFO ready ") && !director.text().contains("<6>"),
        "{}",
        director.text()
    );
}

#[test]
fn the_log_is_as_quiet_as_asked_for_and_errors_are_of_its_format() {
    let bed = Bed::empty(Layout::Nat, crate::bed::options());
    let bad = bed.director_config(&in_turn()).replace("scheduler = \"rr\"", "scheduler = \"wcl\"");
    let said = bed.refusal(&[], &bad, &["--log-format", "json"]);
    let error: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!(error["level"], "ERROR");
    assert!(error["message"].as_str().unwrap().contains("did you mean \"wlc\"?"), "{error}");

    let quiet = bed.refusal(&["env", "LVX_LOG=off", "LVX_LOG_FORMAT=json"], &bad, &[]);
    assert_eq!(quiet, "");
    let lvx = Command::new(LVX).args(["run", "--config", "x", "--log-level", "lvx=loud"]).output().unwrap();
    let said = String::from_utf8_lossy(&lvx.stderr).into_owned();
    assert!(!lvx.status.success() && said.contains("allowed: error, warn, info"), "{said}");
}
