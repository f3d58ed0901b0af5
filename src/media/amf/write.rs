//! Values to bytes.

use super::{AmfError, DEPTH_MAX, Value, marker};

/// Appends one value to `out`.
///
/// # Errors
/// [`AmfError::TooDeep`] and [`AmfError::TooLong`]; `out` then holds a part of the value.
pub fn write(out: &mut Vec<u8>, value: &Value) -> Result<(), AmfError> {
    write_value(out, value, 0)
}

/// Writes values one after another, as a command or a script tag has them.
///
/// # Errors
/// As [`write()`].
pub fn write_all(values: &[Value]) -> Result<Vec<u8>, AmfError> {
    let mut out = Vec::with_capacity(256);
    for value in values {
        write(&mut out, value)?;
    }
    Ok(out)
}

fn write_value(out: &mut Vec<u8>, value: &Value, depth: usize) -> Result<(), AmfError> {
    if depth >= DEPTH_MAX {
        return Err(AmfError::TooDeep);
    }
    match value {
        Value::Number(number) => {
            out.push(marker::NUMBER);
            out.extend_from_slice(&number.to_be_bytes());
        }
        Value::Boolean(truth) => out.extend_from_slice(&[marker::BOOLEAN, u8::from(*truth)]),
        Value::String(text) => write_text(out, text)?,
        Value::Object(properties) => {
            out.push(marker::OBJECT);
            write_properties(out, properties, depth)?;
        }
        Value::Null => out.push(marker::NULL),
        Value::Undefined => out.push(marker::UNDEFINED),
        Value::EcmaArray(properties) => {
            out.push(marker::ECMA_ARRAY);
            write_count(out, properties.len())?;
            write_properties(out, properties, depth)?;
        }
        Value::StrictArray(values) => {
            out.push(marker::STRICT_ARRAY);
            write_count(out, values.len())?;
            for value in values {
                write_value(out, value, depth + 1)?;
            }
        }
        Value::Date(millis) => {
            out.push(marker::DATE);
            out.extend_from_slice(&millis.to_be_bytes());
            out.extend_from_slice(&[0, 0]); // The time zone: reserved, zero (§2.13).
        }
    }
    Ok(())
}

fn write_text(out: &mut Vec<u8>, text: &str) -> Result<(), AmfError> {
    if let Ok(short) = u16::try_from(text.len()) {
        out.push(marker::STRING);
        out.extend_from_slice(&short.to_be_bytes());
    } else {
        out.push(marker::LONG_STRING);
        write_count(out, text.len())?;
    }
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

fn write_properties(out: &mut Vec<u8>, properties: &[(String, Value)], depth: usize) -> Result<(), AmfError> {
    for (name, value) in properties {
        let bytes = u16::try_from(name.len()).map_err(|_| AmfError::TooLong)?;
        out.extend_from_slice(&bytes.to_be_bytes());
        out.extend_from_slice(name.as_bytes());
        write_value(out, value, depth + 1)?;
    }
    out.extend_from_slice(&[0, 0, marker::OBJECT_END]);
    Ok(())
}

fn write_count(out: &mut Vec<u8>, count: usize) -> Result<(), AmfError> {
    out.extend_from_slice(&u32::try_from(count).map_err(|_| AmfError::TooLong)?.to_be_bytes());
    Ok(())
}
