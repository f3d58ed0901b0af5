//! What holds for a SKU whatever happens to it, in any order.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::shop::money::{Currency, Money};
use crate::shop::product::{Card, Sku};

const LIMITS: Limits = Limits { buyer_limit: 0, low_stock: 2 };

fn product(available: i64) -> Product {
    let currency = Currency::parse("CNY").expect("in use");
    Product {
        sku: Sku::parse("A").expect("a SKU"),
        card: Card {
            title: "Cup".into(),
            product: None,
            variant: None,
            description: String::new(),
            price: Money { amount: 1_999, currency },
            buyer_limit: None,
            low_stock: None,
            on_sale: true,
            position: 0,
        },
        version: 1,
        stock: Stock { available, held: 0, sold: 0 },
        lease: None,
        image: None,
        changed_ms: 0,
        removed: false,
    }
}

fn wish(quantity: u32, buyer: &str) -> Wish {
    Wish {
        sku: Sku::parse("A").expect("a SKU"),
        quantity,
        buyer: buyer.into(),
        contact: String::new(),
        reservation: None,
        version: None,
    }
}

fn held(product: &Product, wish: &Wish, expires_ms: i64) -> Reservation {
    Reservation {
        id: "0".repeat(26),
        sku: wish.sku.clone(),
        quantity: wish.quantity,
        buyer: wish.buyer.clone(),
        unit_price: product.card.price,
        state: HoldState::Held,
        at_ms: 0,
        expires_ms,
        lease: product.lease.as_ref().map(|lease| lease.id.clone()),
    }
}

fn ordered(product: &Product, wish: &Wish, lease: Option<String>) -> Order {
    Order {
        number: 1,
        id: "0".repeat(26),
        sku: wish.sku.clone(),
        quantity: wish.quantity,
        buyer: wish.buyer.clone(),
        contact: String::new(),
        unit_price: product.card.price,
        total: product.card.price.times(wish.quantity).expect("a total"),
        state: OrderState::Accepted,
        reason: None,
        at_ms: 0,
        changed_ms: 0,
        lease,
    }
}

#[test]
fn a_wish_is_refused_for_what_is_wrong_with_it() {
    let cup = product(3);
    assert_eq!(order(&cup, &wish(4, "b"), 0, LIMITS, 0), Err(Refusal::SoldOut { left: 3 }));
    assert_eq!(
        order(&cup, &Wish { version: Some(2), ..wish(1, "b") }, 0, LIMITS, 0),
        Err(Refusal::Changed { version: 1 })
    );
    let one_each = Limits { buyer_limit: 1, ..LIMITS };
    assert!(order(&cup, &wish(1, "b"), 0, one_each, 0).is_ok());
    assert_eq!(order(&cup, &wish(1, "b"), 1, one_each, 0), Err(Refusal::BuyerLimit { limit: 1, has: 1 }));
    let mut own_limit = cup.clone();
    own_limit.card.buyer_limit = Some(0);
    assert!(
        order(&own_limit, &wish(3, "b"), 9, one_each, 0).is_ok(),
        "the product's word goes before the box's"
    );
    let mut shut = cup.clone();
    shut.card.on_sale = false;
    assert_eq!(hold(&shut, &wish(1, "b"), 0, LIMITS, 0), Err(Refusal::NotOnSale));
    let mut dear = product(1_000_000);
    dear.card.price.amount = crate::shop::money::AMOUNT_MAX;
    assert_eq!(order(&dear, &wish(2, "b"), 0, LIMITS, 0), Err(Refusal::TooMuch));
}

#[test]
fn a_reservation_becomes_an_order_for_whom_and_what_it_was_made_and_in_time() {
    let cup = product(3);
    let kept = held(&cup, &wish(2, "b"), 1_000);
    assert_eq!(
        order_held(&wish(2, "b"), Some(&kept), 999),
        Ok(Move { held: -2, sold: 2, ..Move::default() })
    );
    assert_eq!(order_held(&wish(2, "c"), Some(&kept), 0), Err(Refusal::OtherReservation));
    assert_eq!(order_held(&wish(1, "b"), Some(&kept), 0), Err(Refusal::OtherReservation));
    assert_eq!(order_held(&wish(2, "b"), None, 0), Err(Refusal::OtherReservation));
    let over = Err(Refusal::ReservationOver(HoldState::Expired));
    assert_eq!(order_held(&wish(2, "b"), Some(&kept), 1_000), over);
    let used = Reservation { state: HoldState::Ordered, ..kept };
    assert_eq!(order_held(&wish(2, "b"), Some(&used), 0), Err(Refusal::ReservationOver(HoldState::Ordered)));
    assert_eq!(release(&cup, &used), None);
}

#[test]
fn few_and_none_are_told_once_on_the_way_down() {
    let cup = product(0);
    for (before, after, news) in [
        (5, 3, None),
        (5, 2, Some(StockNews::Low)),
        (2, 1, None),
        (5, 0, Some(StockNews::SoldOut)),
        (1, 0, Some(StockNews::SoldOut)),
        (0, 0, None),
        (0, 2, None),
        (1, 5, None),
    ] {
        assert_eq!(stock_news(&cup, before, after, LIMITS), news, "{before} to {after}");
    }
}

#[test]
fn a_new_show_counts_its_units_from_zero_and_the_same_goes_on() {
    let mut cup = product(10);
    cup.lease = Some(Lease { id: "monday".into(), units: 5, used: 4, until_ms: None });
    assert_eq!(order(&cup, &wish(2, "b"), 0, LIMITS, 0), Err(Refusal::SoldOut { left: 1 }));
    assert_eq!(lease(&cup, "monday", 8, None, 0).left(0), 4);
    assert_eq!(lease(&cup, "tuesday", 8, None, 0).left(0), 8);
    // What was sold on Monday and comes back on Tuesday is in stock, and no unit of Tuesday's grant.
    let old = ordered(&cup, &wish(2, "b"), Some("monday".into()));
    cup.stock.sold = 2;
    cup.lease = Some(lease(&cup, "tuesday", 8, None, 0));
    let back = give_back(&cup, &old, OrderState::Cancelled).expect("it may be");
    assert_eq!(back, Move { available: 2, sold: -2, held: 0, leased: 0 });
}

/// Something that happens to a SKU.
#[derive(Debug, Clone)]
enum Step {
    Order { quantity: u32 },
    Hold { quantity: u32 },
    OrderHeld { which: usize },
    Release { which: usize },
    Move { which: usize, to: OrderState },
    Set { available: i64 },
    Add { units: i64 },
    Lease { show: u8, units: i64 },
    Unlease,
    Pass { millis: i64 },
}

fn any_step() -> impl Strategy<Value = Step> {
    let state = (0..OrderState::ALL.len()).prop_map(|at| OrderState::ALL[at].0);
    prop_oneof![
        4 => (1u32..5).prop_map(|quantity| Step::Order { quantity }),
        3 => (1u32..5).prop_map(|quantity| Step::Hold { quantity }),
        2 => any::<usize>().prop_map(|which| Step::OrderHeld { which }),
        2 => any::<usize>().prop_map(|which| Step::Release { which }),
        3 => (any::<usize>(), state).prop_map(|(which, to)| Step::Move { which, to }),
        1 => (0i64..20).prop_map(|available| Step::Set { available }),
        1 => (-10i64..20).prop_map(|units| Step::Add { units }),
        1 => (0u8..3, 0i64..15).prop_map(|(show, units)| Step::Lease { show, units }),
        1 => Just(Step::Unlease),
        1 => (0i64..400).prop_map(|millis| Step::Pass { millis }),
    ]
}

proptest! {
    #[test]
    fn units_are_never_made_lost_or_sold_twice(initial in 0i64..20, steps in vec(any_step(), 0..200)) {
        let mut cup = product(initial);
        let (mut added, mut now_ms) = (initial, 0i64);
        let (mut orders, mut holds): (Vec<Order>, Vec<Reservation>) = (vec![], vec![]);
        for step in steps {
            let lease_id = cup.lease.as_ref().map(|lease| lease.id.clone());
            match step {
                Step::Order { quantity } => {
                    let left = cup.sellable(now_ms);
                    match order(&cup, &wish(quantity, "b"), 0, LIMITS, now_ms) {
                        Ok(by) => {
                            prop_assert!(left >= i64::from(quantity));
                            prop_assert!(cup.carry_out(by));
                            orders.push(ordered(&cup, &wish(quantity, "b"), lease_id));
                        }
                        Err(refusal) => prop_assert_eq!(refusal, Refusal::SoldOut { left }),
                    }
                }
                Step::Hold { quantity } => {
                    if let Ok(by) = hold(&cup, &wish(quantity, "b"), 0, LIMITS, now_ms) {
                        prop_assert!(cup.carry_out(by));
                        let mut kept = held(&cup, &wish(quantity, "b"), now_ms + 500);
                        kept.lease = lease_id;
                        holds.push(kept);
                    }
                }
                Step::OrderHeld { which } if !holds.is_empty() => {
                    let at = which % holds.len();
                    if let Ok(by) = order_held(&wish(holds[at].quantity, "b"), Some(&holds[at]), now_ms) {
                        prop_assert!(cup.carry_out(by));
                        holds[at].state = HoldState::Ordered;
                        orders.push(ordered(&cup, &wish(holds[at].quantity, "b"), holds[at].lease.clone()));
                    }
                }
                Step::Release { which } if !holds.is_empty() => {
                    let at = which % holds.len();
                    if let Some(by) = release(&cup, &holds[at]) {
                        prop_assert!(cup.carry_out(by));
                        holds[at].state = HoldState::Released;
                    }
                }
                Step::Move { which, to } if !orders.is_empty() => {
                    let at = which % orders.len();
                    let by = give_back(&cup, &orders[at], to);
                    prop_assert_eq!(by.is_some(), !to.is_sale() && orders[at].state.may_become(to));
                    if let Some(by) = by {
                        prop_assert!(cup.carry_out(by));
                    }
                    if orders[at].state.may_become(to) {
                        orders[at].state = to;
                    }
                }
                Step::Set { available } => {
                    let by = set_stock(cup.stock, available);
                    added += by.available;
                    prop_assert!(cup.carry_out(by));
                    prop_assert_eq!(cup.stock.available, available);
                }
                Step::Add { units } => match add_stock(cup.stock, units) {
                    Ok(by) => {
                        added += by.available;
                        prop_assert!(cup.carry_out(by));
                    }
                    Err(available) => prop_assert!(available + units < 0),
                },
                Step::Lease { show, units } => cup.lease = Some(lease(&cup, &show.to_string(), units, None, 0)),
                Step::Unlease => cup.lease = None,
                Step::Pass { millis } => now_ms += millis,
                _ => {}
            }
            let Stock { available, held: kept, sold } = cup.stock;
            prop_assert!(available >= 0 && kept >= 0 && sold >= 0);
            prop_assert_eq!(available + kept + sold, added, "units made or lost");
            let sum_of_orders: i64 =
                orders.iter().filter(|order| order.state.is_sale()).map(|order| i64::from(order.quantity)).sum();
            let sum_of_holds: i64 = holds
                .iter()
                .filter(|kept| kept.state == HoldState::Held)
                .map(|kept| i64::from(kept.quantity))
                .sum();
            prop_assert_eq!((sold, kept), (sum_of_orders, sum_of_holds));
            prop_assert!(cup.lease.as_ref().is_none_or(|lease| lease.used >= 0));
        }
    }
}
