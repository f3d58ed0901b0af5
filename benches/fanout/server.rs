//! The contender: the hub and the HTTP server as the box runs them, and a publisher.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use footlight::base::clock;
use footlight::config::schema::Http;
use footlight::hub::{Hub, Limits, Publisher};
use footlight::media::packet::Media;
use footlight::serve::auth::Tokens;
use footlight::serve::{Parts, Server};
use footlight::shop::Orders;
use footlight::uplink::Outputs;

use crate::stream;

pub fn run(merge: Duration) {
    let http = Http {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        max_viewers: 0,
        max_viewers_per_address: 0,
        max_connections: 10_000,
        merge,
        viewer_lag: Duration::from_secs(3),
        viewer_stall: Duration::from_secs(30),
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let hub = Hub::new();
    let publisher = hub.open("main", Limits::default());
    let _guard = runtime.enter();
    let tokens = Tokens::open(Path::new("there/is/no/such/folder"));
    let ready = Box::new(|| Ok(()));
    let parts =
        Parts { hub, outputs: Outputs::new(), orders: Orders::off(), tokens, describe: Vec::new(), ready };
    let server = Server::start(&http, parts).unwrap();
    println!("{}", server.local_addr());
    publish(&publisher);
}

fn publish(publisher: &Publisher) {
    let start = clock::monotonic_ticks();
    publisher.publish(Media::Layout(stream::layout()));
    for piece in stream::pieces() {
        stream::sleep_until(start, piece.at);
        publisher.publish(Media::Packet(piece.packet(start)));
    }
}
