//! FTP through masquerading (reference: IPVS's `ip_vs_ftp`): what is said on a control connection of data connections to
//! come is heard, and the server's address in it becomes the VIP.
//!
//! ```text
//! client: PORT, EPRT    expects  CIP:port > VIP:20      which the server opens, from its port 20
//! server: 227, 229      expects  CIP:any  > VIP:port    which the client opens
//! ```
//!
//! Who names an address that is neither's own is not heard: no connection to a third party comes of it (RFC 2577, 3).

use super::open::{Closely, Pick};
use super::{Pending, Road, View, closed};
use crate::conntrack::{Chosen, Found, Opened, expectation};
use crate::dataplane::port::Frame;
use crate::net::{Direction, Endpoint, FlowKey, Proto};
use crate::wire::parse::Packet;
use crate::wire::{ETHERNET, IPV4, checksum, ftp, shift};
use std::net::{IpAddr, Ipv4Addr};

/// Where servers' data connections come from (RFC 959, 5.2).
const DATA: u16 = 20;

/// Ports below are no data connection's.
const UNPRIVILEGED: u16 = 1024;

/// A segment with an announcement is no longer: they are answers of one line.
const LONGEST: usize = 1600;

impl Road {
    /// A packet of a control connection.
    #[cold]
    pub(super) fn control(&mut self, frame: &mut Frame<'_>, packet: &Packet, found: Found, view: View<'_>) {
        let mut packet = *packet;
        let l4 = packet.l4 as usize;
        let Some(asked) = self.tracker.table().asked(found) else {
            return self.forward(frame, &packet, found, view);
        };
        match found.direction() {
            Direction::Original => {
                let its_own = |&(addr, port): &(IpAddr, u16)| {
                    addr == packet.key.src().addr && port >= UNPRIVILEGED && is_whole(frame, &packet)
                };
                let announced = payload(frame, &packet).and_then(ftp::active).filter(its_own);
                if let Some((addr, port)) = announced {
                    self.expect_server(Endpoint::new(addr, port), asked.addr, found, view);
                }
                let control = self.tracker.table().control(found);
                if !control.shift.is_none() {
                    shift::shift_back(frame.data_mut(), l4, &control.shift);
                }
            }
            Direction::Reply => {
                let before = shift::seq(frame.data(), l4);
                let control = self.tracker.table().control(found);
                let grown = self.announced(frame, &packet, asked, found, view);
                if !control.shift.is_none() {
                    shift::shift_forth(frame.data_mut(), l4, &control.shift);
                }
                if let (Some(grown), Some(seq)) = (grown, before) {
                    packet.ip_len = packet.ip_len.wrapping_add_signed(grown as i16);
                    self.tracker.table().change_control(found, |control| control.shift.changed(seq, grown));
                }
            }
        }
        self.clamp(frame, &packet, found, view.snapshot);
        self.forward(frame, &packet, found, view);
    }

    /// If the server says where it listens, the client is expected there, and reads the VIP. By how many bytes the packet
    /// has grown.
    fn announced(
        &mut self,
        frame: &mut Frame<'_>,
        packet: &Packet,
        asked: Endpoint,
        found: Found,
        view: View<'_>,
    ) -> Option<i32> {
        let text = payload(frame, packet)?;
        let client = packet.key.dst().addr;
        let expected = |port| {
            FlowKey::new(packet.key.proto(), Endpoint::new(client, 0), Endpoint::new(asked.addr, port))
        };
        if let Some(port) = ftp::extended_passive(text).filter(|&port| port >= UNPRIVILEGED) {
            if is_whole(frame, packet) {
                self.expect_client(&expected(port), found, view);
            }
            return None;
        }
        let passive = ftp::passive(text).filter(|passive| passive.port >= UNPRIVILEGED)?;
        let IpAddr::V4(vip) = asked.addr else { return None };
        let said = IpAddr::V4(passive.addr);
        if (said != packet.key.src().addr && said != asked.addr) || !is_whole(frame, packet) {
            return None;
        }
        // Without a place to note how far the stream is shifted, it must not be.
        if !self.expect_client(&expected(passive.port), found, view) {
            return None;
        }
        let start = packet.l4 as usize + header_len(frame, packet)?;
        let at = start + passive.at.start..start + passive.at.end;
        readdress(frame, packet, at, vip, passive.port)
    }

    /// The client will come to this port of the VIP, from any of its own. `false` if there is no room to note it.
    fn expect_client(&mut self, key: &FlowKey, control: Found, view: View<'_>) -> bool {
        let data = Some(expectation(key));
        let noted = self.tracker.table().change_control(control, |control| control.data = data);
        if noted.is_none() {
            return false;
        }
        match self.tracker.expect(key, control.real(), control.token(), view.now) {
            Ok(Opened::New(found)) => self.count_expected(found, view),
            Ok(Opened::Already(_)) => {}
            Err(_) => return false,
        }
        true
    }

    /// The server will come to this port of the client, from its own for data.
    fn expect_server(&mut self, client: Endpoint, vip: IpAddr, control: Found, view: View<'_>) {
        let key = FlowKey::new(Proto::Tcp, client, Endpoint::new(vip, DATA));
        let noted = self.tracker.table().change_control(control, |control| control.data = Some(key));
        if noted.is_none() {
            return;
        }
        let hash = self.tracker.table().hash(&key);
        let chosen = Chosen {
            real: control.real(),
            replies_pass: true,
            hop: 0,
            template: None,
            is_watched: false,
            listens: true,
        };
        let opened = self.tracker.open(&key, hash, Default::default(), view.now, || Some(chosen));
        if let Ok(Opened::New(found)) = opened {
            self.count_expected(found, view);
            self.counters.real(control.real()).connections.add(1);
        }
    }

    fn count_expected(&self, found: Found, view: View<'_>) {
        if let Some(decision) = view.snapshot.decision(found.real()) {
            decision.live.opened(found.state().standing());
        }
    }

    /// If somebody has announced this packet's connection, it is opened.
    pub(super) fn is_expected(&mut self, frame: &mut Frame<'_>, pending: &Pending, view: View<'_>) -> bool {
        let key = &pending.packet.key;
        if !self.tracker.table().expects() {
            return false;
        }
        let Some(claimed) = self.tracker.claim(key) else { return false };
        closed(view.snapshot, &self.counters, claimed.ended);
        self.tracker.table().data_has_come(claimed.token, *key);
        let pick = || Some(Pick { real: claimed.real, replies_pass: true });
        self.open(frame, pending, Closely::default(), view, pick);
        true
    }
}

/// What a segment carries; `None` if nothing.
fn payload<'f>(frame: &'f Frame<'_>, packet: &Packet) -> Option<&'f [u8]> {
    let start = packet.l4 as usize + header_len(frame, packet)?;
    frame.data().get(start..ETHERNET + packet.ip_len as usize).filter(|payload| !payload.is_empty())
}

fn header_len(frame: &Frame<'_>, packet: &Packet) -> Option<usize> {
    Some((*frame.data().get(packet.l4 as usize + 12)? >> 4) as usize * 4)
}

/// Whether the segment's checksum is right: what is not is not acted on, and not made right.
fn is_whole(frame: &Frame<'_>, packet: &Packet) -> bool {
    let end = ETHERNET + packet.ip_len as usize;
    frame.data().get(packet.l4 as usize..end).is_some_and(|tcp| {
        checksum::fold(pseudo(&packet.key, tcp.len()) + u32::from(checksum::fold(checksum::sum(tcp))))
            == 0xffff
    })
}

fn pseudo(key: &FlowKey, len: usize) -> u32 {
    if key.is_v4() {
        checksum::pseudo_v4(key.src_v4().0, key.dst_v4().0, key.proto(), len as u16)
    } else {
        checksum::pseudo_v6(key.src_v6().0, key.dst_v6().0, key.proto() as u8, len as u32)
    }
}

/// Puts another address and port in the place of those at `at`, in a packet of IPv4 whose checksums are right before and
/// after. By how many bytes it has grown; `None`, and nothing changes, if it does not fit.
fn readdress(
    frame: &mut Frame<'_>,
    packet: &Packet,
    at: std::ops::Range<usize>,
    addr: Ipv4Addr,
    port: u16,
) -> Option<i32> {
    let (l4, end) = (packet.l4 as usize, ETHERNET + packet.ip_len as usize);
    let mut six = [0; ftp::LONGEST];
    let six_len = ftp::write_six(addr, port, &mut six);
    let grown = six_len as i32 - at.len() as i32;
    let len = end.checked_add_signed(grown as isize).filter(|&len| len <= LONGEST)?;
    let mut changed = [0; LONGEST];
    let old = frame.data().get(..end)?;
    let behind = at.start + six_len;
    changed.get_mut(..at.start)?.copy_from_slice(&old[..at.start]);
    changed.get_mut(at.start..behind)?.copy_from_slice(&six[..six_len]);
    changed.get_mut(behind..len)?.copy_from_slice(&old[at.end..]);
    let changed = &mut changed[..len];
    changed[ETHERNET + 2..ETHERNET + 4].copy_from_slice(&((len - ETHERNET) as u16).to_be_bytes());
    let ip_header = ETHERNET..l4.max(ETHERNET + IPV4);
    changed[ETHERNET + 10..ETHERNET + 12].fill(0);
    let ip_sum = checksum::of_header(&changed[ip_header]);
    changed[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&ip_sum.to_be_bytes());
    let sum_at = l4 + checksum::offset(packet.key.proto());
    changed[sum_at..sum_at + 2].fill(0);
    let tcp = &changed[l4..];
    let sum = checksum::fold(pseudo(&packet.key, tcp.len()) + u32::from(checksum::fold(checksum::sum(tcp))));
    changed[sum_at..sum_at + 2].copy_from_slice(&(!sum).to_be_bytes());
    frame.replace(changed).then_some(grown)
}
