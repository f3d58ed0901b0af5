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

struct Stream {
    /// What the configuration says, or else what the encoder announced when it began.
    wanted: Option<BitrateBps>,
    core: Option<Bitrate>,
    /// The outputs that have a say, by their place.
    voices: [Option<Wish>; OUTPUTS_MAX],
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
}

impl Governor {
    pub(super) fn new(set: Arc<SetBitrate>) -> Governor {
        Governor { set, streams: Arc::default() }
    }

    /// The encoder of `stream` begins, or is configured anew, with this bitrate; `None`: as it chooses itself. It
    /// is told what its lines can carry right away.
    pub(super) fn configure(&self, stream: &str, wanted: Option<BitrateBps>) {
        let told = {
            let mut streams = self.lock();
            let Some(one) = streams.get_mut(stream) else {
                drop(streams);
                if let Some(bitrate) = wanted {
                    (self.set)(stream, bitrate);
                }
                return;
            };
            one.wanted = wanted;
            match (&mut one.core, wanted) {
                (Some(core), Some(wanted)) => {
                    core.handle(clock::now(), Event::Wanted(wanted));
                    for (id, wish) in one.voices.iter().enumerate() {
                        let Some(wish) = wish else { continue };
                        let output = OutputId(id as u8);
                        core.handle(clock::now(), Event::Bounds { output, bounds: wish.bounds(wanted) });
                    }
                    Some(core.current())
                }
                (core, wanted) => {
                    *core = None;
                    wanted
                }
            }
        };
        if let Some(bitrate) = told {
            (self.set)(stream, bitrate);
        }
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
        let one = streams.entry(output.stream.clone()).or_insert_with(|| Stream {
            wanted: None,
            core: None,
            voices: [None; OUTPUTS_MAX],
        });
        let at = one.voices.iter().position(Option::is_none)?;
        let wish = Wish { min: output.bitrate_min, max: output.bitrate_max };
        one.voices[at] = Some(wish);
        let id = OutputId(at as u8);
        if let (Some(core), Some(wanted)) = (&mut one.core, one.wanted) {
            core.handle(clock::now(), Event::Bounds { output: id, bounds: wish.bounds(wanted) });
        }
        drop(streams);
        Some(Voice { governor: self.clone(), stream: output.stream.clone(), id })
    }

    fn tell(&self, now: Instant, stream: &str, event: Event) -> Option<bool> {
        let (bitrate, below) = {
            let mut streams = self.lock();
            let actions = streams.get_mut(stream)?.core.as_mut()?.handle(now, event);
            let bitrate = actions.iter().find_map(|action| match action {
                Action::SetBitrate(bitrate) => Some(*bitrate),
                Action::Below { .. } => None,
            });
            let below = actions.iter().find_map(|action| match action {
                Action::Below { below, .. } => Some(*below),
                Action::SetBitrate(_) => None,
            });
            (bitrate, below)
        };
        // Not under the lock: the encoder's owner has locks of its own.
        if let Some(bitrate) = bitrate {
            tracing::debug!(stream, bps = bitrate.0, "the encoder is told another bitrate");
            (self.set)(stream, bitrate);
        }
        below
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
    /// The stream's tracks became known: an encoder that announces a bitrate can be told another.
    pub(super) fn layout(&self, now: Instant, layout: &Layout) {
        let mut streams = self.governor.lock();
        let Some(one) = streams.get_mut(&self.stream).filter(|one| one.core.is_none()) else { return };
        let Some(announced) = layout.video.as_ref().and_then(|video| video.bitrate) else { return };
        let wanted = *one.wanted.get_or_insert(announced);
        let sound = layout.audio.as_ref().map_or(0, |audio| audio.bitrate.map_or(SOUND_BPS, |bps| bps.0));
        let mut core = Bitrate::new(now, Settings { wanted, beside: BitrateBps(sound + FRAMING_BPS) });
        for (id, wish) in one.voices.iter().enumerate() {
            let Some(wish) = wish else { continue };
            core.handle(now, Event::Bounds { output: OutputId(id as u8), bounds: wish.bounds(wanted) });
        }
        one.core = Some(core);
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
        }
        self.governor.tell(clock::now(), &self.stream, Event::Gone { output: self.id });
    }
}
