//! `[[notify]]`: programs that are told when something changes of servers.

use crate::config::toml::shortest;
use crate::service::check::Script;
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::time::Duration;

/// A program, and how long it may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notify {
    /// `command` and `user`; `{service}`, `{server}`, `{state}`, `{was}` and `{cause}` stand for what has changed.
    pub script: Script,
    /// `timeout`.
    pub timeout: Duration,
}

impl Notify {
    /// How long a program may take, if nobody says.
    pub const TIMEOUT: Duration = Duration::from_secs(10);
}

impl Serialize for Notify {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Notify { script: Script { command, user, .. }, timeout } = self;
        let mut table = to.serialize_map(None)?;
        table.serialize_entry("command", command)?;
        if let Some(user) = user {
            table.serialize_entry("user", user)?;
        }
        table.serialize_entry("timeout", &shortest(*timeout))?;
        table.end()
    }
}
