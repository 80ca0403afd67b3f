//! What the reader makes of checks.

use super::messages::{each_says, errors_of};
use crate::config::{Config, NamedCheck, Service, parse};
use crate::service::check::{
    Check, Dialogue, Dns, File, Ftp, Grpc, Http, HttpVersion, Kind, Login, Pace, Pattern, Says, Script, Smtp,
    Sought, Step, Tls, Udp, Via,
};
use domain::base::iana::{Rcode, Rtype};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

/// Three services: with shared checks and checks of a server, with one at length, with one word.
const CHECKS: &str = r#"
[[interface]]
name = "eth0"

[[check]]
name = "alive"
type = "https"
interval = "50ms"
timeout = "200ms"
retry = "20ms"
rise = 1
fall = 5
jitter = 0
damping = "1m"
address = "10.9.9.9"
port = 8443
source = "10.0.0.1"
version = "2"
method = "POST"
path = "/up?full=1"
host = "www.example.com:8443"
headers = { X-Probe = "lvx", Accept = "text/plain" }
send = "well?"
status = [204, "300-399"]
expect_headers = { Content-Type = { regex = "^text/" } }
expect = { sha256 = "D0D3FD0B0BB6BA9F1B4A0FD8B8CFBBAA6C9A61D2FF9A8C9C4C6A6F58D9D1E6C1" }
redirects = 2
[check.tls]
server_name = "www.example.com"
ca = "/etc/lvx/ca.pem"
valid_for = "7d"

[[virtual_service]]
address = "192.0.2.100:443"
check = ["ping", "alive"]
[[virtual_service.real_server]]
address = "10.0.0.11"
[[virtual_service.real_server]]
address = "10.0.0.12"
check = { type = "tls", alpn = ["h2"], verify = true }
[[virtual_service.real_server]]
address = "10.0.0.13"
check = []

[[virtual_service]]
address = "192.0.2.100:50051"
[virtual_service.check]
type = "grpc"
service = "shop"
tls = true
interval = 5

[[virtual_service]]
address = "192.0.2.100:80"
check = { type = "http", name = "page", expect = { text = "error", not = true } }
[[virtual_service.real_server]]
address = "10.0.0.11"
check = { type = "tcp", via = "vip", port = 80 }
"#;

fn checks() -> Config {
    parse("f", CHECKS).unwrap_or_else(|errors| panic!("{errors}"))
}

fn kinds(checks: &[NamedCheck]) -> Vec<&str> {
    checks.iter().map(|named| named.check.kind.name()).collect()
}

#[test]
fn every_key_of_a_check_arrives_where_it_belongs() {
    let Config { services, .. } = checks();
    let [secure, grpc, plain] = &services[..] else { panic!("three services") };
    let of = |service: &Service| -> Vec<Vec<String>> {
        let names = |real| service.checks_of(real).iter().map(|named| named.name.clone()).collect();
        service.reals.iter().map(names).collect()
    };
    assert_eq!(of(secure), [vec!["ping", "alive"], vec!["tls"], vec![]]);
    assert_eq!(kinds(&secure.checks), ["ping", "https"]);
    assert_eq!(*secure.checks[0].check, Check { kind: Kind::Ping, ..Check::default() });

    let Check { kind: Kind::Http(http), pace, via: Via::Direct, addr, port, source } =
        &*secure.checks[1].check
    else {
        panic!("{:?}", secure.checks[1])
    };
    assert_eq!((*addr, *port), (Some([10, 9, 9, 9].into()), Some(8443)));
    assert_eq!(*source, Some([10, 0, 0, 1].into()));
    let wanted = Pace {
        interval: 50 * MS,
        retry: 20 * MS,
        timeout: 200 * MS,
        rise: 1,
        fall: 5,
        jitter_percent: 0,
        damping: 60_000 * MS,
    };
    assert_eq!(*pace, wanted);
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let Http { headers, status, expect_headers, expect, tls, .. } = &**http;
    assert_eq!(
        (http.version, http.method.as_str(), http.path.as_str()),
        (HttpVersion::Http2, "POST", "/up?full=1")
    );
    assert_eq!((http.host.as_deref(), http.send.as_str()), (Some("www.example.com:8443"), "well?"));
    assert_eq!(*headers, [pair("accept", "text/plain"), pair("x-probe", "lvx")]);
    assert_eq!((&status[..], http.redirects), (&[(204, 204), (300, 399)][..], 2));
    let text = Pattern { sought: Sought::Regex("^text/".to_owned()), is_not: false };
    assert_eq!(*expect_headers, [("content-type".to_owned(), text)]);
    assert!(matches!(expect, Some(Pattern { sought: Sought::Sha256([0xd0, 0xd3, ..]), is_not: false })));
    let week = Some(Duration::from_secs(7 * 24 * 60 * 60));
    let wanted = Tls {
        server_name: Some("www.example.com".to_owned()),
        verify: true,
        ca: Some("/etc/lvx/ca.pem".into()),
        alpn: Vec::new(),
        valid_for: week,
    };
    assert_eq!(*tls, Some(wanted));

    let tls = Tls { verify: true, alpn: vec!["h2".to_owned()], ..Tls::default() };
    assert_eq!(secure.checks_of(&secure.reals[1])[0].check.kind, Kind::Tls(tls));
    let shop = Grpc { service: "shop".to_owned(), tls: Some(Tls::default()), ..Grpc::default() };
    assert_eq!(grpc.checks[0].check.kind, Kind::Grpc(shop));
    assert_eq!(grpc.checks[0].check.pace, Pace::every(5000 * MS));
    assert_eq!((kinds(&plain.checks), plain.checks[0].name.as_str()), (vec!["http"], "page"));
    assert_eq!(kinds(plain.checks_of(&plain.reals[0])), ["tcp"]);
}

/// A server of a service that is asked in every other way.
const OTHERS: &str = r#"
[[interface]]
name = "eth0"

[[virtual_service]]
address = "192.0.2.100:80"
[[virtual_service.real_server]]
address = "10.0.0.11"
check = [
  "dns",
  { type = "dns", tcp = true, query = "www.example.com", record = "A", rcodes = ["NOERROR", "NXDOMAIN"], answer = "10.0.0.1" },
  "ftp",
  { type = "ftp", user = "anonymous", password = "a@b" },
  { type = "smtp", hello = "lvx.example", starttls = true },
  { type = "udp", send = { hex = "00ff" }, expect = { hex = "ff00", not = true }, may_be_silent = true },
  { type = "udp", send = "ping\r\n" },
  { type = "dialogue", steps = [{ expect = "+OK" }, { send = "QUIT\r\n" }, { expect = { regex = "^\\+OK" } }], tls = true },
  { type = "script", command = ["/bin/up", "{address}"], user = "nobody", dynamic_weight = true },
  { type = "file", path = "/run/weight-{port}", says = "weight" },
]
"#;

#[test]
fn every_other_check_arrives_too() {
    let Config { services, .. } = parse("f", OTHERS).unwrap_or_else(|errors| panic!("{errors}"));
    let kinds: Vec<Kind> =
        services[0].checks_of(&services[0].reals[0]).iter().map(|named| named.check.kind.clone()).collect();
    let text = |text: &str| text.to_owned();
    let asked = Dns {
        is_tcp: true,
        name: "www.example.com".parse().unwrap(),
        kind: Rtype::A,
        rcodes: vec![Rcode::NOERROR, Rcode::NXDOMAIN],
        answer: Some(text("10.0.0.1")),
    };
    let login = Login { user: text("anonymous"), password: text("a@b") };
    let smtp = Smtp { hello: Some(text("lvx.example")), tls: Some(Tls::default()), is_starttls: true };
    let not = Pattern { sought: Sought::Bytes(vec![0xff, 0]), is_not: true };
    let steps = vec![
        Step::Expect(Sought::Text(text("+OK"))),
        Step::Send(b"QUIT\r\n".to_vec()),
        Step::Expect(Sought::Regex(text("^\\+OK"))),
    ];
    let command = vec![text("/bin/up"), text("{address}")];
    let wanted = [
        Kind::Dns(Dns::default()),
        Kind::Dns(asked),
        Kind::Ftp(Ftp::default()),
        Kind::Ftp(Ftp { login: Some(login) }),
        Kind::Smtp(smtp),
        Kind::Udp(Udp { send: vec![0, 0xff], expect: Some(not), may_be_silent: true }),
        Kind::Udp(Udp { send: b"ping\r\n".to_vec(), ..Udp::default() }),
        Kind::Dialogue(Dialogue { steps, tls: Some(Tls::default()) }),
        Kind::Script(Script { command, user: Some(text("nobody")), is_dynamic: true }),
        Kind::File(File { path: text("/run/weight-{port}"), says: Says::Weight }),
    ];
    assert_eq!(kinds, wanted);
}

#[test]
fn checks_that_are_written_again_read_as_the_same() {
    let others = parse("f", OTHERS).unwrap();
    assert_eq!(parse("written", &others.to_toml().unwrap()), Ok(others));
    let text = checks().to_toml().unwrap();
    assert_eq!(parse("written", &text).unwrap_or_else(|errors| panic!("{errors}\n{text}")), checks());
    let services = checks().services;
    let written = services[0].own_table().0["check"].to_string();
    assert!(
        written.starts_with(r#"[{"type":"ping"},{"#) && written.contains(r#""timeout":"200ms""#),
        "{written}"
    );
}

#[test]
fn what_is_not_said_of_the_pace_goes_by_the_interval() {
    let pace = |interval| {
        let text = format!(
            "[[interface]]\nname = \"a\"\n[[virtual_service]]\naddress = \"192.0.2.1:80\"\n\
             check = {{ type = \"tcp\", interval = \"{interval}\" }}"
        );
        let pace = parse("f", &text).unwrap().services[0].checks[0].check.pace;
        [pace.interval, pace.retry, pace.timeout].map(|time| time.as_millis())
    };
    assert_eq!(pace("50ms"), [50, 50, 50]);
    assert_eq!(pace("700ms"), [700, 500, 700]);
    assert_eq!(pace("1m"), [60_000, 500, 1000]);
}

#[test]
fn what_is_wrong_with_a_check_is_said() {
    let service = "[[virtual_service]]\nname = \"web\"\naddress = \"192.0.2.100:80\"";
    let duration = "such as \"50ms\" or \"2s\", from 50ms to 1d";
    let types = "tcp, ping, tls, http, https, grpc, dns, ftp, smtp, udp, dialogue, script, file";
    let mut table = Vec::new();
    let mut says = |lines: &str, error: &str| {
        table.push((lines.to_owned(), format!("virtual service \"web\": {error}")));
    };
    says("check = \"htp\"", &format!("check \"htp\" is unknown; did you mean \"http\"? (allowed: {types})"));
    says(
        "check = 1",
        "check is the integer 1 (allowed: a type such as \"tcp\", the name of a [[check]], a table, or several of these)",
    );
    says("check = {}", "check: type is missing");
    says("check = { type = \"icmp\" }", &format!("check: type \"icmp\" is unknown (allowed: {types})"));
    says(
        "check = { type = \"tcp\", path = \"/\" }",
        "check: key \"path\" is unknown (allowed: name, type, interval, retry, timeout, rise, fall, jitter, damping, via, \
         address, port, source)",
    );
    says(
        "check = { type = \"tcp\", interval = \"49ms\" }",
        &format!("check: interval \"49ms\" is out of range (allowed: {duration})"),
    );
    says(
        "check = { type = \"tcp\", interval = \"1s\", retry = \"2s\" }",
        "check: retry is longer than the interval (allowed: the interval, or less)",
    );
    says("check = { type = \"tcp\", fall = 0 }", "check: fall 0 is out of range (allowed: 1 to 1000)");
    says("check = { type = \"tcp\", name = \"\" }", "check: name \"\" is empty (allowed: a name)");
    says(
        "check = { type = \"http\", name = \"page\", path = \"up\" }",
        "check \"page\": path \"up\" is no path (allowed: such as \"/health?full=1\")",
    );
    says(
        "check = { type = \"http\", method = \"CONNECT\" }",
        "check: method \"CONNECT\" is no method (allowed: such as GET, HEAD or OPTIONS)",
    );
    says(
        "check = { type = \"http\", host = \"a b\" }",
        "check: host \"a b\" is no host (allowed: such as \"www.example.com\" or \"www.example.com:8080\")",
    );
    says(
        "check = { type = \"http\", headers = { \"a b\" = \"c\" } }",
        "check: \"a b\" is no header's name (allowed: such as content-type)",
    );
    says(
        "check = { type = \"http\", headers = { a = \"b\\nc\" } }",
        "check: headers \"a\" has no value (allowed: a text on one line)",
    );
    says(
        "check = { type = \"http\", headers = { Host = \"b\" } }",
        "check: headers \"host\" follows from other keys (allowed: host = \"…\", send = \"…\")",
    );
    for status in ["99", "\"300-200\"", "[200, \"2xx\"]", "{}"] {
        says(
            &format!("check = {{ type = \"http\", status = {status} }}"),
            "check: status is no code or range of codes (allowed: such as 200, \"200-399\" or [200, 204], from 100 to \
             599)",
        );
    }
    says(
        "check = { type = \"http\", expect = 1 }",
        "check: expect is the integer 1 (allowed: a text, or a table with one of text, hex, regex, sha256, md5)",
    );
    says(
        "check = { type = \"http\", expect = { regex = \"a(b\" } }",
        "check: expect: regex \"a(b\" is no regular expression: unclosed group (allowed: those of the regex crate)",
    );
    says(
        "check = { type = \"http\", expect = { md5 = \"12\" } }",
        "check: expect: md5 \"12\" is no such digest (allowed: 32 hexadecimal digits)",
    );
    says(
        "check = { type = \"http\", expect = { text = \"a\", regex = \"b\" } }",
        "check: expect: says what is sought in 2 ways (allowed: one of text, hex, regex, sha256, md5)",
    );
    says(
        "check = { type = \"https\", tls = false }",
        "check: tls false is not for a check that is made in TLS (allowed: true or a table)",
    );
    says(
        "check = { type = \"https\", tls = { ca = \"/ca\", verify = false } }",
        "check: tls: ca is for certificates that are verified (allowed: with verify = true)",
    );
    says(
        "check = { type = \"tls\", server_name = \"-\\n\" }",
        "check: server_name \"-\\n\" is no host's name (allowed: such as www.example.com)",
    );
    says(
        "check = { type = \"dns\", query = \"a..b\" }",
        "check: query \"a..b\" is no name in DNS (allowed: such as \"www.example.com\", or \".\")",
    );
    says(
        "check = { type = \"dns\", record = \"X\" }",
        "check: record \"X\" is no type of records (allowed: such as \"A\", \"AAAA\", \"MX\" or \"SOA\")",
    );
    says(
        "check = { type = \"ftp\", password = \"x\" }",
        "check: password is for a user (allowed: with user = \"…\")",
    );
    says(
        "check = { type = \"ftp\", user = \"a\\nDELE b\" }",
        "check: user has more than one line (allowed: one)",
    );
    says(
        "check = { type = \"udp\", send = { hex = \"0\" } }",
        "check: send: hex \"0\" is no such text (allowed: pairs of hexadecimal digits)",
    );
    says("check = { type = \"dialogue\" }", "check: steps is missing");
    says(
        "check = { type = \"dialogue\", steps = [{ send = \"a\", expect = \"b\" }] }",
        "check: step 1: neither sends nor expects, or both (allowed: one of send, expect)",
    );
    says(
        "check = { type = \"dialogue\", steps = { expect = 1 } }",
        "check: step 1: expect is the integer 1 (allowed: a text, or a table with one of text, hex, regex)",
    );
    says("check = { type = \"script\" }", "check: command is missing");
    says(
        "check = { type = \"script\", command = [\"up\"] }",
        "check: command \"up\" is no absolute path (allowed: such as \"/usr/local/bin/check\")",
    );
    says("check = { type = \"file\" }", "check: path is missing");
    says(
        "check = { type = \"tcp\", via = \"tunnel\" }",
        "check: via \"tunnel\" is unknown (allowed: direct, vip)",
    );
    says(
        "check = { type = \"ping\", via = \"vip\" }",
        "check: via \"vip\" is not for ping, which asks no port (allowed: direct)",
    );
    for (key, value) in [("address", "10.9.9.9"), ("source", "10.0.0.1")] {
        says(
            &format!("check = {{ type = \"http\", via = \"vip\", {key} = \"{value}\" }}"),
            &format!("check: {key} is not for a check via the VIP (allowed: with via = \"direct\")"),
        );
    }
    let table: Vec<(&str, &str)> = table.iter().map(|(lines, error)| (&**lines, &**error)).collect();
    each_says(service, &table);

    let many = format!("{service}\ncheck = [{}]", "\"tcp\",".repeat(17));
    assert_eq!(errors_of(&many), ["virtual service \"web\": check has 17 elements (allowed: 16)"]);
    let twice = format!(
        "{service}\ncheck = \"alive\"\n[[check]]\nname = \"alive\"\ntype = \"tcp\"\n[[check]]\nname = \"alive\"\n\
         type = \"ping\"\n[[check]]\nname = \"tcp\"\ntype = \"tcp\"\n[[check]]\ntype = \"tcp\""
    );
    assert_eq!(
        errors_of(&twice),
        [
            "check 2: name stands in line 6 already (allowed: each name once)",
            "check 3: name \"tcp\" is a type's (allowed: any other name)",
            "check 4: name is missing",
        ]
    );
}

#[test]
fn a_check_that_cannot_be_made_of_a_server_is_refused_at_that_server() {
    let wide = "[[virtual_service]]\naddress = \"192.0.2.101\"\npersistent = true\ncheck = [\"ping\", \"tcp\"]\n\
         [[virtual_service.real_server]]\naddress = \"10.0.0.11\"\n\
         [[virtual_service.real_server]]\naddress = \"10.0.0.12\"\ncheck = { type = \"tcp\", port = 80 }";
    assert_eq!(
        errors_of(wide),
        [
            "virtual service 192.0.2.101: real server 10.0.0.11: check tcp has no port to ask (allowed: with port = 80 and the \
             like)"
        ]
    );
    let via = "[[virtual_service]]\naddress = \"192.0.2.101:80\"\n\
         check = [{ type = \"udp\", via = \"vip\" }, { type = \"tcp\", via = \"vip\", port = 81 }, { type = \"tcp\", via = \"vip\" }]\n\
         [[virtual_service.real_server]]\naddress = \"10.0.0.11\"";
    let says = |asked: &str| {
        format!(
            "virtual service 192.0.2.101:80: real server 10.0.0.11: check {asked} (allowed: what clients address, or \
             via = \"direct\")"
        )
    };
    assert_eq!(errors_of(via), [says("udp asks the VIP by UDP"), says("tcp asks the VIP by TCP port 81")]);
    let group = "[[virtual_service]]\nfwmark = 1\nmatch = [{ address = \"192.0.2.101:80-81\" }, { address = \"192.0.2.101:53\", protocol = \"udp\" }]\n\
         check = [{ type = \"udp\", via = \"vip\" }, { type = \"tcp\", via = \"vip\", port = 81 }, { type = \"tcp\", via = \"vip\" }]\n\
         [[virtual_service.real_server]]\naddress = \"10.0.0.11\"";
    assert_eq!(errors_of(group), [""; 0]);
    let families = "[[virtual_service]]\naddress = \"192.0.2.101:80\"\n\
         check = { type = \"tcp\", source = \"2001:db8::1\" }\n\
         [[virtual_service.real_server]]\naddress = \"10.0.0.11\"";
    assert_eq!(
        errors_of(families),
        [
            "virtual service 192.0.2.101:80: real server 10.0.0.11: check tcp cannot ask 10.0.0.11 from 2001:db8::1 (allowed: \
             one family)"
        ]
    );
}
