//! Checks written again: what is not as usual.

use crate::config::NamedCheck;
use crate::config::toml::shortest;
use crate::service::check::{
    Check, Dialogue, Dns, File, Ftp, Grpc, Http, Kind, Pace, Pattern, Says, Script, Smtp, Sought, Step, Tls,
    Udp, Via,
};
use serde::ser::{Serialize, Serializer};
use serde_json::{Map, Value, json};
use std::fmt::Write;
use std::time::Duration;

impl Serialize for NamedCheck {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Check { kind, pace, via, addr, port, source } = &*self.check;
        let mut table = Table::default();
        if self.name != kind.name() {
            table.put("name", &self.name);
        }
        table.put("type", kind.name());
        table.put_kind(kind);
        table.put_pace(pace);
        if *via == Via::Vip {
            table.put("via", "vip");
        }
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
        self.put_unless("damping", &time(pace.damping), &time(usual.damping));
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
            Kind::Dns(dns) => self.put_dns(dns),
            Kind::Ftp(Ftp { login }) => {
                self.put_if_any("user", &login.as_ref().map(|login| &login.user));
                let password = login.as_ref().map(|login| &login.password);
                self.put_if_any("password", &password.filter(|password| !password.is_empty()));
            }
            Kind::Smtp(Smtp { hello, tls, is_starttls }) => {
                self.put_if_any("hello", hello);
                self.put_inner_tls(tls);
                self.put_unless("starttls", is_starttls, &false);
            }
            Kind::Udp(Udp { send, expect, may_be_silent }) => {
                if !send.is_empty() {
                    self.put("send", written_bytes(send));
                }
                self.put_if_any("expect", &expect.as_ref().map(written_pattern));
                self.put_unless("may_be_silent", may_be_silent, &false);
            }
            Kind::Dialogue(Dialogue { steps, tls }) => {
                let step = |step: &Step| match step {
                    Step::Send(bytes) => json!({ "send": written_bytes(bytes) }),
                    Step::Expect(sought) => json!({ "expect": written_sought(sought) }),
                };
                self.put("steps", steps.iter().map(step).collect::<Vec<_>>());
                self.put_inner_tls(tls);
            }
            Kind::Script(Script { command, user, is_dynamic }) => {
                self.put("command", command);
                self.put_if_any("user", user);
                self.put_unless("dynamic_weight", is_dynamic, &false);
            }
            Kind::File(File { path, says }) => {
                self.put("path", path);
                let says = match says {
                    Says::Present => "present",
                    Says::Absent => "absent",
                    Says::Weight => "weight",
                };
                self.put_unless("says", &says, &"present");
            }
        }
    }

    fn put_dns(&mut self, Dns { is_tcp, name, kind, rcodes, answer }: &Dns) {
        let usual = Dns::default();
        self.put_unless("tcp", is_tcp, &usual.is_tcp);
        self.put_unless("query", &name.fmt_with_dot().to_string(), &usual.name.fmt_with_dot().to_string());
        self.put_unless("record", &kind.to_string(), &usual.kind.to_string());
        if *rcodes != usual.rcodes {
            self.put("rcodes", rcodes.iter().map(ToString::to_string).collect::<Vec<_>>());
        }
        self.put_if_any("answer", answer);
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
    match written_sought(sought) {
        text if !is_not => text,
        Value::Object(mut table) => {
            table.insert("not".to_owned(), true.into());
            Value::Object(table)
        }
        text => json!({ "text": text, "not": true }),
    }
}

fn written_sought(sought: &Sought) -> Value {
    match sought {
        Sought::Text(text) => json!(text),
        Sought::Bytes(bytes) => json!({ "hex": hex(bytes) }),
        Sought::Regex(regex) => json!({ "regex": regex }),
        Sought::Sha256(digest) => json!({ "sha256": hex(digest) }),
        Sought::Md5(digest) => json!({ "md5": hex(digest) }),
    }
}

/// As a text, if they are one.
fn written_bytes(bytes: &[u8]) -> Value {
    str::from_utf8(bytes).map_or_else(|_| json!({ "hex": hex(bytes) }), |text| json!(text))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut digits, byte| {
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}
