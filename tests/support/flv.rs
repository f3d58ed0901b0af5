//! Reads FLV by the specification (FLV 10.1, annex E), knowing nothing of the writer under test.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::http::{Request, Response};

/// One tag of a stream.
#[derive(Debug, Clone)]
pub struct Tag {
    /// 8 sound, 9 picture, 18 script.
    pub kind: u8,
    /// Milliseconds, with the extension byte as bits 24 to 31.
    pub millis: u32,
    pub body: Vec<u8>,
}

impl Tag {
    pub fn is_video(&self) -> bool {
        self.kind == 9
    }
    pub fn is_audio(&self) -> bool {
        self.kind == 8
    }
    pub fn is_script(&self) -> bool {
        self.kind == 18
    }
    /// A sequence header: H.264 (`AVCPacketType` 0) or AAC (`AACPacketType` 0).
    pub fn is_header(&self) -> bool {
        (self.is_video() || self.is_audio()) && self.body.get(1) == Some(&0)
    }
    /// A picture that decodes by itself.
    pub fn is_keyframe(&self) -> bool {
        self.is_video() && !self.is_header() && self.body.first().is_some_and(|byte| byte >> 4 == 1)
    }
    /// A coded picture.
    pub fn is_picture(&self) -> bool {
        self.is_video() && self.body.get(1) == Some(&1)
    }
}

/// A viewer of `/live/….flv`: the FLV header is read and checked when it is opened.
pub struct Viewer {
    response: Response,
    /// What the FLV header announces.
    pub announces_video: bool,
    pub announces_audio: bool,
}

impl Viewer {
    /// Opens `path` and reads the FLV header; panics when it is not answered with a stream.
    #[track_caller]
    pub fn open(server: SocketAddr, path: &str) -> Viewer {
        Viewer::try_open(server, path, Duration::from_secs(10))
            .unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// The same, for a test that expects trouble; no read takes longer than `patience`.
    ///
    /// # Errors
    /// When the answer is not 200, or does not begin with an FLV header.
    pub fn try_open(server: SocketAddr, path: &str, patience: Duration) -> io::Result<Viewer> {
        let mut response = Request::new("GET", path).patience(patience).send(server)?;
        if response.status != 200 {
            return Err(invalid(format!("status {}", response.status)));
        }
        let mut header = [0; 13];
        response.read_exact(&mut header)?;
        if &header[..4] != b"FLV\x01" || header[4] & !0b101 != 0 || header[5..] != [0, 0, 0, 9, 0, 0, 0, 0] {
            return Err(invalid(format!("FLV header {header:02x?}")));
        }
        Ok(Viewer { response, announces_video: header[4] & 1 != 0, announces_audio: header[4] & 4 != 0 })
    }

    /// The next tag; waits for it at most as long as the viewer's patience.
    ///
    /// # Errors
    /// When the stream ends, falls silent or breaks the format.
    pub fn next_tag(&mut self) -> io::Result<Tag> {
        read_tag(&mut self.response)
    }

    /// Reads on until `wanted` says yes, and hands back that tag.
    #[track_caller]
    pub fn tag_where(&mut self, what: &str, mut wanted: impl FnMut(&Tag) -> bool) -> Tag {
        loop {
            match self.next_tag() {
                Ok(tag) if wanted(&tag) => return tag,
                Ok(_) => {}
                Err(error) => panic!("the stream broke off before {what}: {error}"),
            }
        }
    }

    /// The next coded picture.
    #[track_caller]
    pub fn picture(&mut self) -> Tag {
        self.tag_where("a picture", Tag::is_picture)
    }

    /// The answer below: its headers and socket.
    pub fn response(&self) -> &Response {
        &self.response
    }
}

/// The tags of a recording; the last one may be cut off in the middle, as a killed server leaves it.
#[track_caller]
pub fn read_file(path: &Path) -> Vec<Tag> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut rest = bytes.get(13..).unwrap_or_default();
    std::iter::from_fn(|| match read_tag(&mut rest) {
        Ok(tag) => Some(tag),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
        Err(error) => panic!("{}: {error}", path.display()),
    })
    .collect()
}

/// Writes tags as a file that players read.
#[track_caller]
pub fn write_file<'a>(path: &Path, tags: impl IntoIterator<Item = &'a Tag>) {
    let mut file = b"FLV\x01\x05\0\0\0\x09\0\0\0\0".to_vec();
    for Tag { kind, millis, body } in tags {
        let [high, time @ ..] = millis.to_be_bytes();
        let length = body.len() as u32;
        file.push(*kind);
        file.extend(&length.to_be_bytes()[1..]);
        file.extend(time);
        file.extend([high, 0, 0, 0]);
        file.extend(body);
        file.extend((length + 11).to_be_bytes());
    }
    std::fs::write(path, file).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

fn read_tag(from: &mut impl Read) -> io::Result<Tag> {
    let mut head = [0; 11];
    from.read_exact(&mut head)?;
    let length = u32::from_be_bytes([0, head[1], head[2], head[3]]);
    let millis = u32::from_be_bytes([head[7], head[4], head[5], head[6]]);
    if !matches!(head[0], 8 | 9 | 18) || head[8..] != [0, 0, 0] {
        return Err(invalid(format!("tag header {head:02x?}")));
    }
    let mut body = vec![0; length as usize];
    from.read_exact(&mut body)?;
    let mut previous = [0; 4];
    from.read_exact(&mut previous)?;
    if u32::from_be_bytes(previous) != length + 11 {
        return Err(invalid(format!("PreviousTagSize {previous:?} after a tag of {length} bytes")));
    }
    Ok(Tag { kind: head[0], millis, body })
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
