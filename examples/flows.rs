//! Writes what the time per packet is measured with: a capture of many flows of 64-byte packets (60 and the frame
//! check sequence), and a configuration for each forwarding method.
//!
//!     cargo run --release --no-default-features --example flows -- FOLDER [FLOWS] [PACKETS_PER_FLOW]
//!     lvx replay --config FOLDER/nat.toml --input FOLDER/flows.pcap --repeat 15
//!
//! Every flow opens with a SYN; then come ACKs, each of a flow drawn at random, so that no packet finds its
//! connection in the cache because of the packet before. A million packets take a second of the capture's time.

use etherparse::PacketBuilder;
use lvx::dataplane::port::pcap::CaptureWriter;
use lvx::net::InterfaceId;
use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

/// 2025-01-01 00:00:00 UTC.
const START_NS: u64 = 1_735_689_600_000_000_000;
const NS_BETWEEN_PACKETS: u64 = 1000;

const SERVERS: u32 = 16;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("where to? flows FOLDER [FLOWS] [PACKETS_PER_FLOW]")?);
    let flows: u32 = arguments.next().map_or(Ok(100_000), |flows| flows.parse())?;
    let packets_per_flow: u32 = arguments.next().map_or(Ok(10), |packets| packets.parse())?;

    fs::create_dir_all(&folder)?;
    for method in ["nat", "dr", "tun"] {
        fs::write(folder.join(format!("{method}.toml")), config(method))?;
    }
    let mut writer = CaptureWriter::create(&folder.join("flows.pcap"), &["eth0"])?;
    let mut time_ns = START_NS;
    let mut write = |flow, syn| {
        time_ns += NS_BETWEEN_PACKETS;
        writer.write(InterfaceId(0), time_ns, &frame(flow, syn)?).map_err(Box::<dyn Error>::from)
    };
    let mut dice = Dice(1);
    let mut order: Vec<u32> = (0..flows).collect();
    for last in (1..order.len()).rev() {
        order.swap(last, dice.below(last as u32 + 1) as usize);
    }
    order.into_iter().try_for_each(|flow| write(flow, true))?;
    for _ in flows..flows * packets_per_flow {
        write(dice.below(flows), false)?;
    }
    writer.finish()?;
    Ok(())
}

/// The packet of a flow: 6 bytes of data fill the smallest Ethernet frame.
fn frame(flow: u32, syn: bool) -> Result<Vec<u8>, Box<dyn Error>> {
    let client = [198, 18 + (flow >> 16) as u8, (flow >> 8) as u8, flow as u8];
    let port = 1024 + (flow.wrapping_mul(40_503) % 60_000) as u16;
    let ip = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 0xfe], [2, 0, 0, 0, 0, 1]).ipv4(
        client,
        [192, 0, 2, 100],
        64,
    );
    let tcp = ip.tcp(port, 80, 1, 64240);
    let tcp = if syn { tcp.syn() } else { tcp.ack(1) };
    let mut frame = Vec::with_capacity(60);
    tcp.write(&mut frame, &[0; 6])?;
    Ok(frame)
}

/// The default table, for a million connections.
fn config(method: &str) -> String {
    let mut text = String::from(
        r#"[[interface]]
name = "eth0"
mac = "02:00:00:00:00:01"
addresses = ["192.0.2.1/24", "192.0.2.100/32"]

[[interface]]
name = "eth1"
mac = "02:00:00:00:00:02"
addresses = ["10.0.0.1/24"]

[[route]]
to = "0.0.0.0/0"
via = "192.0.2.254"

[[neighbour]]
address = "192.0.2.254"
mac = "02:00:00:00:00:fe"
"#,
    );
    for server in 1..=SERVERS {
        text += &format!(
            "\n[[neighbour]]\naddress = \"10.0.0.{}\"\nmac = \"02:00:00:00:01:{server:02x}\"\n",
            10 + server
        );
    }
    text += "\n[[virtual_service]]\naddress = \"192.0.2.100:80\"\nscheduler = \"rr\"\n";
    for server in 1..=SERVERS {
        let port = if method == "nat" { 8080 } else { 80 };
        text += &format!(
            "\n[[virtual_service.real_server]]\naddress = \"10.0.0.{}:{port}\"\nforward = \"{method}\"\n",
            10 + server
        );
    }
    text
}

/// A linear congruential generator (Knuth's MMIX): the same numbers in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (((self.0 >> 32) * u64::from(end)) >> 32) as u32
    }
}
