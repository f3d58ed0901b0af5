//! Bytes to values.

use super::{AmfError, DEPTH_MAX, VALUES_MAX, Value, marker};

/// Reads the first value, and how many bytes it took.
///
/// # Errors
/// [`AmfError`]: nothing is guessed.
pub fn read(bytes: &[u8]) -> Result<(Value, usize), AmfError> {
    let mut input = Input { rest: bytes, values: 0 };
    let value = input.value(0)?;
    Ok((value, bytes.len() - input.rest.len()))
}

/// Reads values to the end of `bytes`: a whole command, or the body of a script tag.
///
/// # Errors
/// [`AmfError`]; what was read before the error is dropped.
pub fn read_all(bytes: &[u8]) -> Result<Vec<Value>, AmfError> {
    let (values, trouble) = read_readable(bytes);
    trouble.map_or(Ok(values), Err)
}

/// Reads values as far as they can be read, and says what stopped it before the end of `bytes`.
pub fn read_readable(bytes: &[u8]) -> (Vec<Value>, Option<AmfError>) {
    let mut input = Input { rest: bytes, values: 0 };
    let mut values = Vec::new();
    while !input.rest.is_empty() {
        match input.value(0) {
            Ok(value) => values.push(value),
            Err(trouble) => return (values, Some(trouble)),
        }
    }
    (values, None)
}

struct Input<'a> {
    rest: &'a [u8],
    values: usize,
}

impl Input<'_> {
    fn value(&mut self, depth: usize) -> Result<Value, AmfError> {
        if depth >= DEPTH_MAX {
            return Err(AmfError::TooDeep);
        }
        self.values += 1;
        if self.values > VALUES_MAX {
            return Err(AmfError::TooMany);
        }
        let [kind] = self.array()?;
        Ok(match kind {
            marker::NUMBER => Value::Number(f64::from_be_bytes(self.array()?)),
            marker::BOOLEAN => Value::Boolean(self.array::<1>()? != [0]),
            marker::STRING => Value::String(self.short_text()?),
            marker::OBJECT => Value::Object(self.properties(depth, false)?),
            marker::TYPED_OBJECT => {
                self.short_text()?;
                Value::Object(self.properties(depth, false)?)
            }
            marker::NULL => Value::Null,
            marker::UNDEFINED | marker::UNSUPPORTED => Value::Undefined,
            marker::ECMA_ARRAY => {
                // The count is a hint that some writers get wrong: the end marker decides.
                self.array::<4>()?;
                Value::EcmaArray(self.properties(depth, depth == 0)?)
            }
            marker::STRICT_ARRAY => self.strict_array(depth)?,
            marker::DATE => {
                let millis = f64::from_be_bytes(self.array()?);
                self.array::<2>()?;
                Value::Date(millis)
            }
            marker::LONG_STRING | marker::XML => {
                let bytes = u32::from_be_bytes(self.array()?) as usize;
                Value::String(self.text(bytes)?)
            }
            other => return Err(AmfError::Unsupported(other)),
        })
    }

    /// Names and values up to the end marker; with `may_end`, the end of the data will do.
    fn properties(&mut self, depth: usize, may_end: bool) -> Result<Vec<(String, Value)>, AmfError> {
        let mut properties = Vec::new();
        loop {
            if may_end && self.rest.is_empty() {
                return Ok(properties);
            }
            let name = self.short_text()?;
            if name.is_empty() && self.rest.first() == Some(&marker::OBJECT_END) {
                self.rest = &self.rest[1..];
                return Ok(properties);
            }
            properties.push((name, self.value(depth + 1)?));
        }
    }

    fn strict_array(&mut self, depth: usize) -> Result<Value, AmfError> {
        let count = u32::from_be_bytes(self.array()?) as usize;
        if count > VALUES_MAX {
            return Err(AmfError::TooMany);
        }
        // No capacity from the far end's claim: the list grows with what is really there.
        let mut values = Vec::new();
        for _ in 0..count {
            values.push(self.value(depth + 1)?);
        }
        Ok(Value::StrictArray(values))
    }

    fn short_text(&mut self) -> Result<String, AmfError> {
        let bytes = u16::from_be_bytes(self.array()?) as usize;
        self.text(bytes)
    }

    fn text(&mut self, bytes: usize) -> Result<String, AmfError> {
        let (text, rest) = self.rest.split_at_checked(bytes).ok_or(AmfError::Truncated)?;
        self.rest = rest;
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], AmfError> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(AmfError::Truncated)?;
        self.rest = rest;
        Ok(*head)
    }
}
