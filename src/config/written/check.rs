//! Checks written again: what is not as usual.

use crate::config::NamedCheck;
use crate::config::toml::shortest;
use crate::service::check::{Check, Grpc, Http, Kind, Pace, Pattern, Sought, Tls};
use serde::ser::{Serialize, Serializer};
use serde_json::{Map, Value, json};
use std::fmt::Write;
use std::time::Duration;

impl Serialize for NamedCheck {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Check { kind, pace, addr, port, source } = &*self.check;
        let mut table = Table::default();
        if self.name != kind.name() {
            table.put("name", &self.name);
        }
        table.put("type", kind.name());
        table.put_kind(kind);
        table.put_pace(pace);
        table.put_if_any("address", addr);
        table.put_if_any("port", port);
        table.put_if_any("source", source);
        table.0.serialize(to)
    }
}

#[derive(Default)]
struct Table(Map<String, Value>);

impl Table {
    fn put(&mut self, key: &str, value: impl Serialize) {
        self.0.insert(key.to_owned(), json!(value));
    }

    fn put_if_any(&mut self, key: &str, value: &Option<impl Serialize>) {
        if let Some(value) = value {
            self.put(key, value);
        }
    }

    fn put_unless<T: Serialize + PartialEq>(&mut self, key: &str, value: &T, usual: &T) {
        if value != usual {
            self.put(key, value);
        }
    }

    fn put_pace(&mut self, pace: &Pace) {
        let usual = Pace::every(pace.interval);
        let time = |time: Duration| shortest(time);
        self.put_unless("interval", &time(pace.interval), &time(Pace::default().interval));
        self.put_unless("retry", &time(pace.retry), &time(usual.retry));
        self.put_unless("timeout", &time(pace.timeout), &time(usual.timeout));
        self.put_unless("rise", &pace.rise, &usual.rise);
        self.put_unless("fall", &pace.fall, &usual.fall);
        self.put_unless("jitter", &pace.jitter_percent, &usual.jitter_percent);
    }

    fn put_kind(&mut self, kind: &Kind) {
        match kind {
            Kind::Tcp | Kind::Ping => {}
            Kind::Tls(tls) => self.put_tls(tls),
            Kind::Http(http) => self.put_http(http),
            Kind::Grpc(Grpc { service, host, tls }) => {
                self.put_unless("service", service, &String::new());
                self.put_if_any("host", host);
                self.put_inner_tls(tls);
            }
        }
    }

    fn put_http(&mut self, http: &Http) {
        let usual = Http::default();
        let Http {
            version,
            method,
            path,
            host,
            headers,
            send,
            status,
            expect_headers,
            expect,
            redirects,
            tls,
        } = http;
        self.put_unless("version", &version.name(), &usual.version.name());
        self.put_unless("method", method, &usual.method);
        self.put_unless("path", path, &usual.path);
        self.put_if_any("host", host);
        if !headers.is_empty() {
            self.put("headers", headers.iter().cloned().collect::<std::collections::BTreeMap<_, _>>());
        }
        self.put_unless("send", send, &usual.send);
        if *status != usual.status {
            self.put("status", status.iter().map(written_status).collect::<Vec<_>>());
        }
        if !expect_headers.is_empty() {
            let expected =
                expect_headers.iter().map(|(name, pattern)| (name.clone(), written_pattern(pattern)));
            self.put("expect_headers", expected.collect::<Map<_, _>>());
        }
        self.put_if_any("expect", &expect.as_ref().map(written_pattern));
        self.put_unless("redirects", redirects, &usual.redirects);
        // It goes without saying that HTTPS has it.
        if *tls != Some(Tls::default()) {
            self.put_inner_tls(tls);
        }
    }

    fn put_inner_tls(&mut self, tls: &Option<Tls>) {
        let Some(tls) = tls else { return };
        let mut table = Table::default();
        table.put_tls(tls);
        self.put("tls", if table.0.is_empty() { Value::Bool(true) } else { Value::Object(table.0) });
    }

    fn put_tls(&mut self, Tls { server_name, verify, ca, alpn, valid_for }: &Tls) {
        self.put_if_any("server_name", server_name);
        self.put_unless("verify", verify, &ca.is_some());
        self.put_if_any("ca", ca);
        self.put_unless("alpn", alpn, &Vec::new());
        self.put_if_any("valid_for", &valid_for.map(shortest));
    }
}

fn written_status(&(first, last): &(u16, u16)) -> Value {
    if first == last { first.into() } else { format!("{first}-{last}").into() }
}

fn written_pattern(Pattern { sought, is_not }: &Pattern) -> Value {
    let (way, sought) = match sought {
        Sought::Text(text) if !is_not => return text.clone().into(),
        Sought::Text(text) => ("text", text.clone()),
        Sought::Regex(regex) => ("regex", regex.clone()),
        Sought::Sha256(digest) => ("sha256", hex(digest)),
        Sought::Md5(digest) => ("md5", hex(digest)),
    };
    let mut table = Map::from_iter([(way.to_owned(), Value::String(sought))]);
    if *is_not {
        table.insert("not".to_owned(), true.into());
    }
    Value::Object(table)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut digits, byte| {
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}
