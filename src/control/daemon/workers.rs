//! The workers' threads.

use crate::dataplane::worker::Worker;
use crossbeam::channel::{Receiver, bounded};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;

/// The workers' threads; dropping this ends them.
pub(super) struct Workers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    /// Why a worker ended by itself; disconnected when none is left.
    pub(super) failures: Receiver<io::Error>,
}

impl Workers {
    /// Starts the workers, which end when `stop` is set.
    pub(super) fn spawn(ready: Vec<Worker>, stop: Arc<AtomicBool>) -> io::Result<Workers> {
        let (tell, failures) = bounded(ready.len().max(1));
        let mut workers = Workers { stop, threads: Vec::new(), failures };
        for (number, worker) in ready.into_iter().enumerate() {
            let tell = tell.clone();
            let body = move || {
                tracing::info!(worker = number, core = worker.core(), "worker started");
                // A panic of one worker must be heard of while the others still hold their ends of the channel.
                let ended = catch_unwind(AssertUnwindSafe(|| worker.run()));
                let failure = match ended {
                    Ok(Ok(())) => return tracing::info!(worker = number, "worker ended"),
                    Ok(Err(error)) => error,
                    Err(_) => io::Error::other("a worker panicked"),
                };
                let _ = tell.send(failure);
            };
            workers
                .threads
                .push(std::thread::Builder::new().name(format!("lvx-worker-{number}")).spawn(body)?);
        }
        Ok(workers)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            // A panic there has been reported by its own thread.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conntrack::{Seed, Table, Tracker};
    use crate::dataplane::port::{Frame, OwnFrame, Port};
    use crate::dataplane::worker::{Idle, Shift};
    use std::time::{Duration, Instant};

    /// Nothing ever arrives; a broken one panics over it.
    struct Silent {
        broken: bool,
    }

    impl Port for Silent {
        fn turn(&mut self, _road: &mut dyn FnMut(&mut [Frame<'_>]) -> Vec<OwnFrame>) -> io::Result<usize> {
            assert!(!self.broken, "as a bug would");
            Ok(0)
        }

        fn send(&mut self, _own: Vec<OwnFrame>) -> io::Result<()> {
            Ok(())
        }

        fn wait(&mut self, timeout: Duration) -> io::Result<()> {
            std::thread::sleep(timeout);
            Ok(())
        }
    }

    #[test]
    fn a_worker_that_panics_is_heard_of_while_others_work_on() {
        let table = Arc::new(Table::new(8, Seed::new(1, 2)).unwrap());
        let (wanted, _) = bounded(1);
        let shift = Shift { core: 0, idle: Idle::Sleep, start: Instant::now(), wanted, stop: Arc::default() };
        let worker = |number, broken| {
            let tracker = Tracker::new(table.clone(), number, 2);
            Worker::new(Box::new(Silent { broken }), tracker, Arc::default(), Arc::default(), shift.clone())
        };
        let workers = Workers::spawn(vec![worker(0, false), worker(1, true)], shift.stop.clone()).unwrap();
        let failure = workers.failures.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(failure.to_string(), "a worker panicked");
    }
}
