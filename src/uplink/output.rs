//! One output's life: waits for media, then lets the failover core say which line does what, and does it.
//!
//! One task for all of an output's lines, so that what the core asks for is done before it hears anything else: each
//! turn moves bytes and feeds who carries, hands the news on, obeys, and sleeps until something happens.

use std::future::poll_fn;
use std::hash::{BuildHasher, RandomState};
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep_until, timeout};
use tracing::{debug, info};

use crate::base::clock;
use crate::base::ticks::Ticks;
use crate::config::schema::{Output, OutputMode};
use crate::hub::{Channel, ChannelStats, Reader, Start};
use crate::media::packet::Layout;

use super::books::Books;
use super::exits::Exits;
use super::failover::{
    Action, Actions, Dial, Event, Failover, LineEvent, LineId, LineState as CoreState, Mode, Settings, Why,
};
use super::governor::Voice;
use super::inflight::Seq;
use super::line::{Line, News};
use super::lines::LineStats;
use super::link::Link;
use super::need::Need;
use super::status::{Figures, State};

/// How often the kernel is asked what arrived: a stall is called after 350 ms, and should be seen in time.
const SAMPLE_EVERY: Duration = Duration::from_millis(25);

/// Looks at the lines between two reports to the encoder, and to who asks for figures.
const LOOKS_A_READING: u32 = 2;
const LOOKS_A_REPORT: u32 = 4;

/// After this long without a word of any line an output has no say about the encoder: others watch, too.
const IDLE_AFTER: Duration = Duration::from_secs(3);

/// A source that showed nothing, or said nothing where there is no picture, for this long is silent.
const SILENT_AFTER: Duration = Duration::from_secs(2);

/// How long the rest of a stream that is gone may take.
const LAST_WORDS_MAX: Duration = Duration::from_secs(2);

/// Good-byes that may be under way; one more is not waited for.
const FAREWELLS_MAX: usize = 16;

/// How long all lines may take to say good-bye at the end.
const FINISH_MAX: Duration = Duration::from_millis(2_100);

/// Why an output ended without anything being wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// The box stops, or the output is taken away.
    Asked,
    /// The stream is gone.
    StreamOver,
}

/// What a person asks of an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// The stream shall go by this line now, and stay there.
    Switch(LineId),
    /// It shall stay where it is.
    Hold,
    /// The primary is home again.
    Resume,
    /// This line shall be dialled afresh.
    Reconnect(LineId),
}

/// What an output's task is given.
pub(super) struct Task {
    pub(super) output: Output,
    pub(super) channel: Channel,
    pub(super) figures: Figures,
    pub(super) voice: Option<Voice>,
    pub(super) exits: Exits,
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) stop: watch::Receiver<bool>,
}

/// Runs until `stop` says so or the stream is over.
pub(super) async fn run(task: Task) {
    let Task { output, channel, figures, voice, exits, mut orders, mut stop } = task;
    let ended = if let Some(ended) = wait_for_media(&channel, &figures, &mut stop).await {
        ended
    } else {
        let destinations = std::iter::once(&output.primary).chain(&output.standby);
        let exits = destinations.map(|destination| exits.join(destination)).collect();
        let books = Books::new(clock::now(), figures.clone(), exits);
        let mut life = Life::new(clock::now(), output, channel, books, voice);
        let ended = life.live(&mut orders, &mut stop).await;
        life.finish().await;
        ended
    };
    figures.stop();
    match ended {
        Ended::Asked => info!("output stopped"),
        Ended::StreamOver => info!("output stopped: its stream is gone"),
    }
}

/// Returns once there is something to send: a server cuts off who publishes nothing.
async fn wait_for_media(
    channel: &Channel,
    figures: &Figures,
    stop: &mut watch::Receiver<bool>,
) -> Option<Ended> {
    figures.enter(State::WaitingForStream);
    let speaks = speaks(channel.layout().as_ref(), &channel.stats(), clock::now());
    let mut reader = channel.reader(if speaks { Start::Gop } else { Start::Live });
    tokio::select! {
        () = reader.wait() => channel.is_closed().then_some(Ended::StreamOver),
        () = asked(stop) => Some(Ended::Asked),
    }
}

struct Life {
    channel: Channel,
    /// At the head, to be woken by what comes.
    watch: Reader,
    core: Failover,
    lines: Vec<Line>,
    books: Books,
    voice: Option<Voice>,
    news: Vec<(LineId, Dial, LineEvent)>,
    ring: Option<(u64, u64)>,
    need: Need,
    farewells: JoinSet<()>,
    looks: u32,
    /// When a line that carries was last heard of.
    heard_at: Instant,
}

impl Life {
    fn new(now: Instant, output: Output, channel: Channel, books: Books, voice: Option<Voice>) -> Life {
        let lines: Vec<Line> = std::iter::once(output.primary)
            .chain(output.standby)
            .enumerate()
            .map(|(at, destination)| Line::new(at, destination))
            .collect();
        let settings = Settings {
            mode: match output.mode {
                OutputMode::Mirror => Mode::Mirror,
                OutputMode::Warm => Mode::Warm,
                OutputMode::Cold => Mode::Cold,
            },
            lines: lines.len() as u8,
            failback_after: output.failback,
            failback_after_max: output.failback.max(Settings::default().failback_after_max),
            seed: RandomState::new().hash_one(&output.name),
            ..Settings::default()
        };
        Life {
            watch: channel.reader(Start::Head),
            core: Failover::new(now, settings),
            books,
            lines,
            channel,
            voice,
            news: Vec::new(),
            ring: None,
            need: Need::new(),
            farewells: JoinSet::new(),
            looks: 0,
            heard_at: now,
        }
    }

    async fn live(&mut self, orders: &mut mpsc::Receiver<Order>, stop: &mut watch::Receiver<bool>) -> Ended {
        let mut samples = interval(SAMPLE_EVERY);
        samples.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut orders_open, mut closed_since) = (true, None);
        self.books.enter(State::Connecting);
        loop {
            let now = clock::now();
            // Before the turn: what comes during it wakes us.
            self.watch.move_to_head();
            let turn = self.turn(now);
            if self.channel.is_closed() {
                let since = *closed_since.get_or_insert(now);
                let waits = self.lines.iter().any(Line::is_feeding) && !turn.over;
                if !waits || now >= since + LAST_WORDS_MAX {
                    return Ended::StreamOver;
                }
            }
            if *stop.borrow() {
                return Ended::Asked;
            }
            if turn.again {
                tokio::task::yield_now().await;
                continue;
            }
            let last_words = closed_since.map(|since: Instant| since + LAST_WORDS_MAX);
            let wake = self.wake_at().into_iter().chain(last_words).min();
            let published = self.lines.iter().any(Line::is_published);
            tokio::select! {
                () = asked(stop) => return Ended::Asked,
                order = orders.recv(), if orders_open => match order {
                    Some(order) => self.follow(clock::now(), order),
                    None => orders_open = false,
                },
                () = ready(&mut self.lines) => {}
                () = self.watch.wait(), if closed_since.is_none() => {}
                () = sleep_until(wake.unwrap_or(now).into()), if wake.is_some() => {}
                Some(_) = self.farewells.join_next(), if !self.farewells.is_empty() => {}
                _ = samples.tick(), if published => self.sample(clock::now()),
            }
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        let lines = self.lines.iter().filter_map(Line::wake_at);
        lines.chain(self.core.wake_at()).min()
    }

    // ---- a turn -----------------------------------------------------------------------------------------------

    fn turn(&mut self, now: Instant) -> Turned {
        let mut turned = Turned { again: false, over: true };
        let mut told = News::new();
        for at in 0..self.lines.len() {
            let behind = self.behind(at);
            let line = &mut self.lines[at];
            let turn = line.turn(now, &self.channel, behind, &mut told);
            turned.again |= turn.again;
            turned.over &= turn.over || !line.is_feeding();
            let (id, dial) = (LineId(at as u8), line.dial);
            self.news.extend(told.drain(..).map(|what| (id, dial, what)));
        }
        turned.again |= self.look_at_ring(now);
        turned.again |= self.hand_on(now);
        if self.core.wake_at().is_some_and(|at| at <= now) {
            turned.again |= self.tell(now, Event::Tick);
            turned.again |= self.hand_on(now);
        }
        turned
    }

    /// How old the oldest tag is that a line's far end has not acknowledged.
    fn behind(&self, at: usize) -> Ticks {
        let reading = self.core.stats(LineId(at as u8)).and_then(LineStats::reading);
        reading.map_or(Ticks::ZERO, |reading| Ticks::from(reading.behind))
    }

    /// Tells of GOPs that came and went. What stood in the ring before a source fell silent is no news: a far end
    /// that cut us off for having nothing to say must not be told the last words again and again.
    fn look_at_ring(&mut self, now: Instant) -> bool {
        let gops = self.channel.gops();
        if gops == self.ring {
            return false;
        }
        let first = self.ring.is_none();
        if first && !speaks(self.channel.layout().as_ref(), &self.channel.stats(), now) {
            return false;
        }
        self.ring = gops;
        let Some((oldest, newest)) = gops else { return false };
        self.tell(now, Event::Ring { oldest_gop: Seq(oldest), newest_gop: Seq(newest) })
    }

    /// Hands what the lines told to the core, and does what it says.
    fn hand_on(&mut self, now: Instant) -> bool {
        let mut acted = false;
        while !self.news.is_empty() {
            for (line, dial, what) in std::mem::take(&mut self.news) {
                if what == LineEvent::Published {
                    self.books.published(line);
                }
                let actions = self.core.handle(now, Event::Line { line, dial, what });
                // Before what follows from it, so that the log tells the cause first.
                let failed = matches!(what, LineEvent::Ended(_) | LineEvent::Refused(_));
                if failed && let Some(failure) = self.lines[line.index()].take_failure() {
                    self.books.failed(now, line, &failure, self.core.state(line));
                }
                acted |= self.obey_all(now, actions);
            }
        }
        acted
    }

    /// Tells the core, and does what it says; whether there was anything to do.
    fn tell(&mut self, now: Instant, event: Event) -> bool {
        let actions = self.core.handle(now, event);
        self.obey_all(now, actions)
    }

    fn obey_all(&mut self, now: Instant, actions: Actions) -> bool {
        let acts = !actions.is_empty();
        for action in actions {
            self.obey(now, action);
        }
        if acts {
            self.books.report(now, &self.core, &self.need, self.voice.as_ref());
        }
        acts
    }

    fn obey(&mut self, now: Instant, action: Action) {
        match action {
            Action::Connect { line, dial } => {
                debug!(line = line.0, "dialling");
                self.books.redialled(line);
                self.lines[line.index()].connect(now, dial);
            }
            Action::Disconnect { line, dial, why } => {
                debug!(line = line.0, ?why, "hanging up");
                let one = &mut self.lines[line.index()];
                if one.dial == dial
                    && let Some(link) = one.hang_up(why)
                {
                    say_good_bye(&mut self.farewells, link);
                }
                let name = &self.lines[line.index()].name;
                self.books.given_up(now, line, name, why, self.core.state(line));
            }
            Action::Carry { line, from, pace, left, why, .. } => {
                self.lines[line.index()].carry(now, from, pace);
                self.books.moved(now, line, left, why);
                if let Some(voice) = &self.voice {
                    voice.moved(now);
                }
            }
            Action::Rest { line, .. } => self.lines[line.index()].rest(),
            Action::Trickle { line, dial, at } => {
                let at = at.and_then(|seq| self.channel.time_of(seq.0));
                // Where nothing is known, what may have to be carried next starts no earlier than what is held.
                let oldest = || self.channel.gops().and_then(|(oldest, _)| self.channel.time_of(oldest));
                let mut told = News::new();
                self.lines[line.index()].trickle(at.or_else(oldest), &mut told);
                self.news.extend(told.into_iter().map(|what| (line, dial, what)));
            }
            Action::Gap(gap) => self.books.lost(now, gap),
        }
    }

    /// A person's order.
    fn follow(&mut self, now: Instant, order: Order) {
        info!(?order, "a person asks");
        let event = match order {
            Order::Switch(to) => Event::Switch { to },
            Order::Hold => Event::Hold,
            Order::Resume => Event::Resume,
            Order::Reconnect(line) => Event::Reconnect { line },
        };
        self.tell(now, event);
        self.hand_on(now);
        self.books.report(now, &self.core, &self.need, self.voice.as_ref());
    }

    // ---- looking ----------------------------------------------------------------------------------------------

    /// Asks the kernel about every connection.
    fn sample(&mut self, now: Instant) {
        self.looks = self.looks.wrapping_add(1);
        let mut told = News::new();
        for at in 0..self.lines.len() {
            let line = &mut self.lines[at];
            let sampled = line.sample(&self.channel, &mut told);
            let (id, dial) = (LineId(at as u8), line.dial);
            if let Some(sampled) = sampled {
                self.books.sampled(id, &sampled);
            }
            self.news.extend(told.drain(..).map(|what| (id, dial, what)));
        }
        self.hand_on(now);
        if self.looks.is_multiple_of(LOOKS_A_READING) {
            self.read(now);
        }
        if self.looks.is_multiple_of(LOOKS_A_REPORT) {
            let stats = self.channel.stats();
            let bound = self.voice.as_ref().and_then(Voice::stream_bound);
            if let Some(need) = self.need.look(stats.at, stats.bytes, bound) {
                self.tell(now, Event::Need(need));
                self.lines.iter_mut().for_each(|line| line.raise_pace(need));
            }
            self.books.report(now, &self.core, &self.need, self.voice.as_ref());
        }
    }

    /// Lets the encoder know what the line that carries is like; the worst of them where several do.
    fn read(&mut self, now: Instant) {
        let Some(voice) = &self.voice else { return };
        // What an encoder before this one announced says nothing about this one.
        if let Some(layout) = self.channel.announced() {
            voice.announced(now, &layout);
        }
        let ids = (0..self.lines.len()).map(|at| LineId(at as u8));
        // A line by which nothing arrives says nothing of what it carries.
        let is_heard = |id: &LineId| match self.core.state(*id) {
            Some(CoreState::Up { carrying: true, trouble }) => {
                !matches!(trouble, Some(Why::Stalled | Why::Frozen))
            }
            _ => false,
        };
        let readings = ids.filter(is_heard).filter_map(|id| Some((id, self.core.stats(id)?.reading()?)));
        let below = if let Some((id, reading)) = readings.max_by_key(|(_, reading)| reading.queue_time) {
            self.heard_at = now;
            voice.read(now, reading, self.lines[id.index()].is_catching_up())
        } else if now >= self.heard_at + IDLE_AFTER {
            voice.idle(now)
        } else {
            None
        };
        if let Some(below) = below {
            self.books.below_floor(now, below);
        }
    }

    /// Says good-bye on all lines.
    async fn finish(&mut self) {
        for line in &mut self.lines {
            if let Some(link) = line.hang_up(Why::Unneeded) {
                say_good_bye(&mut self.farewells, link);
            }
        }
        let all = async { while self.farewells.join_next().await.is_some() {} };
        if timeout(FINISH_MAX, all).await.is_err() {
            debug!("a far end did not hear the good-bye out");
        }
    }
}

/// What a turn came to.
#[derive(Debug, Clone, Copy)]
struct Turned {
    /// There is more to be done at once.
    again: bool,
    /// Every line that is fed has carried all of a stream that is gone.
    over: bool,
}

fn say_good_bye(farewells: &mut JoinSet<()>, link: Link) {
    if farewells.len() < FAREWELLS_MAX {
        farewells.spawn(link.finish());
    }
}

/// Returns once one of the lines has something to do.
async fn ready(lines: &mut [Line]) {
    poll_fn(|cx| {
        // Every one is asked, so that every one wakes us.
        let ready = lines.iter_mut().filter_map(|line| line.poll(cx).is_ready().then_some(())).count();
        if ready > 0 { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Returns once the output shall stop, or nobody is left to say so.
async fn asked(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Whether a source shows something; where there is no picture, whether it says something. Sound goes on while a
/// camera is dead, and the newest keyframe is from before its death then.
fn speaks(layout: Option<&Layout>, stats: &ChannelStats, now: Instant) -> bool {
    let has_picture = layout.is_some_and(|layout| layout.video.is_some());
    let newest = if has_picture { stats.last_video_at } else { stats.last_audio_at };
    newest.is_some_and(|at| now.saturating_duration_since(at) < SILENT_AFTER)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::base::units::PictureSize;
    use crate::media::packet::{VideoCodec, VideoConfig};

    #[test]
    fn a_dead_camera_with_a_living_microphone_shows_nothing_to_start_at() {
        let size = PictureSize { width: 64, height: 64 };
        let record = Bytes::from_static(&[1]);
        let video = VideoConfig { codec: VideoCodec::H264, record, size, fps: None, bitrate: None };
        let (picture, sound) = (Layout { video: Some(video), audio: None }, Layout::default());
        let now = clock::now() + Duration::from_secs(180);
        let long_ago = Some(clock::now());
        let dead_camera =
            ChannelStats { last_video_at: long_ago, last_audio_at: Some(now), ..ChannelStats::default() };
        assert!(!speaks(Some(&picture), &dead_camera, now));
        assert!(speaks(Some(&sound), &dead_camera, now));
        let dead_microphone =
            ChannelStats { last_video_at: Some(now), last_audio_at: long_ago, ..ChannelStats::default() };
        assert!(speaks(Some(&picture), &dead_microphone, now));
        assert!(!speaks(None, &ChannelStats::default(), now));
    }
}
