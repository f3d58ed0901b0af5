//! Joins a stream's tracks and says what they are.
//!
//! Pure: configurations and packets of both tracks go in, [`Media`] comes out, a [`Layout`] first. A layout goes
//! out once every announced track has its configuration; again only when one really changed, so that a camera
//! that comes back the same does not disturb a single player.

use std::collections::VecDeque;

use crate::base::ticks::Ticks;
use crate::media::packet::{AudioConfig, Layout, Media, Packet, Track, VideoConfig};

/// A track that was announced and does not come holds the other one back no longer than this.
const PATIENCE: Ticks = Ticks::from_millis(2_000);
/// Packets that wait for the layout; two seconds of 60 fps and sound are 214. At the bound all go, and the next
/// keyframe begins anew: the start of a GOP is worth nothing without its middle.
const PENDING_MAX: usize = 512;

/// What happened.
#[derive(Debug)]
pub(super) enum Event {
    /// The source is up, and these tracks are to be expected.
    Begin {
        /// A picture, in whatever form.
        video: bool,
        /// Sound, in whatever form.
        audio: bool,
    },
    /// The picture's configuration.
    Video(VideoConfig),
    /// The sound's configuration.
    Audio(AudioConfig),
    /// A coded packet of either.
    Packet(Packet),
    /// Time passes.
    Tick,
}

/// The tracks of one stream.
#[derive(Debug, Default)]
pub(super) struct Joiner {
    awaits_video: bool,
    awaits_audio: bool,
    current: Layout,
    sent: Option<Layout>,
    /// Since when one track waits for the other's configuration.
    waiting_since: Option<Ticks>,
    /// Pictures that refer to ones which nobody has seen are held back.
    needs_keyframe: bool,
    pending: VecDeque<Packet>,
    ready: VecDeque<Media>,
}

impl Joiner {
    /// Takes one event; what comes of it is to be taken by [`Joiner::pop`] before the next.
    pub(super) fn handle(&mut self, now: Ticks, event: Event) {
        match event {
            Event::Begin { video, audio } => {
                self.awaits_video = video;
                self.awaits_audio = audio;
                self.current = Layout::default();
                self.waiting_since = Some(now);
                self.needs_keyframe = true;
                self.pending.clear();
            }
            Event::Video(config) => {
                self.awaits_video = false;
                if self.current.video.as_ref() != Some(&config) {
                    self.needs_keyframe = true;
                }
                self.current.video = Some(config);
            }
            Event::Audio(config) => {
                self.awaits_audio = false;
                self.current.audio = Some(config);
            }
            Event::Packet(packet) => self.packet(packet),
            Event::Tick => {}
        }
        self.announce(now);
    }

    /// The next thing to publish.
    pub(super) fn pop(&mut self) -> Option<Media> {
        self.ready.pop_front()
    }

    fn packet(&mut self, packet: Packet) {
        let known = match packet.track {
            Track::Video => self.current.video.is_some(),
            Track::Audio => self.current.audio.is_some(),
        };
        if !known {
            return;
        }
        if packet.track == Track::Video {
            if self.needs_keyframe && !packet.keyframe {
                return;
            }
            self.needs_keyframe = false;
        }
        if self.sent.as_ref() == Some(&self.current) && self.pending.is_empty() {
            self.ready.push_back(Media::Packet(packet));
            return;
        }
        if self.pending.len() >= PENDING_MAX {
            self.pending.clear();
            self.needs_keyframe = true;
            return;
        }
        self.pending.push_back(packet);
    }

    fn announce(&mut self, now: Ticks) {
        let nothing = self.current.video.is_none() && self.current.audio.is_none();
        let waited = self.waiting_since.is_none_or(|since| now - since > PATIENCE);
        if nothing || ((self.awaits_video || self.awaits_audio) && !waited) {
            return;
        }
        if self.sent.as_ref() != Some(&self.current) {
            self.sent = Some(self.current.clone());
            self.ready.push_back(Media::Layout(self.current.clone()));
        }
        self.ready.extend(self.pending.drain(..).map(Media::Packet));
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use crate::base::units::PictureSize;
    use crate::media::packet::VideoCodec;

    use super::*;

    fn video(width: u32) -> VideoConfig {
        VideoConfig {
            codec: VideoCodec::H264,
            record: Bytes::from_static(b"avcC"),
            size: PictureSize { width, height: 720 },
            fps: None,
            bitrate: None,
        }
    }

    fn audio() -> AudioConfig {
        AudioConfig { record: Bytes::from_static(b"asc"), sample_rate: 48_000, channels: 2, bitrate: None }
    }

    fn packet(track: Track, at: i64, keyframe: bool) -> Event {
        Event::Packet(Packet { track, dts: Ticks(at), pts: Ticks(at), keyframe, payload: Bytes::new() })
    }

    fn run(joiner: &mut Joiner, now: i64, event: Event) -> Vec<String> {
        joiner.handle(Ticks::from_millis(now), event);
        std::iter::from_fn(|| joiner.pop())
            .map(|media| match media {
                Media::Layout(layout) => match (layout.video, layout.audio) {
                    (Some(video), Some(_)) => format!("{}+a", video.size.width),
                    (Some(video), None) => video.size.width.to_string(),
                    _ => "a".to_owned(),
                },
                Media::Packet(packet) => format!("{:?}{}", packet.track, packet.dts.0),
            })
            .collect()
    }

    #[test]
    fn the_layout_waits_for_all_tracks_and_no_packet_is_lost_meanwhile() {
        let mut joiner = Joiner::default();
        assert!(run(&mut joiner, 0, Event::Begin { video: true, audio: true }).is_empty());
        assert!(run(&mut joiner, 1, Event::Video(video(1280))).is_empty());
        assert!(run(&mut joiner, 2, packet(Track::Video, 10, true)).is_empty());
        assert!(run(&mut joiner, 3, packet(Track::Video, 11, false)).is_empty());
        assert_eq!(run(&mut joiner, 4, Event::Audio(audio())), ["1280+a", "Video10", "Video11"]);
        assert_eq!(run(&mut joiner, 5, packet(Track::Audio, 12, true)), ["Audio12"]);
    }

    #[test]
    fn a_source_that_comes_back_the_same_is_not_announced_again_and_one_that_changed_is() {
        let mut joiner = Joiner::default();
        run(&mut joiner, 0, Event::Begin { video: true, audio: false });
        assert_eq!(run(&mut joiner, 1, Event::Video(video(1280))), ["1280"]);
        run(&mut joiner, 2, Event::Begin { video: true, audio: false });
        assert!(run(&mut joiner, 3, Event::Video(video(1280))).is_empty());
        assert_eq!(run(&mut joiner, 4, packet(Track::Video, 1, true)), ["Video1"]);
        assert_eq!(run(&mut joiner, 5, Event::Video(video(640))), ["640"]);
    }

    #[test]
    fn after_a_new_configuration_pictures_begin_at_a_keyframe() {
        let mut joiner = Joiner::default();
        run(&mut joiner, 0, Event::Begin { video: true, audio: false });
        run(&mut joiner, 1, Event::Video(video(1280)));
        assert!(run(&mut joiner, 2, packet(Track::Video, 1, false)).is_empty());
        assert_eq!(run(&mut joiner, 3, packet(Track::Video, 2, true)), ["Video2"]);
    }

    #[test]
    fn a_track_that_never_comes_is_left_out_after_two_seconds_and_taken_in_later() {
        let mut joiner = Joiner::default();
        run(&mut joiner, 0, Event::Begin { video: true, audio: true });
        run(&mut joiner, 1, Event::Audio(audio()));
        assert!(run(&mut joiner, 1_999, Event::Tick).is_empty());
        assert_eq!(run(&mut joiner, 2_001, Event::Tick), ["a"]);
        assert_eq!(run(&mut joiner, 9_000, Event::Video(video(640))), ["640+a"]);
    }

    fn any_event() -> impl Strategy<Value = Event> {
        prop_oneof![
            (any::<bool>(), any::<bool>()).prop_map(|(video, audio)| Event::Begin { video, audio }),
            (1u32..3).prop_map(|width| Event::Video(video(width))),
            Just(()).prop_map(|()| Event::Audio(audio())),
            (any::<bool>(), any::<bool>(), any::<i32>()).prop_map(|(picture, keyframe, at)| {
                packet(if picture { Track::Video } else { Track::Audio }, at.into(), keyframe)
            }),
            Just(()).prop_map(|()| Event::Tick),
        ]
    }

    proptest! {
        #[test]
        fn a_packet_never_goes_out_before_the_layout_that_names_its_track(
            events in prop::collection::vec((0i64..900, any_event()), 0..200),
        ) {
            let mut joiner = Joiner::default();
            let (mut now, mut layout, mut begins) = (0, Layout::default(), true);
            for (later, event) in events {
                now += later;
                joiner.handle(Ticks::from_millis(now), event);
                while let Some(media) = joiner.pop() {
                    match media {
                        Media::Layout(next) => {
                            prop_assert!(next != layout && next != Layout::default(), "a layout without news");
                            begins |= next.video.is_some() && next.video != layout.video;
                            layout = next;
                        }
                        Media::Packet(packet) if packet.track == Track::Video => {
                            prop_assert!(layout.video.is_some() && (packet.keyframe || !begins));
                            begins = false;
                        }
                        Media::Packet(_) => prop_assert!(layout.audio.is_some()),
                    }
                }
            }
        }
    }

    #[test]
    fn waiting_packets_are_bounded() {
        let mut joiner = Joiner::default();
        run(&mut joiner, 0, Event::Begin { video: true, audio: true });
        run(&mut joiner, 0, Event::Video(video(640)));
        for at in 0..10_000 {
            run(&mut joiner, 0, packet(Track::Video, at, at % 1_000 == 0));
        }
        assert!(joiner.pending.len() <= PENDING_MAX);
    }
}
