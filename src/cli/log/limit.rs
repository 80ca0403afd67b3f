//! So many of each event are logged, and no more: an event is a place in the source. What is held back is counted, and
//! the count is logged.
//!
//! ```text
//! AT_ONCE of each event, and one more EVERY so often; the others are held back
//! every REPORT: "37 more were held back: server added"
//! ```

use crate::control::allowance::Allowance;
use crossbeam::channel::{RecvTimeoutError, Sender, bounded};
use hashbrown::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter};

/// So many of an event at once.
const AT_ONCE: u32 = 100;

/// And one more each time that this has passed.
const EVERY: Duration = Duration::from_millis(100);

/// How often it is said what was held back.
const REPORT: Duration = Duration::from_secs(5);

/// Characters of a message that is held back, for its count.
const SHOWN: usize = 120;

/// Where the counts themselves are logged.
const OWN_TARGET: &str = "lvx::log::limit";

/// Holds back what comes too often. Bounded: there are only so many places in the source.
#[derive(Debug, Clone, Default)]
pub(super) struct Limit(Arc<Mutex<HashMap<Identifier, Rate>>>);

/// How much more of an event is logged, and what was not.
#[derive(Debug)]
struct Rate {
    allowance: Allowance,
    held: Option<Held>,
}

/// Events held back.
#[derive(Debug, Clone, PartialEq)]
struct Held {
    level: Level,
    /// The first of them.
    message: String,
    count: u64,
}

impl Limit {
    fn rates(&self) -> MutexGuard<'_, HashMap<Identifier, Rate>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an event may be logged; what it says is asked for if not.
    fn admits(&self, event: Identifier, now: Instant, held: impl FnOnce() -> Held) -> bool {
        let mut all = self.rates();
        let new = || Rate { allowance: Allowance::new(AT_ONCE, EVERY, now), held: None };
        let rate = all.entry(event).or_insert_with(new);
        let has = rate.allowance.take(now);
        if !has {
            rate.held.get_or_insert_with(held).count += 1;
        }
        has
    }

    /// What was held back since this was asked last.
    fn take_held(&self) -> Vec<Held> {
        self.rates().values_mut().filter_map(|rate| rate.held.take()).collect()
    }

    /// Says now and then what was held back.
    pub(super) fn report(self) -> Limited {
        let (stop, stopped) = bounded::<()>(0);
        let body = move || {
            loop {
                let is_over = stopped.recv_timeout(REPORT) == Err(RecvTimeoutError::Disconnected);
                self.take_held().iter().for_each(Held::log);
                if is_over {
                    return;
                }
            }
        };
        // Without a thread, nothing is said of what was held back.
        let thread = std::thread::Builder::new().name("lvx-log".to_owned()).spawn(body).ok();
        Limited { stop: Some(stop), thread }
    }
}

impl Held {
    fn log(&self) {
        let Held { level, message, count } = self;
        match *level {
            Level::ERROR => tracing::error!(target: OWN_TARGET, "{count} more were held back: {message}"),
            Level::WARN => tracing::warn!(target: OWN_TARGET, "{count} more were held back: {message}"),
            _ => tracing::info!(target: OWN_TARGET, "{count} more were held back: {message}"),
        }
    }
}

impl<S: Subscriber> Filter<S> for Limit {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        let held = || {
            let mut message = Message::default();
            event.record(&mut message);
            Held { level: *metadata.level(), message: message.0, count: 0 }
        };
        metadata.target() == OWN_TARGET || self.admits(metadata.callsite(), Instant::now(), held)
    }
}

/// An event's message.
#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}").chars().take(SHOWN).collect();
        }
    }
}

/// Says what is held back, until dropped.
#[derive(Debug)]
pub(super) struct Limited {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Limited {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by its own thread.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::{Layer, Registry};

    #[derive(Clone, Default)]
    struct Seen(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Seen {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let mut message = Message::default();
            event.record(&mut message);
            self.0.lock().unwrap().push(message.0);
        }
    }

    #[test]
    fn a_flood_of_one_event_is_counted_and_others_are_heard() {
        let (limit, seen) = (Limit::default(), Seen::default());
        let subscriber = Registry::default().with(seen.clone().with_filter(limit.clone()));
        let begun = Instant::now();
        tracing::subscriber::with_default(subscriber, || {
            for number in 0..10_000 {
                tracing::warn!("no room for {number}");
            }
            tracing::info!("another");
            limit.take_held().iter().for_each(Held::log);
            limit.take_held().iter().for_each(Held::log);
        });
        let seen = seen.0.lock().unwrap();
        let heard = seen.len() - 2;
        let most = AT_ONCE as usize + (begun.elapsed().as_millis() / EVERY.as_millis()) as usize;
        assert!((AT_ONCE as usize..=most).contains(&heard), "{heard} of {most}");
        assert_eq!(seen[heard], "another");
        assert_eq!(seen[heard + 1], format!("{} more were held back: no room for {AT_ONCE}", 10_000 - heard));
        assert_eq!(limit.rates().len(), 2, "an entry for each place that logs");
    }
}
