//! Cameras with sources that misbehave on purpose, and the pattern as everyone sees it.

use std::sync::atomic::AtomicU32;
use std::time::Duration;

use super::*;
use crate::base::queue::{Popped, Receiver};
use crate::base::ticks::Ticks;
use crate::base::units::{BitrateBps, ByteSize, FrameRate, PictureSize};
use crate::config::schema::{EncoderChoice, VideoSource};
use crate::media::frame::{Frame, PixelFormat, TrackForm};
use crate::media::timecode;

const SOON: Duration = Duration::from_secs(10);

fn stream(name: &str) -> Stream {
    Stream {
        name: name.to_owned(),
        video: VideoSource::Pattern,
        audio: AudioSource::FromVideo,
        size: Some(PictureSize { width: 320, height: 180 }),
        fps: Some(FrameRate::whole(30)),
        bitrate: None,
        audio_bitrate: BitrateBps(128_000),
        gop: Duration::from_secs(2),
        encoder: EncoderChoice::Auto,
        gop_cache: ByteSize(8 << 20),
    }
}

fn next(from: &Receiver<Captured>) -> Captured {
    match from.pop(SOON) {
        Popped::Item(item) => item,
        other => panic!("the camera brought {other:?}"),
    }
}

fn frame() -> Captured {
    let size = PictureSize { width: 2, height: 2 };
    let planes = heapless::Vec::new();
    Captured::Frame(Frame { at: Ticks::ZERO, format: PixelFormat::I420, size, planes })
}

/// A source of the test's own, given which run it is.
fn kind(run: impl Fn(u32, &mut Outlet) -> Run + Send + Sync + 'static) -> Kind {
    let runs = AtomicU32::new(0);
    Kind {
        run: Box::new(move |outlet| run(runs.fetch_add(1, Ordering::Relaxed), outlet)),
        fingerprint: Box::new(|| None),
        patience: Patience { start: Duration::from_millis(300), stall: Duration::from_millis(150) },
        audio: AudioSource::FromVideo,
    }
}

fn film(outlet: &mut Outlet) -> Run {
    outlet.begin(TrackForm::Raw, TrackForm::Absent, "a test's own source")?;
    loop {
        outlet.send(frame())?;
        outlet.stop().wait_until(clock::monotonic_ticks() + Ticks::from_millis(10))?;
    }
}

fn await_status(camera: &Camera, what: impl Fn(&CameraStatus) -> bool) -> CameraStatus {
    let deadline = clock::now() + SOON;
    loop {
        let status = camera.status();
        if what(&status) {
            return status;
        }
        assert!(clock::now() < deadline, "{status:?}");
        std::thread::yield_now();
    }
}

#[test]
fn the_pattern_brings_pictures_on_time_and_a_tone_without_a_gap() {
    let (outlet, inlet) = queue::bounded();
    let camera = Cameras::new().start(&stream("main"), outlet).expect("starts");
    assert_eq!(next(&inlet), Captured::Begin { video: TrackForm::Raw, audio: TrackForm::Raw });
    let (mut pictures, mut sound_end, mut pieces) = (Vec::new(), None, 0);
    while pictures.len() < 30 {
        match next(&inlet) {
            Captured::Frame(frame) => {
                let made = timecode::read(&frame.planes[0].data, frame.planes[0].stride, frame.size);
                let made = made.expect("a time code on every picture");
                assert!(clock::unix_millis().saturating_sub(made) < 5_000);
                pictures.push((frame.at, made));
            }
            Captured::Sound(sound) => {
                assert!(sound_end.is_none_or(|end| end == sound.at));
                sound_end = Some(sound.at + Ticks::from_units(sound.samples.len() as i64 / 2, 48_000));
                pieces += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(pieces >= 40, "{pieces} pieces of 20 ms in a second");
    for pair in pictures.windows(2) {
        assert!(pair[1].0 > pair[0].0);
        let (stamped, coded) = ((pair[1].0 - pair[0].0).millis(), pair[1].1 as i64 - pair[0].1 as i64);
        assert!((stamped - coded).abs() <= 2, "{stamped} {coded}");
    }
    let status = camera.status();
    assert_eq!(status.state, CameraState::Running);
    assert_eq!(status.words, "320x180 test pattern at 30 frames a second");
}

#[test]
fn a_stream_without_sound_gets_none() {
    let (outlet, inlet) = queue::bounded();
    let silent = Stream { audio: AudioSource::None, ..stream("main") };
    let _camera = Cameras::new().start(&silent, outlet).expect("starts");
    assert_eq!(next(&inlet), Captured::Begin { video: TrackForm::Raw, audio: TrackForm::Absent });
    for _ in 0..5 {
        assert!(matches!(next(&inlet), Captured::Frame(_)));
    }
}

#[test]
fn a_source_that_dies_is_started_again_and_begins_again() {
    let (outlet, inlet) = queue::bounded();
    let dying = kind(|run, outlet| {
        if run < 2 {
            return Err(SourceError::Failed("camera is unplugged".to_owned()));
        }
        film(outlet)
    });
    let camera = Camera::start("cam", dying, outlet).expect("starts");
    assert!(matches!(next(&inlet), Captured::Begin { .. }));
    let status = await_status(&camera, |status| status.state == CameraState::Running);
    assert_eq!(status.restarts, 2);
    assert_eq!(status.last_error.as_deref(), Some("camera is unplugged"));
    camera.restart();
    while !matches!(next(&inlet), Captured::Begin { .. }) {}
}

#[test]
fn a_source_that_is_silent_without_an_error_is_restarted() {
    let (outlet, inlet) = queue::bounded();
    let silent = kind(|run, outlet| {
        outlet.begin(TrackForm::Raw, TrackForm::Absent, "silent")?;
        if run == 0 {
            outlet.send(frame())?;
            outlet.stop().wait_until(clock::monotonic_ticks() + Ticks::from_millis(60_000))?;
        }
        film(outlet)
    });
    let camera = Camera::start("cam", silent, outlet).expect("starts");
    assert!(matches!(next(&inlet), Captured::Begin { .. }));
    while !matches!(next(&inlet), Captured::Begin { .. }) {}
    let status = await_status(&camera, |status| status.state == CameraState::Running);
    assert_eq!(status.last_error.as_deref(), Some("no picture comes, restarting the camera"));
}

#[test]
fn a_camera_that_comes_back_is_used_before_its_next_try_is_due() {
    let (outlet, inlet) = queue::bounded();
    let plugged = Arc::new(AtomicBool::new(false));
    let (there, seen) = (plugged.clone(), plugged.clone());
    let mut absent = kind(move |_, outlet| {
        if !there.load(Ordering::Relaxed) {
            return Err(SourceError::Failed("camera is unplugged".to_owned()));
        }
        film(outlet)
    });
    absent.fingerprint = Box::new(move || seen.load(Ordering::Relaxed).then_some(1));
    let camera = Camera::start("cam", absent, outlet).expect("starts");
    // After five tries the next is more than two seconds off.
    await_status(&camera, |status| status.restarts >= 5);
    plugged.store(true, Ordering::Relaxed);
    let begun = clock::now();
    assert!(matches!(next(&inlet), Captured::Begin { .. }));
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[test]
fn a_thread_stuck_in_its_driver_holds_up_neither_the_next_run_nor_the_end() {
    let (outlet, inlet) = queue::bounded();
    let release = Arc::new((Mutex::new(false), Condvar::new()));
    let held = release.clone();
    let stuck = kind(move |run, outlet| {
        outlet.begin(TrackForm::Raw, TrackForm::Absent, "stuck")?;
        if run == 0 {
            outlet.send(frame())?;
            // A driver that does not come back from its call, and does not hear that it should stop.
            let guard = held.0.lock().expect("not poisoned");
            let _guard = held.1.wait_while(guard, |released| !*released).expect("not poisoned");
            let late = outlet.send(frame());
            assert!(late.is_err(), "a thread that was left behind cannot speak into the stream");
            return Err(SourceError::Stopped);
        }
        film(outlet)
    });
    let camera = Camera::start("cam", stuck, outlet).expect("starts");
    assert!(matches!(next(&inlet), Captured::Begin { .. }));
    while !matches!(next(&inlet), Captured::Begin { .. }) {}
    *release.0.lock().expect("not poisoned") = true;
    release.1.notify_all();
    let frames = camera.status().frames;
    await_status(&camera, |status| status.frames > frames + 5);
}

#[test]
fn dropping_a_camera_whose_driver_hangs_takes_about_a_second_and_closes_the_queue() {
    let (outlet, inlet) = queue::bounded();
    let held = Arc::new((Mutex::new(()), Condvar::new()));
    let hang = kind(move |_, outlet| {
        outlet.begin(TrackForm::Raw, TrackForm::Absent, "hangs")?;
        let guard = held.0.lock().expect("not poisoned");
        drop(held.1.wait_timeout_while(guard, Duration::from_secs(30), |()| true));
        Err(SourceError::Stopped)
    });
    let camera = Camera::start("cam", hang, outlet).expect("starts");
    assert!(matches!(next(&inlet), Captured::Begin { .. }));
    let begun = clock::now();
    drop(camera);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert_eq!(inlet.pop(SOON), Popped::Closed);
}

#[test]
fn one_camera_in_trouble_leaves_the_other_alone() {
    let (outlet, inlet) = queue::bounded();
    let (other_outlet, _other_inlet) = queue::bounded();
    let _bad = Camera::start("bad", kind(|_, _| panic!("a bug, on purpose")), other_outlet).expect("starts");
    let good = Camera::start("good", kind(|_, outlet| film(outlet)), outlet).expect("starts");
    while good.status().frames < 50 {
        next(&inlet);
    }
    assert_eq!(good.status().restarts, 0);
}
