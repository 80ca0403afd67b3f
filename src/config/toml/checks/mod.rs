//! `check` of services and real servers, and `[[check]]`, which they may name.
//!
//! ```toml
//! check = "tcp"                                       # a type, with its defaults, or the name of a [[check]]
//! check = ["ping", { type = "http", path = "/up" }]   # all must hold
//! ```

mod http;
mod local;
mod pattern;
mod talk;
mod tls;

pub(super) use http::headers;
pub(super) use local::command;

use super::addresses::Addressed;
use super::findings::FirstSeen;
use super::section::{Item, Section};
use super::value::{address, did_you_mean, integer, name, one_of, quoted, short_duration, wrong_type};
use crate::config::NamedCheck;
use crate::net::{Endpoint, Proto};
use crate::service::check::{Check, Kind, Pace, Via};
use ::toml::Spanned;
use std::sync::Arc;

/// How many checks a service or a server has at most.
const MAX_CHECKS: usize = 16;

/// How many `[[check]]` a file has at most.
const MAX_SHARED: usize = 1 << 12;

/// From what a busy director keeps up with to a day; in milliseconds.
const INTERVAL: std::ops::RangeInclusive<u64> = 50..=86_400_000;

/// How long a probe may take; in milliseconds.
const TIMEOUT: std::ops::RangeInclusive<u64> = 10..=3_600_000;

/// A type of check, with what reads its keys.
type Type = (&'static str, fn(&mut Section<'_>) -> Option<Kind>);

const TYPES: [Type; 13] = [
    ("tcp", |_| Some(Kind::Tcp)),
    ("ping", |_| Some(Kind::Ping)),
    ("tls", |section| Some(Kind::Tls(tls::tls(section)))),
    ("http", |section| Some(http::http(section, false))),
    ("https", |section| Some(http::http(section, true))),
    ("grpc", |section| Some(http::grpc(section))),
    ("dns", |section| Some(talk::dns(section))),
    ("ftp", |section| Some(talk::ftp(section))),
    ("smtp", |section| Some(talk::smtp(section))),
    ("udp", |section| Some(talk::udp(section))),
    ("dialogue", |section| Some(talk::dialogue(section))),
    ("script", local::script),
    ("file", local::file),
];

/// Which way a check goes.
const WAYS: [(&str, Via); 2] = [("direct", Via::Direct), ("vip", Via::Vip)];

/// The checks of the file that have names.
pub(super) struct Checks(Vec<NamedCheck>);

/// The checks of a service or a server.
#[derive(Default)]
pub(super) struct Asked(Vec<NamedCheck>);

impl Checks {
    /// As of a file without any.
    pub(super) fn none() -> Checks {
        Checks(Vec::new())
    }

    /// Reads every `[[check]]`.
    pub(super) fn shared(root: &mut Section<'_>) -> Checks {
        let mut names = FirstSeen::none();
        let mut shared = Vec::new();
        for mut section in root.tables("check", "check", MAX_SHARED) {
            let title = section.required("name", name);
            if let Some(name) = &title {
                let (at, name) = (name.span().start, name.get_ref());
                if TYPES.iter().any(|(word, _)| word == name) {
                    let error = format!("name {} is a type's (allowed: any other name)", quoted(name));
                    section.error(at, &error);
                }
                if let Some(first) = names.before(name.clone(), at) {
                    section.error_again(at, first, "name", "each name once");
                }
            }
            shared.extend(check(section, title.map(Spanned::into_inner)));
        }
        Checks(shared)
    }

    /// The `check` of a service or a server, if it has one.
    pub(super) fn of(&self, section: &mut Section<'_>) -> Option<Asked> {
        let items = section.items("check", "check", MAX_CHECKS)?;
        let one = |item| match item {
            Item::Short(value) => {
                let at = value.span().start;
                match value.get_ref().as_str() {
                    Some(word) => self.meant_by(word, section, at),
                    None => {
                        let allowed =
                            "a type such as \"tcp\", the name of a [[check]], a table, or several of these";
                        section.error(at, &format!("check {}", wrong_type(value.get_ref(), allowed)));
                        None
                    }
                }
            }
            Item::Long(mut table) => {
                let name = table.optional("name", name).map(Spanned::into_inner);
                check(table, name)
            }
        };
        Some(Asked(items.into_iter().filter_map(one).collect()))
    }

    /// A check of the file's by its name, or a type's with its defaults.
    fn meant_by(&self, word: &str, section: &Section<'_>, at: usize) -> Option<NamedCheck> {
        if let Some(shared) = self.0.iter().find(|shared| shared.name == word) {
            return Some(shared.clone());
        }
        let Some((word, read)) = TYPES.iter().find(|(name, _)| *name == word) else {
            let words = || TYPES.iter().map(|(name, _)| *name).chain(self.0.iter().map(|one| &*one.name));
            let allowed = words().collect::<Vec<_>>().join(", ");
            let near = did_you_mean(word, words());
            section.error(at, &format!("check {} is unknown{near} (allowed: {allowed})", quoted(word)));
            return None;
        };
        let mut nothing = section.empty(word, at);
        let check = Arc::new(Check { kind: read(&mut nothing)?, ..Check::default() });
        Some(NamedCheck { name: (*word).to_owned(), check })
    }
}

impl Asked {
    pub(super) fn into_checks(self) -> Vec<NamedCheck> {
        self.0
    }

    /// Says which of the checks cannot be made of `service`'s server `real`, whose address stands at byte `at` of `section`.
    pub(super) fn can_ask(&self, real: Endpoint, service: &Addressed, section: &Section<'_>, at: usize) {
        for NamedCheck { name, check } in &self.0 {
            if let Some(error) = check.kind.proto().and_then(|proto| cannot_ask(check, proto, real, service))
            {
                section.error(at, &format!("check {name} {error}"));
            }
            let peer = check.addr.unwrap_or(real.addr);
            if let Some(source) = check.source.filter(|source| source.is_ipv4() != peer.is_ipv4()) {
                let error = format!("check {name} cannot ask {peer} from {source} (allowed: one family)");
                section.error(at, &error);
            }
        }
    }
}

/// Why a check has no port to ask, if it has none.
fn cannot_ask(check: &Check, proto: Proto, real: Endpoint, service: &Addressed) -> Option<String> {
    let asked = match check.via {
        Via::Direct => Some(check.port.unwrap_or(0)),
        Via::Vip => service.port_for(proto, check.port),
    };
    match asked.map(|port| if port == 0 { real.port } else { port }) {
        None => {
            let port = check.port.map_or_else(String::new, |port| format!(" port {port}"));
            Some(format!(
                "asks the VIP by {proto}{port} (allowed: what clients address, or via = \"direct\")"
            ))
        }
        Some(0) => Some("has no port to ask (allowed: with port = 80 and the like)".to_owned()),
        Some(_) => None,
    }
}

/// A check at length, whose name has been read.
fn check(mut section: Section<'_>, name: Option<String>) -> Option<NamedCheck> {
    if let Some(name) = &name {
        section.entitle(&format!("check {}", quoted(name)));
    }
    // Without its type nobody knows which keys there are.
    let kind = section.required("type", one_of(&TYPES))?.into_inner()(&mut section);
    let pace = pace(&mut section);
    let via = section.optional("via", one_of(&WAYS));
    let addr = section.optional("address", address).map(Spanned::into_inner);
    let port = section.optional("port", integer(1..=u16::MAX)).map(Spanned::into_inner);
    let source = section.optional("source", address).map(Spanned::into_inner);
    if let Some(via) = via.as_ref().filter(|via| *via.get_ref() == Via::Vip) {
        let at = via.span().start;
        if let Some(kind) = kind.as_ref().filter(|kind| kind.proto().is_none()) {
            let error =
                format!("via \"vip\" is not for {}, which asks no port (allowed: direct)", kind.name());
            section.error(at, &error);
        }
        for (key, is_there) in [("address", addr.is_some()), ("source", source.is_some())] {
            if is_there {
                let error = format!("{key} is not for a check via the VIP (allowed: with via = \"direct\")");
                section.error(at, &error);
            }
        }
    }
    section.finish();
    let via = via.map_or(Via::Direct, Spanned::into_inner);
    let kind = kind?;
    let name = name.unwrap_or_else(|| kind.name().to_owned());
    Some(NamedCheck { name, check: Arc::new(Check { kind, pace, via, addr, port, source }) })
}

fn pace(section: &mut Section<'_>) -> Pace {
    let interval = section.optional("interval", short_duration(INTERVAL)).map(Spanned::into_inner);
    let usual = interval.map_or_else(Pace::default, Pace::every);
    let retry = section.optional("retry", short_duration(TIMEOUT));
    if let Some(retry) = retry.as_ref().filter(|retry| *retry.get_ref() > usual.interval) {
        let error = "retry is longer than the interval (allowed: the interval, or less)";
        section.error(retry.span().start, error);
    }
    let timeout = section.optional("timeout", short_duration(TIMEOUT));
    let [rise, fall] = ["rise", "fall"].map(|key| section.optional(key, integer(1..=1000)));
    let jitter = section.optional("jitter", integer(0..=100));
    let damping = section.optional("damping", short_duration(INTERVAL));
    Pace {
        interval: usual.interval,
        retry: retry.map_or(usual.retry, Spanned::into_inner),
        timeout: timeout.map_or(usual.timeout, Spanned::into_inner),
        rise: rise.map_or(usual.rise, Spanned::into_inner),
        fall: fall.map_or(usual.fall, Spanned::into_inner),
        jitter_percent: jitter.map_or(usual.jitter_percent, Spanned::into_inner),
        damping: damping.map_or(usual.damping, Spanned::into_inner),
    }
}
