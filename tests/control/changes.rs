//! Edits, plans, configurations applied, confirmed and rolled back.

use crate::office::{Office, SERVICES, eventually};
use lvx::control::api::{Changed, Transaction};
use lvx::control::client::ClientError;
use lvx::control::desired::{Rest, ServerState};
use lvx::control::view::Columns;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

fn edit(office: &Office, edits: Value) -> Result<Changed, ClientError> {
    let edits = serde_json::from_value(edits).unwrap();
    office.client.edit(&Transaction { edits, ..Transaction::default() })
}

/// Weights by server of the service "web".
fn weights(office: &Office) -> Vec<(String, u64)> {
    let rows = office.client.services(Some("web"), Columns::default()).unwrap();
    let pair = |table: &serde_json::Map<String, Value>| {
        (table["address"].as_str().unwrap().to_owned(), table["weight"].as_u64().unwrap())
    };
    rows[0].servers.iter().filter(|server| !server.departed).map(|server| pair(&server.table.0)).collect()
}

fn pairs(pairs: &[(&str, u64)]) -> Vec<(String, u64)> {
    pairs.iter().map(|(server, weight)| ((*server).to_owned(), *weight)).collect()
}

const BOTH: [(&str, u64); 2] = [("10.0.0.1:8080", 1), ("10.0.0.2:8080", 2)];

#[test]
fn a_transaction_is_applied_whole_or_not_at_all() {
    let office = Office::new();
    let good = json!({ "edit": "add_server", "service": "web", "table": { "address": "10.0.0.3:80", "forward": "nat" } });
    let wrong = json!({ "edit": "add_server", "service": "web", "table": { "address": "10.0.0.4:81", "forward": "dr" } });
    match edit(&office, json!([good, wrong])) {
        Err(ClientError::Refused(422, problem)) => {
            assert_eq!(problem.found[0].edit, Some(1));
            assert!(
                problem
                    .error
                    .contains("virtual service \"web\": real server 10.0.0.4:81: address has port 81"),
                "{problem:?}"
            );
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(weights(&office), pairs(&BOTH));
    let changed = edit(&office, json!([good])).unwrap();
    assert!(changed.words.contains("+ 10.0.0.3:80"), "{}", changed.words);
    assert_eq!(weights(&office)[2], ("10.0.0.3:80".to_owned(), 1));
    let snapshot = office.shared.published.current();
    assert_eq!(snapshot.services.table().services()[0].reals.len(), 3, "published");
}

#[test]
fn a_plan_changes_nothing_and_counts_the_connections_it_would_touch() {
    let office = Office::new();
    office.connect("192.0.2.1:80", "10.0.0.2:8080", 7);
    let new =
        SERVICES.replace("weight = 2", "weight = 5").replace("protocol = \"udp\"", "protocol = \"tcp\"");
    let changed = office.client.plan("new.toml", with_head(&office, &new)).unwrap();
    let lines: Vec<&str> = changed.words.lines().collect();
    assert_eq!(lines[0], "- udp 192.0.2.1:53, 0 connections");
    assert_eq!(
        lines[1..3],
        ["~ tcp 192.0.2.1:80 \"web\", 7 connections", "  ~ 10.0.0.2:8080: weight 2 -> 5; 7 connections kept"]
    );
    assert_eq!(weights(&office), pairs(&BOTH));
    match office.client.plan("new.toml", "[[interface]]\nname = 3".into()) {
        Err(ClientError::Refused(422, problem)) => {
            assert!(
                problem.error.starts_with("new.toml:2:8: interface 1: name is the integer 3"),
                "{problem:?}"
            );
            assert_eq!((problem.found[0].line, problem.found[0].column), (Some(2), Some(8)));
        }
        other => panic!("{other:?}"),
    }
}

/// A whole file of these services for this office.
fn with_head(office: &Office, services: &str) -> String {
    let text = std::fs::read_to_string(&office.file).unwrap();
    text.split("[[interface]]").next().unwrap().to_owned() + services
}

#[test]
fn a_change_that_nobody_confirms_is_undone_and_one_that_is_confirmed_stays() {
    let office = Office::new();
    let five = with_head(&office, &SERVICES.replace("weight = 2", "weight = 5"));
    office.client.apply("f", five.clone(), Some(Duration::from_secs(1))).unwrap();
    assert_eq!(weights(&office)[1].1, 5);
    let refused = edit(&office, json!([{ "edit": "clear" }])).unwrap_err().to_string();
    assert!(refused.starts_with("the last change waits for its confirmation"), "{refused}");
    assert!(office.client.status().unwrap().confirm_within_seconds.is_some());
    eventually("rollback", || weights(&office) == pairs(&BOTH));
    assert!(matches!(office.client.confirm(), Err(ClientError::Refused(409, _))));

    office.client.apply("f", five, Some(Duration::from_secs(1))).unwrap();
    office.client.confirm().unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(weights(&office)[1].1, 5);
}

/// Published weights and states of the service "web".
fn states(office: &Office) -> Vec<(u16, ServerState)> {
    let rows = office.client.services(Some("web"), Columns::default()).unwrap();
    rows[0].servers.iter().filter_map(|server| Some((server.weight, server.state?))).collect()
}

const UP: ServerState = ServerState::Up;
const DRAINING: ServerState = ServerState::Draining;

#[test]
fn a_drained_server_has_weight_0_and_is_written_as_before() {
    let office = Office::new();
    office.connect("192.0.2.1:80", "10.0.0.1:8080", 3);
    let before = office.client.configuration().unwrap();
    let drain =
        json!([{ "edit": "drain", "server": "10.0.0.1", "deadline_seconds": 600, "at_deadline": "keep" }]);
    let changed = edit(&office, drain).unwrap();
    assert_eq!(changed.words, "~ tcp 192.0.2.1:80: 10.0.0.1:8080 is draining; 3 connections go on");
    assert_eq!(states(&office), [(0, DRAINING), (2, UP)]);
    assert_eq!((weights(&office), office.client.configuration().unwrap()), (pairs(&BOTH), before));
    let drain = office.client.services(Some("web"), Columns::default()).unwrap()[0].servers[0].drain.unwrap();
    assert!((595..=600).contains(&drain.deadline_seconds.unwrap()), "{drain:?}");
    assert_eq!((drain.at_deadline, drain.since_seconds < 5), (Rest::Keep, true));
    let report = office.client.report().unwrap();
    let server = &report.services[0].real_servers[0];
    assert_eq!((server.weight, server.state, server.drain.is_some()), (0, Some(DRAINING), true));
    assert!(office.client.versions().unwrap().is_empty(), "it is no configuration");

    office.client.reload().unwrap();
    assert_eq!(states(&office), [(0, DRAINING), (2, UP)]);
    edit(&office, json!([{ "edit": "undrain", "server": "10.0.0.1:8080" }])).unwrap();
    assert_eq!(states(&office), [(1, UP), (2, UP)]);
}

#[test]
fn a_server_may_be_drained_while_a_change_waits_and_stays_so_whatever_becomes_of_the_change() {
    let office = Office::new();
    let edit = |edits: Value| edit(&office, edits);
    let five = with_head(&office, &SERVICES.replace("weight = 2", "weight = 5"));
    let drain = |server: &str| json!({ "edit": "drain", "server": server });
    let weight = json!({ "edit": "set_weight", "service": "web", "server": "10.0.0.1:8080", "weight": 9 });

    office.client.apply("f", five.clone(), Some(Duration::from_secs(600))).unwrap();
    edit(json!([drain("10.0.0.1")])).unwrap();
    let refused = edit(json!([drain("10.0.0.2"), weight])).unwrap_err().to_string();
    assert!(refused.starts_with("the last change waits for its confirmation"), "{refused}");
    assert_eq!((states(&office), weights(&office)[1].1), (vec![(0, DRAINING), (5, UP)], 5));
    office.client.roll_back(1).unwrap();
    assert_eq!((states(&office), weights(&office)), (vec![(0, DRAINING), (2, UP)], pairs(&BOTH)));

    office.client.apply("f", five, Some(Duration::from_secs(600))).unwrap();
    edit(json!([{ "edit": "undrain", "server": "10.0.0.1" }, drain("10.0.0.2")])).unwrap();
    office.client.confirm().unwrap();
    assert_eq!(states(&office), [(1, UP), (0, DRAINING)]);
}

#[test]
fn one_can_go_back_to_what_was_replaced_also_after_a_restart() {
    let office = Office::new();
    for weight in 3..6 {
        let text = with_head(&office, &SERVICES.replace("weight = 2", &format!("weight = {weight}")));
        office.client.apply("f", text, None).unwrap();
    }
    // An edit is no configuration of its own, but part of the one that is kept.
    edit(
        &office,
        json!([{ "edit": "set_weight", "service": "web", "server": "10.0.0.1:8080", "weight": 9 }]),
    )
    .unwrap();
    office.client.roll_back(1).unwrap();
    assert_eq!(weights(&office), pairs(&[("10.0.0.1:8080", 1), ("10.0.0.2:8080", 4)]));
    office.client.roll_back(1).unwrap();
    assert_eq!(
        weights(&office),
        pairs(&[("10.0.0.1:8080", 9), ("10.0.0.2:8080", 5)]),
        "what was rolled back"
    );
    let backs: Vec<usize> = office.client.versions().unwrap().iter().map(|version| version.back).collect();
    assert_eq!(backs, [1, 2, 3, 4, 5]);
    let error = office.client.roll_back(6).unwrap_err().to_string();
    assert_eq!(error, "no configuration is kept from 6 steps back (allowed: 1 to 5)");

    let office = office.restart();
    assert_eq!(weights(&office), pairs(&BOTH));
    office.client.roll_back(3).unwrap();
    assert_eq!(weights(&office)[1].1, 4);
}

#[test]
fn a_reload_takes_up_the_file_and_a_bad_file_changes_nothing_and_says_where() {
    let office = Office::new();
    office.write(&SERVICES.replace("weight = 2", "weight = 8"));
    office.client.reload().unwrap();
    assert_eq!(weights(&office)[1].1, 8);
    office.write(&SERVICES.replace("weight = 2", "weight = 80000"));
    let text = std::fs::read_to_string(&office.file).unwrap();
    let line = 1 + text.lines().position(|line| line == "weight = 80000").unwrap();
    let error = office.client.reload().unwrap_err().to_string();
    let place =
        format!("director.toml:{line}:10: virtual service \"web\": real server 10.0.0.2:8080: weight 80000");
    assert!(error.contains(&place), "{error}");
    assert_eq!(weights(&office)[1].1, 8);
    office.write("[director]\nframes = 64\n[[interface]]\nname = \"eth0\"\n");
    let error = office.client.reload().unwrap_err().to_string();
    assert_eq!(error, "workers, cores, poll, xdp_mode, busy_poll or frames can be changed by a restart only");
    office.write(SERVICES);
    assert!(office.client.reload().unwrap().words.contains("weight 8 -> 2"));
}

#[test]
fn connections_of_a_removed_server_are_kept_or_forgotten_as_its_service_says() {
    for (policy, left) in [("keep", 9), ("expire_nodest", 0)] {
        let office = Office::with(
            "",
            &SERVICES.replace("forward =", &format!("removed_server = \"{policy}\"\nforward =")),
        );
        office.connect("192.0.2.1:80", "10.0.0.1:8080", 9);
        let changed =
            edit(&office, json!([{ "edit": "delete_server", "service": "web", "server": "10.0.0.1:8080" }]))
                .unwrap();
        let fate = if left > 0 { "9 connections kept" } else { "9 connections forgotten" };
        assert!(changed.words.contains(&format!("- 10.0.0.1:8080; {fate}")), "{}", changed.words);
        eventually("end", || office.connections_of(0) == left);
        let row = &office.client.services(Some("web"), Columns::default()).unwrap()[0];
        let departed: Vec<u64> =
            row.servers.iter().filter(|server| server.departed).map(|server| server.active).collect();
        assert_eq!(departed.iter().sum::<u64>(), left as u64);
    }
}

#[test]
fn connections_are_listed_by_what_they_are_and_ended() {
    let office = Office::new();
    office.connect("192.0.2.1:80", "10.0.0.1:8080", 30);
    let page = office.client.connections(&[("server", "10.0.0.1"), ("limit", "20")]).unwrap();
    assert_eq!(page.connections.len(), 20);
    let next = page.next.unwrap().to_string();
    assert_eq!(office.client.connections(&[("from", next.as_str())]).unwrap().connections.len(), 10);
    let row = &page.connections[0];
    assert_eq!((row.state.as_str(), row.server.as_str()), ("SYN_RECV", "10.0.0.1:8080"));
    assert!((50..=60).contains(&row.expires_seconds), "{row:?}");
    assert_eq!(office.client.end_connections(&[("client", "203.0.113.144:1030")]).unwrap().ended, 1);
    assert_eq!(office.client.end_connections(&[("service", "192.0.2.1:80")]).unwrap().ended, 29);
    assert_eq!(office.client.status().unwrap().connections, 0);
}

#[test]
fn the_running_configuration_is_a_file_that_reads_as_what_runs() {
    let office = Office::new();
    edit(&office, json!([{ "edit": "add_service", "table": { "address": "192.0.2.7:443", "scheduler": "sh", "scheduler_flags": ["sh-port"] } }])).unwrap();
    let text = office.client.configuration().unwrap();
    let config = lvx::config::parse("running", &text).unwrap();
    assert_eq!(config.services.len(), 3);
    assert!(config.services[2].options.port && config.control == office.config.control);
    assert!(office.client.plan("f", text).unwrap().plan.is_empty());
}

#[test]
fn traffic_is_counted_from_zero_when_that_is_asked_for() {
    let office = Office::new();
    let counters = &office.shared.counters[0];
    let id = office.shared.published.current().services.table().services()[0].reals[0].id;
    counters.real(id).in_packets.add(5);
    let packets = || {
        let rows =
            office.client.services(Some("web"), Columns { traffic: true, ..Columns::default() }).unwrap();
        (rows[0].traffic.unwrap().in_packets, rows[0].servers[0].traffic.unwrap().in_packets)
    };
    assert_eq!(packets(), (5, 5));
    office.client.zero(Some("udp 192.0.2.1:53")).unwrap();
    assert_eq!(packets(), (5, 5));
    office.client.zero(Some("web")).unwrap();
    assert_eq!(packets(), (0, 0));
    counters.real(id).in_packets.add(2);
    office.client.zero(None).unwrap();
    assert_eq!(packets(), (0, 0));
}

#[test]
fn secrets_are_kept_and_changed_and_never_shown() {
    let ftp = |password: &str| {
        format!(
            "[[interface]]\nname = \"eth0\"\n[[notify]]\nurl = \"https://hooks.example/T-{password}\"\n\
             [[virtual_service]]\nname = \"ftp\"\naddress = \"192.0.2.1:21\"\nforward = \"nat\"\n\
             check = {{ type = \"ftp\", user = \"probe\", password = \"{password}\" }}\n\
             [[virtual_service.real_server]]\naddress = \"10.0.0.1:21\"\n\
             check = {{ type = \"http\", headers = {{ authorization = \"Bearer {password}\", accept = \"text/html\" }} }}\n"
        )
    };
    let office = Office::with("", &ftp("alpha7"));
    let shown = |office: &Office| {
        let everything = ["/v1/services", "/v1/listing", "/v1/overview?open=all", "/v1/report"]
            .map(|path| office.client.get::<Value>(path).unwrap().to_string());
        everything.concat() + &office.client.configuration().unwrap()
    };
    let told = shown(&office);
    assert!(!told.contains("alpha7") && told.contains("text/html"), "{told}");
    assert!(told.contains("\"password\":\"***\"") && told.contains("https://hooks.example/***"), "{told}");

    // Another secret is a change, in which neither is shown.
    office.write(&ftp("beta8"));
    let changed = office.client.reload().unwrap();
    assert!(changed.words.contains("\"password\":\"***\""), "{}", changed.words);
    assert!(changed.plan.services[0].changes.iter().any(|change| change.key == "check"));
    assert!(changed.plan.services[0].servers.iter().any(|server| server.changes[0].key == "check"));
    assert!(changed.plan.director.iter().any(|change| change.key == "notify"));
    let json = serde_json::to_string(&changed.plan).unwrap();
    assert!(!(changed.words + &json + &shown(&office)).contains("beta8"));
    // An edit of something else leaves it as it is, and going back brings the first one back.
    edit(&office, json!([{ "edit": "edit_service", "service": "ftp", "table": { "scheduler": "rr" } }]))
        .unwrap();
    office.write(&ftp("beta8").replace("forward", "scheduler = \"rr\"\nforward"));
    let same = office.client.reload().unwrap();
    assert!(same.plan.is_empty(), "{}", same.words);
    office.client.roll_back(1).unwrap();
    office.write(&ftp("alpha7"));
    assert!(office.client.reload().unwrap().plan.is_empty());
    // Files have the true ones, and are for nobody else.
    let versions = office.client.versions().unwrap();
    eventually("file", || fs::read_to_string(&versions[0].file).is_ok_and(|text| text.contains("beta8")));
    assert_eq!(fs::metadata(&versions[0].file).unwrap().permissions().mode() & 0o777, 0o600);
    // What stands for a secret is none.
    let error =
        office.client.apply("f", office.client.configuration().unwrap(), None).unwrap_err().to_string();
    assert_eq!(error.matches("stands for a secret that is not shown").count(), 3, "{error}");
}
