//! The hit path allocates nothing, held by an allocator that counts.
#![allow(unsafe_code)]

#[path = "../benches/world/mod.rs"]
mod world;

use lvx::net::Tick;
use lvx::service::Method;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use world::{Distribution, Traffic, World};

/// The system's allocator; counts what the thread asks of it.
struct Counting;

thread_local! {
    static ASKED: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    ASKED.set(ASKED.get() + 1);
}

// SAFETY: every call goes on to the system's allocator with the arguments it came with; counting touches a
// thread-local integer, which needs no allocation and no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `System`'s contract, which is ours.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count();
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often `what` allocates or frees, and how many batches it says it ran.
fn asked_during(world: &mut World, now: Tick, batches: &mut u32) -> u64 {
    let before = ASKED.get();
    world.turn(|pipeline, batch| {
        pipeline.run(batch, now);
        pipeline.sweep(now, 256);
        *batches += 1;
    });
    ASKED.get() - before
}

#[test]
fn ten_thousand_batches_of_established_traffic_allocate_nothing() {
    for method in Method::ALL {
        let mut world = World::new(method, 10_000, 0);
        let traffic = if method == Method::Nat { Traffic::BothWays } else { Traffic::Requests };
        let (mut batches, mut asked) = (0, 0);
        while batches < 10_000 {
            world.prepare(Distribution::Uniform, traffic);
            asked += asked_during(&mut world, Tick(batches / 10), &mut batches);
        }
        assert_eq!(asked, 0, "{method}");
        let forwarded = world.pipeline.counters().forwarded.get();
        assert_eq!(forwarded, 2 * 10_000 + 64 * batches as u64, "{method}: every packet was sent on");
    }
}

#[test]
fn the_allocator_does_count() {
    let before = ASKED.get();
    drop(std::hint::black_box(Box::new(7)));
    assert_eq!(ASKED.get() - before, 2);
}
