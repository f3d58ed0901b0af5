//! One fault after another, told as what a studio gets. Schedules of many faults stand in `schedules.rs`.

use std::time::Duration;

use crate::sim::line::Path;
use crate::sim::server::{Manners, Server};
use crate::sim::{ms, secs};
use crate::uplink::rehearsal::{Move, Sim};

use super::*;

/// No tags.
const NONE: Vec<u64> = Vec::new();

/// Wire and 4G, both well, for ten seconds.
fn pair(seed: u64) -> Sim {
    let mut sim = Sim::new(seed)
        .line("wire", Path::steady())
        .line("4g", Path::steady().rtt(ms(80)).bandwidth(12_000_000));
    sim.run_for(secs(10));
    assert_eq!(sim.carrier(), Some("wire"));
    sim
}

/// The last move and how long it took from `fault` to the first media at the other far end.
fn last_move(sim: &Sim, fault: Instant) -> (Move, Duration) {
    let one = *sim.moves().last().expect("it moved");
    let media = one.media_at.expect("media came");
    (one, media - fault)
}

#[test]
fn a_reset_primary_is_replaced_within_a_tenth_of_a_second_and_no_frame_is_missing() {
    for seed in 0..20 {
        let mut sim = pair(seed);
        sim.run_for(ms(seed * 97));
        sim.kill("wire");
        // The reset itself takes half a round trip to us; the goal counts from then.
        let fault = sim.now() + ms(25);
        sim.run_for(secs(3));
        let (one, took) = last_move(&sim, fault);
        assert_eq!((one.to, one.why), (LineId(1), Why::Lost), "seed {seed}");
        assert!(took < ms(100), "seed {seed}: {took:?}");
        assert_eq!(sim.unexplained(secs(2)), NONE, "seed {seed}");
        assert_eq!(sim.gaps(), []);
    }
}

#[test]
fn a_silent_primary_is_left_within_half_a_second_and_no_frame_is_skipped() {
    for seed in 0..20 {
        let mut sim = pair(seed);
        sim.run_for(ms(seed * 97));
        sim.silence("wire");
        let fault = sim.now();
        sim.run_for(ms(500));
        assert_eq!(sim.carrier(), Some("4g"), "seed {seed}");
        let first = sim.first_unread("wire").expect("it was cut off in the midst");
        sim.run_for(secs(3));
        let (one, took) = last_move(&sim, fault);
        assert_eq!(one.why, Why::Stalled);
        assert!(one.from <= first && Some(one.from) == sim.gop_of(one.from), "seed {seed}");
        assert!(took < ms(500), "seed {seed}: {took:?}");
        assert_eq!(sim.unexplained(secs(2)), NONE, "seed {seed}");
        assert_eq!(sim.gaps(), []);
    }
}

/// From a fault to the first media at the standby, over many trials: the middle one, and the one in a hundred.
fn switch_times(fault: impl Fn(&mut Sim)) -> (Duration, Duration) {
    let mut times: Vec<Duration> = (0..100)
        .map(|seed| {
            let mut sim = Sim::new(seed).line("wire", Path::steady()).line("4g", Path::steady());
            sim.run_for(secs(8) + ms(seed * 37));
            fault(&mut sim);
            let at = sim.now();
            sim.run_for(secs(6));
            assert_eq!((sim.gaps(), sim.unexplained(secs(2))), (&[][..], NONE), "seed {seed}");
            last_move(&sim, at).1
        })
        .collect();
    times.sort();
    (times[50], times[99])
}

#[test]
fn switching_takes_no_longer_than_the_goals_say() {
    let table = [
        ("reset", ms(100), switch_times(|sim| sim.reset("wire"))),
        ("server killed", ms(100), switch_times(|sim| sim.kill("wire"))),
        ("silence", ms(500), switch_times(|sim| sim.silence("wire"))),
        ("server stopped", ms(2_500), switch_times(|sim| sim.server("wire", |server| server.frozen = true))),
    ];
    for (fault, goal, (middle, worst)) in table {
        println!("{fault:<15} p50 {middle:?}, p99 {worst:?}, goal {goal:?} (round trip 50 ms)");
        assert!(worst < goal, "{fault}: {worst:?}");
    }
}

#[test]
fn an_output_takes_a_fixed_piece_of_memory_whatever_happens() {
    assert!(size_of::<Line>() < 48 << 10, "{} bytes a line", size_of::<Line>());
    assert!(size_of::<Failover>() < 2 << 10, "{}", size_of::<Failover>());
    assert!(size_of::<Actions>() < 4 << 10, "{}", size_of::<Actions>());
}

#[test]
fn what_a_frozen_server_took_and_never_read_is_sent_again() {
    for seed in 0..10 {
        let mut sim = pair(seed);
        sim.run_for(ms(seed * 97));
        sim.server("wire", |server| server.frozen = true);
        sim.run_for(secs(4));
        assert_eq!(sim.carrier(), Some("4g"), "seed {seed}");
        sim.kill("wire");
        sim.run_for(secs(3));
        assert_eq!(sim.unexplained(secs(2)), NONE, "seed {seed}");
        assert_eq!(sim.gaps(), []);
    }
}

#[test]
fn the_stream_goes_home_at_a_keyframe_once_home_has_been_well_for_long_enough() {
    let mut sim = pair(1);
    sim.kill("wire");
    sim.run_for(secs(5));
    sim.revive("wire");
    sim.run_for(secs(9));
    assert_eq!(sim.carrier(), Some("4g"));
    sim.run_for(secs(9));
    assert_eq!(sim.carrier(), Some("wire"));
    let one = *sim.moves().last().expect("it moved");
    assert_eq!((one.why, sim.gop_of(one.from)), (Why::Home, Some(one.from)));
    sim.run_for(secs(3));
    assert_eq!(sim.unexplained(secs(2)), NONE);
    assert_eq!(sim.gaps(), []);
    assert_eq!(sim.moves().len(), 3);
}

#[test]
fn a_primary_that_flaps_is_trusted_less_each_time() {
    let mut sim = pair(2);
    let mut homecomings = Vec::new();
    for _ in 0..4 {
        sim.reset("wire");
        let lost = sim.now();
        while sim.carrier() != Some("wire") || sim.now() < lost + secs(1) {
            sim.run_for(ms(100));
            assert!(sim.now() < lost + secs(200));
        }
        homecomings.push((sim.now() - lost).as_secs());
        sim.run_for(secs(5));
    }
    assert!(homecomings.is_sorted() && homecomings[0] < 14 && homecomings[3] > 40, "{homecomings:?}");
    assert_eq!(sim.gaps(), []);
}

#[test]
fn a_line_that_flaps_every_second_for_a_minute_costs_nothing() {
    let mut sim = pair(3);
    for round in 0..60 {
        if round % 2 == 0 {
            sim.silence("wire");
        } else {
            sim.heal("wire");
        }
        sim.run_for(secs(1));
    }
    sim.heal("wire");
    assert!(sim.moves().len() < 8, "{:?}", sim.moves());
    sim.run_for(secs(200));
    assert_eq!(sim.carrier(), Some("wire"));
    assert_eq!(sim.unexplained(secs(2)), NONE);
    assert_eq!(sim.gaps(), []);
}

#[test]
fn when_all_lines_are_dead_the_ring_bridges_what_it_can_and_the_rest_is_told() {
    let mut sim = pair(4);
    sim.kill("wire");
    sim.kill("4g");
    sim.run_for(secs(5));
    assert_eq!(sim.carrier(), None);
    sim.revive("4g");
    sim.run_for(secs(15));
    assert_eq!((sim.gaps(), sim.unexplained(secs(2))), (&[][..], NONE), "five seconds fit into the ring");

    sim.kill("4g");
    sim.run_for(secs(30));
    assert!(!sim.gaps().is_empty(), "it says so while it happens");
    assert!(sim.gaps().iter().all(|gap| gap.why == GapReason::NoLine));
    sim.revive("wire");
    sim.revive("4g");
    sim.run_for(secs(30));
    assert_eq!(sim.unexplained(secs(2)), NONE);
    let lost: u64 = sim.gaps().iter().map(|gap| gap.last.0 - gap.first.0 + 1).sum();
    assert!(lost < 77 * 26, "{lost} tags of 30 s less the ring's 10 s, less what dialling took");
}

#[test]
fn a_standby_that_dies_idle_is_dialled_again_and_the_stream_does_not_notice() {
    let mut sim = pair(5);
    sim.kill("4g");
    sim.run_for(secs(20));
    sim.revive("4g");
    sim.run_for(secs(5));
    assert_eq!(sim.core().state(LineId(1)), Some(LineState::Up { carrying: false, trouble: None }));
    assert_eq!(sim.moves().len(), 1);
}

#[test]
fn a_standby_stays_published_for_a_minute_at_a_server_that_drops_the_silent() {
    let mut sim = pair(6);
    sim.run_for(secs(60));
    let dial = |sim: &Sim, line| sim.core().line(line).map(|line| line.dial);
    assert_eq!(dial(&sim, LineId(1)), Some(Dial(1)));
    sim.camera(false);
    sim.run_for(secs(60));
    assert_eq!(dial(&sim, LineId(0)), Some(Dial(1)), "nor is the carrier, when the camera has died");
    sim.camera(true);
    sim.run_for(secs(10));
    assert_eq!((sim.moves().len(), sim.unexplained(secs(2))), (1, NONE), "{:?}", sim.moves());
}

#[test]
fn an_old_session_that_lives_on_at_the_server_is_waited_out() {
    for (manners, seconds) in [(Manners::srs(), 12), (Manners::nginx(), 100)] {
        let mut sim = Sim::new(7).line("only", Path::steady());
        sim.run_for(ms(5));
        sim.server("only", |server| *server = Server::new(manners));
        sim.run_for(secs(10));
        // The path's middle forgets us: no word reaches the server.
        sim.silence("only");
        sim.run_for(secs(6));
        sim.forget_ghosts("only");
        sim.heal("only");
        sim.run_for(secs(seconds));
        assert_eq!(sim.carrier(), Some("only"), "{manners:?}");
    }
}

#[test]
fn a_line_too_slow_for_the_stream_is_left_and_not_come_back_to_at_once() {
    let mut sim = pair(8);
    sim.path("wire", |path| path.bandwidth_bps = 1_500_000);
    sim.run_for(secs(8));
    assert_eq!(sim.carrier(), Some("4g"));
    assert_eq!(sim.moves().last().map(|one| one.why), Some(Why::Slow));
    sim.run_for(secs(50));
    assert_eq!(sim.carrier(), Some("4g"));
    assert_eq!((sim.gaps(), sim.unexplained(secs(2))), (&[][..], NONE));
}

#[test]
fn of_two_slow_lines_the_one_that_was_much_quicker_is_taken_again() {
    let mut sim = pair(8);
    sim.path("wire", |path| path.bandwidth_bps = 2_500_000);
    sim.run_for(secs(12));
    assert_eq!(sim.carrier(), Some("4g"));
    sim.path("4g", |path| path.bandwidth_bps = 300_000);
    sim.run_for(secs(8));
    assert_eq!(sim.carrier(), Some("wire"));
}

#[test]
fn two_slow_lines_are_not_played_against_each_other() {
    let mut sim = pair(9);
    sim.path("wire", |path| path.bandwidth_bps = 1_500_000);
    sim.path("4g", |path| path.bandwidth_bps = 1_500_000);
    sim.run_for(secs(60));
    assert!(sim.moves().len() <= 4, "{:?}", sim.moves());
    assert_eq!(sim.unexplained(secs(12)), NONE);
}

#[test]
fn loss_and_long_round_trips_are_not_taken_for_silence() {
    for (rtt, loss) in [(50, 0.02), (50, 0.05), (300, 0.0), (300, 0.02)] {
        let path = Path::steady().rtt(ms(rtt)).loss(loss);
        let mut sim = Sim::new(rtt + (loss * 100.0) as u64).line("wire", path).line("4g", Path::steady());
        sim.run_for(secs(60));
        let stalls = sim.moves().iter().filter(|one| one.why == Why::Stalled).count();
        assert!(stalls <= 1, "{rtt} ms, {loss}: {:?}", sim.moves());
        assert_eq!(sim.unexplained(secs(12)), NONE);
    }
}

#[test]
fn a_handshake_that_hangs_is_given_up_and_tried_again() {
    let mut sim = Sim::new(10).line("wire", Path::steady()).line("4g", Path::steady());
    sim.server("wire", |server| server.handshake_delay = secs(60));
    sim.run_for(secs(3));
    assert_eq!(sim.carrier(), Some("4g"), "the standby begins when home is late");
    sim.server("wire", |server| server.handshake_delay = Duration::ZERO);
    sim.run_for(secs(25));
    assert_eq!(sim.carrier(), Some("wire"));
}

#[test]
fn at_the_start_the_primary_begins_even_if_the_standby_is_quicker() {
    let mut sim =
        Sim::new(11).line("far", Path::steady().rtt(ms(200))).line("near", Path::steady().rtt(ms(5)));
    sim.run_for(secs(3));
    assert_eq!(sim.moves().len(), 1);
    assert_eq!((sim.carrier(), sim.moves()[0].why), (Some("far"), Why::Begin));
}

#[test]
fn a_person_moves_the_stream_and_it_stays_there_until_told_otherwise() {
    let mut sim = pair(12);
    sim.tell(Event::Switch { to: LineId(1) });
    assert_eq!(sim.carrier(), Some("4g"));
    sim.run_for(secs(60));
    assert_eq!(sim.carrier(), Some("4g"));
    sim.kill("4g");
    sim.run_for(secs(1));
    assert_eq!(sim.carrier(), Some("wire"), "but it is never left on a dead line");
    sim.revive("4g");
    sim.run_for(secs(30));
    assert_eq!(sim.carrier(), Some("4g"), "and it goes back to where it was told to be");
    sim.tell(Event::Resume);
    sim.run_for(secs(5));
    assert_eq!(sim.carrier(), Some("wire"));
    assert_eq!((sim.gaps(), sim.unexplained(secs(2))), (&[][..], NONE));

    sim.tell(Event::Switch { to: LineId(1) });
    sim.tell(Event::Resume);
    sim.tell(Event::Hold);
    sim.run_for(secs(60));
    assert_eq!(sim.carrier(), Some("4g"), "held where it was");
    let before = sim.now();
    sim.tell(Event::Reconnect { line: LineId(1) });
    sim.run_for(secs(30));
    assert_eq!(sim.carrier(), Some("4g"));
    assert!(sim.moves().iter().any(|one| one.at >= before && one.to == LineId(0)));
    assert_eq!((sim.gaps(), sim.unexplained(secs(2))), (&[][..], NONE));
}

#[test]
fn a_cold_standby_is_dialled_only_when_needed_and_hung_up_after() {
    let mut sim = Sim::new(13)
        .mode(Mode::Cold)
        .line("wire", Path::steady())
        .line("4g", Path::steady())
        .line("dsl", Path::steady());
    sim.run_for(secs(10));
    let off = |sim: &Sim, line| sim.core().state(LineId(line)) == Some(LineState::Off);
    assert!(off(&sim, 1) && off(&sim, 2));
    sim.kill("wire");
    let fault = sim.now();
    sim.run_for(secs(2));
    let (one, took) = last_move(&sim, fault);
    assert_eq!(one.to, LineId(1));
    assert!(took < ms(600), "{took:?}: reset, dial, publish, media");
    assert!(off(&sim, 2));
    sim.kill("4g");
    sim.run_for(secs(4));
    assert_eq!(sim.carrier(), Some("dsl"));
    sim.revive("wire");
    sim.run_for(secs(25));
    assert_eq!(sim.carrier(), Some("wire"));
    assert!(off(&sim, 1) && off(&sim, 2));
    assert_eq!((sim.gaps(), sim.unexplained(secs(2))), (&[][..], NONE));
}

#[test]
fn a_person_who_sends_the_stream_to_a_cold_standby_waits_for_its_dial_and_no_longer() {
    let mut sim = Sim::new(15).mode(Mode::Cold).line("wire", Path::steady()).line("4g", Path::steady());
    sim.run_for(secs(10));
    sim.tell(Event::Switch { to: LineId(1) });
    sim.run_for(secs(1));
    assert_eq!(sim.carrier(), Some("4g"));
    assert_eq!(sim.moves().last().map(|one| one.why), Some(Why::Told));
    sim.tell(Event::Resume);
    sim.run_for(secs(25));
    assert_eq!(sim.carrier(), Some("wire"));
    assert_eq!((sim.gaps(), sim.unexplained(secs(2))), (&[][..], NONE));
}

#[test]
fn mirrored_lines_all_carry_and_each_makes_up_for_its_own_losses() {
    let mut sim =
        Sim::new(14).mode(Mode::Mirror).line("a", Path::steady()).line("b", Path::steady().rtt(ms(80)));
    sim.run_for(secs(10));
    sim.kill("a");
    sim.run_for(secs(3));
    sim.revive("a");
    sim.run_for(secs(10));
    let carrying =
        |line| sim.core().state(LineId(line)) == Some(LineState::Up { carrying: true, trouble: None });
    assert!(carrying(0) && carrying(1));
    assert_eq!(sim.moves().len(), 3);
    assert_eq!((sim.gaps(), sim.unexplained(secs(2))), (&[][..], NONE));
}

#[test]
fn a_box_that_slept_does_not_blame_its_lines() {
    let mut core = Failover::new(crate::sim::epoch(), Settings { lines: 2, ..Settings::default() });
    let mut now = core.now;
    for line in [LineId(0), LineId(1)] {
        core.handle(now, Event::Tick);
        core.handle(now, Event::Line { line, dial: Dial(1), what: LineEvent::Published });
    }
    core.handle(now, Event::Ring { oldest_gop: Seq(0), newest_gop: Seq(0) });
    assert_eq!(core.carrier(), Some(LineId(0)));
    let owing = crate::uplink::lines::Sample {
        acked_bytes: 1_000,
        owed_bytes: 5_000,
        rtt: ms(50),
        ..crate::uplink::lines::Sample::default()
    };
    for pause in [25, 25, 30_000, 25, 25] {
        now += ms(pause);
        core.handle(now, Event::Line { line: LineId(0), dial: Dial(1), what: LineEvent::Sampled(owing) });
        assert_eq!(core.carrier(), Some(LineId(0)));
    }
}

#[test]
fn an_acknowledgement_that_counts_differently_is_a_sign_of_life_and_never_a_loss() {
    let mut core = Failover::new(crate::sim::epoch(), Settings { lines: 2, ..Settings::default() });
    let mut now = core.now;
    for line in [LineId(0), LineId(1)] {
        core.handle(now, Event::Tick);
        core.handle(now, Event::Line { line, dial: Dial(1), what: LineEvent::Published });
    }
    core.handle(now, Event::Ring { oldest_gop: Seq(0), newest_gop: Seq(0) });
    for number in [2_500_000, 2_500_100, 2_499_900, 5, u32::MAX, 0] {
        now += ms(25);
        let what = LineEvent::Acknowledged(number);
        assert!(core.handle(now, Event::Line { line: LineId(0), dial: Dial(1), what }).is_empty());
    }
}

#[test]
fn news_of_a_connection_that_was_given_up_change_nothing() {
    let mut sim = pair(15);
    let before = sim.core().state(LineId(0));
    for what in [LineEvent::Ended(Ending::Reset), LineEvent::Published, LineEvent::Refused(Refusal::Auth)] {
        sim.tell(Event::Line { line: LineId(0), dial: Dial(7), what });
        sim.tell(Event::Line { line: LineId(200), dial: Dial(1), what });
    }
    assert_eq!(sim.core().state(LineId(0)), before);
}
