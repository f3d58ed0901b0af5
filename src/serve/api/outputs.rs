//! `/api/v1/outputs`: how the outputs are, and a person's word to them.

use std::time::{Duration, Instant};

use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::info;

use crate::base::clock;
use crate::config::schema::OutputMode;
use crate::serve::answers::{Answer, json as json_answer, problem};
use crate::serve::auth::{Caller, Role};
use crate::serve::house::House;
use crate::uplink::{LineStatus, OrderError, OutputStatus};

use super::asked::Asked;

/// What `switch` and `reconnect` are told.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    /// 0: the primary, 1: the first standby.
    line: usize,
}

/// What `hold` and `resume` are told.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// `GET /outputs`
pub(super) fn all(house: &House) -> Answer {
    let now = clock::now();
    let all: Vec<Value> = house.parts.outputs.status().iter().map(|one| describe(now, one)).collect();
    json_answer(StatusCode::OK, "application/json", &json!({ "outputs": all }))
}

/// `GET /outputs/{name}`
pub(super) fn one(house: &House, name: &str) -> Answer {
    match house.parts.outputs.status().iter().find(|one| one.name == name) {
        Some(one) => json_answer(StatusCode::OK, "application/json", &describe(clock::now(), one)),
        None => no_output(name),
    }
}

/// `POST /outputs/{name}/switch`, `hold`, `resume` and `reconnect`
pub(super) async fn order(asked: &mut Asked<'_>, verb: &str) -> Result<Answer, Answer> {
    let caller = asked.allow(Role::Anchor).await?;
    let said = asked.document().await?;
    Ok(obey(asked.house, &caller, asked.name, verb, &said))
}

fn obey(house: &House, caller: &Caller, name: &str, verb: &str, said: &[u8]) -> Answer {
    let outputs = &house.parts.outputs;
    let done = match verb {
        "switch" | "reconnect" => match serde_json::from_slice::<Which>(said) {
            Ok(Which { line }) if verb == "switch" => outputs.switch(name, line),
            Ok(Which { line }) => outputs.reconnect(name, line),
            Err(cause) => return not_understood(&cause, r#"{"line": 0}"#),
        },
        _ => {
            let said: &[u8] = if said.trim_ascii().is_empty() { b"{}" } else { said };
            match serde_json::from_slice::<Nothing>(said) {
                Ok(Nothing {}) if verb == "hold" => outputs.hold(name),
                Ok(Nothing {}) => outputs.resume(name),
                Err(cause) => return not_understood(&cause, "{}"),
            }
        }
    };
    match done {
        Ok(()) => {
            info!(output = name, order = verb, by = %caller, "took an order");
            let document = json!({ "output": name, "accepted": verb });
            json_answer(StatusCode::ACCEPTED, "application/json", &document)
        }
        Err(OrderError::NoOutput) => no_output(name),
        Err(error @ OrderError::NoLine) => {
            problem(StatusCode::UNPROCESSABLE_ENTITY, &format!("line: {error}."))
        }
        Err(error @ (OrderError::Waits | OrderError::Mirrors)) => {
            problem(StatusCode::CONFLICT, &format!("{error}."))
        }
        Err(error @ OrderError::Busy) => problem(StatusCode::SERVICE_UNAVAILABLE, &format!("{error}.")),
    }
}

fn not_understood(cause: &serde_json::Error, example: &str) -> Answer {
    let words = format!("The body is not what is wanted here: {cause}. An example: {example}");
    problem(StatusCode::UNPROCESSABLE_ENTITY, &words)
}

fn no_output(name: &str) -> Answer {
    problem(StatusCode::NOT_FOUND, &format!("There is no output {name:?} that runs here."))
}

fn describe(now: Instant, one: &OutputStatus) -> Value {
    let mode = match one.mode {
        OutputMode::Mirror => "mirror",
        OutputMode::Warm => "warm",
        OutputMode::Cold => "cold",
    };
    let alerts: Vec<Value> =
        one.alerts().into_iter().map(|(key, words)| json!({ "key": key, "words": words })).collect();
    json!({
        "name": one.name,
        "stream": one.stream,
        "mode": mode,
        "state": one.state.as_str(),
        "since_seconds": seconds(now.saturating_duration_since(one.since)),
        "active": one.active,
        "home": one.home,
        "switches": one.switches,
        "last_switch": one.last_switch.map(|(at, why)| json!({
            "seconds_ago": seconds(now.saturating_duration_since(at)),
            "why": why,
        })),
        "behind_seconds": one.behind.seconds(),
        "needed_bps": one.needed.map(|bps| bps.0),
        "encoder_bps": one.encoder.map(|bps| bps.0),
        "left_out_packets": one.left_out,
        "lost_packets": one.lost.iter().sum::<u64>(),
        "last_error": one.last_error,
        "alerts": alerts,
        "lines": one.lines.iter().map(describe_line).collect::<Vec<_>>(),
    })
}

fn describe_line(line: &LineStatus) -> Value {
    let reading = line.reading.as_ref().map(|reading| {
        json!({
            "rtt_seconds": seconds(reading.rtt),
            "acknowledged_bps": reading.acked.0,
            "capacity_bps": reading.capacity.map(|bps| bps.0),
            "queue_seconds": seconds(reading.queue_time),
            "queued_bytes": reading.queued_bytes,
            "retransmitted_ratio": reading.retransmitted,
        })
    });
    json!({
        "role": line.role,
        "destination": line.destination,
        "interface": line.interface,
        "state": line.state.as_str(),
        "trouble": line.trouble,
        "failing": line.failing,
        "connections": line.connections,
        "sent_bytes": line.bytes_sent,
        "acknowledged_bytes": line.bytes_acked,
        "retransmits": line.retransmits,
        "missed_packets": line.missed,
        "reading": reading,
        "last_error": line.last_error,
    })
}

fn seconds(span: Duration) -> f64 {
    (span.as_secs_f64() * 1_000.0).round() / 1_000.0
}
