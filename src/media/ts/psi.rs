//! The tables that say what is in the stream: PAT (§2.4.4.3) and PMT (§2.4.4.8).

/// The one programme.
const PROGRAMME: u16 = 1;

const PAT_ID: u8 = 0x00;
const PMT_ID: u8 = 0x02;

/// Stream types (table 2-34).
pub(super) const H264: u8 = 0x1B;
pub(super) const H265: u8 = 0x24;
pub(super) const AAC_ADTS: u8 = 0x0F;

/// The PAT as it stands in a packet, pointer field before it.
pub(super) fn pat(pmt_pid: u16) -> Vec<u8> {
    let [programme, pid] = [PROGRAMME.to_be_bytes(), (0xE000 | pmt_pid).to_be_bytes()];
    section(PAT_ID, 1, 0, &[programme[0], programme[1], pid[0], pid[1]])
}

/// The PMT as it stands in a packet. `streams` are type and PID of each.
pub(super) fn pmt(version: u8, pcr_pid: u16, streams: &[(u8, u16)]) -> Vec<u8> {
    let mut body = Vec::with_capacity(16);
    body.extend_from_slice(&(0xE000 | pcr_pid).to_be_bytes());
    body.extend_from_slice(&[0xF0, 0]); // no descriptors of the programme
    for (kind, pid) in streams {
        body.push(*kind);
        body.extend_from_slice(&(0xE000 | pid).to_be_bytes());
        body.extend_from_slice(&[0xF0, 0]); // none of the stream
    }
    section(PMT_ID, PROGRAMME, version, &body)
}

fn section(table: u8, extension: u16, version: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0, table]; // the pointer field: it begins at once
    // What follows the length: five bytes, the body, and the checksum.
    out.extend_from_slice(&(0xB000 | (body.len() + 9) as u16).to_be_bytes());
    out.extend_from_slice(&extension.to_be_bytes());
    out.extend_from_slice(&[0xC1 | (version & 0x1F) << 1, 0, 0]); // in force now; section 0 of 0
    out.extend_from_slice(body);
    let sum = crc(&out[1..]);
    out.extend_from_slice(&sum.to_be_bytes());
    out
}

/// CRC-32 of annex A: polynomial 0x04C11DB7, all ones at first, most significant bit first.
pub(super) fn crc(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| {
            if crc >> 31 == 1 { crc << 1 ^ 0x04C1_1DB7 } else { crc << 1 }
        })
    })
}
