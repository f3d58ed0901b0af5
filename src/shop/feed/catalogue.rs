//! The stock of every product for pages that begin, rendered once for all that begin at about the same time.
//!
//! When a show opens hundreds of pages come at once, and after a `reset` all of them ask: what would be two thousand
//! renderings of the whole catalogue is one. It is handed out in pieces, so that a page that is slow holds one piece
//! and no more, and goes on with newer ones. Pieces name no place in the log: a page may be given stock that is newer than
//! its own place, since the news after its place tell it again.
//!
//! Pure: the time and the products are handed in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::shop::product::{Product, Sku};

use super::write_stock;

/// Products in one piece: some ten KiB.
const ROWS: usize = 64;

/// A rendering is handed out for this long. What happens meanwhile comes with the next pulse.
const FRESH_FOR: Duration = Duration::from_millis(200);

/// Pieces of one rendering, at most: several times the greatest catalogue, since pieces may begin anywhere.
const PIECES_MAX: usize = 512;

/// The stock of some products.
#[derive(Debug, Clone)]
pub struct Piece {
    /// As server-sent events.
    pub told: Bytes,
    /// The last of them: what comes next comes after it.
    pub last: Sku,
}

/// What was rendered last.
#[derive(Debug, Default)]
pub(in crate::shop) struct Catalogue {
    /// When, and where the log stood.
    of: Option<(Instant, i64)>,
    /// By the SKU after which each begins.
    pieces: BTreeMap<Option<Sku>, Piece>,
}

/// When a page asks: by the clock that only moves on, by the calendar, and where the log stands.
#[derive(Debug, Clone, Copy)]
pub(in crate::shop) struct Moment {
    pub(in crate::shop) now: Instant,
    pub(in crate::shop) unix_ms: i64,
    pub(in crate::shop) seq: i64,
}

impl Catalogue {
    /// The piece that begins after this SKU, as the products are at the place `told` in the log or later; `read` reads
    /// so many products that come after it. `None`: there are no more.
    pub(in crate::shop) fn piece(
        &mut self,
        at: Moment,
        after: Option<&Sku>,
        told: i64,
        read: impl FnOnce(usize) -> Vec<Arc<Product>>,
    ) -> Option<Piece> {
        let is_fresh = |&(since, seq): &(Instant, i64)| {
            seq >= told && at.now.saturating_duration_since(since) < FRESH_FOR
        };
        if !self.of.as_ref().is_some_and(is_fresh) || self.pieces.len() >= PIECES_MAX {
            self.forget();
            self.of = Some((at.now, at.seq));
        }
        let after = after.cloned();
        if let Some(piece) = self.pieces.get(&after) {
            return Some(piece.clone());
        }
        let products = read(ROWS);
        let last = products.last()?.sku.clone();
        let piece = Piece { told: write_stock(&products, None, at.unix_ms).into(), last };
        self.pieces.insert(after, piece.clone());
        Some(piece)
    }

    /// The store is another one.
    pub(in crate::shop) fn forget(&mut self) {
        self.of = None;
        self.pieces.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{product, sku};
    use super::*;
    use crate::base::clock;

    struct Shop {
        products: BTreeMap<Sku, Arc<Product>>,
        catalogue: Catalogue,
        renderings: usize,
        start: Instant,
    }

    impl Shop {
        fn of(count: usize) -> Shop {
            let products = (0..count).map(|number| product(&format!("P{number:04}"), 1));
            let products = products.map(|product| (product.sku.clone(), product)).collect();
            Shop { products, catalogue: Catalogue::default(), renderings: 0, start: clock::now() }
        }

        fn piece(&mut self, millis: u64, seq: i64, after: Option<&Sku>, told: i64) -> Option<Piece> {
            let at = Moment { now: self.start + Duration::from_millis(millis), unix_ms: 0, seq };
            let Shop { products, catalogue, renderings, .. } = self;
            catalogue.piece(at, after, told, |rows| {
                *renderings += 1;
                let listed =
                    products.values().filter(|product| after.is_none_or(|after| product.sku > *after));
                listed.take(rows).cloned().collect()
            })
        }

        /// All of it, as one page reads it.
        fn all(&mut self, millis: u64, seq: i64, told: i64) -> String {
            let (mut whole, mut after) = (String::new(), None);
            while let Some(piece) = self.piece(millis, seq, after.as_ref(), told) {
                whole.push_str(std::str::from_utf8(&piece.told).expect("text"));
                after = Some(piece.last);
            }
            whole
        }
    }

    #[test]
    fn a_crowd_that_begins_at_once_costs_one_rendering_and_gets_every_product_once() {
        let mut shop = Shop::of(2 * ROWS + 10);
        let first = shop.all(0, 7, 7);
        let rendered = shop.renderings;
        for _ in 0..100 {
            assert_eq!(shop.all(100, 7, 7), first);
        }
        // Each of them looked once for what comes after the last.
        assert_eq!((rendered, shop.renderings), (4, 4 + 100));
        for number in 0..2 * ROWS + 10 {
            assert_eq!(first.matches(&format!(r#""sku":"P{number:04}""#)).count(), 1, "{number}");
        }
        assert!(!first.contains("id:"), "a page's place is its own");
    }

    #[test]
    fn nobody_gets_stock_that_is_older_than_what_they_were_told() {
        let mut shop = Shop::of(1);
        assert!(shop.all(0, 7, 7).contains(r#""available":1"#));
        shop.products.insert(sku("P0000"), product("P0000", 0));
        // Who stands where the log stood then hears of the sale by the next pulse.
        assert!(shop.all(10, 8, 7).contains(r#""available":1"#));
        assert!(shop.all(10, 8, 8).contains(r#""available":0"#));
        assert!(shop.all(20, 8, 7).contains(r#""available":0"#));
    }

    #[test]
    fn a_rendering_ages_and_is_forgotten_with_its_store() {
        let mut shop = Shop::of(1);
        shop.all(0, 7, 7);
        shop.products.insert(sku("P0000"), product("P0000", 5));
        assert!(shop.all(199, 7, 7).contains(r#""available":1"#));
        // A lease that ran out stands in no log.
        assert!(shop.all(200, 7, 7).contains(r#""available":5"#));
        shop.products.insert(sku("P0000"), product("P0000", 9));
        shop.catalogue.forget();
        assert!(shop.all(201, 3, 3).contains(r#""available":9"#));
    }

    #[test]
    fn wherever_pages_begin_the_pieces_are_bounded() {
        let mut shop = Shop::of(PIECES_MAX + 100);
        let skus: Vec<Sku> = shop.products.keys().cloned().collect();
        for after in &skus {
            shop.piece(0, 7, Some(after), 7);
            assert!(shop.catalogue.pieces.len() <= PIECES_MAX);
        }
    }
}
