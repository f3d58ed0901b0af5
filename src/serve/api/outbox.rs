//! `/api/v1/outbox`: how orders get to the cloud, for who runs the shop, and what the cloud says by itself.

use hyper::StatusCode;
use hyper::header::{self, HeaderName};
use serde_json::json;
use tracing::info;

use crate::base::clock;
use crate::serve::answers::{Answer, json as json_answer, problem_of, with};
use crate::serve::auth::Role;
use crate::serve::house::House;
use crate::shop::outbox::{Heard, OutboxError, sign};

use super::asked::Asked;
use super::problems::{self, Missing};

/// Bytes that the cloud may say at once: a thousand updates.
const NEWS_BYTES_MAX: usize = 256 << 10;

/// `GET /outbox`
pub(super) async fn show(asked: &mut Asked<'_>) -> Result<Answer, Answer> {
    asked.allow(Role::Anchor).await?;
    Ok(told(asked.house))
}

fn told(house: &House) -> Answer {
    let status = house.parts.outbox.status();
    json_answer(
        StatusCode::OK,
        "application/json",
        &status.to_json(clock::now(), clock::unix_millis() as i64),
    )
}

/// `POST /outbox/pause`, `/outbox/resume` and `/outbox/retry`
pub(super) async fn order(asked: &mut Asked<'_>, verb: &str) -> Result<Answer, Answer> {
    let caller = asked.allow(Role::Anchor).await?;
    let outbox = &asked.house.parts.outbox;
    let done = match verb {
        "pause" => outbox.pause().await,
        "resume" => outbox.resume().await,
        _ => outbox.hurry(),
    };
    done.map_err(refused)?;
    info!(by = %caller, "the outbox was told: {verb}");
    Ok(told(asked.house))
}

/// `POST /outbox/news`: what the cloud says, signed as the box signs what it sends.
pub(super) async fn hear(asked: &mut Asked<'_>) -> Result<Answer, Answer> {
    asked.must_be_json()?;
    let signature = asked.header_once(&HeaderName::from_static(sign::HEADER));
    let signature = signature.map_err(|fault| problems::invalid(&[fault]))?.map(str::to_owned);
    let body = asked.body(NEWS_BYTES_MAX).await?;
    let heard = asked.house.parts.outbox.hear(signature.as_deref(), &body).await;
    let Heard { changed, left_alone } = heard.map_err(refused)?;
    let told = json!({ "changed": changed, "left_alone": left_alone });
    Ok(json_answer(StatusCode::OK, "application/json", &told))
}

fn refused(error: OutboxError) -> Answer {
    let words = format!("{error}.");
    match error {
        OutboxError::Off => problem_of(StatusCode::CONFLICT, "outbox-off", "Orders stay on this box", &words),
        OutboxError::Busy => {
            let answer = problem_of(StatusCode::SERVICE_UNAVAILABLE, "busy", "The outbox is busy", &words);
            with(answer, header::RETRY_AFTER, problems::BUSY_AGAIN_SECONDS)
        }
        OutboxError::Store(error) => problems::of(error, Missing::Order),
        OutboxError::NoSecret => {
            problem_of(StatusCode::FORBIDDEN, "no-secret", "Nobody can be known here", &words)
        }
        OutboxError::Signature(_) => {
            problem_of(StatusCode::UNAUTHORIZED, "bad-signature", "The signature does not count", &words)
        }
        OutboxError::Document(_) => {
            problem_of(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "The document is not as agreed", &words)
        }
    }
}
