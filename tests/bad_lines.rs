//! Lines that are long, lossy and narrow: the built binary pushes over them to a real server, and must stay live,
//! do with what there is, and be whole again when the line is.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "this is test code, outside #[test] functions")]
mod support;

use std::time::Duration;

use footlight::base::clock;
use support::judge::{Source, Truth};
use support::net::{Line, Net, Shape};
use support::nginx_rtmp::NginxRtmp;
use support::{Footlight, films, wait_until};

const DEADLINE: Duration = Duration::from_secs(40);
const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// A box with one destination, over one line.
struct Push {
    footlight: Footlight,
    source: Source,
    line: Line,
    nginx: NginxRtmp,
    _net: Net,
}

impl Push {
    #[track_caller]
    fn start() -> Push {
        let mut net = Net::new();
        let (place, line) = net.line("wire", good());
        let nginx = NginxRtmp::start_in(place);
        let footlight = Footlight::start(&format!(
            "[[stream]]\nname = \"main\"\nvideo = \"file:{}\"\nsize = \"640x360\"\nfps = 25\nbitrate = \"1500kbit/s\"\n\
             gop = \"1s\"\n\n[[output]]\nname = \"cloud\"\nstream = \"main\"\nprimary = \"{}\"\n",
            films::busy_clip().display(),
            nginx.url("k3y")
        ));
        let source = Source::watch(footlight.http(), "main");
        let push = Push { footlight, source, line, nginx, _net: net };
        push.goes_on_for(3 * SECOND);
        push
    }

    /// Holds that media arrives all through the next seconds.
    #[track_caller]
    fn goes_on_for(&self, span: Duration) {
        let steps = span.as_secs();
        for step in 0..steps {
            let since = clock::now();
            self.source.goes_on_for(SECOND);
            let first = || self.line.tap(|tap| tap.first_media_after(since));
            wait_until(DEADLINE, &format!("media in second {step}"), || first().is_some());
        }
    }

    /// The encoder's bitrate as the line made it, in bits per second.
    fn target(&self) -> f64 {
        let target = "footlight_output_encoder_target_bits_per_second";
        self.footlight.metric(target, "cloud").unwrap_or(f64::NAN)
    }

    fn behind(&self) -> f64 {
        self.footlight.metric("footlight_output_behind_seconds", "cloud").unwrap_or(f64::NAN)
    }

    /// The line is good again: soon nothing is late.
    #[track_caller]
    fn recovers(&self) {
        self.line.change(|shape| *shape = good());
        wait_until(DEADLINE, "the push is near the live edge again", || self.behind() < 0.5);
        self.goes_on_for(2 * SECOND);
    }

    /// Ends the box; holds that one connection carried it all, that time only grew and that what arrived decodes.
    #[track_caller]
    fn end(mut self) -> (Truth, usize) {
        assert_eq!(self.footlight.metric("footlight_output_reconnects_total", "cloud"), Some(0.0));
        assert!(self.footlight.terminate(5 * SECOND).success());
        wait_until(DEADLINE, "nginx has stored what it got", || self.nginx.is_idle());
        let truth = self.source.truth();
        let verdict = truth.judge(&self.nginx.recordings());
        assert!(verdict.moved.is_empty() && verdict.runs_back.is_empty(), "{verdict:?}");
        let sounds = verdict.missing.iter().filter(|&&at| truth.tags[at].is_audio()).count();
        assert_eq!(sounds, 0, "sound goes last");
        let folder = tempfile::tempdir().unwrap();
        // Whole ends of GOPs went: what came decodes.
        let decoded = truth.decode_joined(&verdict, &folder.path().join("joined.flv"));
        assert_eq!(decoded.complaints.trim(), "");
        println!("{} of {} pictures and sounds are missing", verdict.missing.len(), truth.tags.len());
        (truth, verdict.missing.len())
    }
}

fn good() -> Shape {
    Shape::default().rtt(MS * 50).rate(6_000_000)
}

#[test]
fn a_long_line_and_a_lossy_line_carry_everything() {
    let push = Push::start();
    for (what, shape) in [
        ("300 ms", good().rtt(MS * 300)),
        ("2 % lost", good().loss(0.02)),
        ("5 % lost", good().loss(0.05)),
        ("10 % lost", good().loss(0.10)),
    ] {
        push.line.change(|line| *line = shape);
        push.goes_on_for(4 * SECOND);
        println!("{what}: {:.2} s behind, encoder at {:.0} kbit/s", push.behind(), push.target() / 1e3);
    }
    push.recovers();
    let (_, missing) = push.end();
    assert_eq!(missing, 0);
}

#[test]
fn on_a_narrow_line_the_picture_grows_coarse_and_not_late() {
    let push = Push::start();
    push.line.change(|shape| *shape = good().rate(1_000_000));
    wait_until(DEADLINE, "the encoder is told to make less", || push.target() < 1_000_000.0);
    push.goes_on_for(4 * SECOND);
    wait_until(DEADLINE, "what is sent fits", || push.behind() < 0.5);
    println!("1 Mbit/s: {:.2} s behind, encoder at {:.0} kbit/s", push.behind(), push.target() / 1e3);
    push.recovers();
    wait_until(DEADLINE, "the encoder is told to make more", || push.target() > 1_000_000.0);
    push.end();
}

#[test]
fn on_a_line_below_the_least_bitrate_sound_goes_on_and_pictures_come_back() {
    let push = Push::start();
    push.line.change(|shape| *shape = good().rate(250_000));
    wait_until(DEADLINE, "the box says that the line cannot carry it", || {
        push.footlight.metric("footlight_output_below_floor", "cloud") == Some(1.0)
    });
    push.goes_on_for(6 * SECOND);
    push.recovers();
    push.end();
}
