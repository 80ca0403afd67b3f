//! The whole road, one batch after the other. A sample is one turn over all frames; how it compares with anything
//! else is what `make bench` shows.

mod world;

use divan::Bencher;
use divan::counter::ItemsCount;
use lvx::net::Tick;
use lvx::service::Method;
use std::cell::RefCell;
use world::{Distribution, FRAMES, Traffic, World};

fn main() {
    divan::main();
}

const SIZES: [u32; 2] = [1_000, 100_000];
const ROUNDS: u32 = 200;

fn hits(bencher: Bencher<'_, '_>, method: Method, flows: u32, traffic: Traffic) {
    let world = RefCell::new(World::new(method, flows, 0));
    bencher
        .counter(ItemsCount::new(FRAMES))
        .with_inputs(|| world.borrow_mut().prepare(Distribution::Uniform, traffic))
        .bench_local_values(|()| world.borrow_mut().run(Tick(0)));
}

#[divan::bench(args = SIZES, sample_count = ROUNDS, sample_size = 1)]
fn dr(bencher: Bencher<'_, '_>, flows: u32) {
    hits(bencher, Method::Dr, flows, Traffic::Requests);
}

#[divan::bench(args = SIZES, sample_count = ROUNDS, sample_size = 1)]
fn nat(bencher: Bencher<'_, '_>, flows: u32) {
    hits(bencher, Method::Nat, flows, Traffic::Requests);
}

#[divan::bench(args = SIZES, sample_count = ROUNDS, sample_size = 1)]
fn nat_both_ways(bencher: Bencher<'_, '_>, flows: u32) {
    hits(bencher, Method::Nat, flows, Traffic::BothWays);
}

#[divan::bench(args = SIZES, sample_count = ROUNDS, sample_size = 1)]
fn tun(bencher: Bencher<'_, '_>, flows: u32) {
    hits(bencher, Method::Tun, flows, Traffic::Requests);
}

/// Each connection that opens comes with one that ends.
#[divan::bench(args = [Method::Dr, Method::Nat], sample_count = ROUNDS, sample_size = 1)]
fn new_connections(bencher: Bencher<'_, '_>, method: Method) {
    let world = RefCell::new(World::new(method, 100_000, 100_000));
    bencher
        .counter(ItemsCount::new(FRAMES))
        .with_inputs(|| world.borrow_mut().prepare(Distribution::Uniform, Traffic::New))
        .bench_local_values(|()| world.borrow_mut().run_with_expiry());
}
