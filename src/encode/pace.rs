//! When a picture is let through, when it must be a keyframe, and how many bits a second it may cost.
//!
//! Pure: capture times go in, decisions come out.

use std::time::Duration;

use crate::base::ticks::Ticks;
use crate::base::units::{BitrateBps, FrameRate, PictureSize};

/// Rates that cameras and clips really have; a measured one is taken for its neighbour.
const COMMON_RATES: [FrameRate; 13] = [
    FrameRate::whole(5),
    FrameRate { num: 15, den: 2 },
    FrameRate::whole(10),
    FrameRate::whole(12),
    FrameRate::whole(15),
    FrameRate::whole(20),
    FrameRate { num: 24_000, den: 1_001 },
    FrameRate::whole(24),
    FrameRate::whole(25),
    FrameRate { num: 30_000, den: 1_001 },
    FrameRate::whole(30),
    FrameRate::whole(50),
    FrameRate::whole(60),
];

/// The common rate nearest to one picture each `interval`; 30 where the interval says nothing.
///
/// Between neighbours of a thousandth (29.97 and 30) the whole one wins: one interval cannot tell them apart.
pub(super) fn common_rate(interval: Ticks) -> FrameRate {
    if interval.0 <= Ticks::PER_SECOND / 200 || interval.0 > Ticks::PER_SECOND {
        return FrameRate::whole(30);
    }
    let measured = Ticks::PER_SECOND as f64 / interval.0 as f64;
    let far = |rate: &FrameRate| {
        let ratio = (rate.per_second() / measured).ln().abs();
        if rate.den == 1_001 { ratio + 0.002 } else { ratio }
    };
    COMMON_RATES.into_iter().min_by(|a, b| far(a).total_cmp(&far(b))).unwrap_or(FrameRate::whole(30))
}

/// The bitrate for streams that do not name one.
///
/// 4 Mbit/s at 1080p30, growing with the 0.58th power of the pixels a second, since larger pictures are more
/// alike inside:
///
/// | picture | 15 fps | 30 fps | 60 fps |
/// |---|---|---|---|
/// | 640x360 | 0.75 | 1.1 | 1.65 |
/// | 854x480 | 1.05 | 1.55 | 2.35 |
/// | 1280x720 | 1.65 | 2.5 | 3.75 |
/// | 1920x1080 | 2.7 | 4.0 | 6.0 |
/// | 2560x1440 | 3.75 | 5.6 | 8.35 |
/// | 3840x2160 | 6.0 | 8.95 | 13.35 |
pub(super) fn default_bitrate(size: PictureSize, fps: FrameRate) -> BitrateBps {
    let pixels = f64::from(size.width) * f64::from(size.height) * fps.per_second();
    let share = pixels / (1920.0 * 1080.0 * 30.0);
    let steps = (4_000_000.0 * share.powf(0.58) / 50_000.0).round();
    BitrateBps((steps as u64 * 50_000).clamp(200_000, 40_000_000))
}

/// Keyframes that are asked for come no closer than this: they are several times as large as other pictures.
const KEYFRAME_DISTANCE: Ticks = Ticks::from_millis(250);

/// What becomes of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// It goes on.
    Pass,
    /// The source is faster than what is wanted.
    Thinned,
    /// It is no later than the picture before it.
    Late,
}

/// Lets pictures through at no more than a wanted rate, and knows the source's own.
///
/// A source at about the wanted rate passes whole, however its pictures jitter; a faster one is thinned out
/// evenly.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    wanted: Option<f64>,
    last: Option<Ticks>,
    /// Smoothed time between pictures, in ticks.
    interval: Option<f64>,
    thinning: bool,
    /// Pictures that may pass now, in pictures.
    credit: f64,
}

impl Pace {
    /// `wanted`: `None` lets everything through.
    pub(super) fn new(wanted: Option<FrameRate>) -> Pace {
        Pace {
            wanted: wanted.map(FrameRate::per_second),
            last: None,
            interval: None,
            thinning: false,
            credit: 1.0,
        }
    }

    /// Whether the picture captured at `at` goes on.
    pub(super) fn admit(&mut self, at: Ticks) -> Admission {
        let Some(last) = self.last else {
            self.last = Some(at);
            return Admission::Pass;
        };
        let step = (at - last).0;
        if step <= 0 {
            return Admission::Late;
        }
        self.last = Some(at);
        if step > Ticks::PER_SECOND {
            // A hole, not a rate.
            self.credit = 0.0;
            return Admission::Pass;
        }
        let step = step as f64;
        let smoothed = self.interval.map_or(step, |old| old + (step - old) / 16.0);
        self.interval = Some(smoothed);
        let Some(wanted) = self.wanted else { return Admission::Pass };
        let source = Ticks::PER_SECOND as f64 / smoothed;
        // Between the two limits the decision stands, or a source on the edge would flicker between both.
        self.thinning = source > wanted * if self.thinning { 1.05 } else { 1.1 };
        self.credit = (self.credit + step * wanted / Ticks::PER_SECOND as f64).min(1.5);
        // The millionth forgives the rounding of sums that should be whole.
        let pass = !self.thinning || self.credit >= 1.0 - 1e-6;
        if !pass {
            return Admission::Thinned;
        }
        self.credit = (self.credit - 1.0).max(0.0);
        Admission::Pass
    }

    /// Pictures a second that come in now, smoothed over some sixteen.
    pub(super) fn source_rate(&self) -> Option<f64> {
        self.interval.map(|interval| Ticks::PER_SECOND as f64 / interval)
    }

    /// Pictures a second that are let through now.
    pub(super) fn rate(&self) -> Option<f64> {
        let source = self.source_rate()?;
        Some(match self.wanted {
            Some(wanted) if self.thinning => wanted.min(source),
            _ => source,
        })
    }
}

/// Says which pictures must be keyframes: by time, so that a camera that slows down in the dark keeps its GOP.
#[derive(Debug, Clone)]
pub(super) struct Gop {
    length: Ticks,
    /// Half a picture: the nearest picture to the due time is meant, not the first one after it.
    tolerance: Ticks,
    last: Option<Ticks>,
    wanted: bool,
}

impl Gop {
    pub(super) fn new(length: Duration, fps: FrameRate) -> Gop {
        let mut gop = Gop { length: Ticks::from(length), tolerance: Ticks::ZERO, last: None, wanted: false };
        gop.set_rate(fps);
        gop
    }

    /// The source's rate turned out to be another.
    pub(super) fn set_rate(&mut self, fps: FrameRate) {
        self.tolerance = Ticks((Ticks::PER_SECOND as f64 / fps.per_second() / 2.0) as i64);
    }

    /// Somebody asks for a keyframe: the next picture becomes one, save that keyframes keep their distance, so
    /// that many who ask cost no more than one.
    pub(super) fn request(&mut self) {
        self.wanted = true;
    }

    /// Whether the picture captured at `at` is due to be a keyframe.
    pub(super) fn due(&self, at: Ticks) -> bool {
        self.last.is_none_or(|last| {
            at - last >= self.length - self.tolerance || (self.wanted && at - last >= KEYFRAME_DISTANCE)
        })
    }

    /// A keyframe was made of the picture captured at `at`.
    pub(super) fn keyframe(&mut self, at: Ticks) {
        self.last = Some(at);
        self.wanted = false;
    }

    /// The next picture is due whatever its time.
    pub(super) fn reset(&mut self) {
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn admitted(pace: &mut Pace, times: impl Iterator<Item = i64>) -> Vec<i64> {
        times.filter(|at| pace.admit(Ticks(*at)) == Admission::Pass).collect()
    }

    #[test]
    fn the_table_of_default_bitrates_holds() {
        for (width, height, fps, want) in [
            (640, 360, 15, 750),
            (640, 360, 30, 1_100),
            (854, 480, 30, 1_550),
            (1280, 720, 30, 2_500),
            (1920, 1080, 30, 4_000),
            (1920, 1080, 60, 6_000),
            (3840, 2160, 30, 8_950),
            (16, 16, 5, 200),
        ] {
            let got = default_bitrate(PictureSize { width, height }, FrameRate::whole(fps));
            assert_eq!(got, BitrateBps(want * 1_000), "{width}x{height} at {fps}");
        }
    }

    #[test]
    fn a_sixty_hertz_source_is_halved_evenly() {
        let mut pace = Pace::new(Some(FrameRate::whole(30)));
        let passed = admitted(&mut pace, (0..600).map(|n| n * 1_500));
        let steps: Vec<i64> = passed.windows(2).skip(4).map(|pair| pair[1] - pair[0]).collect();
        assert!(steps.iter().all(|step| *step == 3_000), "{steps:?}");
    }

    #[test]
    fn a_fifty_hertz_source_gives_thirty_on_average() {
        let mut pace = Pace::new(Some(FrameRate::whole(30)));
        let passed = admitted(&mut pace, (0..5_000).map(|n| n * 1_800)).len();
        assert!((2_990..=3_010).contains(&passed), "{passed}");
    }

    #[test]
    fn a_source_at_the_wanted_rate_loses_nothing_to_jitter_or_a_fast_clock() {
        let mut pace = Pace::new(Some(FrameRate::whole(30)));
        // 30.3 fps, each picture up to 14 ms early or late.
        let times = (0..10_000).map(|n: i64| n * 2_970 + [0, 1_260, -1_260, 600, -900][n as usize % 5]);
        assert_eq!(admitted(&mut pace, times).len(), 10_000);
    }

    #[test]
    fn keyframes_come_by_time_also_when_the_camera_slows_down() {
        let mut gop = Gop::new(Duration::from_secs(2), FrameRate::whole(30));
        let mut keys = Vec::new();
        for n in 0..300i64 {
            // 30 fps for five seconds, then 10 fps.
            let at = if n < 150 { n * 3_000 } else { 450_000 + (n - 150) * 9_000 };
            if gop.due(Ticks(at)) {
                gop.keyframe(Ticks(at));
                keys.push(at);
            }
        }
        assert!(keys.windows(2).all(|pair| pair[1] - pair[0] == 180_000), "{keys:?}");
    }

    #[test]
    fn a_keyframe_that_is_asked_for_comes_at_once_and_many_that_are_asked_for_keep_their_distance() {
        let mut gop = Gop::new(Duration::from_secs(2), FrameRate::whole(30));
        let mut keys = Vec::new();
        for n in 0..60i64 {
            // One asks at picture 10; from picture 20 on somebody asks all the time.
            if n == 10 || n >= 20 {
                gop.request();
            }
            if gop.due(Ticks(n * 3_000)) {
                gop.keyframe(Ticks(n * 3_000));
                keys.push(n);
            }
        }
        assert_eq!(keys, [0, 10, 20, 28, 36, 44, 52]);
    }

    #[test]
    fn one_interval_tells_the_rate() {
        for (interval, want) in [
            (3_000, FrameRate::whole(30)),
            (3_003, FrameRate::whole(30)),
            (3_600, FrameRate::whole(25)),
            (1_500, FrameRate::whole(60)),
            (6_100, FrameRate::whole(15)),
            (0, FrameRate::whole(30)),
            (900_000, FrameRate::whole(30)),
        ] {
            assert_eq!(common_rate(Ticks(interval)), want, "{interval}");
        }
    }

    proptest! {
        #[test]
        fn times_only_ever_grow_behind_the_pace(times in prop::collection::vec(any::<i32>(), 0..200)) {
            let mut pace = Pace::new(Some(FrameRate::whole(25)));
            let passed = admitted(&mut pace, times.into_iter().map(i64::from));
            prop_assert!(passed.windows(2).all(|pair| pair[1] > pair[0]));
        }
    }
}
