//! Reads what a publisher sent, by the specification (RTMP 1.0 §5.3), knowing nothing of the writer under test.

use std::collections::HashMap;

use super::flv::Tag;

/// C0, C1 and C2 (§5.2).
const HANDSHAKE_BYTES: usize = 1 + 1_536 + 1_536;
const CHUNK_BYTES_DEFAULT: usize = 128;
const SET_CHUNK_SIZE: u8 = 1;

/// A message, and where in the byte stream it ends.
#[derive(Debug)]
pub struct Message {
    pub tag: Tag,
    pub end: usize,
}

#[derive(Default, Clone)]
struct ChunkStream {
    millis: u32,
    delta: u32,
    extended: bool,
    length: usize,
    kind: u8,
    body: Vec<u8>,
}

/// The sound, pictures and script data in the first bytes of a connection; what is not whole yet is left out.
pub fn messages(bytes: &[u8]) -> Vec<Message> {
    let mut reader = Reader { bytes, at: HANDSHAKE_BYTES, chunk_bytes: CHUNK_BYTES_DEFAULT };
    let mut streams: HashMap<u32, ChunkStream> = HashMap::new();
    let mut found = Vec::new();
    while let Some((kind, millis, body)) = reader.chunk(&mut streams) {
        match (kind, &body[..]) {
            (_, []) => {}
            (SET_CHUNK_SIZE, [a, b, c, d, ..]) => {
                reader.chunk_bytes = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
            }
            (8 | 9 | 18, _) => found.push(Message { tag: Tag { kind, millis, body }, end: reader.at }),
            _ => {}
        }
    }
    found
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    chunk_bytes: usize,
}

impl Reader<'_> {
    /// The next chunk; with a body where it completes a message. `None` where the bytes end.
    fn chunk(&mut self, streams: &mut HashMap<u32, ChunkStream>) -> Option<(u8, u32, Vec<u8>)> {
        let basic = self.number(1)?;
        let id = match basic & 63 {
            0 => 64 + self.number(1)?,
            1 => 64 + self.number(1)? + (self.number(1)? << 8),
            id => id,
        };
        let stream = streams.entry(id).or_default();
        let format = basic >> 6;
        let starts = stream.body.is_empty();
        if format < 3 {
            stream.delta = self.number(3)?;
            stream.extended = stream.delta == 0x00ff_ffff;
        }
        if format < 2 {
            stream.length = self.number(3)? as usize;
            stream.kind = self.number(1)? as u8;
        }
        if format == 0 {
            self.number(4)?;
        }
        if stream.extended {
            let time = self.number(4)?;
            if starts {
                stream.delta = time;
            }
        }
        if starts {
            stream.millis = if format == 0 { stream.delta } else { stream.millis.wrapping_add(stream.delta) };
        }
        let bytes = (stream.length - stream.body.len()).min(self.chunk_bytes);
        let part = self.bytes.get(self.at..self.at + bytes)?;
        self.at += bytes;
        stream.body.extend_from_slice(part);
        let body = if stream.body.len() == stream.length { std::mem::take(&mut stream.body) } else { vec![] };
        Some((stream.kind, stream.millis, body))
    }

    fn number(&mut self, bytes: usize) -> Option<u32> {
        let part = self.bytes.get(self.at..self.at + bytes)?;
        self.at += bytes;
        Some(part.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }
}
