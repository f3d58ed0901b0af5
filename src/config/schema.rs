//! The configuration as the rooms use it: complete, checked, every default filled in.

mod orders;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::base::secret::Secret;
use crate::base::units::{BitrateBps, ByteSize, FrameRate, PictureSize};

pub use orders::{HttpsUrl, Orders, ShopCloud};

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
    /// `[orders]`
    pub orders: Orders,
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
    /// `trust_local`: whether programs on the box itself need no token.
    pub trust_local: bool,
}

impl Default for Http {
    fn default() -> Http {
        Http {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8080)),
            max_viewers: 500,
            max_viewers_per_address: 50,
            max_connections: 10_000,
            merge: Duration::ZERO,
            viewer_lag: Duration::from_secs(3),
            viewer_stall: Duration::from_secs(30),
            trust_local: true,
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
    /// `copy`: pass the source's H.264 or H.265 through, or refuse.
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
    /// `mode`: what the standbys do while the primary carries the stream.
    pub mode: OutputMode,
    /// `primary`: the destination that carries the stream while it is well.
    pub primary: Destination,
    /// `standby`: who takes over, the first that can; at most [`STANDBYS_MAX`].
    pub standby: Vec<Destination>,
    /// `failback`: how long the primary must be well before the stream goes back to it.
    pub failback: Duration,
    /// `adaptive`: whether the encoder's bitrate follows what the line carries.
    pub adaptive: bool,
    /// `bitrate_min`: what the encoder is never taken below for this output's sake; default: an eighth of the
    /// stream's bitrate, at least 250 kbit/s.
    pub bitrate_min: Option<BitrateBps>,
    /// `bitrate_max`: what this output's line is never given more than; default: the stream's bitrate.
    pub bitrate_max: Option<BitrateBps>,
}

/// The most standbys of one output. Each holds a connection; with the primary they are eight lines, which is
/// more than a box has ways out.
pub const STANDBYS_MAX: usize = 7;

/// `mode = ...`: what standbys do while another line carries the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutputMode {
    /// `mirror`: every destination receives everything, for clouds that take a primary and a backup.
    Mirror,
    /// `warm`: standbys are connected and published, and get next to nothing until they are needed.
    #[default]
    Warm,
    /// `cold`: a standby is dialled when it is needed.
    Cold,
}

impl Config {
    /// What runs when nothing is configured: one stream `main` from the pattern camera, to the LAN only.
    pub fn defaults(box_name: &str, data_dir: PathBuf) -> Config {
        Config {
            appliance: Appliance { name: box_name.to_owned(), site: "default".to_owned(), data_dir },
            http: Http::default(),
            streams: vec![Stream::new("main", VideoSource::Pattern)],
            outputs: Vec::new(),
            orders: Orders::default(),
        }
    }
}

impl Output {
    /// An output of which only the name, the stream and the primary are given.
    pub fn new(name: impl Into<String>, stream: impl Into<String>, primary: Destination) -> Output {
        Output {
            name: name.into(),
            stream: stream.into(),
            mode: OutputMode::default(),
            primary,
            standby: Vec::new(),
            failback: Duration::from_secs(10),
            adaptive: true,
            bitrate_min: None,
            bitrate_max: None,
        }
    }
}

/// Where an output pushes to, and by which way it leaves the box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The URL with its key.
    pub url: PushUrl,
    /// `interface`: the network interface to go out by, 1 to 15 bytes; default: what the routes say.
    pub interface: Option<String>,
    /// `source_address`: this box's address to go out from; default: what the routes say.
    pub source_address: Option<IpAddr>,
    /// `ca_file`, rtmps only: PEM with a CA or the server's own certificate, which then stands for the
    /// system's roots.
    pub ca_file: Option<PathBuf>,
    /// `certificate_sha256`, rtmps only: the SHA-256 of the server's certificate (DER). Nothing else is then
    /// asked of it: neither a name, nor a date, nor who signed it.
    pub certificate_sha256: Option<[u8; 32]>,
    /// `latency`, srt only: how long a lost packet may be asked for again; default: chosen by the uplink.
    pub latency: Option<Duration>,
    /// `passphrase`, srt only, 10 to 79 bytes: encrypts the stream with AES.
    pub passphrase: Option<Secret>,
}

impl OutputMode {
    /// Every mode.
    pub const ALL: [OutputMode; 3] = [OutputMode::Mirror, OutputMode::Warm, OutputMode::Cold];
}

impl fmt::Display for OutputMode {
    /// As it is written in the configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OutputMode::Mirror => "mirror",
            OutputMode::Warm => "warm",
            OutputMode::Cold => "cold",
        })
    }
}

impl Destination {
    /// A destination of which only the URL is given.
    pub fn new(url: PushUrl) -> Destination {
        Destination {
            url,
            interface: None,
            source_address: None,
            ca_file: None,
            certificate_sha256: None,
            latency: None,
            passphrase: None,
        }
    }
}

/// What a destination speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `rtmp`: RTMP over TCP.
    Rtmp,
    /// `rtmps`: RTMP over TLS over TCP.
    Rtmps,
    /// `srt`: MPEG-TS over SRT over UDP.
    Srt,
}

impl Scheme {
    /// The port of a URL that writes none; SRT has none.
    pub fn default_port(self) -> Option<u16> {
        match self {
            Scheme::Rtmp => Some(1935),
            Scheme::Rtmps => Some(443),
            Scheme::Srt => None,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scheme::Rtmp => "rtmp",
            Scheme::Rtmps => "rtmps",
            Scheme::Srt => "srt",
        })
    }
}

/// `rtmp://[user:password@]host[:port]/app[/instance]/key`, `rtmps://...` alike, or
/// `srt://host:port[?streamid=...]`. Prints its scheme, host and port only: the key stands in the rest.
#[derive(Clone, PartialEq, Eq)]
pub struct PushUrl {
    /// What is spoken.
    pub scheme: Scheme,
    /// Host name or address, as written (an IPv6 address without its brackets).
    pub host: String,
    /// TCP port (RTMP: 1935 unless written, RTMPS: 443), or UDP port (SRT: always written).
    pub port: u16,
    /// `user:password@`, RTMP and RTMPS only.
    pub login: Option<Login>,
    /// What follows the port.
    pub path: PushPath,
}

/// `user:password@` of a URL, percent-decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// Before the colon.
    pub user: Secret,
    /// After it.
    pub password: Secret,
}

/// What follows host and port of a URL: whoever knows it can publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PushPath {
    /// Of `rtmp` and `rtmps`.
    Rtmp {
        /// The application: the path up to its last `/`.
        app: Secret,
        /// The stream key: what follows the last `/`, query included.
        key: Secret,
    },
    /// Of `srt`.
    Srt {
        /// `streamid`, percent-decoded.
        stream_id: Option<Secret>,
    },
}

impl PushUrl {
    /// A plain `rtmp://host:port/app/key`.
    pub fn rtmp(
        host: impl Into<String>,
        port: u16,
        app: impl Into<String>,
        key: impl Into<String>,
    ) -> PushUrl {
        PushUrl {
            scheme: Scheme::Rtmp,
            host: host.into(),
            port,
            login: None,
            path: PushPath::Rtmp { app: Secret::new(app), key: Secret::new(key) },
        }
    }

    /// The host, if it is an address and no name.
    pub fn host_address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl fmt::Display for PushUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bracketed = self.host.contains(':');
        let (open, close) = if bracketed { ("[", "]") } else { ("", "") };
        write!(f, "{}://{open}{}{close}", self.scheme, self.host)?;
        if self.scheme.default_port() == Some(self.port) { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

impl fmt::Debug for PushUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
