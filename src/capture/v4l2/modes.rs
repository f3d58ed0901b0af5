//! Chooses the mode in which a camera is opened.
//!
//! Pure: what the camera offers and what the stream wants go in, one mode comes out. In order of weight: a rate that
//! suffices (a slide show is no video), the wanted size or else a larger one to scale down, the format that costs
//! least, the rate that wastes least.

use crate::base::units::{FrameRate, PictureSize};
use crate::media::packet::VideoCodec;

/// How a camera hands its pictures over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum CameraFormat {
    Yuyv,
    Uyvy,
    Nv12,
    I420,
    Bgr24,
    Mjpeg,
    H264,
    H265,
}

/// One thing that a camera can do.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Mode {
    pub(super) format: CameraFormat,
    /// The format's own name for the driver.
    pub(super) fourcc: u32,
    pub(super) size: PictureSize,
    /// Empty where the driver does not tell.
    pub(super) rates: Vec<FrameRate>,
}

/// What the stream wants.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Wish {
    /// `None`: the camera's best up to 1920x1080.
    pub(super) size: Option<PictureSize>,
    /// `None`: what a video needs.
    pub(super) rate: Option<FrameRate>,
    /// H.264 goes on untouched.
    pub(super) passes_h264: bool,
}

/// What to ask the driver for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Choice {
    pub(super) mode: Mode,
    /// `None` where the driver tells no rates: it keeps its own.
    pub(super) rate: Option<FrameRate>,
}

/// Where the stream names no rate.
const USUAL_RATE: FrameRate = FrameRate::whole(30);
/// This part of the wanted rate suffices: 29.97 for 30, and 25 where the mains have 50 Hz.
const SUFFICES: f64 = 0.8;
/// Below this part a stream stutters, whatever its size.
const STUTTERS: f64 = 0.45;
/// Where the stream names no size.
const USUAL_MAX: PictureSize = PictureSize { width: 1920, height: 1080 };
/// Raw pictures beyond this many bytes a second are rather taken as JPEG: 1080p60 at two bytes a pixel.
const RAW_BYTES_MAX: f64 = 260e6;

impl CameraFormat {
    /// The name that everyone uses.
    pub(super) fn name(self) -> &'static str {
        match self {
            CameraFormat::Yuyv => "YUYV",
            CameraFormat::Uyvy => "UYVY",
            CameraFormat::Nv12 => "NV12",
            CameraFormat::I420 => "YU12",
            CameraFormat::Bgr24 => "BGR24",
            CameraFormat::Mjpeg => "MJPEG",
            CameraFormat::H264 => "H.264",
            CameraFormat::H265 => "H.265",
        }
    }

    /// As what it can be passed or decoded; `None` for raw pictures and JPEG.
    pub(super) fn codec(self) -> Option<VideoCodec> {
        match self {
            CameraFormat::H264 => Some(VideoCodec::H264),
            CameraFormat::H265 => Some(VideoCodec::H265),
            _ => None,
        }
    }

    /// Bits of one pixel; `None` for coded formats.
    pub(super) fn bits_per_pixel(self) -> Option<u32> {
        match self {
            CameraFormat::Nv12 | CameraFormat::I420 => Some(12),
            CameraFormat::Yuyv | CameraFormat::Uyvy => Some(16),
            CameraFormat::Bgr24 => Some(24),
            CameraFormat::Mjpeg | CameraFormat::H264 | CameraFormat::H265 => None,
        }
    }
}

/// Leaves out what `encoder` has no use for: `copies` needs what can be passed; any other takes H.265 only from a
/// camera that has nothing else, since decoding it costs a small box all it has.
pub(super) fn retain_useful(modes: &mut Vec<Mode>, copies: bool) {
    if copies {
        modes.retain(|mode| mode.format.codec().is_some());
    } else if modes.iter().any(|mode| mode.format != CameraFormat::H265) {
        modes.retain(|mode| mode.format != CameraFormat::H265);
    }
}

/// The best of `modes`; `None` only when there is none.
pub(super) fn choose_mode(modes: &[Mode], wish: &Wish) -> Option<Choice> {
    modes
        .iter()
        .map(|mode| Choice { mode: mode.clone(), rate: choose_rate(&mode.rates, wish.rate) })
        .min_by_key(|choice| cost(choice, wish))
}

/// The slowest rate that is not slower than wanted, else the fastest.
fn choose_rate(rates: &[FrameRate], wanted: Option<FrameRate>) -> Option<FrameRate> {
    let wanted = wanted.unwrap_or(USUAL_RATE).per_second();
    let by_rate = |a: &&FrameRate, b: &&FrameRate| a.per_second().total_cmp(&b.per_second());
    // 29.97 is no slower than 30.
    let enough = rates.iter().filter(|rate| rate.per_second() >= wanted * 0.99).min_by(by_rate);
    enough.or_else(|| rates.iter().max_by(by_rate)).copied()
}

/// Compared part by part: the first that differs decides.
type Cost = (u32, u32, u64, u32, u32);

fn cost(choice: &Choice, wish: &Wish) -> Cost {
    let wanted = wish.rate.unwrap_or(USUAL_RATE).per_second();
    // A driver that tells no rates is believed to suffice.
    let rate = choice.rate.map_or(wanted, FrameRate::per_second);
    let rate_class = match rate / wanted {
        part if part >= SUFFICES => 0,
        part if part >= STUTTERS => 1,
        _ => 2,
    };
    let (size_class, size_distance) = size_cost(choice.mode.size, wish.size);
    let off = ((rate - wanted).abs() * 100.0) as u32;
    (rate_class, size_class, size_distance, format_cost(choice, rate, wish), off)
}

/// How far a size is from the wanted one: class first, then pixels.
fn size_cost(size: PictureSize, wanted: Option<PictureSize>) -> (u32, u64) {
    let pixels = |size: PictureSize| u64::from(size.width) * u64::from(size.height);
    let covers =
        |outer: PictureSize, inner: PictureSize| outer.width >= inner.width && outer.height >= inner.height;
    match wanted {
        Some(wanted) if size == wanted => (0, 0),
        Some(wanted) if covers(size, wanted) => (1, pixels(size) - pixels(wanted)),
        Some(wanted) => (2, pixels(wanted).abs_diff(pixels(size))),
        None if covers(USUAL_MAX, size) => (0, pixels(USUAL_MAX) - pixels(size)),
        None => (1, pixels(size)),
    }
}

/// What a format costs, from reading it off the bus to the encoder's door.
fn format_cost(choice: &Choice, rate: f64, wish: &Wish) -> u32 {
    let mode = &choice.mode;
    let pixels = f64::from(mode.size.width) * f64::from(mode.size.height);
    let is_heavy = mode
        .format
        .bits_per_pixel()
        .is_some_and(|bits| pixels * rate * f64::from(bits) / 8.0 > RAW_BYTES_MAX);
    match mode.format {
        CameraFormat::H264 if wish.passes_h264 => 0,
        // What the encoder takes as it is, then what needs repacking, then what needs arithmetic.
        CameraFormat::Nv12 | CameraFormat::I420 if !is_heavy => 1,
        CameraFormat::Yuyv | CameraFormat::Uyvy if !is_heavy => 2,
        CameraFormat::Bgr24 if !is_heavy => 3,
        CameraFormat::Mjpeg => 4,
        CameraFormat::Nv12 | CameraFormat::I420 | CameraFormat::Yuyv | CameraFormat::Uyvy => 5,
        CameraFormat::Bgr24 => 6,
        // Decoding it only to encode it again costs most, and twice the loss.
        CameraFormat::H264 => 7,
        // Where it is passed nothing else is left to choose from but H.264, which more can play.
        CameraFormat::H265 => 8,
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use CameraFormat::{Bgr24, H264, H265, I420, Mjpeg, Nv12, Uyvy, Yuyv};

    fn size(text: &str) -> PictureSize {
        let (width, height) = text.split_once('x').expect("WxH");
        PictureSize { width: width.parse().expect("a number"), height: height.parse().expect("a number") }
    }

    fn modes(table: &[(CameraFormat, &str, &[u32])]) -> Vec<Mode> {
        table
            .iter()
            .map(|(format, text, rates)| Mode {
                format: *format,
                fourcc: 0,
                size: size(text),
                rates: rates.iter().copied().map(FrameRate::whole).collect(),
            })
            .collect()
    }

    /// `WxH@fps`, each part optional, and what comes out of it.
    fn chosen(modes: &[Mode], wish: &str, passes_h264: bool) -> String {
        let (wanted, rate) = wish.split_once('@').unwrap_or((wish, ""));
        let wish = Wish {
            size: (!wanted.is_empty()).then(|| size(wanted)),
            rate: rate.parse().ok().map(FrameRate::whole),
            passes_h264,
        };
        let choice = choose_mode(modes, &wish).expect("a mode");
        let rate = choice.rate.map_or("?".to_owned(), |rate| rate.to_string());
        format!("{} {}@{rate}", choice.mode.format.name(), choice.mode.size)
    }

    /// A Logitech C920, in short: raw is fast only when small, the bus being USB 2.
    fn c920() -> Vec<Mode> {
        modes(&[
            (Yuyv, "640x480", &[30, 24, 20, 15, 10, 5]),
            (Yuyv, "1280x720", &[10, 5]),
            (Yuyv, "1920x1080", &[5]),
            (Yuyv, "2304x1536", &[2]),
            (H264, "640x480", &[30, 15]),
            (H264, "1280x720", &[30, 15]),
            (H264, "1920x1080", &[30, 15]),
            (Mjpeg, "640x480", &[30, 15]),
            (Mjpeg, "1280x720", &[30, 15]),
            (Mjpeg, "1920x1080", &[30, 15]),
        ])
    }

    #[test]
    fn a_webcam_is_read_raw_while_that_is_fast_enough_and_as_jpeg_beyond() {
        for (wish, want) in [
            ("640x480@30", "YUYV 640x480@30"),
            ("640x480@15", "YUYV 640x480@15"),
            ("1280x720@30", "MJPEG 1280x720@30"),
            ("1280x720@10", "YUYV 1280x720@10"),
            ("1920x1080@30", "MJPEG 1920x1080@30"),
            ("1920x1080@25", "MJPEG 1920x1080@30"),
            ("", "MJPEG 1920x1080@30"),
            ("@15", "MJPEG 1920x1080@15"),
            ("800x600@30", "MJPEG 1280x720@30"),
            ("320x180@15", "YUYV 640x480@15"),
            ("3840x2160@30", "MJPEG 1920x1080@30"),
        ] {
            assert_eq!(chosen(&c920(), wish, false), want, "{wish:?}");
        }
    }

    #[test]
    fn a_webcams_own_h264_is_taken_only_where_it_goes_on_untouched() {
        assert_eq!(chosen(&c920(), "", true), "H.264 1920x1080@30");
        assert_eq!(chosen(&c920(), "1280x720@30", true), "H.264 1280x720@30");
        assert_eq!(chosen(&c920(), "1280x720@30", false), "MJPEG 1280x720@30");
        let only = modes(&[(H264, "1280x720", &[30])]);
        assert_eq!(chosen(&only, "1280x720@30", false), "H.264 1280x720@30", "there is nothing else");
    }

    #[test]
    fn an_hdmi_grabber_gives_what_its_bus_can_carry() {
        // An MS2109: USB 2, claims YUYV at 1080p5.
        let cheap = modes(&[
            (Mjpeg, "1920x1080", &[60, 50, 30, 25]),
            (Mjpeg, "1280x720", &[60, 50, 30]),
            (Yuyv, "1920x1080", &[5]),
            (Yuyv, "1280x720", &[10]),
        ]);
        assert_eq!(chosen(&cheap, "1920x1080@30", false), "MJPEG 1920x1080@30");
        assert_eq!(chosen(&cheap, "1920x1080@25", false), "MJPEG 1920x1080@25");
        // A Cam Link 4K: USB 3, raw at full rate.
        let good = modes(&[
            (Yuyv, "1920x1080", &[60]),
            (Nv12, "1920x1080", &[60]),
            (Nv12, "3840x2160", &[30]),
            (Mjpeg, "3840x2160", &[30]),
        ]);
        assert_eq!(chosen(&good, "1920x1080@30", false), "NV12 1920x1080@60");
        assert_eq!(chosen(&good, "3840x2160@30", false), "MJPEG 3840x2160@30", "373 MB/s raw");
        assert_eq!(chosen(&good, "", false), "NV12 1920x1080@60");
    }

    #[test]
    fn a_camera_of_the_box_itself_gives_what_the_encoder_takes_as_it_is() {
        let pi = modes(&[
            (I420, "1280x720", &[]),
            (Yuyv, "1280x720", &[]),
            (Bgr24, "1280x720", &[]),
            (Uyvy, "1280x720", &[]),
            (Mjpeg, "1280x720", &[]),
            (H264, "1280x720", &[]),
        ]);
        assert_eq!(chosen(&pi, "1280x720@30", false), "YU12 1280x720@?");
        assert_eq!(chosen(&pi, "1280x720@30", true), "H.264 1280x720@?");
    }

    #[test]
    fn a_slow_native_size_loses_to_a_fast_smaller_one() {
        let camera = modes(&[(Yuyv, "1920x1080", &[5]), (Yuyv, "1280x720", &[30]), (Yuyv, "640x480", &[30])]);
        assert_eq!(chosen(&camera, "1920x1080@30", false), "YUYV 1280x720@30");
    }

    #[test]
    fn a_camera_of_the_50_hz_world_suffices_for_30() {
        let camera = modes(&[(Uyvy, "1920x1080", &[25]), (Uyvy, "720x576", &[50])]);
        assert_eq!(chosen(&camera, "1920x1080@30", false), "UYVY 1920x1080@25");
    }

    #[test]
    fn h265_is_taken_to_be_copied_or_where_there_is_nothing_else() {
        let camera =
            modes(&[(H265, "3840x2160", &[30]), (H265, "1920x1080", &[30]), (Mjpeg, "1280x720", &[30])]);
        let useful = |mut modes: Vec<Mode>, copies| {
            retain_useful(&mut modes, copies);
            modes
        };
        assert_eq!(chosen(&useful(camera.clone(), false), "", true), "MJPEG 1280x720@30");
        assert_eq!(chosen(&useful(camera.clone(), true), "", true), "H.265 1920x1080@30");
        let both = [camera.clone(), modes(&[(H264, "1920x1080", &[30])])].concat();
        assert_eq!(chosen(&useful(both, true), "", true), "H.264 1920x1080@30", "more can play it");
        assert_eq!(chosen(&useful(camera[..2].to_vec(), false), "", true), "H.265 1920x1080@30");
        assert!(useful(modes(&[(Mjpeg, "1280x720", &[30])]), true).is_empty());
    }

    fn any_mode() -> impl Strategy<Value = Mode> {
        (0usize..8, 1u32..5_000, 1u32..5_000, vec((0u32..300, 1u32..2_000), 0..4)).prop_map(
            |(format, width, height, rates)| Mode {
                format: [Yuyv, Uyvy, Nv12, I420, Bgr24, Mjpeg, H264, H265][format],
                fourcc: 0,
                size: PictureSize { width, height },
                rates: rates.into_iter().map(|(num, den)| FrameRate { num, den }).collect(),
            },
        )
    }

    proptest! {
        #[test]
        fn whatever_a_camera_offers_something_of_it_is_chosen_and_the_order_does_not_matter(
            modes in vec(any_mode(), 1..30), rate in 1u32..120, width in 1u32..4_000, height in 1u32..4_000,
        ) {
            let wish = Wish {
                size: Some(PictureSize { width, height }),
                rate: Some(FrameRate::whole(rate)),
                passes_h264: false,
            };
            let choice = choose_mode(&modes, &wish).expect("there is a mode");
            prop_assert!(modes.contains(&choice.mode));
            let mut turned = modes.clone();
            turned.reverse();
            let other = choose_mode(&turned, &wish).expect("there is a mode");
            prop_assert_eq!(cost(&choice, &wish), cost(&other, &wish));
        }
    }
}
