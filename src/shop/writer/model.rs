//! The store against a model of a few lines: the same steps, the same answers, the same counts, over restarts.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;

use super::tests::{edit, open, place, sku, wish};
use crate::config::schema;
use crate::shop::order::{OrderState, Purpose, Wish};
use crate::shop::{By, News, No, OrderError, Orders, Running};

const SKUS: [&str; 3] = ["A", "B", "C"];
const LIMIT: i64 = 4;

#[derive(Debug, Clone)]
enum Step {
    Order { key: u8, sku: usize, quantity: u32, buyer: u8 },
    Reserve { key: u8, sku: usize, quantity: u32, buyer: u8 },
    OrderReserved { key: u8, which: usize },
    Release { which: usize },
    Cancel { which: usize, by: By },
    News { which: usize, to: OrderState },
    Add { sku: usize, units: i64 },
    Set { sku: usize, units: i64 },
    Restart,
}

fn any_step() -> impl Strategy<Value = Step> {
    let by = prop_oneof![Just(By::Buyer), Just(By::Shop)];
    let state = (1..OrderState::ALL.len()).prop_map(|at| OrderState::ALL[at].0);
    prop_oneof![
        6 => (0u8..40, 0usize..3, 1u32..4, 0u8..6)
            .prop_map(|(key, sku, quantity, buyer)| Step::Order { key, sku, quantity, buyer }),
        3 => (0u8..40, 0usize..3, 1u32..4, 0u8..6)
            .prop_map(|(key, sku, quantity, buyer)| Step::Reserve { key, sku, quantity, buyer }),
        3 => (0u8..40, any::<usize>()).prop_map(|(key, which)| Step::OrderReserved { key, which }),
        2 => any::<usize>().prop_map(|which| Step::Release { which }),
        2 => (any::<usize>(), by).prop_map(|(which, by)| Step::Cancel { which, by }),
        3 => (any::<usize>(), state).prop_map(|(which, to)| Step::News { which, to }),
        1 => (0usize..3, -6i64..10).prop_map(|(sku, units)| Step::Add { sku, units }),
        1 => (0usize..3, 0i64..10).prop_map(|(sku, units)| Step::Set { sku, units }),
        1 => Just(Step::Restart),
    ]
}

/// What was said to a request: its thing's place in the model, or the problem's name.
type Said = Result<usize, String>;

#[derive(Debug, Default)]
struct Model {
    /// available, held, sold
    stock: [[i64; 3]; 3],
    answers: BTreeMap<u8, (String, Said)>,
    /// SKU, quantity, buyer, state, id
    orders: Vec<(usize, u32, u8, OrderState, String)>,
    /// SKU, quantity, buyer, whether it holds, id
    holds: Vec<(usize, u32, u8, bool, String)>,
}

impl Model {
    fn has(&self, sku: usize, buyer: u8) -> i64 {
        let orders =
            self.orders.iter().filter(|(s, _, b, state, _)| *s == sku && *b == buyer && state.is_sale());
        let holds = self.holds.iter().filter(|(s, _, b, holds, _)| *s == sku && *b == buyer && *holds);
        orders.map(|order| i64::from(order.1)).sum::<i64>() + holds.map(|hold| i64::from(hold.1)).sum::<i64>()
    }

    /// What must be said to a wish for fresh units.
    fn refusal(&self, sku: usize, quantity: u32, buyer: u8) -> Option<&'static str> {
        if self.has(sku, buyer) + i64::from(quantity) > LIMIT {
            Some("buyer-limit")
        } else if self.stock[sku][0] < i64::from(quantity) {
            Some("sold-out")
        } else {
            None
        }
    }

    /// What a key was answered with, if it was: the same, or that it was used.
    fn before(&self, key: u8, asked: &str) -> Option<Said> {
        let (before, said) = self.answers.get(&key)?;
        Some(if before == asked { said.clone() } else { Err("key-reused".into()) })
    }

    fn remember(&mut self, key: u8, asked: String, said: Said) -> Said {
        self.answers.insert(key, (asked, said.clone()));
        said
    }
}

fn name(error: OrderError) -> String {
    match error {
        OrderError::No(No::Refused { name, .. }) => name,
        OrderError::No(No::KeyReused) => "key-reused".into(),
        other => format!("{other:?}"),
    }
}

struct Stage<'f> {
    folder: &'f Path,
    config: schema::Orders,
    running: Option<(Orders, Running)>,
    model: Model,
}

impl Stage<'_> {
    fn orders(&self) -> &Orders {
        &self.running.as_ref().expect("it runs").0
    }

    async fn restart(&mut self) {
        if let Some((orders, running)) = self.running.take() {
            drop(orders);
            running.stop(std::time::Duration::from_secs(10)).await;
        }
        self.running = Some(open(self.folder, &self.config).await);
    }

    /// Orders, and holds what is said against the model's word. `held`: the reservation used.
    async fn order(&mut self, key: u8, at: usize, quantity: u32, buyer: u8, held: Option<usize>) {
        let reservation = held.map(|held| self.model.holds[held].4.clone());
        let asked = format!("order {at} {quantity} {buyer} {reservation:?}");
        let wish = Wish { reservation, ..wish(SKUS[at], quantity, &buyer.to_string()) };
        let said = place(self.orders(), wish, &format!("key-{key}")).await;
        let expected = match (self.model.before(key, &asked), held) {
            (Some(before), _) => before,
            (None, Some(held)) if !self.model.holds[held].3 => {
                self.model.remember(key, asked, Err("reservation-over".into()))
            }
            (None, None) if self.model.refusal(at, quantity, buyer).is_some() => {
                let refusal = self.model.refusal(at, quantity, buyer).unwrap_or_default();
                self.model.remember(key, asked, Err(refusal.into()))
            }
            (None, held) => {
                // Held units become sold, or else available ones do.
                let from = usize::from(held.is_some());
                if let Some(held) = held {
                    self.model.holds[held].3 = false;
                }
                self.model.stock[at][from] -= i64::from(quantity);
                self.model.stock[at][2] += i64::from(quantity);
                let id = said.as_ref().expect("it must be granted").it.id.clone();
                self.model.orders.push((at, quantity, buyer, OrderState::Accepted, id));
                self.model.remember(key, asked, Ok(self.model.orders.len() - 1))
            }
        };
        let said = said.map(|placed| placed.it.id.clone()).map_err(name);
        assert_eq!(said, expected.map(|order| self.model.orders[order].4.clone()));
    }

    async fn reserve(&mut self, key: u8, at: usize, quantity: u32, buyer: u8) {
        let asked = format!("reserve {at} {quantity} {buyer}");
        let wish = wish(SKUS[at], quantity, &buyer.to_string());
        let its_key = wish.key(&format!("key-{key}"), Purpose::Reservation).expect("a key");
        let said = self.orders().reserve(wish, its_key).await;
        let expected = match self.model.before(key, &asked) {
            Some(before) => before,
            None => {
                if let Some(refusal) = self.model.refusal(at, quantity, buyer) {
                    self.model.remember(key, asked, Err(refusal.into()))
                } else {
                    self.model.stock[at][0] -= i64::from(quantity);
                    self.model.stock[at][1] += i64::from(quantity);
                    let id = said.as_ref().expect("it must be granted").it.id.clone();
                    self.model.holds.push((at, quantity, buyer, true, id));
                    self.model.remember(key, asked, Ok(self.model.holds.len() - 1))
                }
            }
        };
        let said = said.map(|placed| placed.it.id.clone()).map_err(name);
        assert_eq!(said, expected.map(|hold| self.model.holds[hold].4.clone()));
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Order { key, sku, quantity, buyer } => self.order(key, sku, quantity, buyer, None).await,
            Step::Reserve { key, sku, quantity, buyer } => self.reserve(key, sku, quantity, buyer).await,
            Step::OrderReserved { key, which } if !self.model.holds.is_empty() => {
                let which = which % self.model.holds.len();
                let (at, quantity, buyer, ..) = self.model.holds[which];
                self.order(key, at, quantity, buyer, Some(which)).await;
            }
            Step::Release { which } if !self.model.holds.is_empty() => {
                let which = which % self.model.holds.len();
                let released = self.orders().release(self.model.holds[which].4.clone()).await.expect("known");
                let hold = &mut self.model.holds[which];
                assert_eq!(released.again, !hold.3);
                if std::mem::take(&mut hold.3) {
                    self.model.stock[hold.0][1] -= i64::from(hold.1);
                    self.model.stock[hold.0][0] += i64::from(hold.1);
                }
            }
            Step::Cancel { which, by } if !self.model.orders.is_empty() => {
                let which = which % self.model.orders.len();
                let said = self.orders().cancel(self.model.orders[which].4.clone(), by, None).await;
                let state = self.model.orders[which].3;
                let may = state.may_become(OrderState::Cancelled)
                    && (by == By::Shop || state != OrderState::Confirmed);
                if may {
                    self.end_order(which, OrderState::Cancelled);
                }
                assert_eq!(said.is_ok(), may || state == OrderState::Cancelled, "{said:?}");
            }
            Step::News { which, to } if !self.model.orders.is_empty() => {
                let which = which % self.model.orders.len();
                let (id, state) = (self.model.orders[which].4.clone(), self.model.orders[which].3);
                let news = News { orders: vec![(id, to, None)], ..News::default() };
                let changed = self.orders().take_news(news).await.expect("written");
                assert_eq!(changed == 1, state.may_become(to));
                if state.may_become(to) {
                    self.end_order(which, to);
                }
            }
            Step::Add { sku: at, units } => {
                let may = self.model.stock[at][0] + units >= 0;
                assert_eq!(self.orders().add_stock(sku(SKUS[at]), units, None).await.is_ok(), may);
                if may {
                    self.model.stock[at][0] += units;
                }
            }
            Step::Set { sku: at, units } => {
                self.orders().put(vec![edit(SKUS[at], units, "")], None).await.expect("put");
                self.model.stock[at][0] = units;
            }
            Step::Restart => self.restart().await,
            _ => {}
        }
        for (at, stock) in self.model.stock.iter().enumerate() {
            let shown = self.orders().product(&sku(SKUS[at])).expect("it is there").stock;
            assert_eq!([shown.available, shown.held, shown.sold], *stock, "{}", SKUS[at]);
        }
    }

    fn end_order(&mut self, which: usize, to: OrderState) {
        let order = &mut self.model.orders[which];
        order.3 = to;
        if !to.is_sale() {
            self.model.stock[order.0][2] -= i64::from(order.1);
            self.model.stock[order.0][0] += i64::from(order.1);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn the_store_answers_as_a_simple_model_does(steps in vec(any_step(), 0..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let folder = tempfile::tempdir().expect("a folder");
        runtime.block_on(async {
            let config = schema::Orders { buyer_limit: LIMIT as u32, ..schema::Orders::default() };
            let mut stage = Stage { folder: folder.path(), config, running: None, model: Model::default() };
            stage.restart().await;
            stage.orders().put(SKUS.map(|sku| edit(sku, 6, "")).to_vec(), None).await.expect("put");
            stage.model.stock = [[6, 0, 0]; 3];
            for step in steps {
                stage.step(step).await;
            }
            stage.restart().await;
            stage.step(Step::Add { sku: 0, units: 0 }).await;
        });
    }
}
