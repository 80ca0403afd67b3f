//! The keys of `http`, `https` and `grpc`.

use super::pattern::pattern;
use super::tls;
use crate::config::toml::section::{Item, Section};
use crate::config::toml::value::{hidden, integer, one_of, quoted, string};
use crate::service::check::{Grpc, HIDDEN, Http, HttpVersion, Kind, Pattern};
use ::http::uri::{Authority, PathAndQuery};
use ::http::{HeaderName, HeaderValue, Method};
use ::toml::Spanned;
use ::toml::de::DeValue;

/// Headers that follow from other keys.
const OWN_HEADERS: [&str; 4] = ["host", "connection", "content-length", "transfer-encoding"];

/// HTTP, by TLS if that is asked for or `is_https`.
pub(super) fn http(section: &mut Section<'_>, is_https: bool) -> Kind {
    let usual = Http::default();
    let versions = HttpVersion::ALL.map(|version| (version.name(), version));
    let http = Http {
        version: section.optional("version", one_of(&versions)).map_or(usual.version, Spanned::into_inner),
        method: section.optional("method", method).map_or(usual.method, Spanned::into_inner),
        path: section.optional("path", path).map_or(usual.path, Spanned::into_inner),
        host: section.optional("host", host).map(Spanned::into_inner),
        headers: headers(section),
        send: section.optional("send", body).map_or(usual.send, Spanned::into_inner),
        status: statuses(section).unwrap_or(usual.status),
        expect_headers: expect_headers(section),
        expect: section.item("expect").and_then(|item| pattern(item, "expect", section)),
        redirects: section.optional("redirects", integer(0..=10)).map_or(0, Spanned::into_inner),
        tls: tls::within(section, is_https),
    };
    Kind::Http(Box::new(http))
}

/// gRPC's health service.
pub(super) fn grpc(section: &mut Section<'_>) -> Kind {
    Kind::Grpc(Grpc {
        service: section.optional("service", body).map_or(String::new(), Spanned::into_inner),
        host: section.optional("host", host).map(Spanned::into_inner),
        tls: tls::within(section, false),
    })
}

fn method(value: &DeValue<'_>) -> Result<String, String> {
    const ALLOWED: &str = "such as GET, HEAD or OPTIONS";
    let found = string(value, &format!("a method {ALLOWED}"))?;
    // CONNECT would ask for a tunnel.
    match found.parse::<Method>() {
        Ok(method) if method != Method::CONNECT => Ok(found.to_owned()),
        _ => Err(format!("{} is no method (allowed: {ALLOWED})", quoted(found))),
    }
}

fn path(value: &DeValue<'_>) -> Result<String, String> {
    const ALLOWED: &str = "such as \"/health?full=1\"";
    let found = string(value, &format!("a path {ALLOWED}"))?;
    let is_path = found.starts_with('/') && !found.contains('#') && found.parse::<PathAndQuery>().is_ok();
    is_path
        .then(|| found.to_owned())
        .ok_or_else(|| format!("{} is no path (allowed: {ALLOWED})", quoted(found)))
}

fn host(value: &DeValue<'_>) -> Result<String, String> {
    const ALLOWED: &str = "such as \"www.example.com\" or \"www.example.com:8080\"";
    let found = string(value, &format!("a host {ALLOWED}"))?;
    match found.parse::<Authority>() {
        Ok(authority) if !found.contains('@') => Ok(authority.to_string()),
        _ => Err(format!("{} is no host (allowed: {ALLOWED})", quoted(found))),
    }
}

fn body(value: &DeValue<'_>) -> Result<String, String> {
    string(value, "a text").map(str::to_owned)
}

/// `headers`, with names in lower case.
pub(in crate::config::toml) fn headers(section: &mut Section<'_>) -> Vec<(String, String)> {
    let entries = section.entries("headers").into_iter();
    let read = |(name, item): (Spanned<&str>, Item<'_>)| {
        let at = name.span().start;
        let name = header_name(name, section)?;
        let value = match &item {
            Item::Short(value) => value.get_ref().as_str(),
            Item::Long(_) => None,
        };
        let Some(value) = value.filter(|value| HeaderValue::from_str(value).is_ok()) else {
            section
                .error(at, &format!("headers {} has no value (allowed: a text on one line)", quoted(&name)));
            return None;
        };
        if value == HIDDEN {
            section.error(at, &format!("headers {} {}", quoted(&name), hidden()));
        }
        if OWN_HEADERS.contains(&name.as_str()) {
            let error = format!(
                "headers {} follows from other keys (allowed: host = \"…\", send = \"…\")",
                quoted(&name)
            );
            section.error(at, &error);
        }
        Some((name, value.to_owned()))
    };
    entries.filter_map(read).collect()
}

fn expect_headers(section: &mut Section<'_>) -> Vec<(String, Pattern)> {
    let entries = section.entries("expect_headers").into_iter();
    let read = |(name, item): (Spanned<&str>, Item<'_>)| {
        let name = header_name(name, section)?;
        let pattern = pattern(item, &name, section)?;
        Some((name, pattern))
    };
    entries.filter_map(read).collect()
}

/// In lower case, as HTTP/2 has it.
fn header_name(name: Spanned<&str>, section: &Section<'_>) -> Option<String> {
    let parsed = name.get_ref().parse::<HeaderName>();
    if parsed.is_err() {
        let error = format!("{} is no header's name (allowed: such as content-type)", quoted(name.get_ref()));
        section.error(name.span().start, &error);
    }
    Some(parsed.ok()?.to_string())
}

/// `200`, `"200-399"`, or an array of such.
fn statuses(section: &mut Section<'_>) -> Option<Vec<(u16, u16)>> {
    const ALLOWED: &str = "such as 200, \"200-399\" or [200, 204], from 100 to 599";
    let items = section.items("status", "status", 100)?;
    let read = |item| {
        let (at, found) = match item {
            Item::Short(value) => (value.span().start, status(value.get_ref())),
            Item::Long(table) => (table.at(), None),
        };
        if found.is_none() {
            section.error(at, &format!("status is no code or range of codes (allowed: {ALLOWED})"));
        }
        found
    };
    Some(items.into_iter().filter_map(read).collect())
}

fn status(value: &DeValue<'_>) -> Option<(u16, u16)> {
    let (first, last) = match value {
        DeValue::String(text) => match text.split_once('-') {
            Some((first, last)) => (first.parse().ok()?, last.parse().ok()?),
            None => (text.parse().ok()?, text.parse().ok()?),
        },
        _ => integer(100..=599)(value).ok().map(|code| (code, code))?,
    };
    (100 <= first && first <= last && last <= 599).then_some((first, last))
}
