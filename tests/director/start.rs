//! Why a director does not start, in words that tell what to do.

use crate::bed::{Bed, in_turn, options};
use lvx::lab::{Layout, Node};

/// A lab without servers: no director of these gets as far as to need them.
fn bare(layout: Layout) -> Bed {
    Bed::empty(layout, options())
}

/// An error is one line, and it is all that is said to the operator but for log lines before.
fn assert_last_line(said: &str, wanted: &[&str]) {
    let last = said.lines().last().unwrap_or_default();
    assert!(last.starts_with("lvx: "), "{said}");
    assert!(wanted.iter().all(|part| last.contains(part)), "{wanted:?} in {said}");
}

#[test]
fn without_capabilities_it_says_which_are_needed() {
    let bed = bare(Layout::Nat);
    let config = bed.director_config(&in_turn());
    for by in [
        &["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"][..],
        &["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"],
    ] {
        let said = bed.refusal(by, &config, &[]);
        assert_last_line(&said, &["needs root or CAP_NET_ADMIN, CAP_BPF and CAP_NET_RAW"]);
    }
    assert!(!bed.has_xdp());
}

#[test]
fn an_interface_that_is_not_there_is_named_with_those_that_are() {
    let bed = bare(Layout::Nat);
    let config = bed.director_config(&in_turn()).replace("\"eth1\"", "\"eth7\"");
    let said = bed.refusal(&[], &config, &[]);
    assert_last_line(&said, &["interface \"eth7\" does not exist", "did you mean \"eth", "present: "]);
}

#[test]
fn a_second_director_on_the_same_interface_is_told_whose_it_is() {
    let bed = Bed::new(Layout::Nat);
    let config = bed.director_config(&in_turn());
    let _director = bed.direct_by(&config);
    let said = bed.refusal(&[], &config, &[]);
    assert_last_line(&said, &["eth0", "another XDP program is attached: id ", "name \"steer\""]);
    // The first one has not noticed.
    bed.load(9);
}

#[test]
fn an_mtu_too_large_for_native_xdp_is_named() {
    let bed = bare(Layout::Nat);
    bed.on(Node::Router, "ip link set eth1 mtu 9000");
    bed.on(Node::Director, "ip link set eth0 mtu 9000");
    let native = bed.director_config_with("xdp_mode = \"native\"", &in_turn());
    let said = bed.refusal(&[], &native, &[]);
    assert_last_line(&said, &["eth0", "xdp_mode is native", "the MTU is too large", "3,500"]);
    // Left to itself, it would take the stack; but packets of that size fit no frame.
    let said = bed.refusal(&[], &bed.director_config(&in_turn()), &[]);
    assert_last_line(&said, &["\"eth0\" has an MTU of 9000", "ip link set dev eth0 mtu 3818"]);
    bed.on(Node::Director, "ip link set eth0 mtu 3818");
    // It takes the stack, and says so.
    let director = bed.direct(&in_turn());
    assert!(bed.log().contains("using generic XDP"), "{}", bed.log());
    director.stop().unwrap();
}

#[test]
fn too_little_lockable_memory_is_named_with_the_limit_to_raise() {
    let bed = bare(Layout::Nat);
    let by = ["setpriv", "--bounding-set", "-ipc_lock,-sys_resource", "prlimit", "--memlock=0:0"];
    let said = bed.refusal(&by, &bed.director_config(&in_turn()), &[]);
    assert_last_line(&said, &["memlock limit (ulimit -l unlimited)"]);
}

#[test]
fn more_workers_than_queues_are_refused_with_the_command_that_helps() {
    let bed = bare(Layout::Nat);
    let said = bed.refusal(&[], &bed.director_config_with("workers = 3", &in_turn()), &[]);
    assert_last_line(&said, &["\"eth0\" receives on 1 queues", "ethtool -L eth0 combined 3"]);
}

#[test]
fn a_report_that_cannot_be_written_is_an_error_at_the_start() {
    let bed = bare(Layout::Nat);
    let config = bed.director_config(&in_turn());
    let said = bed.refusal(&[], &config, &["--report", "/nonexistent/lvx/report.json"]);
    assert_last_line(&said, &["/nonexistent/lvx/report.json", "No such file or directory"]);
    assert!(!bed.has_xdp());
}

#[test]
fn a_bad_configuration_is_refused_with_all_of_its_errors() {
    let bed = bare(Layout::Nat);
    let bad = bed
        .director_config_with("wrokers = 2", &in_turn())
        .replace("forward = \"nat\"", "forward = \"natt\"");
    let said = bed.refusal(&[], &bad, &[]);
    let line = 1 + bad.lines().position(|line| line.starts_with("wrokers")).unwrap();
    assert!(
        said.contains(&format!("refused.toml:{line}:1: ")) && said.contains("did you mean \"workers\"?"),
        "{said}"
    );
    assert_eq!(said.matches("\"natt\"").count(), 3, "{said}");
}
