//! What lblc and lblcr remember of destination addresses.
//!
//! As in IPVS there are 1024 chains, an address that nobody asked for within 24 hours is forgotten, and when there are
//! more than 16384, those that nobody asked for within six minutes are. Where IPVS looks for these once a minute, here
//! each new address looks through its own chain and one other. A chain holds at most 32: then the one that was not
//! asked for the longest is forgotten, so that the memory is bounded by 32768 addresses.

use crate::net::Tick;
use std::net::IpAddr;

const CHAINS: usize = 1 << 10;
const PER_CHAIN: usize = 32;
/// More addresses than this are too many.
const MANY: usize = CHAINS * 16;

const MINUTE: u32 = 60 * Tick::PER_SECOND;
/// After so many ticks an address is forgotten when there are too many; IPVS's `ENTRY_TIMEOUT`.
const SHORT: u32 = 6 * MINUTE;
/// After so many it is forgotten anyway; IPVS's `DEFAULT_EXPIRATION`.
pub(super) const LONG: u32 = 24 * 60 * MINUTE;

/// Something for each destination address.
#[derive(Debug)]
pub(super) struct Locality<T> {
    chains: Vec<Vec<Entry<T>>>,
    /// How many addresses there are.
    len: usize,
    /// The other chain that the next new address looks through.
    rover: usize,
}

#[derive(Debug)]
struct Entry<T> {
    address: IpAddr,
    asked: Tick,
    of: T,
}

impl<T> Locality<T> {
    /// Of no address yet.
    pub(super) fn new() -> Locality<T> {
        Locality { chains: (0..CHAINS).map(|_| Vec::new()).collect(), len: 0, rover: 0 }
    }

    /// What is remembered of an address, which is now asked for.
    pub(super) fn ask(&mut self, address: IpAddr, now: Tick) -> Option<&mut T> {
        let entry = self.chains[chain(address)].iter_mut().find(|entry| entry.address == address)?;
        let silent = now.since(std::mem::replace(&mut entry.asked, now));
        (silent <= LONG).then_some(&mut entry.of)
    }

    /// Remembers something of an address.
    pub(super) fn remember(&mut self, address: IpAddr, now: Tick, of: T) {
        let own = chain(address);
        if let Some(entry) = self.chains[own].iter_mut().find(|entry| entry.address == address) {
            (entry.asked, entry.of) = (now, of);
            return;
        }
        self.rover = (self.rover + 1) % CHAINS;
        self.forget_silent(self.rover, now);
        self.forget_silent(own, now);
        let chain = &mut self.chains[own];
        if chain.len() == PER_CHAIN {
            let longest = chain.iter().enumerate().max_by_key(|(_, entry)| now.since(entry.asked));
            longest.map(|(at, _)| at).into_iter().for_each(|at| drop(chain.swap_remove(at)));
            self.len -= 1;
        }
        chain.push(Entry { address, asked: now, of });
        self.len += 1;
    }

    fn forget_silent(&mut self, chain: usize, now: Tick) {
        let allowed = if self.len > MANY { SHORT } else { LONG };
        let chain = &mut self.chains[chain];
        let before = chain.len();
        chain.retain(|entry| now.since(entry.asked) <= allowed);
        self.len -= before - chain.len();
    }
}

fn chain(address: IpAddr) -> usize {
    let word = match address {
        IpAddr::V4(address) => address.to_bits() as u64,
        IpAddr::V6(address) => (address.to_bits() >> 64) as u64 ^ address.to_bits() as u64,
    };
    super::hash::mix(word, 0xd6e8_feb8_6659_fd93) as usize % CHAINS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(i: u32) -> IpAddr {
        IpAddr::V4(i.into())
    }

    #[test]
    fn an_address_is_remembered_for_24_hours_after_it_was_last_asked_for() {
        let mut locality = Locality::new();
        locality.remember(address(1), Tick(0), 'a');
        assert_eq!(locality.ask(address(1), Tick(LONG)), Some(&mut 'a'));
        assert_eq!(locality.ask(address(1), Tick(2 * LONG)), Some(&mut 'a'));
        assert_eq!(locality.ask(address(1), Tick(3 * LONG + 1)), None);
        assert_eq!(locality.ask(address(2), Tick(0)), None);
    }

    #[test]
    fn there_are_never_more_than_32768_and_the_count_is_right() {
        let mut locality = Locality::new();
        for i in 0..200_000 {
            locality.remember(address(i), Tick(i / 1000), i);
            assert!(locality.len <= CHAINS * PER_CHAIN);
        }
        assert_eq!(locality.len, locality.chains.iter().map(Vec::len).sum::<usize>());
        assert!(locality.len > MANY);
        assert_eq!(locality.ask(address(199_999), Tick(200)), Some(&mut 199_999));
        assert!(locality.ask(address(0), Tick(200)).is_none());
    }

    #[test]
    fn of_too_many_those_silent_for_six_minutes_are_forgotten() {
        let mut locality = Locality::new();
        (0..20_000).for_each(|i| locality.remember(address(i), Tick(0), ()));
        assert!(locality.len > MANY);
        let before = locality.len;
        (0..1000).for_each(|i| locality.remember(address(1_000_000 + i), Tick(SHORT), ()));
        assert!(locality.len > before, "not yet");
        (0..2000).for_each(|i| locality.remember(address(2_000_000 + i), Tick(SHORT + 1), ()));
        assert!(locality.len <= MANY, "{}", locality.len);
    }
}
