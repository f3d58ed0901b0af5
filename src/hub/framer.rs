//! From packets to tags: one timeline for the stream, whatever becomes of its sources, and each packet framed once.
//!
//! Pure. What a decoder could not use is refused here, once for all readers: pictures between a change and the
//! next keyframe, packets of a track that the layout lacks, and what FLV cannot hold.

use bytes::Bytes;

use crate::base::ticks::Ticks;
use crate::media::flv;
use crate::media::packet::{Layout, Media, Packet, Track};
use crate::media::timeline::Timeline;

use super::ring::TagKind;

/// What became of a piece of media.
#[expect(clippy::large_enum_variant, reason = "lives for a moment on the stack, never in a queue")]
pub(super) enum Framed {
    /// New tracks: `onMetaData` and the sequence headers.
    Layout {
        /// The tracks.
        layout: Layout,
        /// The stream's time now.
        dts: Ticks,
        /// Their headers, in order.
        tags: heapless::Vec<(TagKind, Bytes), 3>,
    },
    /// A packet.
    Tag {
        /// What it carries.
        kind: TagKind,
        /// When, on the stream's timeline.
        dts: Ticks,
        /// The whole tag.
        bytes: Bytes,
    },
    /// The same tracks as before: nothing to tell anybody.
    Unchanged,
    /// Nothing that a decoder could use.
    Refused,
}

/// The framer of one channel.
pub(super) struct Framer {
    timeline: Timeline,
    layout: Option<Layout>,
    /// Pictures are refused until a keyframe comes.
    awaits_keyframe: bool,
}

impl Framer {
    pub(super) fn new() -> Framer {
        Framer { timeline: Timeline::new(), layout: None, awaits_keyframe: true }
    }

    /// Somebody else speaks from here on: the next picture must be a keyframe.
    pub(super) fn restart(&mut self) {
        self.awaits_keyframe = true;
    }

    /// Places and frames one piece of media.
    pub(super) fn frame(&mut self, media: Media) -> Framed {
        match media {
            Media::Layout(layout) => self.begin(layout),
            Media::Packet(packet) => self.packet(&packet).unwrap_or(Framed::Refused),
        }
    }

    fn begin(&mut self, layout: Layout) -> Framed {
        let before = self.layout.as_ref();
        // Sound alone may change in the midst of a GOP. Said again without any change, it is a source that restarted.
        let sound_only =
            before.is_some_and(|before| before.video == layout.video && before.audio != layout.audio);
        self.awaits_keyframe |= !sound_only;
        if before == Some(&layout) {
            return Framed::Unchanged;
        }
        let at = self.timeline.position();
        let metadata = flv::script_tag(at, &flv::on_metadata(&layout));
        let video = layout.video.as_ref().map(|video| flv::video_header(at, video));
        let audio = layout.audio.as_ref().map(|audio| flv::audio_header(at, audio));
        let mut tags = heapless::Vec::new();
        for (kind, framed) in
            [(TagKind::Script, Some(metadata)), (TagKind::VideoHeader, video), (TagKind::AudioHeader, audio)]
        {
            // A record too long for a tag cannot be told; three headers at most, as the array says.
            if let Some(Ok(bytes)) = framed {
                let _ = tags.push((kind, bytes));
            }
        }
        self.layout = Some(layout.clone());
        Framed::Layout { layout, dts: at, tags }
    }

    fn packet(&mut self, packet: &Packet) -> Option<Framed> {
        let layout = self.layout.as_ref()?;
        match packet.track {
            Track::Video => {
                let codec = layout.video.as_ref()?.codec;
                if self.awaits_keyframe && !packet.keyframe {
                    return None;
                }
                let stamp = self.timeline.rebase(packet.track, packet.dts, packet.pts)?;
                let tag = flv::video_tag(stamp.dts, stamp.pts, packet.keyframe, codec, &packet.payload);
                // A picture that cannot be framed breaks all that refer to it.
                self.awaits_keyframe = tag.is_err();
                let kind = TagKind::Video { keyframe: packet.keyframe };
                Some(Framed::Tag { kind, dts: stamp.dts, bytes: tag.ok()? })
            }
            Track::Audio => {
                layout.audio.as_ref()?;
                let stamp = self.timeline.rebase(packet.track, packet.dts, packet.pts)?;
                let tag = flv::audio_tag(stamp.dts, &packet.payload).ok()?;
                Some(Framed::Tag { kind: TagKind::Audio, dts: stamp.dts, bytes: tag })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::units::PictureSize;
    use crate::media::packet::{AudioConfig, VideoCodec, VideoConfig};

    fn layout(record: u8, channels: u8) -> Media {
        Media::Layout(Layout {
            video: Some(VideoConfig {
                codec: VideoCodec::H264,
                record: Bytes::from(vec![record]),
                size: PictureSize { width: 64, height: 64 },
                fps: None,
                bitrate: None,
            }),
            audio: Some(AudioConfig {
                record: Bytes::from_static(&[0x11, 0x90]),
                sample_rate: 48_000,
                channels,
                bitrate: None,
            }),
        })
    }

    fn packet(track: Track, millis: i64, keyframe: bool) -> Media {
        let at = Ticks::from_millis(millis);
        Media::Packet(Packet {
            track,
            dts: at,
            pts: at,
            keyframe,
            payload: Bytes::from_static(&[0, 0, 0, 1, 9]),
        })
    }

    /// What a script of media came to: `L` new headers, `K` and `v` pictures, `a` sound, `-` nothing.
    fn outcome(framer: &mut Framer, media: impl IntoIterator<Item = Media>) -> String {
        media
            .into_iter()
            .map(|media| match framer.frame(media) {
                Framed::Layout { .. } => 'L',
                Framed::Tag { kind: TagKind::Video { keyframe: true }, .. } => 'K',
                Framed::Tag { kind: TagKind::Video { .. }, .. } => 'v',
                Framed::Tag { .. } => 'a',
                Framed::Unchanged => '=',
                Framed::Refused => '-',
            })
            .collect()
    }

    #[test]
    fn nothing_is_heard_before_a_layout_and_no_picture_before_a_keyframe() {
        let mut framer = Framer::new();
        let media = [
            packet(Track::Video, 1_000, true),
            layout(1, 2),
            packet(Track::Video, 1_033, false),
            packet(Track::Video, 1_067, true),
            packet(Track::Audio, 1_070, true),
            packet(Track::Video, 1_100, false),
        ];
        assert_eq!(outcome(&mut framer, media), "-L-Kav");
    }

    #[test]
    fn a_source_that_restarts_with_the_same_tracks_goes_on_at_a_keyframe_without_new_headers() {
        let mut framer = Framer::new();
        outcome(&mut framer, [layout(1, 2), packet(Track::Video, 0, true)]);
        let again = [
            layout(1, 2),
            packet(Track::Audio, 2_010, true),
            packet(Track::Video, 2_000, false),
            packet(Track::Video, 2_033, true),
        ];
        assert_eq!(outcome(&mut framer, again), "=a-K");
    }

    #[test]
    fn new_sound_does_not_cost_a_picture_and_a_new_picture_needs_a_keyframe() {
        let mut framer = Framer::new();
        outcome(&mut framer, [layout(1, 2), packet(Track::Video, 0, true)]);
        assert_eq!(outcome(&mut framer, [layout(1, 1), packet(Track::Video, 33, false)]), "Lv");
        let media = [layout(2, 1), packet(Track::Video, 67, false), packet(Track::Video, 100, true)];
        assert_eq!(outcome(&mut framer, media), "L-K");
    }

    #[test]
    fn a_picture_too_big_for_a_tag_is_refused_with_all_that_refer_to_it() {
        let mut framer = Framer::new();
        outcome(&mut framer, [layout(1, 2), packet(Track::Video, 0, true)]);
        let huge = Media::Packet(Packet {
            track: Track::Video,
            dts: Ticks(3_000),
            pts: Ticks(3_000),
            keyframe: false,
            payload: Bytes::from(vec![0; flv::BODY_BYTES_MAX]),
        });
        let media = [huge, packet(Track::Video, 67, false), packet(Track::Video, 100, true)];
        assert_eq!(outcome(&mut framer, media), "--K");
    }
}
