//! What happened, as the log keeps it.
//!
//! Pure.

use super::product::Sku;
use super::rules::Move;

/// Kinds of events; the names stay, since pages, the fleet and audits read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A product was made or edited, or its image changed.
    Product,
    /// A product was taken out of the catalogue.
    Removed,
    /// The units that a product began with.
    Initial,
    /// People added units or took some away.
    Restock,
    /// A reservation was made.
    Hold,
    /// A reservation was given back.
    Release,
    /// A reservation's time ran out.
    Expire,
    /// An order was accepted.
    Order,
    /// The cloud has the order.
    Synced,
    /// The shop confirmed the order.
    Confirmed,
    /// The order is paid.
    Paid,
    /// The shop rejected the order.
    Rejected,
    /// The order was cancelled.
    Cancelled,
    /// The cloud granted units for a show, or took the bound away.
    Lease,
    /// The last unit that could be bought is gone.
    SoldOut,
    /// Few units are left.
    LowStock,
    /// A product is shown.
    Cue,
    /// A show began: counters start at zero.
    Show,
}

impl Kind {
    const ALL: [(Kind, &'static str); 18] = [
        (Kind::Product, "product"),
        (Kind::Removed, "removed"),
        (Kind::Initial, "initial"),
        (Kind::Restock, "restock"),
        (Kind::Hold, "hold"),
        (Kind::Release, "release"),
        (Kind::Expire, "expire"),
        (Kind::Order, "order"),
        (Kind::Synced, "synced"),
        (Kind::Confirmed, "confirmed"),
        (Kind::Paid, "paid"),
        (Kind::Rejected, "rejected"),
        (Kind::Cancelled, "cancelled"),
        (Kind::Lease, "lease"),
        (Kind::SoldOut, "sold-out"),
        (Kind::LowStock, "low-stock"),
        (Kind::Cue, "cue"),
        (Kind::Show, "show"),
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// The kind of that name.
    pub fn parse(name: &str) -> Option<Kind> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind)
    }
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its place in the log; counts up without gaps, over restarts.
    pub seq: i64,
    /// When, in Unix milliseconds.
    pub at_ms: i64,
    /// What.
    pub kind: Kind,
    /// Of which SKU.
    pub sku: Option<Sku>,
    /// Of which order or reservation.
    pub of: Option<String>,
    /// Units that changed place. What a lease counts stands in no log.
    pub by: Move,
    /// More, as JSON.
    pub data: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_name_of_its_own() {
        for (kind, name) in Kind::ALL {
            assert_eq!((Kind::parse(name), kind.as_str()), (Some(kind), name));
        }
    }
}
