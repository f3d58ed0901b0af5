//! What an answer means, and what to do about it in words.
//!
//! Pure.

use std::time::Duration;

use super::core::Outcome;
use super::wire::{Answer, Verdict};

/// What was heard of one request, without the connection's types.
#[derive(Debug)]
pub(super) struct Heard<'a> {
    pub(super) host: &'a str,
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
    /// Seconds that the cloud's clock is ahead of ours, where it is far.
    pub(super) clock_ahead_s: Option<i64>,
    pub(super) body: &'a [u8],
}

/// What it means.
#[derive(Debug)]
pub(super) struct Judgement {
    pub(super) outcome: Outcome,
    /// What is to be kept, where the cloud took the batch.
    pub(super) answer: Answer,
    /// What is wrong, where something is.
    pub(super) trouble: Option<String>,
}

/// Judges an answer to the items with these keys; beside each stands its place in the log.
pub(super) fn judge(heard: &Heard<'_>, keys: &[(String, i64)]) -> Judgement {
    let Heard { host, status, retry_after, clock_ahead_s, body } = heard;
    let wrong = |outcome, words: String| Judgement {
        outcome,
        answer: Answer::default(),
        trouble: Some(format!("{host} {words}")),
    };
    match status {
        200 => match Answer::read(body) {
            Ok(answer) => taken(answer, keys),
            Err(error) => wrong(Outcome::Broken, format!("is not understood: {error}")),
        },
        204 => taken(Answer::default(), keys),
        413 => wrong(Outcome::TooLarge, "finds the batch too large (413): smaller ones follow".to_owned()),
        401 | 403 | 407 => {
            let clock = clock_ahead_s.map_or_else(String::new, |ahead| {
                let way = if ahead > 0 { "ahead of" } else { "behind" };
                format!("; its clock is {} s {way} this box's: set the box's time", ahead.unsigned_abs())
            });
            let words = "does not let this box in";
            wrong(
                Outcome::NotLetIn,
                format!("{words} ({status}): check `token` and `secret` of orders.cloud{clock}"),
            )
        }
        404 | 405 | 410 => wrong(
            Outcome::NotLetIn,
            format!("takes no orders there ({status}): check the path of orders.cloud"),
        ),
        300..=399 => wrong(
            Outcome::NotLetIn,
            format!(
                "sends the box elsewhere ({status}), where it does not follow: write that address into orders.cloud"
            ),
        ),
        429 | 503 => wrong(Outcome::Busy(*retry_after), format!("asks for time ({status})")),
        408 | 425 => wrong(Outcome::Failed, format!("did not take it in ({status})")),
        400..=499 if keys.is_empty() => wrong(
            Outcome::Refused,
            format!("refuses to be asked for news ({status}): a batch of no items is answered 200 or 204"),
        ),
        400..=499 => {
            wrong(Outcome::Refused, format!("refuses what it was sent ({status}): its own log says why"))
        }
        502 | 504 => wrong(Outcome::Failed, format!("has nobody behind it who answers ({status})")),
        _ => wrong(Outcome::Broken, format!("has trouble of its own ({status})")),
    }
}

fn taken(answer: Answer, keys: &[(String, i64)]) -> Judgement {
    let wanted =
        |key: &str| answer.results.iter().any(|said| said.verdict == Verdict::Retry && said.of == key);
    let some = answer.results.iter().any(|said| said.verdict == Verdict::Retry);
    let again = keys.iter().filter(|(key, _)| some && wanted(key)).map(|(_, seq)| *seq).collect();
    Judgement { outcome: Outcome::Taken { again }, answer, trouble: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, clock_ahead_s: Option<i64>, body: &str) -> Judgement {
        let retry_after = Some(Duration::from_secs(9));
        let heard = Heard { host: "https://a", status, retry_after, clock_ahead_s, body: body.as_bytes() };
        judge(&heard, &[("o:accepted".to_owned(), 3), ("p:accepted".to_owned(), 4)])
    }

    #[test]
    fn each_answer_means_what_it_should_and_says_what_to_do() {
        let again = |again: &[i64]| Outcome::Taken { again: again.to_vec() };
        assert_eq!(judged(200, None, "{}").outcome, again(&[]));
        assert_eq!(judged(204, None, "").outcome, again(&[]));
        let retry = r#"{"results":[{"key":"p:accepted","state":"retry"},{"key":"x","state":"retry"}]}"#;
        assert_eq!(judged(200, None, retry).outcome, again(&[4]));
        for (status, outcome, words) in [
            (200, Outcome::Broken, "no JSON object"),
            (202, Outcome::Broken, "trouble of its own (202)"),
            (301, Outcome::NotLetIn, "write that address"),
            (400, Outcome::Refused, "its own log says why"),
            (401, Outcome::NotLetIn, "check `token` and `secret`"),
            (404, Outcome::NotLetIn, "check the path"),
            (413, Outcome::TooLarge, "smaller ones follow"),
            (422, Outcome::Refused, "refuses"),
            (429, Outcome::Busy(Some(Duration::from_secs(9))), "asks for time"),
            (500, Outcome::Broken, "trouble of its own (500)"),
            (503, Outcome::Busy(Some(Duration::from_secs(9))), "asks for time"),
            (504, Outcome::Failed, "nobody behind it"),
        ] {
            let judged = judged(status, None, "<html>");
            let said = judged.trouble.expect("words");
            assert_eq!(judged.outcome, outcome, "{status}");
            assert!(said.starts_with("https://a ") && said.contains(words), "{status}: {said}");
        }
    }

    #[test]
    fn a_clock_that_is_wrong_is_named_where_it_may_be_the_cause() {
        let said = judged(401, Some(86_400), "").trouble.expect("words");
        assert!(said.contains("its clock is 86400 s ahead of this box's: set the box's time"), "{said}");
        let said = judged(403, Some(-600), "").trouble.expect("words");
        assert!(said.contains("600 s behind"), "{said}");
    }
}
