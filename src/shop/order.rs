//! What buyers ask for and get: orders and reservations.
//!
//! Pure.

use serde_json::{Value, json};

use super::fields::{Fault, Fields};
use super::ids::{Fingerprint, fingerprint};
use super::money::Money;
use super::product::Sku;
use super::times::rfc3339;

/// Units in one order, at most.
pub const QUANTITY_MAX: i64 = 10_000;

/// Where an order stands. It moves only forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OrderState {
    /// On this box's disk.
    Accepted,
    /// The cloud has it.
    Synced,
    /// The shop says that it will be served.
    Confirmed,
    /// Paid in the cloud.
    Paid,
    /// The shop said no; its units are free again.
    Rejected,
    /// Somebody took it back; its units are free again.
    Cancelled,
}

impl OrderState {
    /// Every state with its name.
    pub const ALL: [(OrderState, &'static str); 6] = [
        (OrderState::Accepted, "accepted"),
        (OrderState::Synced, "synced"),
        (OrderState::Confirmed, "confirmed"),
        (OrderState::Paid, "paid"),
        (OrderState::Rejected, "rejected"),
        (OrderState::Cancelled, "cancelled"),
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// The state of that name.
    pub fn parse(name: &str) -> Option<OrderState> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(state, _)| *state)
    }

    /// Whether its units count as sold.
    pub fn is_sale(self) -> bool {
        !matches!(self, OrderState::Rejected | OrderState::Cancelled)
    }

    /// Whether nothing more will become of it.
    pub fn is_final(self) -> bool {
        matches!(self, OrderState::Paid | OrderState::Rejected | OrderState::Cancelled)
    }

    /// Whether an order may go from here to there.
    pub fn may_become(self, to: OrderState) -> bool {
        match to {
            OrderState::Cancelled | OrderState::Rejected => !self.is_final(),
            _ => self.is_sale() && to > self,
        }
    }
}

/// What a buyer wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// What of.
    pub sku: Sku,
    /// How many, from 1 to [`QUANTITY_MAX`].
    pub quantity: u32,
    /// The buyer, by a name that the buyer's side made.
    pub buyer: String,
    /// How to reach the buyer. Never shown without a token.
    pub contact: String,
    /// The reservation that this makes an order of.
    pub reservation: Option<String>,
    /// The product's version as the buyer saw it: another price is then refused.
    pub version: Option<i64>,
}

/// The client's name for a request: sent again, it gets the same answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// `Idempotency-Key`, 1 to 128 visible ASCII characters.
    pub text: String,
    /// What was asked for under it.
    pub fingerprint: Fingerprint,
}

/// What a request under a key is for; the same content for another purpose is another content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// An order.
    Order,
    /// A reservation.
    Reservation,
}

impl Wish {
    /// Reads what a buyer sent.
    ///
    /// # Errors
    /// Everything that is wrong, by field.
    pub fn read(document: &[u8], purpose: Purpose) -> Result<Wish, Vec<Fault>> {
        let mut fields = Fields::of(document)?;
        let text = fields.needed_text("sku", 1..=64);
        let sku = Sku::parse(&text);
        if sku.is_none() && !text.is_empty() {
            fields.fault("sku", Sku::WANTED);
        }
        let quantity = fields.needed_whole("quantity", 1..=QUANTITY_MAX);
        let buyer = fields.needed_text("buyer", 1..=128);
        let (contact, reservation) = match purpose {
            Purpose::Order => {
                (fields.lines("contact", 0..=1_000).unwrap_or_default(), fields.id("reservation"))
            }
            Purpose::Reservation => (String::new(), None),
        };
        let version = fields.whole("version", 1..=i64::MAX);
        fields.finish()?;
        let Some(sku) = sku else { return Err(vec![Fault::new("sku", Sku::WANTED)]) };
        Ok(Wish { sku, quantity: quantity as u32, buyer, contact, reservation, version })
    }

    /// This wish under a client's key.
    ///
    /// # Errors
    /// When the key is none.
    pub fn key(&self, text: &str, purpose: Purpose) -> Result<Key, Fault> {
        if !(1..=128).contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            let detail = "must be 1 to 128 visible ASCII characters, made by the client, one for each order";
            return Err(Fault::new("Idempotency-Key", detail));
        }
        let purpose: &[u8] = match purpose {
            Purpose::Order => b"order",
            Purpose::Reservation => b"reservation",
        };
        let parts = [
            purpose,
            self.sku.as_str().as_bytes(),
            &self.quantity.to_le_bytes(),
            self.buyer.as_bytes(),
            self.contact.as_bytes(),
            self.reservation.as_deref().unwrap_or_default().as_bytes(),
            &self.version.unwrap_or_default().to_le_bytes(),
        ];
        Ok(Key { text: text.to_owned(), fingerprint: fingerprint(parts) })
    }
}

/// An order that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Counts up, for people.
    pub number: i64,
    /// Cannot be guessed: who has it may read the order.
    pub id: String,
    /// What was ordered.
    pub sku: Sku,
    /// How many.
    pub quantity: u32,
    /// By whom.
    pub buyer: String,
    /// How to reach the buyer.
    pub contact: String,
    /// What one cost then.
    pub unit_price: Money,
    /// What all cost.
    pub total: Money,
    /// Where it stands.
    pub state: OrderState,
    /// Why, where somebody said so.
    pub reason: Option<String>,
    /// When it was accepted, in Unix milliseconds.
    pub at_ms: i64,
    /// When its state last changed.
    pub changed_ms: i64,
    /// The lease it was sold under.
    pub lease: Option<String>,
}

impl Order {
    /// What the buyer hears when it is accepted, and again for the same key, whatever became of it since.
    pub fn accepted_json(&self) -> Value {
        json!({
            "id": self.id,
            "number": self.number,
            "state": OrderState::Accepted.as_str(),
            "sku": self.sku.as_str(),
            "quantity": self.quantity,
            "total": { "amount": self.total.amount, "currency": self.total.currency.as_str() },
            "accepted_at": rfc3339(self.at_ms),
        })
    }

    /// What who has the id may know: all but how to reach the buyer.
    pub fn to_json(&self) -> Value {
        let mut told = self.accepted_json();
        told["state"] = self.state.as_str().into();
        told["reason"] = self.reason.clone().into();
        told["changed_at"] = rfc3339(self.changed_ms).into();
        told
    }

    /// What the shop's people and the cloud may know.
    pub fn to_full_json(&self) -> Value {
        let mut told = self.to_json();
        told["buyer"] = self.buyer.clone().into();
        told["contact"] = self.contact.clone().into();
        told["unit_price"] =
            json!({ "amount": self.unit_price.amount, "currency": self.unit_price.currency.as_str() });
        told
    }
}

/// Where a reservation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldState {
    /// It holds its units.
    Held,
    /// It became an order.
    Ordered,
    /// It was given back.
    Released,
    /// Its time ran out.
    Expired,
}

impl HoldState {
    const ALL: [(HoldState, &'static str); 4] = [
        (HoldState::Held, "held"),
        (HoldState::Ordered, "ordered"),
        (HoldState::Released, "released"),
        (HoldState::Expired, "expired"),
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// The state of that name.
    pub fn parse(name: &str) -> Option<HoldState> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(state, _)| *state)
    }
}

/// Units kept for a buyer for a while, at the price of then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// Cannot be guessed.
    pub id: String,
    /// What is held.
    pub sku: Sku,
    /// How many.
    pub quantity: u32,
    /// For whom.
    pub buyer: String,
    /// What one costs if it is ordered in time.
    pub unit_price: Money,
    /// Where it stands.
    pub state: HoldState,
    /// When it was made, in Unix milliseconds.
    pub at_ms: i64,
    /// When it ends.
    pub expires_ms: i64,
    /// The lease it counts against.
    pub lease: Option<String>,
}

impl Reservation {
    /// As the API tells it; `state` is the one of when it was made, where an answer is repeated.
    pub fn to_json(&self, state: HoldState) -> Value {
        json!({
            "id": self.id,
            "state": state.as_str(),
            "sku": self.sku.as_str(),
            "quantity": self.quantity,
            "unit_price": { "amount": self.unit_price.amount, "currency": self.unit_price.currency.as_str() },
            "expires_at": rfc3339(self.expires_ms),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_orders_state_moves_only_forward() {
        use OrderState::{Accepted, Cancelled, Confirmed, Paid, Rejected, Synced};
        for (from, may) in [
            (Accepted, vec![Synced, Confirmed, Paid, Rejected, Cancelled]),
            (Synced, vec![Confirmed, Paid, Rejected, Cancelled]),
            (Confirmed, vec![Paid, Rejected, Cancelled]),
            (Paid, vec![]),
            (Rejected, vec![]),
            (Cancelled, vec![]),
        ] {
            for (to, name) in OrderState::ALL {
                assert_eq!(from.may_become(to), may.contains(&to), "{} to {name}", from.as_str());
                assert_eq!(OrderState::parse(name), Some(to));
            }
        }
    }

    #[test]
    fn the_same_content_is_the_same_however_it_is_written_and_another_is_another() {
        let key = |document: &str, purpose| {
            Wish::read(document.as_bytes(), purpose)
                .expect(document)
                .key("k", purpose)
                .expect("a key")
                .fingerprint
        };
        let one = key(r#"{"sku":"A","quantity":1,"buyer":"b"}"#, Purpose::Order);
        assert_eq!(one, key(r#"{ "buyer": "b", "quantity": 1, "sku": "A", "contact": "" }"#, Purpose::Order));
        assert_ne!(one, key(r#"{"sku":"A","quantity":2,"buyer":"b"}"#, Purpose::Order));
        assert_ne!(one, key(r#"{"sku":"A","quantity":1,"buyer":"b"}"#, Purpose::Reservation));
    }

    #[test]
    fn a_wish_that_is_wrong_is_told_by_field() {
        for (document, field) in [
            (r#"{"quantity":1,"buyer":"b"}"#, "sku"),
            (r#"{"sku":"a/b","quantity":1,"buyer":"b"}"#, "sku"),
            (r#"{"sku":"A","quantity":0,"buyer":"b"}"#, "quantity"),
            (r#"{"sku":"A","quantity":-1,"buyer":"b"}"#, "quantity"),
            (r#"{"sku":"A","quantity":1.5,"buyer":"b"}"#, "quantity"),
            (r#"{"sku":"A","quantity":"1","buyer":"b"}"#, "quantity"),
            (r#"{"sku":"A","quantity":99999999999999999999,"buyer":"b"}"#, "quantity"),
            (r#"{"sku":"A","quantity":1}"#, "buyer"),
            (r#"{"sku":"A","quantity":1,"buyer":""}"#, "buyer"),
            (r#"{"sku":"A","quantity":1,"buyer":"b","contact":7}"#, "contact"),
            (r#"{"sku":"A","quantity":1,"buyer":"b","reservation":"7"}"#, "reservation"),
            (r#"{"sku":"A","quantity":1,"buyer":"b","qantity":1}"#, "qantity"),
        ] {
            let faults = Wish::read(document.as_bytes(), Purpose::Order).expect_err(document);
            assert!(faults.iter().any(|fault| fault.field == field), "{document}: {faults:?}");
        }
    }

    #[test]
    fn a_key_is_visible_ascii_of_a_bounded_length() {
        let wish = Wish::read(br#"{"sku":"A","quantity":1,"buyer":"b"}"#, Purpose::Order).expect("right");
        for key in ["", "a b", "ä", "a\n", &"x".repeat(129)] {
            assert!(wish.key(key, Purpose::Order).is_err(), "{key}");
        }
        assert!(wish.key(&"x".repeat(128), Purpose::Order).is_ok());
    }
}
