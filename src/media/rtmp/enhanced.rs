//! What two ends tell each other about codecs that RTMP of 2012 does not know ("Enhanced RTMP", version 2,
//! "Enhancing NetConnection connect Command").
//!
//! A far end that knows nothing of it passes the offer over. Some readers of AMF stumble over an array, so it is made
//! only where a stream needs it.

use crate::media::amf::Value;

/// H.265, by its FourCC.
const HVC1: &str = "hvc1";

/// A far end that lists this takes any codec, or relays without looking.
const ANY: &str = "*";

/// Bits of `videoFourCcInfoMap`: it can be decoded, encoded, forwarded.
const CAN_DECODE: u32 = 1;
const CAN_ENCODE: u32 = 2;
const CAN_FORWARD: u32 = 4;

/// What a publisher of H.265 adds to `connect`.
pub(super) fn offer() -> [(&'static str, Value); 2] {
    let can = Value::Number(f64::from(CAN_ENCODE));
    [
        ("fourCcList", Value::StrictArray(vec![Value::text(HVC1)])),
        ("videoFourCcInfoMap", Value::Object(vec![(HVC1.to_owned(), can)])),
    ]
}

/// Whether an answer to `connect`, or an object of it, says that H.265 is taken.
pub(super) fn takes_h265(answer: &Value) -> bool {
    let listed = match answer.get("fourCcList") {
        Some(Value::StrictArray(codecs)) => {
            codecs.iter().filter_map(Value::as_str).any(|codec| codec == HVC1 || codec == ANY)
        }
        _ => false,
    };
    let mapped = [HVC1, ANY].iter().any(|codec| {
        let can = answer.get("videoFourCcInfoMap").and_then(|map| map.get(codec)?.as_number());
        // A float becomes the nearest integer there is.
        can.is_some_and(|can| can as u32 & (CAN_DECODE | CAN_FORWARD) != 0)
    });
    listed || mapped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str, value: Value) -> Value {
        Value::Object(vec![("capabilities".into(), Value::Number(31.0)), (name.into(), value)])
    }

    #[test]
    fn a_far_end_says_in_either_way_what_it_takes() {
        let list = |codecs: &[&str]| {
            object("fourCcList", Value::StrictArray(codecs.iter().map(|codec| Value::text(*codec)).collect()))
        };
        let map = |codec: &str, can: f64| {
            object("videoFourCcInfoMap", Value::Object(vec![(codec.into(), Value::Number(can))]))
        };
        for (answer, want) in [
            (list(&["av01", "hvc1"]), true),
            (list(&["*"]), true),
            (list(&["av01", "vp09"]), false),
            (list(&[]), false),
            (map("hvc1", 1.0), true),
            (map("hvc1", 4.0), true),
            (map("*", 7.0), true),
            (map("hvc1", 2.0), false),
            (map("hvc1", f64::NAN), false),
            (map("av01", 7.0), false),
            (object("fourCcList", Value::text("hvc1")), false),
            (Value::Null, false),
        ] {
            assert_eq!(takes_h265(&answer), want, "{answer:?}");
        }
    }
}
