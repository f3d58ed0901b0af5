use std::task::{Context, Waker};

use super::*;
use crate::shop::money::{Currency, Money};
use crate::shop::order::OrderState;
use crate::shop::product::{Card, Stock};
use crate::shop::rules::Move;

pub(super) fn sku(text: &str) -> Sku {
    Sku::parse(text).expect("a SKU")
}

fn price() -> Money {
    Money { amount: 1_999, currency: Currency::parse("CNY").expect("in use") }
}

pub(super) fn product(name: &str, available: i64) -> Arc<Product> {
    let card = Card {
        title: "Cup".into(),
        product: None,
        variant: None,
        description: String::new(),
        price: price(),
        buyer_limit: None,
        low_stock: None,
        on_sale: true,
        position: 0,
    };
    Arc::new(Product {
        sku: sku(name),
        card,
        version: 1,
        stock: Stock { available, held: 0, sold: 0 },
        lease: None,
        image: None,
        changed_ms: 0,
        removed: false,
    })
}

pub(super) fn event(seq: i64, kind: Kind) -> Event {
    let data = Some(r#"{"stock":2}"#.to_owned());
    let of = Some("secret-id".to_owned());
    Event { seq, at_ms: 0, kind, sku: Some(sku("CUP-1")), of, by: Move::default(), data }
}

fn order(number: i64) -> Arc<Order> {
    Arc::new(Order {
        number,
        id: format!("secret-id-{number}"),
        sku: sku("CUP-1"),
        quantity: 1,
        buyer: "secret-buyer".into(),
        contact: "secret-contact".into(),
        unit_price: price(),
        total: price(),
        state: OrderState::Accepted,
        reason: Some("secret-reason".into()),
        at_ms: 0,
        changed_ms: 0,
        lease: Some("secret-lease".into()),
    })
}

/// A commit of orders only: one for each place in the log.
fn rush(seqs: std::ops::RangeInclusive<i64>, left: i64) -> Commit {
    Commit {
        events: seqs.clone().map(|seq| event(seq, Kind::Order)).collect(),
        products: vec![product("CUP-1", left)],
        orders: seqs.map(|seq| (seq, order(seq))).collect(),
        at_ms: 0,
    }
}

fn told(bytes: &Bytes, prefix: &str) -> Vec<String> {
    let text = std::str::from_utf8(bytes).expect("text");
    text.lines().filter_map(|line| line.strip_prefix(prefix)).map(str::to_owned).collect()
}

fn ids(bytes: &Bytes) -> Vec<i64> {
    told(bytes, "id: ").iter().map(|id| id.parse().expect("a number")).collect()
}

/// What a pulse tells beside the stock.
fn news(pulse: &Pulse, of: &Bytes) -> Bytes {
    assert!(of.ends_with(&pulse.stock));
    of.slice(..of.len() - pulse.stock.len())
}

async fn pulse(page: &mut Page) -> Arc<Pulse> {
    match tokio::time::timeout(Duration::from_secs(10), page.next()).await.expect("news in time") {
        Next::Pulse(pulse) => pulse,
        other => panic!("no pulse: {other:?}"),
    }
}

async fn begun(page: &mut Page) -> i64 {
    tokio::time::timeout(Duration::from_secs(10), page.begin()).await.expect("in time").expect("it runs")
}

#[test]
fn a_pulse_tells_everything_in_the_order_of_the_log_and_then_the_stock_once() {
    let mut gathered = Gathered::default();
    gathered.open(10);
    gathered.add(Commit { events: vec![event(11, Kind::Cue)], ..Commit::default() });
    let mut second = rush(12..=13, 3);
    second.events.push(event(14, Kind::LowStock));
    gathered.add(second);
    gathered.add(rush(15..=15, 2));
    let pulse = gathered.take().render(1);
    assert_eq!((pulse.from, pulse.seq, pulse.is_reset), (10, 15, false));
    let public = news(&pulse, &pulse.public);
    assert_eq!(ids(&public), [11, 12, 13, 14, 15]);
    assert_eq!(told(&public, "event: "), ["cue", "order", "order", "low-stock", "order"]);
    assert_eq!(ids(&pulse.full), ids(&pulse.public));
    assert_eq!((ids(&pulse.stock), told(&pulse.stock, "event: ")), (vec![15], vec!["stock".to_owned()]));
    assert!(told(&pulse.stock, "data: ")[0].contains(r#""available":2"#));
    assert!(gathered.is_empty());
    assert_eq!(gathered.from, 15);
}

#[test]
fn buyers_hear_nothing_of_whose_an_order_is_and_the_shop_hears_it_whole() {
    let mut gathered = Gathered::default();
    let mut commit = rush(1..=3, 0);
    for (seq, kind) in (4..).zip([Kind::Cue, Kind::SoldOut, Kind::LowStock, Kind::Hold, Kind::Lease]) {
        commit.events.push(event(seq, kind));
    }
    gathered.add(commit);
    let pulse = gathered.take().render(1);
    assert!(!String::from_utf8_lossy(&pulse.public).contains("secret"), "{:?}", pulse.public);
    let whole = String::from_utf8_lossy(&pulse.full);
    assert!(whole.contains("secret-buyer") && whole.contains("secret-contact"), "{whole}");
    assert_eq!(
        told(&news(&pulse, &pulse.public), "event: ").len(),
        6,
        "holds and leases show in the stock only"
    );
}

#[test]
fn a_rush_is_told_by_its_first_orders_and_a_count_of_the_others() {
    let mut gathered = Gathered::default();
    gathered.open(0);
    let many = ORDERS_TOLD as i64;
    gathered.add(rush(1..=many - 10, 900));
    gathered.add(rush(many - 9..=many + 30, 800));
    let mut last = rush(many + 31..=many + 40, 0);
    last.events.push(event(many + 41, Kind::SoldOut));
    gathered.add(last);
    let pulse = gathered.take().render(1);
    for bytes in [&pulse.public, &pulse.full].map(|bytes| news(&pulse, bytes)) {
        let bytes = &bytes;
        let names = told(bytes, "event: ");
        assert_eq!(names.iter().filter(|name| *name == "order").count(), ORDERS_TOLD);
        assert_eq!(names[ORDERS_TOLD..], ["sold-out", "skipped"]);
        assert_eq!(told(bytes, "data: ").last().map(String::as_str), Some(r#"{"orders":40}"#));
        assert!(ids(bytes).is_sorted());
    }
    assert_eq!(pulse.seq, many + 41);
    assert!(told(&pulse.stock, "data: ")[0].contains(r#""available":0"#));
}

#[test]
fn more_news_than_a_page_can_use_become_a_reset_and_cost_no_memory() {
    let mut gathered = Gathered::default();
    gathered.open(7);
    for seq in 8..=100_000 {
        let products = vec![product(&format!("P{seq}"), 1)];
        gathered.add(Commit { events: vec![event(seq, Kind::Product)], products, ..Commit::default() });
        assert!(gathered.events.len() <= EVENTS_TOLD && gathered.products.len() <= PRODUCTS_TOLD);
    }
    let pulse = gathered.take().render(1);
    assert_eq!((pulse.from, pulse.seq, pulse.is_reset), (7, 100_000, true));
    assert!(pulse.public.is_empty() && pulse.full.is_empty() && pulse.stock.is_empty());
    gathered.add(rush(100_001..=100_001, 5));
    assert!(!gathered.take().render(2).is_reset);
}

#[test]
fn a_store_that_was_opened_again_is_news_only_if_it_is_another_one() {
    let mut gathered = Gathered::default();
    gathered.open(5);
    gathered.add(rush(6..=6, 5));
    gathered.open(6);
    assert!(!gathered.is_reset);
    gathered.open(3);
    let pulse = gathered.take().render(1);
    assert_eq!((pulse.seq, pulse.is_reset), (3, true));
    assert!(gathered.is_empty());
}

/// Nobody renders here, so everything that is published has to find room.
#[test]
fn publishing_never_waits_and_loses_no_stock_however_far_the_pages_are_behind() {
    let (feed, gathering) = Feed::new();
    feed.opened(0);
    for seq in 1..=10_000 {
        feed.publish(rush(seq..=seq, 10_000 - seq));
    }
    assert_eq!(feed.seq(), Some(10_000));
    let pulse = lock(&gathering.waiting).take().render(1);
    assert_eq!((pulse.from, pulse.seq), (0, 10_000));
    assert!(told(&pulse.stock, "data: ")[0].contains(r#""available":0"#));
    drop(gathering);
    feed.publish(rush(10_001..=10_001, 0));
}

#[tokio::test]
async fn a_page_begins_when_the_store_opens_and_hears_everything_from_there() {
    let (feed, gathering) = Feed::new();
    tokio::spawn(gathering.run());
    assert_eq!(feed.seq(), None);
    let mut page = feed.page();
    {
        let mut beginning = std::pin::pin!(page.begin());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(beginning.as_mut().poll(&mut cx).is_pending(), "the store is not open");
    }
    feed.opened(41);
    assert_eq!(begun(&mut page).await, 41);
    feed.publish(rush(42..=42, 5));
    feed.publish(rush(43..=43, 4));
    let mut heard = Vec::new();
    while heard.last() != Some(&43) {
        let pulse = pulse(&mut page).await;
        assert_eq!(pulse.from, heard.last().copied().unwrap_or(41));
        heard.extend(ids(&news(&pulse, &pulse.public)));
    }
    assert_eq!(heard, [42, 43]);
    let mut later = feed.page();
    assert_eq!(begun(&mut later).await, 43, "what was told before is not told again");
}

#[tokio::test]
async fn a_page_that_is_late_is_told_how_far_to_read_and_goes_on_from_there() {
    let (feed, gathering) = Feed::new();
    let (kept, newest) = (gathering.kept.clone(), &gathering.newest);
    let tell = |number: u64| {
        let mut kept = lock(&kept);
        if kept.len() == PULSES_KEPT {
            kept.pop_front();
        }
        let (from, seq) = (number as i64 - 1, number as i64);
        kept.push_back(Arc::new(Pulse { number, from, seq, ..Pulse::default() }));
        newest.send_replace(Mark { number, seq });
    };
    tell(1);
    let mut page = feed.page();
    assert_eq!(begun(&mut page).await, 1);
    // As late as one may be.
    (2..=1 + PULSES_KEPT as u64).for_each(tell);
    assert_eq!(pulse(&mut page).await.number, 2);
    (2 + PULSES_KEPT as u64..=200).for_each(tell);
    match page.next().await {
        Next::Late(seq) => assert_eq!(seq, 200),
        other => panic!("not late: {other:?}"),
    }
    tell(201);
    assert_eq!(pulse(&mut page).await.number, 201);
    drop(gathering);
    assert!(matches!(page.next().await, Next::Over));
}
