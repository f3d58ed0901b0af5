//! Supplemental information: our own marks inside the picture, and the escaping that all units share.

use crate::media::packet::VideoCodec;

/// `user_data_unregistered` (H.264 §D.1.7, H.265 §D.2.7).
const USER_DATA_UNREGISTERED: u8 = 5;

/// A complete SEI unit, without start code or length, that carries `data` under `uuid`. Put before the picture's
/// slices, it survives remuxing and most clouds.
pub fn sei_unregistered(codec: VideoCodec, uuid: &[u8; 16], data: &[u8]) -> Vec<u8> {
    let mut unit = match codec {
        VideoCodec::H264 => vec![6],
        // Prefix SEI, layer 0, temporal id 0.
        VideoCodec::H265 => vec![39 << 1, 1],
    };
    let mut message = vec![USER_DATA_UNREGISTERED];
    let mut size = uuid.len() + data.len();
    while size >= 255 {
        message.push(255);
        size -= 255;
    }
    message.push(size as u8);
    message.extend_from_slice(uuid);
    message.extend_from_slice(data);
    message.push(0x80); // The stop bit, and alignment.
    escape_into(&message, &mut unit);
    unit
}

/// Takes the emulation prevention bytes (`00 00 03`) out of a unit's payload.
pub fn unescape(payload: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(payload.len());
    let mut zeros = 0;
    for &byte in payload {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        plain.push(byte);
    }
    plain
}

/// Puts emulation prevention bytes in, so that no start code appears inside the unit.
fn escape_into(plain: &[u8], unit: &mut Vec<u8>) {
    let mut zeros = 0;
    for &byte in plain {
        if zeros >= 2 && byte <= 3 {
            unit.push(3);
            zeros = 0;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        unit.push(byte);
    }
}
