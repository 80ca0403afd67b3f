//! What becomes of servers that fall ill: keys of each service.

use super::toml::shortest;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use std::time::Duration;

/// How a service deals with servers whose checks fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Care {
    /// `on_down`: what becomes of the connections of a server that is down.
    pub on_down: OnDown,
    /// `alpha`: whether a server is down until its checks have answered, as with keepalived's word; otherwise it is up.
    pub alpha: bool,
    /// `fail_open`: when no more than so many percent of the weight are well, checks are not believed, and all servers are
    /// scheduled; `None` is never.
    pub fail_open_percent: Option<u8>,
    /// `quorum`: the weight that must be well; without it the sorry server takes over, if there is one.
    pub quorum: u32,
    /// `hysteresis`: how far above the quorum that weight must come to have it back, and below to lose it.
    pub hysteresis: u32,
    /// `passive`: whether live traffic may make servers suspect that have checks, and when.
    pub passive: Option<Passive>,
}

/// When live traffic speaks against a server so much that its checks are made at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Passive {
    /// `window`: so long none of its new connections is answered.
    #[serde(serialize_with = "in_words")]
    pub window: Duration,
    /// `failures`: so many connections are unanswered for the window, or refused, or cannot reach it, within a second.
    pub failures: u32,
}

fn in_words<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&shortest(*duration))
}

impl Default for Passive {
    fn default() -> Passive {
        Passive { window: Duration::from_millis(50), failures: 1 }
    }
}

/// What becomes of the connections of a server that is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDown {
    /// They go on: perhaps it is not as ill as it seems.
    #[default]
    Keep,
    /// They are forgotten, so that the next segment of each is answered with a reset.
    Reset,
}

impl Default for Care {
    fn default() -> Care {
        Care {
            on_down: OnDown::Keep,
            alpha: false,
            fail_open_percent: Some(0),
            quorum: 1,
            hysteresis: 0,
            passive: Some(Passive::default()),
        }
    }
}

impl Serialize for Care {
    /// What is not as usual.
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Care { on_down, alpha, fail_open_percent, quorum, hysteresis, passive } = *self;
        let usual = Care::default();
        let mut table = to.serialize_map(None)?;
        if on_down != usual.on_down {
            table.serialize_entry("on_down", &on_down)?;
        }
        if alpha != usual.alpha {
            table.serialize_entry("alpha", &alpha)?;
        }
        match fail_open_percent {
            None => table.serialize_entry("fail_open", &false)?,
            percent if percent == usual.fail_open_percent => {}
            Some(percent) => table.serialize_entry("fail_open", &percent)?,
        }
        for (key, found, usual) in
            [("quorum", quorum, usual.quorum), ("hysteresis", hysteresis, usual.hysteresis)]
        {
            if found != usual {
                table.serialize_entry(key, &found)?;
            }
        }
        match passive {
            None => table.serialize_entry("passive", &false)?,
            passive if passive == usual.passive => {}
            Some(passive) => table.serialize_entry("passive", &passive)?,
        }
        table.end()
    }
}
