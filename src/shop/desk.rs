//! Decides each intent of a group and writes it, inside one transaction.
//!
//! What is known of every SKU lies in memory (the [`Board`]); what this group changes is kept apart until it is on the
//! disk. Units of a SKU are written once for the whole group, however many orders moved them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;
use tracing::error;

use super::counters::{Counters, Sale};
use super::event::{Event, Kind};
use super::feed::Shown;
use super::intent::{By, Done, Grant, Image, Intent, News, No, Noted, Placed, What};
use super::money::{Currency, Money};
use super::order::{HoldState, Key, Order, OrderState, Reservation, Wish};
use super::product::{PRODUCTS_MAX, Product, ProductEdit, Sku, Stock};
use super::rules::{self, Move, StockNews};
use super::shared::Settings;
use super::store::{Reply, Store, Writing, rows};

/// Remarks on one piece of news, at most.
const REMARKS_MAX: usize = 5;

/// The setting that says when the show began.
const SHOW_BEGAN: &str = "show_began";

/// Every SKU as it is on the disk.
#[derive(Debug, Default)]
pub(super) struct Board {
    pub(super) products: BTreeMap<Sku, Arc<Product>>,
    seq: i64,
    number: i64,
    pub(super) next_expiry_ms: Option<i64>,
}

impl Board {
    /// Reads the store, and what was sold since the show began.
    pub(super) fn load(store: &Store, now_ms: i64) -> rusqlite::Result<(Board, Counters)> {
        let from = store.connection();
        let products = rows::products(from)?;
        let board = Board {
            products: products.into_iter().map(|product| (product.sku.clone(), Arc::new(product))).collect(),
            seq: rows::last_seq(from)?,
            number: rows::last_number(from)?,
            // At once, so that reservations of a clock that was ahead end.
            next_expiry_ms: rows::next_expiry(from)?.map(|_| now_ms),
        };
        let began = rows::setting(from, SHOW_BEGAN)?.and_then(|value| value.parse().ok());
        // Without a word about a show it is the whole life of the store.
        let since_ms = match began {
            Some(began_ms) => began_ms,
            None => rows::first_event_ms(from)?.unwrap_or(now_ms),
        };
        let mut counters = Counters::new(since_ms);
        for sold in rows::totals_since(from, counters.since_ms())? {
            if let (Some(sku), Some(currency)) = (Sku::parse(&sold.sku), Currency::parse(&sold.currency)) {
                counters.take_over(sku, sold.orders, sold.units, Money { amount: sold.amount, currency });
            }
        }
        Ok((board, counters))
    }

    pub(super) fn len(&self) -> usize {
        self.products.len()
    }

    /// The newest event on the disk.
    pub(super) fn seq(&self) -> i64 {
        self.seq
    }

    /// What a group changed is on the disk now.
    pub(super) fn take_over(&mut self, done: &Outcome) {
        self.seq = done.seq;
        self.number = done.number;
        self.next_expiry_ms = done.next_expiry_ms;
        for product in &done.products {
            self.products.insert(product.sku.clone(), product.clone());
        }
    }
}

/// What a group did, to be believed once it is committed.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) wrote: bool,
    pub(super) products: Vec<Arc<Product>>,
    pub(super) events: Vec<Event>,
    /// Orders that were accepted or changed, by their events.
    pub(super) orders: Vec<(i64, Arc<Order>)>,
    pub(super) sales: Vec<Sale>,
    /// A show began: counters start over.
    pub(super) show_ms: Option<i64>,
    pub(super) refused: u64,
    pub(super) next_expiry_ms: Option<i64>,
    pub(super) at_ms: i64,
    seq: i64,
    number: i64,
}

/// A SKU that this group changes.
struct Changed {
    /// As its row is now.
    written: Product,
    now: Product,
}

pub(super) struct Desk<'d, 's> {
    writing: &'d Writing<'s>,
    board: &'d Board,
    settings: &'d Settings,
    now_ms: i64,
    changed: BTreeMap<Sku, Changed>,
    holds_changed: bool,
    outcome: Outcome,
}

type Answer<T> = rusqlite::Result<Result<T, No>>;

impl<'d, 's> Desk<'d, 's> {
    pub(super) fn new(
        writing: &'d Writing<'s>,
        board: &'d Board,
        now_ms: i64,
        settings: &'d Settings,
    ) -> Desk<'d, 's> {
        let outcome = Outcome { seq: board.seq, number: board.number, at_ms: now_ms, ..Outcome::default() };
        Desk { writing, board, settings, now_ms, changed: BTreeMap::new(), holds_changed: false, outcome }
    }

    /// Gives the units of reservations back whose time is over.
    pub(super) fn expire(&mut self, max: usize) -> rusqlite::Result<()> {
        if self.board.next_expiry_ms.is_none_or(|at| at > self.now_ms) {
            return Ok(());
        }
        for held in rows::reservations_due(self.writing, self.now_ms, max)? {
            self.end_hold(&held, HoldState::Expired, Kind::Expire)?;
        }
        self.holds_changed = true;
        Ok(())
    }

    pub(super) fn handle(&mut self, intent: &Intent) -> rusqlite::Result<Done> {
        Ok(match &*intent.what {
            What::Order { wish, key, id } => Done::Order(self.order(wish, key, id)?),
            What::Reserve { wish, key, id } => Done::Reservation(self.reserve(wish, key, id)?),
            What::Release { id } => Done::Reservation(self.release(id)?),
            What::Cancel { id, by, reason } => Done::Order(self.cancel(id, *by, reason.as_deref())?),
            What::Put { edits, if_version } => Done::Products(self.put_all(edits, *if_version)?),
            What::Stock { sku, add, reason } => {
                Done::Products(self.add_stock(sku, *add, reason.as_deref())?)
            }
            What::Remove { sku, if_version } => Done::Products(self.remove(sku, *if_version)?),
            What::Image { sku, image } => Done::Products(self.image(sku, image.as_ref())?),
            What::Lease { sku, grant } => Done::Products(self.lease(sku, grant.as_ref())?),
            What::News(news) => self.news(news)?,
            What::Note { kind, sku, of, data } => {
                self.append(*kind, sku.as_ref(), of.as_deref(), Move::default(), Some(data.clone()))?;
                Shown::keep(self.writing, *kind, self.outcome.seq)?;
                if *kind == Kind::Show {
                    self.writing.set(SHOW_BEGAN, &self.now_ms.to_string())?;
                    self.outcome.show_ms = Some(self.now_ms);
                    self.outcome.sales.clear();
                }
                Done::Noted { seq: self.outcome.seq }
            }
        })
    }

    /// Writes the counts, tells what became of the stock, and hands everything over.
    pub(super) fn finish(mut self) -> rusqlite::Result<Outcome> {
        for (sku, changed) in std::mem::take(&mut self.changed) {
            if changed.written != changed.now && !self.writing.move_stock(&changed.written, &changed.now)? {
                return Err(bug("the stock on the disk is not the one in memory"));
            }
            let before = self.board.products.get(&sku).map_or(0, |product| product.sellable(self.now_ms));
            let after = changed.now.sellable(self.now_ms);
            match rules::stock_news(&changed.now, before, after, self.settings.limits) {
                Some(StockNews::SoldOut) => {
                    self.append(Kind::SoldOut, Some(&sku), None, Move::default(), None)?;
                }
                Some(StockNews::Low) => {
                    let data = json!({ "stock": after }).to_string();
                    self.append(Kind::LowStock, Some(&sku), None, Move::default(), Some(data))?;
                }
                None => {}
            }
            self.outcome.products.push(Arc::new(changed.now));
        }
        self.outcome.next_expiry_ms =
            if self.holds_changed { rows::next_expiry(self.writing)? } else { self.board.next_expiry_ms };
        Ok(self.outcome)
    }

    fn product(&self, sku: &Sku) -> Option<&Product> {
        match self.changed.get(sku) {
            Some(changed) => Some(&changed.now),
            None => self.board.products.get(sku).map(|product| &**product),
        }
    }

    fn order(&mut self, wish: &Wish, key: &Key, id: &str) -> Answer<Placed<Order>> {
        let held = match &wish.reservation {
            Some(reservation) => rows::reservation_by_id(self.writing, reservation)?,
            None => None,
        };
        let Some(product) = self.product(&wish.sku).filter(|product| held.is_some() || !product.removed)
        else {
            return self.repeat_order(key);
        };
        let limits = self.settings.limits;
        let granted = if wish.reservation.is_some() {
            rules::order_held(wish, held.as_ref(), self.now_ms)
        } else {
            let has = self.units_of(product, wish)?;
            rules::order(product, wish, has, limits, self.now_ms)
        };
        let (unit_price, lease) = match &held {
            Some(held) => (held.unit_price, held.lease.clone()),
            None => (product.card.price, product.lease.as_ref().map(|lease| lease.id.clone())),
        };
        let total = unit_price.times(wish.quantity).ok_or(rules::Refusal::TooMuch);
        let (by, total) = match granted.and_then(|by| Ok((by, total?))) {
            Ok(granted) => granted,
            Err(refusal) => {
                let refused = self.refuse(key, refusal)?;
                return refused.map_or_else(|| self.repeat_order(key), |no| Ok(Err(no)));
            }
        };
        if !self.writing.remember(key, &Reply::Order(id.to_owned()), self.now_ms)? {
            return self.repeat_order(key);
        }
        self.outcome.number += 1;
        let order = Order {
            number: self.outcome.number,
            id: id.to_owned(),
            sku: wish.sku.clone(),
            quantity: wish.quantity,
            buyer: wish.buyer.clone(),
            contact: wish.contact.clone(),
            unit_price,
            total,
            state: OrderState::Accepted,
            reason: None,
            at_ms: self.now_ms,
            changed_ms: self.now_ms,
            lease,
        };
        self.writing.add_order(&order, wish.reservation.as_deref())?;
        if let Some(held) = &held {
            self.writing.set_reservation(&held.id, HoldState::Ordered)?;
            self.holds_changed = true;
        }
        self.moved(&wish.sku, by, Kind::Order, &order.id, None)?;
        self.note_sale(&order, false);
        let order = Arc::new(order);
        self.outcome.orders.push((self.outcome.seq, order.clone()));
        Ok(Ok(Placed { it: order, again: false }))
    }

    /// What an order under this key was answered with, if one was.
    fn repeat_order(&self, key: &Key) -> Answer<Placed<Order>> {
        match self.answered(key)? {
            Ok(Reply::Order(id)) => Ok(again(rows::order_by_id(self.writing, &id)?)),
            Ok(_) => Ok(Err(No::KeyReused)),
            Err(no) => Ok(Err(no)),
        }
    }

    fn reserve(&mut self, wish: &Wish, key: &Key, id: &str) -> Answer<Placed<Reservation>> {
        let Some(product) = self.product(&wish.sku).filter(|product| !product.removed) else {
            return self.repeat_reservation(key);
        };
        let has = self.units_of(product, wish)?;
        let by = match rules::hold(product, wish, has, self.settings.limits, self.now_ms) {
            Ok(by) => by,
            Err(refusal) => {
                let refused = self.refuse(key, refusal)?;
                return refused.map_or_else(|| self.repeat_reservation(key), |no| Ok(Err(no)));
            }
        };
        let held = Reservation {
            id: id.to_owned(),
            sku: wish.sku.clone(),
            quantity: wish.quantity,
            buyer: wish.buyer.clone(),
            unit_price: product.card.price,
            state: HoldState::Held,
            at_ms: self.now_ms,
            expires_ms: self.now_ms.saturating_add(self.settings.hold.as_millis() as i64),
            lease: product.lease.as_ref().map(|lease| lease.id.clone()),
        };
        if !self.writing.remember(key, &Reply::Reservation(held.id.clone()), self.now_ms)? {
            return self.repeat_reservation(key);
        }
        self.writing.add_reservation(&held)?;
        self.holds_changed = true;
        self.moved(&wish.sku, by, Kind::Hold, &held.id, None)?;
        Ok(Ok(Placed { it: Arc::new(held), again: false }))
    }

    /// What a reservation under this key was answered with, if one was.
    fn repeat_reservation(&self, key: &Key) -> Answer<Placed<Reservation>> {
        match self.answered(key)? {
            Ok(Reply::Reservation(id)) => Ok(again(rows::reservation_by_id(self.writing, &id)?)),
            Ok(_) => Ok(Err(No::KeyReused)),
            Err(no) => Ok(Err(no)),
        }
    }

    /// What stands under this key; [`No::Unknown`] where nothing does, which is what is asked when there is no such
    /// product. (A key is looked up only where it cannot be new: new ones are known by being written.)
    fn answered(&self, key: &Key) -> Answer<Reply> {
        Ok(match rows::answer_of(self.writing, &key.text)? {
            None => Err(No::Unknown),
            Some(before) if before.fingerprint != key.fingerprint => Err(No::KeyReused),
            Some(before) => match before.reply {
                Reply::Refusal { name, detail } => Err(No::Refused { name, detail }),
                reply => Ok(reply),
            },
        })
    }

    /// What the buyer has of it, where that matters.
    fn units_of(&self, product: &Product, wish: &Wish) -> rusqlite::Result<i64> {
        match rules::buyer_limit(product, self.settings.limits) {
            0 => Ok(0),
            _ => rows::units_of_buyer(self.writing, &wish.sku, &wish.buyer),
        }
    }

    /// Says no, and remembers it; nothing where something stands under the key already.
    fn refuse(&mut self, key: &Key, refusal: rules::Refusal) -> rusqlite::Result<Option<No>> {
        let no = No::from(refusal);
        if let No::Refused { name, detail } = &no {
            let reply = Reply::Refusal { name: name.clone(), detail: detail.clone() };
            if !self.writing.remember(key, &reply, self.now_ms)? {
                return Ok(None);
            }
            self.outcome.wrote = true;
            self.outcome.refused += 1;
        }
        Ok(Some(no))
    }

    fn release(&mut self, id: &str) -> Answer<Placed<Reservation>> {
        let Some(mut held) = rows::reservation_by_id(self.writing, id)? else { return Ok(Err(No::Unknown)) };
        let again = held.state != HoldState::Held;
        if !again {
            self.end_hold(&held, HoldState::Released, Kind::Release)?;
            held.state = HoldState::Released;
        }
        Ok(Ok(Placed { it: Arc::new(held), again }))
    }

    fn end_hold(&mut self, held: &Reservation, to: HoldState, kind: Kind) -> rusqlite::Result<()> {
        let Some(product) = self.product(&held.sku) else {
            return Err(bug("a reservation without its product"));
        };
        let Some(by) = rules::release(product, held) else { return Ok(()) };
        self.writing.set_reservation(&held.id, to)?;
        self.holds_changed = true;
        self.moved(&held.sku, by, kind, &held.id, None)
    }

    fn cancel(&mut self, id: &str, by: By, reason: Option<&str>) -> Answer<Placed<Order>> {
        let Some(order) = rows::order_by_id(self.writing, id)? else { return Ok(Err(No::Unknown)) };
        if order.state == OrderState::Cancelled {
            return Ok(Ok(Placed { it: Arc::new(order), again: true }));
        }
        let is_confirmed = matches!(order.state, OrderState::Confirmed);
        if !order.state.may_become(OrderState::Cancelled) || by == By::Buyer && is_confirmed {
            return Ok(Err(No::TooLate(order.state)));
        }
        let order = self.advance(order, OrderState::Cancelled, reason)?;
        Ok(Ok(Placed { it: order, again: false }))
    }

    /// Moves an order to a state that it may become.
    fn advance(
        &mut self,
        mut order: Order,
        to: OrderState,
        reason: Option<&str>,
    ) -> rusqlite::Result<Arc<Order>> {
        let Some(product) = self.product(&order.sku) else { return Err(bug("an order without its product")) };
        let by = rules::give_back(product, &order, to).unwrap_or_default();
        self.writing.set_order(order.number, to, reason, self.now_ms)?;
        let kind = match to {
            OrderState::Accepted => Kind::Order,
            OrderState::Synced => Kind::Synced,
            OrderState::Confirmed => Kind::Confirmed,
            OrderState::Paid => Kind::Paid,
            OrderState::Rejected => Kind::Rejected,
            OrderState::Cancelled => Kind::Cancelled,
        };
        let data = reason.map(|reason| json!({ "reason": reason }).to_string());
        self.moved(&order.sku.clone(), by, kind, &order.id.clone(), data)?;
        order.state = to;
        order.changed_ms = self.now_ms;
        order.reason = reason.map(str::to_owned).or(order.reason);
        if !to.is_sale() {
            self.note_sale(&order, true);
        }
        let order = Arc::new(order);
        self.outcome.orders.push((self.outcome.seq, order.clone()));
        Ok(order)
    }

    fn news(&mut self, news: &News) -> rusqlite::Result<Done> {
        let mut noted = Noted::default();
        for (id, to, reason) in &news.orders {
            let Some(order) = rows::order_by_id(self.writing, id)? else {
                noted
                    .leave_alone(|| format!("{} of an order that is not known here: {id:.40?}", to.as_str()));
                continue;
            };
            if order.state.may_become(*to) {
                self.advance(order, *to, reason.as_deref())?;
                noted.changed += 1;
            } else if contradicts(order.state, *to) {
                let (number, state) = (order.number, order.state.as_str());
                noted.leave_alone(|| format!("order {number} is {state} here, and it says {}", to.as_str()));
            }
        }
        for (sku, grant) in &news.leases {
            if self.lease(sku, Some(grant))?.is_err() {
                noted.leave_alone(|| format!("a lease of {:?}, which is not sold here", sku.as_str()));
            }
        }
        for (name, value) in &news.settings {
            self.writing.set(name, value)?;
            self.outcome.wrote = true;
        }
        Ok(Done::News(noted))
    }

    fn put_all(
        &mut self,
        edits: &[ProductEdit],
        if_version: Option<i64>,
    ) -> Answer<Vec<(Arc<Product>, bool)>> {
        let new = edits.iter().filter(|edit| self.product(&edit.sku).is_none()).count();
        let made = self.changed.keys().filter(|sku| !self.board.products.contains_key(sku)).count();
        if self.board.products.len() + made + new > PRODUCTS_MAX {
            return Ok(Err(No::TooMany));
        }
        // Looked at before anything is written: all or none.
        for edit in edits {
            let is_other = |product: &Product| if_version.is_some_and(|version| version != product.version);
            if let Some(product) = self.product(&edit.sku).filter(|product| is_other(product)) {
                return Ok(Err(No::Version(product.version)));
            }
            if if_version.is_some() && self.product(&edit.sku).is_none() {
                return Ok(Err(No::Unknown));
            }
        }
        Ok(Ok(edits.iter().map(|edit| self.put(edit)).collect::<rusqlite::Result<_>>()?))
    }

    fn put(&mut self, edit: &ProductEdit) -> rusqlite::Result<(Arc<Product>, bool)> {
        let before = self.product(&edit.sku).cloned();
        let is_new = before.as_ref().is_none_or(|product| product.removed);
        let mut product = before.clone().unwrap_or_else(|| Product {
            sku: edit.sku.clone(),
            card: edit.card.clone(),
            version: 0,
            stock: Stock::default(),
            lease: None,
            image: None,
            changed_ms: self.now_ms,
            removed: false,
        });
        if before.is_none() || is_new || product.card != edit.card {
            product.card = edit.card.clone();
            product.removed = false;
            product.version += 1;
            product.changed_ms = self.now_ms;
            self.write(&product)?;
            let Money { amount, currency } = product.card.price;
            let data = json!({
                "title": product.card.title,
                "price": { "amount": amount, "currency": currency.as_str() },
                "version": product.version,
            });
            self.append(Kind::Product, Some(&edit.sku), None, Move::default(), Some(data.to_string()))?;
        }
        if let Some(stock) = edit.stock {
            let by = rules::set_stock(product.stock, stock);
            let kind = if before.is_none() { Kind::Initial } else { Kind::Restock };
            if by != Move::default() {
                self.moved(&edit.sku, by, kind, "", None)?;
            }
        }
        let product = self.product(&edit.sku).cloned().unwrap_or(product);
        Ok((Arc::new(product), is_new))
    }

    fn add_stock(&mut self, sku: &Sku, add: i64, reason: Option<&str>) -> Answer<Vec<(Arc<Product>, bool)>> {
        let Some(product) = self.listed(sku) else { return Ok(Err(No::Unknown)) };
        let by = match rules::add_stock(product.stock, add) {
            Ok(by) => by,
            Err(available) => return Ok(Err(No::TooFew(available))),
        };
        let data = reason.map(|reason| json!({ "reason": reason }).to_string());
        self.moved(sku, by, Kind::Restock, "", data)?;
        Ok(self.as_it_is(sku))
    }

    fn remove(&mut self, sku: &Sku, if_version: Option<i64>) -> Answer<Vec<(Arc<Product>, bool)>> {
        let Some(mut product) = self.listed(sku).cloned() else { return Ok(Err(No::Unknown)) };
        if if_version.is_some_and(|version| version != product.version) {
            return Ok(Err(No::Version(product.version)));
        }
        product.removed = true;
        product.version += 1;
        product.changed_ms = self.now_ms;
        self.write(&product)?;
        self.append(Kind::Removed, Some(sku), None, Move::default(), None)?;
        Ok(self.as_it_is(sku))
    }

    fn image(&mut self, sku: &Sku, image: Option<&Image>) -> Answer<Vec<(Arc<Product>, bool)>> {
        let Some(mut product) = self.listed(sku).cloned() else { return Ok(Err(No::Unknown)) };
        product.image = image.map(|image| image.etag.clone());
        product.changed_ms = self.now_ms;
        self.write(&product)?;
        self.writing.put_image(sku, image.map(|image| (image.content_type, &image.bytes[..])))?;
        let data = json!({ "image": product.image, "version": product.version }).to_string();
        self.append(Kind::Product, Some(sku), None, Move::default(), Some(data))?;
        Ok(self.as_it_is(sku))
    }

    fn lease(&mut self, sku: &Sku, grant: Option<&Grant>) -> Answer<Vec<(Arc<Product>, bool)>> {
        let Some(mut product) = self.listed(sku).cloned() else { return Ok(Err(No::Unknown)) };
        let lease = match grant {
            Some(Grant { id, units, until_ms }) => {
                let used = rows::units_of_lease(self.writing, sku, id)?;
                Some(rules::lease(&product, id, *units, *until_ms, used))
            }
            None => None,
        };
        if product.lease == lease {
            return Ok(self.as_it_is(sku));
        }
        product.lease = lease;
        self.write(&product)?;
        let data = json!({ "id": grant.map(|grant| &grant.id), "units": grant.map(|grant| grant.units) });
        self.append(Kind::Lease, Some(sku), None, Move::default(), Some(data.to_string()))?;
        Ok(self.as_it_is(sku))
    }

    /// A product of the catalogue.
    fn listed(&self, sku: &Sku) -> Option<&Product> {
        self.product(sku).filter(|product| !product.removed)
    }

    fn as_it_is(&self, sku: &Sku) -> Result<Vec<(Arc<Product>, bool)>, No> {
        self.product(sku).map(|product| vec![(Arc::new(product.clone()), false)]).ok_or(No::Unknown)
    }

    /// Writes a product's row at once: orders of the same group may refer to it.
    fn write(&mut self, product: &Product) -> rusqlite::Result<()> {
        self.writing.put_product(product)?;
        let changed = Changed { written: product.clone(), now: product.clone() };
        self.changed.insert(product.sku.clone(), changed);
        self.outcome.wrote = true;
        Ok(())
    }

    /// Moves units and logs it.
    fn moved(
        &mut self,
        sku: &Sku,
        by: Move,
        kind: Kind,
        of: &str,
        data: Option<String>,
    ) -> rusqlite::Result<()> {
        if !self.changed.contains_key(sku) {
            let product =
                self.board.products.get(sku).ok_or_else(|| bug("units of a product that is none"))?;
            let (written, now) = (Product::clone(product), Product::clone(product));
            self.changed.insert(sku.clone(), Changed { written, now });
        }
        let changed = self.changed.get_mut(sku).ok_or_else(|| bug("a product that was just there"))?;
        if !changed.now.carry_out(by) {
            return Err(bug("a move of units that are not there"));
        }
        self.append(kind, Some(sku), Some(of).filter(|of| !of.is_empty()), by, data)
    }

    fn append(
        &mut self,
        kind: Kind,
        sku: Option<&Sku>,
        of: Option<&str>,
        by: Move,
        data: Option<String>,
    ) -> rusqlite::Result<()> {
        self.outcome.seq += 1;
        let (sku, of) = (sku.cloned(), of.map(str::to_owned));
        let event = Event { seq: self.outcome.seq, at_ms: self.now_ms, kind, sku, of, by, data };
        self.writing.append(&event)?;
        self.outcome.events.push(event);
        self.outcome.wrote = true;
        Ok(())
    }

    fn note_sale(&mut self, order: &Order, back: bool) {
        let (sku, units, total) = (order.sku.clone(), i64::from(order.quantity), order.total);
        self.outcome.sales.push(Sale { sku, units, total, at_ms: order.at_ms, back });
    }
}

impl Noted {
    fn leave_alone(&mut self, words: impl FnOnce() -> String) {
        self.left_alone += 1;
        if self.remarks.len() < REMARKS_MAX {
            self.remarks.push(words());
        }
    }
}

/// Whether somebody must look: money for what was given back, or goods that were refused. What is merely behind, such as
/// a repeated answer, contradicts nothing.
fn contradicts(state: OrderState, said: OrderState) -> bool {
    use OrderState::{Cancelled, Confirmed, Paid, Rejected};
    matches!((state, said), (Cancelled | Rejected, Paid) | (Rejected, Confirmed) | (Paid, Rejected))
}

/// An answer that stands already.
fn again<T>(it: Option<T>) -> Result<Placed<T>, No> {
    it.map(|it| Placed { it: Arc::new(it), again: true }).ok_or(No::Unknown)
}

/// Something that the rules keep out. Nothing of the group is written then.
fn bug(what: &'static str) -> rusqlite::Error {
    error!("a bug of ours in the order store: {what}; nothing was written");
    rusqlite::Error::ToSqlConversionFailure(what.into())
}
