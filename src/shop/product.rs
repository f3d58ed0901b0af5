//! What is for sale: one row for each SKU. Variants of one product are SKUs that share its `product` code.
//!
//! Pure.

use std::fmt;

use serde_json::{Value, json};

use super::fields::{Fault, Fields};
use super::money::Money;
use super::times::rfc3339;

/// Units of one SKU, at most.
pub const UNITS_MAX: i64 = 1_000_000_000;

/// SKUs that one box keeps, at most: the board of all of them lies in memory.
pub const PRODUCTS_MAX: usize = 10_000;

/// A stock-keeping unit: 1 to 64 letters, digits, `.`, `_`, `-`, beginning with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sku(String);

impl Sku {
    /// Takes a SKU as it is written.
    pub fn parse(text: &str) -> Option<Sku> {
        let within = (1..=64).contains(&text.len());
        let begins = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        let right = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        (within && begins && right).then(|| Sku(text.to_owned()))
    }

    /// SKUs that nothing new can have: below `/products/` these names are other things, which would hide the product.
    pub const RESERVED: [&str; 2] = ["import", "export"];

    /// What a SKU must look like, for messages.
    pub const WANTED: &str = "must be a SKU: 1 to 64 letters, digits, dots, dashes and underscores, beginning with a letter or digit";

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Sku {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Units of a SKU, by where they are. None is ever negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stock {
    /// Nobody's yet.
    pub available: i64,
    /// Reserved for somebody, for a while.
    pub held: i64,
    /// Ordered.
    pub sold: i64,
}

/// What the cloud lets this box sell of a SKU during one show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The show; another one counts from zero.
    pub id: String,
    /// Units granted in all.
    pub units: i64,
    /// Of these, held or sold.
    pub used: i64,
    /// When it ends, in Unix milliseconds.
    pub until_ms: Option<i64>,
}

/// One SKU with everything that the box knows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Product {
    /// Its name for machines.
    pub sku: Sku,
    /// What people edit.
    pub card: Card,
    /// Counts edits by people; a sale is none.
    pub version: i64,
    /// Its units.
    pub stock: Stock,
    /// What the cloud lets the box sell of it; nothing: all that there is.
    pub lease: Option<Lease>,
    /// The picture's hash, if it has one.
    pub image: Option<String>,
    /// When it was last edited, in Unix milliseconds.
    pub changed_ms: i64,
    /// Whether it was taken out of the catalogue. Its orders stay, and so does it.
    pub removed: bool,
}

/// What people say about a SKU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// What it is called.
    pub title: String,
    /// What it is a variant of, and what tells it from the others: `CUP`, `red, L`.
    pub product: Option<String>,
    /// See `product`.
    pub variant: Option<String>,
    /// More about it.
    pub description: String,
    /// What one unit costs.
    pub price: Money,
    /// Units for one buyer; 0: no bound; nothing: `orders.buyer_limit`.
    pub buyer_limit: Option<u32>,
    /// At this many available units or fewer it is low; nothing: `orders.low_stock`.
    pub low_stock: Option<u32>,
    /// Whether it can be bought now.
    pub on_sale: bool,
    /// Its place in lists; equal ones go by SKU.
    pub position: i64,
}

/// A SKU as somebody wants it to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProductEdit {
    /// Which.
    pub sku: Sku,
    /// What it shall say.
    pub card: Card,
    /// Units that shall be available; nothing: as it is.
    pub stock: Option<i64>,
}

impl ProductEdit {
    /// Reads a product as the API and imports write it. `sku` is given where the address names it, and may then stand
    /// in the document as well.
    ///
    /// # Errors
    /// Everything that is wrong, by field.
    pub fn read(sku: Option<&str>, mut fields: Fields) -> Result<ProductEdit, Vec<Fault>> {
        let written = fields.text("sku", 1..=64);
        let named = match (sku, &written) {
            (Some(sku), Some(written)) if sku != written => {
                fields.fault("sku", format!("is {written} here and {sku} in the address"));
                None
            }
            (Some(sku), _) => Some(sku),
            (None, written) => written.as_deref(),
        };
        let parsed = named.and_then(Sku::parse);
        match &parsed {
            None => fields.fault("sku", Sku::WANTED),
            Some(sku) if Sku::RESERVED.contains(&sku.as_str()) => {
                fields.fault("sku", format!("cannot be {sku}: that name is taken by the API"));
            }
            Some(_) => {}
        }
        // What an answer says beside what may be said: a product that was read may be sent back as it is.
        let told = told_stock(&mut fields);
        for told in ["version", "held", "sold", "image", "changed_at"] {
            fields.take(told);
        }
        let title = fields.needed_text("title", 1..=200);
        let price = fields.needed_money("price");
        let small = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
        let card = price.map(|price| Card {
            title,
            product: fields.text("product", 1..=64),
            variant: fields.text("variant", 1..=200),
            description: fields.lines("description", 0..=4_000).unwrap_or_default(),
            price,
            buyer_limit: fields.whole("buyer_limit", 0..=1_000_000).map(small),
            low_stock: fields.whole("low_stock", 0..=1_000_000).map(small),
            on_sale: fields.truth("on_sale").unwrap_or(true),
            position: fields.whole("position", -1_000_000..=1_000_000).unwrap_or(0),
        });
        if card.is_none() {
            // Taken all the same, so that what is wrong with them is told in the same answer.
            fields.text("product", 1..=64);
            fields.text("variant", 1..=200);
            fields.lines("description", 0..=4_000);
            fields.whole("buyer_limit", 0..=1_000_000);
            fields.whole("low_stock", 0..=1_000_000);
            fields.truth("on_sale");
            fields.whole("position", -1_000_000..=1_000_000);
        }
        // Sold units would come back if the stock of when it was read were set again.
        let stock = fields.whole("stock", 0..=UNITS_MAX).filter(|stock| !told.contains(stock));
        fields.finish()?;
        match (parsed, card) {
            (Some(sku), Some(card)) => Ok(ProductEdit { sku, card, stock }),
            _ => Err(vec![Fault::new("", "something is missing")]),
        }
    }
}

/// The stock that a document tells beside the one that it wants, if it was read from the box: what was available, and
/// what of it the lease let be sold.
fn told_stock(fields: &mut Fields) -> Vec<i64> {
    let lease = fields.take("lease");
    let Some(available) = fields.take("available").and_then(|value| value.as_i64()) else {
        return Vec::new();
    };
    let Some(lease) = lease else { return vec![available] };
    let number = |name: &str| lease.get(name).and_then(Value::as_i64).unwrap_or_default();
    // One that had ended let nothing be sold.
    vec![available.min((number("units") - number("used")).max(0)), 0]
}

impl Product {
    /// Units that can be bought now: what is available, within the lease.
    pub fn sellable(&self, now_ms: i64) -> i64 {
        match &self.lease {
            None => self.stock.available,
            Some(lease) => self.stock.available.min(lease.left(now_ms)),
        }
    }

    /// As the API tells it. `stock` is what can be bought now.
    pub fn to_json(&self, now_ms: i64) -> Value {
        let Card { title, product, variant, description, price, buyer_limit, low_stock, on_sale, position } =
            &self.card;
        json!({
            "sku": self.sku.as_str(),
            "title": title,
            "product": product,
            "variant": variant,
            "description": description,
            "price": { "amount": price.amount, "currency": price.currency.as_str() },
            "stock": self.sellable(now_ms),
            "available": self.stock.available,
            "held": self.stock.held,
            "sold": self.stock.sold,
            "buyer_limit": buyer_limit,
            "low_stock": low_stock,
            "on_sale": on_sale,
            "position": position,
            "version": self.version,
            "lease": self.lease.as_ref().map(Lease::to_json),
            "image": self.image.as_ref().map(|etag| format!("/api/v1/products/{}/image?v={etag}", self.sku)),
            "changed_at": rfc3339(self.changed_ms),
        })
    }
}

impl Lease {
    /// Units that may still be sold.
    pub fn left(&self, now_ms: i64) -> i64 {
        let ended = self.until_ms.is_some_and(|until| now_ms >= until);
        if ended { 0 } else { (self.units - self.used).max(0) }
    }

    fn to_json(&self) -> Value {
        json!({ "id": self.id, "units": self.units, "used": self.used, "until": self.until_ms.map(rfc3339) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shop::money::Currency;

    fn read(sku: Option<&str>, document: &str) -> Result<ProductEdit, Vec<Fault>> {
        ProductEdit::read(sku, Fields::of(document.as_bytes())?)
    }

    #[test]
    fn a_product_needs_a_title_and_a_price_and_its_stock_may_be_left_alone() {
        let edit =
            read(Some("CUP-1"), r#"{"title":"Cup","price":{"amount":1999,"currency":"CNY"},"stock":100}"#);
        let edit = edit.expect("right");
        assert_eq!((edit.sku.as_str(), edit.stock, edit.card.on_sale), ("CUP-1", Some(100), true));
        assert_eq!(
            edit.card.price,
            Money { amount: 1_999, currency: Currency::parse("CNY").expect("in use") }
        );
        let edit =
            read(None, r#"{"sku":"A","title":"T","price":{"amount":0,"currency":"EUR"}}"#).expect("right");
        assert_eq!(edit.stock, None);
    }

    #[test]
    fn a_product_that_could_be_made_and_never_read_is_refused_with_the_reason() {
        let card = r#""title":"T","price":{"amount":5,"currency":"EUR"}"#;
        for name in Sku::RESERVED {
            let faults = read(None, &format!(r#"{{"sku":"{name}",{card}}}"#)).expect_err("it is taken");
            assert!(faults[0].field == "sku" && faults[0].detail.contains(name), "{faults:?}");
        }
        assert!(read(None, &format!(r#"{{"sku":"important",{card}}}"#)).is_ok());
    }

    #[test]
    fn what_was_told_of_a_product_may_be_sent_back_as_it_is() {
        let edit = read(Some("A"), r#"{"title":"T","price":{"amount":5,"currency":"EUR"},"stock":3}"#)
            .expect("right");
        let product = Product {
            sku: edit.sku.clone(),
            card: edit.card.clone(),
            version: 7,
            stock: Stock { available: 3, held: 1, sold: 2 },
            lease: None,
            image: Some("abc".into()),
            changed_ms: 0,
            removed: false,
        };
        let unchanged = ProductEdit { stock: None, ..edit };
        let mut sent = product.to_json(0);
        assert_eq!(read(Some("A"), &sent.to_string()), Ok(unchanged.clone()), "its stock is left alone");
        sent["stock"] = 50.into();
        assert_eq!(
            read(Some("A"), &sent.to_string()).expect("right").stock,
            Some(50),
            "but for who sets another"
        );
        let lease = Lease { id: "show".into(), units: 2, used: 1, until_ms: None };
        let leased = Product { lease: Some(lease), ..product };
        assert_eq!(leased.to_json(0)["stock"], 1);
        assert_eq!(read(Some("A"), &leased.to_json(0).to_string()), Ok(unchanged));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (sku, document, field) in [
            ("A", r#"{"price":{"amount":5,"currency":"EUR"}}"#, "title"),
            ("A", r#"{"title":"T"}"#, "price"),
            ("A", r#"{"title":"T","price":{"amount":5,"currency":"EUR"},"stock":-1}"#, "stock"),
            ("A", r#"{"title":"T","price":{"amount":5.5,"currency":"EUR"}}"#, "price.amount"),
            ("A", r#"{"title":"T","price":{"amount":5,"currency":"EUR"},"stocks":1}"#, "stocks"),
            ("A", r#"{"sku":"B","title":"T","price":{"amount":5,"currency":"EUR"}}"#, "sku"),
            ("a b", r#"{"title":"T","price":{"amount":5,"currency":"EUR"}}"#, "sku"),
        ] {
            let faults = read(Some(sku), document).expect_err(document);
            assert!(faults.iter().any(|fault| fault.field == field), "{document}: {faults:?}");
        }
    }

    #[test]
    fn a_lease_bounds_what_can_be_sold_and_ends() {
        let lease = Lease { id: "show".into(), units: 10, used: 4, until_ms: Some(1_000) };
        assert_eq!((lease.left(999), lease.left(1_000)), (6, 0));
        assert_eq!(Lease { used: 12, ..lease }.left(0), 0);
    }
}
