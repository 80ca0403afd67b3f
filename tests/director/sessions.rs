//! Clients that keep to their servers, and FTP, whose connections belong together.

use crate::bed::{Bed, eventually, options};
use lvx::control::report::Report;
use lvx::lab::{Director, Family, Layout, Node, Options, Process};
use lvx::service::Method;
use std::fmt::Write as _;
use std::fs;
use std::net::TcpStream;
use std::time::Duration;

const LINES: usize = 4000;

/// A lab with vsftpd on each server, which serves `name` (who it is) and `large`.
struct Ftp {
    _servers: Vec<Process>,
    director: Director,
    bed: Bed,
}

impl Ftp {
    fn new(layout: Layout, family: Family, more: &str) -> Ftp {
        let bed = Bed::empty(layout, Options { family, ..options() });
        let servers = bed.plan.servers.iter().map(|server| serve(&bed, server.number)).collect();
        let mut config = bed.director_config(&[]);
        let vip = std::net::SocketAddr::new(bed.plan.vip, 21);
        let _ = write!(config, "\n[[virtual_service]]\naddress = \"{vip}\"\nscheduler = \"rr\"\n{more}");
        for server in &bed.plan.servers {
            let (rip, method) = (server.rip, server.method);
            let _ = write!(
                config,
                "\n[[virtual_service.real_server]]\naddress = \"{rip}\"\nforward = \"{method}\"\n"
            );
        }
        let director = bed.direct_by(&config);
        Ftp { director, _servers: servers, bed }
    }

    /// What curl reads by FTP in this way.
    fn get(&self, file: &str, how: &str) -> String {
        let url = match self.bed.plan.vip {
            std::net::IpAddr::V4(vip) => format!("ftp://{vip}/{file}"),
            std::net::IpAddr::V6(vip) => format!("ftp://[{vip}]/{file}"),
        };
        let mut argv = vec!["curl", "-sS", "--connect-timeout", "3", "--max-time", "15"];
        argv.extend(how.split_whitespace());
        argv.push(&url);
        let output = self.bed.node(Node::Client).unwrap().command(&argv).output().unwrap();
        assert!(output.status.success(), "{how}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn report(&self) -> Report {
        self.director.report().unwrap()
    }
}

fn large(number: u8) -> String {
    (0..LINES)
        .map(|line| format!("server {number}, line {line}, and more of the same so that it takes a while\n"))
        .collect()
}

fn serve(bed: &Bed, number: u8) -> Process {
    let server = &bed.plan.servers[usize::from(number) - 1];
    let dir = bed.dir().join(format!("ftp{number}"));
    let (root, empty) = (dir.join("root"), dir.join("empty"));
    fs::create_dir_all(&root).unwrap();
    fs::create_dir_all(&empty).unwrap();
    fs::write(root.join("name"), format!("server {number}")).unwrap();
    fs::write(root.join("large"), large(number)).unwrap();
    let listens = if server.method == Method::Nat { server.rip } else { bed.plan.vip };
    let (listen, address) =
        if listens.is_ipv4() { ("listen", "listen_address") } else { ("listen_ipv6", "listen_address6") };
    let other = if listens.is_ipv4() { "listen_ipv6" } else { "listen" };
    let config = format!(
        "{listen}=YES\n{other}=NO\n{address}={listens}\nbackground=NO\nanonymous_enable=YES\nno_anon_password=YES\n\
         local_enable=NO\nanon_root={}\nsecure_chroot_dir={}\nallow_writeable_chroot=YES\nrun_as_launching_user=YES\n\
         seccomp_sandbox=NO\nisolate=NO\nisolate_network=NO\nconnect_from_port_20=YES\npasv_min_port=40000\n\
         pasv_max_port=40999\n",
        root.display(),
        empty.display()
    );
    let file = dir.join("vsftpd.conf");
    fs::write(&file, config).unwrap();
    let node = bed.node(Node::Server(number)).unwrap();
    let log = dir.join("log");
    let vsftpd = node
        .spawn(&["vsftpd", &*file.to_string_lossy()], &log)
        .unwrap_or_else(|error| panic!("vsftpd, which scripts/setup installs: {error}"));
    let at = std::net::SocketAddr::new(listens, 21);
    eventually("vsftpd listens", || {
        node.inside(|| TcpStream::connect_timeout(&at, Duration::from_millis(200)).is_ok()).unwrap()
    });
    vsftpd
}

/// Every way that curl has to ask for its data.
const WAYS: [&str; 4] = ["--disable-epsv", "--ftp-pasv", "--ftp-port - --disable-eprt", "--ftp-port -"];

fn carries_ftp(layout: Layout, family: Family, more: &str, ways: &[&str]) {
    let ftp = Ftp::new(layout, family, more);
    let mut reached = std::collections::BTreeSet::new();
    for how in ways {
        reached.insert(ftp.get("name", how));
        let got = ftp.get("large", how);
        assert!((1..=3).any(|number| got == large(number)), "{how}: {} bytes", got.len());
    }
    let report = ftp.report();
    assert_eq!(report.dropped, 0, "{report:?}");
    let persistent = !more.is_empty();
    assert_eq!(
        reached.len() == 1,
        persistent,
        "{reached:?}: one client, one server only where it is persistent"
    );
    if persistent {
        eventually("one template is reported", || {
            let report = ftp.report();
            let sum: u64 = report.services[0].real_servers.iter().map(|real| real.persistent).sum();
            (sum, report.connections.templates) == (1, 1)
        });
    }
}

#[test]
fn ftp_through_nat_reaches_the_server_of_its_control_connection() {
    carries_ftp(Layout::Nat, Family::V4, "", &WAYS);
}

#[test]
fn ftp_through_nat_in_ipv6_does_too() {
    carries_ftp(Layout::Nat, Family::V6, "", &["--ftp-pasv", "--ftp-port -", "--ftp-pasv"]);
}

#[test]
fn direct_routed_ftp_keeps_to_its_server_by_persistence() {
    carries_ftp(Layout::Dr, Family::V4, "persistent = true\n", &WAYS);
}
