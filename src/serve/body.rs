//! What an answer carries: something whole, or something that is told bit by bit.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::mpsc;

/// Pieces that wait for a client that does not take them. Who tells waits then, so that a slow client costs this and
/// no more.
const PIECES_WAITING: usize = 1;

/// The body of every answer.
#[derive(Debug)]
pub(super) enum Body {
    /// All of it; empty once it was taken.
    Full(Bytes),
    /// Piece by piece, until the [`Teller`] is dropped.
    Stream(mpsc::Receiver<Bytes>),
}

/// The other end of a body that is told bit by bit.
#[derive(Debug)]
pub(super) struct Teller(mpsc::Sender<Bytes>);

/// The client went away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone;

impl Body {
    /// A body without an end as yet, and who writes it.
    pub(super) fn told() -> (Teller, Body) {
        let (to, from) = mpsc::channel(PIECES_WAITING);
        (Teller(to), Body::Stream(from))
    }

    /// Whether it is told bit by bit.
    pub(super) fn is_told(&self) -> bool {
        matches!(self, Body::Stream(_))
    }
}

impl Teller {
    /// Tells one more piece; waits while the client is behind. Safe to be given up: nothing was told then.
    pub(super) async fn tell(&self, piece: Bytes) -> Result<(), Gone> {
        // An empty piece would be the end in chunked encoding.
        if piece.is_empty() {
            return Ok(());
        }
        self.0.send(piece).await.map_err(|_| Gone)
    }

    /// Returns once the client is gone.
    pub(super) async fn gone(&self) {
        self.0.closed().await;
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Body {
        Body::Full(bytes)
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = match self.get_mut() {
            Body::Full(whole) => Poll::Ready(Some(std::mem::take(whole)).filter(|whole| !whole.is_empty())),
            Body::Stream(pieces) => pieces.poll_recv(cx),
        };
        piece.map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Body::Full(whole) if whole.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Full(whole) => SizeHint::with_exact(whole.len() as u64),
            Body::Stream(_) => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn something_whole_has_its_length_and_comes_at_once() {
        let body = Body::from(Bytes::from_static(b"whole"));
        assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(5), false));
        assert_eq!(
            body.collect().await.map(http_body_util::Collected::to_bytes),
            Ok(Bytes::from_static(b"whole"))
        );
        let nothing = Body::from(Bytes::new());
        assert_eq!((nothing.size_hint().exact(), nothing.is_end_stream()), (Some(0), true));
    }

    #[tokio::test]
    async fn pieces_come_in_their_order_and_end_with_their_teller() {
        let (teller, body) = Body::told();
        assert_eq!(body.size_hint().exact(), None);
        let telling = tokio::spawn(async move {
            for piece in ["a", "", "b", "c", "d"] {
                teller.tell(piece.into()).await?;
            }
            Ok::<_, Gone>(())
        });
        assert_eq!(
            body.collect().await.map(http_body_util::Collected::to_bytes),
            Ok(Bytes::from_static(b"abcd"))
        );
        assert_eq!(telling.await.ok(), Some(Ok(())));
    }

    #[tokio::test]
    async fn who_tells_waits_for_a_client_that_is_behind_and_hears_when_it_is_gone() {
        let (teller, body) = Body::told();
        for _ in 0..PIECES_WAITING {
            assert_eq!(teller.tell("x".into()).await, Ok(()));
        }
        tokio::select! {
            biased;
            _ = teller.tell("x".into()) => panic!("nobody took anything"),
            () = std::future::ready(()) => {}
        }
        drop(body);
        teller.gone().await;
        assert_eq!(teller.tell("x".into()).await, Err(Gone));
    }
}
