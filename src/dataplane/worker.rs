//! A worker: one thread on one core that turns a port's frames through a pipeline until it is told to stop.

use super::affinity;
use super::counters::{Counters, Turn};
use super::pipeline::Pipeline;
use super::port::Port;
use super::snapshot::Published;
use crate::conntrack::Tracker;
use crate::net::{Moment, Tick};
use crossbeam::channel::Sender;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

pub use super::affinity::cores;
pub use super::pipeline::Wanted;

/// How long an idle worker spins before it sleeps: longer than a server takes to answer on one wire, so that
/// request and reply find it awake.
const SPIN: Duration = Duration::from_micros(50);

/// The longest sleep: connections are swept and neighbours asked for meanwhile, too.
const NAP: Duration = Duration::from_millis(20);

/// Places of the connection table looked at per turn: under 1 µs beside a batch, about 15 µs when idle.
const SWEEP_BUSY: u32 = 256;
const SWEEP_IDLE: u32 = 8192;

/// What a worker does while no packet arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// Spin for a while, then sleep until a frame arrives.
    Sleep,
    /// Spin for ever.
    Spin,
}

/// How and where a worker is to run.
#[derive(Debug, Clone)]
pub struct Shift {
    /// The core to run on.
    pub core: usize,
    /// What to do while no packet arrives.
    pub idle: Idle,
    /// Tick 0, the same for all workers.
    pub start: Instant,
    /// Where neighbours that packets were missing are told; when it is full, the next packet tells again.
    pub wanted: Sender<Wanted>,
    /// Set by somebody who wants the worker to end.
    pub stop: Arc<AtomicBool>,
}

/// A worker, ready to run on its thread.
pub struct Worker {
    pipeline: Pipeline,
    port: Box<dyn Port + Send>,
    shift: Shift,
}

impl Worker {
    /// A worker that moves the frames of `port`, decides by what is published, and counts into `counters`.
    pub fn new(
        port: Box<dyn Port + Send>,
        tracker: Tracker,
        counters: Arc<Counters>,
        published: Arc<Published>,
        shift: Shift,
    ) -> Worker {
        Worker { pipeline: Pipeline::new(tracker, counters, published), port, shift }
    }

    /// The core that it is to run on.
    pub fn core(&self) -> usize {
        self.shift.core
    }

    /// Runs until told to stop.
    ///
    /// # Errors
    /// The port can do no more work.
    pub fn run(mut self) -> io::Result<()> {
        let shift = &self.shift;
        if !affinity::pin(shift.core) {
            tracing::warn!(
                core = shift.core,
                "cannot pin the worker to its core; it runs wherever the system lets it"
            );
        }
        let counters = self.pipeline.counters().clone();
        let (mut clock, mut turn) = (Instant::now(), Turn::Polling);
        let mut last_packet = clock;
        while !shift.stop.load(Relaxed) {
            let begun = std::mem::replace(&mut clock, Instant::now());
            counters.work.spent(turn, clock.saturating_duration_since(begun));
            let now = Moment::from_duration(clock.saturating_duration_since(shift.start));
            let pipeline = &mut self.pipeline;
            let frames = self.port.turn(&mut |frames| {
                pipeline.run(frames, now);
                pipeline.take_own(frames)
            })?;
            for wanted in self.pipeline.take_wanted() {
                let _ = shift.wanted.try_send(wanted);
            }
            if frames > 0 {
                (last_packet, turn) = (clock, Turn::Busy);
                counters.work.lent(frames);
                sweep(&mut self.pipeline, &mut *self.port, now.tick(), SWEEP_BUSY)?;
                continue;
            }
            let behind = sweep(&mut self.pipeline, &mut *self.port, now.tick(), SWEEP_IDLE)?;
            if shift.idle == Idle::Sleep && !behind && clock.saturating_duration_since(last_packet) > SPIN {
                turn = Turn::Sleeping;
                self.port.wait(NAP)?;
            } else {
                turn = Turn::Polling;
                std::hint::spin_loop();
            }
        }
        Ok(())
    }
}

/// Looks at so many places of the connection table, and sends what there is to say to the ends of connections. Whether
/// more are due.
fn sweep(pipeline: &mut Pipeline, port: &mut dyn Port, now: Tick, most: u32) -> io::Result<bool> {
    let behind = pipeline.sweep(now, most);
    let probes = pipeline.take_probes(now);
    if !probes.is_empty() {
        port.send(probes)?;
    }
    Ok(behind)
}
