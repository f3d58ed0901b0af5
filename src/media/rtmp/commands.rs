//! The commands of a publisher (§7.2), and the answers to them.

use crate::media::amf::{self, AmfError, Value};

use super::enhanced;

/// How footlight names itself: servers that tell encoders from players look for `FMLE`.
const FLASH_VERSION: &str = concat!("FMLE/3.0 (compatible; footlight/", env!("CARGO_PKG_VERSION"), ")");

/// Transaction numbers: each command of a session has its own, so that answers can be told apart.
pub(super) mod transaction {
    pub(in super::super) const CONNECT: f64 = 1.0;
    pub(in super::super) const RELEASE_STREAM: f64 = 2.0;
    pub(in super::super) const FC_PUBLISH: f64 = 3.0;
    pub(in super::super) const CREATE_STREAM: f64 = 4.0;
    pub(in super::super) const PUBLISH: f64 = 5.0;
    pub(in super::super) const FC_UNPUBLISH: f64 = 6.0;
    pub(in super::super) const DELETE_STREAM: f64 = 7.0;
}

/// A command from the far end, as far as a publisher listens.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answer {
    /// `_result`: a command worked; of `createStream`, the stream's number.
    Done { transaction: f64, stream: Option<u32> },
    /// `_result` of `connect`, and whether it says that H.265 is taken.
    Connected { takes_h265: bool },
    /// `_error`: it did not.
    Failed { transaction: f64, status: Status },
    /// `onStatus`.
    Status(Status),
    /// `close`: the far end hangs up.
    Close,
    /// Anything else: `onBWDone`, `onFCPublish` and the like.
    Other,
}

/// What a status object says; empty where it says nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Status {
    pub(super) is_error: bool,
    pub(super) code: String,
    pub(super) description: String,
}

/// `connect`; `offers_h265` for a stream that is coded so.
pub(super) fn connect(app: &str, tc_url: &str, offers_h265: bool) -> Result<Vec<u8>, AmfError> {
    let properties = [
        ("app", Value::text(app)),
        ("type", Value::text("nonprivate")),
        ("flashVer", Value::text(FLASH_VERSION)),
        ("tcUrl", Value::text(tc_url)),
    ];
    let offer = enhanced::offer().into_iter().filter(|_| offers_h265);
    let properties = properties.into_iter().chain(offer);
    let properties = properties.map(|(name, value)| (name.to_owned(), value)).collect();
    command("connect", transaction::CONNECT, Value::Object(properties), &[])
}

/// `releaseStream`, `FCPublish` and `FCUnpublish` name the key.
pub(super) fn about_key(name: &str, transaction: f64, key: &str) -> Result<Vec<u8>, AmfError> {
    command(name, transaction, Value::Null, &[Value::text(key)])
}

pub(super) fn create_stream() -> Result<Vec<u8>, AmfError> {
    command("createStream", transaction::CREATE_STREAM, Value::Null, &[])
}

pub(super) fn publish(key: &str) -> Result<Vec<u8>, AmfError> {
    command("publish", transaction::PUBLISH, Value::Null, &[Value::text(key), Value::text("live")])
}

pub(super) fn delete_stream(stream: u32) -> Result<Vec<u8>, AmfError> {
    command("deleteStream", transaction::DELETE_STREAM, Value::Null, &[Value::Number(f64::from(stream))])
}

/// Reads a command from the far end. Servers say many things in notations of their own that no publisher needs,
/// and which therefore need not be readable.
///
/// # Errors
/// [`AmfError`], if what cannot be read is a stream's number or a status.
pub(super) fn parse_answer(payload: &[u8]) -> Result<Answer, AmfError> {
    let (values, trouble) = amf::read_readable(payload);
    let name = values.first().and_then(Value::as_str).unwrap_or_default();
    let transaction = values.get(1).and_then(Value::as_number).unwrap_or_default();
    // The information object comes fourth; some servers leave the command object out.
    let status = || values.iter().skip(2).find(|value| value.get("code").is_some()).map(status_of);
    Ok(match name {
        "_result" if transaction == transaction::CONNECT => {
            Answer::Connected { takes_h265: values.iter().skip(2).any(enhanced::takes_h265) }
        }
        "_result" => {
            if let (None, Some(trouble), transaction::CREATE_STREAM) = (values.get(3), trouble, transaction) {
                return Err(trouble);
            }
            let number = values.get(3).and_then(Value::as_number);
            let stream = number.filter(|number| (0.0..=f64::from(u32::MAX)).contains(number));
            Answer::Done { transaction, stream: stream.map(|number| number as u32) }
        }
        "_error" => Answer::Failed { transaction, status: status().unwrap_or_default() },
        "onStatus" => match (status(), trouble) {
            (None, Some(trouble)) => return Err(trouble),
            (status, _) => Answer::Status(status.unwrap_or_default()),
        },
        "close" => Answer::Close,
        _ => Answer::Other,
    })
}

fn status_of(info: &Value) -> Status {
    let text = |name| info.get(name).and_then(Value::as_str).unwrap_or_default();
    Status {
        is_error: text("level") == "error",
        code: text("code").to_owned(),
        description: text("description").to_owned(),
    }
}

fn command(name: &str, transaction: f64, object: Value, arguments: &[Value]) -> Result<Vec<u8>, AmfError> {
    let mut bytes = amf::write_all(&[Value::text(name), Value::Number(transaction), object])?;
    for argument in arguments {
        amf::write(&mut bytes, argument)?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A command that goes on with a switch to AMF3, which is not read.
    fn unreadable(name: &str, transaction: f64) -> Result<Answer, AmfError> {
        let mut payload = amf::write_all(&[Value::text(name), Value::Number(transaction)]).expect("short");
        payload.extend([0x11, 0x0A, 0x0B, 0x01]);
        parse_answer(&payload)
    }

    #[test]
    fn only_a_stream_of_h265_is_offered_as_such() {
        for offers in [false, true] {
            let connect = amf::read_all(&connect("live", "rtmp://far/live", offers).unwrap()).unwrap();
            let hvc1 = Value::StrictArray(vec![Value::text("hvc1")]);
            assert_eq!(connect[2].get("fourCcList"), Some(&hvc1).filter(|_| offers));
            let map = connect[2].get("videoFourCcInfoMap");
            assert_eq!(map.and_then(|map| map.get("hvc1")), Some(&Value::Number(2.0)).filter(|_| offers));
        }
    }

    #[test]
    fn what_cannot_be_read_matters_only_where_it_is_needed() {
        assert_eq!(unreadable("onBWDone", 0.0), Ok(Answer::Other));
        assert_eq!(parse_answer(&[0x11, 0x0A]), Ok(Answer::Other));
        let connected = Answer::Connected { takes_h265: false };
        assert_eq!(unreadable("_result", transaction::CONNECT), Ok(connected));
        let failed = Answer::Failed { transaction: 5.0, status: Status::default() };
        assert_eq!(unreadable("_error", transaction::PUBLISH), Ok(failed));
        assert_eq!(unreadable("_result", transaction::CREATE_STREAM), Err(AmfError::Unsupported(0x11)));
        assert_eq!(unreadable("onStatus", 0.0), Err(AmfError::Unsupported(0x11)));
    }
}
