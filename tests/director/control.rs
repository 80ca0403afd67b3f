//! The control socket of a director at work: changes under load, and the commands.

use crate::bed::{Bed, LVX, eventually, in_turn, options};
use lvx::control::client::Client;
use lvx::control::view::Columns;
use lvx::lab::{LabService, Layout};
use lvx::service::SchedulerName;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

fn client(bed: &Bed) -> Client {
    Client::new(&bed.control_socket())
}

/// Puts another configuration in the place of the director's file, whole from the first moment on.
fn put(bed: &Bed, config: &str) {
    let draft = bed.dir().join("draft.toml");
    fs::write(&draft, config).unwrap();
    fs::rename(draft, bed.dir().join("director.toml")).unwrap();
}

/// What a command says, and whether it succeeded.
fn lvx(bed: &Bed, argv: &[&str]) -> (bool, String) {
    let output = Command::new(LVX).args(argv).env("LVX_SOCKET", bed.control_socket()).output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said)
}

/// A thousand reloads, a hundred each second if the machine is quick enough, while the client asks and asks.
fn reload_under_load(layout: Layout) {
    let bed = Bed::new(layout);
    let director = bed.direct(&in_turn());
    // Weights change, a server leaves and comes back, and the scheduler is another one.
    let configs = [
        bed.director_config(&in_turn()),
        bed.director_config(&[LabService::http(SchedulerName::Wlc, &[1, 5, 0])]),
        bed.director_config(&[LabService::http(SchedulerName::Rr, &[1, 1, 1]).without(2)]),
        bed.director_config(&[LabService::http(SchedulerName::Mh, &[3, 2, 1])]),
    ];
    let (tally, took) = std::thread::scope(|scope| {
        let reloads = scope.spawn(|| {
            let (begun, client) = (Instant::now(), client(&bed));
            for number in 0..1000u32 {
                put(&bed, &configs[number as usize % configs.len()]);
                client.reload().unwrap_or_else(|error| panic!("reload {number}: {error}"));
                std::thread::sleep(
                    (begun + number * Duration::from_millis(10)).saturating_duration_since(Instant::now()),
                );
            }
            begun.elapsed()
        });
        let all = bed.load_while(|| !reloads.is_finished());
        (all, reloads.join().unwrap())
    });
    println!("{layout}: 1000 reloads in {took:?}, {} requests, {} failed", tally.done, tally.failed);
    assert_eq!(tally.failed, 0, "{:?}", tally.complaints);
    assert!(tally.done > 0);
    let report = director.stop().unwrap();
    assert_eq!(report.dropped, 0, "{:?}", report.dropped_by_reason);
}

#[test]
fn a_thousand_reloads_under_load_fail_no_request_in_nat() {
    reload_under_load(Layout::Nat);
}

#[test]
fn a_thousand_reloads_under_load_fail_no_request_in_dr() {
    reload_under_load(Layout::Dr);
}

#[test]
fn the_commands_tell_plan_apply_and_undo() {
    let bed = Bed::new(Layout::Nat);
    let director = bed.direct(&in_turn());
    let mut visits = bed.visit_each();
    let new = bed.dir().join("new.toml");
    let write = |config: &str| fs::write(&new, config).unwrap();
    let new = new.to_str().unwrap();

    let (ok, said) = lvx(&bed, &["status"]);
    assert!(ok && said.contains("(http)") && said.contains(" 1 worker"), "{said}");

    write(&bed.director_config(&[LabService::http(SchedulerName::Rr, &[1, 7, 1]).without(3)]));
    let (ok, said) = lvx(&bed, &["plan", new]);
    assert!(ok && said.contains("weight 1 -> 7; 1 connection kept"), "{said}");
    assert_eq!(bed.load(9).answers.len(), 3, "a plan changes nothing");

    let (ok, said) = lvx(&bed, &["apply", new, "--confirm", "60s"]);
    assert!(ok && said.ends_with("undone in 60 seconds without `lvx confirm`\n"), "{said}");
    assert_eq!(bed.load(9).answers.len(), 2);
    let (ok, said) = lvx(&bed, &["reload"]);
    assert!(!ok && said.starts_with("the last change waits for its confirmation"), "{said}");
    assert!(lvx(&bed, &["confirm"]).0);
    let (ok, said) = lvx(&bed, &["rollback"]);
    assert!(ok && said.contains("weight 7 -> 1"), "{said}");
    assert_eq!(bed.load(9).answers.len(), 3);
    let (ok, said) = lvx(&bed, &["versions"]);
    assert!(ok && said.lines().count() == 2, "{said}");

    write(&bed.director_config(&in_turn()).replace("weight = 1", "weight = -1"));
    let line = 1 + fs::read_to_string(new).unwrap().lines().position(|line| line == "weight = -1").unwrap();
    let (ok, said) = lvx(&bed, &["apply", new]);
    assert!(
        !ok && said.starts_with(&format!("{new}:{line}:10: virtual service \"http\": real server")),
        "{said}"
    );

    // What was asked for all along has an answer yet.
    for (visit, name) in visits.iter_mut().zip(["server 1", "server 2", "server 3"]) {
        assert_eq!(visit.ask().unwrap(), name);
    }
    drop(director);
    let (ok, said) = lvx(&bed, &["status"]);
    assert!(!ok && said.starts_with("no director is heard at"), "{said}");
}

#[test]
fn connections_are_listed_and_those_that_are_killed_are_no_more() {
    let bed = Bed::new(Layout::Nat);
    let _director = bed.direct(&in_turn());
    let mut visits = bed.visit_each();
    let (ok, said) = lvx(&bed, &["connections", "--state", "established"]);
    assert!(ok && said.lines().count() == 4 && said.contains("10.20.0.100:80"), "{said}");
    let server = bed.plan.server(2).unwrap().http.to_string();
    let (ok, said) = lvx(&bed, &["connections", "--server", &server, "--json"]);
    let rows: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert!(ok && rows.as_array().unwrap().len() == 1, "{said}");
    let (ok, said) = lvx(&bed, &["connections", "--server", &server, "--kill"]);
    assert!(ok && said == "1 connection ended\n", "{said}");
    // A stray segment is the kernel's, which resets it.
    assert!(visits[1].ask().is_err());
    assert_eq!((visits[0].ask().unwrap(), visits[2].ask().unwrap()), ("server 1".into(), "server 3".into()));
    let rows = client(&bed).services(None, Columns::default()).unwrap();
    assert_eq!(rows[0].servers.iter().map(|server| server.active).collect::<Vec<_>>(), [1, 0, 1]);
}

#[test]
fn connections_of_a_removed_server_are_forgotten_if_that_is_wanted() {
    let bed = Bed::new(Layout::Nat);
    let forgetful =
        |services: &[LabService]| bed.director_config_with("removed_server = \"expire_nodest\"", services);
    let director = bed.direct_by(&forgetful(&in_turn()));
    let mut visits = bed.visit_each();
    bed.reload(&director, &forgetful(&in_turn().map(|service| service.without(1))));
    assert!(visits[0].ask().is_err());
    assert_eq!(visits[1].ask().unwrap(), "server 2");
}

#[test]
fn connections_of_a_removed_service_go_on_and_new_ones_are_refused() {
    let bed = Bed::new(Layout::Mixed);
    let director = bed.direct(&in_turn());
    let mut visits = bed.visit_each();
    assert!(!bed.reload(&director, &bed.director_config(&[])).contains("not reloaded"));
    for (visit, name) in visits.iter_mut().zip(["server 1", "server 2", "server 3"]) {
        assert_eq!(visit.ask().unwrap(), name);
    }
    assert!(bed.connect(bed.plan.http()).is_err());
    bed.reload(&director, &bed.director_config(&in_turn()));
    assert_eq!(bed.load(9).answers.len(), 3);
    assert_eq!(visits[0].ask().unwrap(), "server 1");
}

#[test]
fn a_file_that_is_watched_is_taken_up_when_it_changes() {
    let bed = Bed::new(Layout::Dr);
    let watched = |services: &[LabService]| {
        bed.director_config(services).replacen("[control]", "[control]\nwatch = true", 1)
    };
    let _director = bed.direct_by(&watched(&in_turn()));
    put(&bed, &watched(&in_turn().map(|service| service.without(2))));
    eventually("reload", || bed.log().contains("the file has changed"));
    assert_eq!(bed.load(10).answers.len(), 2);

    // As Kubernetes mounts it: `director.toml -> ..data/director.toml`, and `..data` is swapped.
    let mount = |version: &str, config: &str| {
        let at = |name: &str| bed.dir().join(name);
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("director.toml"), config).unwrap();
        symlink(version, at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
    };
    mount("..1", &watched(&in_turn()));
    symlink("..data/director.toml", bed.dir().join("link")).unwrap();
    fs::rename(bed.dir().join("link"), bed.dir().join("director.toml")).unwrap();
    eventually("a link in its place", || bed.load(10).answers.len() == 3);
    mount("..2", &watched(&in_turn().map(|service| service.without(1))));
    eventually("another behind the link", || bed.load(10).answers.len() == 2);
}

#[test]
fn rates_are_those_of_the_traffic() {
    let bed = Bed::with(Layout::Nat, options());
    let _director = bed.direct(&in_turn());
    let begun = Instant::now();
    let mut sent = 0;
    while begun.elapsed() < Duration::from_secs(9) {
        sent += bed.load(200).done;
    }
    let real = f64::from(sent) / begun.elapsed().as_secs_f64();
    let rate = client(&bed).services(None, Columns { traffic: true, rate: true, latency: false }).unwrap()[0]
        .rate
        .unwrap();
    println!("{real:.0} connections a second; estimated {}", rate.connections);
    // After four periods the estimate has gone two thirds of the way.
    assert!(rate.connections as f64 > real / 4.0, "{real}: {rate:?}");
    assert!((rate.connections as f64) < real * 2.0, "{real}: {rate:?}");
    assert!(rate.in_packets > rate.connections && rate.out_bytes > rate.out_packets);
}

#[test]
fn the_socket_is_gone_when_the_director_is_and_back_when_it_is_back() {
    let bed = Bed::new(Layout::Nat);
    let socket: PathBuf = bed.control_socket();
    let director = bed.direct(&in_turn());
    assert!(client(&bed).status().is_ok());
    director.stop().unwrap();
    assert!(!socket.exists());
    bed.direct(&in_turn()).kill();
    assert!(socket.exists(), "left behind");
    let _director = bed.direct(&in_turn());
    assert!(client(&bed).status().is_ok());
    let other = bed.refusal(&[], &bed.director_config(&in_turn()), &[]);
    assert!(!other.is_empty() && client(&bed).status().is_ok());
}
