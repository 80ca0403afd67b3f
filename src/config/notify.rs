//! `[[notify]]`: programs and places in the web that are told when something changes of servers.

use crate::config::toml::shortest;
use crate::service::check::{HIDDEN, Hook, Script};
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::collections::BTreeMap;
use std::time::Duration;

/// Who is told, and how long that may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notify {
    /// Who.
    pub informed: Informed,
    /// `timeout`.
    pub timeout: Duration,
}

/// A program or a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Informed {
    /// `command` and `user`; `{service}`, `{server}`, `{state}`, `{was}`, `{cause}` and `{time}` stand for what has changed.
    Program(Script),
    /// `url`, `headers`, `verify`, `ca`, `retries`.
    Hook(Hook),
}

impl Notify {
    /// How long it may take, if nobody says.
    pub const TIMEOUT: Duration = Duration::from_secs(10);

    /// The same without what is nobody's business: what a place's headers say, and where in its host it is.
    pub fn without_secrets(&self) -> Notify {
        let informed = match &self.informed {
            Informed::Hook(hook) => {
                let headers =
                    hook.headers.iter().map(|(name, _)| (name.clone(), HIDDEN.to_owned())).collect();
                let path = if hook.path == "/" { "/".to_owned() } else { format!("/{HIDDEN}") };
                Informed::Hook(Hook { headers, path, ..hook.clone() })
            }
            program => program.clone(),
        };
        Notify { informed, ..*self }
    }
}

impl Serialize for Notify {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut table = to.serialize_map(None)?;
        match &self.informed {
            Informed::Program(Script { command, user, .. }) => {
                table.serialize_entry("command", command)?;
                if let Some(user) = user {
                    table.serialize_entry("user", user)?;
                }
            }
            Informed::Hook(hook) => {
                table.serialize_entry("url", &hook.url())?;
                if !hook.headers.is_empty() {
                    let headers: BTreeMap<_, _> = hook.headers.iter().cloned().collect();
                    table.serialize_entry("headers", &headers)?;
                }
                if let Some(ca) = &hook.ca {
                    table.serialize_entry("ca", ca)?;
                }
                if !hook.verify {
                    table.serialize_entry("verify", &false)?;
                }
                if hook.retries != Hook::RETRIES {
                    table.serialize_entry("retries", &hook.retries)?;
                }
            }
        }
        table.serialize_entry("timeout", &shortest(self.timeout))?;
        table.end()
    }
}
