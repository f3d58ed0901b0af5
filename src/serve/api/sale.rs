//! `/api/v1/summary` and `/api/v1/show`: how the sale goes, for who runs it.

use hyper::StatusCode;
use serde_json::{Value, json};
use tracing::info;

use crate::base::clock;
use crate::serve::answers::{Answer, json as json_answer};
use crate::serve::auth::Role;
use crate::serve::house::House;
use crate::shop::event::Kind;

use super::asked::Asked;
use super::problems::{self, Missing};

/// `GET /summary`
pub(super) async fn summary(asked: &mut Asked<'_>) -> Result<Answer, Answer> {
    asked.allow(Role::Anchor).await?;
    Ok(json_answer(StatusCode::OK, "application/json", &told(asked.house)))
}

fn told(house: &House) -> Value {
    let orders = &house.parts.orders;
    let mut told = orders.counters().unwrap_or_else(|| json!({}));
    let outbox = house.parts.outbox.status();
    told["outbox"] = outbox.to_json(clock::now(), clock::unix_millis() as i64);
    told["waiting"] = orders.waiting().into();
    told["store"] = match orders.trouble() {
        None => json!({ "up": true, "trouble": null, "words": null }),
        Some(trouble) => json!({ "up": false, "trouble": trouble.name(), "words": trouble.public() }),
    };
    told
}

/// `POST /show`
pub(super) async fn begin_show(asked: &mut Asked<'_>) -> Result<Answer, Answer> {
    let caller = asked.allow(Role::Anchor).await?;
    let mut fields = asked.fields_if_any().await?;
    let name = fields.text("name", 1..=200);
    fields.finish().map_err(|faults| problems::invalid(&faults))?;
    let data = json!({ "name": name }).to_string();
    let noted = asked.house.parts.orders.note(Kind::Show, None, None, data).await;
    noted.map_err(|error| problems::of(error, Missing::Order))?;
    info!(name = name.unwrap_or_default(), by = %caller, "a show began: counters start over");
    Ok(json_answer(StatusCode::OK, "application/json", &told(asked.house)))
}
