//! An encoder over lines that get narrower and wider. The figures are printed with `--nocapture`.

use proptest::prelude::*;

use super::*;
use crate::sim::line::Path;
use crate::sim::{epoch, ms, secs};
use crate::uplink::lines::Busy;
use crate::uplink::rehearsal::narrow::{Moment, Narrow};

const MEGA: u64 = 1_000_000;

/// From when on the rest of a stretch is well: at least half of the line used, and pictures no older than `late`.
fn settled(stretch: &[Moment], wanted: u64, late: Duration) -> Option<Duration> {
    let goal = |moment: &Moment| (moment.bandwidth / 2).min(wanted * 95 / 100);
    let bad = stretch.iter().rposition(|moment| moment.delay > late || moment.bitrate < goal(moment));
    let first = bad.map_or(0, |bad| bad + 1);
    Some(stretch.get(first)?.at.saturating_sub(stretch.first()?.at))
}

#[test]
fn under_a_stepped_line_it_goes_down_within_seconds_and_up_without_swinging() {
    let mut worst_down = Duration::ZERO;
    for rtt in [20, 50, 150] {
        let mut line = Narrow::new(1, Path::steady().rtt(ms(rtt)), 4 * MEGA, Some(400_000));
        let mut fixed = Narrow::new(1, Path::steady().rtt(ms(rtt)), 4 * MEGA, None);
        for (megabits, span) in [(6, 20), (2, 20), (4, 30), (1, 20), (6, 40)] {
            let fixed = fixed.run_at(megabits * MEGA, secs(span)).to_vec();
            let stretch = line.run_at(megabits * MEGA, secs(span)).to_vec();
            let after = settled(&stretch, 4 * MEGA, ms(500 + 2 * rtt));
            let longest =
                |stretch: &[Moment]| stretch.iter().map(|moment| moment.delay).max().unwrap_or_default();
            let mean = stretch.iter().map(|moment| moment.bitrate).sum::<u64>() / stretch.len() as u64;
            println!(
                "rtt {rtt:>3} ms, {megabits} Mbit/s: settled after {after:?}, at last {} kbit/s, mean {} kbit/s, \
                 pictures at most {:?} late (fixed 4 Mbit/s: {:?})",
                stretch.last().map_or(0, |moment| moment.bitrate) / 1_000,
                mean / 1_000,
                longest(&stretch),
                longest(&fixed),
            );
            let after = after.unwrap_or_else(|| panic!("{rtt} ms, {megabits} Mbit/s: never settled"));
            let down = megabits < 4;
            assert!(after < if down { secs(7) } else { secs(20) }, "{rtt} ms, {megabits} Mbit/s: {after:?}");
            if down {
                worst_down = worst_down.max(longest(&stretch));
            }
        }
        println!(
            "rtt {rtt:>3} ms: {} changes, {} tags thinned (fixed: {}), {} MB read (fixed: {})",
            line.changes(),
            line.thinned,
            fixed.thinned,
            line.read_bytes / MEGA,
            fixed.read_bytes / MEGA
        );
        assert_eq!(line.thinned, 0, "the floor fits, so nothing is left out");
    }
    assert!(worst_down < ms(2_500), "{worst_down:?}");
}

#[test]
fn on_a_steady_narrow_line_it_does_not_swing() {
    for (seed, megabits, rtt) in [(1, 2, 50), (2, 3, 30), (3, 3, 200)] {
        let mut line = Narrow::new(seed, Path::steady().rtt(ms(rtt)), 6 * MEGA, Some(400_000));
        line.run_at(megabits * MEGA, secs(60));
        let changes = line.changes();
        let stretch = line.run_at(megabits * MEGA, secs(120)).to_vec();
        let (low, high) = stretch
            .iter()
            .fold((u64::MAX, 0), |(low, high), moment| (low.min(moment.bitrate), high.max(moment.bitrate)));
        let late =
            stretch.iter().filter(|moment| moment.delay > ms(500 + 2 * rtt)).count() * 100 / stretch.len();
        println!(
            "{megabits} Mbit/s, {rtt} ms: {low} to {high} bit/s, {} changes in 2 min, {late} % late",
            line.changes() - changes
        );
        assert!(low * 100 >= high * 58, "{low} to {high}");
        assert!(low >= megabits * MEGA / 2, "{low}: half of the line lies idle");
        assert!(late <= 3);
    }
}

#[test]
fn loss_that_leaves_room_for_the_stream_costs_no_quality() {
    let mut line = Narrow::new(4, Path::steady().loss(0.005), 2 * MEGA, Some(400_000));
    let stretch = line.run_at(20 * MEGA, secs(60)).to_vec();
    let mean = stretch.iter().map(|moment| moment.bitrate).sum::<u64>() / stretch.len() as u64;
    println!("0.5 % loss: mean {mean} bit/s");
    assert!(mean > 1_700_000, "{mean}");
}

#[test]
fn below_the_floor_gop_tails_go_and_sound_stays() {
    let mut line = Narrow::new(5, Path::steady(), 4 * MEGA, Some(1_500_000));
    let stretch = line.run_at(800_000, secs(60)).to_vec();
    let late = stretch[400..].iter().map(|moment| moment.delay).max().unwrap_or_default();
    println!("0.8 Mbit/s under a floor of 1.5: {} pictures thinned, at most {late:?} late", line.thinned);
    assert_eq!(stretch.last().map(|moment| moment.bitrate), Some(1_500_000));
    assert!(line.thinned > 300 && late < secs(5), "{late:?}");
    let used = line.read_bytes * 8 / 60;
    assert!(used > 600_000, "{used} bit/s: the line is used for what it can carry");
}

fn reading(delay: Duration, share: f64, carried: u64) -> Reading {
    let busy = Busy { share, carried: BitrateBps(carried) };
    Reading {
        rtt: ms(50),
        rtt_base: ms(50),
        acked: BitrateBps(carried),
        capacity: None,
        busy,
        busy_gop: busy,
        queued_bytes: 0,
        behind: delay + ms(50),
        queue_time: delay,
        retransmitted: 0.0,
        retransmitted_before: 0.0,
    }
}

/// Tells of an output's line every 50 ms for `span`; what the encoder has at the end.
fn tell(
    core: &mut Bitrate,
    at: &mut Instant,
    id: u8,
    span: Duration,
    mut reading: impl FnMut(u32) -> Reading,
) -> u64 {
    for step in 0..(span.as_millis() / 50) as u32 {
        *at += ms(50);
        core.handle(*at, Event::Read { output: OutputId(id), reading: reading(step), catching_up: false });
        core.check_invariants();
    }
    core.current().0
}

fn shared() -> (Bitrate, Instant) {
    let now = epoch();
    let mut core = Bitrate::new(now, Settings { wanted: BitrateBps(4 * MEGA), beside: BitrateBps(140_000) });
    for (id, floor) in [(0, 400_000), (1, 2 * MEGA)] {
        let bounds = Bounds { floor: BitrateBps(floor), ceiling: BitrateBps(4 * MEGA) };
        core.handle(now, Event::Bounds { output: OutputId(id), bounds });
    }
    (core, now)
}

#[test]
fn of_outputs_that_share_an_encoder_the_weakest_line_decides() {
    let (mut core, mut at) = shared();
    let growing = |step: u32| reading(ms(300 + u64::from(step) * 50), 1.0, MEGA);
    let bitrate = tell(&mut core, &mut at, 0, secs(1), growing);
    assert!(bitrate < MEGA, "{bitrate}");
    core.handle(at, Event::Gone { output: OutputId(0) });
    assert_eq!(core.current().0, 4 * MEGA, "the other line is well");
}

#[test]
fn an_output_by_whose_line_nothing_arrives_holds_no_other_back() {
    let (mut core, mut at) = shared();
    for step in 0..100 {
        at += ms(50);
        let reading = reading(ms(300 + step * 50), 1.0, MEGA);
        core.handle(at, Event::Read { output: OutputId(1), reading, catching_up: false });
    }
    let low = core.current();
    assert!(low.0 < 4 * MEGA);
    let told = core.handle(at + ms(600), Event::Idle { output: OutputId(1) });
    assert!(told.contains(&Action::Below { output: OutputId(1), below: false }), "{told:?}");
    assert!(core.current() > low, "{:?}", core.current());
    let high = core.current();
    let reading = reading(ms(0), 0.5, MEGA);
    core.handle(at + secs(2), Event::Read { output: OutputId(1), reading, catching_up: true });
    assert!(core.current() < high, "what was learnt of the line holds when it is back");
}

#[test]
fn a_line_that_was_below_the_floor_is_used_again_soon_after_it_widens() {
    let mut line = Narrow::new(6, Path::steady(), 4 * MEGA, Some(MEGA));
    line.run_at(MEGA, secs(20));
    let stretch = line.run_at(6 * MEGA, secs(30)).to_vec();
    let after = settled(&stretch, 4 * MEGA, ms(600)).expect("it comes to what is wanted");
    println!("from 1 Mbit/s under a floor of as much to 6 Mbit/s: settled after {after:?}");
    assert!(after < secs(18), "{after:?}");
}

#[test]
fn a_line_below_its_own_floor_pulls_no_other_output_with_it() {
    let (mut core, mut at) = shared();
    let mut told = Vec::new();
    for step in 0..100 {
        at += ms(50);
        let reading = reading(ms(300 + step * 50), 1.0, MEGA);
        told.extend(core.handle(at, Event::Read { output: OutputId(1), reading, catching_up: false }));
    }
    assert_eq!(core.current().0, 2 * MEGA);
    assert!(told.contains(&Action::Below { output: OutputId(1), below: true }), "{told:?}");
}

#[test]
fn what_waits_on_purpose_after_a_switch_is_not_taken_for_a_slow_line() {
    let (mut core, mut at) = shared();
    core.handle(at, Event::Moved { output: OutputId(0) });
    for step in 0..40 {
        at += ms(50);
        let reading = reading(ms(2_000 + step), 1.0, MEGA);
        core.handle(at, Event::Read { output: OutputId(0), reading, catching_up: true });
    }
    assert_eq!(core.current().0, 4 * MEGA);
}

proptest! {
    #[test]
    fn whatever_is_read_the_bitrate_stays_within_its_bounds(
        readings in proptest::collection::vec(
            (0u8..3, 0u64..60_000, 0.0f64..1.0, 0u64..50_000_000, any::<bool>(), 0u8..20),
            0..400
        )
    ) {
        let (mut core, mut at) = shared();
        for (id, delay, share, carried, catching_up, what) in readings {
            at += ms(u64::from(what) * 10);
            let output = OutputId(id);
            let floor = BitrateBps(carried / 4);
            let event = match what {
                0 => Event::Moved { output },
                1 => Event::Gone { output },
                2 => Event::Bounds { output, bounds: Bounds { floor, ceiling: BitrateBps(delay * 100) } },
                _ => Event::Read { output, reading: reading(ms(delay), share, carried), catching_up },
            };
            core.handle(at, event);
            core.check_invariants();
        }
    }
}

#[test]
fn once_the_last_output_is_gone_the_encoder_has_its_bitrate_back_at_once() {
    let mut now = epoch();
    let output = OutputId(0);
    let wanted = BitrateBps(4 * MEGA);
    let mut core = Bitrate::new(now, Settings { wanted, beside: BitrateBps(0) });
    let bounds = Bounds { floor: BitrateBps(MEGA), ceiling: BitrateBps(MEGA) };
    core.handle(now, Event::Bounds { output, bounds });
    assert_eq!(core.current(), BitrateBps(MEGA));
    now += secs(1);
    let wider = Bounds { floor: BitrateBps(MEGA), ceiling: BitrateBps(2 * MEGA) };
    core.handle(now, Event::Bounds { output, bounds: wider });
    assert_eq!(core.current(), BitrateBps(2 * MEGA), "it was raised a moment ago");
    let actions = core.handle(now + ms(10), Event::Gone { output });
    assert_eq!(&actions[..], [Action::SetBitrate(wanted)]);
}
