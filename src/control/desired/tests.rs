use super::*;
use crate::config;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

pub(super) fn desired(text: &str) -> Desired {
    config::parse("f", &format!("[[interface]]\nname = \"eth0\"\n{text}")).unwrap().into()
}

fn edits(json: Value) -> Vec<Edit> {
    serde_json::from_value(json).unwrap()
}

fn apply(desired: &Desired, json: Value) -> Result<Desired, String> {
    apply_at(Duration::ZERO, desired, json)
}

pub(super) fn apply_at(now: Duration, desired: &Desired, json: Value) -> Result<Desired, String> {
    desired.apply(&edits(json), now).map(|applied| applied.desired).map_err(|errors| errors.to_string())
}

const WEB: &str = "[[virtual_service]]\nname = \"web\"\naddress = \"192.0.2.1:80\"\nforward = \"nat\"\n\
     [[virtual_service.real_server]]\naddress = \"10.0.0.1:8080\"\n\
     [[virtual_service.real_server]]\naddress = \"10.0.0.2:8080\"\nweight = 2\n";

#[test]
fn a_transaction_with_a_wrong_edit_changes_nothing_and_says_which_and_where() {
    let web = desired(WEB);
    let good = json!({ "edit": "delete_server", "service": "web", "server": "10.0.0.1:8080" });
    for (wrong, error) in [
        (
            json!({ "edit": "edit_server", "service": "web", "server": "10.0.0.2:8080", "table": { "weight": 70000 } }),
            "edit 2: virtual service \"web\": real server 10.0.0.2:8080: weight 70000 is out of range (allowed: 0 to 65535)",
        ),
        (good.clone(), "edit 2: virtual service \"web\": real server \"10.0.0.1:8080\" is unknown"),
        (
            json!({ "edit": "delete_service", "service": "tcp 192.0.2.9:80" }),
            "edit 2: virtual service \"tcp 192.0.2.9:80\" is unknown",
        ),
        (
            json!({ "edit": "edit_service", "service": "web", "table": { "scheduler": "wcl" } }),
            "edit 2: virtual service \"web\": scheduler \"wcl\" is unknown; did you mean \"wlc\"?",
        ),
        (
            json!({ "edit": "edit_service", "service": "web", "table": { "address": "192.0.2.1:81" } }),
            "edit 2: virtual service tcp 192.0.2.1:80 cannot become tcp 192.0.2.1:81",
        ),
        (
            json!({ "edit": "add_service", "table": { "address": "192.0.2.1:80" } }),
            "edit 2: virtual service tcp 192.0.2.1:80 is there already",
        ),
        (
            json!({ "edit": "add_service", "table": { "address": "192.0.2.2:80", "name": "web" } }),
            "edit 2: virtual service \"web\": another has this name",
        ),
        (json!({ "edit": "set_timeouts", "table": { "tcp": 0 } }), "edit 2: timeouts: tcp 0 is out of range"),
    ] {
        let said = apply(&web, json!([good, wrong])).unwrap_err();
        assert!(said.starts_with(error), "{said}");
    }
    assert!(serde_json::from_value::<Edit>(json!({ "edit": "clear", "all": true })).is_err());
    assert!(serde_json::from_value::<Edit>(json!({ "edit": "replace" })).is_err());
}

#[test]
fn an_edit_changes_the_keys_it_names_and_null_is_the_default() {
    let web = desired(
        &WEB.replace("forward = \"nat\"", "forward = \"nat\"\nscheduler = \"rr\"\nno_server = \"drop\""),
    );
    let edited = apply(
        &web,
        json!([
            { "edit": "edit_service", "service": "tcp 192.0.2.1:80", "table": { "scheduler": null, "mss_clamp": 1400 } },
            { "edit": "edit_server", "service": "web", "server": "10.0.0.2:8080", "table": { "upper_threshold": 9 } },
            { "edit": "set_weight", "service": "web", "server": "10.0.0.1:8080", "weight": 7 },
            { "edit": "set_timeouts", "table": { "udp": "1h" } },
        ]),
    )
    .unwrap();
    let wanted = desired(
        "[director.timeouts]\nudp = 3600\n[[virtual_service]]\nname = \"web\"\naddress = \"192.0.2.1:80\"\n\
         forward = \"nat\"\nno_server = \"drop\"\nmss_clamp = 1400\n\
         [[virtual_service.real_server]]\naddress = \"10.0.0.1:8080\"\nweight = 7\n\
         [[virtual_service.real_server]]\naddress = \"10.0.0.2:8080\"\nweight = 2\nupper_threshold = 9\n",
    );
    assert_eq!(edited, wanted);
}

#[test]
fn what_concerns_a_whole_service_is_checked_when_all_edits_are_in() {
    let mh = WEB.replace("forward", "scheduler = \"mh\"\nmh_table_size = 251\nforward");
    let add = |i: u32| json!({ "edit": "add_server", "service": "web", "table": { "address": format!("10.0.{}.{}:80", i / 250 + 1, i % 250 + 1), "forward": "nat" } });
    let many: Vec<Value> = (0..250).map(add).collect();
    let said = apply(&desired(&mh), Value::Array(many)).unwrap_err();
    assert!(
        said.starts_with("edit 250: virtual service \"web\": there are 252 real servers (allowed: 251"),
        "{said}"
    );
}

#[test]
fn a_group_is_meant_by_its_number_also_when_it_has_a_name() {
    let group = desired(
        "[[virtual_service]]\nname = \"shop\"\nfwmark = 5\nforward = \"nat\"\n\
         match = [{ address = \"192.0.2.1:80\" }, { address = \"192.0.2.1:443\" }]\n\
         [[virtual_service.real_server]]\naddress = \"10.0.0.1\"\n",
    );
    for service in ["fwmark 5", "shop", "tcp 192.0.2.1:80"] {
        let edit = json!({ "edit": "set_weight", "service": service, "server": "10.0.0.1", "weight": 7 });
        assert_eq!(apply(&group, json!([edit])).unwrap().services[0].reals[0].weight, 7, "{service}");
    }
    let edited = apply(
        &group,
        json!([{ "edit": "edit_service", "service": "fwmark 5", "table": { "scheduler": "rr" } }]),
    );
    assert_eq!(edited.unwrap().services[0].group, group.services[0].group);
    assert!(apply(&group, json!([{ "edit": "delete_service", "service": "fwmark 5 IPv6" }])).is_err());
}

#[test]
fn a_service_that_does_not_change_is_the_very_same_one_afterwards() {
    let two = format!("{WEB}[[virtual_service]]\naddress = \"192.0.2.2:80\"\n");
    let before = desired(&two);
    let text = format!("interface = [{{ name = \"eth0\" }}]\n{}", two.replace("weight = 2", "weight = 3"));
    let new = Arc::new(config::parse("f", &text).unwrap());
    let after = before.apply(&[Edit::Replace(new)], Duration::ZERO).unwrap().desired;
    let same = |place: usize| Arc::ptr_eq(&before.services[place], &after.services[place]);
    assert_eq!((same(0), same(1)), (false, true));
}

#[test]
fn a_configuration_that_needs_a_restart_is_refused_by_what_needs_it() {
    let before = desired(WEB);
    for (text, what) in [
        ("[[interface]]\nname = \"eth1\"", "the interfaces"),
        ("interface = [{ name = \"eth0\" }]\n[director]\nmax_connections = 7", "max_connections"),
        (
            "interface = [{ name = \"eth0\" }]\n[director]\nframes = 64",
            "workers, cores, poll, xdp_mode, busy_poll or frames",
        ),
        ("interface = [{ name = \"eth0\" }]\n[control]\nwatch = true", "the control section"),
    ] {
        let new = Edit::Replace(Arc::new(config::parse("f", text).unwrap()));
        let said = before.apply(&[new], Duration::ZERO).unwrap_err().to_string();
        assert_eq!(said, format!("edit 1: {what} can be changed by a restart only"));
    }
    let may =
        "interface = [{ name = \"eth0\" }]\n[director]\nremoved_server = \"expire_nodest\"\ntimeouts.tcp = 7";
    let may = Edit::Replace(Arc::new(config::parse("f", may).unwrap()));
    assert!(before.apply(&[may], Duration::ZERO).is_ok());
}

#[test]
fn a_plan_tells_what_changes_from_what_to_what_and_whose_connections_it_touches() {
    let old = desired(&format!(
        "{WEB}[[virtual_service]]\naddress = \"192.0.2.3:80\"\nremoved_server = \"expire_nodest\"\nreal_server = [{{ address = \"10.0.0.9\" }}]\n"
    ));
    let new = desired(
        "[director.timeouts]\ntcp = 60\n[[virtual_service]]\nname = \"web\"\naddress = \"192.0.2.1:80\"\nforward = \"nat\"\n\
         [[virtual_service.real_server]]\naddress = \"10.0.0.2:8080\"\nweight = 5\n\
         [[virtual_service.real_server]]\naddress = \"10.0.0.3:8080\"\n\
         [[virtual_service]]\naddress = \"192.0.2.2:53\"\nprotocol = \"udp\"\n",
    );
    let plan = plan(&old, &new, &|_: &Service, real: &crate::config::Real| u64::from(real.weight) * 10);
    assert_eq!(
        plan.to_string(),
        "~ director: timeouts.established 900 -> 60\n\
         - tcp 192.0.2.3:80, 10 connections\n  \
           - 10.0.0.9:80; 10 connections forgotten\n\
         ~ tcp 192.0.2.1:80 \"web\", 30 connections\n  \
           - 10.0.0.1:8080; 10 connections kept\n  \
           ~ 10.0.0.2:8080: weight 2 -> 5; 20 connections kept\n  \
           + 10.0.0.3:8080: forward \"nat\", lower_threshold 0, upper_threshold 0, weight 1\n\
         + udp 192.0.2.2:53\n    helper \"none\"\n    mss_clamp true\n    no_server \"icmp\"\n    scheduler \"wlc\"\n\
         services: 1 added, 1 changed, 1 removed; servers: 1 added, 1 changed, 2 removed; 10 connections forgotten"
    );
    assert_eq!(
        super::plan(&old, &old.clone(), &|_: &Service, _: &crate::config::Real| 1).to_string(),
        "nothing changes"
    );
}

/// What the model of a state knows: weights by server, by service, in no order.
type Model = BTreeMap<u8, (String, BTreeMap<u8, u16>)>;

/// An edit of few services and few servers, so that many edits meet.
#[derive(Debug, Clone)]
enum Step {
    AddService(u8, &'static str),
    EditService(u8, &'static str),
    DeleteService(u8),
    AddServer(u8, u8, u16),
    SetWeight(u8, u8, u16),
    DeleteServer(u8, u8),
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    let scheduler = || prop::sample::select(vec!["rr", "wlc", "mh"]);
    let (service, server) = (0..4u8, 0..4u8);
    prop_oneof![
        4 => (service.clone(), scheduler()).prop_map(|(a, b)| Step::AddService(a, b)),
        2 => (service.clone(), scheduler()).prop_map(|(a, b)| Step::EditService(a, b)),
        1 => service.clone().prop_map(Step::DeleteService),
        6 => (service.clone(), server.clone(), 0..3u16).prop_map(|(a, b, c)| Step::AddServer(a, b, c)),
        3 => (service.clone(), server.clone(), 0..3u16).prop_map(|(a, b, c)| Step::SetWeight(a, b, c)),
        2 => (service, server).prop_map(|(a, b)| Step::DeleteServer(a, b)),
        1 => Just(Step::Clear),
    ]
}

impl Step {
    fn edit(&self) -> Edit {
        let service = |n: &u8| format!("tcp 192.0.2.{n}:80");
        let server = |n: &u8| format!("10.0.0.{n}:8080");
        let json = match self {
            Step::AddService(n, scheduler) => {
                json!({ "edit": "add_service", "table": { "address": format!("192.0.2.{n}:80"), "scheduler": scheduler } })
            }
            Step::EditService(n, scheduler) => {
                json!({ "edit": "edit_service", "service": service(n), "table": { "scheduler": scheduler } })
            }
            Step::DeleteService(n) => json!({ "edit": "delete_service", "service": service(n) }),
            Step::AddServer(n, s, weight) => {
                json!({ "edit": "add_server", "service": service(n), "table": { "address": server(s), "forward": "nat", "weight": weight } })
            }
            Step::SetWeight(n, s, weight) => {
                json!({ "edit": "set_weight", "service": service(n), "server": server(s), "weight": weight })
            }
            Step::DeleteServer(n, s) => {
                json!({ "edit": "delete_server", "service": service(n), "server": server(s) })
            }
            Step::Clear => json!({ "edit": "clear" }),
        };
        serde_json::from_value(json).unwrap()
    }

    /// Whether it can be done, and then it is.
    fn on(&self, model: &mut Model) -> bool {
        match self {
            Step::AddService(n, scheduler) => {
                !model.contains_key(n) && model.insert(*n, ((*scheduler).into(), BTreeMap::new())).is_none()
            }
            Step::EditService(n, scheduler) => model.get_mut(n).map(|s| s.0 = (*scheduler).into()).is_some(),
            Step::DeleteService(n) => model.remove(n).is_some(),
            Step::AddServer(n, s, weight) => model
                .get_mut(n)
                .is_some_and(|service| !service.1.contains_key(s) && service.1.insert(*s, *weight).is_none()),
            Step::SetWeight(n, s, weight) => {
                model.get_mut(n).and_then(|service| service.1.get_mut(s)).map(|w| *w = *weight).is_some()
            }
            Step::DeleteServer(n, s) => model.get_mut(n).is_some_and(|service| service.1.remove(s).is_some()),
            Step::Clear => {
                model.clear();
                true
            }
        }
    }
}

fn model_of(desired: &Desired) -> Model {
    let last = |addr: std::net::IpAddr| match addr {
        std::net::IpAddr::V4(addr) => addr.octets()[3],
        std::net::IpAddr::V6(_) => unreachable!("all are IPv4"),
    };
    let service = |service: &Arc<Service>| {
        let reals = service.reals.iter().map(|real| (last(real.endpoint.addr), real.weight)).collect();
        (last(service.endpoint.addr), (service.scheduler.to_string(), reals))
    };
    desired.services.iter().map(service).collect()
}

/// What a plan says, done to the state that it begins with: by edits alone, then in the order that it tells.
fn carried_out(old: &Desired, plan: &Plan) -> Desired {
    let table = |changes: &[Change]| {
        let changes = changes.iter().filter(|change| change.key != "order");
        Value::Object(changes.map(|change| (change.key.clone(), change.to.clone())).collect())
    };
    let mut edits = Vec::new();
    for service in &plan.services {
        let key = &service.service;
        match service.act {
            Act::Removed => edits.push(json!({ "edit": "delete_service", "service": key })),
            Act::Added => edits.push(json!({ "edit": "add_service", "table": table(&service.changes) })),
            Act::Changed => edits
                .push(json!({ "edit": "edit_service", "service": key, "table": table(&service.changes) })),
        }
        for server in service.servers.iter().filter(|_| service.act != Act::Removed) {
            let (at, table) = (&server.server, table(&server.changes));
            edits.push(match server.act {
                Act::Removed => json!({ "edit": "delete_server", "service": key, "server": at }),
                Act::Added => json!({ "edit": "add_server", "service": key, "table": table }),
                Act::Changed => {
                    json!({ "edit": "edit_server", "service": key, "server": at, "table": table })
                }
            });
        }
    }
    let mut done = apply(old, Value::Array(edits)).unwrap();
    let order = |changes: &[Change]| {
        let order = changes.iter().find(|change| change.key == "order").map(|change| change.to.clone());
        order.map(|to| serde_json::from_value::<Vec<String>>(to).unwrap())
    };
    for service in &plan.services {
        let (Some(order), Some(key)) = (order(&service.changes), ServiceRef(service.service.clone()).key())
        else {
            continue;
        };
        let place = done.places[&key];
        Arc::make_mut(&mut done.services[place])
            .reals
            .sort_by_key(|real| order.iter().position(|at| *at == real.endpoint.to_string()));
    }
    if let Some(order) = order(&plan.director) {
        done.services
            .sort_by_key(|service| order.iter().position(|key| *key == Key::of(service).to_string()));
    }
    done
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn random_transactions_do_what_they_do_to_a_plain_map_or_nothing(
        transactions in prop::collection::vec(prop::collection::vec(step(), 1..5), 1..20)
    ) {
        let (mut state, mut model) = (desired(""), Model::new());
        for steps in transactions {
            let mut after = model.clone();
            let can = steps.iter().all(|step| step.on(&mut after));
            let applied = state.apply(&steps.iter().map(Step::edit).collect::<Vec<_>>(), Duration::ZERO);
            prop_assert_eq!(applied.is_ok(), can, "{:?}", applied);
            if let Ok(applied) = applied {
                (state, model) = (applied.desired, after);
            }
            prop_assert_eq!(model_of(&state), model.clone());
            let places: Vec<usize> = state.services.iter().map(|service| state.places[&Key::of(service)]).collect();
            prop_assert!(places.into_iter().eq(0..state.services.len()));
        }
    }

    #[test]
    fn a_plan_carried_out_leads_from_the_one_state_to_the_other(
        (one, other) in (prop::collection::vec(step(), 0..30), prop::collection::vec(step(), 0..30))
    ) {
        let state = |steps: &[Step]| steps.iter().fold(desired(""), |state, step| {
            state.apply(&[step.edit()], Duration::ZERO).map_or(state, |applied| applied.desired)
        });
        let (old, new) = (state(&one), state(&other));
        let plan = plan(&old, &new, &|_: &Service, _: &crate::config::Real| 0);
        prop_assert_eq!(carried_out(&old, &plan).services, new.services.clone(), "{}", plan);
        prop_assert_eq!(plan.is_empty(), old.services == new.services);
    }
}
