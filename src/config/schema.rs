//! The configuration as the rooms use it: complete, checked, every default filled in.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::base::secret::Secret;
use crate::base::units::{BitrateBps, ByteSize, FrameRate, PictureSize};

/// Everything that `footlight.toml` and the environment say.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `[box]`
    pub appliance: Appliance,
    /// `[http]`
    pub http: Http,
    /// `[[stream]]`, names unique.
    pub streams: Vec<Stream>,
    /// `[[output]]`, names unique.
    pub outputs: Vec<Output>,
}

/// `[box]`: who this box is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appliance {
    /// The box's name; default: the host name.
    pub name: String,
    /// Where it stands; default: `default`.
    pub site: String,
    /// Where it keeps what must survive; default: `$STATE_DIRECTORY`, else `./footlight-data`.
    pub data_dir: PathBuf,
}

/// `[http]`: the LAN server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// `listen`
    pub listen: SocketAddr,
    /// `max_viewers`: FLV viewers at once, all streams together; 0: no bound.
    pub max_viewers: u32,
    /// `max_viewers_per_address`; 0: no bound.
    pub max_viewers_per_address: u32,
    /// `max_connections`: HTTP connections of any kind at once.
    pub max_connections: u32,
    /// `merge`: how long pictures may be gathered into one write; 0: nothing is held back.
    pub merge: Duration,
    /// `viewer_lag`: a viewer further behind than this jumps to the newest keyframe.
    pub viewer_lag: Duration,
    /// `viewer_stall`: a viewer that takes not one byte for this long is cut.
    pub viewer_stall: Duration,
}

impl Default for Http {
    fn default() -> Http {
        Http {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8080)),
            max_viewers: 500,
            max_viewers_per_address: 50,
            max_connections: 1_000,
            merge: Duration::ZERO,
            viewer_lag: Duration::from_secs(3),
            viewer_stall: Duration::from_secs(30),
        }
    }
}

/// `[[stream]]`: a camera, encoded once.
#[derive(Debug, Clone, PartialEq)]
pub struct Stream {
    /// Its name in URLs: letters, digits, `-`, `_`, at most 64.
    pub name: String,
    /// `video`
    pub video: VideoSource,
    /// `audio`
    pub audio: AudioSource,
    /// `size`; default: the source's, 1280x720 for the pattern, the camera's best up to 1920x1080.
    pub size: Option<PictureSize>,
    /// `fps`; default: the source's, 30 for the pattern.
    pub fps: Option<FrameRate>,
    /// `bitrate` of the video; default: chosen from size and rate.
    pub bitrate: Option<BitrateBps>,
    /// `audio_bitrate`
    pub audio_bitrate: BitrateBps,
    /// `gop`: time between keyframes.
    pub gop: Duration,
    /// `encoder`
    pub encoder: EncoderChoice,
    /// `gop_cache`: the most memory that the newest GOPs of this stream may take for joining viewers.
    pub gop_cache: ByteSize,
}

impl Stream {
    /// A stream of which only the name and the source are given.
    pub fn new(name: impl Into<String>, video: VideoSource) -> Stream {
        Stream {
            name: name.into(),
            video,
            audio: AudioSource::FromVideo,
            size: None,
            fps: None,
            bitrate: None,
            audio_bitrate: BitrateBps(128_000),
            gop: Duration::from_secs(2),
            encoder: EncoderChoice::Auto,
            gop_cache: ByteSize(32 << 20),
        }
    }
}

/// `video = ...`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VideoSource {
    /// `pattern`: a moving test picture with a time code.
    Pattern,
    /// `file:PATH`: a clip, looped in real time. A relative path is taken from the configuration file's folder.
    File(PathBuf),
    /// `v4l2:/dev/videoN`, or `v4l2:` and a camera's name or bus as `footlight devices` prints it.
    V4l2(PathBuf),
}

/// `audio = ...`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AudioSource {
    /// Not set: what the video source brings (the pattern: a tone).
    FromVideo,
    /// `tone`: a beep that beats with the seconds.
    Tone,
    /// `none`
    None,
}

/// `encoder = ...`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EncoderChoice {
    /// `auto`: pass H.264 through where nothing asks for a change; else the first encoder that works, hardware first.
    Auto,
    /// `copy`: pass the source's H.264 through, or refuse.
    Copy,
    /// One of [`ENCODERS`]; x264 takes over if it dies.
    Named(String),
}

/// The names that [`EncoderChoice::Named`] may carry, in the order in which they are tried. Which of them a
/// machine has, only a trial shows; a test of the encode room holds its own list equal to this one.
pub const ENCODERS: [&str; 6] =
    ["h264_v4l2m2m", "h264_vaapi", "h264_nvenc", "h264_qsv", "h264_rkmpp", "libx264"];

/// `[[output]]`: one programme to one cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its name in logs, metrics and pages.
    pub name: String,
    /// The stream it carries.
    pub stream: String,
    /// `primary`
    pub primary: Destination,
}

impl Config {
    /// What runs when nothing is configured: one stream `main` from the pattern camera, to the LAN only.
    pub fn defaults(box_name: &str, data_dir: PathBuf) -> Config {
        Config {
            appliance: Appliance { name: box_name.to_owned(), site: "default".to_owned(), data_dir },
            http: Http::default(),
            streams: vec![Stream::new("main", VideoSource::Pattern)],
            outputs: Vec::new(),
        }
    }
}

/// Where an output pushes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The URL with its key.
    pub url: PushUrl,
}

/// An `rtmp://host[:port]/app[/instance]/key` URL. Prints its scheme and host only: the key stands in the path.
#[derive(Clone, PartialEq, Eq)]
pub struct PushUrl {
    /// Host name or address, as written (an IPv6 address without its brackets).
    pub host: String,
    /// TCP port; 1935 unless written.
    pub port: u16,
    /// The application: the path up to its last `/`.
    pub app: Secret,
    /// The stream key: what follows the last `/`, query included.
    pub key: Secret,
}

impl std::fmt::Display for PushUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bracketed = self.host.contains(':');
        let (open, close) = if bracketed { ("[", "]") } else { ("", "") };
        write!(f, "rtmp://{open}{}{close}", self.host)?;
        if self.port == 1935 { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

impl std::fmt::Debug for PushUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}
