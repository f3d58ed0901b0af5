//! The shell around a [`Ring`]: its lock, its wake-ups, its figures.
//!
//! Two locks: a publisher's framer, then the ring; never the other way round, and the ring's is held for a few
//! instructions only, so that hundreds of readers do not hold up an encoder.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::base::clock;
use crate::base::metrics::Exposition;
use crate::base::ticks::Ticks;
use crate::media::packet::{Layout, Media};

use super::framer::{Framed, Framer};
use super::ring::{Cursor, Headers, Lag, Limits, Ring, Start, Step, Tag, TagKind};

/// A rate older than this says nothing about now.
const RATE_STALE_AFTER: Duration = Duration::from_secs(2);

/// What a channel has carried.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ChannelStats {
    /// Packets taken in, headers not counted.
    pub packets: u64,
    /// Bytes of their tags.
    pub bytes: u64,
    /// Keyframes among them.
    pub keyframes: u64,
    /// Packets not taken: before the first keyframe after a change, for a track that the layout lacks, or unframeable.
    pub refused: u64,
    /// When the newest picture came.
    pub last_video_at: Option<Instant>,
    /// When the newest sound came.
    pub last_audio_at: Option<Instant>,
    /// Pictures a second, over the last second of media; 0 when none came for two.
    pub fps: f64,
    /// Bytes held for those who join.
    pub cached_bytes: u64,
    /// Tags held for those who join.
    pub cached_packets: usize,
    /// The stream's own time.
    pub at: Ticks,
    /// Readers now: viewers, outputs, and one for each core that serves viewers.
    pub readers: usize,
}

/// A second's pictures, counted.
#[derive(Default)]
struct Rate {
    since: Option<Ticks>,
    pictures: u32,
    per_second: f64,
}

impl Rate {
    fn picture(&mut self, dts: Ticks) {
        let Some(since) = self.since else {
            self.since = Some(dts);
            return;
        };
        self.pictures += 1;
        let span = dts - since;
        if span >= Ticks(Ticks::PER_SECOND) {
            let per_second = f64::from(self.pictures) / span.seconds();
            *self = Rate { since: Some(dts), pictures: 0, per_second };
        }
    }
}

struct State {
    ring: Ring,
    stats: ChannelStats,
    rate: Rate,
    closed: bool,
    /// The publisher that last told its tracks, whether or not they were others than before.
    described_by: Option<u64>,
}

struct Shared {
    name: String,
    framer: Mutex<Framer>,
    state: Mutex<State>,
    /// Anything came.
    news: Notify,
    /// A picture came, or anything in a stream without pictures.
    beats: Notify,
    /// Which publisher is heard: the newest.
    publisher: AtomicU64,
    readers: AtomicUsize,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn framer(&self) -> MutexGuard<'_, Framer> {
        self.framer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end that puts packets in. Dropping it closes the channel, unless another publisher took over.
pub struct Publisher {
    shared: Arc<Shared>,
    number: u64,
}

impl Publisher {
    /// Takes in one piece of media: places it on the stream's timeline, frames it, and wakes the readers.
    /// Never blocks on a reader.
    pub fn publish(&self, media: Media) {
        let mut framer = self.shared.framer();
        if self.shared.publisher.load(Ordering::Acquire) != self.number {
            return;
        }
        let describes = matches!(media, Media::Layout(_));
        let framed = framer.frame(media);
        let beat = {
            let mut state = self.shared.state();
            if describes {
                state.described_by = Some(self.number);
            }
            let State { ring, stats, rate, .. } = &mut *state;
            let beat = ring.beat();
            match framed {
                Framed::Layout { layout, dts, tags } => ring.begin_era(layout, dts, tags),
                Framed::Tag { kind, dts, bytes } => {
                    stats.packets += 1;
                    stats.bytes += bytes.len() as u64;
                    match kind {
                        TagKind::Video { keyframe } => {
                            stats.keyframes += u64::from(keyframe);
                            stats.last_video_at = Some(clock::now());
                            rate.picture(dts);
                        }
                        _ => stats.last_audio_at = Some(clock::now()),
                    }
                    ring.push(kind, dts, bytes);
                }
                Framed::Refused => {
                    stats.refused += 1;
                    return;
                }
                Framed::Unchanged => return,
            }
            ring.beat() != beat
        };
        self.shared.news.notify_waiters();
        if beat {
            self.shared.beats.notify_waiters();
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let _order = self.shared.framer();
        if self.shared.publisher.load(Ordering::Acquire) == self.number {
            self.shared.state().closed = true;
            self.shared.news.notify_waiters();
            self.shared.beats.notify_waiters();
        }
    }
}

/// A stream's channel, for those who read it.
#[derive(Clone)]
pub struct Channel {
    shared: Arc<Shared>,
}

impl Channel {
    pub(super) fn open(name: &str, limits: Limits) -> (Channel, Publisher) {
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            framer: Mutex::new(Framer::new()),
            state: Mutex::new(State {
                ring: Ring::new(limits),
                stats: ChannelStats::default(),
                rate: Rate::default(),
                closed: false,
                described_by: None,
            }),
            news: Notify::new(),
            beats: Notify::new(),
            publisher: AtomicU64::new(0),
            readers: AtomicUsize::new(0),
        });
        (Channel { shared: shared.clone() }, Publisher { shared, number: 0 })
    }

    /// A new publisher for this channel; `None` once it is closed.
    pub(super) fn take_over(&self, limits: Limits) -> Option<Publisher> {
        let mut framer = self.shared.framer();
        let mut state = self.shared.state();
        if state.closed {
            return None;
        }
        framer.restart();
        state.ring.set_limits(limits);
        let number = self.shared.publisher.load(Ordering::Acquire) + 1;
        self.shared.publisher.store(number, Ordering::Release);
        Some(Publisher { shared: self.shared.clone(), number })
    }

    /// The stream's name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Whether its publisher is gone for good.
    pub fn is_closed(&self) -> bool {
        self.shared.state().closed
    }

    /// The tracks that it has now; `None` until its source has spoken.
    pub fn layout(&self) -> Option<Layout> {
        self.shared.state().ring.newest_headers().map(|headers| headers.layout.clone())
    }

    /// The tracks, if they are of the publisher that is heard now; `None` while [`Channel::layout`] still shows those
    /// of the one before it.
    pub fn announced(&self) -> Option<Layout> {
        let state = self.shared.state();
        let publisher = self.shared.publisher.load(Ordering::Acquire);
        let headers = state.ring.newest_headers().filter(|_| state.described_by == Some(publisher));
        headers.map(|headers| headers.layout.clone())
    }

    /// What it has carried so far.
    pub fn stats(&self) -> ChannelStats {
        let state = self.shared.state();
        let fresh = state.stats.last_video_at.is_some_and(|at| clock::now() - at < RATE_STALE_AFTER);
        ChannelStats {
            fps: if fresh { state.rate.per_second } else { 0.0 },
            cached_bytes: state.ring.bytes(),
            cached_packets: state.ring.len(),
            at: state.ring.newest_dts(),
            readers: self.shared.readers.load(Ordering::Relaxed),
            ..state.stats
        }
    }

    /// A new reader.
    pub fn reader(&self, start: Start) -> Reader {
        self.shared.readers.fetch_add(1, Ordering::Relaxed);
        let cursor = self.shared.state().ring.start(start);
        Reader { shared: self.shared.clone(), cursor, told: None, since: cursor.next() }
    }

    /// The first tags of the oldest and of the newest whole GOP held; `None` where no decoder could start.
    pub fn gops(&self) -> Option<(u64, u64)> {
        self.shared.state().ring.gops()
    }

    /// The time of the tag `seq`, if it is still held.
    pub fn time_of(&self, seq: u64) -> Option<Ticks> {
        self.shared.state().ring.time_at(Cursor::at(seq))
    }

    /// Waits until the layout is known; `false` if the channel closes before.
    pub async fn described(&self) -> bool {
        loop {
            let news = self.shared.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            {
                let state = self.shared.state();
                if state.ring.newest_headers().is_some() {
                    return true;
                }
                if state.closed {
                    return false;
                }
            }
            news.await;
        }
    }

    /// Writes this channel's figures.
    pub fn describe_metrics(&self, page: &mut Exposition) {
        let stats = self.stats();
        let labels = [("stream", self.name())];
        page.counter("footlight_stream_packets_total", "Packets carried.", &labels, stats.packets);
        page.counter("footlight_stream_bytes_total", "Bytes of FLV tags carried.", &labels, stats.bytes);
        page.counter("footlight_stream_keyframes_total", "Keyframes carried.", &labels, stats.keyframes);
        page.counter(
            "footlight_stream_refused_packets_total",
            "Packets not carried: before a keyframe, for an unknown track, or too large.",
            &labels,
            stats.refused,
        );
        page.gauge("footlight_stream_fps", "Pictures a second now.", &labels, stats.fps);
        page.gauge("footlight_stream_time_seconds", "The stream's own time.", &labels, stats.at.seconds());
        page.gauge(
            "footlight_stream_cached_bytes",
            "Bytes held for those who join.",
            &labels,
            stats.cached_bytes as f64,
        );
        page.gauge(
            "footlight_stream_readers",
            "Readers now: viewers, outputs, and one for each core that serves viewers.",
            &labels,
            stats.readers as f64,
        );
    }
}

/// What a reader finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// The next tag.
    Tag(Tag),
    /// The reader was overrun and stands at the newest keyframe now, or waits for the next one; or the headers
    /// changed while it waited for one. Ask [`Reader::fresh_headers`] before the next tag.
    Jumped {
        /// Tags that it will not see; 0 for what it was only waiting.
        skipped: u64,
    },
    /// Nothing now: [`Reader::wait`].
    Empty,
    /// Nothing any more: everything was read and the publisher is gone.
    Closed,
}

/// A place in a channel. Costs a few words; falls behind without harming anybody.
///
/// The first tag it finds, and the first after a jump, is one at which a decoder can start; the headers to be
/// sent before it are those of [`Reader::fresh_headers`]. Later headers come in line.
pub struct Reader {
    shared: Arc<Shared>,
    cursor: Cursor,
    /// The headers that its user was given by [`Reader::fresh_headers`], or in line before the last jump.
    told: Option<u64>,
    /// Where it started or jumped to: headers from here up to the cursor were given in line.
    since: u64,
}

impl Reader {
    /// Takes the next tag, if there is one.
    pub fn try_next(&mut self) -> Next {
        let state = self.shared.state();
        let before = self.cursor;
        let told = self.told(&state.ring);
        match state.ring.step(&mut self.cursor) {
            Step::Tag(tag) => {
                if before.holding() {
                    self.since = tag.seq;
                    let headers = state.ring.headers_at(self.cursor).map(|headers| headers.from);
                    if told.is_some() && told != headers {
                        // While it waited for a keyframe, new headers went by.
                        self.cursor = Cursor::at(tag.seq);
                        return Next::Jumped { skipped: 0 };
                    }
                }
                Next::Tag(tag)
            }
            Step::Jumped { skipped } => {
                self.told = told;
                self.since = self.cursor.next();
                Next::Jumped { skipped }
            }
            Step::Empty if state.closed => Next::Closed,
            Step::Empty => Next::Empty,
        }
    }

    /// Returns once [`Reader::try_next`] has something to say. Loses nothing when cancelled.
    pub async fn wait(&mut self) {
        self.wait_on(&self.shared.news, |ring| ring.has_news(self.cursor)).await;
    }

    /// Returns once a picture has come, or anything in a stream without pictures: who lets sound ride with pictures
    /// is not woken by it, and looks at a time of its own. Loses nothing when cancelled.
    pub async fn wait_for_beat(&mut self) {
        self.wait_on(&self.shared.beats, |ring| ring.has_beat(self.cursor)).await;
    }

    async fn wait_on(&self, bell: &Notify, came: impl Fn(&Ring) -> bool) {
        loop {
            let rung = bell.notified();
            tokio::pin!(rung);
            rung.as_mut().enable();
            {
                let state = self.shared.state();
                if state.closed || came(&state.ring) {
                    return;
                }
            }
            rung.await;
        }
    }

    /// The metadata and sequence headers in force at this place; `None` until the source has spoken.
    pub fn headers(&self) -> Option<Arc<Headers>> {
        self.shared.state().ring.headers_at(self.cursor).cloned()
    }

    /// The same, if they are others than this reader last handed out, by this call or in line.
    pub fn fresh_headers(&mut self) -> Option<Arc<Headers>> {
        let state = self.shared.state();
        let told = self.told(&state.ring);
        let headers = state.ring.headers_at(self.cursor).filter(|headers| told != Some(headers.from))?;
        self.told = Some(headers.from);
        Some(headers.clone())
    }

    /// Moves to the newest keyframe if that is ahead: `Some` of the tags it will not see. Ask
    /// [`Reader::fresh_headers`] then. `None` changes nothing: in the newest GOP there is nowhere better to go.
    pub fn jump_to_newest_keyframe(&mut self) -> Option<u64> {
        let state = self.shared.state();
        let told = self.told(&state.ring);
        let skipped = state.ring.jump(&mut self.cursor)?;
        self.told = told;
        self.since = self.cursor.next();
        Some(skipped)
    }

    /// The headers that its user has, however they came.
    fn told(&self, ring: &Ring) -> Option<u64> {
        let in_line = ring.headers_before(self.cursor.next()).map(|headers| headers.from);
        in_line.filter(|from| !self.cursor.holding() && *from >= self.since).or(self.told)
    }

    /// How far it is behind.
    pub fn lag(&self) -> Lag {
        self.shared.state().ring.lag(self.cursor)
    }

    /// Whether the stream has a picture at this place.
    pub fn has_picture(&self) -> bool {
        self.shared.state().ring.headers_at(self.cursor).is_some_and(|headers| headers.layout.video.is_some())
    }

    /// The time of the tag that comes next, if it is there.
    pub fn next_time(&self) -> Option<Ticks> {
        self.shared.state().ring.time_at(self.cursor)
    }

    /// The number of the tag that comes next.
    pub fn position(&self) -> u64 {
        self.cursor.next()
    }

    /// Whether it waits for a tag at which a decoder can start.
    pub fn is_holding(&self) -> bool {
        self.cursor.holding()
    }

    /// Puts the reader right before the tag `next`: back, when a tag that it handed out could not be used after
    /// all; or ahead, when its user was handed the tags between by another reader.
    pub fn seek(&mut self, next: u64) {
        self.cursor = Cursor::at(next);
    }

    /// Puts the reader right before the tag `next`, wherever it stood, without a word of what lies between. Ask
    /// [`Reader::fresh_headers`] before the next tag.
    pub fn move_to(&mut self, next: u64) {
        let state = self.shared.state();
        self.told = self.told(&state.ring);
        self.cursor = Cursor::at(next);
        self.since = next;
    }

    /// Puts the reader behind the newest tag: what it waits for comes after this.
    pub fn move_to_head(&mut self) {
        let head = self.shared.state().ring.head();
        self.move_to(head);
    }

    /// The channel it reads.
    pub fn channel(&self) -> Channel {
        Channel { shared: self.shared.clone() }
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("stream", &self.shared.name).finish_non_exhaustive()
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("stream", &self.shared.name)
            .field("cursor", &self.cursor)
            .finish_non_exhaustive()
    }
}

impl Clone for Reader {
    fn clone(&self) -> Reader {
        self.shared.readers.fetch_add(1, Ordering::Relaxed);
        Reader { shared: self.shared.clone(), cursor: self.cursor, told: self.told, since: self.since }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.shared.readers.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::base::units::PictureSize;
    use crate::hub::Hub;
    use crate::media::packet::{AudioConfig, Packet, Track, VideoCodec, VideoConfig};

    fn layout(record: u8) -> Media {
        Media::Layout(Layout {
            video: Some(VideoConfig {
                codec: VideoCodec::H264,
                record: Bytes::from(vec![record]),
                size: PictureSize { width: 64, height: 64 },
                fps: None,
                bitrate: None,
            }),
            audio: None,
        })
    }

    fn picture(millis: i64, keyframe: bool) -> Media {
        let at = Ticks::from_millis(millis);
        let payload = Bytes::from_static(&[0, 0, 0, 1, 9]);
        Media::Packet(Packet { track: Track::Video, dts: at, pts: at, keyframe, payload })
    }

    fn millis(next: Next) -> i64 {
        match next {
            Next::Tag(tag) => tag.dts.millis(),
            other => panic!("{other:?}"),
        }
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime")
    }

    #[test]
    fn a_reader_is_woken_by_a_publisher_on_another_thread() {
        let hub = Hub::new();
        let publisher = hub.open("main", Limits::default());
        let mut reader = hub.channel("main").expect("open").reader(Start::Gop);
        let thread = crate::base::threads::spawn("test", "pub", move || {
            for number in 0..1_000 {
                if number % 100 == 0 {
                    publisher.publish(layout(number.try_into().unwrap_or(7)));
                }
                publisher.publish(picture(number * 40, number % 10 == 0));
            }
        })
        .expect("a thread");
        let last = runtime().block_on(async {
            let mut last = -1;
            loop {
                match reader.try_next() {
                    Next::Tag(tag) => {
                        assert!(tag.dts.millis() >= last);
                        last = tag.dts.millis();
                    }
                    Next::Jumped { .. } => {}
                    Next::Empty => reader.wait().await,
                    Next::Closed => break last,
                }
            }
        });
        assert_eq!(last, 999 * 40);
        thread.join().expect("the publisher");
    }

    #[test]
    fn readers_stay_on_one_timeline_while_the_source_is_replaced() {
        let hub = Hub::new();
        let first = hub.open("main", Limits::default());
        first.publish(layout(1));
        first.publish(picture(71_000, true));
        let mut reader = hub.channel("main").expect("open").reader(Start::Gop);
        let headers = reader.fresh_headers().expect("headers");
        assert_eq!(headers.tags.len(), 2);
        assert_eq!(millis(reader.try_next()), 0);

        let second = hub.open("main", Limits::default());
        first.publish(picture(71_033, false));
        drop(first);
        assert_eq!(reader.try_next(), Next::Empty, "the replaced publisher is not heard and closes nothing");
        second.publish(layout(2));
        second.publish(picture(73_000, false));
        second.publish(picture(73_033, true));
        let kinds: Vec<TagKind> = std::iter::from_fn(|| match reader.try_next() {
            Next::Tag(tag) => Some(tag.kind),
            _ => None,
        })
        .collect();
        assert_eq!(kinds, [TagKind::Script, TagKind::VideoHeader, TagKind::Video { keyframe: true }]);
        assert_eq!(hub.channel("main").expect("open").stats().at.millis(), 2_033);
        assert!(reader.fresh_headers().is_none(), "they came in line");
        drop(second);
        assert_eq!(reader.try_next(), Next::Closed);
        assert!(hub.channel("main").is_none() && hub.names().is_empty());
    }

    #[test]
    fn what_a_source_announced_does_not_count_for_the_one_that_replaced_it() {
        let hub = Hub::new();
        let first = hub.open("main", Limits::default());
        let channel = hub.channel("main").expect("open");
        assert_eq!(channel.announced(), None);
        first.publish(layout(1));
        assert_eq!(channel.announced(), channel.layout());
        let second = hub.open("main", Limits::default());
        first.publish(layout(1));
        assert!(channel.layout().is_some() && channel.announced().is_none());
        // The same tracks again are no news to a reader, and yet they are announced.
        second.publish(layout(1));
        assert!(channel.announced().is_some() && channel.announced() == channel.layout());
    }

    #[test]
    fn who_waits_for_a_keyframe_hears_of_headers_that_changed_meanwhile() {
        let hub = Hub::new();
        let publisher = hub.open("main", Limits::default());
        publisher.publish(layout(1));
        let mut reader = hub.channel("main").expect("open").reader(Start::Live);
        assert_eq!(reader.fresh_headers().map(|headers| headers.from), Some(0));
        assert_eq!(reader.try_next(), Next::Empty);
        publisher.publish(layout(2));
        publisher.publish(picture(0, true));
        assert_eq!(reader.try_next(), Next::Jumped { skipped: 0 });
        assert_eq!(reader.fresh_headers().map(|headers| headers.from), Some(2));
        assert_eq!(millis(reader.try_next()), 0);
    }

    #[test]
    fn who_steps_back_before_new_headers_and_then_jumps_over_them_is_given_them() {
        let hub = Hub::new();
        let publisher = hub.open("main", Limits::default());
        publisher.publish(layout(1));
        publisher.publish(picture(0, true));
        let mut reader = hub.channel("main").expect("open").reader(Start::Gop);
        assert_eq!(reader.fresh_headers().map(|headers| headers.from), Some(0));
        publisher.publish(layout(2));
        publisher.publish(picture(40, true));
        while let Next::Tag(_) = reader.try_next() {}
        assert!(reader.fresh_headers().is_none(), "they came in line");
        reader.seek(4);
        publisher.publish(picture(80, true));
        assert_eq!(reader.jump_to_newest_keyframe(), Some(2));
        assert_eq!(
            reader.fresh_headers().map(|headers| headers.from),
            Some(3),
            "one of two had not been used"
        );
        reader.seek(5);
        publisher.publish(picture(120, true));
        assert_eq!(reader.jump_to_newest_keyframe(), Some(2));
        assert!(reader.fresh_headers().is_none());
    }

    #[test]
    fn who_is_moved_is_told_of_headers_only_where_they_are_news() {
        let hub = Hub::new();
        let publisher = hub.open("main", Limits::default());
        let mut reader = hub.channel("main").expect("open").reader(Start::Live);
        publisher.publish(layout(1));
        (0..4).for_each(|at| publisher.publish(picture(at * 40, at == 0)));
        let (first, newest) = reader.channel().gops().expect("a keyframe came");
        assert_eq!(first, newest);
        reader.move_to(first);
        assert!(reader.fresh_headers().is_some());
        assert_eq!(millis(reader.try_next()), 0);
        reader.move_to(first);
        assert!(reader.fresh_headers().is_none(), "the same connection has them");
        publisher.publish(layout(2));
        (4..6).for_each(|at| publisher.publish(picture(at * 40, at == 4)));
        let (first, newest) = reader.channel().gops().expect("keyframes came");
        assert!(first < newest);
        assert_eq!(reader.channel().time_of(newest).map(Ticks::millis), Some(160));
        reader.move_to(newest);
        assert!(reader.fresh_headers().is_some_and(|headers| headers.from > first));
        assert_eq!(millis(reader.try_next()), 160);
        assert_eq!(reader.channel().time_of(newest + 100), None);
    }

    #[test]
    fn who_waits_for_pictures_is_not_woken_by_sound_unless_there_is_nothing_else() {
        let hub = Hub::new();
        let publisher = hub.open("main", Limits::default());
        let sound = || {
            let payload = Bytes::from_static(&[1, 2]);
            Media::Packet(Packet {
                track: Track::Audio,
                dts: Ticks(9),
                pts: Ticks(9),
                keyframe: true,
                payload,
            })
        };
        let audio = AudioConfig {
            record: Bytes::from_static(&[0x11, 0x90]),
            sample_rate: 48_000,
            channels: 2,
            bitrate: None,
        };
        let Media::Layout(with_picture) = layout(1) else { panic!("a layout") };
        publisher.publish(Media::Layout(Layout { audio: Some(audio.clone()), ..with_picture }));
        let mut reader = hub.channel("main").expect("open").reader(Start::Head);
        let mut woken = move || {
            let waiting = reader.wait_for_beat();
            runtime()
                .block_on(async { tokio::time::timeout(Duration::from_millis(1), waiting).await.is_ok() })
        };
        publisher.publish(sound());
        assert!(!woken());
        publisher.publish(picture(0, true));
        assert!(woken());
        let mut reader = hub.channel("main").expect("open").reader(Start::Head);
        publisher.publish(Media::Layout(Layout { video: None, audio: Some(audio) }));
        publisher.publish(sound());
        assert!(runtime().block_on(async {
            tokio::time::timeout(Duration::from_secs(5), reader.wait_for_beat()).await.is_ok()
        }));
    }

    #[test]
    fn a_channel_describes_itself_once_its_source_has_spoken() {
        let hub = Hub::new();
        let publisher = hub.open("main", Limits::default());
        let channel = hub.channel("main").expect("open");
        assert!(channel.layout().is_none());
        publisher.publish(layout(1));
        assert!(runtime().block_on(channel.described()));
        for number in 0..=30 {
            publisher.publish(picture(number * 40, number == 0));
        }
        let stats = channel.stats();
        assert_eq!((stats.packets, stats.keyframes, stats.refused), (31, 1, 0));
        assert!((stats.fps - 25.0).abs() < 0.01, "{}", stats.fps);
    }
}
