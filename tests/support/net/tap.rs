//! What passed over a line: every TCP connection towards the far end, byte by byte, and what was acknowledged of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A data packet this long carries media: what keeps a silent line alive (metadata, sequence headers) is shorter.
const MEDIA_PACKET_BYTES: usize = 1_000;

/// The handshake, whose packets are as long, and the first commands.
const PREFACE_BYTES: usize = 1 + 2 * 1_536 + 100;

/// All connections of a line, oldest first.
#[derive(Debug, Default)]
pub struct Tap {
    pub flows: Vec<Flow>,
}

/// One TCP connection from the box to the far end.
#[derive(Debug)]
pub struct Flow {
    near_port: u16,
    pub far_port: u16,
    /// When the far end saw it.
    pub opened: Instant,
    /// The sequence number of its first byte.
    first: u32,
    /// What the far end's kernel got, in order.
    pub bytes: Vec<u8>,
    /// When `bytes` grew to so many.
    pub grew: Vec<(Instant, usize)>,
    /// What came too early.
    early: BTreeMap<usize, Vec<u8>>,
    /// Bytes whose acknowledgement came back to the box.
    pub acked: usize,
    /// When the far end got a data packet with new media.
    pub media_at: Vec<Instant>,
    /// A FIN or RST passed, either way.
    pub ended: Option<Instant>,
}

/// What the tap wants to know of an IPv4 packet with TCP in it.
struct Segment<'a> {
    from_port: u16,
    to_port: u16,
    number: u32,
    acknowledged: u32,
    flags: u8,
    data: &'a [u8],
}

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

impl Tap {
    /// When the far end got the first data packet after `since` that carries media.
    pub fn first_media_after(&self, since: Instant) -> Option<Instant> {
        self.flows.iter().flat_map(|flow| flow.media_at.iter().copied()).filter(|at| *at > since).min()
    }

    /// Bytes that the far end's kernel got, over all connections.
    pub fn delivered_bytes(&self) -> usize {
        self.flows.iter().map(|flow| flow.bytes.len()).sum()
    }

    /// A packet is about to reach the far end.
    pub(super) fn delivered(&mut self, now: Instant, packet: &[u8]) {
        let Some(segment) = segment_of(packet) else { return };
        if segment.flags & (SYN | ACK) == SYN {
            self.open(now, &segment);
            return;
        }
        let Some(flow) = self.flow(segment.from_port, segment.to_port) else { return };
        if segment.flags & (FIN | RST) != 0 {
            flow.ended.get_or_insert(now);
        }
        if !segment.data.is_empty() {
            flow.take(now, segment.number, segment.data);
        }
    }

    /// A packet of the far end is about to reach the box.
    pub(super) fn came_back(&mut self, now: Instant, packet: &[u8]) {
        let Some(segment) = segment_of(packet) else { return };
        let Some(flow) = self.flow(segment.to_port, segment.from_port) else { return };
        if segment.flags & ACK != 0 && segment.flags & RST == 0 {
            let acked = segment.acknowledged.wrapping_sub(flow.first) as usize;
            // The FIN counts as a byte, and before the first byte the number is one less.
            if acked <= flow.bytes.len() + 1 {
                flow.acked = flow.acked.max(acked.min(flow.bytes.len()));
            }
        }
        if segment.flags & (FIN | RST) != 0 {
            flow.ended.get_or_insert(now);
        }
    }

    fn open(&mut self, now: Instant, segment: &Segment) {
        let again = self.flow(segment.from_port, segment.to_port).is_some_and(|flow| flow.bytes.is_empty());
        if again {
            return;
        }
        self.flows.push(Flow {
            near_port: segment.from_port,
            far_port: segment.to_port,
            opened: now,
            first: segment.number.wrapping_add(1),
            bytes: Vec::new(),
            grew: Vec::new(),
            early: BTreeMap::new(),
            acked: 0,
            media_at: Vec::new(),
            ended: None,
        });
    }

    fn flow(&mut self, near_port: u16, far_port: u16) -> Option<&mut Flow> {
        self.flows.iter_mut().rev().find(|flow| flow.near_port == near_port && flow.far_port == far_port)
    }
}

impl Flow {
    fn take(&mut self, now: Instant, number: u32, data: &[u8]) {
        let at = number.wrapping_sub(self.first) as usize;
        // Far behind the window: a repeat of what stands long before.
        if at > self.bytes.len() + (64 << 20) {
            return;
        }
        // Not what comes a second time, nor the end of it.
        let is_new = at >= self.bytes.len().max(PREFACE_BYTES) && !self.early.contains_key(&at);
        if is_new && data.len() >= MEDIA_PACKET_BYTES {
            self.media_at.push(now);
        }
        self.early.insert(at, data.to_vec());
        while let Some((at, data)) = self.early.pop_first() {
            if at > self.bytes.len() {
                self.early.insert(at, data);
                break;
            }
            let known = self.bytes.len() - at;
            self.bytes.extend_from_slice(data.get(known..).unwrap_or_default());
        }
        self.grew.push((now, self.bytes.len()));
    }

    /// When the far end's kernel had the first `end` bytes.
    pub fn had(&self, end: usize) -> Option<Instant> {
        let at = self.grew.partition_point(|(_, length)| *length < end);
        self.grew.get(at).map(|(when, _)| *when)
    }

    /// How long it lived.
    pub fn lived(&self) -> Option<Duration> {
        self.ended.map(|ended| ended - self.opened)
    }
}

fn segment_of(packet: &[u8]) -> Option<Segment<'_>> {
    let head = usize::from(packet.first()? & 15) * 4;
    if packet[0] >> 4 != 4 || *packet.get(9)? != 6 {
        return None;
    }
    let length = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
    let tcp = packet.get(head..length)?;
    let word = |at: usize| Some(u32::from_be_bytes(tcp.get(at..at + 4)?.try_into().ok()?));
    let data_at = usize::from(*tcp.get(12)? >> 4) * 4;
    let ports = word(0)?;
    Some(Segment {
        from_port: (ports >> 16) as u16,
        to_port: ports as u16,
        number: word(4)?,
        acknowledged: word(8)?,
        flags: *tcp.get(13)?,
        data: tcp.get(data_at..)?,
    })
}
