//! A director without ports: workers on one thread, over one table, taking a tape's batches in turn.
//!
//! Positions in the schedulers' rounds and live counts are shared and exact, batches come in order, and between
//! two of them nobody keeps free places of the table at hand. So it does not matter who takes which batch.

use super::Error;
use crate::config::Config;
use crate::conntrack::{Seed, Table, Tracker};
use crate::control::gather;
use crate::control::publish::Publisher;
use crate::control::report::Report;
use crate::dataplane::counters::Counters;
use crate::dataplane::nexthop::Rib;
use crate::dataplane::pipeline::Pipeline;
use crate::dataplane::port::pcap::PcapPort;
use crate::dataplane::port::{Frame, Port};
use crate::dataplane::snapshot::Published;
use crate::net::Moment;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Silent connections are forgotten at the first packet of every such slot of time: at the same packet for any
/// number of workers.
const SWEEP_MILLIS: u128 = 100;

/// The director of a replay.
pub(super) struct Director {
    table: Arc<Table>,
    publisher: Publisher,
    counters: Vec<Arc<Counters>>,
    workers: Vec<Pipeline>,
    /// Who takes the next batch.
    turn: usize,
    swept: Option<u128>,
}

impl Director {
    /// A director of these services in this network, with checksums to complete on these interfaces.
    ///
    /// # Errors
    /// There is not enough memory for `max_connections`, or there are too many servers.
    pub fn new(
        config: &Config,
        rib: &Rib,
        workers: u16,
        partial_checksums: Vec<bool>,
    ) -> Result<Director, Error> {
        let max = config.director.max_connections;
        // The same seed in every replay. Nobody attacks a capture.
        let table = Table::new(max, Seed::new(1, 2))
            .map_err(|error| Error::Io(format!("make room for {max} connections"), error))?;
        let table = Arc::new(table);
        let published = Arc::new(Published::default());
        let counters: Vec<Arc<Counters>> = (0..workers).map(|_| Arc::default()).collect();
        let mut publisher =
            Publisher::new(table.clone(), published.clone(), counters.clone(), partial_checksums);
        publisher.set_rib(rib);
        publisher.set_services(config).map_err(Error::Services)?;
        let worker = |(number, counters): (u32, &Arc<Counters>)| {
            let tracker = Tracker::new(table.clone(), number, u32::from(workers));
            Pipeline::new(tracker, counters.clone(), published.clone())
        };
        let workers = (0..).zip(&counters).map(worker).collect();
        Ok(Director { table, publisher, counters, workers, turn: 0, swept: None })
    }

    /// Plays a whole tape, which begins `since_start` after the director. Returns how long the pipelines took:
    /// frames were in memory before, and what becomes of them comes after.
    ///
    /// # Errors
    /// Those of the port's sink.
    pub fn play<S>(&mut self, port: &mut PcapPort<'_, S>, since_start: Duration) -> Result<Duration, Error>
    where
        S: FnMut(usize, &Frame<'_>) -> io::Result<()>,
    {
        port.rewind();
        let mut taken = Duration::ZERO;
        while let Some(time) = port.next_time() {
            let time = since_start + time;
            let now = Moment::from_duration(time);
            let several = self.workers.len() > 1;
            let worker = &mut self.workers[self.turn];
            let slot = time.as_millis() / SWEEP_MILLIS;
            if self.swept.replace(slot) != Some(slot) {
                worker.sweep_all(now.tick());
            }
            let mut road = |frames: &mut [Frame<'_>]| {
                let start = Instant::now();
                worker.run(frames, now);
                taken += start.elapsed();
                worker.take_own(frames)
            };
            port.turn(&mut road).map_err(|error| Error::Io("write a frame".to_owned(), error))?;
            if several {
                worker.rest();
                self.turn = (self.turn + 1) % self.workers.len();
            }
        }
        Ok(taken)
    }

    /// What was counted until now.
    pub fn report(&self) -> Report {
        gather::report(&self.publisher, &self.counters, &self.table)
    }
}
