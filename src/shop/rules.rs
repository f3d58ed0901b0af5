//! Who gets what: the rules of stock, reservations, limits and leases.
//!
//! Pure: what is known of a SKU and a wish go in; a [`Move`] of units or a [`Refusal`] comes out. The writer carries
//! it out in the transaction in which it asked, so that nothing can come between.
//!
//! What always holds for a SKU: no count is negative, and a move never makes or loses a unit; only what people add
//! to or take from the stock does ([`set_stock`], [`add_stock`]).

use super::order::{HoldState, Order, OrderState, Reservation, Wish};
use super::product::{Lease, Product, Stock, UNITS_MAX};

/// Units that change place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Move {
    /// To what is available.
    pub available: i64,
    /// To what is held.
    pub held: i64,
    /// To what is sold.
    pub sold: i64,
    /// To what is used of the lease.
    pub leased: i64,
}

/// Why a wish is not granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Fewer are left than are wanted.
    SoldOut {
        /// How many.
        left: i64,
    },
    /// The buyer has as many as one may have.
    BuyerLimit {
        /// For one buyer.
        limit: u32,
        /// What the buyer has.
        has: i64,
    },
    /// The product was edited since the buyer saw it.
    Changed {
        /// Its version now.
        version: i64,
    },
    /// It is not sold now.
    NotOnSale,
    /// The total is beyond what is counted.
    TooMuch,
    /// There is no such reservation, or it is for something else or somebody else.
    OtherReservation,
    /// The reservation holds nothing any more.
    ReservationOver(HoldState),
}

impl Refusal {
    /// The problem's name, the end of its `type`.
    pub fn name(&self) -> &'static str {
        match self {
            Refusal::SoldOut { .. } => "sold-out",
            Refusal::BuyerLimit { .. } => "buyer-limit",
            Refusal::Changed { .. } => "product-changed",
            Refusal::NotOnSale => "not-on-sale",
            Refusal::TooMuch => "total-too-large",
            Refusal::OtherReservation => "no-such-reservation",
            Refusal::ReservationOver(_) => "reservation-over",
        }
    }

    /// What the buyer is told.
    pub fn detail(&self) -> String {
        match self {
            Refusal::SoldOut { left: 0 } => "It is sold out.".to_owned(),
            Refusal::SoldOut { left } => format!("Fewer are left than are wanted: {left}."),
            Refusal::BuyerLimit { limit, has } => {
                format!("One buyer may have {limit} of it, and this one has {has}.")
            }
            Refusal::Changed { version } => {
                format!("It was changed meanwhile (it is version {version} now): look at its price again.")
            }
            Refusal::NotOnSale => "It is not sold now.".to_owned(),
            Refusal::TooMuch => "So many cost more than can be counted.".to_owned(),
            Refusal::OtherReservation => {
                "There is no such reservation for this product, quantity and buyer.".to_owned()
            }
            Refusal::ReservationOver(HoldState::Ordered) => {
                "The reservation became an order already.".to_owned()
            }
            Refusal::ReservationOver(HoldState::Released) => "The reservation was given back.".to_owned(),
            Refusal::ReservationOver(_) => "The reservation's time is over.".to_owned(),
        }
    }
}

/// What applies to everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Units of one SKU for one buyer, unless the product says otherwise; 0: no bound.
    pub buyer_limit: u32,
    /// At this many available units or fewer a SKU is low, unless it says otherwise; 0: never.
    pub low_stock: u32,
}

/// Whether a buyer may have what is wished: checks all but where the units come from.
fn check(product: &Product, wish: &Wish, has: i64, limits: Limits) -> Result<(), Refusal> {
    if !product.card.on_sale {
        return Err(Refusal::NotOnSale);
    }
    if wish.version.is_some_and(|seen| seen != product.version) {
        return Err(Refusal::Changed { version: product.version });
    }
    if product.card.price.times(wish.quantity).is_none() {
        return Err(Refusal::TooMuch);
    }
    let limit = buyer_limit(product, limits);
    if limit > 0 && has.saturating_add(i64::from(wish.quantity)) > i64::from(limit) {
        return Err(Refusal::BuyerLimit { limit, has });
    }
    Ok(())
}

/// Units of this SKU for one buyer; 0: no bound, and nobody needs to count what the buyer has.
pub fn buyer_limit(product: &Product, limits: Limits) -> u32 {
    product.card.buyer_limit.unwrap_or(limits.buyer_limit)
}

fn enough(product: &Product, quantity: u32, now_ms: i64) -> Result<i64, Refusal> {
    let (wanted, left) = (i64::from(quantity), product.sellable(now_ms));
    if wanted > left { Err(Refusal::SoldOut { left }) } else { Ok(wanted) }
}

/// An order straight from what is available. `has`: units that the buyer has ordered or reserved of this SKU.
///
/// # Errors
/// Why not.
pub fn order(product: &Product, wish: &Wish, has: i64, limits: Limits, now_ms: i64) -> Result<Move, Refusal> {
    check(product, wish, has, limits)?;
    let units = enough(product, wish.quantity, now_ms)?;
    Ok(Move { available: -units, sold: units, held: 0, leased: leased(product, units) })
}

/// A reservation from what is available.
///
/// # Errors
/// Why not.
pub fn hold(product: &Product, wish: &Wish, has: i64, limits: Limits, now_ms: i64) -> Result<Move, Refusal> {
    check(product, wish, has, limits)?;
    let units = enough(product, wish.quantity, now_ms)?;
    Ok(Move { available: -units, held: units, sold: 0, leased: leased(product, units) })
}

/// An order from a reservation: neither stock nor limit can refuse it, and its price stands.
///
/// # Errors
/// When the reservation is over, or another.
pub fn order_held(wish: &Wish, held: Option<&Reservation>, now_ms: i64) -> Result<Move, Refusal> {
    let Some(held) = held else { return Err(Refusal::OtherReservation) };
    if held.sku != wish.sku || held.quantity != wish.quantity || held.buyer != wish.buyer {
        return Err(Refusal::OtherReservation);
    }
    match held.state {
        HoldState::Held if now_ms >= held.expires_ms => Err(Refusal::ReservationOver(HoldState::Expired)),
        HoldState::Held => {
            let units = i64::from(held.quantity);
            Ok(Move { held: -units, sold: units, ..Move::default() })
        }
        over => Err(Refusal::ReservationOver(over)),
    }
}

/// A reservation's units go back; nothing if it holds none.
pub fn release(product: &Product, held: &Reservation) -> Option<Move> {
    let units = i64::from(held.quantity);
    let leased = unleased(product, held.lease.as_deref(), units);
    (held.state == HoldState::Held).then_some(Move { available: units, held: -units, sold: 0, leased })
}

/// An order's units go back, if it may become `to` ([`OrderState::Cancelled`] or [`OrderState::Rejected`]).
pub fn give_back(product: &Product, order: &Order, to: OrderState) -> Option<Move> {
    let units = i64::from(order.quantity);
    let leased = unleased(product, order.lease.as_deref(), units);
    (!to.is_sale() && order.state.may_become(to)).then_some(Move {
        available: units,
        sold: -units,
        held: 0,
        leased,
    })
}

/// Units are used of a lease if there is one.
fn leased(product: &Product, units: i64) -> i64 {
    if product.lease.is_some() { units } else { 0 }
}

/// Units go back to the lease they were taken from, if that is still the one in force.
fn unleased(product: &Product, taken_from: Option<&str>, units: i64) -> i64 {
    match &product.lease {
        Some(lease) if taken_from == Some(lease.id.as_str()) => -units.min(lease.used),
        _ => 0,
    }
}

/// What must be added so that so many are available.
pub fn set_stock(stock: Stock, available: i64) -> Move {
    Move { available: available - stock.available, ..Move::default() }
}

/// Adds units, or takes some away that are available.
///
/// # Errors
/// How many there are, when there are too few to take or would be more than are counted.
pub fn add_stock(stock: Stock, add: i64) -> Result<Move, i64> {
    match stock.available.checked_add(add) {
        Some(0..=UNITS_MAX) => Ok(Move { available: add, ..Move::default() }),
        _ => Err(stock.available),
    }
}

/// A lease as the cloud grants it: the same show goes on counting. For another one `used` tells what was sold and
/// reserved under it before, if it was in force already.
pub fn lease(product: &Product, id: &str, units: i64, until_ms: Option<i64>, used: i64) -> Lease {
    let used = product.lease.as_ref().filter(|lease| lease.id == id).map_or(used, |lease| lease.used);
    Lease { id: id.to_owned(), units, used, until_ms }
}

/// What became of a SKU's stock, for whom it concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StockNews {
    /// Nothing can be bought any more.
    SoldOut,
    /// Little is left.
    Low,
}

/// Whether units that can be bought became few or none.
pub fn stock_news(product: &Product, before: i64, after: i64, limits: Limits) -> Option<StockNews> {
    let low = i64::from(product.card.low_stock.unwrap_or(limits.low_stock));
    match after {
        0 if before > 0 => Some(StockNews::SoldOut),
        after if after > 0 && after <= low && before > low => Some(StockNews::Low),
        _ => None,
    }
}

impl Product {
    /// Carries a move out.
    ///
    /// Returns false, and changes nothing, where a count would become negative: a bug of ours, which the database's
    /// own checks would refuse as well.
    #[must_use]
    pub fn carry_out(&mut self, by: Move) -> bool {
        let Stock { available, held, sold } = self.stock;
        let stock = Stock { available: available + by.available, held: held + by.held, sold: sold + by.sold };
        let used = self.lease.as_ref().map_or(0, |lease| lease.used) + by.leased;
        if stock.available < 0 || stock.held < 0 || stock.sold < 0 || used < 0 {
            return false;
        }
        self.stock = stock;
        if let Some(lease) = &mut self.lease {
            lease.used = used;
        }
        true
    }
}

#[cfg(test)]
mod tests;
