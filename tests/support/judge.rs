//! Holds what the clouds recorded against what the box made: is every picture and every sound there?
//!
//! ```text
//!   /live/main.flv ──> Source ──> Truth: all pictures and sounds, with times and hashes
//!                                   │
//!   recordings of all servers ──────┼──> judge ──> Verdict: missing, strangers, moved in time, joined stream
//!   bytes on the wires (taps) ──────┘              and of what is missing: had a server acknowledged it?
//! ```
//! Servers stamp their recordings from zero; a recording's place on the stream's timeline is found by its first
//! picture, and every other picture and sound must then stand where the truth has it. The wire carries the
//! stream's own times, so there all connections must agree.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use footlight::base::{clock, threads};

use super::flv::{self, Tag, Viewer};
use super::net::{Flow, Tap};
use super::{probe, rtmp, wait};

/// Times are rounded to milliseconds once in each place, and compared between places.
const ROUNDING_MILLIS: i64 = 2;

/// Watches a stream on the LAN from beginning to end, as the truth about what the box made.
pub struct Source {
    tags: Arc<Mutex<Vec<(Instant, Tag)>>>,
    over: Arc<AtomicBool>,
    watcher: Option<JoinHandle<()>>,
}

/// What the box made.
#[derive(Debug)]
pub struct Truth {
    /// Sequence headers, the first of each kind.
    pub headers: Vec<Tag>,
    /// Pictures and sounds, in order.
    pub tags: Vec<Tag>,
    /// When each of them was there to be sent; empty where that is not known.
    pub made: Vec<Instant>,
    places: HashMap<(u8, u64), Vec<usize>>,
}

/// What all servers together have of it.
#[derive(Debug)]
pub struct Verdict {
    /// Places in [`Truth::tags`] that no recording has, between the first and the last that one has.
    pub missing: Vec<usize>,
    /// Recorded more than once.
    pub duplicates: usize,
    /// Recorded, and not in the truth: what, and where.
    pub strangers: Vec<String>,
    /// Recorded at another distance from the recording's first picture than in the truth: what, and by how much.
    pub moved: Vec<String>,
    /// Recordings in which time runs back, with the place.
    pub runs_back: Vec<String>,
    /// The first and the last place in [`Truth::tags`] that is recorded.
    pub span: Option<(usize, usize)>,
    recorded: BTreeSet<usize>,
}

/// What went over the wires.
#[derive(Debug)]
pub struct Wires {
    /// Places in the truth that a server's kernel acknowledged.
    pub acked: BTreeSet<usize>,
    /// Places in the truth that reached a server's kernel.
    pub delivered: BTreeSet<usize>,
    /// The stream's time less the truth's, for each connection that carried media. All are equal where the
    /// timeline was left alone.
    pub offsets: Vec<i64>,
    /// Messages whose time lies before the one before them, on one connection and track.
    pub runs_back: usize,
}

impl Source {
    /// Watches `/live/{stream}.flv` from now on.
    #[track_caller]
    pub fn watch(server: SocketAddr, stream: &str) -> Source {
        let path = format!("/live/{stream}.flv");
        let mut viewer = wait::for_some(Duration::from_secs(20), &format!("{path} is served"), || {
            Viewer::try_open(server, &path, Duration::from_secs(2)).ok()
        });
        let tags = Arc::new(Mutex::new(Vec::new()));
        let over = Arc::new(AtomicBool::new(false));
        let (to, stop) = (tags.clone(), over.clone());
        let watcher = threads::spawn("test", "truth", move || {
            while !stop.load(Ordering::Relaxed) {
                match viewer.next_tag() {
                    Ok(tag) => {
                        let now = clock::now();
                        to.lock().unwrap_or_else(PoisonError::into_inner).push((now, tag));
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => return,
                }
            }
        });
        Source { tags, over, watcher: Some(watcher.unwrap()) }
    }

    /// How many pictures and sounds there are so far.
    pub fn count(&self) -> usize {
        self.tags.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Waits until the stream has gone on for this long.
    #[track_caller]
    pub fn goes_on_for(&self, span: Duration) {
        let newest = || {
            let tags = self.tags.lock().unwrap_or_else(PoisonError::into_inner);
            tags.last().map_or(0, |(_, tag)| u64::from(tag.millis))
        };
        let end = newest() + span.as_millis() as u64;
        wait::until(span * 4 + Duration::from_secs(20), "the stream goes on", || newest() >= end);
    }

    /// What it saw. To be asked once the box has ended.
    pub fn truth(mut self) -> Truth {
        self.over.store(true, Ordering::Relaxed);
        if let Some(watcher) = self.watcher.take() {
            let _ = watcher.join();
        }
        let timed = std::mem::take(&mut *self.tags.lock().unwrap_or_else(PoisonError::into_inner));
        let made = timed.iter().filter(|(_, tag)| is_media(tag)).map(|(made, _)| *made).collect();
        Truth { made, ..Truth::new(timed.into_iter().map(|(_, tag)| tag).collect()) }
    }
}

impl Truth {
    /// Of all tags of a stream.
    pub fn new(tags: Vec<Tag>) -> Truth {
        let mut headers: Vec<Tag> = Vec::new();
        let mut media = Vec::new();
        for tag in tags {
            if is_media(&tag) {
                media.push(tag);
            } else if tag.is_header() && !headers.iter().any(|header| header.kind == tag.kind) {
                headers.push(tag);
            }
        }
        let mut places: HashMap<(u8, u64), Vec<usize>> = HashMap::new();
        for (at, tag) in media.iter().enumerate() {
            places.entry(name(tag)).or_default().push(at);
        }
        Truth { headers, tags: media, made: vec![], places }
    }

    /// Where it stands, at about this time.
    fn place(&self, tag: &Tag, millis: i64) -> Option<usize> {
        let places = self.places.get(&name(tag))?;
        places.iter().copied().min_by_key(|at| (i64::from(self.tags[*at].millis) - millis).abs())
    }

    /// What has to be added to a recording's times to have the truth's.
    fn offset(&self, tags: &[Tag]) -> Option<i64> {
        tags.iter().filter(|tag| tag.is_picture()).find_map(|tag| {
            let [at] = self.places.get(&name(tag))?[..] else { return None };
            Some(i64::from(self.tags[at].millis) - i64::from(tag.millis))
        })
    }

    /// Where a recording's pictures and sounds stand. Sound may be a little older than the first picture, and servers
    /// that stamp from zero stamp it zero: it stands right before the first sound that has a time.
    fn places(&self, tags: &[Tag], offset: i64) -> Vec<Option<usize>> {
        let mut places: Vec<_> =
            tags.iter().map(|tag| self.place(tag, i64::from(tag.millis) + offset)).collect();
        let first_timed = tags.iter().position(|tag| tag.is_audio() && tag.millis > 0);
        let Some((first, mut next)) = first_timed.and_then(|at| Some((at, places[at]?))) else {
            return places;
        };
        for at in (0..first).rev().filter(|&at| tags[at].is_audio()) {
            let before = self.tags[..next].iter().rposition(Tag::is_audio);
            places[at] = before.filter(|&before| name(&self.tags[before]) == name(&tags[at]));
            next = before.unwrap_or(0);
        }
        places
    }

    /// Whether this time lies in what was watched: the cloud may have heard of the stream before the watcher did.
    fn covers(&self, millis: i64) -> bool {
        let end = |tag: Option<&Tag>| tag.map_or(0, |tag| i64::from(tag.millis));
        // Sound comes a little after the picture of its time.
        let (first, last) = (end(self.tags.first()) + ROUNDING_MILLIS, end(self.tags.last()) - 200);
        (first..last).contains(&millis)
    }

    /// Holds recordings against it.
    pub fn judge(&self, recordings: &[PathBuf]) -> Verdict {
        let mut verdict = Verdict {
            missing: vec![],
            duplicates: 0,
            strangers: vec![],
            moved: vec![],
            runs_back: vec![],
            span: None,
            recorded: BTreeSet::new(),
        };
        for path in recordings {
            let tags: Vec<Tag> = flv::read_file(path).into_iter().filter(is_media).collect();
            if let Some(at) = first_run_back(&tags) {
                verdict.runs_back.push(format!("{}: after {} ms", path.display(), tags[at].millis));
            }
            if tags.is_empty() {
                continue;
            }
            let Some(offset) = self.offset(&tags) else {
                verdict.strangers.push(format!("all of {}", path.display()));
                continue;
            };
            for (tag, place) in tags.iter().zip(self.places(&tags, offset)) {
                let millis = i64::from(tag.millis) + offset;
                let Some(at) = place else {
                    if tag.millis > 0 && self.covers(millis) {
                        let (kind, bytes) = (tag.kind, tag.body.len());
                        let what =
                            format!("kind {kind}, {bytes} bytes at {} ms in {}", tag.millis, path.display());
                        verdict.strangers.push(what);
                    }
                    continue;
                };
                let moved = millis - i64::from(self.tags[at].millis);
                if moved.abs() > ROUNDING_MILLIS && tag.millis > 0 {
                    let what = format!("{} by {moved} ms in {}", self.tell(&[at]), path.display());
                    verdict.moved.push(what);
                } else if !verdict.recorded.insert(at) {
                    verdict.duplicates += 1;
                }
            }
        }
        if let (Some(&first), Some(&last)) = (verdict.recorded.first(), verdict.recorded.last()) {
            verdict.span = Some((first, last));
            verdict.missing = (first..=last).filter(|at| !verdict.recorded.contains(at)).collect();
        }
        verdict
    }

    /// Holds the bytes on the wires against it.
    pub fn wires<'a>(&self, taps: impl IntoIterator<Item = &'a Tap>) -> Wires {
        let mut wires =
            Wires { acked: BTreeSet::new(), delivered: BTreeSet::new(), offsets: vec![], runs_back: 0 };
        for flow in taps.into_iter().flat_map(|tap| &tap.flows) {
            self.wire(flow, &mut wires);
        }
        wires
    }

    /// For each picture and sound that reached a far end's kernel: its place, and when it was whole there first.
    pub fn arrivals(&self, tap: &Tap) -> BTreeMap<usize, Instant> {
        let mut arrivals = BTreeMap::new();
        for flow in &tap.flows {
            let messages = rtmp::messages(&flow.bytes);
            let tags: Vec<Tag> = messages.iter().map(|message| message.tag.clone()).collect();
            let Some(offset) = self.offset(&tags) else { continue };
            for message in messages.iter().filter(|message| is_media(&message.tag)) {
                let place = self.place(&message.tag, i64::from(message.tag.millis) + offset);
                if let (Some(at), Some(had)) = (place, flow.had(message.end)) {
                    arrivals
                        .entry(at)
                        .and_modify(|first: &mut Instant| *first = had.min(*first))
                        .or_insert(had);
                }
            }
        }
        arrivals
    }

    fn wire(&self, flow: &Flow, wires: &mut Wires) {
        let messages = rtmp::messages(&flow.bytes);
        let (ends, tags): (Vec<usize>, Vec<Tag>) = messages
            .into_iter()
            .filter(|message| is_media(&message.tag))
            .map(|message| (message.end, message.tag))
            .unzip();
        wires.runs_back += usize::from(first_run_back(&tags).is_some());
        let Some(offset) = self.offset(&tags) else { return };
        wires.offsets.push(-offset);
        for (tag, end) in tags.iter().zip(ends) {
            let millis = i64::from(tag.millis) + offset;
            let Some(at) = self.place(tag, millis) else { continue };
            if (millis - i64::from(self.tags[at].millis)).abs() <= ROUNDING_MILLIS {
                wires.delivered.insert(at);
                if end <= flow.acked {
                    wires.acked.insert(at);
                }
            }
        }
    }

    /// What [`Verdict::missing`] is, for people.
    pub fn tell(&self, places: &[usize]) -> String {
        let words = places.iter().map(|&at| {
            let tag = &self.tags[at];
            let what = if tag.is_keyframe() {
                "keyframe"
            } else if tag.is_video() {
                "picture"
            } else {
                "sound"
            };
            format!("{what} at {} ms", tag.millis)
        });
        words.collect::<Vec<_>>().join(", ")
    }

    /// What each connection of a line carried, for people.
    pub fn tell_flows(tap: &Tap) -> String {
        let flows = tap.flows.iter().map(|flow| {
            let tags: Vec<Tag> = rtmp::messages(&flow.bytes).into_iter().map(|message| message.tag).collect();
            let media: Vec<&Tag> = tags.iter().filter(|tag| is_media(tag)).collect();
            let ends = media.first().zip(media.last());
            let span = ends.map(|(first, last)| format!("{} to {} ms", first.millis, last.millis));
            let (count, bytes, acked) = (media.len(), flow.bytes.len(), flow.acked);
            let span = span.unwrap_or_default();
            format!("  {bytes} bytes, {acked} acknowledged, {count} pictures and sounds {span}\n")
        });
        flows.collect()
    }

    /// GOPs between the first and last recorded keyframe of which a picture is missing.
    pub fn broken_gops(&self, verdict: &Verdict) -> usize {
        let gop_of = |at: usize| self.tags[..=at].iter().rposition(Tag::is_keyframe);
        let pictures = verdict.missing.iter().filter(|&&at| self.tags[at].is_video());
        pictures.filter_map(|&at| gop_of(at)).collect::<BTreeSet<_>>().len()
    }

    /// Writes what all recordings together have as one file, and has it decoded from its first keyframe on.
    #[track_caller]
    pub fn decode_joined(&self, verdict: &Verdict, path: &Path) -> probe::Decoded {
        let joined = verdict.recorded.iter().map(|&at| &self.tags[at]);
        let joined = joined.skip_while(|tag| !tag.is_keyframe());
        let mut headers = self.headers.clone();
        for header in &mut headers {
            header.millis = 0;
        }
        flv::write_file(path, headers.iter().chain(joined));
        probe::decode(path.to_str().expect("the path is UTF-8"), 600)
    }
}

impl Verdict {
    /// Missing although no server's kernel had acknowledged it: what a sender can be blamed for.
    pub fn lost(&self, wires: &Wires) -> Vec<usize> {
        self.missing.iter().copied().filter(|at| !wires.acked.contains(at)).collect()
    }
}

impl Wires {
    /// Whether all connections have one timeline.
    pub fn one_timeline(&self) -> bool {
        let low = self.offsets.iter().min().copied().unwrap_or_default();
        self.runs_back == 0 && self.offsets.iter().all(|offset| offset - low <= ROUNDING_MILLIS)
    }
}

/// A picture or a sound, not what announces them.
fn is_media(tag: &Tag) -> bool {
    (tag.is_video() || tag.is_audio()) && !tag.is_header() && tag.body.len() > 5
}

fn name(tag: &Tag) -> (u8, u64) {
    let mut hasher = DefaultHasher::new();
    tag.body.hash(&mut hasher);
    (tag.kind, hasher.finish())
}

/// The place after which a track's time runs back.
fn first_run_back(tags: &[Tag]) -> Option<usize> {
    let mut newest: BTreeMap<u8, u32> = BTreeMap::new();
    tags.iter().position(|tag| {
        let before = newest.insert(tag.kind, tag.millis);
        before.is_some_and(|before| tag.millis < before)
    })
}
