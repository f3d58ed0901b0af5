//! One HTTP connection, from its first byte until it ends or becomes a viewer's.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tracing::debug;

use crate::base::clock;

use super::house::{self, House, Seat};
use super::routes;
use super::socket::{Link, Socket};

/// How long a request's head may take, and how long a connection may idle between two: a slow sender holds a
/// connection for this long and no longer.
const HEAD_READ_TIMEOUT: Duration = Duration::from_secs(15);

/// Bytes of a request's head, beyond which the answer is 431. Browsers send one or two KiB.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Header lines of a request, beyond which the answer is 431.
const HEADERS_MAX: usize = 64;

/// A client that takes no byte of an answer for one of these steps is let go. (Viewers have a bound of their own.)
const WRITE_STALL_STEP: Duration = Duration::from_secs(10);

/// Steps that a page which follows the events may take none: it is there for hours, and a phone that changes from one
/// access point to the next is back within that.
const TOLD_STALL_STEPS: u32 = 3;

/// How long an answer that was begun may take once the server stops, and a request that is only half there.
const LEAVING_LASTS: Duration = Duration::from_secs(1);

/// Serves `stream` until it ends. `seat` is its place among the connections.
pub(super) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    seat: Seat,
    house: Arc<House>,
    mut stopping: watch::Receiver<bool>,
) {
    let link = Arc::new(Link::default());
    let service = service_fn({
        let (house, link) = (house.clone(), link.clone());
        move |request| {
            let (house, link) = (house.clone(), link.clone());
            async move {
                let answer = routes::answer(&house, &link, peer.ip(), request).await;
                link.set_told(answer.body().is_told());
                Ok::<_, Infallible>(answer)
            }
        }
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_READ_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(Socket::new(stream, link.clone()), service);

    let mut steps = tokio::time::interval(WRITE_STALL_STEP);
    let (mut stall, mut leave_at) = (Stall::default(), None);
    let taken = loop {
        let spoken = poll_fn(|cx| {
            let polled = Pin::new(&mut connection).poll(cx);
            // The service has let a viewer in: hyper's part ends here, whatever it would do next.
            match link.take() {
                Some(taken) => Poll::Ready(Ok(Some(taken))),
                None => polled.map_ok(|()| None),
            }
        });
        tokio::select! {
            spoken = spoken => match spoken {
                Ok(Some(taken)) => break taken,
                Ok(None) => return,
                Err(error) => {
                    debug!(%peer, %error, "an HTTP connection ended badly");
                    return;
                }
            },
            () = house::told_to_stop(&mut stopping), if leave_at.is_none() => {
                leave_at = Some(clock::now() + LEAVING_LASTS);
                Pin::new(&mut connection).graceful_shutdown();
            }
            () = until(leave_at), if leave_at.is_some() => return,
            _ = steps.tick() => {
                let waits_at = link.is_unflushed().then(|| link.written());
                if stall.step(waits_at, link.is_told()) {
                    debug!(%peer, "an HTTP client takes no byte of its answer");
                    return;
                }
            }
        }
    };
    let stream = connection.into_parts().io.into_stream();
    house.viewing.take(stream, seat, taken).await;
}

/// Tells a client that takes nothing from one that has nothing to take.
#[derive(Debug, Default)]
struct Stall {
    behind_at: Option<u64>,
    steps: u32,
}

impl Stall {
    /// One step later something waits after so many bytes were taken, or nothing does; says whether to let the client
    /// go. What waited at the last step already and waits still makes a step without a byte.
    fn step(&mut self, waits_at: Option<u64>, is_told: bool) -> bool {
        self.steps = if waits_at.is_some() && waits_at == self.behind_at { self.steps + 1 } else { 0 };
        self.behind_at = waits_at;
        self.steps >= if is_told { TOLD_STALL_STEPS } else { 1 }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_takes_nothing_is_let_go_and_a_page_gets_half_a_minute() {
        for (is_told, patience) in [(false, 1), (true, TOLD_STALL_STEPS)] {
            let mut stall = Stall::default();
            assert!(!stall.step(Some(7), is_told));
            assert!((1..patience).all(|_| !stall.step(Some(7), is_told)));
            assert!(stall.step(Some(7), is_told));
        }
        assert_eq!(WRITE_STALL_STEP * TOLD_STALL_STEPS, Duration::from_secs(30));
    }

    #[test]
    fn a_client_that_is_slow_or_has_nothing_to_take_stays() {
        let mut stall = Stall::default();
        for written in 0..100 {
            assert!(!stall.step(Some(written), false), "it takes a byte in each step");
        }
        for _ in 0..100 {
            assert!(!stall.step(None, false));
        }
        for written in 0..100 {
            for _ in 0..TOLD_STALL_STEPS {
                assert!(!stall.step(Some(1_000 + written), true), "it takes a byte in half a minute");
            }
        }
    }
}
