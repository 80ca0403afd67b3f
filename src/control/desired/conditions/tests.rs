//! What conditions amount to.

use super::super::tests::{apply_at, desired};
use super::*;
use crate::config;
use crate::control::desired::Edit;
use serde_json::{Value, json};

const TWO: &str = "[[virtual_service]]\nname = \"web\"\naddress = \"192.0.2.1:80\"\nforward = \"nat\"\n\
    [[virtual_service.real_server]]\naddress = \"10.0.0.1:8080\"\nweight = 4\n\
    [[virtual_service.real_server]]\naddress = \"10.0.0.2:8080\"\nweight = 2\n\
    [[virtual_service]]\nname = \"tls\"\naddress = \"192.0.2.1:443\"\nforward = \"nat\"\n\
    [[virtual_service.real_server]]\naddress = \"10.0.0.1:8443\"\nweight = 3\n";

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The weights that are published, service by service.
fn weights(desired: &Desired) -> Vec<Vec<u16>> {
    let of = |service: &Arc<Service>| {
        desired.conditions().effects(service).iter().map(|effect| effect.weight).collect()
    };
    desired.services().iter().map(of).collect()
}

fn drained(desired: &Desired, edit: Value) -> Desired {
    apply_at(seconds(100), desired, json!([edit])).unwrap()
}

#[test]
fn a_drained_server_is_published_with_weight_0_and_written_as_before() {
    let two = desired(TWO);
    let one = drained(&two, json!({ "edit": "drain", "service": "web", "server": "10.0.0.1:8080" }));
    assert_eq!(weights(&one), [vec![0, 2], vec![3]]);
    let (key, server) = (Key::of(&one.services()[0]), "10.0.0.1:8080".parse().unwrap());
    assert!(one.conditions().effects(&one.services()[0])[0].is_shut);
    assert!(one.conditions().of(key, server).unwrap().drain.is_some());
    assert_eq!(one.conditions().states(&one.services()[0]), [ServerState::Draining, ServerState::Up]);
    assert_eq!(one.config(), two.config());
    assert!((0..2).all(|place| Arc::ptr_eq(&one.services()[place], &two.services()[place])));
    assert!(one != two && one.services() == two.services());
}

#[test]
fn a_server_is_drained_in_one_service_or_wherever_its_address_is() {
    let two = desired(TWO);
    for (edit, left) in [
        (json!({ "edit": "drain", "server": "10.0.0.1" }), [vec![0, 2], vec![0]]),
        (json!({ "edit": "drain", "server": "10.0.0.1:8443" }), [vec![4, 2], vec![0]]),
        (json!({ "edit": "drain", "service": "web", "server": "10.0.0.1" }), [vec![0, 2], vec![3]]),
    ] {
        let draining = drained(&two, edit.clone());
        assert_eq!(weights(&draining), left, "{edit}");
        let undrain = json!({ "edit": "undrain", "server": "10.0.0.1" });
        assert_eq!(drained(&draining, undrain), two, "{edit}");
    }
    let none = |edit: Value| apply_at(seconds(0), &two, json!([edit])).unwrap_err();
    for (edit, error) in [
        (json!({ "edit": "drain", "server": "10.0.0.9" }), "edit 1: real server \"10.0.0.9\" is unknown"),
        (
            json!({ "edit": "drain", "service": "tls", "server": "10.0.0.2" }),
            "edit 1: virtual service \"tls\": real server \"10.0.0.2\" is unknown",
        ),
        (
            json!({ "edit": "undrain", "server": "10.0.0.1" }),
            "edit 1: real server \"10.0.0.1\" is not being drained",
        ),
        (
            json!({ "edit": "drain", "server": "10.0.0.1", "deadline_seconds": 0 }),
            "edit 1: real server \"10.0.0.1\": deadline_seconds 0 is out of range (allowed: 1 to 86400)",
        ),
    ] {
        assert_eq!(none(edit), error);
    }
}

#[test]
fn a_drain_asked_for_again_began_when_it_began_and_has_the_deadline_said_last() {
    let first = json!([{ "edit": "drain", "server": "10.0.0.2", "deadline_seconds": 60 }]);
    let again =
        json!([{ "edit": "drain", "server": "10.0.0.2", "deadline_seconds": 5, "at_deadline": "drop" }]);
    let draining = apply_at(seconds(100), &desired(TWO), first).unwrap();
    let draining = apply_at(seconds(130), &draining, again).unwrap();
    let all: Vec<_> = draining.conditions().iter().map(|(.., condition)| condition.drain).collect();
    let drain = Drain { since: seconds(100), deadline: Some(seconds(135)), rest: Rest::Drop };
    assert_eq!(all, [Some(drain)]);
}

#[test]
fn a_condition_outlives_edits_and_reloads_and_goes_with_its_server() {
    let draining = drained(&desired(TWO), json!({ "edit": "drain", "server": "10.0.0.1" }));
    let reload = |text: &str| {
        let text = format!("interface = [{{ name = \"eth0\" }}]\n{text}");
        let new = Edit::Replace(Arc::new(config::parse("f", &text).unwrap()));
        draining.apply(&[new], seconds(0)).unwrap().desired
    };
    assert_eq!(weights(&reload(&TWO.replace("weight = 4", "weight = 9"))), [vec![0, 2], vec![0]]);
    let weight = json!({ "edit": "set_weight", "service": "tls", "server": "10.0.0.1:8443", "weight": 8 });
    let edited = drained(&draining, weight);
    assert_eq!((weights(&edited)[1].clone(), edited.services()[1].reals[0].weight), (vec![0], 8));

    let gone = reload(&TWO.replace("10.0.0.1:8080", "10.0.0.3:8080"));
    assert_eq!(weights(&gone), [vec![4, 2], vec![0]]);
    assert_eq!(gone.conditions().iter().count(), 1);
    let removed = drained(&gone, json!({ "edit": "delete_service", "service": "tls" }));
    assert_eq!(removed.conditions(), &Conditions::default());
}

#[test]
fn whoever_goes_back_does_so_under_the_conditions_of_now() {
    let before = drained(&desired(TWO), json!({ "edit": "drain", "server": "10.0.0.1" }));
    let steps = [
        json!({ "edit": "delete_service", "service": "tls" }),
        json!({ "edit": "undrain", "server": "10.0.0.1" }),
        json!({ "edit": "drain", "server": "10.0.0.2" }),
    ];
    let now = steps.into_iter().fold(before.clone(), |state, edit| drained(&state, edit));
    assert_eq!(weights(&now), [vec![4, 0]]);
    let back = before.under_conditions_of(&now);
    assert_eq!(weights(&back), [vec![4, 0], vec![0]], "the server of tls was not there to be undrained");
    assert_eq!(back.services(), before.services());
}

#[test]
fn only_services_whose_servers_are_published_otherwise_are_told_apart() {
    let two = desired(TWO);
    let draining = drained(&two, json!({ "edit": "drain", "service": "web", "server": "10.0.0.1" }));
    let longer = json!({ "edit": "drain", "server": "10.0.0.1:8080", "deadline_seconds": 60 });
    let longer = drained(&draining, longer);
    let same = |one: &Desired, other: &Desired| {
        let of = |service: &Arc<Service>| one.conditions().same_effect(other.conditions(), service);
        one.services().iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(same(&two, &draining), [false, true]);
    assert!(draining != longer);
    assert_eq!(same(&draining, &longer), [true, true]);
}

fn finding(wellness: Wellness, weight: Option<u16>) -> Option<Finding> {
    Some(Finding {
        wellness: Some(wellness),
        since: seconds(7),
        cause: "check http: no".into(),
        weight,
        unasked: "".into(),
    })
}

/// The two servers of "web" in these conditions, weighing 4 and 2; with these keys of their service.
fn web(keys: &str, findings: [Option<Finding>; 2]) -> Desired {
    let text = TWO.replace("name = \"web\"", &format!("name = \"web\"\ncheck = \"tcp\"\n{keys}"));
    let two = desired(&text);
    let key = Key::of(&two.services()[0]);
    let servers = ["10.0.0.1:8080", "10.0.0.2:8080"].map(|server| server.parse().unwrap());
    let findings: Vec<_> =
        servers.into_iter().zip(findings).map(|(server, finding)| (key, server, finding)).collect();
    two.with_findings(&findings)
}

fn states(desired: &Desired) -> Vec<ServerState> {
    desired.conditions().states(&desired.services()[0])
}

#[test]
fn a_server_that_is_down_gets_nothing_and_one_that_is_suspect_gets_what_it_did() {
    use ServerState::{Down, Draining, Suspect, Up};
    let (well, suspect, ill) = (Wellness::Well, Wellness::Suspect, Wellness::Ill);
    for (one, other, expected, left) in [
        (well, well, [Up, Up], [4, 2]),
        (suspect, well, [Suspect, Up], [4, 2]),
        (ill, well, [Down, Up], [0, 2]),
        (ill, suspect, [Down, Suspect], [0, 2]),
    ] {
        let web = web("", [finding(one, None), finding(other, None)]);
        assert_eq!((states(&web), weights(&web)[0].clone()), (expected.to_vec(), left.to_vec()));
        let effects = web.conditions().effects(&web.services()[0]);
        assert_eq!(
            effects.iter().map(|effect| effect.is_shut).collect::<Vec<_>>(),
            left.map(|left| left == 0)
        );
    }
    // Who is drained and ill is drained, and goes on to be ill afterwards.
    let web = web("", [finding(ill, None), None]);
    let drained = drained(&web, json!({ "edit": "drain", "service": "web", "server": "10.0.0.1" }));
    assert_eq!(states(&drained), [Draining, Up]);
    let undrain = json!({ "edit": "undrain", "server": "10.0.0.1" });
    assert_eq!(apply_at(seconds(9), &drained, json!([undrain])).unwrap(), web);
}

#[test]
fn a_server_in_maintenance_gets_nothing_and_is_missed_by_nobody() {
    use ServerState::{Down, Draining, Maintenance, Up};
    let begin = json!({ "edit": "maintain", "service": "web", "server": "10.0.0.1", "reason": "disks" });
    let end = json!({ "edit": "end_maintenance", "server": "10.0.0.1" });
    let (well, ill) = (Wellness::Well, Wellness::Ill);
    let both = web("on_down = \"reset\"", [finding(ill, None), finding(well, None)]);
    let one = drained(&both, begin.clone());
    assert_eq!((states(&one), weights(&one)[0].clone()), (vec![Maintenance, Up], vec![0, 2]));
    let shut = Effect { weight: 0, is_shut: true, ends: false };
    assert_eq!(one.conditions().effects(&one.services()[0])[0], shut, "its connections go on");
    let held = one.conditions().of(Key::of(&one.services()[0]), "10.0.0.1:8080".parse().unwrap()).unwrap();
    let maintenance = held.maintenance.as_ref().unwrap();
    assert_eq!((&*maintenance.reason, maintenance.by), ("disks", Cause::Director));
    assert!(!both.conditions().same_maintenance(one.conditions()));
    assert!(both.conditions().same_maintenance(web("", [None, None]).conditions()));

    // What it fails is nothing that lets all be scheduled; nor is it, once it is back, before it has been asked.
    let last = web("fail_open = 66", [finding(ill, None), finding(well, None)]);
    assert_eq!(weights(&last)[0], [4, 2]);
    assert!(!drained(&last, begin.clone()).conditions().fails_open(&last.services()[0]));
    let none = web("", [finding(ill, None), finding(ill, None)]);
    assert_eq!(weights(&none)[0], [4, 2]);
    assert_eq!(
        weights(&drained(&none, begin.clone()))[0],
        [0, 2],
        "it is not scheduled, whatever the others are"
    );
    let awaited = web("on_down = \"reset\"", [finding(Wellness::Awaited, None), finding(ill, None)]);
    assert_eq!((states(&awaited), weights(&awaited)[0].clone()), (vec![Down, Down], vec![0, 0]));
    let effects = awaited.conditions().effects(&awaited.services()[0]);
    assert_eq!(effects.iter().map(|effect| effect.ends).collect::<Vec<_>>(), [false, true]);

    // A drain is another thing, and holds before, meanwhile and afterwards.
    let drain = json!({ "edit": "drain", "server": "10.0.0.1", "deadline_seconds": 60 });
    let also = drained(&drained(&both, drain), begin);
    let leave = also.conditions().iter().find_map(|(.., held)| held.maintenance.as_ref().and(held.leave()));
    assert_eq!(leave, Some(Drain { since: seconds(100), deadline: None, rest: Rest::Reset }));
    assert_eq!(states(&also), [Maintenance, Up]);
    let back = drained(&also, end.clone());
    assert_eq!(states(&back), [Draining, Up]);
    for (edit, error) in [
        (end, "edit 1: real server \"10.0.0.1\" is not in maintenance"),
        (
            json!({ "edit": "maintain", "server": "10.0.0.1", "reason": "new\ndisks" }),
            "edit 1: real server \"10.0.0.1\": the reason is too long or no line (allowed: a line of at most 200 bytes)",
        ),
    ] {
        assert_eq!(apply_at(seconds(0), &back, json!([edit])).unwrap_err(), error);
    }
}

#[test]
fn connections_of_a_server_that_is_down_are_forgotten_if_its_service_says_so() {
    let ends = |keys| {
        let web = web(keys, [finding(Wellness::Ill, None), finding(Wellness::Well, None)]);
        let effects = web.conditions().effects(&web.services()[0]);
        effects.iter().map(|effect| effect.ends).collect::<Vec<_>>()
    };
    assert_eq!((ends(""), ends("on_down = \"reset\"")), (vec![false, false], vec![true, false]));
}

#[test]
fn a_server_whose_checks_have_not_answered_is_up_or_with_alpha_down() {
    let none = || [None, finding(Wellness::Well, None)];
    assert_eq!(states(&web("", none())), [ServerState::Up, ServerState::Up]);
    assert_eq!(states(&web("alpha = true", none())), [ServerState::Down, ServerState::Up]);
    assert_eq!(weights(&web("alpha = true", [None, None]))[0], [0, 0], "nobody has said that all is lost");
    let unchecked = desired(&TWO.replace("name = \"web\"", "name = \"web\"\nalpha = true"));
    assert_eq!(states(&unchecked), [ServerState::Up, ServerState::Up], "nobody would ever say that it is up");
}

#[test]
fn all_are_scheduled_when_too_few_are_well_unless_the_service_would_rather_not() {
    let (well, ill) = (Wellness::Well, Wellness::Ill);
    for (keys, one, other, left, opens) in [
        ("", ill, ill, [4, 2], true),
        ("fail_open = false", ill, ill, [0, 0], false),
        ("", ill, well, [0, 2], false),
        // The second has a third of the weight.
        ("fail_open = 33", ill, well, [0, 2], false),
        ("fail_open = 34", ill, well, [4, 2], true),
        ("fail_open = 34", well, ill, [4, 0], false),
    ] {
        let web = web(keys, [finding(one, None), finding(other, None)]);
        assert_eq!(weights(&web)[0], left, "{keys}");
        assert_eq!(web.conditions().fails_open(&web.services()[0]), opens, "{keys}");
    }
    // Whoever is drained is nobody to count on.
    let web = web("", [finding(ill, None), finding(well, None)]);
    let drained = drained(&web, json!({ "edit": "drain", "service": "web", "server": "10.0.0.2" }));
    assert_eq!(weights(&drained)[0], [4, 0]);
}

#[test]
fn a_check_may_ask_for_a_weight_but_not_for_one_that_the_operator_has_taken_away() {
    let asks = |weight| [finding(Wellness::Well, Some(weight)), finding(Wellness::Well, None)];
    assert_eq!(weights(&web("", asks(9)))[0], [9, 2]);
    assert_eq!(weights(&web("", asks(0)))[0], [0, 2]);
    let quiesce = json!({ "edit": "set_weight", "service": "web", "server": "10.0.0.1:8080", "weight": 0 });
    assert_eq!(weights(&drained(&web("", asks(9)), quiesce))[0], [0, 2]);
}

#[test]
fn the_sorry_server_takes_over_when_the_quorum_is_lost_and_gives_back_what_it_took() {
    let (well, ill) = (Wellness::Well, Wellness::Ill);
    // The servers weigh 4 and 2.
    let keys = "quorum = 4\nhysteresis = 1\nsorry_server = { address = \"10.0.0.9:8080\" }";
    let step = |before: &Desired, findings: [Wellness; 2]| {
        let key = Key::of(&before.services()[0]);
        let servers = ["10.0.0.1:8080", "10.0.0.2:8080"].map(|server| server.parse().unwrap());
        let findings: Vec<_> =
            servers.into_iter().zip(findings).map(|(server, is)| (key, server, finding(is, None))).collect();
        before.with_findings(&findings)
    };
    let mut web = web(keys, [finding(well, None), finding(well, None)]);
    assert_eq!(weights(&web)[0], [4, 2, 0]);
    for (findings, left) in [
        ([well, ill], [4, 0, 0]),
        ([ill, well], [0, 0, 1]),
        // Four are enough to keep the quorum, and not to have it back.
        ([well, ill], [0, 0, 1]),
        ([well, well], [4, 2, 0]),
        ([well, ill], [4, 0, 0]),
        ([ill, ill], [0, 0, 1]),
    ] {
        web = step(&web, findings);
        assert_eq!(weights(&web)[0], left, "{findings:?}");
        let service = &web.services()[0];
        assert_eq!(web.conditions().has_lost_quorum(service), left[2] == 1);
        assert!(!web.conditions().fails_open(service));
    }
    // An operator's edit counts as much.
    let edit =
        json!({ "edit": "edit_service", "service": "web", "table": { "quorum": null, "hysteresis": null } });
    let all_ill = step(&web, [ill, well]);
    assert_eq!(weights(&drained(&all_ill, edit))[0], [0, 2, 0]);
    let removed = json!({ "edit": "edit_service", "service": "web", "table": { "sorry_server": null, "quorum": null,
        "hysteresis": null } });
    assert_eq!(weights(&drained(&web, removed))[0], [4, 2], "it fails open");
}

#[test]
fn a_service_that_begins_with_nobody_well_has_no_quorum() {
    let keys = "alpha = true\nsorry_server = { address = \"10.0.0.9:8080\" }";
    assert_eq!(weights(&web(keys, [None, None]))[0], [0, 0, 1]);
}
