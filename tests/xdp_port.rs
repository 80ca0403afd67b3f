//! The AF_XDP port against the real kernel: veth pairs in namespaces of the test's own. Needs root.
//!
//! ```text
//!   client                 director                 server
//!   c0 10.1.0.2 --veth-- d0 10.1.0.1
//!      fd00:1::2            fd00:1::1
//!                        d1 10.2.0.1 --veth-- s0 10.2.0.2
//! ```

#![cfg(all(feature = "xdp", target_os = "linux"))]
#![allow(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "clippy does not take the functions that tests share for tests")]

#[path = "xdp_port/losses.rs"]
mod losses;
#[path = "xdp_port/steering.rs"]
mod steering;

use lvx::dataplane::port::bpf::Hook;
use lvx::dataplane::port::device;
use lvx::dataplane::port::steer::{AttachMode, AttachReason, STALE_AFTER, Steering, SteeringTable};
use lvx::dataplane::port::xdp::{XdpOptions, XdpPort};
use lvx::dataplane::port::{Frame, Port};
use lvx::dataplane::verdict::{DropReason, HostReason, Verdict};
use lvx::net::{InterfaceId, Mac, Proto};
use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const SERVICE: &str = "10.1.0.1:7000";
const D0: InterfaceId = InterfaceId(0);
const D1: InterfaceId = InterfaceId(1);

// ---- namespaces ----------------------------------------------------------------------------------------------

/// Three namespaces, removed when dropped.
struct Lab {
    name: String,
}

impl Lab {
    fn new(queues: u32) -> Lab {
        // SAFETY: takes no arguments.
        let root = unsafe { libc::geteuid() } == 0;
        assert!(root, "needs root for namespaces and AF_XDP: run `sudo -E cargo test --test xdp_port`");
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("xp{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let lab = Lab { name };
        for node in ["c", "d", "s"] {
            ip(&format!("netns add {}", lab.node(node)));
            ip(&format!("-n {} link set lo up", lab.node(node)));
        }
        lab.pair(queues, ("d", "d0", "10.1.0.1/24"), ("c", "c0", "10.1.0.2/24"));
        lab.pair(queues, ("d", "d1", "10.2.0.1/24"), ("s", "s0", "10.2.0.2/24"));
        ip(&format!("-n {} addr add fd00:1::1/64 dev d0 nodad", lab.node("d")));
        ip(&format!("-n {} addr add fd00:1::2/64 dev c0 nodad", lab.node("c")));
        ip(&format!("-n {} route add default via 10.2.0.1", lab.node("s")));
        lab
    }

    fn pair(&self, queues: u32, director: (&str, &str, &str), other: (&str, &str, &str)) {
        let ends = [director, other].map(|(node, link, _)| {
            format!("{link} netns {} numrxqueues {queues} numtxqueues {queues}", self.node(node))
        });
        ip(&format!("link add {} type veth peer name {}", ends[0], ends[1]));
        for (node, link, address) in [director, other] {
            ip(&format!("-n {} addr add {address} dev {link}", self.node(node)));
            ip(&format!("-n {} link set {link} up", self.node(node)));
        }
        // Complete checksums: the pipeline's part of the work is not under test here.
        let (node, link, _) = other;
        run(&format!("ip netns exec {} ethtool -K {link} tx off", self.node(node)));
    }

    fn node(&self, node: &str) -> String {
        format!("{}-{node}", self.name)
    }

    /// Runs `body` in a node's namespace; threads that it starts are there, too.
    fn on<R: Send>(&self, node: &str, body: impl FnOnce() -> R + Send) -> R {
        let namespace = std::fs::File::open(format!("/run/netns/{}", self.node(node))).unwrap();
        thread::scope(|scope| {
            let thread = scope.spawn(move || {
                // SAFETY: takes no pointers; moves only this thread.
                let entered = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
                assert_eq!(entered, 0, "setns: {}", std::io::Error::last_os_error());
                body()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn has_xdp(&self, link: &str) -> bool {
        run(&format!("ip -n {} -j link show {link}", self.node("d"))).contains("xdp")
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for node in ["c", "d", "s"] {
            let _ = Command::new("ip").args(["netns", "del", &self.node(node)]).status();
        }
    }
}

fn ip(arguments: &str) {
    run(&format!("ip {arguments}"));
}

fn run(command: &str) -> String {
    let mut words = command.split(' ');
    let output = Command::new(words.next().unwrap()).args(words).output().expect(command);
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

// ---- clients, servers, workers ---------------------------------------------------------------------------------

/// The answer to a datagram, asked for several times.
fn ask(lab: &Lab, to: &str, question: &[u8]) -> Option<Vec<u8>> {
    lab.on("c", || ask_from(&UdpSocket::bind(any(to)).unwrap(), to, question))
}

fn any(to: &str) -> &'static str {
    if to.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" }
}

fn ask_from(socket: &UdpSocket, to: &str, question: &[u8]) -> Option<Vec<u8>> {
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut answer = [0; 4096];
    (0..10).find_map(|_| {
        socket.send_to(question, to).unwrap();
        socket.recv(&mut answer).ok().map(|n| answer[..n].to_vec())
    })
}

/// Stops a loop when the test's body is through, or has panicked.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `body` while a kernel socket of this namespace answers every datagram with `answer`.
fn with_udp_server<R>(at: &str, answer: &[u8], body: impl FnOnce() -> R) -> R {
    let socket = UdpSocket::bind(at).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut question = [0; 4096];
            while !stop.load(Ordering::Relaxed) {
                if let Ok((_, from)) = socket.recv_from(&mut question) {
                    socket.send_to(answer, from).unwrap();
                }
            }
        });
        let _stop = StopOnDrop(&stop);
        body()
    })
}

type Road<'a> = &'a mut (dyn FnMut(&mut [Frame<'_>]) + Send);

/// One turn of a road that makes no frames.
fn turn(port: &mut XdpPort, road: Road<'_>) -> io::Result<usize> {
    port.turn(&mut |frames| {
        road(frames);
        Vec::new()
    })
}

/// Runs `body` while a worker drives `port`.
fn with_worker<R>(port: &mut XdpPort, road: Road<'_>, body: impl FnOnce() -> R) -> R {
    let stop = AtomicBool::new(false);
    let result = thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                if turn(port, road).unwrap() == 0 {
                    port.wait(Duration::from_millis(10)).unwrap();
                }
            }
        });
        let _stop = StopOnDrop(&stop);
        body()
    });
    assert!(port.frames().adds_up(), "{:?}", port.frames());
    result
}

/// A director's end of a veth, steered.
fn steered(link: &str, queues: u32, mode: AttachMode, table: &SteeringTable) -> Steering {
    let mut steering = Steering::attach(link, device::index(link).unwrap(), queues, mode).unwrap();
    steering.set(table).unwrap();
    steering
}

fn udp(services: &[&str]) -> SteeringTable {
    let services = services.iter().map(|at| (Proto::Udp, at.parse().unwrap())).collect();
    SteeringTable { services, ..SteeringTable::default() }
}

fn open(steering: &Steering, queue: u32, frames: u32) -> XdpPort {
    let options = XdpOptions { frames, ..XdpOptions::default() };
    XdpPort::open(&options, queue, &[(D0, "d0", steering)]).unwrap()
}

// ---- roads -------------------------------------------------------------------------------------------------------

/// Sends a packet back to where it came from: MACs, addresses and ports change places, which leaves every checksum
/// as it was.
fn echo(frames: &mut [Frame<'_>]) {
    for frame in frames {
        let ingress = frame.ingress();
        let packet = frame.data_mut();
        swap(packet, 0, 6, 6);
        let ports = if packet[12..14] == [0x86, 0xdd] {
            swap(packet, 22, 38, 16);
            54
        } else {
            swap(packet, 26, 30, 4);
            14 + usize::from(packet[14] & 15) * 4
        };
        swap(packet, ports, ports + 2, 2);
        frame.verdict = Verdict::Forward(ingress);
    }
}

fn swap(packet: &mut [u8], a: usize, b: usize, len: usize) {
    let (front, back) = packet.split_at_mut(b);
    front[a..a + len].swap_with_slice(&mut back[..len]);
}

fn to_host(frames: &mut [Frame<'_>]) {
    for frame in frames {
        frame.verdict = Verdict::ToHost(HostReason::NoConnection);
    }
}

fn discard(frames: &mut [Frame<'_>]) {
    for frame in frames {
        frame.verdict = Verdict::Drop(DropReason::NoRealServer);
    }
}

/// Rewrites Ethernet and one IPv4 address (at `field`), and makes the checksums right again.
fn readdress(packet: &mut [u8], from: Mac, to: Mac, field: usize, addr: [u8; 4]) {
    packet[..6].copy_from_slice(&to.0);
    packet[6..12].copy_from_slice(&from.0);
    packet[field..field + 4].copy_from_slice(&addr);
    packet[24..26].fill(0);
    let sum: u32 = packet[14..34].chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    packet[24..26].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    // RFC 768: no checksum.
    packet[40..42].fill(0);
}

// ---- the tests -----------------------------------------------------------------------------------------------------

fn the_service_is_ours_and_the_rest_the_kernels(mode: AttachMode, hook: Hook) {
    let lab = Lab::new(1);
    lab.on("d", || {
        let steering = steered("d0", 1, mode, &udp(&[SERVICE, "[fd00:1::1]:7000"]));
        assert_eq!(steering.mode(), hook);
        let mut port = open(&steering, 0, 256);
        let ssh = TcpListener::bind("10.1.0.1:22").unwrap();
        with_udp_server("10.1.0.1:7001", b"the kernel", || {
            with_worker(&mut port, &mut echo, || {
                assert_eq!(ask(&lab, SERVICE, b"question").unwrap(), b"question", "echoed by the worker");
                assert_eq!(ask(&lab, "[fd00:1::1]:7000", b"six").unwrap(), b"six", "IPv6 likewise");
                assert_eq!(ask(&lab, "10.1.0.1:7001", b"question").unwrap(), b"the kernel");
                run(&format!("ip netns exec {} ping -c 1 -W 2 10.1.0.1", lab.node("c")));
                run(&format!("ip netns exec {} ping -c 1 -W 2 fd00:1::1", lab.node("c")));
                lab.on("c", || TcpStream::connect("10.1.0.1:22").unwrap());
                ssh.accept().unwrap();
                // TCP to the UDP service's port is another service, and nobody's: the kernel refuses it.
                let refused = lab.on("c", || TcpStream::connect(SERVICE).unwrap_err());
                assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
            });
        });
        let received = port.counters().received();
        assert!((2..10).contains(&received), "only the service's packets reached the worker: {received}");
    });
}

#[test]
fn the_worker_gets_the_service_and_the_kernel_the_rest_with_native_xdp() {
    the_service_is_ours_and_the_rest_the_kernels(AttachMode::Auto, Hook::Native);
}

#[test]
fn the_worker_gets_the_service_and_the_kernel_the_rest_with_generic_xdp() {
    the_service_is_ours_and_the_rest_the_kernels(AttachMode::Generic, Hook::Generic);
}

#[test]
fn ip_options_are_steered_and_fragments_stay_with_the_kernel() {
    let lab = Lab::new(1);
    lab.on("d", || {
        let steering = steered("d0", 1, AttachMode::Auto, &udp(&[SERVICE]));
        let mut port = open(&steering, 0, 256);
        with_udp_server(SERVICE, b"the kernel", || {
            with_worker(&mut port, &mut echo, || {
                let with_options = lab.on("c", || {
                    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
                    let no_operations = [1u8; 8];
                    let at = no_operations.as_ptr().cast();
                    // SAFETY: reads eight bytes.
                    let set = unsafe {
                        libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_IP, libc::IP_OPTIONS, at, 8)
                    };
                    assert_eq!(set, 0);
                    ask_from(&socket, SERVICE, b"options")
                });
                assert_eq!(with_options.unwrap(), b"options");
                assert_eq!(ask(&lab, SERVICE, &[b'x'; 3000]).unwrap(), b"the kernel");
            });
        });
    });
}

#[test]
fn a_packet_changes_interface_within_one_umem_and_the_directors_own_checks_still_work() {
    let lab = Lab::new(1);
    let server = lab.on("s", || device::mac("s0").unwrap());
    let client = lab.on("c", || device::mac("c0").unwrap());
    lab.on("d", || {
        let outer = steered("d0", 1, AttachMode::Auto, &udp(&[SERVICE]));
        let inner_table = SteeringTable {
            returns: BTreeSet::from([(Proto::Udp, "10.2.0.2:7000".parse().unwrap())]),
            own: BTreeSet::from(["10.2.0.1".parse().unwrap()]),
            ..SteeringTable::default()
        };
        let inner = steered("d1", 1, AttachMode::Auto, &inner_table);
        let options = XdpOptions { frames: 256, ..XdpOptions::default() };
        let mut port = XdpPort::open(&options, 0, &[(D0, "d0", &outer), (D1, "d1", &inner)]).unwrap();
        let macs = [device::mac("d0").unwrap(), device::mac("d1").unwrap()];
        let mut nat = |frames: &mut [Frame<'_>]| {
            for frame in frames {
                let (verdict, from, to, field, addr) = match frame.ingress() {
                    D0 => (Verdict::Forward(D1), macs[1], server, 30, [10, 2, 0, 2]),
                    _ => (Verdict::Forward(D0), macs[0], client, 26, [10, 1, 0, 1]),
                };
                readdress(frame.data_mut(), from, to, field, addr);
                frame.verdict = verdict;
            }
        };
        let reached = lab.on("s", || {
            with_udp_server("10.2.0.2:7000", b"the server", || {
                lab.on("d", || {
                    with_worker(&mut port, &mut nat, || {
                        let checked = UdpSocket::bind("10.2.0.1:0").unwrap();
                        assert_eq!(ask_from(&checked, "10.2.0.2:7000", b"alive?").unwrap(), b"the server");
                        ask(&lab, SERVICE, b"question")
                    })
                })
            })
        });
        assert_eq!(reached.unwrap(), b"the server");
    });
}

#[test]
fn a_flood_onto_a_stopped_worker_with_few_frames_loses_packets_but_no_frame() {
    let lab = Lab::new(1);
    lab.on("d", || {
        let steering = steered("d0", 1, AttachMode::Auto, &udp(&[SERVICE]));
        let mut port = open(&steering, 0, 64);
        with_worker(&mut port, &mut echo, || ask(&lab, SERVICE, b"first").unwrap());
        for _ in 0..5 {
            // A turn: the steering program trusts us for another half second.
            turn(&mut port, &mut discard).unwrap();
            lab.on("c", || {
                let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
                for _ in 0..1000 {
                    let _ = socket.send_to(&[0; 100], SERVICE);
                }
            });
            // More to send than the ring takes, and no wait in between.
            while turn(&mut port, &mut echo).unwrap() > 0 {}
        }
        port.wait(Duration::from_millis(250)).unwrap();
        let counters = port.counters();
        let lost = counters.sum(|arm| &arm.rx_dropped)
            + counters.sum(|arm| &arm.rx_ring_full)
            + counters.sum(|arm| &arm.fill_ring_empty);
        assert!(lost > 0, "the kernel says so: {counters:?}");
        let census = port.frames();
        assert!(census.adds_up() && census.total == 64, "{census:?}");
        // At rest all that may be received into waits on the fill ring; what was sent may not have been taken back.
        let [arm] = &counters.arms[..] else { panic!("one interface: {counters:?}") };
        assert_eq!((arm.interface.as_str(), arm.queue, counters.frames), ("d0", 0, 64));
        assert_eq!((arm.filling.get(), arm.fill.used.get(), arm.fill.size), (32, 32, 32), "{counters:?}");
        assert_eq!(counters.free_frames.get() + arm.filling.get() + arm.sending.get(), 64, "{counters:?}");
        assert_eq!((arm.rx.used.get(), arm.rx.size, arm.tx.size, arm.completion.size), (0, 32, 32, 32));
        assert!(arm.tx.used.get() + arm.completion.used.get() <= arm.sending.get(), "{counters:?}");
        with_worker(&mut port, &mut echo, || {
            for _ in 0..200 {
                assert_eq!(ask(&lab, SERVICE, b"still there?").unwrap(), b"still there?");
            }
        });
    });
}

#[test]
fn a_packet_with_an_outer_header_leaves_as_the_road_made_it() {
    let lab = Lab::new(1);
    lab.on("d", || {
        let steering = steered("d0", 1, AttachMode::Auto, &udp(&[SERVICE]));
        let mut port = open(&steering, 0, 64);
        // Twenty bytes in front and taken again from behind: the datagram is cut by as many.
        let mut shift = |frames: &mut [Frame<'_>]| {
            echo(frames);
            for frame in frames {
                let (start, len) = (frame.start(), frame.len());
                assert!(frame.grow_front(20));
                assert_eq!((frame.start(), frame.len()), (start - 20, len + 20));
                frame.data_mut().copy_within(20.., 0);
                frame.truncate(len);
            }
        };
        let answer = with_worker(&mut port, &mut shift, || ask(&lab, SERVICE, b"moved"));
        assert_eq!(answer.unwrap(), b"moved");
    });
}

#[test]
fn a_frame_for_another_mac_that_a_switch_flooded_is_not_forwarded() {
    let lab = Lab::new(1);
    lab.on("d", || {
        let steering = steered("d0", 1, AttachMode::Auto, &udp(&[SERVICE]));
        let mut port = open(&steering, 0, 64);
        with_worker(&mut port, &mut echo, || {
            assert_eq!(ask(&lab, SERVICE, b"q").unwrap(), b"q");
            ip(&format!("-n {} neigh replace 10.1.0.1 lladdr 02:00:00:00:00:99 dev c0", lab.node("c")));
            lab.on("c", || {
                let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
                socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
                socket.send_to(b"for a real server", SERVICE).unwrap();
                assert!(socket.recv(&mut [0; 64]).is_err());
            });
        });
        assert_eq!(port.counters().received(), 1);
    });
}

#[test]
fn two_queues_have_a_worker_each() {
    let lab = Lab::new(2);
    lab.on("d", || {
        let steering = steered("d0", 2, AttachMode::Auto, &udp(&[SERVICE]));
        let (mut first, mut second) = (open(&steering, 0, 256), open(&steering, 1, 256));
        with_worker(&mut first, &mut echo, || {
            with_worker(&mut second, &mut echo, || {
                for _ in 0..32 {
                    assert_eq!(ask(&lab, SERVICE, b"question").unwrap(), b"question");
                }
            });
        });
        for port in [&first, &second] {
            assert!(port.counters().received() > 0, "flows spread over both queues");
        }
    });
}

#[test]
fn a_hung_worker_swallows_nothing() {
    let lab = Lab::new(1);
    lab.on("d", || {
        let steering = steered("d0", 1, AttachMode::Auto, &udp(&[SERVICE]));
        let mut port = open(&steering, 0, 64);
        with_udp_server(SERVICE, b"the kernel", || {
            with_worker(&mut port, &mut echo, || assert_eq!(ask(&lab, SERVICE, b"q").unwrap(), b"q"));
            thread::sleep(STALE_AFTER + Duration::from_millis(50));
            assert_eq!(ask(&lab, SERVICE, b"q").unwrap(), b"the kernel", "while no turn is taken");
            // The first turn is the first beat.
            turn(&mut port, &mut echo).unwrap();
            with_worker(&mut port, &mut echo, || assert_eq!(ask(&lab, SERVICE, b"q").unwrap(), b"q"));
            drop(port);
            let asked = Instant::now();
            assert_eq!(ask(&lab, SERVICE, b"q").unwrap(), b"the kernel");
            assert!(asked.elapsed() < STALE_AFTER, "a port that was closed is not waited for");
        });
    });
}

fn the_host_door_leads_to_the_kernel(mode: AttachMode) {
    let lab = Lab::new(1);
    lab.on("d", || {
        let mut table = udp(&[SERVICE]);
        table.services.insert((Proto::Tcp, "10.1.0.1:80".parse().unwrap()));
        table.services.insert((Proto::Tcp, "10.1.0.1:81".parse().unwrap()));
        let steering = steered("d0", 1, mode, &table);
        let mut port = open(&steering, 0, 64);
        let web = TcpListener::bind("10.1.0.1:81").unwrap();
        with_udp_server(SERVICE, b"the kernel", || {
            with_worker(&mut port, &mut to_host, || {
                assert_eq!(ask(&lab, SERVICE, b"question").unwrap(), b"the kernel");
                let refused = lab.on("c", || TcpStream::connect("10.1.0.1:80").unwrap_err());
                assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "the kernel's RST");
                lab.on("c", || TcpStream::connect("10.1.0.1:81").unwrap());
                web.accept().unwrap();
            });
        });
        let counters = port.counters();
        assert!(counters.to_host.get() >= 4);
        assert_eq!(counters.host_unreachable.get(), 0);
        assert_eq!(counters.received(), counters.to_host.get());
    });
}

#[test]
fn a_frame_for_the_host_is_received_by_the_kernel_with_native_xdp() {
    the_host_door_leads_to_the_kernel(AttachMode::Native);
}

#[test]
fn a_frame_for_the_host_is_received_by_the_kernel_with_generic_xdp() {
    the_host_door_leads_to_the_kernel(AttachMode::Generic);
}

#[test]
fn a_table_is_replaced_while_traffic_runs() {
    let lab = Lab::new(1);
    lab.on("d", || {
        let mut steering = steered("d0", 1, AttachMode::Auto, &udp(&[SERVICE]));
        let mut port = open(&steering, 0, 64);
        with_udp_server(SERVICE, b"the kernel", || {
            with_worker(&mut port, &mut echo, || {
                assert_eq!(ask(&lab, SERVICE, b"q").unwrap(), b"q");
                steering.set(&udp(&["10.1.0.1:7002"])).unwrap();
                assert_eq!(ask(&lab, SERVICE, b"q").unwrap(), b"the kernel", "no longer a service");
                assert_eq!(ask(&lab, "10.1.0.1:7002", b"q").unwrap(), b"q");
                ip(&format!("-n {} link set d0 address 02:00:00:00:00:77", lab.node("d")));
                steering.set(&udp(&[SERVICE])).unwrap();
                ip(&format!("-n {} neigh flush dev c0", lab.node("c")));
                assert_eq!(ask(&lab, SERVICE, b"q").unwrap(), b"q", "with the interface's new MAC");
            });
        });
    });
}

#[test]
fn errors_say_what_is_in_the_way() {
    let lab = Lab::new(1);
    lab.on("d", || {
        let index = device::index("d0").unwrap();
        let absent = Steering::attach("d9", 4_000_000, 1, AttachMode::Auto).unwrap_err();
        assert_eq!(absent.to_string(), "d9: attaching the steering program: there is no such interface");

        let first = Steering::attach("d0", index, 1, AttachMode::Auto).unwrap();
        let second = Steering::attach("d0", index, 1, AttachMode::Auto).unwrap_err();
        let AttachReason::Busy(Some((id, name))) = second.reason else { panic!("{second}") };
        assert!(id > 0 && name == "steer", "{id} {name}");
        let second = Steering::attach("d0", index, 1, AttachMode::Generic).unwrap_err();
        assert!(matches!(second.reason, AttachReason::Busy(_)), "{second}");

        let no_queue = XdpPort::open(&XdpOptions::default(), 5, &[(D0, "d0", &first)]).unwrap_err();
        assert!(no_queue.to_string().contains("d0 queue 5") && no_queue.to_string().contains("ethtool -l"));
        let _port = open(&first, 0, 64);
        let busy = XdpPort::open(&XdpOptions::default(), 0, &[(D0, "d0", &first)]).unwrap_err();
        assert_eq!(busy.to_string(), "queue busy: another AF_XDP socket is bound to d0 queue 0");
    });
}

#[test]
fn a_port_whose_interface_is_gone_says_so() {
    let lab = Lab::new(1);
    lab.on("d", || {
        let steering = steered("d0", 1, AttachMode::Auto, &udp(&[SERVICE]));
        let mut port = open(&steering, 0, 64);
        turn(&mut port, &mut echo).unwrap();
        ip(&format!("-n {} link del d0", lab.node("d")));
        let end = Instant::now() + Duration::from_secs(2);
        let error = loop {
            assert!(Instant::now() < end, "two seconds without a word");
            if let Err(error) = turn(&mut port, &mut echo).and_then(|_| port.wait(Duration::from_millis(50)))
            {
                break error;
            }
        };
        assert!(error.to_string().starts_with("d0: "), "{error}");
    });
}

/// Packets that bounce between two ports, each of which is the other's client: both a soak and a rough rate.
#[test]
#[ignore = "a measurement, for an idle machine: cargo test --release --test xdp_port -- --ignored rate --nocapture"]
fn the_rate_of_two_ports_that_echo_each_other() {
    let lab = Lab::new(1);
    let here = lab.on("d", || {
        let steering = steered("d0", 1, AttachMode::Auto, &udp(&[SERVICE]));
        let port = open(&steering, 0, 4096);
        (steering, port)
    });
    let there = lab.on("c", || {
        let steering = steered("c0", 1, AttachMode::Auto, &udp(&["10.1.0.2:7001"]));
        let options = XdpOptions { frames: 4096, ..XdpOptions::default() };
        let port = XdpPort::open(&options, 0, &[(D0, "c0", &steering)]).unwrap();
        (steering, port)
    });
    let ((_s0, mut here), (_s1, mut there)) = (here, there);
    let counters = [here.counters(), there.counters()];
    let received = || counters.iter().map(|c| c.received()).sum::<u64>();
    with_worker(&mut here, &mut echo, || {
        with_worker(&mut there, &mut echo, || {
            lab.on("c", || {
                let socket = UdpSocket::bind("10.1.0.2:7001").unwrap();
                for _ in 0..512 {
                    socket.send_to(&[0; 18], SERVICE).unwrap();
                }
            });
            thread::sleep(Duration::from_millis(200));
            let (before, clock) = (received(), Instant::now());
            thread::sleep(Duration::from_secs(2));
            let rate = (received() - before) as f64 / clock.elapsed().as_secs_f64();
            println!("{:.3} Mpps through two ports together, one core each", rate / 1e6);
            assert!(rate > 10_000.0, "packets still go round: {rate}");
        });
    });
}

#[test]
fn an_mtu_too_large_for_native_xdp_falls_back_to_generic_unless_native_is_demanded() {
    let lab = Lab::new(1);
    ip(&format!("-n {} link set c0 mtu 9000", lab.node("c")));
    lab.on("d", || {
        let index = device::index("d0").unwrap();
        let refused = Steering::attach("d0", index, 1, AttachMode::Native).unwrap_err();
        assert!(refused.to_string().contains("MTU is too large"), "{refused}");
        let steering = Steering::attach("d0", index, 1, AttachMode::Auto).unwrap();
        assert_eq!(steering.mode(), Hook::Generic);
    });
}

#[test]
fn a_veth_may_carry_partial_checksums() {
    let lab = Lab::new(1);
    lab.on("d", || {
        assert_eq!(device::driver("d0").unwrap(), "veth");
        assert!(device::may_carry_partial_checksums("d0"));
    });
}

#[test]
fn nothing_stays_attached_when_the_director_ends_in_any_way() {
    let lab = Lab::new(1);
    lab.on("d", || {
        let steering = steered("d0", 1, AttachMode::Auto, &udp(&[SERVICE]));
        let port = open(&steering, 0, 64);
        assert!(lab.has_xdp("d0"));
        drop((port, steering));
        assert!(!lab.has_xdp("d0"), "after an ordinary end");

        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_director_to_be_killed", "--ignored", "--nocapture"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let attached = said.lines().map_while(Result::ok).any(|line| line.contains("attached"));
        let seen = lab.has_xdp("d0");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(attached && seen);
        assert!(!lab.has_xdp("d0"), "after kill -9");

        // And at once the queue can be had again.
        let steering = steered("d0", 1, AttachMode::Auto, &udp(&[SERVICE]));
        let mut port = open(&steering, 0, 64);
        with_worker(&mut port, &mut echo, || assert_eq!(ask(&lab, SERVICE, b"q").unwrap(), b"q"));
    });
}

/// Inherits the director's namespace from the test that starts it.
#[test]
#[ignore = "run by nothing_stays_attached_when_the_director_ends_in_any_way, which kills it"]
fn a_director_to_be_killed() {
    let steering = steered("d0", 1, AttachMode::Auto, &udp(&[SERVICE]));
    let mut port = open(&steering, 0, 64);
    println!("\nattached");
    let end = Instant::now() + Duration::from_secs(20);
    while Instant::now() < end {
        turn(&mut port, &mut echo).unwrap();
        port.wait(Duration::from_millis(50)).unwrap();
    }
}
