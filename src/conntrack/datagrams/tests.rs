use super::*;
use proptest::prelude::*;

const KEY: FlowKey = FlowKey::v4_ports(Proto::Udp, 1, 2, 7);
const TO_SERVER: Fate =
    Fate::Server { real: RealId(3), direction: Direction::Original, proto: Proto::Udp, ports: 0x1000_0035 };

fn piece(offset: u16, len: u16, more: bool) -> Piece {
    Piece { key: KEY, proto: Proto::Udp, offset, len, more, l4: 34, ip_len: len + 20, ttl: 64 }
}

fn of(key: u32, offset: u16) -> Piece {
    Piece { key: FlowKey::v4_ports(Proto::Udp, 1, 2, key), ..piece(offset, 8, true) }
}

/// A table, and what was lost in it.
struct World {
    datagrams: Datagrams,
    lost: Vec<(Wrong, usize)>,
}

impl World {
    fn new() -> World {
        World { datagrams: Datagrams::new(Seed::new(1, 2)), lost: Vec::new() }
    }

    fn at(&mut self, now: u32, piece: Piece) -> Arrival {
        let keep = || Held { piece, ingress: InterfaceId(0), copy: vec![0; 1500].into() };
        self.datagrams.arrive(&piece, Tick(now), keep, |wrong, pieces| self.lost.push((wrong, pieces)))
    }

    fn comes(&mut self, piece: Piece) -> Arrival {
        self.at(0, piece)
    }

    fn decided(&self) -> Vec<u16> {
        let held = self.datagrams.decided(&KEY, TO_SERVER, Tick(0));
        held.iter().map(|held| held.piece.offset).collect()
    }
}

const FOLLOWS: Arrival = Arrival::Follows { fate: TO_SERVER, since: Tick(0) };

#[test]
fn later_pieces_follow_the_first_until_the_datagram_is_whole() {
    let mut world = World::new();
    assert_eq!(world.comes(piece(0, 1480, true)), Arrival::First);
    assert!(world.decided().is_empty());
    assert_eq!(world.comes(piece(1480, 1480, true)), FOLLOWS);
    assert_eq!(world.comes(piece(2960, 40, false)), FOLLOWS);
    assert_eq!(world.datagrams.census(), Census::default(), "whole, and forgotten");
    assert_eq!(world.comes(piece(0, 1480, true)), Arrival::First, "the identification may be used again");
}

#[test]
fn pieces_that_come_before_the_first_wait_and_are_given_back_in_their_order() {
    let mut world = World::new();
    assert_eq!(world.comes(piece(2960, 40, false)), Arrival::Held);
    assert_eq!(world.comes(piece(1480, 1480, true)), Arrival::Held);
    assert_eq!(world.datagrams.census(), Census { datagrams: 1, waiting: 2, evicted: 0 });
    assert_eq!(world.comes(piece(0, 1480, true)), Arrival::First);
    assert_eq!(world.decided(), [1480, 2960]);
    assert_eq!(world.datagrams.census(), Census::default());
}

#[test]
fn pieces_that_no_datagram_has_are_refused_alone() {
    let mut world = World::new();
    let refused = |piece, wrong| assert_eq!(World::new().comes(piece), Arrival::Refused(wrong), "{piece:?}");
    refused(piece(65528, 8, false), Wrong::TooLong);
    refused(piece(65504, 16, false), Wrong::TooLong);
    refused(piece(8, 0, false), Wrong::Misfit);
    refused(piece(8, 9, true), Wrong::Misfit);
    refused(Piece { proto: Proto::Tcp, ..piece(8, 800, true) }, Wrong::Tiny);
    assert_eq!(world.comes(piece(65504, 11, false)), Arrival::Held);
}

#[test]
fn an_overlap_ends_the_datagram_and_a_duplicate_does_not() {
    let mut world = World::new();
    assert_eq!(world.comes(piece(0, 80, true)), Arrival::First);
    assert!(world.decided().is_empty());
    assert_eq!(world.comes(piece(80, 80, true)), FOLLOWS);
    for again in [piece(0, 80, true), piece(80, 80, true), piece(40, 80, true)] {
        assert_eq!(world.comes(again), Arrival::Refused(Wrong::Duplicate));
    }
    assert_eq!(world.comes(piece(160, 80, true)), FOLLOWS);
    assert_eq!(world.comes(piece(232, 80, true)), Arrival::Refused(Wrong::Overlap));
    assert_eq!(
        world.comes(piece(240, 80, false)),
        Arrival::Refused(Wrong::Overlap),
        "nothing passes any more"
    );
    let mut before = World::new();
    assert_eq!(before.comes(piece(80, 80, true)), Arrival::Held);
    assert_eq!(before.comes(piece(0, 88, true)), Arrival::Refused(Wrong::Overlap));
    assert_eq!(before.lost, [(Wrong::Overlap, 1)]);
    let mut between = World::new();
    between.comes(piece(8, 8, true));
    between.comes(piece(24, 8, true));
    assert_eq!(between.comes(piece(16, 16, true)), Arrival::Refused(Wrong::Overlap), "into the next");
}

#[test]
fn pieces_that_contradict_the_end_end_the_datagram() {
    let after_the_end = [piece(160, 8, true), piece(160, 8, false), piece(72, 40, false)];
    for wrong in after_the_end {
        let mut world = World::new();
        world.comes(piece(80, 80, false));
        assert_eq!(world.comes(wrong), Arrival::Refused(Wrong::Misfit), "{wrong:?}");
        assert_eq!(world.comes(piece(0, 80, true)), Arrival::Refused(Wrong::Misfit));
    }
    let mut world = World::new();
    world.comes(piece(160, 80, true));
    assert_eq!(world.comes(piece(80, 20, false)), Arrival::Refused(Wrong::Misfit), "an end before the end");
}

#[test]
fn waiting_is_bounded_in_time_and_in_number() {
    let mut world = World::new();
    world.comes(piece(80, 80, true));
    world.datagrams.sweep(Tick(WAIT), usize::MAX, |_, _| panic!("not yet"));
    assert_eq!(world.at(WAIT + 1, piece(0, 80, true)), Arrival::First);
    assert_eq!(world.lost, [(Wrong::Timeout, 1)]);

    let mut world = World::new();
    for n in 1..=HELD as u16 {
        assert_eq!(world.comes(piece(8 * n, 8, true)), Arrival::Held);
    }
    assert_eq!(world.comes(piece(8 * 65, 8, true)), Arrival::Refused(Wrong::TooMany));
    let mut swept = 0;
    world.datagrams.sweep(Tick(WAIT + 1), usize::MAX, |wrong, pieces| {
        assert_eq!(wrong, Wrong::Timeout);
        swept += pieces;
    });
    assert_eq!((swept, world.datagrams.census()), (HELD, Census::default()));

    let mut gaps = World::new();
    for n in 1..=RUNS as u16 {
        assert_eq!(gaps.comes(piece(16 * n, 8, true)), Arrival::Held);
    }
    assert_eq!(gaps.comes(piece(16 * 40, 8, true)), Arrival::Refused(Wrong::TooMany));
}

#[test]
fn a_flood_of_later_pieces_takes_no_more_than_its_memory_and_evicts_itself_first() {
    let mut world = World::new();
    let known: Vec<Piece> = (0..200).map(|key| of(key, 0)).collect();
    for first in &known {
        assert_eq!(world.comes(*first), Arrival::First);
        world.datagrams.decided(&first.key, TO_SERVER, Tick(0));
    }
    let mut refused = 0;
    for key in 1000..21_000 {
        refused += usize::from(world.at(1, of(key, 8)) == Arrival::Refused(Wrong::TooMany));
    }
    let census = world.datagrams.census();
    assert!(census.datagrams <= (SETS as usize * WAYS) as u64 && census.evicted > 0, "{census:?}");
    assert!(census.waiting as usize * 1500 <= HELD_BYTES + 1500 && refused > 0, "{census:?}");
    let dropped: usize = world.lost.iter().map(|(_, pieces)| pieces).sum();
    assert_eq!(dropped + refused + census.waiting as usize, 20_000);
    for first in known {
        assert_eq!(world.at(1, Piece { offset: 8, ..first }), FOLLOWS, "what was decided is still known");
    }
}

#[test]
fn what_was_decided_is_expected_half_a_minute_in_ipv4_and_a_minute_in_ipv6() {
    for (key, seconds) in [(KEY, 30), (FlowKey::v6(Proto::Udp, 1, 2, 0, 7), 60)] {
        let mut world = World::new();
        let first = Piece { key, ..piece(0, 8, true) };
        world.comes(first);
        world.datagrams.decided(&key, TO_SERVER, Tick(0));
        assert_eq!(world.at(seconds * 100, Piece { offset: 8, ..first }), FOLLOWS);
        assert_eq!(world.at(seconds * 100 + 1, Piece { offset: 16, ..first }), Arrival::Held);
    }
}

proptest! {
    #[test]
    fn in_whatever_order_pieces_come_each_passes_once_and_the_datagram_ends(
        lens in proptest::collection::vec(1u16..40, 1..30), seed: u64,
    ) {
        let mut pieces = Vec::new();
        let mut offset = 0;
        for (n, len) in lens.iter().enumerate() {
            pieces.push(piece(offset, len * 8, n + 1 < lens.len()));
            offset += len * 8;
        }
        // A shuffle that the seed decides.
        pieces.sort_by_key(|piece| (u64::from(piece.offset) + 1).wrapping_mul(seed | 1).rotate_left(17));
        let mut world = World::new();
        let mut passed = 0;
        for &piece in &pieces {
            match world.comes(piece) {
                Arrival::First => passed += 1 + world.decided().len(),
                Arrival::Held => {}
                FOLLOWS => passed += 1,
                other => prop_assert!(false, "{other:?} of {piece:?}"),
            }
        }
        prop_assert_eq!(passed, pieces.len());
        prop_assert_eq!(world.datagrams.census(), Census::default());
    }
}
