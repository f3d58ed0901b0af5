//! Chunks to messages (§5.3), for any number of interleaved chunk streams within bounds.

use bytes::{Buf, Bytes, BytesMut};

/// The chunk size until the far end says otherwise (§5.4.1).
const CHUNK_BYTES_DEFAULT: usize = 128;

/// In a timestamp field: the time follows in 32 bits of its own (§5.3.1.3).
const TIMESTAMP_EXTENDED: u32 = 0x00FF_FFFF;

/// What a far end may make us keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of one message.
    pub message_bytes_max: usize,
    /// Chunk streams, each of which keeps a header.
    pub streams_max: usize,
    /// Bytes of all messages in assembly.
    pub assembly_bytes_max: usize,
}

/// A whole message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its type.
    pub kind: u8,
    /// The message stream: 0 for the connection itself.
    pub stream: u32,
    /// Its time in milliseconds.
    pub millis: u32,
    /// Its content.
    pub payload: Bytes,
}

/// Why bytes are no chunks, or more than is kept. Nothing can be read after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// A message is announced that is longer than the bound.
    #[error("it announced a message of {0} bytes")]
    MessageTooLong(usize),
    /// More chunk streams than the bound.
    #[error("it opened too many chunk streams")]
    TooManyStreams,
    /// More bytes in unfinished messages than the bound.
    #[error("it left too many messages unfinished")]
    TooMuchUnfinished,
    /// A chunk that continues a chunk stream which was never begun.
    #[error("it continued chunk stream {0}, which it never began")]
    NothingBefore(u32),
    /// A message's header inside the message before it, on the same chunk stream.
    #[error("it began a message inside another on chunk stream {0}")]
    Interrupted(u32),
    /// A chunk size outside of 1 to 2^31 - 1.
    #[error("it set a chunk size of {0}")]
    ChunkSize(u32),
}

/// Puts messages together, as their chunks arrive.
#[derive(Debug)]
pub struct ChunkReader {
    bounds: Bounds,
    buffer: BytesMut,
    chunk_bytes_max: usize,
    streams: Vec<ChunkStream>,
}

#[derive(Debug, Clone, Default)]
struct ChunkStream {
    id: u32,
    header: Header,
    /// What has come of the message so far.
    partial: BytesMut,
}

#[derive(Debug, Clone, Copy, Default)]
struct Header {
    millis: u32,
    /// What the next message's time is later by, unless its header says otherwise.
    delta: u32,
    /// The 32-bit field, where the last full or delta field was extended.
    extended: Option<u32>,
    length: usize,
    kind: u8,
    stream: u32,
}

/// What came next on the wire.
enum Chunk {
    /// Not a whole chunk yet.
    NotAllThere,
    /// A part of a message.
    Part,
    /// The last part of this message.
    Last(Message),
}

impl ChunkReader {
    /// Reads what a far end sends from its first chunk on.
    pub fn new(bounds: Bounds) -> ChunkReader {
        ChunkReader {
            bounds,
            buffer: BytesMut::new(),
            chunk_bytes_max: CHUNK_BYTES_DEFAULT,
            streams: Vec::new(),
        }
    }

    /// Takes the next piece from the wire.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Gives out the next whole message, or nothing until more is pushed. A message that changes the chunk size
    /// must be obeyed before the next call.
    ///
    /// # Errors
    /// [`ChunkError`].
    pub fn pull(&mut self) -> Result<Option<Message>, ChunkError> {
        loop {
            match self.pull_chunk()? {
                Chunk::Last(message) => return Ok(Some(message)),
                Chunk::Part => {}
                Chunk::NotAllThere => return Ok(None),
            }
        }
    }

    /// The far end's chunks are this long from here on.
    ///
    /// # Errors
    /// [`ChunkError::ChunkSize`].
    pub fn set_chunk_size(&mut self, bytes: u32) -> Result<(), ChunkError> {
        if bytes == 0 || bytes > 0x7FFF_FFFF {
            return Err(ChunkError::ChunkSize(bytes));
        }
        self.chunk_bytes_max = bytes as usize;
        Ok(())
    }

    /// The far end gives up the message it began on a chunk stream (§5.4.2).
    pub fn abort(&mut self, stream: u32) {
        if let Some(stream) = self.streams.iter_mut().find(|known| known.id == stream) {
            stream.partial = BytesMut::new();
        }
    }

    /// Bytes of unfinished messages and unread chunks that are kept.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.buffer.len() + self.streams.iter().map(|stream| stream.partial.capacity()).sum::<usize>()
    }

    fn pull_chunk(&mut self) -> Result<Chunk, ChunkError> {
        let mut fields = Fields(&self.buffer);
        let Some((format, id)) = fields.basic_header() else { return Ok(Chunk::NotAllThere) };
        let known = self.streams.iter().position(|stream| stream.id == id);
        if known.is_none() && format != 0 {
            return Err(ChunkError::NothingBefore(id));
        }
        if known.is_none() && self.streams.len() >= self.bounds.streams_max {
            return Err(ChunkError::TooManyStreams);
        }
        let before = known.map(|at| &self.streams[at]);
        let collected = before.map_or(0, |stream| stream.partial.len());
        if collected > 0 && format != 3 {
            return Err(ChunkError::Interrupted(id));
        }
        let last = before.map(|stream| stream.header).unwrap_or_default();
        let Some(header) = fields.message_header(format, last, collected > 0) else {
            return Ok(Chunk::NotAllThere);
        };
        if header.length > self.bounds.message_bytes_max {
            return Err(ChunkError::MessageTooLong(header.length));
        }
        let chunk_bytes = (header.length - collected).min(self.chunk_bytes_max);
        if fields.0.len() < chunk_bytes {
            return Ok(Chunk::NotAllThere);
        }
        let header_bytes = self.buffer.len() - fields.0.len();
        self.buffer.advance(header_bytes);
        let chunk = self.buffer.split_to(chunk_bytes);
        let at = known.unwrap_or_else(|| {
            self.streams.push(ChunkStream { id, ..ChunkStream::default() });
            self.streams.len() - 1
        });
        self.streams[at].header = header;
        self.take_payload(at, chunk)
    }

    fn take_payload(&mut self, at: usize, chunk: BytesMut) -> Result<Chunk, ChunkError> {
        let ChunkStream { header, partial, .. } = &mut self.streams[at];
        let Header { millis, length, kind, stream, .. } = *header;
        if partial.is_empty() && chunk.len() == length {
            return Ok(Chunk::Last(Message { kind, stream, millis, payload: chunk.freeze() }));
        }
        // Grows with what came, never by what was announced.
        partial.extend_from_slice(&chunk);
        if partial.len() == length {
            let payload = std::mem::take(partial).freeze();
            return Ok(Chunk::Last(Message { kind, stream, millis, payload }));
        }
        let unfinished: usize = self.streams.iter().map(|stream| stream.partial.len()).sum();
        if unfinished > self.bounds.assembly_bytes_max {
            return Err(ChunkError::TooMuchUnfinished);
        }
        Ok(Chunk::Part)
    }
}

/// Walks over a chunk's header; every method gives nothing while the bytes are not there.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn take_u24(&mut self) -> Option<u32> {
        self.take().map(|[a, b, c]| u32::from_be_bytes([0, a, b, c]))
    }

    /// Format and chunk stream id (§5.3.1.1).
    fn basic_header(&mut self) -> Option<(u8, u32)> {
        let [first] = self.take()?;
        let id = match first & 0x3F {
            0 => 64 + u32::from(self.take::<1>()?[0]),
            1 => 64 + u32::from(u16::from_le_bytes(self.take()?)),
            id => u32::from(id),
        };
        Some((first >> 6, id))
    }

    /// The message header (§5.3.1.2), as far as it stands there; the rest is as in `last`.
    fn message_header(&mut self, format: u8, last: Header, continues: bool) -> Option<Header> {
        let mut header = last;
        if format == 3 {
            if let Some(extended) = last.extended {
                self.skip_repeated(extended, last.millis)?;
            }
            if !continues {
                header.millis = last.millis.wrapping_add(last.delta);
            }
            return Some(header);
        }
        let time = self.take_u24()?;
        if format <= 1 {
            header.length = self.take_u24()? as usize;
            [header.kind] = self.take()?;
        }
        if format == 0 {
            header.stream = u32::from_le_bytes(self.take()?);
        }
        header.extended = None;
        header.delta = time;
        if time == TIMESTAMP_EXTENDED {
            header.delta = u32::from_be_bytes(self.take()?);
            header.extended = Some(header.delta);
        }
        header.millis = if format == 0 { header.delta } else { last.millis.wrapping_add(header.delta) };
        Some(header)
    }

    /// Skips the extended timestamp that a format 3 chunk repeats. Some senders leave it out, some repeat the
    /// absolute time where the field was a delta: what does not look like either belongs to the payload.
    fn skip_repeated(&mut self, extended: u32, millis: u32) -> Option<()> {
        let expected = [extended.to_be_bytes(), millis.to_be_bytes()];
        let seen = &self.0[..self.0.len().min(4)];
        if expected.iter().any(|bytes| bytes.starts_with(seen)) {
            self.take::<4>()?;
        }
        Some(())
    }
}
