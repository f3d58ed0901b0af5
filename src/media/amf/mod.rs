//! AMF0, the notation of RTMP commands and FLV script tags (Adobe, "Action Message Format – AMF 0").
//!
//! ```text
//!   Value --write--> bytes      (metadata, commands)
//!   bytes --read---> Value      (what a far end says: bounded in depth and in number of values)
//! ```
//!
//! Read are all types that servers and encoders send: typed objects come out as objects, XML as text. References
//! and AMF3 are refused. Text that is not UTF-8 (some encoders send GBK) comes out with replacement characters.

mod read;
mod write;

pub use read::{read, read_all, read_readable};
pub use write::{write, write_all};

/// Objects inside objects: real commands and metadata have two levels.
pub const DEPTH_MAX: usize = 16;

/// Values in one script or command, all levels together. With [`DEPTH_MAX`] this bounds what a stranger's
/// message can make us allocate: its own length, and this many [`Value`]s.
pub const VALUES_MAX: usize = 4_096;

/// One AMF0 value. Names inside objects keep their order, and may repeat.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number; all of AMF0's are doubles.
    Number(f64),
    /// A truth value.
    Boolean(bool),
    /// Text, short or long.
    String(String),
    /// An object.
    Object(Vec<(String, Value)>),
    /// Nothing.
    Null,
    /// Not even that.
    Undefined,
    /// An associative array: written as an object with a count.
    EcmaArray(Vec<(String, Value)>),
    /// A plain array.
    StrictArray(Vec<Value>),
    /// A date: milliseconds since the Unix epoch, UTC.
    Date(f64),
}

/// Why bytes are no AMF0, or a value cannot be written as such.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AmfError {
    /// The bytes end inside a value.
    #[error("the AMF data ends inside a value")]
    Truncated,
    /// A type that does not belong here.
    #[error("AMF type {0:#04x} is not supported")]
    Unsupported(u8),
    /// More than [`DEPTH_MAX`] levels.
    #[error("the AMF data is nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
    /// More than [`VALUES_MAX`] values.
    #[error("the AMF data holds more than {VALUES_MAX} values")]
    TooMany,
    /// A name over 65,535 bytes, or text over 4 GiB.
    #[error("a name or text is too long for AMF")]
    TooLong,
}

impl Value {
    /// Text.
    pub fn text(text: impl Into<String>) -> Value {
        Value::String(text.into())
    }

    /// The number, if it is one.
    pub fn as_number(&self) -> Option<f64> {
        if let Value::Number(number) = self { Some(*number) } else { None }
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        if let Value::String(text) = self { Some(text) } else { None }
    }

    /// The property `name` of an object or associative array.
    pub fn get(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Object(properties) | Value::EcmaArray(properties) => {
                properties.iter().find(|(key, _)| key == name).map(|(_, value)| value)
            }
            _ => None,
        }
    }
}

/// Type markers (§2.1).
mod marker {
    pub(super) const NUMBER: u8 = 0x00;
    pub(super) const BOOLEAN: u8 = 0x01;
    pub(super) const STRING: u8 = 0x02;
    pub(super) const OBJECT: u8 = 0x03;
    pub(super) const NULL: u8 = 0x05;
    pub(super) const UNDEFINED: u8 = 0x06;
    pub(super) const ECMA_ARRAY: u8 = 0x08;
    pub(super) const OBJECT_END: u8 = 0x09;
    pub(super) const STRICT_ARRAY: u8 = 0x0A;
    pub(super) const DATE: u8 = 0x0B;
    pub(super) const LONG_STRING: u8 = 0x0C;
    pub(super) const UNSUPPORTED: u8 = 0x0D;
    pub(super) const XML: u8 = 0x0F;
    pub(super) const TYPED_OBJECT: u8 = 0x10;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            (-1e9f64..1e9).prop_map(Value::Number),
            any::<bool>().prop_map(Value::Boolean),
            ".{0,20}".prop_map(Value::String),
            Just(Value::Null),
            Just(Value::Undefined),
            (0f64..1e13).prop_map(Value::Date),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            let named = prop::collection::vec((".{0,8}", inner.clone()), 0..4);
            prop_oneof![
                named.clone().prop_map(Value::Object),
                named.prop_map(Value::EcmaArray),
                prop::collection::vec(inner, 0..4).prop_map(Value::StrictArray),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_the_same(values in prop::collection::vec(any_value(), 0..4)) {
            let bytes = write_all(&values).unwrap();
            prop_assert_eq!(read_all(&bytes).unwrap(), values);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = read_all(&bytes);
        }

        /// Bytes drawn from the type markers reach much deeper into the reader than arbitrary ones.
        #[test]
        fn arbitrary_structure_never_panics(bytes in prop::collection::vec(0u8..18, 0..400)) {
            let _ = read_all(&bytes);
        }

        #[test]
        fn cut_short_is_an_error(value in any_value(), cut in any::<prop::sample::Index>()) {
            prop_assume!(!matches!(value, Value::EcmaArray(_)));
            let bytes = write_all(std::slice::from_ref(&value)).unwrap();
            let cut = cut.index(bytes.len());
            prop_assert!(cut == 0 || read_all(&bytes[..cut]).is_err());
        }
    }

    #[test]
    fn nesting_is_bounded_both_ways() {
        // A strict array of one strict array of one …: five bytes for each level.
        let bomb: Vec<u8> = [0x0A, 0, 0, 0, 1].repeat(100_000);
        assert_eq!(read_all(&bomb), Err(AmfError::TooDeep));
        let deep = (0..=DEPTH_MAX).fold(Value::Null, |inner, _| Value::StrictArray(vec![inner]));
        assert_eq!(write_all(&[deep]), Err(AmfError::TooDeep));
    }

    #[test]
    fn a_claimed_count_allocates_nothing_and_many_values_are_refused() {
        assert_eq!(read_all(&[0x0A, 0xFF, 0xFF, 0xFF, 0xFF]), Err(AmfError::TooMany));
        assert_eq!(read_all(&[0x05; VALUES_MAX + 1]), Err(AmfError::TooMany));
        assert_eq!(read_all(&[0x05; VALUES_MAX]).unwrap().len(), VALUES_MAX);
    }

    #[test]
    fn an_associative_array_without_its_end_is_taken_as_far_as_it_goes() {
        // Some recorders leave the end marker out.
        let bytes = [0x08, 0, 0, 0, 1, 0, 1, b'a', 0x05];
        assert_eq!(read_all(&bytes).unwrap(), [Value::EcmaArray(vec![("a".into(), Value::Null)])]);
    }

    #[test]
    fn long_text_is_written_as_a_long_string() {
        let text = Value::text("x".repeat(70_000));
        let bytes = write_all(std::slice::from_ref(&text)).unwrap();
        assert_eq!(bytes[0], 0x0C);
        assert_eq!(read_all(&bytes).unwrap(), [text]);
        let named = Value::Object(vec![("x".repeat(70_000), Value::Null)]);
        assert_eq!(write_all(&[named]), Err(AmfError::TooLong));
    }
}
