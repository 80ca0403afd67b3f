//! HTTP of nginx and haproxy.

use crate::bed::{Bed, MS, V4, V6};
use lvx::service::check::{Http, HttpVersion, Kind, Pattern, Sought, Tls};
use std::net::{IpAddr, SocketAddr};

const PORT: u16 = 8080;
const TLS_PORT: u16 = 8443;
const H2C_PORT: u16 = 8082;

/// HTTP/1 and, with TLS, HTTP/2 as well; and HTTP/2 alone. `/echo` tells what was asked.
const NGINX: &str = r#"
    default_type text/plain;
    server {
        listen [::]:8080 ipv6only=off;
        listen [::]:8443 ssl http2 ipv6only=off;
        listen [::]:8082 http2 ipv6only=off;
        ssl_certificate tls.crt;
        ssl_certificate_key tls.key;
        location = / { return 200 "all is well\n"; }
        location = /fail { return 503 "all is lost\n"; }
        location = /close { return 444; }
        location = /moved { return 302 http://elsewhere.example/echo?moved; }
        location = /round { return 301 /round; }
        location = /echo {
            add_header X-Served-By "nginx $server_name";
            return 200 "$server_protocol $request_method $host $request_uri $http_x_probe $content_length\n";
        }
    }
    server {
        listen [::]:8080;
        server_name other.example;
        location / { return 404; }
    }
"#;

fn nginx() -> Bed {
    let mut bed = Bed::new();
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["www.example".to_owned()]).unwrap();
    bed.file("tls.crt", &cert.pem());
    bed.file("tls.key", &signing_key.serialize_pem());
    bed.serve_nginx(NGINX, PORT);
    bed
}

fn at(addr: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(addr, port)
}

fn path(path: &str) -> Http {
    Http { path: path.to_owned(), ..Http::default() }
}

fn expecting(http: Http, text: &str) -> Http {
    Http { expect: Some(Pattern::text(text)), ..http }
}

fn kind(http: Http) -> Kind {
    Kind::Http(Box::new(http))
}

#[test]
fn nginx_answers_every_version_of_http_with_and_without_tls() {
    let bed = nginx();
    let tls = Some(Tls::default());
    for (version, tls, port, expected) in [
        (HttpVersion::Http10, None, PORT, "HTTP/1.0 GET"),
        (HttpVersion::Http11, None, PORT, "HTTP/1.1 GET"),
        (HttpVersion::Http2, None, H2C_PORT, "HTTP/2.0 GET"),
        (HttpVersion::Http10, tls.clone(), TLS_PORT, "HTTP/1.0 GET"),
        (HttpVersion::Http11, tls.clone(), TLS_PORT, "HTTP/1.1 GET"),
        (HttpVersion::Http2, tls, TLS_PORT, "HTTP/2.0 GET"),
    ] {
        for addr in [V4, V6] {
            let http = expecting(Http { version, tls: tls.clone(), ..path("/echo") }, expected);
            assert_eq!(bed.ask(at(addr, port), kind(http)), Ok(()), "{version:?} {addr}:{port}");
        }
    }
    // It does not speak HTTP/2 where it is not told to.
    let http = Http { version: HttpVersion::Http2, ..path("/") };
    let cause = bed.ask(at(V4, PORT), kind(http)).unwrap_err();
    assert!(cause.starts_with("HTTP: "), "{cause}");
}

#[test]
fn nginx_gets_the_request_that_was_asked_for() {
    let bed = nginx();
    let asked = Http {
        method: "POST".to_owned(),
        host: Some("www.example".to_owned()),
        headers: vec![("x-probe".to_owned(), "seven".to_owned())],
        send: "how are you?".to_owned(),
        ..path("/echo?a=b")
    };
    let answer = "HTTP/1.1 POST www.example /echo?a=b seven 12\n";
    assert_eq!(bed.ask(at(V4, PORT), kind(expecting(asked.clone(), answer))), Ok(()));
    let version = HttpVersion::Http2;
    let answer = "HTTP/2.0 POST www.example /echo?a=b seven 12\n";
    assert_eq!(bed.ask(at(V6, H2C_PORT), kind(expecting(Http { version, ..asked }, answer))), Ok(()));
    // The name decides which of nginx's servers it is.
    let other = Http { host: Some("other.example".to_owned()), ..path("/") };
    assert_eq!(bed.ask(at(V4, PORT), kind(other)), Err("HTTP status 404 Not Found".to_owned()));
}

#[test]
fn a_status_a_header_or_a_body_that_is_not_as_expected_is_said() {
    let bed = nginx();
    let ask = |http| bed.ask(at(V4, PORT), kind(http));
    assert_eq!(ask(path("/fail")), Err("HTTP status 503 Service Unavailable".to_owned()));
    assert_eq!(ask(Http { status: vec![(200, 299), (503, 503)], ..path("/fail") }), Ok(()));
    let cause = ask(path("/close")).unwrap_err();
    assert_eq!(cause, "HTTP: connection closed before message completed");

    assert_eq!(ask(expecting(path("/"), "is well")), Ok(()));
    let missed = "the body has not \"is ill\"".to_owned();
    assert_eq!(ask(expecting(path("/"), "is ill")), Err(missed));
    let pattern = |sought, is_not| Http { expect: Some(Pattern { sought, is_not }), ..path("/") };
    // sha256sum and md5sum of "all is well\n".
    let digest = |hex: &str| -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    };
    let sha256 = digest("d40b628baf7f757149f5b6d6d6aca317d478ef3a29433064d21cfdd06fb33b8d");
    assert_eq!(ask(pattern(Sought::Sha256(sha256.try_into().unwrap()), false)), Ok(()));
    let md5 = digest("2670f929ce8c93af815ba0ae8fd591ff");
    assert_eq!(ask(pattern(Sought::Md5(md5.try_into().unwrap()), false)), Ok(()));
    let regex = Sought::Regex("(?i)ALL.*LOST".to_owned());
    assert_eq!(ask(pattern(regex, true)), Ok(()));

    let header = |name: &str, text| Http {
        expect_headers: vec![(name.to_owned(), Pattern::text(text))],
        ..path("/echo")
    };
    assert_eq!(ask(header("x-served-by", "nginx")), Ok(()));
    let missed = "header x-served-by has not \"haproxy\"".to_owned();
    assert_eq!(ask(header("x-served-by", "haproxy")), Err(missed));
    assert_eq!(ask(header("x-age", "1")), Err("header x-age is missing".to_owned()));
}

#[test]
fn redirects_are_an_answer_unless_they_are_to_be_followed() {
    let bed = nginx();
    let ask = |http| bed.ask(at(V4, PORT), kind(http));
    assert_eq!(ask(path("/moved")), Err("HTTP status 302 Found".to_owned()));
    let followed = Http { redirects: 1, ..expecting(path("/moved"), "GET elsewhere.example /echo?moved") };
    assert_eq!(ask(followed), Ok(()));
    let round = Http { redirects: 3, ..path("/round") };
    assert_eq!(ask(round), Err("HTTP status 301 Moved Permanently".to_owned()));
}

#[test]
fn haproxy_answers_and_its_tarpit_takes_longer_than_a_probe_may() {
    let mut bed = Bed::new();
    let config = bed.file(
        "haproxy.cfg",
        "defaults\n  mode http\n  timeout client 30s\n  timeout connect 5s\n  timeout server 30s\n  timeout tarpit 30s\n\
         frontend web\n  bind :::8080 v4v6\n  http-request tarpit if { path /slow }\n\
         \x20 http-request return status 200 content-type text/plain string \"haproxy is well\" if { path / }\n\
         \x20 default_backend none\nbackend none\n",
    );
    bed.serve(&["haproxy", "-db", "-f", &config.to_string_lossy()], PORT);
    let well = expecting(path("/"), "haproxy is well");
    assert_eq!(bed.ask(at(V4, PORT), kind(well.clone())), Ok(()));
    assert_eq!(bed.ask(at(V6, PORT), kind(Http { version: HttpVersion::Http10, ..well })), Ok(()));
    let cause = "timed out after 300ms waiting for the answer".to_owned();
    assert_eq!(bed.ask_for(at(V4, PORT), kind(path("/slow")), 300 * MS), Err(cause));
    let cause = "HTTP status 503 Service Unavailable".to_owned();
    assert_eq!(bed.ask(at(V4, PORT), kind(path("/elsewhere"))), Err(cause));
}
