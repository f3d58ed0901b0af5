//! Memory for pictures in I420, used over and over.
//!
//! A picture is a static background with a few small moving things. Each buffer remembers where it was drawn upon,
//! and only those places are wiped before it is used again; the rest of the background is still there.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::base::units::PictureSize;
use crate::media::frame::Plane;

/// Buffers kept for another use. An encoder holds at most four: one in work, two waiting, one just made.
const SPARE_MAX: usize = 6;

/// A colour as luma and the two colour differences.
pub(super) type Colour = [u8; 3];

/// Pixels from the left, from the top, across and down. Drawing is clipped to the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rect {
    pub(super) x: i32,
    pub(super) y: i32,
    pub(super) width: i32,
    pub(super) height: i32,
}

/// One picture that can be drawn upon.
#[derive(Clone)]
pub(super) struct Canvas {
    size: PictureSize,
    /// Y, then U, then V, without padding.
    data: Vec<u8>,
    dirty: Vec<Rect>,
}

/// Makes canvases with the same background.
pub(super) struct Pool {
    background: Canvas,
    spare: Arc<Mutex<Vec<Canvas>>>,
}

/// A picture handed on; its memory comes back when the last slice of it is dropped.
struct Lent {
    canvas: Canvas,
    spare: Arc<Mutex<Vec<Canvas>>>,
}

impl Canvas {
    /// A picture of one colour. Width and height must be even.
    pub(super) fn new(size: PictureSize, colour: Colour) -> Canvas {
        debug_assert!(size.width.is_multiple_of(2) && size.height.is_multiple_of(2));
        let luma = size.width as usize * size.height as usize;
        let mut data = vec![colour[0]; luma];
        data.resize(luma + luma / 4, colour[1]);
        data.resize(luma + luma / 2, colour[2]);
        Canvas { size, data, dirty: Vec::new() }
    }

    pub(super) fn size(&self) -> PictureSize {
        self.size
    }

    /// The luma plane; its stride is the picture's width.
    pub(super) fn luma(&mut self) -> &mut [u8] {
        let luma = self.size.width as usize * self.size.height as usize;
        &mut self.data[..luma]
    }

    /// Fills a rectangle. Colour has half the resolution, so edges of coloured things should be even.
    pub(super) fn fill(&mut self, rect: Rect, colour: Colour) {
        self.rows(rect, |_, planes| {
            for (plane, value) in planes.into_iter().zip(colour) {
                plane.fill(value);
            }
        });
    }

    /// Fills a disc.
    pub(super) fn disc(&mut self, centre: (i32, i32), radius: i32, colour: Colour) {
        for dy in -radius..=radius {
            let half = f64::from(radius * radius - dy * dy).sqrt() as i32;
            self.fill(Rect { x: centre.0 - half, y: centre.1 + dy, width: half * 2, height: 1 }, colour);
        }
    }

    /// Remembers that `rect` must be wiped before the next use. Drawing outside what was marked stays for ever.
    pub(super) fn mark(&mut self, rect: Rect) {
        self.dirty.push(rect);
    }

    /// Wipes what was drawn, with what `background` has there.
    fn wipe(&mut self, background: &Canvas) {
        for rect in std::mem::take(&mut self.dirty) {
            self.rows(rect, |at, planes| {
                for (plane, start) in planes.into_iter().zip(at) {
                    let length = plane.len();
                    plane.copy_from_slice(&background.data[start..start + length]);
                }
            });
        }
    }

    /// Visits each row of `rect` that lies in the picture: its stretch of luma, and on even rows those of colour
    /// (empty on odd ones), with where in the memory they start.
    fn rows(&mut self, rect: Rect, mut visit: impl FnMut([usize; 3], [&mut [u8]; 3])) {
        let (width, height) = (self.size.width as usize, self.size.height as usize);
        let clip = |from: i32, length: i32, bound: usize| {
            let start = (from.max(0) as usize).min(bound);
            start..(from.saturating_add(length).max(0) as usize).clamp(start, bound)
        };
        let (across, down) = (clip(rect.x, rect.width, width), clip(rect.y, rect.height, height));
        let (luma, quarter) = (width * height, width * height / 4);
        let (y_plane, colours) = self.data.split_at_mut(luma);
        let (u_plane, v_plane) = colours.split_at_mut(quarter);
        for row in down {
            let start = row * width + across.start;
            let colour = if row % 2 == 0 {
                let colour_row = row / 2 * (width / 2);
                colour_row + across.start / 2..colour_row + across.end.div_ceil(2)
            } else {
                0..0
            };
            visit(
                [start, luma + colour.start, luma + quarter + colour.start],
                [
                    &mut y_plane[start..start + across.len()],
                    &mut u_plane[colour.clone()],
                    &mut v_plane[colour],
                ],
            );
        }
    }
}

impl Pool {
    /// Canvases that start as `background`.
    pub(super) fn new(background: Canvas) -> Pool {
        Pool { background, spare: Arc::default() }
    }

    /// A canvas that shows the background.
    pub(super) fn take(&self) -> Canvas {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match spare {
            Some(mut canvas) => {
                canvas.wipe(&self.background);
                canvas
            }
            None => self.background.clone(),
        }
    }

    /// Hands a finished picture on, as its three planes.
    pub(super) fn lend(&self, canvas: Canvas) -> heapless::Vec<Plane, 3> {
        let (width, height) = (canvas.size.width as usize, canvas.size.height as usize);
        let (luma, quarter) = (width * height, width * height / 4);
        let all = Bytes::from_owner(Lent { canvas, spare: self.spare.clone() });
        [
            Plane { data: all.slice(..luma), stride: width },
            Plane { data: all.slice(luma..luma + quarter), stride: width / 2 },
            Plane { data: all.slice(luma + quarter..), stride: width / 2 },
        ]
        .into_iter()
        .collect()
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.canvas.data
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let nothing = Canvas { size: self.canvas.size, data: Vec::new(), dirty: Vec::new() };
        let canvas = std::mem::replace(&mut self.canvas, nothing);
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        // Beyond the bound the memory goes back to the system.
        if spare.len() < SPARE_MAX {
            spare.push(canvas);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: PictureSize = PictureSize { width: 64, height: 32 };
    const GREY: Colour = [100, 128, 128];

    #[test]
    fn a_buffer_that_comes_back_shows_the_background_again() {
        let pool = Pool::new(Canvas::new(SIZE, GREY));
        let mut canvas = pool.take();
        let rect = Rect { x: 11, y: 7, width: 13, height: 9 };
        canvas.fill(rect, [200, 90, 30]);
        canvas.mark(rect);
        let address = canvas.data.as_ptr();
        let planes = pool.lend(canvas);
        assert!(
            planes[0].data.contains(&200) && planes[1].data.contains(&90) && planes[2].data.contains(&30)
        );
        drop(planes);
        let again = pool.take();
        assert_eq!(again.data.as_ptr(), address, "the same memory");
        assert_eq!(again.data, Canvas::new(SIZE, GREY).data);
    }

    #[test]
    fn a_picture_still_in_use_is_never_drawn_upon() {
        let pool = Pool::new(Canvas::new(SIZE, GREY));
        let planes = pool.lend(pool.take());
        let kept = planes[1].data.clone();
        drop(planes);
        let mut next = pool.take();
        next.fill(Rect { x: 0, y: 0, width: 64, height: 32 }, [1, 2, 3]);
        assert!(kept.iter().all(|value| *value == 128));
    }

    #[test]
    fn drawing_outside_the_picture_is_clipped() {
        let mut canvas = Canvas::new(SIZE, GREY);
        for (x, y) in [(-5, -5), (60, 30), (-100, 0), (0, 100), (i32::MAX - 4, i32::MAX - 4)] {
            canvas.fill(Rect { x, y, width: 9, height: 9 }, [235, 128, 128]);
        }
        canvas.disc((0, 0), 50, [16, 128, 128]);
        assert_eq!(canvas.data.len(), 64 * 32 * 3 / 2);
    }
}
