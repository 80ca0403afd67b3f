//! Ctrl-C and SIGTERM as a flag, so that a lab is removed in the ordinary way, by its destructors.

use super::{Error, Process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Whether somebody wants an end. Clones share the flag; the default one is never raised.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// A flag that SIGINT, SIGTERM and SIGHUP raise, in place of ending the process.
    ///
    /// # Errors
    /// If a handler cannot be registered.
    pub fn on_signals() -> io::Result<Interrupt> {
        let interrupt = Interrupt::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&interrupt.0))?;
        }
        Ok(interrupt)
    }

    /// Whether the flag is raised.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// An error if the flag is raised.
    ///
    /// # Errors
    /// [`Error::Interrupted`].
    pub fn check(&self) -> Result<(), Error> {
        if self.is_raised() { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// Waits until `is_true`, for as long as `process` runs and at most 10 s.
    pub(super) fn wait_until(
        &self,
        what: &str,
        process: &mut Process,
        mut is_true: impl FnMut() -> bool,
    ) -> Result<(), Error> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !is_true() {
            self.check()?;
            if let Some(status) = process.exit_status() {
                let what = format!("no {what}: {} ended with {status}", process.command());
                return Err(Error::NotReady { what, log: process.log_tail() });
            }
            if Instant::now() > deadline {
                return Err(Error::NotReady {
                    what: format!("no {what} within 10 s"),
                    log: process.log_tail(),
                });
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}
