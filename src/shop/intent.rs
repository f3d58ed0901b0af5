//! What the writer is asked to do, and what it answers.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::event::Kind;
use super::order::{Key, Order, OrderState, Reservation, Wish};
use super::product::{Product, ProductEdit, Sku};
use super::rules::Refusal;
use super::store::Trouble;

/// Something to be done, and who waits for it.
#[derive(Debug)]
pub(super) struct Intent {
    pub(super) what: Box<What>,
    reply: oneshot::Sender<Result<Done, Trouble>>,
}

/// What is to be done. Ids come with it, so that a second try to write it is the same.
#[derive(Debug)]
pub(super) enum What {
    Order { wish: Wish, key: Key, id: String },
    Reserve { wish: Wish, key: Key, id: String },
    Release { id: String },
    Cancel { id: String, by: By, reason: Option<String> },
    Put { edits: Vec<ProductEdit>, if_version: Option<i64> },
    Stock { sku: Sku, add: i64, reason: Option<String> },
    Remove { sku: Sku, if_version: Option<i64> },
    Image { sku: Sku, image: Option<Image> },
    Lease { sku: Sku, grant: Option<Grant> },
    News(News),
    Note { kind: Kind, sku: Option<Sku>, of: Option<String>, data: String },
}

/// Who cancels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Who has the order's id: until the shop confirmed it.
    Buyer,
    /// The shop's people: until it is paid.
    Shop,
}

/// A product's picture, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// `image/jpeg`, `image/png` or `image/webp`.
    pub content_type: &'static str,
    /// Its hash.
    pub etag: String,
    /// The file.
    pub bytes: Vec<u8>,
}

/// Units that the cloud lets this box sell during one show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The show.
    pub id: String,
    /// How many in all.
    pub units: i64,
    /// Until when, in Unix milliseconds.
    pub until_ms: Option<i64>,
}

/// What the cloud, or the shop's people, say about orders; taken over whole or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct News {
    /// Orders by id, what they are now, and why.
    pub orders: Vec<(String, OrderState, Option<String>)>,
    /// Units granted.
    pub leases: Vec<(Sku, Grant)>,
    /// Settings that change with it.
    pub settings: Vec<(&'static str, String)>,
}

/// What became of news.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Noted {
    /// Orders that changed.
    pub changed: usize,
    /// What could not be followed: unknown orders and products, or orders that ended otherwise here.
    pub left_alone: u64,
    /// The first of these in words; for the log.
    pub remarks: Vec<String>,
}

/// An order that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed<T> {
    /// It.
    pub it: Arc<T>,
    /// Whether it stood already, under the same key.
    pub again: bool,
}

/// Why something was not done, though the store works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum No {
    /// By the rules; the same for ever under that key.
    Refused {
        /// The problem's name.
        name: String,
        /// What to tell.
        detail: String,
    },
    /// The key was used for something else.
    KeyReused,
    /// There is no such product, order or reservation.
    Unknown,
    /// The order's state does not allow it.
    TooLate(OrderState),
    /// Somebody else edited it meanwhile.
    Version(i64),
    /// There are so many units, which is too few to take away so many.
    TooFew(i64),
    /// There are as many products as one box keeps.
    TooMany,
}

impl From<Refusal> for No {
    fn from(refusal: Refusal) -> No {
        No::Refused { name: refusal.name().to_owned(), detail: refusal.detail() }
    }
}

/// What was done.
#[derive(Debug)]
pub(super) enum Done {
    Order(Result<Placed<Order>, No>),
    Reservation(Result<Placed<Reservation>, No>),
    /// The products as they are now, and whether each is new.
    Products(Result<Vec<(Arc<Product>, bool)>, No>),
    /// What became of news.
    News(Noted),
    /// Where the log stands.
    Noted {
        seq: i64,
    },
}

impl Intent {
    pub(super) fn new(what: What) -> (Intent, oneshot::Receiver<Result<Done, Trouble>>) {
        let (reply, answer) = oneshot::channel();
        (Intent { what: Box::new(what), reply }, answer)
    }

    /// Whether nobody waits any more, so that it may be left undone.
    pub(super) fn is_given_up(&self) -> bool {
        // News come from ourselves: they are done in any case.
        self.reply.is_closed() && !matches!(*self.what, What::News(_))
    }

    pub(super) fn answer(self, done: Done) {
        // Who hung up learns it by the same key.
        let _ = self.reply.send(Ok(done));
    }

    pub(super) fn fail(self, trouble: &Trouble) {
        let _ = self.reply.send(Err(trouble.clone()));
    }
}
