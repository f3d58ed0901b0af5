//! The hub, the HTTP server and the order cache as the box runs them, and a publisher.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use footlight::base::clock;
use footlight::base::ticks::Ticks;
use footlight::config::schema::{self, Http};
use footlight::hub::{Hub, Limits, Publisher};
use footlight::media::packet::Media;
use footlight::serve::auth::Tokens;
use footlight::serve::{Parts, Server};
use footlight::shop::Orders;
use footlight::shop::outbox::Outbox;
use footlight::uplink::Outputs;

use super::stream;

/// Serves until the process ends; takes orders where there is a folder for them.
pub fn run(merge: Duration, store: Option<&Path>) {
    let http = Http {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        max_viewers: 0,
        max_viewers_per_address: 0,
        max_connections: 10_000,
        merge,
        viewer_lag: Duration::from_secs(3),
        viewer_stall: Duration::from_secs(30),
        trust_local: true,
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let hub = Hub::new();
    let publisher = hub.open("main", Limits::default());
    let _guard = runtime.enter();
    let tokens = Tokens::open(Path::new("there/is/no/such/folder"));
    let ready = Box::new(|| Ok(()));
    let (orders, _writer) = match store {
        Some(folder) => {
            let (orders, writer) = Orders::start(folder, &schema::Orders::default()).unwrap();
            while orders.trouble().is_some() {
                stream::sleep_until(clock::monotonic_ticks(), Ticks(Ticks::PER_SECOND / 1_000));
            }
            (orders, Some(writer))
        }
        None => (Orders::off(), None),
    };
    let parts = Parts {
        hub,
        outputs: Outputs::new(),
        outbox: Outbox::new(orders.clone(), "box", "site"),
        orders,
        order_rate: 0,
        tokens,
        describe: Vec::new(),
        ready,
    };
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
