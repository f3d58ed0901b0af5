//! What orders cost the viewers: 200 of them on a 4 Mbit/s stream, with and without 5,000 orders a second.

use std::path::Path;
use std::time::Duration;

use footlight::base::threads;

use crate::buyers::Buyers;
use crate::disk;
use crate::http::row;
use crate::names::{HOT, STOCK};
use crate::shared::child::Child;
use crate::shared::crowd::{Crowd, Reading};
use crate::shared::figures::{median, quantiles};
use crate::shared::server;
use crate::support::Request;

const VIEWERS: usize = 200;
const ORDERS: u32 = 5_000;
const CONNECTIONS: usize = 256;

/// What 200 viewers saw.
struct Seen {
    p50: f64,
    p99: f64,
    longest: f64,
    /// Pictures that came, of those that should have.
    share: f64,
}

/// The box's rooms that matter here, with a stream whose pictures say when they were made.
pub fn serve(what: &[String]) {
    server::run(Duration::ZERO, Some(Path::new(&what[0])));
}

pub fn measure(quick: bool) {
    let (rounds, span) = if quick { (1, Duration::from_secs(6)) } else { (3, Duration::from_secs(15)) };
    println!(
        "{VIEWERS} viewers of 4 Mbit/s: relay delay of pictures, published -> in the viewer's socket, ms"
    );
    println!(
        "{:>10} {:>7} {:>7} {:>8} {:>10} {:>12}",
        "orders/s", "p50", "p99", "longest", "delivered", "CPU, cores"
    );
    let mut heard = None;
    let both: Vec<[(Seen, f64); 2]> = (0..rounds)
        .map(|_| {
            [None, Some(ORDERS)].map(|rate| {
                let (seen, cpu, orders) = watch(rate, span);
                heard = orders.or(heard.take());
                (seen, cpu)
            })
        })
        .collect();
    for (at, name) in ["none", "5,000"].into_iter().enumerate() {
        let of =
            |pick: &dyn Fn(&(Seen, f64)) -> f64| median(both.iter().map(|round| pick(&round[at])).collect());
        println!(
            "{name:>10} {:>7.2} {:>7.2} {:>8.1} {:>9.1}% {:>12.2}",
            of(&|(seen, _)| seen.p50),
            of(&|(seen, _)| seen.p99),
            of(&|(seen, _)| seen.longest),
            of(&|(seen, _)| seen.share) * 100.0,
            of(&|(_, cpu)| *cpu),
        );
    }
    let ratio = median(both.iter().map(|[without, with]| with.0.p99 / without.0.p99).collect());
    println!("p99 with orders is {ratio:.2} of p99 without; no viewer was let go");
    if let Some(row) = heard {
        println!("the orders meanwhile: offered, accepted, p50, p99, p99.9 ms, turned away\n{row}");
    }
}

/// Watches for a while, with so many orders a second.
fn watch(rate: Option<u32>, span: Duration) -> (Seen, f64, Option<String>) {
    let folder = disk::folder();
    let child = Child::start(&[folder.path().to_str().unwrap()]);
    let product = format!(r#"{{"title":"Cup","price":{{"amount":1999,"currency":"CNY"}},"stock":{STOCK}}}"#);
    let put = Request::new("PUT", &format!("/api/v1/products/{HOT}")).json(&product);
    assert_eq!(put.send(child.address()).unwrap().status, 201);
    let mut crowd = Crowd::new(child.address());
    crowd.add(VIEWERS, Reading::Timed);
    crowd.run(Duration::from_secs(2));
    let buyers = rate.map(|rate| {
        let mut buyers = Buyers::connect(child.address(), CONNECTIONS, 0);
        threads::spawn("bench", "buyers", move || row(rate, buyers.at_rate(rate, span))).unwrap()
    });
    crowd.take_delays();
    let before = child.cpu_seconds();
    let took = crowd.run(span).as_secs_f64();
    let cpu = (child.cpu_seconds() - before) / took;
    let mut delays = crowd.take_delays();
    assert_eq!(crowd.open(), VIEWERS, "viewers were let go");
    let share = delays.len() as f64 / (VIEWERS as f64 * 30.0 * took);
    let [p50, p99, longest] = quantiles(&mut delays, [0.5, 0.99, 1.0]);
    (Seen { p50, p99, longest, share }, cpu, buyers.map(|buyers| buyers.join().unwrap()))
}
