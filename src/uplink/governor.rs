//! Lets outputs have their say about the bitrate of the encoder that feeds them.
//!
//! The shell of [`super::bitrate`]: one core for each stream whose encoder can be told, shared by its outputs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::base::clock;
use crate::base::units::BitrateBps;
use crate::config::schema::Output;
use crate::media::packet::Layout;

use super::bitrate::{Action, Bitrate, Bounds, Event, OUTPUTS_MAX, OutputId, Settings};
use super::lines::Reading;

/// Tells the encoder of a stream another bitrate, pictures alone. Never blocks.
pub(super) type SetBitrate = dyn Fn(&str, BitrateBps) + Send + Sync;

/// A picture of a thousand bits a second is none: where nothing else is said, a line is thinned below this.
const FLOOR_MIN: BitrateBps = BitrateBps(250_000);

/// The least part of a stream's bitrate that its encoder is taken down to, where nothing else is said.
const FLOOR_SHARE: u64 = 8;

/// Message headers and acknowledgements: 77 tags a second, some 24 bytes each.
const FRAMING_BPS: u64 = 15_000;

/// What sound has where the stream does not tell.
const SOUND_BPS: u64 = 128_000;

#[derive(Default)]
struct Stream {
    /// What the configuration says, or else what the encoder announced when it began.
    wanted: Option<BitrateBps>,
    /// What the encoder has, as far as it is known.
    told: Option<BitrateBps>,
    core: Option<Bitrate>,
    /// The outputs that have a say, by their place.
    voices: [Option<Wish>; OUTPUTS_MAX],
    /// Those among them whose line cannot carry the least bitrate.
    below: [bool; OUTPUTS_MAX],
}

impl Stream {
    /// Nothing is known of the encoder any more.
    fn forget(&mut self) {
        (self.core, self.below) = (None, [false; OUTPUTS_MAX]);
    }
}

/// What an output is configured to ask for.
#[derive(Debug, Clone, Copy)]
struct Wish {
    min: Option<BitrateBps>,
    max: Option<BitrateBps>,
}

/// The bitrates of all encoders.
#[derive(Clone)]
pub(super) struct Governor {
    set: Arc<SetBitrate>,
    streams: Arc<Mutex<BTreeMap<String, Stream>>>,
    /// Held while an encoder is told: two outputs that decide at once must not be passed on the wrong way round.
    /// Taken before `streams`, and before whatever locks the encoder's owner has.
    order: Arc<Mutex<()>>,
}

impl Governor {
    pub(super) fn new(set: Arc<SetBitrate>) -> Governor {
        Governor { set, streams: Arc::default(), order: Arc::default() }
    }

    /// The encoder of `stream` begins, or is configured anew, with this bitrate; `None`: as it chooses itself. It
    /// is told what its lines can carry right away.
    pub(super) fn configure(&self, stream: &str, wanted: Option<BitrateBps>) {
        {
            let mut streams = self.lock();
            let one = streams.entry(stream.to_owned()).or_default();
            (one.wanted, one.told) = (wanted, None);
            match (&mut one.core, wanted) {
                (Some(core), Some(wanted)) => {
                    core.handle(clock::now(), Event::Wanted(wanted));
                    for (id, wish) in one.voices.iter().enumerate() {
                        let Some(wish) = wish else { continue };
                        let output = OutputId(id as u8);
                        core.handle(clock::now(), Event::Bounds { output, bounds: wish.bounds(wanted) });
                    }
                }
                _ => one.forget(),
            }
        }
        self.pass_on(stream);
    }

    /// What the encoder of `stream` was last told, pictures alone.
    pub(super) fn current(&self, stream: &str) -> Option<BitrateBps> {
        self.lock().get(stream)?.core.as_ref().map(Bitrate::current)
    }

    /// A say for this output; `None` if it wants none, or too many have one.
    pub(super) fn join(&self, output: &Output) -> Option<Voice> {
        if !output.adaptive {
            return None;
        }
        let mut streams = self.lock();
        let one = streams.entry(output.stream.clone()).or_default();
        let at = one.voices.iter().position(Option::is_none)?;
        let wish = Wish { min: output.bitrate_min, max: output.bitrate_max };
        one.voices[at] = Some(wish);
        let id = OutputId(at as u8);
        if let (Some(core), Some(wanted)) = (&mut one.core, one.wanted) {
            core.handle(clock::now(), Event::Bounds { output: id, bounds: wish.bounds(wanted) });
        }
        drop(streams);
        self.pass_on(&output.stream);
        Some(Voice { governor: self.clone(), stream: output.stream.clone(), id })
    }

    fn tell(&self, now: Instant, stream: &str, event: Event) -> Option<bool> {
        let (mut told, mut changed) = (None, false);
        {
            let mut streams = self.lock();
            let one = streams.get_mut(stream)?;
            for action in one.core.as_mut()?.handle(now, event) {
                match action {
                    Action::SetBitrate(_) => changed = true,
                    Action::Below { output, below } => {
                        one.below[output.0 as usize] = below;
                        told = Some(below);
                    }
                }
            }
        }
        if changed {
            self.pass_on(stream);
        }
        told
    }

    /// Tells the encoder of `stream` what it should have by now, if it has something else.
    fn pass_on(&self, stream: &str) {
        let _order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        let bitrate = {
            let mut streams = self.lock();
            let Some(one) = streams.get_mut(stream) else { return };
            let bitrate = one.core.as_ref().map(Bitrate::current).or(one.wanted);
            if bitrate == one.told {
                return;
            }
            one.told = bitrate;
            bitrate
        };
        // Not under the streams' lock: the encoder's owner has locks of its own.
        if let Some(bitrate) = bitrate {
            tracing::debug!(stream, bps = bitrate.0, "the encoder is told its bitrate");
            (self.set)(stream, bitrate);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Stream>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wish {
    fn bounds(self, wanted: BitrateBps) -> Bounds {
        let floor = self.min.unwrap_or(BitrateBps(wanted.0 / FLOOR_SHARE).max(FLOOR_MIN));
        let ceiling = self.max.unwrap_or(wanted).min(wanted);
        Bounds { floor: floor.min(ceiling), ceiling }
    }
}

/// One output's say; it is silent once dropped.
pub(super) struct Voice {
    governor: Governor,
    stream: String,
    id: OutputId,
}

impl Voice {
    /// The tracks that the stream's encoder announced, the one that runs now: if it announced a bitrate, it can be
    /// told another.
    pub(super) fn announced(&self, now: Instant, layout: &Layout) {
        {
            let mut streams = self.governor.lock();
            let Some(one) = streams.get_mut(&self.stream).filter(|one| one.core.is_none()) else { return };
            let Some(announced) = layout.video.as_ref().and_then(|video| video.bitrate) else { return };
            let wanted = *one.wanted.get_or_insert(announced);
            one.told.get_or_insert(announced);
            let sound = layout.audio.as_ref().map_or(0, |audio| audio.bitrate.map_or(SOUND_BPS, |bps| bps.0));
            let mut core = Bitrate::new(now, Settings { wanted, beside: BitrateBps(sound + FRAMING_BPS) });
            for (id, wish) in one.voices.iter().enumerate() {
                let Some(wish) = wish else { continue };
                core.handle(now, Event::Bounds { output: OutputId(id as u8), bounds: wish.bounds(wanted) });
            }
            one.core = Some(core);
        }
        self.governor.pass_on(&self.stream);
    }

    /// What the encoder was last told, pictures alone; `None` where it cannot be told.
    pub(super) fn encoder(&self) -> Option<BitrateBps> {
        self.governor.current(&self.stream)
    }

    /// The most that the stream gives while the encoder keeps to what it was told, sound and framing included.
    pub(super) fn stream_bound(&self) -> Option<BitrateBps> {
        let streams = self.governor.lock();
        let core = streams.get(&self.stream)?.core.as_ref()?;
        Some(BitrateBps(core.current().0 + core.beside().0))
    }

    /// What the line that carries is like. `Some` when the line can no longer carry the floor, or can again.
    pub(super) fn read(&self, now: Instant, reading: Reading, catching_up: bool) -> Option<bool> {
        let event = Event::Read { output: self.id, reading, catching_up };
        self.governor.tell(now, &self.stream, event)
    }

    /// Whether the line cannot carry the floor, as far as it was told.
    pub(super) fn is_below(&self) -> bool {
        self.governor.lock().get(&self.stream).is_some_and(|one| one.below[self.id.0 as usize])
    }

    /// Nothing arrives by the line any more. `Some(false)` where it was told to be below the floor.
    pub(super) fn idle(&self, now: Instant) -> Option<bool> {
        self.governor.tell(now, &self.stream, Event::Idle { output: self.id })
    }

    /// Another line carries.
    pub(super) fn moved(&self, now: Instant) {
        self.governor.tell(now, &self.stream, Event::Moved { output: self.id });
    }
}

impl Drop for Voice {
    fn drop(&mut self) {
        if let Some(one) = self.governor.lock().get_mut(&self.stream) {
            one.voices[self.id.0 as usize] = None;
            one.below[self.id.0 as usize] = false;
        }
        self.governor.tell(clock::now(), &self.stream, Event::Gone { output: self.id });
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::base::units::PictureSize;
    use crate::config::schema::{Destination, PushUrl};
    use crate::media::packet::{VideoCodec, VideoConfig};

    const MEGA: u64 = 1_000_000;

    /// A governor, and what the encoder was told so far.
    fn governor() -> (Governor, Arc<Mutex<Vec<u64>>>) {
        let told = Arc::new(Mutex::new(Vec::new()));
        let encoder = told.clone();
        let set = move |_: &str, bitrate: BitrateBps| {
            encoder.lock().unwrap_or_else(PoisonError::into_inner).push(bitrate.0);
        };
        (Governor::new(Arc::new(set)), told)
    }

    fn output(max: Option<u64>) -> Output {
        let url = PushUrl::rtmp("far.example", 1935, "live", "key");
        Output { bitrate_max: max.map(BitrateBps), ..Output::new("cloud", "main", Destination::new(url)) }
    }

    fn layout(bitrate: u64) -> Layout {
        let video = VideoConfig {
            codec: VideoCodec::H264,
            record: Bytes::from_static(&[1]),
            size: PictureSize { width: 64, height: 64 },
            fps: None,
            bitrate: Some(BitrateBps(bitrate)),
        };
        Layout { video: Some(video), audio: None }
    }

    fn heard(told: &Mutex<Vec<u64>>) -> Vec<u64> {
        std::mem::take(&mut told.lock().unwrap_or_else(PoisonError::into_inner))
    }

    #[test]
    fn an_encoder_that_chooses_itself_is_asked_anew_once_it_began_anew() {
        let (governor, told) = governor();
        governor.configure("main", None);
        let voice = governor.join(&output(None)).expect("a place");
        voice.announced(clock::now(), &layout(4 * MEGA));
        assert_eq!((voice.encoder(), heard(&told)), (Some(BitrateBps(4 * MEGA)), vec![]), "it has that");
        governor.configure("main", None);
        assert_eq!(voice.encoder(), None, "until it announces what it has now");
        voice.announced(clock::now(), &layout(9 * MEGA));
        assert_eq!(voice.encoder(), Some(BitrateBps(9 * MEGA)));
    }

    #[test]
    fn an_encoder_is_told_the_most_that_an_output_allows_whenever_that_becomes_known() {
        let (governor, told) = governor();
        governor.configure("main", Some(BitrateBps(4 * MEGA)));
        let voice = governor.join(&output(Some(3 * MEGA))).expect("a place");
        voice.announced(clock::now(), &layout(4 * MEGA));
        assert_eq!(heard(&told), [4 * MEGA, 3 * MEGA]);
        let second = governor.join(&output(Some(2 * MEGA))).expect("a place");
        assert_eq!(heard(&told), [2 * MEGA]);
        governor.configure("main", Some(BitrateBps(5 * MEGA)));
        assert_eq!(heard(&told), [2 * MEGA], "an encoder that begins anew is told again");
        drop((voice, second));
        assert_eq!(heard(&told).last(), Some(&(5 * MEGA)));
    }

    #[test]
    fn what_an_encoder_was_told_last_is_what_its_outputs_decided_last() {
        let (governor, told) = governor();
        governor.configure("main", Some(BitrateBps(8 * MEGA)));
        let voice = governor.join(&output(None)).expect("a place");
        voice.announced(clock::now(), &layout(8 * MEGA));
        let threads: Vec<_> = (1..4)
            .map(|part: u64| {
                let governor = governor.clone();
                let join_and_leave = move || {
                    for step in 0..200 {
                        drop(governor.join(&output(Some((8 - part) * MEGA - step))));
                    }
                };
                crate::base::threads::spawn("test", "out", join_and_leave).expect("a thread")
            })
            .collect();
        for thread in threads {
            thread.join().expect("no panic");
        }
        assert_eq!(heard(&told).last().copied().map(BitrateBps), voice.encoder());
    }

    #[test]
    fn nothing_is_below_the_floor_of_an_encoder_that_is_not_known() {
        let (governor, _) = governor();
        let voice = governor.join(&output(None)).expect("a place");
        voice.announced(clock::now(), &layout(4 * MEGA));
        if let Some(one) = governor.lock().get_mut("main") {
            one.below[voice.id.0 as usize] = true;
        }
        assert!(voice.is_below());
        governor.configure("main", None);
        assert!(!voice.is_below());
    }
}
