//! The places of the API, one row each: what may be done there, and by which names it may be asked more closely.
//!
//! Pure. `openapi.json` describes the same places; a test holds the two against each other.

/// What stands at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Description,
    Import,
    Export,
    Products,
    Product,
    Stock,
    Image,
    Lease,
    Orders,
    Order,
    Cancel,
    State,
    Reservations,
    Reservation,
    Summary,
    Show,
    Events,
    Cues,
    Outbox,
    /// What the outbox is told; the verb ends the path.
    OutboxOrder,
    /// What the cloud says by itself.
    OutboxNews,
    Outputs,
    Output,
    /// What an output is told; the verb ends the path.
    OutputOrder,
}

/// One place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) what: What,
    /// Below `/api/v1/`; `{...}` stands for one name, which is not empty.
    pub(super) path: &'static str,
    /// As `Allow` tells them.
    pub(super) methods: &'static str,
    /// Names that a query may have; `None`: a query is not looked at. What everybody may read may be asked for with
    /// others too ([`Place::is_read_by_everybody`]).
    pub(super) query: Option<&'static [&'static str]>,
    /// Whether pages of other sites may use it: what shops need to sell.
    pub(super) is_open: bool,
}

const GET: &str = "GET, HEAD, OPTIONS";
const GET_POST: &str = "GET, HEAD, POST, OPTIONS";
const GET_DELETE: &str = "GET, HEAD, DELETE, OPTIONS";
const GET_PUT_DELETE: &str = "GET, HEAD, PUT, DELETE, OPTIONS";
const PUT_DELETE: &str = "PUT, DELETE, OPTIONS";
const POST: &str = "POST, OPTIONS";

const fn shop(
    what: What,
    path: &'static str,
    methods: &'static str,
    query: &'static [&'static str],
) -> Place {
    Place { what, path, methods, query: Some(query), is_open: true }
}

const fn house(what: What, path: &'static str, methods: &'static str) -> Place {
    Place { what, path, methods, query: Some(&[]), is_open: false }
}

const fn outputs(what: What, path: &'static str, methods: &'static str) -> Place {
    Place { what, path, methods, query: None, is_open: false }
}

/// Every place. The first that fits is meant.
pub(super) const PLACES: &[Place] = &[
    shop(What::Orders, "orders", GET_POST, &["before", "limit"]),
    shop(What::Order, "orders/{id}", GET, &[]),
    shop(What::Cancel, "orders/{id}/cancel", POST, &[]),
    shop(What::State, "orders/{id}/state", POST, &[]),
    shop(What::Products, "products", GET, &["product"]),
    shop(What::Import, "products/import", POST, &[]),
    shop(What::Export, "products/export", GET, &["format"]),
    shop(What::Product, "products/{sku}", GET_PUT_DELETE, &[]),
    shop(What::Stock, "products/{sku}/stock", POST, &[]),
    shop(What::Image, "products/{sku}/image", GET_PUT_DELETE, &["v"]),
    shop(What::Lease, "products/{sku}/lease", PUT_DELETE, &[]),
    shop(What::Reservations, "reservations", POST, &[]),
    shop(What::Reservation, "reservations/{id}", GET_DELETE, &[]),
    house(What::Summary, "summary", GET),
    house(What::Show, "show", POST),
    shop(What::Events, "events", GET, &["last_event_id"]),
    house(What::Cues, "cues", POST),
    house(What::Outbox, "outbox", GET),
    house(What::OutboxOrder, "outbox/pause", POST),
    house(What::OutboxOrder, "outbox/resume", POST),
    house(What::OutboxOrder, "outbox/retry", POST),
    house(What::OutboxNews, "outbox/news", POST),
    shop(What::Description, "openapi.json", GET, &[]),
    outputs(What::Outputs, "outputs", GET),
    outputs(What::Output, "outputs/{name}", GET),
    outputs(What::OutputOrder, "outputs/{name}/switch", POST),
    outputs(What::OutputOrder, "outputs/{name}/hold", POST),
    outputs(What::OutputOrder, "outputs/{name}/resume", POST),
    outputs(What::OutputOrder, "outputs/{name}/reconnect", POST),
];

/// The place that a path below `/api/v1/` names, and the name in it, if it has one.
pub(super) fn find(path: &str) -> Option<(&'static Place, &str)> {
    PLACES.iter().find_map(|place| Some((place, place.fits(path)?)))
}

impl Place {
    fn fits<'p>(&self, path: &'p str) -> Option<&'p str> {
        let Some((before, rest)) = self.path.split_once('{') else {
            return (self.path == path).then_some("");
        };
        let rest = path.strip_prefix(before).zip(rest.split_once('}'));
        let name = rest.and_then(|(name, (_, after))| name.strip_suffix(after))?;
        (!name.is_empty() && !name.contains('/')).then_some(name)
    }

    /// Whether this can be done here.
    pub(super) fn takes(&self, method: &str) -> bool {
        self.methods.split(", ").any(|known| known == method)
    }

    /// What the path ends in.
    pub(super) fn verb(&self) -> &'static str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// Whether anybody may read what is here. Pages and the tools between them add names of their own to such addresses,
    /// to get past caches (`_=1700000000`) or to count where a visitor came from: those are no mistake of the client's.
    pub(super) fn is_read_by_everybody(&self) -> bool {
        let read = [What::Description, What::Products, What::Product, What::Image, What::Order];
        read.contains(&self.what) || matches!(self.what, What::Reservation | What::Events)
    }

    /// Whether it is there without the order cache.
    pub(super) fn needs_orders(&self) -> bool {
        !matches!(self.what, What::Description | What::Outputs | What::Output | What::OutputOrder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shop::product::Sku;

    #[test]
    fn each_path_leads_to_one_place_with_its_name() {
        for (path, want) in [
            ("products", Some((What::Products, ""))),
            ("products/", None),
            ("products/CUP-1", Some((What::Product, "CUP-1"))),
            ("products/stock", Some((What::Product, "stock"))),
            ("products/CUP-1/stock", Some((What::Stock, "CUP-1"))),
            ("products//stock", None),
            ("products/a/b/stock", None),
            ("products/CUP-1/stocks", None),
            ("orders/1/cancel", Some((What::Cancel, "1"))),
            ("outputs/cloud/hold", Some((What::OutputOrder, "cloud"))),
            ("outputs/cloud/dance", None),
            ("", None),
        ] {
            let found = find(path).map(|(place, name)| (place.what, name));
            assert_eq!(found, want, "{path}");
        }
    }

    #[test]
    fn no_product_has_the_name_of_a_place() {
        let names = PLACES.iter().filter_map(|place| place.path.strip_prefix("products/"));
        for name in names.filter(|name| !name.contains(['/', '{'])) {
            assert!(Sku::RESERVED.contains(&name), "products/{name} would hide a product");
        }
    }

    #[test]
    fn what_can_be_done_is_told_as_it_is_asked_for() {
        let (place, _) = find("orders").expect("it is there");
        assert!(["GET", "HEAD", "POST", "OPTIONS"].iter().all(|method| place.takes(method)));
        assert!(["PUT", "DELETE", "get", "", "GET, HEAD"].iter().all(|method| !place.takes(method)));
    }
}
