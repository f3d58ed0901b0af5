//! `/api/v1/reservations`: units kept for a buyer while a form is filled in.

use hyper::StatusCode;

use crate::serve::answers::{Answer, json as json_answer};
use crate::shop::ids::is_id;
use crate::shop::order::{HoldState, Purpose, Reservation};

use super::asked::Asked;
use super::orders::{count, made, wish};
use super::problems::{self, Missing};

/// `POST /reservations`
pub(super) async fn place(asked: &mut Asked<'_>) -> Result<Answer, Answer> {
    let (wish, key) = wish(asked, Purpose::Reservation).await?;
    let placed = asked.house.parts.orders.reserve(wish, key).await;
    let placed = placed.map_err(|error| problems::of(error, Missing::Product))?;
    let at = format!("/api/v1/reservations/{}", placed.it.id);
    Ok(made(&placed.it.to_json(HoldState::Held), at, placed.again))
}

/// `GET /reservations/{id}`
pub(super) async fn one(asked: &mut Asked<'_>) -> Result<Answer, Answer> {
    let id = id(asked)?;
    let found = asked.house.parts.orders.reservation_of(id).await;
    let found = found.map_err(|error| problems::of(error, Missing::Reservation))?;
    found.map(|held| told(&held)).ok_or_else(|| Missing::Reservation.answer())
}

/// `DELETE /reservations/{id}`
pub(super) async fn release(asked: &mut Asked<'_>) -> Result<Answer, Answer> {
    count(asked)?;
    let id = id(asked)?;
    let done = asked.house.parts.orders.release(id).await;
    let placed = done.map_err(|error| problems::of(error, Missing::Reservation))?;
    Ok(told(&placed.it))
}

fn id(asked: &Asked<'_>) -> Result<String, Answer> {
    if is_id(asked.name) { Ok(asked.name.to_owned()) } else { Err(Missing::Reservation.answer()) }
}

fn told(held: &Reservation) -> Answer {
    json_answer(StatusCode::OK, "application/json", &held.to_json(held.state))
}
