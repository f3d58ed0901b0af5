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
    let (mut behind_at, mut stalled, mut leave_at) = (None, 0, None);
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
                // What waited at the last step already and waits still.
                let now_at = link.is_unflushed().then(|| link.written());
                stalled = if now_at.is_some() && now_at == behind_at { stalled + 1 } else { 0 };
                if stalled >= if link.is_told() { TOLD_STALL_STEPS } else { 1 } {
                    debug!(%peer, "an HTTP client takes no byte of its answer");
                    return;
                }
                behind_at = now_at;
            }
        }
    };
    let stream = connection.into_parts().io.into_stream();
    house.viewing.take(stream, seat, taken).await;
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
