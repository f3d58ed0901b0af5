use proptest::prelude::*;

use super::*;
use crate::base::units::PictureSize;
use crate::media::packet::{AudioConfig, VideoCodec, VideoConfig};

const KEY: TagKind = TagKind::Video { keyframe: true };
const DELTA: TagKind = TagKind::Video { keyframe: false };

fn layout(video: bool, audio: bool) -> Layout {
    Layout {
        video: video.then(|| VideoConfig {
            codec: VideoCodec::H264,
            record: Bytes::from_static(&[1]),
            size: PictureSize { width: 64, height: 64 },
            fps: None,
            bitrate: None,
        }),
        audio: audio.then(|| AudioConfig {
            record: Bytes::from_static(&[0x11, 0x90]),
            sample_rate: 48_000,
            channels: 2,
            bitrate: None,
        }),
    }
}

fn limits(cache_bytes: usize, cache_packets: usize, cache_ms: i64) -> Limits {
    Limits { cache_bytes, cache_packets, cache_span: Ticks::from_millis(cache_ms) }
}

fn tag(size: usize) -> Bytes {
    Bytes::from(vec![0; size + TAG_HEADER_BYTES + TAG_TRAILER_BYTES])
}

/// A ring with a picture whose GOPs are written as text: `K` a keyframe, `v` another picture, `a` sound, `H` new
/// headers. Each tag is 115 bytes and 40 ms after the last.
fn ring(limits: Limits, script: &str) -> Ring {
    let mut ring = Ring::new(limits);
    feed(&mut ring, script);
    ring
}

fn feed(ring: &mut Ring, script: &str) {
    for kind in script.chars() {
        let dts = Ticks::from_millis(ring.head as i64 * 40);
        match kind {
            'H' => ring.begin_era(layout(true, true), dts, [(TagKind::Script, tag(100))]),
            'S' => ring.begin_era(layout(false, true), dts, [(TagKind::Script, tag(100))]),
            'K' => ring.push(KEY, dts, tag(100)),
            'v' => ring.push(DELTA, dts, tag(100)),
            _ => ring.push(TagKind::Audio, dts, tag(100)),
        }
    }
}

fn take(ring: &Ring, cursor: &mut Cursor) -> Vec<u64> {
    std::iter::from_fn(|| match ring.step(cursor) {
        Step::Tag(tag) => Some(tag.seq),
        Step::Jumped { .. } | Step::Empty => None,
    })
    .collect()
}

#[test]
fn who_joins_starts_at_the_newest_keyframe() {
    let ring = ring(Limits::default(), "HKvavKva");
    let mut cursor = ring.start(Start::Gop);
    assert_eq!(take(&ring, &mut cursor), [5, 6, 7]);
    assert_eq!(ring.headers_at(cursor).map(|headers| headers.from), Some(0));
}

#[test]
fn who_joins_before_the_first_keyframe_waits_for_it() {
    let mut ring = ring(Limits::default(), "Haa");
    let mut cursor = ring.start(Start::Gop);
    assert_eq!(take(&ring, &mut cursor), Vec::<u64>::new());
    assert!(!ring.has_news(cursor));
    feed(&mut ring, "aaKa");
    assert!(ring.has_news(cursor));
    assert_eq!(take(&ring, &mut cursor), [5, 6]);
}

#[test]
fn the_live_edge_is_the_next_keyframe_and_nothing_old() {
    let mut ring = ring(Limits::default(), "HKvv");
    let mut cursor = ring.start(Start::Live);
    feed(&mut ring, "vaKv");
    assert_eq!(take(&ring, &mut cursor), [6, 7]);
}

#[test]
fn sound_alone_can_be_joined_anywhere() {
    let mut ring = ring(Limits::default(), "Saaa");
    let mut cursor = ring.start(Start::Gop);
    assert_eq!(take(&ring, &mut cursor), [3]);
    feed(&mut ring, "a");
    assert_eq!(take(&ring, &mut cursor), [4]);
}

#[test]
fn an_overrun_reader_jumps_to_the_newest_keyframe_and_is_told_what_it_missed() {
    let mut ring = ring(limits(1_000_000, 6, 100_000), "HKvv");
    let mut cursor = ring.start(Start::Gop);
    assert!(matches!(ring.step(&mut cursor), Step::Tag(tag) if tag.seq == 1));
    feed(&mut ring, "KvvvKvv");
    assert_eq!(ring.step(&mut cursor), Step::Jumped { skipped: 6 });
    assert_eq!(take(&ring, &mut cursor), [8, 9, 10]);
}

#[test]
fn a_gop_bigger_than_the_bound_serves_those_inside_and_lets_others_wait() {
    let mut ring = ring(limits(1_000_000, 4, 100_000), "HKv");
    let mut inside = ring.start(Start::Gop);
    assert_eq!(take(&ring, &mut inside), [1, 2]);
    feed(&mut ring, "vvv");
    assert_eq!(take(&ring, &mut inside), [3, 4, 5]);
    feed(&mut ring, "v");
    let mut outside = ring.start(Start::Gop);
    assert_eq!(take(&ring, &mut outside), Vec::<u64>::new());
    feed(&mut ring, "vKv");
    assert_eq!(take(&ring, &mut outside), [8, 9]);
    assert_eq!(take(&ring, &mut inside), [6, 7, 8, 9]);
}

#[test]
fn a_jump_goes_forward_or_not_at_all() {
    let mut ring = ring(Limits::default(), "HKvvvKvv");
    let mut cursor = ring.start(Start::Gop);
    assert_eq!(ring.jump(&mut cursor), None, "already in the newest GOP");
    feed(&mut ring, "vKv");
    assert_eq!(ring.jump(&mut cursor), Some(4));
    assert_eq!(take(&ring, &mut cursor), [9, 10]);
}

#[test]
fn new_headers_stand_in_line_and_old_ones_hold_for_what_was_before_them() {
    let mut ring = ring(Limits::default(), "HKv");
    let mut cursor = ring.start(Start::Gop);
    feed(&mut ring, "HKv");
    assert_eq!(ring.headers_at(cursor).map(|headers| headers.from), Some(0));
    assert_eq!(take(&ring, &mut cursor), [1, 2, 3, 4, 5]);
    assert_eq!(ring.headers_at(cursor).map(|headers| headers.from), Some(3));
}

#[test]
fn time_bounds_the_cache_but_never_cuts_the_newest_gop() {
    let ring = ring(limits(1_000_000, 1_000, 200), "HKvvvvvvvvvKvvvvvvvvvvvvvvv");
    assert_eq!(ring.first(), 11);
    let lag = ring.lag(ring.start(Start::Gop));
    assert_eq!((lag.span, lag.tags, lag.bytes), (Ticks::from_millis(600), 16, 16 * 115));
}

#[test]
fn the_newest_tag_stays_even_if_it_is_bigger_than_the_bound() {
    let mut ring = ring(limits(300, 100, 100_000), "HKv");
    let mut cursor = ring.start(Start::Gop);
    ring.push(KEY, Ticks(1), tag(10_000));
    assert_eq!(ring.len(), 1);
    assert_eq!(ring.step(&mut cursor), Step::Jumped { skipped: if cursor.next() == 3 { 2 } else { 1 } });
    assert_eq!(take(&ring, &mut cursor), [3]);
}

#[derive(Debug, Clone)]
enum Act {
    Push(char, usize),
    Step(usize),
    Jump(usize),
    Restart(usize, bool),
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (prop::sample::select(vec!['K', 'v', 'v', 'v', 'a', 'a', 'H', 'S']), 0usize..600)
            .prop_map(|(kind, size)| Act::Push(kind, size)),
        4 => (0usize..3).prop_map(Act::Step),
        1 => (0usize..3).prop_map(Act::Jump),
        1 => (0usize..3, any::<bool>()).prop_map(|(who, gop)| Act::Restart(who, gop)),
    ]
}

proptest! {
    #[test]
    fn bounds_hold_and_readers_see_numbers_rise_without_a_gap_unless_told(
        acts in prop::collection::vec(any_act(), 0..400),
        cache_bytes in 200usize..4_000,
        cache_packets in 1usize..40,
        cache_ms in 40i64..2_000,
    ) {
        let mut ring = Ring::new(limits(cache_bytes, cache_packets, cache_ms));
        let mut readers = [ring.start(Start::Gop), ring.start(Start::Gop), ring.start(Start::Live)];
        // What each reader saw last; `None` right after a start or a jump: the next must be a join.
        let mut last: [Option<u64>; 3] = [None; 3];
        for act in acts {
            match act {
                Act::Push(kind @ ('H' | 'S'), _) => feed(&mut ring, &kind.to_string()),
                Act::Push(kind, size) => {
                    let kind = match kind { 'K' => KEY, 'v' => DELTA, _ => TagKind::Audio };
                    let dts = Ticks::from_millis(ring.head as i64 * 40);
                    ring.push(kind, dts, tag(size));
                }
                Act::Step(who) => {
                    let news = ring.has_news(readers[who]);
                    let before = readers[who];
                    match ring.step(&mut readers[who]) {
                        Step::Tag(tag) => {
                            prop_assert!(news);
                            match last[who] {
                                Some(seq) => prop_assert_eq!(tag.seq, seq + 1),
                                None => prop_assert!(ring.joins.contains(&tag.seq)),
                            }
                            last[who] = Some(tag.seq);
                        }
                        Step::Jumped { skipped } => {
                            prop_assert!(skipped > 0);
                            prop_assert_eq!(readers[who].next(), before.next() + skipped);
                            last[who] = None;
                        }
                        Step::Empty => prop_assert!(!ring.has_news(readers[who])),
                    }
                }
                Act::Jump(who) => {
                    let before = readers[who].next();
                    if let Some(skipped) = ring.jump(&mut readers[who]) {
                        prop_assert_eq!(readers[who].next(), before + skipped);
                        last[who] = None;
                    }
                }
                Act::Restart(who, gop) => {
                    readers[who] = ring.start(if gop { Start::Gop } else { Start::Live });
                    last[who] = None;
                }
            }
            prop_assert!(ring.len() <= cache_packets || ring.len() == 1);
            prop_assert!(ring.bytes() <= cache_bytes as u64 || ring.len() == 1);
            prop_assert_eq!(ring.bytes(), ring.slots.iter().map(|slot| slot.tag.bytes.len() as u64).sum::<u64>());
            prop_assert!(ring.eras.len() <= ring.len() + 1);
            prop_assert!(ring.joins.iter().all(|join| *join >= ring.first() && *join < ring.head));
            if ring.head > 0 {
                for (at, slot) in ring.slots.iter().enumerate() {
                    prop_assert_eq!(slot.tag.seq, ring.first() + at as u64);
                }
            }
        }
    }
}
