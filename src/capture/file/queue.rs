//! What is ready to go out, in the order of its time.
//!
//! Pure. Decoders hand pictures out later than the sound read beside them; here they meet again.

use std::collections::VecDeque;

use crate::base::ticks::Ticks;
use crate::media::frame::Captured;

/// One thing ready to go out.
pub(super) struct Ready {
    /// When it is due, on the clip's line.
    pub(super) at: Ticks,
    /// Samples of sound in it; 0 for pictures and configurations.
    pub(super) samples: u64,
    pub(super) is_picture: bool,
    pub(super) media: Captured,
}

/// Ordered by time; things of the same time keep their order.
#[derive(Default)]
pub(super) struct Queue {
    items: VecDeque<Ready>,
    pictures: usize,
}

impl Queue {
    /// Pictures in it.
    pub(super) fn pictures(&self) -> usize {
        self.pictures
    }

    pub(super) fn push(&mut self, ready: Ready) {
        self.pictures += usize::from(ready.is_picture);
        let place = self.items.iter().rposition(|other| other.at <= ready.at).map_or(0, |last| last + 1);
        self.items.insert(place, ready);
    }

    pub(super) fn pop(&mut self) -> Option<Ready> {
        let ready = self.items.pop_front()?;
        self.pictures -= usize::from(ready.is_picture);
        Some(ready)
    }

    /// Whether a picture is due at or before `at`.
    pub(super) fn has_picture_by(&self, at: Ticks) -> bool {
        self.items.iter().any(|ready| ready.is_picture && ready.at <= at)
    }

    /// Takes out the sound from `end` on, raw sound to the sample, and answers how many samples that was.
    pub(super) fn cut_sound_at(&mut self, end: Ticks) -> u64 {
        let mut cut = 0;
        self.items.retain_mut(|ready| {
            if ready.samples == 0 {
                return true;
            }
            if ready.at >= end {
                cut += ready.samples;
                return false;
            }
            if let Captured::Sound(sound) = &mut ready.media {
                let room = i128::from((end - ready.at).0) * i128::from(sound.sample_rate);
                let room = (room / i128::from(Ticks::PER_SECOND)) as u64;
                if room < ready.samples {
                    cut += ready.samples - room;
                    ready.samples = room;
                    sound.samples.truncate(room as usize * usize::from(sound.channels));
                }
            }
            ready.samples > 0
        });
        cut
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::frame::{Sound, TrackForm};

    fn picture(at: i64) -> Ready {
        let media = Captured::Begin { video: TrackForm::Raw, audio: TrackForm::Raw };
        Ready { at: Ticks(at), samples: 0, is_picture: true, media }
    }

    fn sound(at: i64) -> Ready {
        let sound = Sound { at: Ticks(at), sample_rate: 48_000, channels: 2, samples: vec![0.5; 1_920] };
        Ready { at: Ticks(at), samples: 960, is_picture: false, media: Captured::Sound(sound) }
    }

    #[test]
    fn a_picture_that_was_decoded_late_goes_out_in_its_place() {
        let mut queue = Queue::default();
        for ready in [sound(0), sound(1_800), sound(3_600), picture(3_000), picture(0)] {
            queue.push(ready);
        }
        let order: Vec<(i64, bool)> =
            std::iter::from_fn(|| queue.pop()).map(|ready| (ready.at.0, ready.is_picture)).collect();
        assert_eq!(order, [(0, false), (0, true), (1_800, false), (3_000, true), (3_600, false)]);
        assert_eq!(queue.pictures(), 0);
    }

    #[test]
    fn sound_beyond_the_end_is_cut_to_the_sample_and_pictures_stay() {
        let mut queue = Queue::default();
        for ready in [sound(0), sound(1_800), sound(3_600), picture(5_000)] {
            queue.push(ready);
        }
        assert_eq!(queue.cut_sound_at(Ticks(2_700)), 960 + 480);
        let left: Vec<(i64, u64)> =
            std::iter::from_fn(|| queue.pop()).map(|ready| (ready.at.0, ready.samples)).collect();
        assert_eq!(left, [(0, 960), (1_800, 480), (5_000, 0)]);
    }
}
