//! How long after a fault the other cloud gets media, and what is lost on the way.

use std::net::SocketAddr;
use std::time::Duration;

use crate::rig::{self, Cloud, Fault};
use crate::senders::{Kind, Reference, Stream, output, start_box};
use crate::support::judge::Source;
use crate::support::net::Net;

/// A sender that has not moved by then is not waited for.
const PATIENCE: Duration = Duration::from_secs(15);

/// A sender that did not move so often in a row is not asked again.
const NEVER_MAX: usize = 3;

struct Outcome {
    times: Vec<Option<Duration>>,
    /// Pictures that no cloud recorded, and of these, those that no cloud's kernel had acknowledged.
    missing: usize,
    lost: usize,
    one_timeline: bool,
}

pub fn measure(net: &mut Net, trials: usize, faults: &[Fault], senders: &[Kind]) {
    println!(
        "\nFrom a fault to the first media at the other cloud, ms; {trials} trials each, round trip 50 ms"
    );
    println!(
        "{:<24} {:<18} {:>7} {:>7} {:>7} {:>9} {:>9} {:>9}  times",
        "fault", "sender", "p50", "p99", "max", "never", "missing", "unacked"
    );
    for &fault in faults {
        for &kind in senders {
            tell(fault, kind, &run(net, fault, kind, trials));
        }
    }
    println!(
        "never: not within 15 s; missing: pictures that no cloud recorded, over all trials; unacked: those of them that no cloud's"
    );
    println!("kernel had acknowledged; times: whether all connections are stamped by one timeline");
}

fn run(net: &mut Net, fault: Fault, kind: Kind, trials: usize) -> Outcome {
    let number = net.lines_made();
    let mut clouds = [0, 1].map(|at| Cloud::new(net, &format!("line{}", number + at)));
    let urls = [0, 1].map(|at: usize| clouds[at].nginx.url("k3y"));
    let addresses: Vec<SocketAddr> =
        clouds.iter().map(|cloud| format!("{}:1935", cloud.nginx.place().address).parse().unwrap()).collect();
    let stream = Stream { bitrate: "1Mbit/s", patient: false };
    let warm = kind == Kind::Footlight;
    let mut footlight = start_box(&stream, &if warm { output(&urls, false) } else { String::new() });
    let source = Source::watch(footlight.http(), "main");
    let sender = (!warm).then(|| Reference::start(kind, &footlight, addresses));
    let mut times = Vec::new();
    for trial in 0..trials {
        // Faults strike at any place in a GOP.
        rig::settle(&clouds, Duration::from_millis(1_200 + 37 * (trial as u64 % 27)), warm);
        let carrier = rig::carrier(&clouds);
        let struck = clouds[carrier].strike(fault);
        times.push(rig::first_media(&clouds[1 - carrier], struck, PATIENCE));
        clouds[carrier].heal(fault);
        if times.len() >= NEVER_MAX && times.iter().rev().take(NEVER_MAX).all(Option::is_none) {
            break;
        }
    }
    rig::settle(&clouds, Duration::from_secs(1), false);
    drop(sender);
    footlight.terminate(Duration::from_secs(5));
    let truth = source.truth();
    // nginx stores what it has read at once; what it has not read it never will.
    let recordings: Vec<_> = clouds.iter().flat_map(|cloud| cloud.nginx.recordings()).collect();
    let verdict = truth.judge(&recordings);
    let wires = clouds[0].line.tap(|a| clouds[1].line.tap(|b| truth.wires([a, b])));
    let pictures = |places: &[usize]| places.iter().filter(|&&at| truth.tags[at].is_picture()).count();
    Outcome {
        times,
        missing: pictures(&verdict.missing),
        lost: pictures(&verdict.lost(&wires)),
        one_timeline: wires.one_timeline(),
    }
}

fn tell(fault: Fault, kind: Kind, outcome: &Outcome) {
    let mut times: Vec<f64> = outcome.times.iter().flatten().map(|time| time.as_secs_f64() * 1e3).collect();
    times.sort_by(f64::total_cmp);
    let quantile = |share: f64| {
        let at = ((times.len() as f64 * share).ceil() as usize).max(1) - 1;
        times.get(at).map_or_else(|| "-".to_owned(), |time| format!("{time:.0}"))
    };
    let never = outcome.times.iter().filter(|time| time.is_none()).count();
    println!(
        "{:<24} {:<18} {:>7} {:>7} {:>7} {:>9} {:>9} {:>9}  {}",
        fault.words(),
        kind.words(),
        quantile(0.5),
        quantile(0.99),
        quantile(1.0),
        format!("{never} of {}", outcome.times.len()),
        outcome.missing,
        outcome.lost,
        if outcome.one_timeline { "one" } else { "restart" },
    );
}
