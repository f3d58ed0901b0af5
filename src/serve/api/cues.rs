//! `POST /api/v1/cues`: a product is shown now.

use std::time::Duration;

use hyper::StatusCode;
use serde_json::{Value, json};
use tracing::info;

use crate::base::clock;
use crate::hub::Channel;
use crate::serve::answers::{Answer, json as json_answer};
use crate::serve::auth::Role;
use crate::serve::house::House;
use crate::shop::OrderError;
use crate::shop::event::Kind;
use crate::shop::fields::Fault;
use crate::shop::ids::new_id;
use crate::shop::product::Sku;

use super::asked::Asked;
use super::problems::{self, Missing};

/// The stream that is meant where none is named and there are several.
const USUAL_STREAM: &str = "main";

/// A stream runs while something came within this.
const MOVING_WITHIN: Duration = Duration::from_secs(3);

/// `POST /cues`
pub(super) async fn cue(asked: &mut Asked<'_>) -> Result<Answer, Answer> {
    let caller = asked.allow(Role::Anchor).await?;
    let mut fields = asked.fields().await?;
    let text = fields.needed_text("sku", 1..=64);
    let sku = Sku::parse(&text);
    if sku.is_none() && !text.is_empty() {
        fields.fault("sku", Sku::WANTED);
    }
    let stream = fields.text("stream", 1..=64);
    fields.finish().map_err(|faults| problems::invalid(&faults))?;
    let Some(sku) = sku else { return Err(problems::invalid(&[Fault::new("sku", Sku::WANTED)])) };
    let orders = &asked.house.parts.orders;
    if orders.product(&sku).is_none() {
        return Err(Missing::Product.answer());
    }
    let (stream, channel) = stream_of(asked.house, stream)?;
    let time_ms = channel.as_ref().and_then(now_on);
    let id = new_id().ok_or_else(|| problems::of(OrderError::Stopping, Missing::Product))?;
    let told = json!({ "id": id, "stream": stream, "stream_time_ms": time_ms });
    let noted = orders.note(Kind::Cue, Some(sku.clone()), Some(id), told.to_string()).await;
    let seq = noted.map_err(|error| problems::of(error, Missing::Product))?;
    info!(%sku, stream, by = %caller, "a product is shown");
    Ok(json_answer(StatusCode::CREATED, "application/json", &answer(told, &sku, seq)))
}

fn answer(mut told: Value, sku: &Sku, seq: i64) -> Value {
    told["sku"] = sku.as_str().into();
    told["seq"] = seq.into();
    told
}

/// The stream that is meant, and its channel where it is there.
fn stream_of(house: &House, named: Option<String>) -> Result<(String, Option<Channel>), Answer> {
    let hub = &house.parts.hub;
    let names = hub.names();
    if let Some(name) = named {
        if let Some(channel) = hub.channel(&name) {
            return Ok((name, Some(channel)));
        }
        let detail = format!("must be a stream of this box, of which there are: {}", names.join(", "));
        return Err(problems::invalid(&[Fault::new("stream", detail)]));
    }
    let name = match &names[..] {
        [only] => only.clone(),
        _ => USUAL_STREAM.to_owned(),
    };
    let channel = hub.channel(&name);
    Ok((name, channel))
}

/// The newest time on a stream's timeline, in milliseconds; none where nothing comes.
fn now_on(channel: &Channel) -> Option<i64> {
    let stats = channel.stats();
    let came_at = stats.last_video_at.max(stats.last_audio_at)?;
    let is_moving = clock::now().saturating_duration_since(came_at) < MOVING_WITHIN;
    is_moving.then(|| stats.at.millis())
}
