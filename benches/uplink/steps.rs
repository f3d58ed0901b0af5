//! A line of 6, 2, 4, 1 and again 6 Mbit/s: how soon each sender has settled, how late its pictures are and how many
//! are lost.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use footlight::base::clock;

use crate::rig::Cloud;
use crate::senders::{Kind, Reference, Stream, output, start_box};
use crate::support::judge::{Source, Truth};
use crate::support::net::{Net, Tap};

const STEPS_MBPS: [f64; 5] = [6.0, 2.0, 4.0, 1.0, 6.0];

/// A picture that is this late is late: players of a cloud's stream hold more than that.
const LATE: Duration = Duration::from_secs(1);

/// Rates are taken over this span.
const SPAN: Duration = Duration::from_secs(2);

/// What arrived: when it was made, when it was whole at the far end, and its bytes; `None`: it never was.
struct Piece {
    made: Instant,
    arrived: Option<Instant>,
    bytes: usize,
    is_picture: bool,
}

pub fn measure(net: &mut Net, seconds: u64) {
    println!(
        "\nA stream of 4 Mbit/s over a line in steps of {seconds} s; round trip 50 ms, a queue of 200 ms"
    );
    let stream = Stream { bitrate: "4Mbit/s", patient: true };
    let clouds = Kind::ALL.map(|kind| Cloud::new(net, &format!("{kind:?}").to_lowercase()));
    let adaptive = start_box(&stream, &output(&[clouds[0].nginx.url("k3y")], true));
    let fixed = start_box(&stream, "");
    let sources = [Source::watch(adaptive.http(), "main"), Source::watch(fixed.http(), "main")];
    let address = |at: usize| -> Vec<SocketAddr> {
        vec![format!("{}:1935", clouds[at].nginx.place().address).parse().unwrap()]
    };
    let references = [
        Reference::start(Kind::Ffmpeg, &fixed, address(1)),
        Reference::start(Kind::Naive, &fixed, address(2)),
    ];
    let mut starts = Vec::new();
    for rate in STEPS_MBPS {
        let now = clock::now();
        for cloud in &clouds {
            cloud.line.change(|shape| *shape = shape.rate((rate * 1e6) as u64));
        }
        starts.push(now);
        // The encoders set the pace: so long as the fixed box goes on, so does time.
        sources[1].goes_on_for(Duration::from_secs(seconds));
    }
    starts.push(clock::now());
    drop((adaptive, fixed));
    drop(references);
    let truths = sources.map(Source::truth);
    println!(
        "{:<18} {:>5} {:>11} {:>9} {:>9} {:>10} {:>10}",
        "sender", "line", "delivered", "p50 delay", "max delay", "settled", "lost"
    );
    println!(
        "{:<18} {:>5} {:>11} {:>9} {:>9} {:>10} {:>10}",
        "", "Mb/s", "Mb/s", "ms", "ms", "after s", "pictures"
    );
    for (at, kind) in Kind::ALL.into_iter().enumerate() {
        let truth = &truths[at.min(1)];
        let pieces = clouds[at].line.tap(|tap| pieces(truth, tap));
        for (step, rate) in STEPS_MBPS.into_iter().enumerate() {
            tell(kind, rate, &pieces, starts[step], starts[step + 1]);
        }
    }
    println!(
        "delay: from the box's own LAN to the last byte at the far end; settled: from then on no picture is"
    );
    println!("later than 1 s, and four fifths of the rate of the last third of the step is reached");
}

fn pieces(truth: &Truth, tap: &Tap) -> Vec<Piece> {
    let arrivals = truth.arrivals(tap);
    let piece = |at: usize| Piece {
        made: truth.made[at],
        arrived: arrivals.get(&at).copied(),
        bytes: truth.tags[at].body.len(),
        is_picture: truth.tags[at].is_picture(),
    };
    (0..truth.tags.len()).map(piece).collect()
}

fn tell(kind: Kind, rate: f64, pieces: &[Piece], start: Instant, end: Instant) {
    let ours: Vec<&Piece> = pieces.iter().filter(|piece| (start..end).contains(&piece.made)).collect();
    let mut delays: Vec<Duration> =
        ours.iter().filter_map(|piece| Some(piece.arrived?.saturating_duration_since(piece.made))).collect();
    delays.sort();
    let ms =
        |delay: Option<&Duration>| delay.map_or_else(|| "-".into(), |delay| delay.as_millis().to_string());
    let lost = ours.iter().filter(|piece| piece.is_picture && piece.arrived.is_none()).count();
    let last_rate = rate_at(pieces, end);
    println!(
        "{:<18} {rate:>5} {last_rate:>11.2} {:>9} {:>9} {:>10} {:>10}",
        kind.words(),
        ms(delays.get(delays.len() / 2)),
        ms(delays.last()),
        settled(pieces, start, end)
            .map_or_else(|| "never".to_owned(), |after| format!("{:.1}", after.as_secs_f64())),
        format!("{lost} of {}", ours.iter().filter(|piece| piece.is_picture).count()),
    );
}

/// Mbit/s that arrived in the span before `at`.
fn rate_at(pieces: &[Piece], at: Instant) -> f64 {
    let before = |arrived: Instant| arrived <= at && at - arrived < SPAN;
    let arrived = pieces.iter().filter(|piece| piece.arrived.is_some_and(before));
    arrived.map(|piece| piece.bytes).sum::<usize>() as f64 * 8e-6 / SPAN.as_secs_f64()
}

/// How long after `start` the last late picture of the step was made, or the rate came near to its last.
fn settled(pieces: &[Piece], start: Instant, end: Instant) -> Option<Duration> {
    let late = |piece: &&Piece| {
        let delay = piece.arrived.map(|arrived| arrived.saturating_duration_since(piece.made));
        (start..end).contains(&piece.made) && piece.is_picture && delay.is_none_or(|delay| delay > LATE)
    };
    let last_late = pieces.iter().filter(late).map(|piece| piece.made).max().unwrap_or(start);
    // What came in the last third of the step is what the sender made of the line.
    let third = (end - start) / 3;
    let ours = |piece: &&Piece| piece.arrived.is_some_and(|at| at <= end && end - at < third);
    let bytes: usize = pieces.iter().filter(ours).map(|piece| piece.bytes).sum();
    let wanted = bytes as f64 * 8e-6 / third.as_secs_f64() * 0.8;
    let steps = (0..).map(|step| start + Duration::from_millis(100) * step).take_while(|at| *at <= end);
    let reached = steps.into_iter().find(|at| rate_at(pieces, *at) >= wanted)?;
    let settled = last_late.max(reached) - start;
    (start + settled + SPAN < end).then_some(settled)
}
