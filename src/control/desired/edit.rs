//! Edits, and transactions of them.

mod conditions;

use super::{Conditions, Desired, Key, Rest, ServiceRef, is_same};
use crate::config::{self, Config, ConfigErrors, Real, Service, Written};
use crate::control::cause::Cause;
use crate::net::Endpoint;
use crate::service::RealId;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// How many virtual services there are at most; as in a file.
const MAX_SERVICES: usize = 1 << 17;

/// One change of the desired state. Tables are written as in the configuration file, and read by its reader: what a
/// file may say an edit may say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "edit", rename_all = "snake_case", deny_unknown_fields)]
pub enum Edit {
    /// A new service (`ipvsadm -A`), with servers or without.
    AddService {
        /// A `[[virtual_service]]`.
        table: Written,
    },
    /// Other keys for a service (`-E`). Keys not named stay, servers too; null makes a key what it is by default.
    EditService {
        /// Which.
        service: ServiceRef,
        /// The keys that change. Not its protocol or address: those make it that service.
        table: Written,
    },
    /// No such service any more (`-D`).
    DeleteService {
        /// Which.
        service: ServiceRef,
    },
    /// A new server, the last of its service (`-a`).
    AddServer {
        /// Of which service.
        service: ServiceRef,
        /// A `[[virtual_service.real_server]]`.
        table: Written,
    },
    /// Other keys for a server (`-e`). Keys not named stay; null makes a key what it is by default.
    EditServer {
        /// Of which service.
        service: ServiceRef,
        /// RIP:rport, or RIP alone for the service's port.
        server: String,
        /// The keys that change. Not its address: that makes it that server.
        table: Written,
    },
    /// No such server any more (`-d`).
    DeleteServer {
        /// Of which service.
        service: ServiceRef,
        /// RIP:rport, or RIP alone for the service's port.
        server: String,
    },
    /// Another weight and nothing else.
    SetWeight {
        /// Of which service.
        service: ServiceRef,
        /// RIP:rport, or RIP alone for the service's port.
        server: String,
        /// 0 is quiesced.
        weight: u16,
    },
    /// Nothing new for a server; its connections go on until they end, or until the deadline.
    Drain {
        /// Of which service; of every one that has it without.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<ServiceRef>,
        /// RIP:rport, or RIP alone for all of its ports.
        server: String,
        /// Seconds until the deadline, if there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline_seconds: Option<u64>,
        /// What becomes of the connections that are left then.
        #[serde(default)]
        at_deadline: Rest,
    },
    /// A server that was drained gets what its weight says.
    Undrain {
        /// Of which service; of every one in which it is drained without.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<ServiceRef>,
        /// RIP:rport, or RIP alone for all of its ports.
        server: String,
    },
    /// Somebody works on a server: nothing new for it, and no checks of it, until that is ended. Its connections go on until
    /// they end, or until the deadline.
    Maintain {
        /// Of which service; of every one that has it without.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<ServiceRef>,
        /// RIP:rport, or RIP alone for all of its ports.
        server: String,
        /// What for: a line of at most 200 bytes.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
        /// Seconds until the deadline, if there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline_seconds: Option<u64>,
        /// What becomes of the connections that are left then.
        #[serde(default)]
        at_deadline: Rest,
    },
    /// The maintenance of a server is over: it is checked again, and gets what its weight says once its checks are answered.
    EndMaintenance {
        /// Of which service; of every one in which it is in maintenance without.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<ServiceRef>,
        /// RIP:rport, or RIP alone for all of its ports.
        server: String,
    },
    /// Other timeouts (`--set`). Those not named stay.
    SetTimeouts {
        /// The keys of `[director.timeouts]` that change.
        table: Written,
    },
    /// No services any more (`-C`).
    Clear {},
    /// Traffic is counted from 0 again (`-Z`).
    Zero {
        /// Of which service; of all without.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<ServiceRef>,
    },
    /// A whole configuration in the place of what there is (a reload).
    #[serde(skip)]
    Replace(Arc<Config>),
}

impl Edit {
    /// Whether it changes what holds of servers, and nothing that is written.
    pub fn is_of_condition(&self) -> bool {
        use Edit::{Drain, EndMaintenance, Maintain, Undrain};
        matches!(self, Drain { .. } | Undrain { .. } | Maintain { .. } | EndMaintenance { .. })
    }
}

/// What a transaction led to.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// The state now.
    pub desired: Desired,
    /// Whose traffic is to be counted from 0.
    pub zeroed: Zeroed,
}

/// Services whose traffic is to be counted from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Zeroed {
    /// These.
    Some(Vec<Key>),
    /// Every one.
    All,
}

/// Why an edit cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EditError {
    /// Which edit of the transaction, from 0.
    pub edit: usize,
    /// One line, lower case, that names the place.
    pub message: String,
}

/// Why a transaction was not applied. There is at least one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EditErrors(pub Vec<EditError>);

impl fmt::Display for EditErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let line = if index > 0 { "\n" } else { "" };
            write!(f, "{line}edit {}: {}", error.edit + 1, error.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for EditErrors {}

impl Desired {
    /// Applies a transaction: all of its edits in their order, each to what those before it have led to. It is so long
    /// after the director's start.
    ///
    /// # Errors
    /// What is wrong with the first wrong edit, or with the whole that all would lead to. Nothing has changed then.
    pub fn apply(&self, edits: &[Edit], now: Duration) -> Result<Applied, EditErrors> {
        self.apply_by(edits, now, Cause::Director)
    }

    /// The same, at somebody's word.
    ///
    /// # Errors
    /// As for [`Desired::apply`].
    pub fn apply_by(&self, edits: &[Edit], now: Duration, by: Cause) -> Result<Applied, EditErrors> {
        let mut draft = Draft::of(self, now, by);
        for (number, edit) in edits.iter().enumerate() {
            draft.number = number;
            draft.edit(edit).map_err(|wrong| wrong.at(number))?;
        }
        draft.check()?;
        Ok(draft.finish())
    }
}

/// What is wrong with an edit: a line, or what the reader found.
enum Wrong {
    Line(String),
    Read(ConfigErrors),
}

impl Wrong {
    fn at(self, edit: usize) -> EditErrors {
        let error = |message| EditError { edit, message };
        EditErrors(match self {
            Wrong::Line(message) => vec![error(message)],
            Wrong::Read(errors) => errors.iter().map(|wrong| error(wrong.to_string())).collect(),
        })
    }
}

impl From<ConfigErrors> for Wrong {
    fn from(errors: ConfigErrors) -> Wrong {
        Wrong::Read(errors)
    }
}

fn wrong<T>(message: String) -> Result<T, Wrong> {
    Err(Wrong::Line(message))
}

/// A state that is being edited.
struct Draft<'a> {
    before: &'a Desired,
    rest: Arc<Config>,
    /// `None` where a service was deleted.
    services: Vec<Option<Arc<Service>>>,
    places: HashMap<Key, usize>,
    /// Which edit touched a service last, by place.
    touched: HashMap<usize, usize>,
    zeroed: Zeroed,
    conditions: Conditions,
    now: Duration,
    by: Cause,
    /// The edit at hand.
    number: usize,
}

impl<'a> Draft<'a> {
    fn of(before: &'a Desired, now: Duration, by: Cause) -> Draft<'a> {
        Draft {
            before,
            rest: before.rest.clone(),
            services: before.services.iter().cloned().map(Some).collect(),
            places: HashMap::clone(&before.places),
            touched: HashMap::new(),
            zeroed: Zeroed::Some(Vec::new()),
            conditions: before.conditions.clone(),
            now,
            by,
            number: 0,
        }
    }

    fn edit(&mut self, edit: &Edit) -> Result<(), Wrong> {
        match edit {
            Edit::AddService { table } => self.add_service(table),
            Edit::EditService { service, table } => self.edit_service(service, table),
            Edit::DeleteService { service } => {
                let place = self.place(service)?;
                let gone = self.services[place].take();
                self.touched.remove(&place);
                gone.map(|service| self.places.remove(&Key::of(&service)));
                Ok(())
            }
            Edit::AddServer { service, table } => self.add_server(service, table),
            Edit::EditServer { service, server, table } => self.edit_server(service, server, table),
            Edit::DeleteServer { service, server } => {
                let (place, at) = self.server(service, server)?;
                self.change(place).map(|service| service.reals.remove(at));
                Ok(())
            }
            Edit::SetWeight { service, server, weight } => {
                let (place, at) = self.server(service, server)?;
                if let Some(service) = self.change(place) {
                    service.reals[at].weight = *weight;
                }
                Ok(())
            }
            Edit::Drain { service, server, deadline_seconds, at_deadline } => {
                self.drain(service.as_ref(), server, *deadline_seconds, *at_deadline)
            }
            Edit::Undrain { service, server } => self.undrain(service.as_ref(), server),
            Edit::Maintain { service, server, reason, deadline_seconds, at_deadline } => {
                self.maintain(service.as_ref(), server, reason, *deadline_seconds, *at_deadline)
            }
            Edit::EndMaintenance { service, server } => self.end_maintenance(service.as_ref(), server),
            Edit::SetTimeouts { table } => {
                let timeouts = config::read_timeouts(table)?.or(&self.rest.director.conduct.timeouts);
                if timeouts != self.rest.director.conduct.timeouts {
                    Arc::make_mut(&mut self.rest).director.conduct.timeouts = timeouts;
                }
                Ok(())
            }
            Edit::Clear {} => {
                self.set_services(Vec::new());
                Ok(())
            }
            Edit::Zero { service: None } => {
                self.zeroed = Zeroed::All;
                Ok(())
            }
            Edit::Zero { service: Some(service) } => {
                let place = self.place(service)?;
                if let (Zeroed::Some(keys), Some(service)) = (&mut self.zeroed, &self.services[place]) {
                    keys.push(Key::of(service));
                }
                Ok(())
            }
            Edit::Replace(config) => self.replace(config),
        }
    }

    fn add_service(&mut self, table: &Written) -> Result<(), Wrong> {
        let service = config::read_service(table)?;
        let key = Key::of(&service);
        if self.places.contains_key(&key) {
            return wrong(format!("virtual service {key} is there already"));
        }
        let place = self.services.len();
        self.places.insert(key, place);
        self.touched.insert(place, self.number);
        self.services.push(Some(Arc::new(service)));
        Ok(())
    }

    fn edit_service(&mut self, service: &ServiceRef, table: &Written) -> Result<(), Wrong> {
        let place = self.place(service)?;
        let Some(old) = self.services[place].clone() else { return Ok(()) };
        let mut written = Written::from(&*old);
        written.patch(table);
        let new = config::read_service(&written)?;
        if Key::of(&new) != Key::of(&old) {
            let (old, new) = (Key::of(&old), Key::of(&new));
            return wrong(format!(
                "virtual service {old} cannot become {new} (allowed: delete the one, add the other)"
            ));
        }
        if let Some(service) = self.change(place) {
            *service = new;
        }
        Ok(())
    }

    fn add_server(&mut self, service: &ServiceRef, table: &Written) -> Result<(), Wrong> {
        let place = self.place(service)?;
        let Some(old) = &self.services[place] else { return Ok(()) };
        let real = config::read_server(table, old)?;
        if old.reals.iter().any(|other| other.endpoint == real.endpoint) {
            return wrong(format!(
                "virtual service {:?}: real server {} is there already",
                old.name, real.endpoint
            ));
        }
        if let Some(service) = self.change(place) {
            service.reals.push(real);
        }
        Ok(())
    }

    fn edit_server(&mut self, service: &ServiceRef, server: &str, table: &Written) -> Result<(), Wrong> {
        let (place, at) = self.server(service, server)?;
        let Some(old) = &self.services[place] else { return Ok(()) };
        let mut written = Written::of(&old.reals[at]);
        written.patch(table);
        let real: Real = config::read_server(&written, old)?;
        let endpoint = old.reals[at].endpoint;
        if real.endpoint != endpoint {
            return wrong(format!(
                "virtual service {:?}: real server {endpoint} cannot become {} (allowed: delete the one, add the other)",
                old.name, real.endpoint
            ));
        }
        if let Some(service) = self.change(place) {
            service.reals[at] = real;
        }
        Ok(())
    }

    fn replace(&mut self, config: &Arc<Config>) -> Result<(), Wrong> {
        let new = Desired::from(Config::clone(config));
        if let Some(what) = self.before.needs_restart(&new) {
            return wrong(format!("{what} can be changed by a restart only"));
        }
        // What is as it was stays the very same, and nobody compiles it anew.
        let kept = new.services.into_iter().map(|service| match self.before.find(Key::of(&service)) {
            Some(old) if *old == service => old.clone(),
            _ => service,
        });
        let services = kept.collect();
        if self.rest != new.rest {
            self.rest = new.rest;
        }
        self.set_services(services);
        Ok(())
    }

    fn set_services(&mut self, services: Vec<Arc<Service>>) {
        self.places = services.iter().enumerate().map(|(place, service)| (Key::of(service), place)).collect();
        self.services = services.into_iter().map(Some).collect();
        self.touched.clear();
    }

    /// Where the service is that is meant.
    fn place(&self, by: &ServiceRef) -> Result<usize, Wrong> {
        // A key is found at once, if it is written as we write it.
        let there = || {
            self.services.iter().enumerate().filter_map(|(place, service)| Some((place, service.as_ref()?)))
        };
        let by_key = by.key().and_then(|key| self.places.get(&key).copied());
        let found = by_key.or_else(|| there().find(|(_, service)| by.names(service)).map(|(place, _)| place));
        found.map_or_else(|| wrong(format!("virtual service {:?} is unknown", by.0)), Ok)
    }

    /// Where the service and, in it, the server are.
    fn server(&self, service: &ServiceRef, server: &str) -> Result<(usize, usize), Wrong> {
        let place = self.place(service)?;
        let found = self.services[place].as_ref().and_then(|service| {
            let (endpoint, addr) = (server.parse::<Endpoint>().ok(), server.parse::<IpAddr>().ok());
            // Of a service of many ports, a server has all of them: 0.
            let port_fits = |port| port == 0 || port == service.endpoint.port;
            service.reals.iter().position(|real| {
                let Endpoint { addr: own, port } = real.endpoint;
                endpoint == Some(real.endpoint) || (addr == Some(own) && port_fits(port))
            })
        });
        match found {
            Some(at) => Ok((place, at)),
            None => wrong(format!("virtual service {:?}: real server {server:?} is unknown", service.0)),
        }
    }

    /// The service there, to be changed.
    fn change(&mut self, place: usize) -> Option<&mut Service> {
        self.touched.insert(place, self.number);
        self.services.get_mut(place)?.as_mut().map(Arc::make_mut)
    }

    /// Checks what several services or servers have to do with each other. A file was checked when it was read.
    fn check(&self) -> Result<(), EditErrors> {
        let there = || self.services.iter().flatten();
        let servers: usize = there().map(|service| service.all_reals().count()).sum();
        if servers > RealId::LIMIT {
            let message = format!("there are {servers} real servers (allowed: {} in all)", RealId::LIMIT);
            return Err(Wrong::Line(message).at(self.number));
        }
        if there().count() > MAX_SERVICES {
            let message = format!("there are {} virtual services (allowed: {MAX_SERVICES})", there().count());
            return Err(Wrong::Line(message).at(self.number));
        }
        let mut touched: Vec<(usize, usize)> =
            self.touched.iter().map(|(&place, &edit)| (place, edit)).collect();
        touched.sort_unstable();
        if touched.is_empty() {
            return Ok(());
        }
        let mut names = HashMap::new();
        for (place, service) in self.services.iter().enumerate() {
            let Some(service) = service else { continue };
            let Some(first) = names.insert(service.name.as_str(), place) else { continue };
            if let Some(edit) = self.touched.get(&place).or_else(|| self.touched.get(&first)) {
                let message = format!(
                    "virtual service {:?}: another has this name (allowed: each name once)",
                    service.name
                );
                return Err(Wrong::Line(message).at(*edit));
            }
        }
        for (place, edit) in touched {
            let Some(service) = &self.services[place] else { continue };
            config::read_service(&Written::from(&**service))
                .map_err(|errors| Wrong::Read(errors).at(edit))?;
        }
        Ok(())
    }

    fn finish(self) -> Applied {
        let before = self.before;
        let services: Vec<Arc<Service>> = self.services.into_iter().flatten().collect();
        // Edited back and forth, a service is the one it was.
        let same = |service: Arc<Service>| match before.find(Key::of(&service)) {
            Some(old) if is_same(old, &service) => old.clone(),
            _ => service,
        };
        let services = services.into_iter().map(same).collect();
        let desired = Desired::new(self.rest, services, self.conditions).without_the_gone(before);
        Applied { desired, zeroed: self.zeroed }
    }
}
