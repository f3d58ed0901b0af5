//! The documents that go to the cloud and come back.
//!
//! Pure. What the cloud says is somebody else's word: every text is bounded, what has the wrong type is named with its
//! place, and members that are not known here are left alone. A wrong result makes the whole answer an error, since
//! nobody could tell which items are settled; a wrong update or lease is left out, since it would come again with every
//! answer and hold all orders up.

use ring::digest::{SHA256, digest};
use serde_json::{Map, Value, json};

use super::super::times::{from_rfc3339, rfc3339};
use super::sign::hex;

/// Entries of one list of an answer, at most.
const ENTRIES_MAX: usize = 10_000;

/// Characters of a key, an id or a SKU in an answer, at most.
const NAME_CHARS_MAX: usize = 200;

/// Characters of a reason; more is cut off.
const REASON_CHARS_MAX: usize = 500;

/// Units that one lease may grant.
const UNITS_MAX: i64 = 1_000_000_000;

/// Remarks on one answer, at most.
const REMARKS_MAX: usize = 5;

/// Who sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    /// The box's name.
    pub name: String,
    /// Where it stands.
    pub site: String,
}

/// What happened to an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum What {
    /// It was accepted.
    Accepted,
    /// It was cancelled.
    Cancelled,
}

/// One thing to tell the cloud.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// Its place in the box's log.
    pub seq: i64,
    /// The order's id.
    pub id: String,
    /// What happened to it.
    pub what: What,
    /// The order as it stands now.
    pub order: Value,
}

/// A request's body and its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The same for the same items, whenever they are sent: `Idempotency-Key`.
    pub id: String,
    /// JSON.
    pub body: Vec<u8>,
    /// The newest request whose answer is on the box's disk; the cloud tells no more what stood in that:
    /// `Footlight-Last-News`.
    pub last_news: Option<String>,
}

/// What the cloud says about one item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It has it.
    Synced,
    /// The order will be served.
    Confirmed,
    /// It will not.
    Rejected,
    /// It is paid.
    Paid,
    /// Send it again later.
    Retry,
}

/// A verdict, on an item by its key or on an order by its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Key or id.
    pub of: String,
    /// What.
    pub verdict: Verdict,
    /// Why, in the cloud's words.
    pub reason: Option<String>,
}

/// Units granted for a show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Of which SKU.
    pub sku: String,
    /// The show.
    pub id: String,
    /// How many in all.
    pub units: i64,
    /// Until when, in Unix milliseconds.
    pub until_ms: Option<i64>,
}

/// What the cloud answered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// On the items that were sent, by key.
    pub results: Vec<Said>,
    /// On orders sent earlier, by id.
    pub updates: Vec<Said>,
    /// Stock for shows.
    pub leases: Vec<Grant>,
    /// What was left alone because it is wrong, or not known to this version; for the log.
    pub remarks: Vec<String>,
    /// How many updates and leases were left alone.
    pub left_alone: u64,
}

/// Why an answer cannot be followed. Says where, and nothing of what stands there beyond a few characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// Not JSON, or not an object.
    #[error("its answer is no JSON object ({0}); check that the URL is the one for orders")]
    NotJson(String),
    /// A part of it is not as agreed.
    #[error("its answer is not as agreed: {place} {wanted}")]
    Wrong {
        /// As `results[3].state`.
        place: String,
        /// What should stand there.
        wanted: String,
    },
}

impl What {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            What::Accepted => "accepted",
            What::Cancelled => "cancelled",
        }
    }
}

impl Item {
    /// What the cloud keeps its books by.
    pub fn key(&self) -> String {
        format!("{}:{}", self.id, self.what.as_str())
    }
}

impl Document {
    /// A batch of these items. `answers`: how often the cloud has answered that it does not have them, so that it is
    /// another request than the one it answered so.
    pub fn batch(sender: &Sender, items: &[Item], answers: u64) -> Document {
        let told = |item: &Item| {
            json!({
                "key": item.key(),
                "seq": item.seq,
                "what": item.what.as_str(),
                "order": item.order,
            })
        };
        let items: Vec<Value> = items.iter().map(told).collect();
        let id = name_of(&json!([sender.name, sender.site, answers, items]));
        // No time of this try: the same name is the same body.
        let body = json!({ "box": sender.name, "site": sender.site, "batch": id, "items": items });
        Document { id, body: body.to_string().into_bytes(), last_news: None }
    }

    /// A question for news. It is a new one each time, or a cloud that remembers its answers would give the first for
    /// ever; one that was not answered is sent again as it is.
    pub fn question(sender: &Sender, asked_at_ms: i64) -> Document {
        let id = name_of(&json!([sender.name, sender.site, asked_at_ms]));
        let body = json!({
            "box": sender.name,
            "site": sender.site,
            "batch": id,
            "sent_at": rfc3339(asked_at_ms),
            "items": [],
        });
        Document { id, body: body.to_string().into_bytes(), last_news: None }
    }
}

impl Answer {
    /// Reads what came back.
    ///
    /// # Errors
    /// [`AnswerError`]; nothing of the answer counts then.
    pub fn read(body: &[u8]) -> Result<Answer, AnswerError> {
        let mut answer = Answer::default();
        let document: Value =
            serde_json::from_slice(body).map_err(|error| AnswerError::NotJson(error.to_string()))?;
        let Value::Object(document) = document else {
            return Err(AnswerError::NotJson("it is another kind of value".to_owned()));
        };
        for entry in Entry::list(&document, "results")? {
            let reason = entry.reason()?;
            let (of, state) = (entry.text("key")?, entry.text("state")?);
            let verdict = Verdict::parse(&state).unwrap_or_else(|| {
                answer.remark(format!(
                    "{}.state is {state:?}, which this version does not know: sent again",
                    entry.place
                ));
                Verdict::Retry
            });
            answer.results.push(Said { of, verdict, reason });
        }
        for entry in answer.entries_of(&document, "updates")? {
            match entry.and_then(|entry| entry.update()) {
                Ok(update) => answer.updates.push(update),
                Err(wrong) => answer.leave_alone(&wrong),
            }
        }
        for entry in answer.entries_of(&document, "leases")? {
            match entry.and_then(|entry| entry.grant()) {
                Ok(grant) => answer.leases.push(grant),
                Err(wrong) => answer.leave_alone(&wrong),
            }
        }
        Ok(answer)
    }

    /// A list that need not be right.
    fn entries_of<'a>(
        &mut self,
        document: &'a Map<String, Value>,
        name: &str,
    ) -> Result<Vec<Result<Entry<'a>, AnswerError>>, AnswerError> {
        match document.get(name) {
            Some(other) if !other.is_array() && !other.is_null() => {
                self.leave_alone(&wrong(name, "must be a list"));
                Ok(Vec::new())
            }
            _ => Entry::each(document, name),
        }
    }

    fn leave_alone(&mut self, wrong: &AnswerError) {
        self.left_alone += 1;
        self.remark(format!("{wrong}: left alone"));
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.results.is_empty() && self.updates.is_empty() && self.leases.is_empty()
    }

    fn remark(&mut self, words: String) {
        if self.remarks.len() < REMARKS_MAX {
            self.remarks.push(words);
        }
    }
}

impl Verdict {
    fn parse(word: &str) -> Option<Verdict> {
        match word {
            "synced" => Some(Verdict::Synced),
            "confirmed" => Some(Verdict::Confirmed),
            "rejected" => Some(Verdict::Rejected),
            "paid" => Some(Verdict::Paid),
            "retry" => Some(Verdict::Retry),
            _ => None,
        }
    }
}

/// An object in one of the answer's lists.
struct Entry<'a> {
    place: String,
    fields: &'a Map<String, Value>,
}

impl Entry<'_> {
    fn list<'a>(document: &'a Map<String, Value>, name: &str) -> Result<Vec<Entry<'a>>, AnswerError> {
        Entry::each(document, name)?.into_iter().collect()
    }

    fn each<'a>(
        document: &'a Map<String, Value>,
        name: &str,
    ) -> Result<Vec<Result<Entry<'a>, AnswerError>>, AnswerError> {
        let entries = match document.get(name) {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Array(entries)) if entries.len() <= ENTRIES_MAX => entries,
            Some(_) => return Err(wrong(name, &format!("must be a list of at most {ENTRIES_MAX} objects"))),
        };
        let entry = |(at, entry): (usize, &'a Value)| {
            let place = format!("{name}[{at}]");
            match entry {
                Value::Object(fields) => Ok(Entry { place, fields }),
                _ => Err(wrong(&place, "must be an object")),
            }
        };
        Ok(entries.iter().enumerate().map(entry).collect())
    }

    fn update(&self) -> Result<Said, AnswerError> {
        let reason = self.reason()?;
        let (of, state) = (self.text("id")?, self.text("state")?);
        let verdict = Verdict::parse(&state).filter(|verdict| *verdict != Verdict::Retry);
        let verdict = verdict.ok_or_else(|| {
            self.wrong("state", &format!("is {state:?}, which this version does not know of an update"))
        })?;
        Ok(Said { of, verdict, reason })
    }

    fn grant(&self) -> Result<Grant, AnswerError> {
        let (sku, id) = (self.text("sku")?, self.text("id")?);
        Ok(Grant { sku, id, units: self.units()?, until_ms: self.until()? })
    }

    fn text(&self, name: &str) -> Result<String, AnswerError> {
        match self.fields.get(name) {
            Some(Value::String(text)) if (1..=NAME_CHARS_MAX).contains(&text.chars().count()) => {
                Ok(text.clone())
            }
            _ => Err(self.wrong(name, &format!("must be text of 1 to {NAME_CHARS_MAX} characters"))),
        }
    }

    fn reason(&self) -> Result<Option<String>, AnswerError> {
        match self.fields.get("reason") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => {
                let plain = text.chars().filter(|char| !char.is_control()).take(REASON_CHARS_MAX);
                Ok(Some(plain.collect::<String>()).filter(|text| !text.is_empty()))
            }
            Some(_) => Err(self.wrong("reason", "must be text")),
        }
    }

    fn units(&self) -> Result<i64, AnswerError> {
        let units =
            self.fields.get("units").and_then(Value::as_i64).filter(|units| (0..=UNITS_MAX).contains(units));
        units.ok_or_else(|| self.wrong("units", &format!("must be a whole number from 0 to {UNITS_MAX}")))
    }

    fn until(&self) -> Result<Option<i64>, AnswerError> {
        let time = match self.fields.get("until") {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(text)) => from_rfc3339(text),
            Some(_) => None,
        };
        time.map(Some).ok_or_else(|| self.wrong("until", "must be a time as 2026-11-21T20:00:00Z"))
    }

    fn wrong(&self, name: &str, wanted: &str) -> AnswerError {
        wrong(&format!("{}.{name}", self.place), wanted)
    }
}

fn name_of(content: &Value) -> String {
    hex(&digest(&SHA256, content.to_string().as_bytes()).as_ref()[..16])
}

fn wrong(place: &str, wanted: &str) -> AnswerError {
    AnswerError::Wrong { place: place.to_owned(), wanted: wanted.to_owned() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sender() -> Sender {
        Sender { name: "studio-3".into(), site: "hangzhou".into() }
    }

    fn item(seq: i64, what: What) -> Item {
        Item {
            seq,
            id: format!("order{seq}"),
            what,
            order: json!({ "id": format!("order{seq}"), "state": "accepted" }),
        }
    }

    #[test]
    fn the_same_items_have_the_same_name_whenever_they_are_sent() {
        let items = [item(1, What::Accepted), item(2, What::Accepted)];
        let first = Document::batch(&sender(), &items, 0);
        assert_eq!(first, Document::batch(&sender(), &items, 0), "the same name is the same body");
        assert_eq!(first.id.len(), 32);
        assert!(!String::from_utf8_lossy(&first.body).contains("sent_at"), "nothing of this try is in it");
        assert_ne!(first.id, Document::batch(&sender(), &items[..1], 0).id);
        assert_ne!(first.id, Document::batch(&Sender { name: "b".into(), ..sender() }, &items, 0).id);
        assert_ne!(first.id, Document::batch(&sender(), &items, 1).id, "an answered one is another request");
        assert_ne!(item(1, What::Accepted).key(), item(1, What::Cancelled).key());
        let polls = [0, 1].map(|at| Document::question(&sender(), at).id);
        assert_ne!(polls[0], polls[1], "each question for news is a new one");
    }

    #[test]
    fn a_batch_reads_as_agreed() {
        let document = Document::batch(&sender(), &[item(7, What::Cancelled)], 0);
        let body: Value = serde_json::from_slice(&document.body).expect("JSON");
        let want = json!({
            "box": "studio-3", "site": "hangzhou", "batch": document.id,
            "items": [{
                "key": "order7:cancelled", "seq": 7, "what": "cancelled",
                "order": { "id": "order7", "state": "accepted" },
            }],
        });
        assert_eq!(body, want);
        let question = Document::question(&sender(), 1_795_276_800_000);
        let body: Value = serde_json::from_slice(&question.body).expect("JSON");
        let want = json!({
            "box": "studio-3", "site": "hangzhou", "batch": question.id, "sent_at": "2026-11-21T16:00:00Z", "items": [],
        });
        assert_eq!(body, want);
    }

    #[test]
    fn an_answer_may_say_nothing_and_may_say_everything() {
        for nothing in ["{}", r#"{"results":null,"more":[1]}"#, r#"{"results":[],"leases":[]}"#] {
            assert_eq!(Answer::read(nothing.as_bytes()), Ok(Answer::default()), "{nothing}");
        }
        let answer = Answer::read(
            br#"{"results":[{"key":"a:accepted","state":"confirmed","reason":null,"x":1},
                            {"key":"b:accepted","state":"rejected","reason":"no such\nproduct"},
                            {"key":"c:accepted","state":"shipped"}],
                 "updates":[{"id":"d","state":"paid"},{"id":"e","state":"shipped"},{"id":"f","state":"retry"}],
                 "leases":[{"sku":"CUP","id":"show","units":5,"until":"2026-11-21T16:00:00Z"}]}"#,
        )
        .expect("as agreed");
        let verdicts: Vec<_> = answer.results.iter().map(|said| said.verdict).collect();
        assert_eq!(verdicts, [Verdict::Confirmed, Verdict::Rejected, Verdict::Retry]);
        assert_eq!(answer.results[1].reason.as_deref(), Some("no suchproduct"));
        assert_eq!(answer.updates, [Said { of: "d".into(), verdict: Verdict::Paid, reason: None }]);
        assert_eq!(answer.leases[0].until_ms, Some(1_795_276_800_000));
        assert_eq!((answer.remarks.len(), answer.left_alone), (3, 2));
        assert!(answer.remarks[0].starts_with("results[2].state is \"shipped\""), "{:?}", answer.remarks);
    }

    #[test]
    fn what_is_not_as_agreed_is_told_with_its_place() {
        let long = "x".repeat(201);
        let cases = [
            ("", "no JSON object"),
            ("<html>", "no JSON object"),
            ("[]", "no JSON object"),
            (r#"{"results":{}}"#, "results must be a list"),
            (r#"{"results":[1]}"#, "results[0] must be an object"),
            (r#"{"results":[{"key":"a","state":"paid"},{"key":"b"}]}"#, "results[1].state must be text"),
            (r#"{"results":[{"key":5,"state":"paid"}]}"#, "results[0].key must be text"),
            (
                &format!(r#"{{"results":[{{"key":"{long}","state":"paid"}}]}}"#),
                "results[0].key must be text of 1 to 200",
            ),
        ];
        for (text, words) in cases {
            let said = Answer::read(text.as_bytes()).expect_err(text).to_string();
            assert!(said.contains(words), "{text:.80}: {said}");
        }
        let many = format!(r#"{{"updates":[{}]}}"#, vec!["{}"; 10_001].join(","));
        assert!(Answer::read(many.as_bytes()).expect_err("too many").to_string().contains("at most 10000"));
    }

    #[test]
    fn one_wrong_update_or_lease_is_left_out_and_told_and_the_rest_counts() {
        let cases = [
            (r#"{"updates":{}}"#, "updates must be a list"),
            (r#"{"updates":[7]}"#, "updates[0] must be an object"),
            (r#"{"updates":[{"id":"","state":"paid"}]}"#, "updates[0].id must be text of 1"),
            (r#"{"updates":[{"id":"a","state":"paid","reason":[]}]}"#, "updates[0].reason must be text"),
            (r#"{"leases":"none"}"#, "leases must be a list"),
            (r#"{"leases":[{"sku":"A","id":"s","units":-1}]}"#, "leases[0].units must be a whole number"),
            (r#"{"leases":[{"sku":"A","id":"s","units":1.5}]}"#, "leases[0].units must be a whole number"),
            (
                r#"{"leases":[{"sku":"A","id":"s","units":1,"until":"soon"}]}"#,
                "leases[0].until must be a time",
            ),
        ];
        for (text, words) in cases {
            let answer = Answer::read(text.as_bytes()).expect(text);
            assert!(answer.is_empty() && answer.left_alone == 1, "{answer:?}");
            assert!(answer.remarks[0].contains(words), "{:?}", answer.remarks);
        }
        let answer = Answer::read(
            br#"{"results":[{"key":"a:accepted","state":"synced"}],
                 "updates":[{"id":"b","state":5},{"id":"c","state":"paid"}],
                 "leases":[[],{"sku":"CUP","id":"show","units":5}]}"#,
        )
        .expect("the rest counts");
        let counts = [answer.results.len(), answer.updates.len(), answer.leases.len()];
        assert_eq!((counts, answer.left_alone), ([1, 1, 1], 2));
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(body in prop::collection::vec(any::<u8>(), 0..300), text in "[{}\\[\\]\",:a-z0-9]{0,200}") {
            let _ = Answer::read(&body);
            let _ = Answer::read(text.as_bytes());
        }
    }
}
