//! TLS of nginx: whom to trust, names, dates and protocols.

use crate::bed::{Bed, MS, V4, next, target};
use lvx::health::{Health, What};
use lvx::service::check::{Http, Kind, Pace, Tls};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// One server with a certificate of the CA's, one that has expired, and one that chooses no protocol.
const NGINX: &str = r#"
    server {
        listen 8443 ssl http2;
        ssl_certificate good.crt;
        ssl_certificate_key good.key;
        location / { return 200; }
    }
    server {
        listen 8443 ssl;
        server_name old.example;
        ssl_certificate old.crt;
        ssl_certificate_key old.key;
        location / { return 200; }
    }
"#;

fn nginx() -> Bed {
    let mut bed = Bed::new();
    let mut ca = CertificateParams::new([]).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().unwrap();
    bed.file("ca.crt", &ca.self_signed(&ca_key).unwrap().pem());
    let issuer = Issuer::new(ca, ca_key);
    for (name, host, expires) in [("good", "www.example", 2090), ("old", "old.example", 2001)] {
        let mut params = CertificateParams::new([host.to_owned(), V4.to_string()]).unwrap();
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(expires, 1, 1);
        let key = KeyPair::generate().unwrap();
        bed.file(&format!("{name}.crt"), &params.signed_by(&key, &issuer).unwrap().pem());
        bed.file(&format!("{name}.key"), &key.serialize_pem());
    }
    bed.serve_nginx(NGINX, 8443);
    bed
}

fn server() -> SocketAddr {
    SocketAddr::new(V4, 8443)
}

#[test]
fn a_certificate_is_verified_if_that_is_asked_for_by_name_or_by_address() {
    let bed = nginx();
    let ask = |tls: Tls| bed.ask(server(), Kind::Tls(tls));
    let name = |name: &str| Some(name.to_owned());
    let trusting = Tls { verify: true, ca: Some(bed.dir().join("ca.crt")), ..Tls::default() };

    assert_eq!(ask(Tls::default()), Ok(()), "any certificate will do");
    assert_eq!(ask(Tls { server_name: name("old.example"), ..Tls::default() }), Ok(()), "even an old one");
    assert_eq!(ask(trusting.clone()), Ok(()), "it has the address");
    assert_eq!(ask(Tls { server_name: name("www.example"), ..trusting.clone() }), Ok(()));
    for (name, reason) in [("wrong.example", "not valid for name"), ("old.example", "expired")] {
        let tls = Tls { server_name: Some(name.to_owned()), ..trusting.clone() };
        let cause = ask(tls.clone()).unwrap_err();
        assert!(cause.starts_with("TLS: invalid peer certificate") && cause.contains(reason), "{cause}");
        // HTTPS trusts no one else.
        let https = Http { tls: Some(tls), ..Http::default() };
        assert_eq!(bed.ask(server(), Kind::Http(Box::new(https))), Err(cause));
    }
    let system = Tls { verify: true, ..Tls::default() };
    let cause = ask(system).unwrap_err();
    assert!(cause.contains("UnknownIssuer"), "{cause}");
}

#[test]
fn a_trust_that_cannot_be_read_is_the_directors_own_failure() {
    let bed = nginx();
    let missing = Tls { verify: true, ca: Some(bed.dir().join("missing.crt")), ..Tls::default() };
    let empty = Tls { verify: true, ca: Some(bed.file("empty.crt", "")), ..Tls::default() };
    let driver = bed.driver();
    for (tls, reason) in [(missing, "missing.crt"), (empty, "empty.crt has no certificate to trust")] {
        let target = target(server(), Kind::Tls(tls), Pace::every(50 * MS));
        driver.set([target.clone()]);
        while driver.status(&target).unwrap().failures < 2 {
            std::thread::sleep(10 * MS);
        }
        let status = driver.status(&target).unwrap();
        let (failure, _) = status.failure.unwrap();
        assert!(failure.is_own && failure.cause.contains(reason), "{failure:?}");
        assert_eq!(status.health, Health::Unchecked);
    }
    // It is told that it cannot be asked, and nothing of the server.
    assert!(driver.events().try_iter().all(|event| matches!(event.what, What::Unasked(_))));
}

#[test]
fn the_end_of_a_certificate_is_seen_and_may_have_to_be_far() {
    let bed = nginx();
    let ask = |tls: Tls| bed.ask(server(), Kind::Tls(tls));
    assert_eq!(ask(Tls { valid_for: Some(30 * DAY), ..Tls::default() }), Ok(()));
    let cause = ask(Tls { valid_for: Some(100 * 365 * DAY), ..Tls::default() }).unwrap_err();
    assert!(
        cause.starts_with("the certificate expires in ") && cause.ends_with("(wanted: 876000 h)"),
        "{cause}"
    );
    let old = Tls { server_name: Some("old.example".to_owned()), valid_for: Some(DAY), ..Tls::default() };
    let cause = ask(old).unwrap_err();
    assert!(cause.starts_with("the certificate has expired "), "{cause}");

    let driver = bed.driver();
    let target = target(server(), Kind::Tls(Tls::default()), Pace::every(50 * MS));
    driver.set([target.clone()]);
    assert!(matches!(next(&driver).what, What::Health(change, None) if change.to == Health::Up));
    // 2090-01-01.
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(3_786_912_000);
    assert_eq!(driver.status(&target).unwrap().found.certificate_expires, Some(end));
}

#[test]
fn one_of_the_protocols_offered_must_be_agreed_on() {
    let bed = nginx();
    let ask = |protocols: &[&str]| {
        let alpn = protocols.iter().map(|&protocol| protocol.to_owned()).collect();
        bed.ask(server(), Kind::Tls(Tls { alpn, ..Tls::default() }))
    };
    assert_eq!(ask(&["h2"]), Ok(()));
    assert_eq!(ask(&["spdy/1", "http/1.1"]), Ok(()));
    let cause = ask(&["spdy/1"]).unwrap_err();
    assert!(cause.starts_with("TLS: "), "{cause}");
}
