//! Honest stores are proven, and everything that was tampered with is named.

use super::*;

/// What a store holds, as an audit reads it.
#[derive(Clone, Default)]
struct Books {
    events: Vec<EventRow>,
    products: Vec<(&'static str, Moves)>,
    orders: Vec<(&'static str, Part)>,
    reservations: Vec<(&'static str, Part)>,
}

impl Books {
    fn event(&mut self, kind: &str, by: Moves) -> EventRow {
        let seq = self.events.len() as i64 + 1;
        let event = EventRow { seq, kind: kind.to_owned(), sku: Some("A".to_owned()), by };
        self.events.push(event.clone());
        event
    }

    fn audit(&self) -> Report {
        let mut audit = Audit::default();
        self.events.iter().for_each(|event| audit.event(event));
        self.products.iter().for_each(|(sku, counts)| audit.product(sku, *counts));
        self.orders.iter().for_each(|(of, part)| audit.of_order(of, part.clone()));
        self.reservations.iter().for_each(|(of, part)| audit.of_reservation(of, part.clone()));
        audit.finish()
    }
}

fn row(number: Option<i64>, quantity: i64, state: &str, was_held: bool) -> Part {
    let total = number.map(|_| 5 * quantity);
    let (sku, state) = ("A".to_owned(), state.to_owned());
    Part::Row(Row { number, sku, quantity, unit_amount: 5, total, state, was_held })
}

/// Ten units and five more; an order of two that is paid, one of one that was cancelled, one of three by way of a
/// reservation, a reservation that ran out and one that holds.
fn honest() -> Books {
    let mut books = Books::default();
    books.event("product", [0; 3]);
    books.event("initial", [10, 0, 0]);
    let order = books.event("order", [-2, 0, 2]);
    let paid = books.event("paid", [0; 3]);
    books.orders.extend([
        ("o1", row(Some(1), 2, "paid", false)),
        ("o1", Part::Event(order)),
        ("o1", Part::Event(paid)),
        ("o1", Part::Key),
    ]);
    let order = books.event("order", [-1, 0, 1]);
    let cancelled = books.event("cancelled", [1, 0, -1]);
    books.orders.extend([
        ("o2", row(Some(2), 1, "cancelled", false)),
        ("o2", Part::Event(order)),
        ("o2", Part::Event(cancelled)),
        ("o2", Part::Key),
    ]);
    let holds = [3, 4, 1].map(|units| books.event("hold", [-units, units, 0]));
    let order = books.event("order", [0, -3, 3]);
    let expired = books.event("expire", [4, -4, 0]);
    books.event("restock", [5, 0, 0]);
    books.event("sold-out", [0; 3]);
    books.orders.extend([
        ("o3", row(Some(3), 3, "accepted", true)),
        ("o3", Part::Event(order)),
        ("o3", Part::Key),
    ]);
    let [first, second, third] = holds;
    let taken = Part::Taken { number: 3, sku: "A".to_owned(), quantity: 3 };
    books.reservations.extend([
        ("r1", row(None, 3, "ordered", false)),
        ("r1", Part::Event(first)),
        ("r1", Part::Key),
        ("r1", taken),
        ("r2", row(None, 4, "expired", false)),
        ("r2", Part::Event(second)),
        ("r2", Part::Event(expired)),
        ("r2", Part::Key),
        ("r3", row(None, 1, "held", false)),
        ("r3", Part::Event(third)),
        ("r3", Part::Key),
    ]);
    books.products.push(("A", [9, 1, 5]));
    books
}

/// What is told of the store once this was done to it.
#[track_caller]
fn told(tamper: impl FnOnce(&mut Books)) -> String {
    let mut books = honest();
    tamper(&mut books);
    let report = books.audit();
    assert!(!report.is_proven(), "nothing was found");
    report.to_string()
}

#[test]
fn an_honest_store_is_proven() {
    let report = honest().audit();
    assert!(report.is_proven(), "{report}");
    let line = Line { sku: "A".into(), initial: 10, restocked: 5, counts: [9, 1, 5] };
    assert_eq!((report.skus.as_slice(), report.events, report.orders), ([line].as_slice(), 13, 3));
    assert!(Books::default().audit().is_proven());
}

#[test]
fn a_hole_in_the_log_is_told_with_its_places() {
    let text = told(|books| drop(books.events.drain(5..7)));
    assert!(text.contains("event 6: is missing in the log, with all up to 7"), "{text}");
    let text = told(|books| drop(books.events.remove(0)));
    assert!(text.contains("event 1: is missing in the log"), "{text}");
}

#[test]
fn counts_that_differ_are_told_by_sku() {
    let text = told(|books| books.products[0].1 = [10, 1, 5]);
    assert!(text.contains("SKU A: available is 10, and by the log 9"), "{text}");
    assert!(text.contains("SKU A: began with and was given 15 units, and has 16"), "{text}");
    let text = told(|books| books.products.clear());
    assert!(text.contains("SKU A: its product is missing"), "{text}");
    let text = told(|books| books.events[1].by = [1, 0, 0]);
    assert!(text.contains("SKU A, event 3: available becomes -1"), "{text}");
    let text = told(|books| books.events[9].by = [3, 0, 0]);
    assert!(text.contains("order moves units as it never does"), "{text}");
}

#[test]
fn an_order_without_its_event_and_an_event_without_its_order_are_told() {
    let text = told(|books| drop(books.orders.remove(0)));
    assert!(text.contains("order o1, event 3: stands in the log and nowhere else"), "{text}");
    assert!(text.contains("order o1: was answered to a key and is not there"), "{text}");
    assert!(text.contains("SKU A: sold is 5, and its orders have 3"), "{text}");
    let text = told(|books| drop(books.orders.remove(1)));
    assert!(text.contains("SKU A, order 1: has no event that it was made by"), "{text}");
    let text = told(|books| books.orders.insert(1, books.orders[1].clone()));
    assert!(text.contains("SKU A, order 1: was made 2 times by the log"), "{text}");
}

#[test]
fn a_state_that_the_log_does_not_know_of_is_told() {
    let text = told(|books| books.orders[0].1 = row(Some(1), 2, "accepted", false));
    assert!(text.contains("SKU A, order 1: is accepted, and by the log paid"), "{text}");
    let text = told(|books| books.orders.swap(1, 2));
    assert!(text.contains("order 1, event 4: became paid before it was accepted"), "{text}");
    let text = told(|books| {
        let Part::Event(mut event) = books.orders[6].1.clone() else { panic!("an event") };
        (event.kind, event.by) = ("synced".to_owned(), [0; 3]);
        books.orders.insert(7, ("o2", Part::Event(event)));
    });
    assert!(
        text.contains("order 2, event 6: went from cancelled to synced, which is no way forward"),
        "{text}"
    );
    let text = told(|books| books.reservations[4].1 = row(None, 4, "held", false));
    assert!(text.contains("reservation r2: is held, and by the log expired"), "{text}");
}

#[test]
fn sums_quantities_and_keys_that_are_wrong_are_told() {
    let text = told(|books| {
        let Part::Row(row) = &mut books.orders[0].1 else { panic!("a row") };
        row.total = Some(1);
    });
    assert!(text.contains("SKU A, order 1: costs 1, and 2 x 5 is not that"), "{text}");
    let text = told(|books| books.orders[0].1 = row(Some(1), 1, "paid", false));
    assert!(
        text.contains("order 1, event 3: its event moves [-2, 0, 2] and its quantity says [-1, 0, 1]"),
        "{text}"
    );
    let text = told(|books| drop(books.orders.remove(3)));
    assert!(text.contains("SKU A, order 1: has 0 keys"), "{text}");
    let text = told(|books| books.orders.insert(3, ("o1", Part::Key)));
    assert!(text.contains("SKU A, order 1: has 2 keys"), "{text}");
    let text = told(|books| drop(books.reservations.remove(3)));
    assert!(text.contains("reservation r1: is ordered, and by the log held"), "{text}");
}

#[test]
fn what_is_told_is_bounded_and_moves_no_cursor() {
    let mut audit = Audit::default();
    for seq in 0..5_000 {
        audit.event(&EventRow { seq: 3 * seq, kind: "\u{1b}[2J".into(), sku: None, by: [0; 3] });
    }
    let report = audit.finish();
    assert_eq!(report.violations.len(), VIOLATIONS_TOLD);
    assert_eq!(report.count(), VIOLATIONS_TOLD as u64 + report.more);
    assert!(!report.to_string().contains('\u{1b}') && !report.to_json().to_string().contains("u001b"));
}
