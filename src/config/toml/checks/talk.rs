//! The keys of `dns`, `ftp`, `smtp`, `udp` and `dialogue`.

use super::pattern::{bytes, part, pattern};
use super::tls;
use crate::config::toml::section::{Item, Section};
use crate::config::toml::value::{boolean, hidden, host_name, quoted, string, wrong_type};
use crate::service::check::{Dialogue, Dns, Ftp, HIDDEN, Kind, Login, Smtp, Step, Udp};
use ::toml::Spanned;
use ::toml::de::DeValue;
use domain::base::Name;
use domain::base::iana::{Rcode, Rtype};

/// A DNS question.
pub(super) fn dns(section: &mut Section<'_>) -> Kind {
    let usual = Dns::default();
    let kind = section.optional("record", record).map_or(usual.kind, Spanned::into_inner);
    let rcodes = section.list("rcodes", "response codes", rcode);
    let answer = section.optional("answer", |value| {
        let found = string(value, "what a record holds")?;
        let wrong = |why| format!("{} is nothing that a record of type {kind} holds: {why}", quoted(found));
        Dns::data(kind, found).map(|_| found.to_owned()).map_err(wrong)
    });
    Kind::Dns(Dns {
        is_tcp: section.optional("tcp", boolean).map_or(usual.is_tcp, Spanned::into_inner),
        name: section.optional("query", query).map_or(usual.name, Spanned::into_inner),
        kind,
        rcodes: if rcodes.is_empty() {
            usual.rcodes
        } else {
            rcodes.into_iter().map(Spanned::into_inner).collect()
        },
        answer: answer.map(Spanned::into_inner),
    })
}

fn query(value: &DeValue<'_>) -> Result<Name<Vec<u8>>, String> {
    const ALLOWED: &str = "such as \"www.example.com\", or \".\"";
    let found = string(value, &format!("a name {ALLOWED}"))?;
    found.parse().map_err(|_| format!("{} is no name in DNS (allowed: {ALLOWED})", quoted(found)))
}

fn record(value: &DeValue<'_>) -> Result<Rtype, String> {
    const ALLOWED: &str = "such as \"A\", \"AAAA\", \"MX\" or \"SOA\"";
    let found = string(value, &format!("a type of records {ALLOWED}"))?;
    found.parse().map_err(|_| format!("{} is no type of records (allowed: {ALLOWED})", quoted(found)))
}

fn rcode(value: &DeValue<'_>) -> Result<Rcode, String> {
    const ALLOWED: &str = "such as \"NOERROR\" or \"NXDOMAIN\"";
    let found = string(value, &format!("a response code {ALLOWED}"))?;
    found.parse().map_err(|_| format!("{} is no response code (allowed: {ALLOWED})", quoted(found)))
}

/// FTP's banner, and a login if there is a user.
pub(super) fn ftp(section: &mut Section<'_>) -> Kind {
    let user = section.optional("user", line);
    let password = section.optional("password", line);
    if let (None, Some(password)) = (&user, &password) {
        section.error(password.span().start, "password is for a user (allowed: with user = \"…\")");
    }
    if let Some(password) = password.as_ref().filter(|password| password.get_ref() == HIDDEN) {
        section.error(password.span().start, &format!("password {}", hidden()));
    }
    let password = password.map_or_else(String::new, Spanned::into_inner);
    Kind::Ftp(Ftp { login: user.map(|user| Login { user: user.into_inner(), password }) })
}

/// A text that is sent as one line.
fn line(value: &DeValue<'_>) -> Result<String, String> {
    match string(value, "a text on one line")? {
        text if text.contains(['\r', '\n', '\0']) => Err("has more than one line (allowed: one)".to_owned()),
        text => Ok(text.to_owned()),
    }
}

/// SMTP's banner and greeting.
pub(super) fn smtp(section: &mut Section<'_>) -> Kind {
    let hello = section.optional("hello", host_name).map(Spanned::into_inner);
    let starttls = section.optional("starttls", boolean);
    let is_starttls = starttls.is_some_and(Spanned::into_inner);
    Kind::Smtp(Smtp { hello, tls: tls::within(section, is_starttls), is_starttls })
}

/// A datagram and its reply.
pub(super) fn udp(section: &mut Section<'_>) -> Kind {
    let send = section.item("send").and_then(|item| bytes(item, "send", section));
    Kind::Udp(Udp {
        send: send.unwrap_or_default(),
        expect: section.item("expect").and_then(|item| pattern(item, "expect", section)),
        may_be_silent: section.optional("may_be_silent", boolean).is_some_and(Spanned::into_inner),
    })
}

/// What is sent, and what must come.
pub(super) fn dialogue(section: &mut Section<'_>) -> Kind {
    let steps = section.items("steps", "step", Dialogue::MAX_STEPS);
    if steps.is_none() {
        section.error(section.at(), "steps is missing");
    }
    let read = |(number, item): (usize, Item<'_>)| match item {
        Item::Long(mut table) => {
            table.entitle(&format!("step {number}"));
            step(table)
        }
        Item::Short(value) => {
            let error = wrong_type(value.get_ref(), "a table with send or expect");
            section.error(value.span().start, &format!("step {number} {error}"));
            None
        }
    };
    let steps = (1..).zip(steps.unwrap_or_default()).filter_map(read).collect();
    Kind::Dialogue(Dialogue { steps, tls: tls::within(section, false) })
}

fn step(mut table: Section<'_>) -> Option<Step> {
    let step = match (table.item("send"), table.item("expect")) {
        (Some(item), None) => bytes(item, "send", &table).map(Step::Send),
        (None, Some(item)) => part(item, "expect", &table).map(Step::Expect),
        _ => {
            table.error(table.at(), "neither sends nor expects, or both (allowed: one of send, expect)");
            None
        }
    };
    table.finish();
    step
}
