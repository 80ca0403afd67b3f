//! Has the checks made that services want, each once, and says what they have found out about servers.

use super::News;
use crate::config::{Informed, NamedCheck, Notify, Real, Service};
use crate::control::desired::{Desired, Finding, Key, ServerState, Wellness};
use crate::health::{Driver, Event, Health, Network, Notifier, Target, What};
use crate::net::Endpoint;
use crate::service::check::Via;
use crossbeam::channel::Receiver;
use hashbrown::{HashMap, HashSet};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;
use std::iter::once;
use std::sync::Arc;
use std::time::Instant;

/// How many events are taken up at a time: one change of the desired state for all of them.
const AT_ONCE: usize = 4096;

/// What checks have found out about servers of services; `None` is nothing any more.
pub type Findings = Vec<(Key, Endpoint, Option<Finding>)>;

/// All checks that are made.
#[derive(Debug)]
pub struct Checks {
    driver: Driver,
    /// The director's start.
    start: Instant,
    asked: HashMap<Target, Asked>,
    /// The programs and places that are told of news, as they are written.
    notify: Vec<(Notify, Notifier)>,
}

/// Who wants to know of a target, and what is known of it.
#[derive(Debug)]
struct Asked {
    by: Vec<(Key, Endpoint)>,
    health: Health,
    /// Why it is not well, if it is not.
    cause: String,
    weight: Option<u16>,
    /// Why it cannot be asked, if it cannot.
    unasked: String,
}

impl Checks {
    /// Starts the thread that makes checks, which runs `prepare` first. It makes none yet. `network` as for
    /// [`Driver::start`].
    ///
    /// # Errors
    /// What the system says.
    pub fn start(
        start: Instant,
        prepare: impl FnOnce() + Send + 'static,
        network: impl Network + 'static,
    ) -> io::Result<Checks> {
        raise_open_files();
        Ok(Checks {
            driver: Driver::start(prepare, network)?,
            start,
            asked: HashMap::new(),
            notify: Vec::new(),
        })
    }

    /// What has changed, to be [heard](Checks::heard).
    pub fn events(&self) -> &Receiver<Event> {
        self.driver.events()
    }

    /// Tells the operator's programs and places what has changed, but for suspicions that are not borne out.
    pub fn tell(&self, news: &[News]) {
        let suspect = ServerState::Suspect.name();
        let is_for_them = |news: &&News| {
            news.state != suspect && (news.was != suspect || news.state == ServerState::Down.name())
        };
        for News { service, server, state, was, cause, .. } in news.iter().filter(is_for_them) {
            // What a server has said comes last, so that nothing in it is taken for a name.
            let facts = [
                ("service", service.clone()),
                ("server", server.map(|server| server.to_string()).unwrap_or_default()),
                ("state", (*state).to_owned()),
                ("was", (*was).to_owned()),
                ("cause", cause.clone()),
            ];
            self.notify.iter().for_each(|(_, notifier)| notifier.tell(facts.to_vec()));
        }
    }

    /// Has the checks made that this state wants, and no others. What is known of those made before stays known. Says of
    /// which servers something else is known now, since they have other checks.
    pub fn follow(&mut self, desired: &Desired) -> Findings {
        let mut told = std::mem::take(&mut self.notify);
        for wanted in &desired.rest().notify {
            let known = told.iter().position(|(notify, _)| notify == wanted).map(|at| told.swap_remove(at));
            let new = || {
                let notifier = match wanted.informed.clone() {
                    Informed::Program(script) => Notifier::program(&self.driver, script, wanted.timeout),
                    Informed::Hook(hook) => Notifier::hook(&self.driver, hook, wanted.timeout),
                };
                (wanted.clone(), notifier)
            };
            self.notify.push(known.unwrap_or_else(new));
        }
        let mut before = std::mem::take(&mut self.asked);
        for (service, real) in
            servers(desired).filter(|(service, real)| !is_maintained(desired, service, real))
        {
            for check in service.checks_of(real) {
                let target = target(service, real, check);
                let known = before.remove(&target).map(|asked| Asked { by: Vec::new(), ..asked });
                let asked = self.asked.entry(target).or_insert_with(|| known.unwrap_or_default());
                asked.by.push((Key::of(service), real.endpoint));
            }
        }
        self.driver.set(self.asked.keys().cloned());
        servers(desired).filter_map(|(service, real)| self.news(desired, service, real)).collect()
    }

    /// Takes up an event and those that wait behind it, and says of which servers something else is known now.
    pub fn heard(&mut self, event: Event, desired: &Desired) -> Findings {
        let mut concerned = HashSet::new();
        let events: Vec<Event> = once(event).chain(self.driver.events().try_iter().take(AT_ONCE)).collect();
        for Event { target, what, .. } in events {
            // Nobody wants to know any more.
            let Some(asked) = self.asked.get_mut(&*target) else { continue };
            match what {
                What::Health(change, failure) => {
                    asked.health = change.to;
                    asked.cause = failure.map(|failure| failure.cause).unwrap_or_default();
                }
                What::Weight(weight) => asked.weight = weight,
                What::Unasked(failure) => {
                    asked.unasked = failure.map(|failure| failure.cause).unwrap_or_default();
                }
            }
            concerned.extend(asked.by.iter().copied());
        }
        let news = |(key, server)| {
            let (service, real) = desired.find_server(key, server)?;
            self.news(desired, service, real)
        };
        concerned.into_iter().filter_map(news).collect()
    }

    /// Has a server that others have seen fail be suspect for this `cause` until its checks have been made.
    pub fn suspect(&self, desired: &Desired, (key, server): (Key, Endpoint), cause: &str) {
        let Some((service, real)) = desired.find_server(key, server) else { return };
        for check in service.checks_of(real) {
            self.driver.suspect(&target(service, real, check), cause.to_owned());
        }
    }

    /// What is known now of a server, if it is something else than what holds of it.
    fn news(
        &self,
        desired: &Desired,
        service: &Service,
        real: &Real,
    ) -> Option<(Key, Endpoint, Option<Finding>)> {
        let key = Key::of(service);
        let before = desired.conditions().of(key, real.endpoint).and_then(|holds| holds.finding.as_ref());
        let checks = service.checks_of(real);
        if checks.is_empty() {
            return before.map(|_| (key, real.endpoint, None));
        }
        if is_maintained(desired, service, real) {
            return self.awaited(before).map(|finding| (key, real.endpoint, Some(finding)));
        }
        let asked = |check: &NamedCheck| self.asked.get(&target(service, real, check));
        let asked: Vec<(&str, &Asked)> =
            checks.iter().filter_map(|check| Some((check.name.as_str(), asked(check)?))).collect();
        let first = |health| asked.iter().find(|(_, asked)| asked.health == health);
        let (wellness, by) = match (first(Health::Down), first(Health::Unchecked), first(Health::Suspect)) {
            (Some(by), ..) => (Some(Wellness::Ill), Some(by)),
            // What held goes on to hold until all are answered.
            (None, Some(_), _) => (before.and_then(|before| before.wellness), None),
            (None, None, Some(by)) => (Some(Wellness::Suspect), Some(by)),
            (None, None, None) => (Some(Wellness::Well), None),
        };
        let weight = asked.iter().filter_map(|(_, asked)| asked.weight).min();
        let unasked = asked.iter().map(|(_, asked)| &*asked.unasked).find(|why| !why.is_empty());
        let unasked = unasked.unwrap_or_default();
        let same = before.filter(|before| before.wellness == wellness);
        let is_news = match same {
            Some(same) => same.weight != weight || &*same.unasked != unasked,
            None => wellness.is_some() || !unasked.is_empty(),
        };
        if !is_news {
            return None;
        }
        let cause = |by: Option<&(&str, &Asked)>| match by {
            Some((name, asked)) => format!("check {name}: {}", asked.cause).into(),
            None => "".into(),
        };
        let finding = Finding {
            wellness,
            since: same.map_or_else(|| self.start.elapsed(), |same| same.since),
            cause: same.map_or_else(|| cause(by), |same| same.cause.clone()),
            weight,
            unasked: unasked.into(),
        };
        Some((key, real.endpoint, Some(finding)))
    }

    /// What is known of a server in maintenance, if it is something else than before. It holds until its checks, made again,
    /// are all answered.
    fn awaited(&self, before: Option<&Finding>) -> Option<Finding> {
        let is_known = before.is_some_and(|before| before.wellness == Some(Wellness::Awaited));
        (!is_known).then(|| Finding {
            wellness: Some(Wellness::Awaited),
            since: self.start.elapsed(),
            cause: "not asked since its maintenance".into(),
            weight: None,
            unasked: "".into(),
        })
    }
}

fn is_maintained(desired: &Desired, service: &Service, real: &Real) -> bool {
    desired.conditions().is_maintained(Key::of(service), real.endpoint)
}

fn target(service: &Service, real: &Real, NamedCheck { check, .. }: &NamedCheck) -> Target {
    let service = (check.via == Via::Vip).then_some((service.proto, service.endpoint));
    Target { server: real.endpoint, check: check.clone(), service }
}

/// Each probe under way takes a descriptor, and there may be thousands: as many as the system lets us have. If it does
/// not, probes say what they lack.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

impl Default for Asked {
    fn default() -> Asked {
        Asked {
            by: Vec::new(),
            health: Health::Unchecked,
            cause: String::new(),
            weight: None,
            unasked: String::new(),
        }
    }
}

fn servers(desired: &Desired) -> impl Iterator<Item = (&Arc<Service>, &Real)> {
    desired.services().iter().flat_map(|service| service.reals.iter().map(move |real| (service, real)))
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use crate::config::{self, Config};
    use crate::service::check::{Check, Pace};
    use std::net::{Ipv4Addr, SocketAddr, TcpListener};
    use std::time::Duration;

    /// Long enough for any machine.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// Two services that share a server, which is asked at `at`.
    fn shared(at: SocketAddr, check: Check) -> Config {
        let text = "[[interface]]\nname = \"eth0\"\n\
            [[virtual_service]]\nname = \"a\"\naddress = \"192.0.2.1:80\"\n[[virtual_service.real_server]]\naddress = \"10.0.0.1\"\n\
            [[virtual_service]]\nname = \"b\"\naddress = \"192.0.2.2:80\"\n[[virtual_service.real_server]]\naddress = \"10.0.0.1\"\n";
        let mut config = config::parse("f", text).unwrap();
        let check = Arc::new(Check { addr: Some(at.ip()), port: Some(at.port()), ..check });
        for service in &mut config.services {
            service.checks = vec![NamedCheck { name: "port".to_owned(), check: check.clone() }];
        }
        config
    }

    fn quick() -> Check {
        let pace = Pace { rise: 1, fall: 2, ..Pace::every(Duration::from_millis(50)) };
        Check { pace, ..Check::default() }
    }

    /// Hears until the servers of both services are so.
    fn become_both(checks: &mut Checks, mut desired: Desired, wanted: Wellness) -> Desired {
        loop {
            let event = checks.events().recv_timeout(PATIENCE).expect("a change");
            let findings = checks.heard(event, &desired);
            desired = desired.with_findings(&findings);
            let of = |service| {
                let condition = desired.conditions().of(Key::of(service), service.reals[0].endpoint);
                condition
                    .and_then(|condition| condition.finding.as_ref())
                    .and_then(|finding| finding.wellness)
            };
            if desired.services().iter().all(|service| of(service) == Some(wanted)) {
                return desired;
            }
        }
    }

    #[test]
    fn a_server_is_asked_once_for_all_services_and_each_hears_how_it_is_and_why() {
        // An address that nobody else uses, so that its port stays free afterwards.
        let [.., high, low] = std::process::id().to_be_bytes();
        let listener = TcpListener::bind((Ipv4Addr::new(127, 77, high, low), 0)).unwrap();
        let at = listener.local_addr().unwrap();
        let mut checks = Checks::start(Instant::now(), || {}, ()).unwrap();
        let desired = Desired::from(shared(at, quick()));
        assert_eq!(checks.follow(&desired), []);
        assert_eq!(checks.asked.len(), 1);
        let desired = become_both(&mut checks, desired, Wellness::Well);
        drop(listener);
        let desired = become_both(&mut checks, desired, Wellness::Ill);
        let finding = desired.conditions().iter().next().unwrap().2.finding.clone().unwrap();
        assert_eq!(&*finding.cause, "check port: connect: connection refused");

        // In maintenance it is not asked for that service, and all is as it was for the other.
        let edit = |desired: &Desired, edit: &str| {
            desired.apply(&[serde_json::from_str(edit).unwrap()], Duration::ZERO).unwrap().desired
        };
        let maintained = edit(&desired, r#"{ "edit": "maintain", "service": "a", "server": "10.0.0.1" }"#);
        let findings = checks.follow(&maintained);
        let wellnesses: Vec<_> =
            findings.iter().map(|(.., found)| found.as_ref().unwrap().wellness).collect();
        assert_eq!(wellnesses, [Some(Wellness::Awaited)]);
        let maintained = maintained.with_findings(&findings);
        assert!(
            checks.follow(&maintained).is_empty() && checks.asked.values().all(|asked| asked.by.len() == 1)
        );
        let neither = edit(&maintained, r#"{ "edit": "maintain", "server": "10.0.0.1" }"#);
        let neither = neither.with_findings(&checks.follow(&neither));
        assert_eq!(checks.asked.len(), 0);
        // Afterwards it is down until it has answered, or has failed to.
        let back = edit(&neither, r#"{ "edit": "end_maintenance", "server": "10.0.0.1" }"#);
        assert_eq!((checks.follow(&back), checks.asked.len()), (Vec::new(), 1));
        let states = |desired: &Desired| {
            desired.services().iter().map(|of| desired.conditions().states(of)[0]).collect::<Vec<_>>()
        };
        assert_eq!(states(&back), [ServerState::Down; 2]);
        let desired = become_both(&mut checks, back, Wellness::Ill);

        // A reload that leaves the check as it is asks nobody anew.
        let mut other = shared(at, quick());
        other.services[0].reals[0].weight = 7;
        let reloaded = Desired::from(other).with_findings(&[]);
        assert_eq!(states(&desired), [ServerState::Down; 2]);
        let findings = checks.follow(&reloaded);
        assert!(findings.iter().all(|(.., found)| found.as_ref().unwrap().wellness == Some(Wellness::Ill)));
        assert_eq!(findings.len(), 2);
        // With another check, what held holds until that is answered.
        let reloaded = reloaded.with_findings(&findings);
        let patient = Pace { fall: 9, ..quick().pace };
        let other = shared(at, Check { pace: patient, ..quick() });
        let other = Desired::from(other).with_findings(&findings);
        assert_eq!(checks.follow(&other), []);
        assert_eq!(other.conditions(), reloaded.conditions());
        // And without one, nothing does.
        let mut none = shared(at, quick());
        none.services.iter_mut().for_each(|service| service.checks.clear());
        let none = Desired::from(none).with_findings(&findings);
        let findings = checks.follow(&none);
        assert_eq!(none.with_findings(&findings).conditions().iter().count(), 0);
        assert_eq!(checks.asked.len(), 0);
    }
}
