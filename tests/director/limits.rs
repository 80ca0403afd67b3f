//! What happens when the connection table is full.

use crate::bed::{Bed, connections, eventually, in_turn};
use lvx::lab::Layout;

#[test]
fn a_full_table_refuses_new_connections_by_name_and_keeps_those_it_has() {
    let bed = Bed::new(Layout::Nat);
    let director = bed.direct_by(&bed.director_config_with("max_connections = 12", &in_turn()));
    let mut visits: Vec<_> = (0..12).map(|_| bed.visit()).collect();
    for visit in &mut visits {
        visit.ask().unwrap();
    }
    for _ in 0..2 {
        bed.ask().unwrap_err();
    }
    for visit in &mut visits {
        visit.ask().unwrap();
    }
    let refused = || director.report().unwrap().connections.refused;
    eventually("refusals in the report", || refused() >= 2);
    let report = director.stop().unwrap();
    assert_eq!(report.dropped_by_reason["table_full"], report.connections.refused);
    assert_eq!((report.connections.current, report.connections.limit), (12, 12));
    assert_eq!(connections(&report), [4, 4, 4]);
}
