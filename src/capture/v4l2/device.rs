//! An open camera, before it streams: what it is, what it can do, and the mode it is told to use.

use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::base::units::{FrameRate, PictureSize};

use super::abi::{
    BUF_TYPE_VIDEO_CAPTURE, BUF_TYPE_VIDEO_CAPTURE_MPLANE, CAP_DEVICE_CAPS, CAP_STREAMING, CAP_VIDEO_CAPTURE,
    CAP_VIDEO_CAPTURE_MPLANE, Capability, ENUM_DISCRETE, FIELD_ANY, Format, FormatDescription,
    FrameIntervalEnum, FrameSizeEnum, PARM_TIMEPERFRAME, StreamParameters,
};
use super::layout::{self, Known};
use super::modes::{Choice, Mode, Wish};
use super::sys::Node;

/// Drivers that answer an enumeration for ever are believed this far.
const FORMATS_MAX: u32 = 64;
const SIZES_MAX: u32 = 128;
const RATES_MAX: u32 = 64;
/// Where a camera scales to any size, these are looked at besides the wanted one and its greatest.
const USUAL_SIZES: [(u32, u32); 8] = [
    (3_840, 2_160),
    (2_560, 1_440),
    (1_920, 1_080),
    (1_280, 720),
    (960, 540),
    (640, 480),
    (640, 360),
    (320, 180),
];
/// The same for rates.
const USUAL_RATES: [u32; 8] = [60, 50, 30, 25, 24, 15, 10, 5];

/// Why a camera cannot be used. Each is said in other words, and one of them names who is in the way.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Its node, or what is behind it, is gone.
    Gone,
    /// Someone else uses it.
    Busy,
    /// This user may not open it.
    Denied,
    /// The node is no camera.
    NoCamera,
    /// The bus cannot carry this mode.
    NoBandwidth,
    /// Anything else: what was tried, and the system's word for it.
    Other(&'static str, Errno),
}

/// An open camera.
pub(super) struct Device {
    pub(super) node: Node,
    /// `V4L2_BUF_TYPE_...`
    pub(super) kind: u32,
    pub(super) card: String,
    pub(super) driver: String,
    pub(super) bus: String,
}

/// What the driver made of a choice.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Shape {
    pub(super) known: Known,
    pub(super) size: PictureSize,
    /// Bytes of a row in each memory; 0 where the driver does not tell.
    pub(super) strides: [u32; 3],
    /// The driver's own rate, where it tells.
    pub(super) rate: Option<FrameRate>,
}

impl Trouble {
    pub(super) fn of(doing: &'static str, errno: Errno) -> Trouble {
        match errno {
            Errno::ENOENT | Errno::ENODEV | Errno::ENXIO => Trouble::Gone,
            Errno::EBUSY => Trouble::Busy,
            Errno::EACCES | Errno::EPERM => Trouble::Denied,
            Errno::ENOSPC => Trouble::NoBandwidth,
            other => Trouble::Other(doing, other),
        }
    }

    fn of_io(doing: &'static str, cause: &io::Error) -> Trouble {
        Trouble::of(doing, Errno::from_raw(cause.raw_os_error().unwrap_or(0)))
    }
}

impl Device {
    pub(super) fn open(path: &Path) -> Result<Device, Trouble> {
        let node = Node::open(path).map_err(|cause| Trouble::of_io("opening it", &cause))?;
        let mut capability = Capability::default();
        node.querycap(&mut capability).map_err(|errno| match errno {
            Errno::ENOTTY | Errno::EINVAL => Trouble::NoCamera,
            errno => Trouble::of("asking what it is", errno),
        })?;
        let can = if capability.capabilities & CAP_DEVICE_CAPS == 0 {
            capability.capabilities
        } else {
            capability.device_caps
        };
        let kind = match can {
            _ if can & CAP_STREAMING == 0 => return Err(Trouble::NoCamera),
            _ if can & CAP_VIDEO_CAPTURE != 0 => BUF_TYPE_VIDEO_CAPTURE,
            _ if can & CAP_VIDEO_CAPTURE_MPLANE != 0 => BUF_TYPE_VIDEO_CAPTURE_MPLANE,
            _ => return Err(Trouble::NoCamera),
        };
        let (card, driver) = (text(&capability.card), text(&capability.driver));
        Ok(Device { node, kind, card, driver, bus: text(&capability.bus_info) })
    }

    pub(super) fn is_multi_planar(&self) -> bool {
        self.kind == BUF_TYPE_VIDEO_CAPTURE_MPLANE
    }

    /// Everything the camera can do that the house can use.
    pub(super) fn modes(&self, wish: &Wish) -> Vec<Mode> {
        let mut modes = Vec::new();
        for fourcc in self.fourccs() {
            let Some(known) = layout::known(fourcc) else { continue };
            for size in self.sizes(fourcc, wish.size) {
                let rates = self.rates(fourcc, size, wish.rate);
                modes.push(Mode { format: known.format, fourcc, size, rates });
            }
        }
        modes
    }

    /// The names of all its formats, usable or not.
    pub(super) fn fourccs(&self) -> Vec<u32> {
        (0..FORMATS_MAX)
            .map_while(|index| {
                let mut description = FormatDescription { index, kind: self.kind, ..Default::default() };
                self.node.enum_fmt(&mut description).ok().map(|()| description.pixel_format)
            })
            .collect()
    }

    fn sizes(&self, fourcc: u32, wanted: Option<PictureSize>) -> Vec<PictureSize> {
        let mut sizes = Vec::new();
        for index in 0..SIZES_MAX {
            let mut answer = FrameSizeEnum { index, pixel_format: fourcc, ..Default::default() };
            if self.node.enum_framesizes(&mut answer).is_err() {
                break;
            }
            let words = answer.words;
            if answer.kind != ENUM_DISCRETE {
                sizes.extend(sizes_between(words, wanted));
                break;
            }
            sizes.push(PictureSize { width: words[0], height: words[1] });
        }
        if sizes.is_empty() {
            // A driver that does not tell takes the nearest to what it is asked for.
            sizes.push(wanted.unwrap_or(PictureSize { width: 1_280, height: 720 }));
        }
        sizes.retain(|size| size.width > 0 && size.height > 0);
        sizes
    }

    fn rates(&self, fourcc: u32, size: PictureSize, wanted: Option<FrameRate>) -> Vec<FrameRate> {
        let mut rates = Vec::new();
        for index in 0..RATES_MAX {
            let (width, height) = (size.width, size.height);
            let mut answer =
                FrameIntervalEnum { index, pixel_format: fourcc, width, height, ..Default::default() };
            if self.node.enum_frameintervals(&mut answer).is_err() {
                break;
            }
            if answer.kind != ENUM_DISCRETE {
                rates.extend(rates_between(answer.words, wanted));
                break;
            }
            rates.extend(rate_of(answer.words[0], answer.words[1]));
        }
        rates
    }

    /// Sets a mode, and answers what the driver made of it: drivers may change every part.
    pub(super) fn set(&self, choice: &Choice) -> Result<Shape, Trouble> {
        let mode = &choice.mode;
        let mut format = Format::new(self.kind);
        (format.words[0], format.words[1], format.words[2]) =
            (mode.size.width, mode.size.height, mode.fourcc);
        format.words[3] = FIELD_ANY;
        if self.is_multi_planar() {
            let memories = layout::known(mode.fourcc).map_or(1, |known| known.memories) as u8;
            format.words[45] = u32::from_ne_bytes([memories, 0, 0, 0]);
        }
        self.node.s_fmt(&mut format).map_err(|errno| Trouble::of("setting its format", errno))?;
        let words = format.words;
        let known = layout::known(words[2])
            .ok_or(Trouble::Other("setting its format: the driver insists on another", Errno::EINVAL))?;
        // v4l2_pix_format_mplane holds a length and a stride for each memory from its sixth word on.
        let strides =
            if self.is_multi_planar() { [words[6], words[11], words[16]] } else { [words[4], 0, 0] };
        let size = PictureSize { width: words[0], height: words[1] };
        Ok(Shape { known, size, strides, rate: self.set_rate(choice.rate) })
    }

    /// Asks for a rate. A driver may refuse, and film at its own.
    fn set_rate(&self, wanted: Option<FrameRate>) -> Option<FrameRate> {
        let mut parameters = StreamParameters::new(self.kind);
        let told = self.node.g_parm(&mut parameters).is_ok();
        let can_set = !told || parameters.words[0] & PARM_TIMEPERFRAME != 0;
        if let Some(rate) = wanted.filter(|_| can_set) {
            let mut asked = StreamParameters::new(self.kind);
            (asked.words[2], asked.words[3]) = (rate.den, rate.num);
            match self.node.s_parm(&mut asked) {
                Ok(()) => return rate_of(asked.words[2], asked.words[3]).or(Some(rate)),
                Err(errno) => {
                    tracing::debug!(%errno, %rate, "the driver refuses the rate, filming at its own");
                }
            }
        }
        told.then(|| rate_of(parameters.words[2], parameters.words[3])).flatten()
    }
}

/// The nodes that may be cameras, lowest number first.
pub(super) fn nodes() -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir("/dev") else { return Vec::new() };
    let mut numbered: Vec<(u32, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let number = entry.file_name().to_str()?.strip_prefix("video")?.parse().ok()?;
            Some((number, entry.path()))
        })
        .collect();
    numbered.sort();
    numbered.into_iter().map(|(_, path)| path).collect()
}

/// Sizes worth looking at where all between two, in steps, can be had.
fn sizes_between(words: [u32; 6], wanted: Option<PictureSize>) -> Vec<PictureSize> {
    let [width_min, width_max, width_step, height_min, height_max, height_step] = words;
    let usual = USUAL_SIZES.map(|(width, height)| PictureSize { width, height });
    let greatest = PictureSize { width: width_max, height: height_max };
    let mut sizes: Vec<PictureSize> = Vec::new();
    for size in wanted.into_iter().chain(usual).chain([greatest]) {
        let fits = |value: u32, least: u32, greatest: u32, step: u32| {
            (least..=greatest).contains(&value) && (value - least).is_multiple_of(step.max(1))
        };
        if fits(size.width, width_min, width_max, width_step)
            && fits(size.height, height_min, height_max, height_step)
            && !sizes.contains(&size)
        {
            sizes.push(size);
        }
    }
    sizes
}

/// Rates worth looking at where all between two can be had.
fn rates_between(words: [u32; 6], wanted: Option<FrameRate>) -> Vec<FrameRate> {
    let [shortest_num, shortest_den, longest_num, longest_den, ..] = words;
    let Some(fastest) = rate_of(shortest_num, shortest_den) else { return Vec::new() };
    let slowest = rate_of(longest_num, longest_den).map_or(0.0, FrameRate::per_second);
    let mut rates: Vec<FrameRate> = Vec::new();
    for rate in wanted.into_iter().chain(USUAL_RATES.map(FrameRate::whole)).chain([fastest]) {
        if (slowest..=fastest.per_second()).contains(&rate.per_second()) && !rates.contains(&rate) {
            rates.push(rate);
        }
    }
    rates
}

/// A frame interval as a rate, in lowest terms.
fn rate_of(interval_num: u32, interval_den: u32) -> Option<FrameRate> {
    let (mut a, mut b) = (interval_num, interval_den);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    let rate = FrameRate { num: interval_den / a.max(1), den: interval_num / a.max(1) };
    (rate.num > 0 && rate.den > 0 && rate.per_second() <= 10_000.0).then_some(rate)
}

/// The text in a fixed field, up to its first zero.
fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_camera_that_scales_to_any_size_offers_the_wanted_one_the_usual_ones_and_its_greatest() {
        let wanted = Some(PictureSize { width: 1_024, height: 576 });
        let sizes = sizes_between([32, 2_592, 2, 32, 1_944, 2], wanted);
        let text: Vec<String> = sizes.iter().map(ToString::to_string).collect();
        assert_eq!(
            text.join(" "),
            "1024x576 2560x1440 1920x1080 1280x720 960x540 640x480 640x360 320x180 2592x1944"
        );
        let odd = PictureSize { width: 1_023, height: 576 };
        assert!(!sizes_between([32, 2_592, 2, 32, 1_944, 2], Some(odd)).contains(&odd));
        assert_eq!(sizes_between([0; 6], wanted), [PictureSize { width: 0, height: 0 }]);
    }

    #[test]
    fn rates_between_two_include_the_wanted_one_and_the_fastest() {
        let rates = rates_between([1, 90, 1, 1, 0, 0], Some(FrameRate::whole(48)));
        let text: Vec<String> = rates.iter().map(ToString::to_string).collect();
        assert_eq!(text.join(" "), "48 60 50 30 25 24 15 10 5 90");
        assert_eq!(rates_between([0; 6], None), []);
    }

    #[test]
    fn intervals_are_rates_in_lowest_terms_and_nonsense_is_none() {
        assert_eq!(rate_of(333_333, 10_000_000), Some(FrameRate { num: 10_000_000, den: 333_333 }));
        assert_eq!(rate_of(1_000, 30_000), Some(FrameRate::whole(30)));
        assert_eq!(rate_of(1_001, 30_000), Some(FrameRate { num: 30_000, den: 1_001 }));
        for (num, den) in [(0, 0), (0, 30), (1, 0), (1, u32::MAX)] {
            assert_eq!(rate_of(num, den), None);
        }
    }
}
