//! A director without ports, and what must hold of every frame that it is lent: shared by the property tests here and
//! the fuzz targets in `fuzz/`.

use super::soundness::{Kind, unsound};
use lvx::config::{self, Config};
use lvx::conntrack::{Seed, Table, Tracker};
use lvx::control::gather;
use lvx::control::publish::Publisher;
use lvx::control::report::Report;
use lvx::dataplane::counters::Counters;
use lvx::dataplane::pipeline::Pipeline;
use lvx::dataplane::port::{Frame, HEADROOM};
use lvx::dataplane::snapshot::Published;
use lvx::dataplane::verdict::{DropReason, HostReason, Verdict};
use lvx::net::{InterfaceId, Tick};
use lvx::wire::{ETHERNET, checksum, parse};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// The interfaces whose senders leave checksums to their hardware.
const PARTIAL: [bool; 2] = [true, false];

/// As the configuration has it.
const MAX_CONNECTIONS: u64 = 12;

/// A frame's bytes, and the number of the interface that it comes in on.
pub type Received = (Vec<u8>, u16);

/// A director without ports, and what it was seen to do.
pub struct Director {
    pipeline: Pipeline,
    table: Arc<Table>,
    publisher: Publisher,
    counters: Arc<Counters>,
    /// What its counters said in the beginning.
    before: Report,
    seen: Seen,
}

thread_local! {
    /// Counters that a director has left behind. To have new ones takes longer than most tapes.
    static COUNTERS: Cell<Option<Arc<Counters>>> = const { Cell::new(None) };
}

/// The configuration, read once.
static CONFIG: LazyLock<Config> =
    LazyLock::new(|| config::parse("director.toml", include_str!("director.toml")).unwrap());

impl Drop for Director {
    fn drop(&mut self) {
        COUNTERS.set(Some(self.counters.clone()));
    }
}

/// Verdicts, by name.
#[derive(Default)]
struct Seen {
    forwarded: u64,
    answered: u64,
    to_host: BTreeMap<String, u64>,
    dropped: BTreeMap<String, u64>,
    /// Fragments that were kept for later, and those of them that came out again.
    held: u64,
    released: u64,
}

impl Seen {
    fn note(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Forward(_) => self.forwarded += 1,
            Verdict::ToHost(reason) => *self.to_host.entry(reason.to_string()).or_default() += 1,
            Verdict::Drop(reason) | Verdict::Answer(_, reason) => {
                *self.dropped.entry(reason.to_string()).or_default() += 1;
                self.answered += u64::from(matches!(verdict, Verdict::Answer(..)));
            }
            Verdict::Held => self.held += 1,
        }
    }
}

impl Director {
    /// The director of `director.toml`.
    pub fn new() -> Director {
        let config = &*CONFIG;
        let table = Arc::new(Table::new(config.director.max_connections, Seed::new(1, 2)).unwrap());
        let published = Arc::new(Published::default());
        let counters = COUNTERS.take().unwrap_or_default();
        let mut publisher =
            Publisher::new(table.clone(), published.clone(), vec![counters.clone()], PARTIAL.to_vec());
        publisher.set_rib(&config.rib().unwrap());
        publisher.set_services(config).unwrap();
        let pipeline = Pipeline::new(Tracker::new(table.clone(), 0, 1), counters.clone(), published);
        let (before, seen) = (Report::default(), Seen::default());
        let director = Director { pipeline, table, publisher, counters, before, seen };
        director.begun()
    }

    fn begun(mut self) -> Director {
        self.before = self.report();
        self
    }

    /// Lends a batch, and gives back every verdict with the frame as it is afterwards, and behind it those that the
    /// director made beside it.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn play(&mut self, batch: &[Received], now: Tick) -> Result<Vec<(Verdict, Vec<u8>)>, String> {
        let mut buffers: Vec<Vec<u8>> =
            batch.iter().map(|(packet, _)| [&[0xa5; HEADROOM][..], packet].concat()).collect();
        let lent = buffers.iter_mut().zip(batch).map(|(buffer, (packet, ingress))| {
            Frame::new(buffer, HEADROOM, packet.len(), InterfaceId(*ingress))
        });
        let mut frames: Vec<Frame<'_>> = lent.collect();
        self.pipeline.run(&mut frames, now);
        let mut own = self.pipeline.take_own(&frames).into_iter().peekable();
        let mut played = Vec::new();
        for (n, ((packet, ingress), frame)) in batch.iter().zip(&frames).enumerate() {
            let (verdict, data) = (frame.verdict, frame.data().to_vec());
            judge(packet, *ingress, verdict, &data)
                .map_err(|wrong| format!("{verdict:?}: {wrong}\n in {}\nout {}", hex(packet), hex(&data)))?;
            self.seen.note(verdict);
            played.push((verdict, data));
            while let Some(mut own) = own.next_if(|own| own.behind() == n) {
                let (verdict, data) = (own.verdict(), own.frame().data().to_vec());
                let wrong = match verdict {
                    Verdict::Forward(egress) => unsound(&data, egress.index(), Kind::SentOn { from: packet }),
                    Verdict::ToHost(_) => None,
                    other => Some(format!("{other:?} is no verdict of a frame of its own")),
                };
                if let Some(wrong) = wrong {
                    return Err(format!(
                        "{verdict:?}: {wrong}\nbehind {}\n   out {}",
                        hex(packet),
                        hex(&data)
                    ));
                }
                self.seen.note(verdict);
                self.seen.released += 1;
                played.push((verdict, data));
            }
        }
        match own.next() {
            Some(own) => Err(format!("a frame of its own behind frame {} of {}", own.behind(), batch.len())),
            None => Ok(played),
        }
    }

    /// Forgets the connections that have been silent for too long.
    pub fn sweep(&mut self, now: Tick) {
        self.pipeline.sweep_all(now);
    }

    /// What it counted.
    pub fn report(&self) -> Report {
        let counters = std::slice::from_ref(&self.counters);
        gather::report(&self.publisher, counters, &self.table)
    }

    /// Whether what was counted is what was seen, and the counts add up.
    ///
    /// # Errors
    /// Which do not.
    pub fn account(&self) -> Result<(), String> {
        let (report, before) = (self.report(), &self.before);
        let counted = |now: &BTreeMap<String, u64>, before: &BTreeMap<String, u64>| {
            let counts =
                now.iter().map(|(name, &count)| (name.clone(), count - before.get(name).unwrap_or(&0)));
            counts.filter(|&(_, count)| count > 0).collect::<BTreeMap<String, u64>>()
        };
        let sum = |counts: BTreeMap<String, u64>| counts.into_values().sum::<u64>();
        let forwarded = report.forwarded - before.forwarded;
        let to_host = counted(&report.to_host_by_reason, &before.to_host_by_reason);
        let dropped = counted(&report.dropped_by_reason, &before.dropped_by_reason);
        let answered = counted(&report.answered_by_reason, &before.answered_by_reason);
        let (waiting, made) = (report.fragments.waiting, report.fragments.made - before.fragments.made);
        same("forwarded", forwarded + made, self.seen.forwarded)?;
        same("to_host_by_reason", &to_host, &self.seen.to_host)?;
        same("answered", sum(answered), self.seen.answered)?;
        // Fragments that were kept wait, came out again, or were lost on the way, under whatever name.
        let more = |(name, &count): (&String, &u64)| count - dropped.get(name).unwrap_or(&0).min(&count);
        same("reasons that were not counted", self.seen.dropped.iter().map(more).sum::<u64>(), 0)?;
        let lost = sum(dropped.clone()) - sum(self.seen.dropped.clone());
        same("fragments kept", self.seen.held + made, waiting + lost + self.seen.released)?;
        same("packets", report.packets - before.packets, forwarded + sum(to_host) + sum(dropped) + waiting)?;

        let connections = self.table.connections().count() as u64;
        same("live counts and the table", report.connections.current, connections)?;
        if connections > MAX_CONNECTIONS {
            return Err(format!("{connections} connections"));
        }
        let passed = passed(&report) - passed(before);
        // What a client is told of its tunnel is forwarded, but is no packet of its connection.
        if passed > forwarded || passed + report.related - before.related < forwarded {
            return Err(format!("{passed} packets of connections, {forwarded} forwarded"));
        }
        Ok(())
    }
}

/// Packets of connections.
fn passed(report: &Report) -> u64 {
    let traffic = report.services.iter().map(|service| service.traffic);
    traffic.map(|traffic| traffic.in_packets + traffic.out_packets).sum()
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, one: T, other: T) -> Result<(), String> {
    if one == other { Ok(()) } else { Err(format!("{what}: {one:?} and {other:?}")) }
}

/// What must hold of one frame.
fn judge(packet: &[u8], ingress: u16, verdict: Verdict, frame: &[u8]) -> Result<(), String> {
    match verdict {
        Verdict::Forward(egress) => unsound(frame, egress.index(), Kind::SentOn { from: packet }),
        Verdict::Answer(egress, _) => unsound(frame, egress.index(), Kind::Answer),
        Verdict::ToHost(_) if frame != as_the_host_gets_it(packet, ingress) => Some("it changed".to_owned()),
        // What a port lends frames with is no verdict of a frame with headers.
        Verdict::Drop(DropReason::Truncated) if parse::parse(packet).is_ok() => {
            Some("it is whole".to_owned())
        }
        Verdict::ToHost(HostReason::NotIp) if parse::parse(packet).is_ok() => Some("it is of IP".to_owned()),
        Verdict::ToHost(_) | Verdict::Drop(_) | Verdict::Held => None,
    }
    .map_or(Ok(()), Err)
}

/// A frame that is the host's: as it came in; where senders leave checksums to their hardware ([`PARTIAL`]), one that is
/// only begun, or by chance looks so in a packet that a byte was changed of, is completed first.
pub fn as_the_host_gets_it(packet: &[u8], ingress: u16) -> Vec<u8> {
    let mut frame = packet.to_vec();
    if let (true, Ok(found)) = (PARTIAL[usize::from(ingress)], parse::careful(packet)) {
        let whole = &mut frame[..ETHERNET + found.ip_len as usize];
        checksum::complete_partial_of(whole, found.l4 as usize, &found.key);
    }
    frame
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
