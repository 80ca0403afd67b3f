//! The configuration written again, under the file's keys: to be kept, to be shown, and to be read back by the one
//! reader there is.

mod check;

use super::{Config, Interface, Service};
use crate::dataplane::nexthop::Vlan;
use crate::net::{Endpoint, Mac, Prefix, Proto};
use crate::service::{
    Conduct, Group, Match, Method, MssClamp, NoServer, Persistence, Policy, Reuse, SchedulerName,
    SchedulerOptions, State, Thresholds, Timeouts, WhenFull,
};
use crate::wire::vlan::Tag;
use serde::de::Error;
use serde::ser::{SerializeMap, SerializeStruct, Serializer};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// A table of the configuration as the file would have it: its keys with their values, not checked yet. As JSON, an
/// object; null stands for a key that is not there.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema), schema(value_type = Object))]
pub struct Written(pub Map<String, Value>);

impl Written {
    /// The table that this becomes.
    pub fn of(value: &impl Serialize) -> Written {
        match serde_json::to_value(value) {
            Ok(Value::Object(map)) => Written(map),
            _ => Written::default(),
        }
    }

    /// Takes up what `patch` says, as a JSON merge patch of one level (RFC 7396): its keys replace ours, and null takes
    /// a key away, so that its default holds.
    pub fn patch(&mut self, patch: &Written) {
        for (key, value) in &patch.0 {
            match value {
                Value::Null => drop(self.0.remove(key)),
                value => drop(self.0.insert(key.clone(), value.clone())),
            }
        }
    }
}

impl From<&Service> for Written {
    fn from(service: &Service) -> Written {
        written_service(service)
    }
}

impl Service {
    /// Its `[[virtual_service]]` without its servers.
    pub fn own_table(&self) -> Written {
        Written::from(&Service { reals: Vec::new(), ..self.clone() })
    }

    /// The same without what is nobody's business.
    pub fn shown_table(&self) -> Written {
        Written::from(&Service { reals: Vec::new(), ..self.clone() }.without_secrets())
    }
}

/// The `[[virtual_service]]` of a service, its servers included.
pub fn written_service(service: &Service) -> Written {
    let mut written = Written::of(service);
    // As ipvsadm spells a flag, it begins with its scheduler.
    if let Some(Value::Array(flags)) = written.0.get_mut("scheduler_flags") {
        for flag in flags {
            let word = flag.as_str().unwrap_or_default();
            *flag = Value::String(format!("{}-{word}", service.scheduler));
        }
    }
    // A group is known by what clients address, not by one address.
    if let Some(Group { fwmark, matches }) = &service.group {
        written.0.retain(|key, _| key != "address" && key != "protocol");
        let matches = matches.iter().map(|to| Value::Object(written_match(to).0)).collect();
        written.0.insert("fwmark".to_owned(), (*fwmark).into());
        written.0.insert("match".to_owned(), Value::Array(matches));
    }
    // The same for flows that are taken up in their midst.
    if let Some(sloppy) = written.0.remove("sloppy") {
        written.0.insert(format!("sloppy_{}", service.proto.word()), sloppy);
    }
    written
}

fn written_match(to: &Match) -> Written {
    let keys = [("address", to.addressed().into()), ("protocol", to.proto.word().into())];
    Written(keys.map(|(key, value)| (key.to_owned(), value)).into_iter().collect())
}

/// An address with its port; alone, if it has all ports.
pub(super) fn address<S: Serializer>(endpoint: &Endpoint, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&endpoint.brief())
}

impl Config {
    /// The configuration as a file, which reads as this configuration.
    ///
    /// # Errors
    /// What is not TOML: nothing that was read from a file.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(&self.to_table())
    }

    /// The file's tables.
    fn to_table(&self) -> Map<String, Value> {
        // A key that is added above must find its place here.
        let Config { director, control, interfaces, routes, neighbours, notify, services } = self;
        let mut table = Map::new();
        table.insert("director".to_owned(), Value::Object(Written::of(director).0));
        if control.is_written {
            table.insert("control".to_owned(), Value::Object(Written::of(control).0));
        }
        let named = |mut written: Written, interface: crate::net::InterfaceId| {
            let name = self.interfaces.get(interface.index()).map(|interface| interface.name.clone());
            written.0.insert("interface".to_owned(), name.into());
            written
        };
        let lists = [
            (
                "interface",
                interfaces.iter().map(|interface| self.written_interface(interface)).collect::<Vec<_>>(),
            ),
            ("route", routes.iter().map(|route| named(Written::of(route), route.interface)).collect()),
            (
                "neighbour",
                neighbours
                    .iter()
                    .map(|neighbour| named(Written::of(neighbour), neighbour.interface))
                    .collect(),
            ),
            ("notify", notify.iter().map(Written::of).collect()),
            ("virtual_service", services.iter().map(written_service).collect()),
        ];
        for (key, list) in lists {
            if !list.is_empty() {
                let list = list.into_iter().map(|written| Value::Object(written.0)).collect();
                table.insert(key.to_owned(), Value::Array(list));
            }
        }
        table
    }
}

impl Config {
    /// The `[[interface]]` of an interface, the VLAN included that it is on another.
    fn written_interface(&self, interface: &Interface) -> Written {
        let mut written = Written::of(interface);
        if let Some(Vlan { parent, tag }) = interface.vlan {
            let parent = self.interfaces.get(parent.index()).map(|parent| parent.name.clone());
            let protocol = if tag.protocol == Tag::DOT1AD { "802.1ad" } else { "802.1q" };
            let keys =
                [("parent", parent.into()), ("vlan", tag.vlan.into()), ("vlan_protocol", protocol.into())];
            written.0.extend(keys.map(|(key, value)| (key.to_owned(), value)));
        }
        written
    }
}

/// Permissions, as chmod takes them.
pub(super) fn octal<S: Serializer>(mode: &u32, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&format_args!("{mode:04o}"))
}

macro_rules! as_displayed {
    ($($noun:ty),*) => {
        $(impl Serialize for $noun {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        })*
    };
}

as_displayed!(Endpoint, Mac, Method, Prefix, SchedulerName);

/// A word that is read, and copied only if it must be.
#[derive(Deserialize)]
#[serde(transparent)]
struct Word<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Endpoint, D::Error> {
        let Word(text) = Word::deserialize(from)?;
        text.parse().map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Method {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Method, D::Error> {
        let Word(text) = Word::deserialize(from)?;
        let known = Method::ALL.into_iter().find(|method| method.name() == text);
        known.ok_or_else(|| D::Error::custom(format_args!("{text:?} is no forwarding method")))
    }
}

impl Serialize for Proto {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.word())
    }
}

impl Serialize for SchedulerOptions {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let SchedulerOptions { fallback, port, mh_table_size } = *self;
        let words = [("fallback", fallback), ("port", port)];
        let flags: Vec<&str> = words.into_iter().filter(|&(_, set)| set).map(|(word, _)| word).collect();
        let mut table = to.serialize_struct("SchedulerOptions", 2)?;
        if !flags.is_empty() {
            table.serialize_field("scheduler_flags", &flags)?;
        }
        if mh_table_size != SchedulerOptions::default().mh_table_size {
            table.serialize_field("mh_table_size", &mh_table_size)?;
        }
        table.end()
    }
}

impl Serialize for Policy {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Policy { no_server, mss_clamp, timeouts, sloppy, one_packet, persistence, ftp } = *self;
        let no_server = match no_server {
            NoServer::Icmp => "icmp",
            NoServer::Reset => "reset",
            NoServer::Drop => "drop",
        };
        let mut table = to.serialize_struct("Policy", 2)?;
        table.serialize_field("no_server", no_server)?;
        match mss_clamp {
            MssClamp::Off => table.serialize_field("mss_clamp", &false)?,
            MssClamp::Fit => table.serialize_field("mss_clamp", &true)?,
            MssClamp::Bytes(bytes) => table.serialize_field("mss_clamp", &bytes)?,
        }
        if let Some(sloppy) = sloppy {
            table.serialize_field("sloppy", &sloppy)?;
        }
        table.serialize_field("helper", if ftp.is_some() { "ftp" } else { "none" })?;
        if one_packet {
            table.serialize_field("one_packet", &true)?;
        }
        if let Some(Persistence { lasts, prefix_len }) = persistence {
            table.serialize_field("persistent", &lasts.as_secs())?;
            table.serialize_field("netmask", &prefix_len)?;
        }
        if !timeouts.is_empty() {
            table.serialize_field("timeouts", &timeouts)?;
        }
        table.end()
    }
}

impl Serialize for Timeouts {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut table = to.serialize_map(None)?;
        for state in State::ALL {
            if let Some(silence) = self.get(state) {
                table.serialize_entry(state.key(), &silence.as_secs())?;
            }
        }
        table.end()
    }
}

impl Serialize for Conduct {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Conduct { timeouts, sloppy_tcp, sloppy_sctp, when_full, reuse, keeps_quiesced_templates } = *self;
        let when_full = match when_full {
            WhenFull::Evict => "evict",
            WhenFull::Refuse => "refuse",
        };
        let mut table = to.serialize_struct("Conduct", 6)?;
        table.serialize_field("sloppy_tcp", &sloppy_tcp)?;
        table.serialize_field("sloppy_sctp", &sloppy_sctp)?;
        table.serialize_field("when_full", when_full)?;
        table.serialize_field("conn_reuse_mode", &Reuse::MODES.iter().position(|mode| *mode == reuse))?;
        table.serialize_field("expire_quiescent_template", &!keeps_quiesced_templates)?;
        table.serialize_field("timeouts", &timeouts)?;
        table.end()
    }
}

impl Serialize for Thresholds {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Thresholds { upper, lower } = *self;
        let mut table = to.serialize_struct("Thresholds", 2)?;
        table.serialize_field("upper_threshold", &upper)?;
        table.serialize_field("lower_threshold", &lower)?;
        table.end()
    }
}
