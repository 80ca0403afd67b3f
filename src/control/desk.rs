//! The director's desk: whoever wants to know or to change something gets it done here, one at a time. It holds the
//! desired state and the publisher; the daemon around it holds what has to do with the system.

use super::cause::Cause;
use super::connections::{Connections, Ending, Whereabouts};
use super::desired::{Desired, Edit, EditErrors, Finding, Key, Plan, Zeroed, plan};
use super::diary::{Deed, note};
use super::drains::Drains;
use super::health::{self, News};
use super::history::{History, Version};
use super::pressure::Pressure;
use super::publish::{Publisher, TooManyServers};
use super::rates::{PERIOD, Rates};
use super::report::Port;
use super::rounds::{Errand, Round};
use super::view::View;
use crate::config::{self, Config, ConfigErrors, Real, Service};
use crate::conntrack::Table;
use crate::dataplane::counters::Counters;
use crate::dataplane::nexthop::Rib;
use crate::dataplane::port::counters::PortCounters;
use crate::dataplane::snapshot::Published;
use crate::net::{Endpoint, Tick};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What somebody wants done at the desk.
pub type Job = Box<dyn FnOnce(&mut Desk) + Send>;

/// What the workers and the desk have in common.
#[derive(Debug, Clone)]
pub struct Shared {
    /// All connections.
    pub table: Arc<Table>,
    /// What workers decide by.
    pub published: Arc<Published>,
    /// What each worker counted.
    pub counters: Vec<Arc<Counters>>,
    /// What each worker's port counted.
    pub ports: Vec<Arc<PortCounters>>,
    /// Tick 0.
    pub start: Instant,
}

/// The desk.
pub struct Desk {
    /// The writer of snapshots.
    pub publisher: Publisher,
    shared: Shared,
    desired: Desired,
    history: History,
    /// The configuration file.
    file: PathBuf,
    pending: Option<Pending>,
    rates: Arc<Rates>,
    estimated: Instant,
    connections: Connections,
    /// Whether other checks may be to be made since somebody asked.
    is_edited: bool,
    drains: Drains,
    round: Option<Round>,
    /// Not before, after the director's start, there is another round.
    next_round: Duration,
    pressure: Pressure,
}

/// A change that is undone unless somebody confirms it.
#[derive(Debug)]
struct Pending {
    before: Desired,
    deadline: Instant,
}

/// How a change is to be made.
#[derive(Debug, Clone, Copy, Default)]
pub struct How {
    /// Only tell what it would do.
    pub only_plan: bool,
    /// Undo it after so long, unless it is confirmed.
    pub confirm_within: Option<Duration>,
    /// Who makes it, or what.
    pub cause: Cause,
}

impl From<Cause> for How {
    fn from(cause: Cause) -> How {
        How { cause, ..How::default() }
    }
}

/// Why the desk refused something; nothing has changed then.
#[derive(Debug, Clone, PartialEq)]
pub enum Refusal {
    /// The edits are wrong.
    Edits(EditErrors),
    /// The configuration is wrong.
    Config(ConfigErrors),
    /// The configuration is right, but nothing that can be taken up.
    Unfit(String),
    /// There are too many servers.
    Servers(TooManyServers),
    /// Another change waits for its confirmation, for so long yet.
    Waiting(Duration),
    /// No change waits for a confirmation.
    NothingToConfirm,
    /// So many configurations are not kept, but these.
    NotKept(usize, usize),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Edits(errors) => errors.fmt(f),
            Refusal::Config(errors) => errors.fmt(f),
            Refusal::Unfit(why) => f.write_str(why),
            Refusal::Servers(error) => error.fmt(f),
            Refusal::Waiting(left) => write!(
                f,
                "the last change waits for its confirmation, {} seconds yet (allowed: `lvx confirm`, `lvx rollback`)",
                left.as_secs()
            ),
            Refusal::NothingToConfirm => f.write_str("no change waits for a confirmation"),
            Refusal::NotKept(wanted, kept) => {
                write!(f, "no configuration is kept from {wanted} steps back (allowed: 1 to {kept})")
            }
        }
    }
}

impl std::error::Error for Refusal {}

impl Desk {
    /// A desk with this state on it, which is published at once.
    ///
    /// # Errors
    /// [`TooManyServers`].
    pub fn new(
        desired: Desired,
        mut publisher: Publisher,
        shared: Shared,
        history: History,
        file: PathBuf,
    ) -> Result<Desk, TooManyServers> {
        publisher.set_desired(&desired, tick_at(shared.start, Instant::now()))?;
        let connections = Connections::new(shared.table.clone(), shared.published.clone());
        let (rates, estimated) = (Arc::default(), Instant::now());
        Ok(Desk {
            publisher,
            shared,
            desired,
            history,
            file,
            pending: None,
            rates,
            estimated,
            connections,
            is_edited: true,
            drains: Drains::default(),
            round: None,
            next_round: Duration::ZERO,
            pressure: Pressure::default(),
        })
    }

    /// The configuration file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The desired state.
    pub fn desired(&self) -> &Desired {
        &self.desired
    }

    /// Whether services or servers came or went since this was asked last.
    pub fn take_moved(&mut self) -> bool {
        self.publisher.take_moved()
    }

    /// Whether the configuration is another since this was asked last, or other servers are in maintenance: then other
    /// checks may be to be made, and other programs told.
    pub fn take_edited(&mut self) -> bool {
        std::mem::take(&mut self.is_edited)
    }

    /// Takes up what checks have found out about servers. Returns what that changes, which the log has too.
    pub fn found(&mut self, findings: &[(Key, Endpoint, Option<Finding>)]) -> Vec<News> {
        if findings.is_empty() {
            return Vec::new();
        }
        let desired = self.desired.with_findings(findings);
        let news = health::news(&self.desired, &desired, findings);
        if let Err(error) = self.take_up(desired) {
            tracing::error!("what checks have found out is not taken up: {error}");
        }
        news.iter().for_each(News::log);
        news
    }

    /// Takes up what is known of the network now.
    pub fn network_changed(&mut self, rib: &Rib) {
        self.publisher.set_rib(rib);
        self.publisher.welcome(tick_at(self.shared.start, Instant::now()));
    }

    /// What there is to see, to be looked at elsewhere.
    pub fn view(&self) -> View {
        let confirm_within = self.pending.as_ref().map(|pending| left_until(pending.deadline));
        let view = View::new(&self.publisher, &self.shared.counters, self.shared.start);
        let drained = self.drains.counts.clone();
        view.of_director(self.file.clone(), self.rates.clone(), &self.shared.ports, confirm_within, drained)
    }

    /// The configurations kept.
    pub fn versions(&self) -> Vec<Version> {
        self.history.versions()
    }

    /// Applies a transaction, or tells what it would do. While another change waits for its confirmation, one that is
    /// of conditions alone may be made, and holds whatever becomes of the other.
    ///
    /// # Errors
    /// [`Refusal`]; then everything is as it was.
    pub fn change(&mut self, edits: &[Edit], how: How) -> Result<Plan, Refusal> {
        self.refuse_doings(edits, how.cause)?;
        let plan = self.make(edits, how)?;
        if !how.only_plan && !plan.is_empty() {
            note(Deed::Edited, &plan, how);
        }
        Ok(plan)
    }

    fn make(&mut self, edits: &[Edit], how: How) -> Result<Plan, Refusal> {
        if !how.only_plan && !edits.iter().all(Edit::is_of_condition) {
            self.refuse_while_waiting()?;
        }
        let applied =
            self.desired.apply_by(edits, self.shared.start.elapsed(), how.cause).map_err(Refusal::Edits)?;
        let plan = self.plan(&applied.desired);
        if how.only_plan {
            return Ok(plan);
        }
        let before = self.desired.clone();
        if !plan.is_empty() || applied.desired != before {
            self.take_up(applied.desired)?;
        }
        let is_as_written = plan.leaves_configuration();
        if edits.iter().any(|edit| matches!(edit, Edit::Replace(_))) && !is_as_written {
            self.history.keep(&before);
        }
        if let (Some(within), false) = (how.confirm_within, is_as_written) {
            self.pending = Some(Pending { before, deadline: Instant::now() + within });
        }
        let zeroed = match applied.zeroed {
            Zeroed::Some(keys) => keys,
            Zeroed::All => self.desired.services().iter().map(|service| Key::of(service)).collect(),
        };
        if !zeroed.is_empty() {
            tracing::info!(by = %how.cause, services = zeroed.len(), "traffic counted from 0 again");
        }
        for key in zeroed {
            self.publisher.zero(key);
        }
        Ok(plan)
    }

    /// Puts a configuration in the place of what there is, or tells what that would do.
    ///
    /// # Errors
    /// [`Refusal`]; then everything is as it was.
    pub fn replace(&mut self, config: Config, how: How) -> Result<Plan, Refusal> {
        self.refuse_doings(&[Edit::Replace(Arc::new(config.clone()))], how.cause)?;
        let plan = self.put(config, how)?;
        if !how.only_plan {
            note(Deed::Applied, &plan, how);
        }
        Ok(plan)
    }

    fn put(&mut self, config: Config, how: How) -> Result<Plan, Refusal> {
        // It is one edit, which nobody has numbered.
        self.make(&[Edit::Replace(Arc::new(config))], how).map_err(|refusal| match refusal {
            Refusal::Edits(EditErrors(errors)) => {
                Refusal::Unfit(errors.into_iter().map(|error| error.message).collect::<Vec<_>>().join("\n"))
            }
            other => other,
        })
    }

    /// Reads the configuration file again, and takes up what it says; the log has what became of it.
    ///
    /// # Errors
    /// [`Refusal`]; then everything is as it was.
    pub fn reload(&mut self, by: Cause) -> Result<Plan, Refusal> {
        let outcome = self.refuse_while_waiting().and_then(|()| {
            let config = config::read(&self.file).map_err(Refusal::Config)?;
            self.put(config, by.into())
        });
        match &outcome {
            Ok(plan) => note(Deed::Reloaded, plan, by.into()),
            Err(error) => tracing::error!(%by, "not reloaded, everything stays as it was: {error}"),
        }
        outcome
    }

    /// Lets a change that waits for it stay.
    ///
    /// # Errors
    /// None waits.
    pub fn confirm(&mut self, by: Cause) -> Result<(), Refusal> {
        self.pending.take().ok_or(Refusal::NothingToConfirm)?;
        tracing::info!(%by, "the last change is confirmed");
        Ok(())
    }

    /// Goes back to the configuration so many steps ago. A change that waits for its confirmation is the first step.
    ///
    /// # Errors
    /// [`Refusal`]; then everything is as it was.
    pub fn roll_back(&mut self, steps: usize, by: Cause) -> Result<Plan, Refusal> {
        let plan = self.go_back(steps, by)?;
        note(Deed::RolledBack, &plan, by.into());
        Ok(plan)
    }

    fn go_back(&mut self, steps: usize, by: Cause) -> Result<Plan, Refusal> {
        if let (Some(pending), 1) = (&self.pending, steps) {
            let before = pending.before.under_conditions_of(&self.desired);
            let plan = self.plan(&before);
            self.take_up(before)?;
            self.pending = None;
            return Ok(plan);
        }
        self.refuse_while_waiting()?;
        let kept = self.history.back(steps).ok_or(Refusal::NotKept(steps, self.history.versions().len()))?;
        let config = kept.map_err(Refusal::Config)?.config();
        self.put(config, by.into())
    }

    /// What is to be done now and then; call it each second. Says whether servers are gone for good.
    pub fn tick(&mut self, now: Instant) -> bool {
        if self.pending.as_ref().is_some_and(|pending| pending.deadline <= now) {
            if let Err(error) = self.roll_back(1, Cause::Silence) {
                tracing::error!("cannot undo a change that nobody confirmed: {error}");
            }
            self.pending = None;
        }
        if now.saturating_duration_since(self.estimated) >= PERIOD - Duration::from_millis(100) {
            self.estimated = now;
            // A view without rates: nobody else holds them then, as a rule, and they need not be copied.
            let view = View::new(&self.publisher, &self.shared.counters, self.shared.start);
            view.estimate(Arc::make_mut(&mut self.rates));
        }
        self.pressure.look(&self.shared.counters, Port::of(&self.shared.ports), now);
        self.begin_round();
        self.publisher.settle(tick_at(self.shared.start, now));
        self.publisher.retire(now)
    }

    /// Whether a round over the connection table is under way, and [`Desk::go_on`] is wanted soon.
    pub fn is_on_round(&self) -> bool {
        self.round.is_some()
    }

    /// Goes on with a round over the connection table.
    pub fn go_on(&mut self) {
        let Some(round) = &mut self.round else { return };
        let now = self.shared.start.elapsed();
        if let Some(counts) = round.go_on(&mut self.connections, Tick::from_duration(now)) {
            let now = self.shared.start.elapsed();
            // A large table does not keep the desk busy for ever.
            self.next_round = now + 9 * now.saturating_sub(round.begun());
            self.drains.counts = Arc::new(counts);
            self.round = None;
        }
    }

    /// Begins a round, if there is a reason: connections of removed servers whose services want these forgotten, of servers
    /// that are down whose services want these reset, or of drained ones.
    fn begin_round(&mut self) {
        let now = self.shared.start.elapsed();
        let services = self.publisher.services().table().services();
        let drained = self.drains.follow(&self.desired, services, now);
        let forget = Errand { ending: Some(Ending::Forget), counts: false };
        let removed = self.publisher.expiring().into_iter().map(|server| (server, forget));
        let reset = Errand { ending: Some(Ending::Reset), counts: false };
        let down = self.publisher.down().into_iter().map(|server| (server, reset));
        let round = Round::new(removed.chain(down).chain(drained), now);
        match &mut self.round {
            // Somebody may have thought better of it since it began.
            Some(under_way) => under_way.follow(&round),
            None if round.is_idle() || now < self.next_round => {}
            None => {
                self.round = Some(round);
                self.go_on();
            }
        }
    }

    fn take_up(&mut self, desired: Desired) -> Result<(), Refusal> {
        let now = tick_at(self.shared.start, Instant::now());
        self.publisher.set_desired(&desired, now).map_err(Refusal::Servers)?;
        let (before, after) = (self.desired.services(), desired.services());
        self.is_edited |= !std::ptr::eq(self.desired.rest(), desired.rest())
            || before.len() != after.len()
            || !before.iter().zip(after).all(|(a, b)| Arc::ptr_eq(a, b))
            || !self.desired.conditions().same_maintenance(desired.conditions());
        self.desired = desired;
        self.begin_round();
        Ok(())
    }

    fn plan(&self, new: &Desired) -> Plan {
        let services = self.publisher.services().table();
        let live = |service: &Service, real: &Real| {
            let at = self.desired.place(Key::of(service));
            let reals =
                at.and_then(|at| services.services().get(at)).map_or(&[][..], |service| &service.reals[..]);
            let here = reals.iter().find(|here| (here.endpoint, here.method) == (real.endpoint, real.method));
            here.map_or(0, |here| here.live.connections())
        };
        plan(&self.desired, new, &live)
    }

    /// Refuses edits by which somebody would have the director do on its host what they could not do themselves, and
    /// what the configuration does not have it do already.
    fn refuse_doings(&self, edits: &[Edit], by: Cause) -> Result<(), Refusal> {
        if by.is_of_the_host() {
            return Ok(());
        }
        // What is wrong with them otherwise is said later.
        let Ok(applied) = self.desired.apply(edits, self.shared.start.elapsed()) else { return Ok(()) };
        match applied.desired.doings().difference(&self.desired.doings()).next() {
            None => Ok(()),
            Some(doing) => Err(Refusal::Unfit(format!(
                "the director is not to {doing} (allowed: what its file has it do; from root, anything)"
            ))),
        }
    }

    fn refuse_while_waiting(&self) -> Result<(), Refusal> {
        match &self.pending {
            Some(pending) => Err(Refusal::Waiting(left_until(pending.deadline))),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk")
            .field("file", &self.file)
            .field("pending", &self.pending)
            .finish_non_exhaustive()
    }
}

/// Where all servers are that connections may name.
pub fn whereabouts(view: &View) -> Whereabouts {
    Whereabouts::of(view.servers().map(|real| (real.id, real.endpoint)))
}

fn tick_at(start: Instant, now: Instant) -> Tick {
    Tick::from_duration(now.saturating_duration_since(start))
}

fn left_until(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}
