//! Decides when a camera's source is started, stopped and given up on.
//!
//! Pure: an [`Event`] and the time go in, [`Actions`] come out; `camera.rs` owns the threads and obeys. What counts
//! is **frames moving**: a driver that is open, streaming and silent is as dead as one that was unplugged. A source
//! is tried again for ever, since nobody in a studio types a restart command.

use std::time::{Duration, Instant};

use crate::base::backoff::Backoff;

/// The first wait after a failure; it doubles up to [`RETRY_CAP`].
const RETRY_FIRST: Duration = Duration::from_millis(250);
/// The longest wait between two tries.
const RETRY_CAP: Duration = Duration::from_secs(5);
/// Frames moving for this long make a source healthy: its next failure starts from [`RETRY_FIRST`] again.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);
/// The least time between two starts that hints can bring about: a node in `/dev` that comes and goes like mad
/// must not keep a core busy.
const START_SPACING: Duration = Duration::from_millis(200);
/// How long a source that was told to stop may take before its thread is left behind.
const STOP_PATIENCE: Duration = Duration::from_secs(2);
/// Threads stuck inside a driver that may be left behind at once. Beyond it the camera waits for one to come back:
/// each holds memory, and a driver that swallowed this many will swallow the next.
const LEFT_BEHIND_MAX: u32 = 3;

/// How long silence may last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// From the start to the first frame.
    pub start: Duration,
    /// From one frame to the next.
    pub stall: Duration,
}

/// What the policy is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Time has passed; due at [`Policy::wake_at`].
    Tick,
    /// The newest frame was handed on at this time.
    Moved(Instant),
    /// The source's thread has ended, by itself or because it was told to.
    Ended,
    /// A thread that had been left behind has ended after all.
    CameBack,
    /// The device or the file is there now, and was not, or was another: a try makes sense at once.
    Hint,
    /// A person asks for a restart.
    Restart,
}

/// What the shell must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Start the source on a thread of its own.
    Start,
    /// Tell the source to stop; [`Event::Ended`] follows, or [`Action::LeaveBehind`].
    Stop,
    /// The thread is stuck: cut it off from the stream and go on without it.
    LeaveBehind,
}

/// The most one event can ask for.
pub type Actions = heapless::Vec<Action, 2>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No source; the next is started at this time.
    Waiting { until: Instant },
    /// A source runs. `moved_at` is its newest frame, `None` before the first.
    Up { since: Instant, moved_at: Option<Instant> },
    /// A source was told to stop. `at_once`: start the next without waiting.
    Stopping { since: Instant, at_once: bool },
}

/// The core. See the module's documentation.
#[derive(Debug)]
pub struct Policy {
    patience: Patience,
    backoff: Backoff,
    state: State,
    started_at: Option<Instant>,
    left_behind: u32,
}

impl Policy {
    /// A policy that asks for the first start at its first [`Event::Tick`]. `seed` spreads the retries of cameras.
    pub fn new(now: Instant, patience: Patience, seed: u64) -> Policy {
        Policy {
            patience,
            backoff: Backoff::new(RETRY_FIRST, RETRY_CAP, seed),
            state: State::Waiting { until: now },
            started_at: None,
            left_behind: 0,
        }
    }

    /// Takes one event and answers with what the shell must do, in order. `now` never runs backwards.
    pub fn handle(&mut self, now: Instant, event: Event) -> Actions {
        match event {
            Event::Tick => return self.tick(now),
            Event::Moved(at) => self.moved(at),
            Event::Ended => self.ended(now),
            Event::CameBack => self.left_behind = self.left_behind.saturating_sub(1),
            Event::Hint => self.hint(now),
            Event::Restart => return self.restart(now),
        }
        Actions::new()
    }

    /// When [`Event::Tick`] is due; `None` while only an event from outside can change anything.
    pub fn wake_at(&self) -> Option<Instant> {
        match self.state {
            State::Waiting { .. } if self.left_behind >= LEFT_BEHIND_MAX => None,
            State::Waiting { until } => Some(until),
            State::Up { .. } => Some(self.stalls_at()),
            State::Stopping { since, .. } => Some(since + STOP_PATIENCE),
        }
    }

    /// `true` between a failure and the next start.
    pub fn is_waiting(&self) -> bool {
        matches!(self.state, State::Waiting { .. })
    }

    fn tick(&mut self, now: Instant) -> Actions {
        if self.wake_at().is_none_or(|due| now < due) {
            return Actions::new();
        }
        let action = match self.state {
            State::Waiting { .. } => {
                self.started_at = Some(now);
                self.state = State::Up { since: now, moved_at: None };
                Action::Start
            }
            State::Up { .. } => {
                self.note_health();
                self.state = State::Stopping { since: now, at_once: false };
                Action::Stop
            }
            State::Stopping { .. } => {
                self.left_behind += 1;
                self.wait(now);
                Action::LeaveBehind
            }
        };
        [action].into_iter().collect()
    }

    fn moved(&mut self, at: Instant) {
        if let State::Up { since, moved_at } = &mut self.state
            && at >= *since
        {
            *moved_at = Some(moved_at.map_or(at, |before| before.max(at)));
        }
    }

    fn ended(&mut self, now: Instant) {
        self.note_health();
        match self.state {
            State::Waiting { .. } => {}
            State::Stopping { at_once: true, .. } => self.state = State::Waiting { until: now },
            State::Up { .. } | State::Stopping { .. } => self.wait(now),
        }
    }

    fn hint(&mut self, now: Instant) {
        self.backoff.reset();
        match &mut self.state {
            State::Waiting { until } => {
                let soonest = self.started_at.map_or(now, |started| now.max(started + START_SPACING));
                *until = soonest.min(*until);
            }
            // The device came back while its old self is still being closed.
            State::Stopping { at_once, .. } => *at_once = true,
            State::Up { .. } => {}
        }
    }

    fn restart(&mut self, now: Instant) -> Actions {
        self.backoff.reset();
        match &mut self.state {
            State::Waiting { until } => *until = (*until).min(now),
            State::Stopping { at_once, .. } => *at_once = true,
            State::Up { .. } => {
                self.state = State::Stopping { since: now, at_once: true };
                return [Action::Stop].into_iter().collect();
            }
        }
        Actions::new()
    }

    fn wait(&mut self, now: Instant) {
        self.state = State::Waiting { until: now + self.backoff.next_wait() };
    }

    fn note_health(&mut self) {
        if let State::Up { since, moved_at: Some(moved_at) } = self.state
            && moved_at.duration_since(since) >= HEALTHY_AFTER
        {
            self.backoff.reset();
        }
    }

    fn stalls_at(&self) -> Instant {
        match self.state {
            State::Up { moved_at: Some(moved_at), .. } => moved_at + self.patience.stall,
            State::Up { since, .. } | State::Stopping { since, .. } => since + self.patience.start,
            State::Waiting { until } => until,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::base::clock;

    const PATIENCE: Patience = Patience { start: Duration::from_secs(2), stall: Duration::from_secs(1) };

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// A camera whose behaviour a test scripts, in simulated time of one millisecond steps.
    struct Sim {
        policy: Policy,
        now: Instant,
        born: Instant,
        /// The source runs (its thread exists and is not left behind).
        running: bool,
        /// Frames move while this holds.
        alive: bool,
        /// The source ends by itself this long after each start.
        dies_after: Option<Duration>,
        /// The thread obeys when told to stop.
        obeys: bool,
        starts: Vec<Duration>,
        left_behind: u32,
        started: Instant,
    }

    impl Sim {
        fn new() -> Sim {
            let now = clock::now();
            Sim {
                policy: Policy::new(now, PATIENCE, 3),
                now,
                born: now,
                running: false,
                alive: true,
                dies_after: None,
                obeys: true,
                starts: Vec::new(),
                left_behind: 0,
                started: now,
            }
        }

        fn event(&mut self, event: Event) {
            for action in self.policy.handle(self.now, event) {
                match action {
                    Action::Start => {
                        assert!(!self.running, "two sources at once");
                        self.running = true;
                        self.started = self.now;
                        self.starts.push(self.now - self.born);
                    }
                    Action::Stop if self.obeys => {
                        self.running = false;
                        let ended = self.policy.handle(self.now, Event::Ended);
                        assert!(ended.is_empty());
                    }
                    Action::Stop => {}
                    Action::LeaveBehind => {
                        assert!(self.running);
                        self.running = false;
                        self.left_behind += 1;
                    }
                }
            }
        }

        fn run_for(&mut self, span: Duration) {
            let end = self.now + span;
            while self.now < end {
                if self.running && self.alive {
                    self.event(Event::Moved(self.now));
                }
                if self.running && self.dies_after.is_some_and(|after| self.now >= self.started + after) {
                    self.running = false;
                    self.event(Event::Ended);
                }
                if self.policy.wake_at().is_some_and(|due| self.now >= due) {
                    self.event(Event::Tick);
                }
                self.now += ms(1);
            }
        }
    }

    #[test]
    fn a_camera_is_started_at_once_and_left_alone_while_frames_move() {
        let mut sim = Sim::new();
        sim.run_for(ms(600_000));
        assert_eq!(sim.starts, [Duration::ZERO]);
    }

    #[test]
    fn a_camera_that_falls_silent_is_restarted_within_its_patience() {
        let mut sim = Sim::new();
        sim.run_for(ms(20_000));
        sim.alive = false;
        sim.run_for(ms(1_300));
        assert_eq!(sim.starts.len(), 2, "{:?}", sim.starts);
        sim.alive = true;
        sim.run_for(ms(60_000));
        assert_eq!(sim.starts.len(), 2);
    }

    #[test]
    fn a_camera_that_never_brings_a_first_frame_gets_the_start_patience_each_time_for_ever() {
        let mut sim = Sim::new();
        sim.alive = false;
        sim.run_for(ms(600_000));
        assert!(sim.starts[1] > PATIENCE.start && sim.starts[1] <= PATIENCE.start + RETRY_FIRST + ms(2));
        let last = sim.starts.windows(2).next_back().expect("many starts");
        assert!(last[1].saturating_sub(last[0]) <= PATIENCE.start + RETRY_CAP + ms(2));
        assert!(sim.starts.len() > 600 / 8);
    }

    #[test]
    fn tries_grow_rarer_but_never_rarer_than_every_five_seconds() {
        let mut sim = Sim::new();
        (sim.alive, sim.dies_after) = (false, Some(Duration::ZERO));
        sim.run_for(ms(3_600_000));
        let gaps: Vec<Duration> = sim.starts.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect();
        assert!(gaps[0] < ms(260) && gaps[3] > gaps[0]);
        assert!(gaps.iter().all(|gap| *gap <= RETRY_CAP + ms(2)));
        assert!(gaps.len() > 700, "an hour of an absent camera: {} tries", gaps.len());
    }

    #[test]
    fn a_camera_that_is_plugged_in_again_is_used_at_once() {
        let mut sim = Sim::new();
        (sim.alive, sim.dies_after) = (false, Some(Duration::ZERO));
        sim.run_for(ms(120_000));
        (sim.alive, sim.dies_after) = (true, None);
        let before = sim.starts.len();
        sim.event(Event::Hint);
        sim.run_for(START_SPACING + ms(2));
        assert_eq!(sim.starts.len(), before + 1);
        sim.run_for(ms(60_000));
        assert_eq!(sim.starts.len(), before + 1);
    }

    #[test]
    fn a_storm_of_hints_starts_no_more_than_five_times_a_second() {
        let mut sim = Sim::new();
        (sim.alive, sim.dies_after) = (false, Some(Duration::ZERO));
        for _ in 0..10_000 {
            sim.event(Event::Hint);
            sim.run_for(ms(1));
        }
        assert!(sim.starts.len() <= 51, "{}", sim.starts.len());
    }

    #[test]
    fn a_failure_after_good_minutes_is_retried_quickly_and_one_after_a_blink_is_not() {
        let mut sim = Sim::new();
        sim.dies_after = Some(ms(5));
        sim.run_for(ms(60_000));
        let hasty = sim.starts.len();
        assert!(hasty < 25, "frames for 5 ms are not health: {hasty}");
        sim.dies_after = Some(ms(11_000));
        sim.run_for(ms(30_000));
        let gaps: Vec<Duration> = sim.starts.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect();
        assert!(*gaps.last().expect("restarts") <= ms(11_260), "{gaps:?}");
    }

    #[test]
    fn a_restart_by_a_person_does_not_wait() {
        let mut sim = Sim::new();
        sim.run_for(ms(500));
        sim.event(Event::Restart);
        sim.run_for(ms(3));
        assert_eq!(sim.starts.len(), 2);
        (sim.alive, sim.dies_after) = (false, Some(Duration::ZERO));
        sim.run_for(ms(60_000));
        let before = sim.starts.len();
        sim.event(Event::Restart);
        sim.run_for(ms(2));
        assert_eq!(sim.starts.len(), before + 1);
    }

    #[test]
    fn a_thread_stuck_in_its_driver_is_left_behind_and_the_next_one_started() {
        let mut sim = Sim::new();
        sim.run_for(ms(1_000));
        (sim.alive, sim.obeys) = (false, false);
        sim.run_for(PATIENCE.stall + STOP_PATIENCE + RETRY_FIRST + ms(5));
        assert_eq!((sim.left_behind, sim.starts.len()), (1, 2));
    }

    #[test]
    fn a_driver_that_swallows_every_thread_is_given_no_more_until_one_comes_back() {
        let mut sim = Sim::new();
        (sim.alive, sim.obeys) = (false, false);
        sim.run_for(ms(600_000));
        assert_eq!((sim.left_behind, sim.starts.len()), (LEFT_BEHIND_MAX, LEFT_BEHIND_MAX as usize));
        (sim.alive, sim.obeys) = (true, true);
        sim.event(Event::CameBack);
        sim.run_for(ms(60_000));
        assert_eq!(sim.starts.len(), LEFT_BEHIND_MAX as usize + 1);
    }

    #[test]
    fn a_frame_of_the_run_before_proves_nothing_about_this_one() {
        let mut sim = Sim::new();
        sim.alive = false;
        sim.run_for(ms(10));
        let old = sim.born;
        sim.event(Event::Restart);
        sim.run_for(ms(1_500));
        sim.event(Event::Moved(old));
        sim.run_for(ms(600));
        assert_eq!(sim.policy.state, State::Waiting { until: sim.policy.wake_at().expect("a next try") });
    }

    fn any_event() -> impl Strategy<Value = Event> {
        prop_oneof![
            Just(Event::Tick),
            Just(Event::Moved(clock::now())),
            Just(Event::Ended),
            Just(Event::CameBack),
            Just(Event::Hint),
            Just(Event::Restart),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn whatever_happened_a_camera_that_works_again_is_running_within_seconds(
            script in vec((0u64..3_000, any_event(), any::<[bool; 3]>()), 0..60),
        ) {
            let mut sim = Sim::new();
            for (pause, event, [alive, dies, obeys]) in script {
                (sim.alive, sim.obeys) = (alive, obeys);
                sim.dies_after = dies.then(|| ms(100));
                sim.run_for(ms(pause / 10));
                match event {
                    // Only what the shell can truly see.
                    Event::Ended if !sim.running => {}
                    Event::Ended => { sim.running = false; sim.event(Event::Ended) }
                    Event::CameBack if sim.left_behind == 0 => {}
                    Event::CameBack => { sim.left_behind -= 1; sim.event(Event::CameBack) }
                    Event::Moved(_) => { let now = sim.now; sim.event(Event::Moved(now)) }
                    other => sim.event(other),
                }
            }
            (sim.alive, sim.dies_after, sim.obeys) = (true, None, true);
            while sim.left_behind > 0 {
                sim.left_behind -= 1;
                sim.event(Event::CameBack);
            }
            sim.run_for(PATIENCE.start + STOP_PATIENCE + RETRY_CAP + ms(10));
            prop_assert!(sim.running);
            let starts = sim.starts.len();
            sim.run_for(ms(5_000));
            prop_assert_eq!(sim.starts.len(), starts, "and is left alone");
        }
    }
}
