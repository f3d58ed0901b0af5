//! One change of the database in the making.

use std::cell::RefCell;
use std::ops::Deref;

use rusqlite::{CachedStatement, Connection, Params, Transaction, TransactionBehavior, params};

use crate::shop::event::Event;
use crate::shop::order::{HoldState, Key, Order, OrderState, Reservation};
use crate::shop::product::{Product, Sku};

use super::rows::Reply;

/// A change: its statements see what the ones before did. Undone if it is dropped before [`Writing::commit`] succeeds.
pub(in crate::shop) struct Writing<'s> {
    change: Transaction<'s>,
    connection: &'s Connection,
    adding_order: Ready<'s>,
    remembering: Ready<'s>,
    appending: Ready<'s>,
}

/// A statement that each order of a group needs: looked up once for all of them.
struct Ready<'s>(RefCell<Option<CachedStatement<'s>>>);

impl<'s> Ready<'s> {
    fn execute(&self, on: &'s Connection, words: &str, params: impl Params) -> rusqlite::Result<usize> {
        let mut ready = self.0.borrow_mut();
        match &mut *ready {
            Some(statement) => statement.execute(params),
            none => none.insert(on.prepare_cached(words)?).execute(params),
        }
    }
}

impl Deref for Writing<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.change
    }
}

impl<'s> Writing<'s> {
    /// Begins. Who has the connection may have no other change open on it: the store sees to that.
    pub(super) fn begin(connection: &'s Connection) -> rusqlite::Result<Writing<'s>> {
        let change = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        let [adding_order, remembering, appending] = [const { Ready(RefCell::new(None)) }; 3];
        Ok(Writing { change, connection, adding_order, remembering, appending })
    }

    /// Returns once all of it is on the disk.
    ///
    /// # Errors
    /// When it may not be: nobody knows then what a start after a power cut would find.
    pub(in crate::shop) fn commit(self) -> rusqlite::Result<()> {
        self.change.commit()
    }

    /// Adds an order.
    pub(in crate::shop) fn add_order(
        &self,
        order: &Order,
        reservation: Option<&str>,
    ) -> rusqlite::Result<()> {
        let words = "INSERT INTO orders (number, id, sku, quantity, buyer, contact, unit_amount, total, currency, \
            state, reason, reservation, lease, at, changed_at) \
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";
        let values = params![
            order.number,
            order.id,
            order.sku.as_str(),
            order.quantity,
            order.buyer,
            order.contact,
            order.unit_price.amount,
            order.total.amount,
            order.total.currency.as_str(),
            order.state.as_str(),
            order.reason,
            reservation,
            order.lease,
            order.at_ms,
            order.changed_ms,
        ];
        self.adding_order.execute(self.connection, words, values)?;
        Ok(())
    }

    /// Moves an order to another state.
    pub(in crate::shop) fn set_order(
        &self,
        number: i64,
        state: OrderState,
        reason: Option<&str>,
        at_ms: i64,
    ) -> rusqlite::Result<()> {
        let words =
            "UPDATE orders SET state = ?2, reason = coalesce(?3, reason), changed_at = ?4 WHERE number = ?1";
        self.prepare_cached(words)?.execute(params![number, state.as_str(), reason, at_ms])?;
        Ok(())
    }

    /// Adds a reservation.
    pub(in crate::shop) fn add_reservation(&self, held: &Reservation) -> rusqlite::Result<()> {
        let words = "INSERT INTO reservation (id, sku, quantity, buyer, unit_amount, currency, state, lease, at, \
            expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
        self.prepare_cached(words)?.execute(params![
            held.id,
            held.sku.as_str(),
            held.quantity,
            held.buyer,
            held.unit_price.amount,
            held.unit_price.currency.as_str(),
            held.state.as_str(),
            held.lease,
            held.at_ms,
            held.expires_ms,
        ])?;
        Ok(())
    }

    /// Moves a reservation to another state.
    pub(in crate::shop) fn set_reservation(&self, id: &str, state: HoldState) -> rusqlite::Result<()> {
        let words = "UPDATE reservation SET state = ?2 WHERE id = ?1";
        self.prepare_cached(words)?.execute(params![id, state.as_str()])?;
        Ok(())
    }

    /// Remembers what a key is answered with.
    ///
    /// False where it was answered before: that answer stands ([`super::rows::answer_of`]), and nothing was written.
    pub(in crate::shop) fn remember(&self, key: &Key, reply: &Reply, at_ms: i64) -> rusqlite::Result<bool> {
        let (kind, of, detail) = match reply {
            Reply::Order(id) => ("order", id, None),
            Reply::Reservation(id) => ("reservation", id, None),
            Reply::Refusal { name, detail } => ("refusal", name, Some(detail)),
        };
        let words = "INSERT INTO answer (key, fingerprint, kind, of, detail, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
            ON CONFLICT (key) DO NOTHING";
        let values = params![key.text, key.fingerprint, kind, of, detail, at_ms];
        Ok(self.remembering.execute(self.connection, words, values)? == 1)
    }

    /// Forgets the oldest refusals, so many at most; says how many.
    pub(in crate::shop) fn forget_refusals(&self, count: i64) -> rusqlite::Result<usize> {
        let words = "DELETE FROM answer WHERE key IN \
            (SELECT key FROM answer WHERE kind = 'refusal' ORDER BY at LIMIT ?1)";
        self.prepare_cached(words)?.execute([count])
    }

    /// Appends to the log.
    pub(in crate::shop) fn append(&self, event: &Event) -> rusqlite::Result<()> {
        let words = "INSERT INTO event (seq, at, kind, sku, of, available, held, sold, data) \
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
        let values = params![
            event.seq,
            event.at_ms,
            event.kind.as_str(),
            event.sku.as_ref().map(Sku::as_str),
            event.of,
            event.by.available,
            event.by.held,
            event.by.sold,
            event.data,
        ];
        self.appending.execute(self.connection, words, values)?;
        Ok(())
    }

    /// Writes a product whole, whether it is there or not.
    pub(in crate::shop) fn put_product(&self, product: &Product) -> rusqlite::Result<()> {
        let words = "INSERT INTO product (sku, title, product, variant, description, amount, currency, buyer_limit, \
            low_stock, on_sale, position, version, available, held, sold, lease_id, lease_units, lease_used, \
            lease_until, image, changed_at, removed) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, \
            ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22) ON CONFLICT (sku) DO UPDATE SET title = ?2, product = ?3, \
            variant = ?4, description = ?5, amount = ?6, currency = ?7, buyer_limit = ?8, low_stock = ?9, \
            on_sale = ?10, position = ?11, version = ?12, available = ?13, held = ?14, sold = ?15, lease_id = ?16, \
            lease_units = ?17, lease_used = ?18, lease_until = ?19, image = ?20, changed_at = ?21, removed = ?22";
        let Product { sku, card, version, stock, lease, image, changed_ms, removed } = product;
        self.prepare_cached(words)?.execute(params![
            sku.as_str(),
            card.title,
            card.product,
            card.variant,
            card.description,
            card.price.amount,
            card.price.currency.as_str(),
            card.buyer_limit,
            card.low_stock,
            card.on_sale,
            card.position,
            version,
            stock.available,
            stock.held,
            stock.sold,
            lease.as_ref().map(|lease| &lease.id),
            lease.as_ref().map(|lease| lease.units),
            lease.as_ref().map(|lease| lease.used),
            lease.as_ref().and_then(|lease| lease.until_ms),
            image,
            changed_ms,
            removed,
        ])?;
        Ok(())
    }

    /// Writes a product's counts, if the database still has those that the change began with.
    ///
    /// False if it has not: then somebody else wrote, and nothing of this change may stand.
    pub(in crate::shop) fn move_stock(&self, before: &Product, after: &Product) -> rusqlite::Result<bool> {
        let words = "UPDATE product SET available = ?2, held = ?3, sold = ?4, lease_used = ?5 \
            WHERE sku = ?1 AND available = ?6 AND held = ?7 AND sold = ?8";
        let changed = self.prepare_cached(words)?.execute(params![
            after.sku.as_str(),
            after.stock.available,
            after.stock.held,
            after.stock.sold,
            after.lease.as_ref().map(|lease| lease.used),
            before.stock.available,
            before.stock.held,
            before.stock.sold,
        ])?;
        Ok(changed == 1)
    }

    /// Gives a product a picture, or takes it away.
    pub(in crate::shop) fn put_image(&self, sku: &Sku, image: Option<(&str, &[u8])>) -> rusqlite::Result<()> {
        match image {
            Some((content_type, bytes)) => {
                let words = "INSERT INTO image (sku, content_type, bytes) VALUES (?1, ?2, ?3) \
                    ON CONFLICT (sku) DO UPDATE SET content_type = ?2, bytes = ?3";
                self.prepare_cached(words)?.execute(params![sku.as_str(), content_type, bytes])?;
            }
            None => {
                self.prepare_cached("DELETE FROM image WHERE sku = ?1")?.execute([sku.as_str()])?;
            }
        }
        Ok(())
    }

    /// Sets a setting.
    pub(in crate::shop) fn set(&self, name: &str, value: &str) -> rusqlite::Result<()> {
        let words =
            "INSERT INTO setting (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2";
        self.prepare_cached(words)?.execute([name, value])?;
        Ok(())
    }
}
