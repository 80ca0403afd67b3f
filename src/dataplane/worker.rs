//! A worker: one thread on one core that turns a port's frames through a pipeline until it is told to stop.

use super::affinity;
use super::pipeline::{Pipeline, Wanted};
use super::port::Port;
use crate::net::Tick;
use crossbeam::channel::Sender;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

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

/// A worker, ready to run on its thread.
pub struct Worker {
    /// The packet's road.
    pub pipeline: Pipeline,
    /// Where frames come from and go to.
    pub port: Box<dyn Port + Send>,
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

impl Worker {
    /// Runs until told to stop.
    ///
    /// # Errors
    /// The port can do no more work.
    pub fn run(mut self) -> io::Result<()> {
        if !affinity::pin(self.core) {
            tracing::warn!(
                core = self.core,
                "cannot pin the worker to its core; it runs wherever the system lets it"
            );
        }
        let mut last_packet = Instant::now();
        while !self.stop.load(Relaxed) {
            let clock = Instant::now();
            let now = Tick::from_duration(clock.saturating_duration_since(self.start));
            let pipeline = &mut self.pipeline;
            let frames = self.port.turn(&mut |frames| pipeline.run(frames, now))?;
            for wanted in self.pipeline.take_wanted() {
                let _ = self.wanted.try_send(wanted);
            }
            if frames > 0 {
                last_packet = clock;
                self.pipeline.sweep(now, SWEEP_BUSY);
                continue;
            }
            let behind = self.pipeline.sweep(now, SWEEP_IDLE);
            if self.idle == Idle::Sleep && !behind && clock.saturating_duration_since(last_packet) > SPIN {
                self.port.wait(NAP)?;
            } else {
                std::hint::spin_loop();
            }
        }
        Ok(())
    }
}
