//! Checks of several protocols along the data path: real servers of each, behind one VIP by every method.

use crate::bed::{Bed, PATIENCE, eventually};
use lvx::control::client::Client;
use lvx::lab::{Layout, Node, Process};
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

/// What servers offer at these ports of the VIP; with NAT, at their own addresses.
const SERVICES: &str = r#"
[[virtual_service]]
name = "dns"
address = "VIP:53"
protocol = "udp"
check = { type = "dns", via = "vip", query = "www.example", record = "A", answer = "192.0.2.7", PACE }

[[virtual_service]]
name = "smtp"
address = "VIP:25"
check = { type = "smtp", via = "vip", PACE }

[[virtual_service]]
name = "tls"
address = "VIP:465"
check = { type = "tls", via = "vip", valid_for = "24h", server_name = "mail.example", ca = "CA", PACE }

[[virtual_service]]
name = "ftp"
address = "VIP:21"
check = { type = "ftp", via = "vip", PACE }
"#;

const PACE: &str = "interval = \"100ms\", timeout = \"2s\", rise = 1, fall = 2";

/// Starts dnsmasq, mail servers without and with TLS, and vsftpd on a server.
fn serve(bed: &Bed, number: u8, certificate: [&str; 2]) -> Vec<Process> {
    let node = bed.node(Node::Server(number)).unwrap();
    let at = |name: &str| bed.dir().join(format!("{name}{number}")).display().to_string();
    fs::write(at("vsftpd"), "listen=YES\nbackground=NO\nanonymous_enable=YES\nxferlog_enable=NO\n").unwrap();
    let dns = format!("--pid-file={}", at("dnsmasq-pid"));
    let sink = ["aiosmtpd", "-n", "-c", "aiosmtpd.handlers.Sink", "-l"];
    let start =
        |name: &str, argv: &[&str]| node.spawn(argv, &bed.dir().join(format!("{name}{number}.log"))).unwrap();
    let processes = vec![
        start(
            "dnsmasq",
            &[
                "dnsmasq",
                "-d",
                "-C",
                "/dev/null",
                "-h",
                "-R",
                "-u",
                "root",
                "--address=/www.example/192.0.2.7",
                &dns,
            ],
        ),
        start("smtp", &[&sink[..], &["0.0.0.0:25"]].concat()),
        start(
            "smtps",
            &[&sink[..], &["0.0.0.0:465", "--smtpscert", certificate[0], "--smtpskey", certificate[1]]]
                .concat(),
        ),
        start("vsftpd", &["vsftpd", &at("vsftpd")]),
    ];
    let rip = bed.plan.server(number).unwrap().rip;
    for port in [53, 25, 465, 21] {
        let began = Instant::now();
        while node.inside(|| TcpStream::connect(SocketAddr::new(rip, port)).is_err()).unwrap() {
            assert!(began.elapsed() < PATIENCE, "nobody listens at port {port} of server {number}");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
    processes
}

fn config(bed: &Bed, ca: &str) -> String {
    let servers = |port: &str| -> String {
        let server = |number: u8| {
            let rip = bed.plan.server(number).unwrap().rip;
            format!(
                "[[virtual_service.real_server]]\naddress = \"{rip}:{port}\"\nforward = \"{}\"\n",
                ["nat", "dr", "tun"][usize::from(number) - 1]
            )
        };
        (1..=3u8).map(server).collect()
    };
    let mut text = bed.director_config(&[]);
    for service in SERVICES.split("\n\n") {
        let port = service.split("VIP:").nth(1).unwrap().split('"').next().unwrap();
        text += &format!("{}\n{}", service.trim(), servers(port));
    }
    text.replace("VIP", &bed.plan.vip.to_string()).replace("PACE", PACE).replace("CA", ca)
}

#[test]
fn dns_smtp_tls_and_ftp_are_asked_via_the_vip_by_every_method() {
    let bed = Bed::new(Layout::Mixed);
    let made = rcgen::generate_simple_self_signed(["mail.example".to_owned()]).unwrap();
    let file = |name: &str, text: String| {
        let path = bed.dir().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (cert, key) = (file("mail.crt", made.cert.pem()), file("mail.key", made.signing_key.serialize_pem()));
    let mut processes: Vec<_> = (1..=3).map(|number| serve(&bed, number, [&cert, &key])).collect();
    let director = bed.direct_by(&config(&bed, &cert));
    // By service, in its order, how its servers are.
    let states = || -> Vec<Vec<String>> {
        let rows = Client::new(&bed.control_socket()).services(None, Default::default()).unwrap();
        let of = |server: &lvx::control::view::ServerRow| {
            let known = server.health.is_some();
            server.state.map(|state| state.to_string()).filter(|_| known).unwrap_or_default()
        };
        rows.iter().map(|row| row.servers.iter().map(of).collect()).collect()
    };
    let all_up = || states().iter().flatten().all(|state| state == "up");
    eventually("servers up", || states().len() == 4 && all_up());

    // Each service of a server is what it is.
    processes[1].remove(1);
    processes[2].remove(0);
    eventually("one mail server and one of DNS down", || {
        let states = states();
        states[1] == ["up", "down", "up"] && states[0] == ["up", "up", "down"]
    });
    let states = states();
    assert!(states[2..].iter().flatten().all(|state| state == "up"), "{states:?}");
    director.stop().unwrap();
}
