//! Thousands of fault schedules, each by a seed that a failure prints.
//!
//! `FOOTLIGHT_SCHEDULES=20000` plays more of them; `FOOTLIGHT_SEED=17` plays one, and prints what happened.

use proptest::prelude::*;

use crate::sim::line::Path;
use crate::sim::server::{Manners, Server};
use crate::sim::{Rng, ms, secs};
use crate::uplink::rehearsal::Sim;

use super::*;

/// No tags.
const NONE: Vec<u64> = Vec::new();

const NAMES: [&str; 4] = ["wire", "4g", "dsl", "sat"];

/// How many schedules are played when nobody asks for more.
const SCHEDULES: u64 = 2_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// One fault, somewhere.
fn fault(sim: &mut Sim, rng: &mut Rng, kinds: std::ops::Range<u64>, names: &[&'static str]) {
    let name = names[rng.between(0, names.len() as u64) as usize];
    let kind = rng.between(kinds.start, kinds.end);
    if number("FOOTLIGHT_SEED").is_some() {
        println!("{:?}: fault {kind} at {name}", sim.elapsed());
    }
    match kind {
        0 => sim.silence(name),
        1 => sim.kill(name),
        2 => sim.reset(name),
        3 => sim.server(name, |server| server.frozen = true),
        4 => {
            let bps = [300_000, 1_000_000, 3_000_000, 6_000_000][rng.between(0, 4) as usize];
            sim.path(name, |path| path.bandwidth_bps = bps);
        }
        5 => {
            let loss = [0.02, 0.05, 0.1][rng.between(0, 3) as usize];
            sim.path(name, |path| path.loss = loss);
        }
        6 => {
            let rtt = ms(rng.between(5, 400));
            sim.path(name, |path| path.rtt = rtt);
        }
        7 => sim.server(name, |server| server.handshake_delay = secs(30)),
        8 => sim.camera(false),
        9 => sim.camera(true),
        10 => sim.tell(Event::Switch { to: LineId(rng.between(0, 5) as u8) }),
        11 => sim.tell(if rng.happens(0.5) { Event::Hold } else { Event::Resume }),
        12 => sim.tell(Event::Reconnect { line: LineId(rng.between(0, 4) as u8) }),
        _ => names.iter().for_each(|name| mend(sim, name)),
    }
}

/// All kinds of faults and orders; those that befall a line and its server.
const ALL_FAULTS: std::ops::Range<u64> = 0..14;
const LINE_FAULTS: std::ops::Range<u64> = 0..8;

/// Whatever was wrong with a line, now it is well.
fn mend(sim: &mut Sim, name: &'static str) {
    sim.revive(name);
    sim.server(name, |server| server.handshake_delay = Duration::ZERO);
    sim.path(name, |path| *path = Path::steady().rtt(path.rtt.min(ms(100))));
}

/// Plays one schedule: half a minute of faults, then peace, and everything must be well.
fn play(seed: u64) -> Sim {
    let mut rng = Rng::new(seed ^ 0xfa11);
    let mode = [Mode::Warm, Mode::Warm, Mode::Cold, Mode::Mirror][rng.between(0, 4) as usize];
    let lines = rng.between(1, 5) as usize;
    let mut sim = Sim::new(seed).mode(mode).settings(|settings| settings.failback_after_max = secs(20));
    for name in &NAMES[..lines] {
        sim = sim.line(name, Path::steady().rtt(ms(rng.between(5, 120))));
    }
    sim.run_for(ms(rng.between(5, 6_000)));
    if rng.happens(0.3) {
        for name in &NAMES[..lines] {
            sim.server(name, |server| *server = Server::new(Manners::nginx()));
        }
        sim.run_for(secs(3));
    }
    for _ in 0..rng.between(1, 12) {
        fault(&mut sim, &mut rng, ALL_FAULTS, &NAMES[..lines]);
        sim.run_for(ms(rng.between(5, 5_000)));
    }
    NAMES[..lines].iter().for_each(|name| mend(&mut sim, name));
    sim.camera(true);
    sim.tell(Event::Resume);
    sim
}

/// After the faults: the stream is home in time, nothing is missing without a reason, memory is what it was.
fn judge(sim: &mut Sim) -> Result<(), String> {
    let peace = sim.now();
    let mut well_since = None;
    // nginx's ghosts live for 90 s, and a slow line is sick for 60.
    while sim.now() < peace + secs(170) {
        sim.run_for(secs(1));
        let core = sim.core();
        let home = match core.settings.mode {
            Mode::Mirror => core.lines.iter().all(Line::carries),
            _ => core.carrier() == Some(LineId::PRIMARY),
        };
        if !home || !sim.unexplained(secs(2)).is_empty() {
            well_since = None;
        } else if sim.now() >= *well_since.get_or_insert(sim.now()) + secs(5) {
            return Ok(());
        }
    }
    Err(format!("carrier {:?}, missing {:?}", sim.carrier(), sim.unexplained(secs(2))))
}

fn report(sim: &Sim) -> String {
    let moves = sim.moves().iter().map(|one| {
        format!(
            "{:?}: {:?} -> {:?} from {} ({:?})\n",
            sim.since_start(one.at),
            one.left,
            one.to,
            one.from,
            one.why
        )
    });
    let gaps = sim.gaps().iter().map(|gap| format!("{gap:?}\n"));
    format!("FOOTLIGHT_SEED={}\n{}", sim.seed(), moves.chain(gaps).collect::<String>())
}

#[test]
fn after_any_faults_the_stream_is_home_and_nothing_is_missing_without_a_reason() {
    if let Some(seed) = number("FOOTLIGHT_SEED") {
        let mut sim = play(seed);
        let verdict = judge(&mut sim);
        println!("{}", report(&sim));
        assert_eq!(verdict, Ok(()));
        return;
    }
    let (mut moves, mut gaps) = (0, 0);
    for seed in 0..number("FOOTLIGHT_SCHEDULES").unwrap_or(SCHEDULES) {
        let result = std::panic::catch_unwind(|| {
            let mut sim = play(seed);
            let verdict = judge(&mut sim);
            (verdict, sim.moves().len(), sim.gaps().len())
        });
        match result {
            Ok((Ok(()), some_moves, some_gaps)) => (moves, gaps) = (moves + some_moves, gaps + some_gaps),
            Ok((Err(what), ..)) => panic!("FOOTLIGHT_SEED={seed}: {what}"),
            Err(panic) => {
                println!("FOOTLIGHT_SEED={seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    println!("{moves} moves, {gaps} gaps, all with a reason");
}

#[test]
fn while_one_line_lives_nothing_is_missing_at_all() {
    for seed in 0..number("FOOTLIGHT_SCHEDULES").unwrap_or(SCHEDULES) / 4 {
        let mut rng = Rng::new(seed ^ 0x11fe);
        let rtt = ms(rng.between(5, 120));
        let mut sim = Sim::new(seed).line("wire", Path::steady().rtt(rtt)).line("4g", Path::steady());
        sim.run_for(secs(5));
        for _ in 0..rng.between(1, 10) {
            if rng.happens(0.3) {
                mend(&mut sim, "wire");
            } else {
                fault(&mut sim, &mut rng, LINE_FAULTS, &["wire"]);
            }
            sim.run_for(ms(rng.between(5, 12_000)));
        }
        assert_eq!(sim.gaps(), [], "seed {seed}");
        sim.run_for(secs(10));
        assert_eq!((sim.gaps(), sim.unexplained(secs(4))), (&[][..], NONE), "seed {seed}");
    }
}

fn any_event() -> impl Strategy<Value = Event> {
    let line = (0u8..4).prop_map(LineId);
    let dial = (0u32..6).prop_map(Dial);
    let seq = (0u64..400).prop_map(Seq);
    let sample = (0u64..9_000, 0u64..9_000, 0u64..9_000, 0u64..900, proptest::option::of(0u64..9_000))
        .prop_map(|(acked, owed, waiting, rtt, window)| crate::uplink::lines::Sample {
            acked_bytes: acked,
            owed_bytes: owed,
            unsent_bytes: owed / 2,
            waiting_bytes: waiting,
            rtt: ms(rtt),
            window_bytes: window,
            ..crate::uplink::lines::Sample::default()
        });
    let what = prop_oneof![
        3 => Just(LineEvent::Published),
        1 => Just(LineEvent::Reached(Phase::Handshake)),
        1 => Just(LineEvent::Refused(Refusal::Busy)),
        1 => Just(LineEvent::Refused(Refusal::Auth)),
        1 => Just(LineEvent::Ended(Ending::Reset)),
        1 => Just(LineEvent::Ended(Ending::Closed)),
        6 => sample.prop_map(LineEvent::Sampled),
        4 => (0u64..9_000, seq.clone(), 0u64..40).prop_map(|(end, seq, back)| LineEvent::Wrote {
            end,
            seq,
            gop: Seq(seq.0.saturating_sub(back)),
            at: crate::base::ticks::Ticks(seq.0 as i64 * 1_200),
        }),
        1 => any::<u32>().prop_map(LineEvent::Acknowledged),
        1 => (0u64..9_000, 0u64..900).prop_map(|(from, more)| LineEvent::Lost { from, to: from + more }),
        1 => (seq.clone(), seq.clone()).prop_map(|(first, last)| LineEvent::Skipped {
            first,
            last,
            pictures_only: true,
            why: GapReason::Thinned,
        }),
    ];
    prop_oneof![
        12 => (line.clone(), dial, what).prop_map(|(line, dial, what)| Event::Line { line, dial, what }),
        2 => (seq.clone(), seq).prop_map(|(one, two)| Event::Ring { oldest_gop: one.min(two), newest_gop: one.max(two) }),
        1 => line.clone().prop_map(|to| Event::Switch { to }),
        1 => Just(Event::Hold),
        1 => Just(Event::Resume),
        1 => line.prop_map(|line| Event::Reconnect { line }),
        4 => Just(Event::Tick),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    /// A shell gone mad says anything at any time: the core neither panics nor asks for the impossible.
    #[test]
    fn whatever_is_said_the_core_asks_for_what_makes_sense(
        mode in prop_oneof![Just(Mode::Warm), Just(Mode::Cold), Just(Mode::Mirror)],
        lines in 0u8..12,
        events in proptest::collection::vec((0u64..1_500, any_event()), 0..300),
    ) {
        let mut now = crate::sim::epoch();
        let mut core = Failover::new(now, Settings { mode, lines, ..Settings::default() });
        let mut connected = [None; LINES_MAX];
        let mut fed = [false; LINES_MAX];
        for (pause, event) in events {
            now += ms(pause);
            // What a shell cannot do: end a connection without the core hearing of it.
            if let Event::Line { line, dial, what: LineEvent::Refused(_) | LineEvent::Ended(_) } = event
                && connected[line.index()] == Some(dial)
            {
                (connected[line.index()], fed[line.index()]) = (None, false);
            }
            for action in core.handle(now, event) {
                match action {
                    Action::Connect { line, dial } => {
                        prop_assert_eq!(connected[line.index()].replace(dial), None, "dialled twice");
                    }
                    Action::Disconnect { line, dial, .. } => {
                        prop_assert_eq!(connected[line.index()].take(), Some(dial));
                        fed[line.index()] = false;
                    }
                    Action::Carry { line, dial, .. } => {
                        prop_assert_eq!(connected[line.index()], Some(dial));
                        fed[line.index()] = true;
                        prop_assert!(mode == Mode::Mirror || fed.iter().filter(|fed| **fed).count() == 1);
                    }
                    Action::Rest { line, dial } => {
                        prop_assert_eq!(connected[line.index()], Some(dial));
                        fed[line.index()] = false;
                    }
                    Action::Trickle { line, dial, .. } => prop_assert_eq!(connected[line.index()], Some(dial)),
                    Action::Gap(gap) => prop_assert!(gap.first <= gap.last),
                }
            }
            core.check_invariants();
            prop_assert!(core.wake_at().is_none_or(|at| at > now), "it would spin");
        }
    }
}
