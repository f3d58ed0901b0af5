//! What the pattern picture shows.
//!
//! ```text
//!   | machine-readable time code                              |
//!   | colour bars, a ball that bounces through them           |
//!   | a grey ramp                                             |
//!   | STREAM NAME      HH:MM:SS.mmm  #frame      [flash]      |
//!   | a bar that sweeps from left to right, once in 4 s       |
//! ```
//!
//! Everything that moves does so at a constant speed on the wall clock, so that the eye sees every picture that came
//! late, twice or not at all.

use crate::base::units::PictureSize;
use crate::media::timecode;

use super::super::tone::BEAT_MILLIS;
use super::canvas::{Canvas, Colour, Pool, Rect};
use super::font;

/// Bars of 75 % as in Rec. ITU-R BT.471-1: white, yellow, cyan, green, magenta, red, blue, in BT.601 numbers.
const BARS: [Colour; 7] = [
    [180, 128, 128],
    [162, 44, 142],
    [131, 156, 44],
    [112, 72, 58],
    [84, 184, 198],
    [65, 100, 212],
    [35, 212, 114],
];
const BLACK: Colour = [16, 128, 128];
const WHITE: Colour = [235, 128, 128];
const DARK: Colour = [40, 128, 128];
const GREY: Colour = [126, 128, 128];
const ORANGE: Colour = [170, 50, 190];

/// A ball crosses the picture in this time, rises and falls in the other; together they repeat late.
const BALL_ACROSS_MILLIS: u64 = 5_000;
const BALL_DOWN_MILLIS: u64 = 3_000;
const SWEEP_MILLIS: u64 = 4_000;

/// What one picture says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    /// When it is made.
    pub(super) unix_millis: u64,
    /// Which picture of this run it is.
    pub(super) number: u64,
}

/// Where things are in pictures of one size.
pub(super) struct Scene {
    size: PictureSize,
    bars: Rect,
    band: Rect,
    lane: Rect,
    /// Pixels for each dot of the font.
    dot: i32,
    radius: i32,
}

impl Scene {
    /// The scene in pictures of `size`, both sides even.
    pub(super) fn new(size: PictureSize) -> Scene {
        let (width, height) = (size.width as i32, size.height as i32);
        let even = |value: i32| value & !1;
        let top = even(timecode::strip_height(size.height) as i32).min(height);
        let left = height - top;
        let full = |y: i32, height: i32| Rect { x: 0, y, width, height };
        let bars = full(top, even(left * 55 / 100));
        let ramp = even(left / 12);
        let band = full(bars.y + bars.height + ramp, even(left * 22 / 100));
        let lane_top = band.y + band.height;
        // The longest line, a clock of 12 and a number of 9 signs, takes two thirds of the width.
        let dot = (width / (font::ADVANCE as i32 * 34)).clamp(1, (band.height / 12).max(1));
        Scene {
            size,
            bars,
            band,
            lane: full(lane_top, height - lane_top),
            dot,
            radius: even(left / 14).max(2),
        }
    }

    /// What never changes.
    pub(super) fn background(&self, stream: &str) -> Canvas {
        let mut canvas = Canvas::new(self.size, BLACK);
        let width = self.size.width as i32;
        for (number, colour) in BARS.into_iter().enumerate() {
            let edge = |number: i32| (width * number / BARS.len() as i32) & !1;
            let (from, to) = (edge(number as i32), edge(number as i32 + 1));
            canvas.fill(Rect { x: from, width: to - from, ..self.bars }, colour);
        }
        let ramp = self.bars.y + self.bars.height;
        for x in (0..width).step_by(2) {
            let luma = 16 + x * 219 / width.max(1);
            let column = Rect { x, y: ramp, width: 2, height: self.band.y - ramp };
            canvas.fill(column, [luma as u8, 128, 128]);
        }
        canvas.fill(self.band, DARK);
        canvas.fill(self.lane, BLACK);
        let name: String = stream.chars().take(12).collect();
        self.write(&mut canvas, &name, self.dot * 2, WHITE);
        canvas
    }

    /// Draws what moves.
    pub(super) fn draw(&self, canvas: &mut Canvas, moment: Moment) {
        let millis = moment.unix_millis;
        let ball = Rect {
            x: bounce(millis, BALL_ACROSS_MILLIS, self.bars.width - 2 * self.radius) & !1,
            y: (self.bars.y + bounce(millis, BALL_DOWN_MILLIS, self.bars.height - 2 * self.radius)) & !1,
            width: 2 * self.radius + 2,
            height: 2 * self.radius + 2,
        };
        canvas.mark(ball);
        canvas.disc((ball.x + self.radius, ball.y + self.radius), self.radius, ORANGE);

        let sweep_width = (self.size.width as i32 / 40).max(2) & !1;
        let travel = u64::from(self.size.width) * (millis % SWEEP_MILLIS) / SWEEP_MILLIS;
        let sweep = Rect { x: travel as i32 - sweep_width / 2, width: sweep_width, ..self.lane };
        canvas.mark(sweep);
        canvas.fill(sweep, WHITE);

        let clock = format!("{} #{}", clock_text(millis), moment.number);
        let clock_at = self.size.width as i32 / 4 + self.dot * 4;
        let written = self.write(canvas, &clock, clock_at, WHITE);
        canvas.mark(written);

        let side = (self.band.height * 3 / 4) & !1;
        let flash = Rect {
            x: self.size.width as i32 - side - ((self.dot * 4) & !1),
            y: self.band.y + (((self.band.height - side) / 2) & !1),
            width: side,
            height: side,
        };
        canvas.mark(flash);
        canvas.fill(flash, if millis % 1_000 < BEAT_MILLIS { WHITE } else { GREY });

        let size = canvas.size();
        timecode::paint(canvas.luma(), size.width as usize, size, millis);
    }

    /// Writes into the dark band, and says where.
    fn write(&self, canvas: &mut Canvas, text: &str, x: i32, colour: Colour) -> Rect {
        let line = font::HEIGHT as i32 * self.dot;
        let y = self.band.y + (self.band.height - line) / 2;
        for (number, character) in text.chars().enumerate() {
            let left = x + (number * font::ADVANCE) as i32 * self.dot;
            for (row, dots) in font::glyph(character).into_iter().enumerate() {
                for column in (0..font::WIDTH).filter(|column| dots >> (font::WIDTH - 1 - column) & 1 == 1) {
                    let dot = Rect {
                        x: left + column as i32 * self.dot,
                        y: y + row as i32 * self.dot,
                        width: self.dot,
                        height: self.dot,
                    };
                    canvas.fill(dot, colour);
                }
            }
        }
        Rect { x, y, width: (text.chars().count() * font::ADVANCE) as i32 * self.dot, height: line }
    }
}

/// A pool of canvases for `scene`.
pub(super) fn pool(scene: &Scene, stream: &str) -> Pool {
    Pool::new(scene.background(stream))
}

/// There and back again over `room` pixels, one way taking `millis_one_way`.
fn bounce(millis: u64, millis_one_way: u64, room: i32) -> i32 {
    let phase = millis % (2 * millis_one_way);
    let way = phase.min(2 * millis_one_way - phase);
    (u64::from(room.max(0) as u32) * way / millis_one_way) as i32
}

/// `HH:MM:SS.mmm` in UTC: the same on every box and every screen.
fn clock_text(unix_millis: u64) -> String {
    let day = unix_millis % 86_400_000;
    let (seconds, millis) = (day / 1_000, day % 1_000);
    format!("{:02}:{:02}:{:02}.{millis:03}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: u64 = 1_795_262_400_000;

    fn moment(unix_millis: u64) -> Moment {
        Moment { unix_millis, number: 7 }
    }

    #[test]
    fn the_time_code_is_on_every_picture_and_says_when_it_was_made() {
        for (width, height) in [(1280, 720), (1920, 1080), (640, 360), (128, 96)] {
            let size = PictureSize { width, height };
            let scene = Scene::new(size);
            let pool = pool(&scene, "main");
            for step in 0..10 {
                let mut canvas = pool.take();
                let made = NOON + step * 33;
                scene.draw(&mut canvas, moment(made));
                assert_eq!(timecode::read(canvas.luma(), width as usize, size), Some(made), "{size}");
                drop(pool.lend(canvas));
            }
        }
    }

    #[test]
    fn nothing_of_an_old_picture_is_left_in_a_new_one() {
        let size = PictureSize { width: 640, height: 360 };
        let scene = Scene::new(size);
        let used = pool(&scene, "main");
        for step in 0..300 {
            let mut canvas = used.take();
            scene.draw(&mut canvas, moment(NOON + step * 33));
            let mut fresh = scene.background("main");
            scene.draw(&mut fresh, moment(NOON + step * 33));
            let planes = used.lend(canvas);
            let fresh = pool(&scene, "main").lend(fresh);
            assert!(planes == fresh, "picture {step}");
        }
    }

    #[test]
    fn tiny_and_odd_shapes_are_drawn_without_a_panic() {
        for (width, height) in [(2, 2), (16, 16), (64, 1_000), (4_000, 16), (320, 20)] {
            let scene = Scene::new(PictureSize { width, height });
            let mut canvas = scene.background("a-long_name.with#signs\u{e9}");
            for step in 0..20 {
                scene.draw(&mut canvas, moment(NOON + step * 777));
            }
        }
    }

    #[test]
    fn the_clock_reads_as_on_the_wall() {
        assert_eq!(clock_text(NOON + 3_723_004), "13:02:03.004");
        assert_eq!(clock_text(NOON - 1), "11:59:59.999");
    }

    #[test]
    fn the_ball_goes_there_and_back_without_a_jump() {
        let places: Vec<i32> = (0..10_000).map(|millis| bounce(NOON + millis, 5_000, 1_000)).collect();
        assert_eq!((places.iter().min(), places.iter().max()), (Some(&0), Some(&1_000)));
        assert!(places.windows(2).all(|pair| pair[0].abs_diff(pair[1]) <= 1));
    }
}
