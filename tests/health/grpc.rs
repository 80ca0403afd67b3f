//! gRPC's health service, of a server that is made with gRPC's own library.

use crate::bed::{Bed, V4, V6};
use lvx::service::check::{Grpc, Kind};
use std::net::SocketAddr;

#[test]
fn a_grpc_server_says_how_its_services_are() {
    let mut bed = Bed::new();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/health/grpc_server.py");
    bed.serve(&["/usr/bin/python3", script, "50051"], 50051);
    let ask = |addr, service: &str| {
        let grpc = Grpc { service: service.to_owned(), ..Grpc::default() };
        bed.ask(SocketAddr::new(addr, 50051), Kind::Grpc(grpc))
    };
    assert_eq!(ask(V4, ""), Ok(()));
    assert_eq!(ask(V6, "shop"), Ok(()));
    assert_eq!(ask(V4, "closed"), Err("gRPC: NOT_SERVING".to_owned()));
    assert_eq!(ask(V4, "none"), Err("gRPC status 5 no such service".to_owned()));
}
