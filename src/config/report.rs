//! What `footlight check` says: everything that is wrong, or in a few lines what would run.

use std::fmt::Write;
use std::path::Path;

use super::load::{Accept, Loaded, Source, load_from};
use super::problems::Problem;
use super::schema::{
    AudioSource, Config, Destination, EncoderChoice, Orders, Output, OutputMode, PushPath, Stream,
    VideoSource,
};
use crate::base::quantity::Period;

/// The text for `footlight check [FILE]` and whether the configuration is right. FILE may be a pipe
/// (`/dev/stdin`), which `footlight run` refuses.
pub fn check_report(path: Option<&Path>, env: &[(String, String)]) -> (String, bool) {
    match load_from(path, env, Accept::Stream) {
        Ok(loaded) => (good(&loaded), true),
        Err(problems) => {
            let source = Source::find(path, env);
            let counted = counted(problems.errors.len(), "error");
            let more = match problems.warnings.len() {
                0 => String::new(),
                warnings => format!(" and {}", self::counted(warnings, "warning")),
            };
            (format!("{problems}\n\n{source}: {counted}{more}; footlight would not start on it\n"), false)
        }
    }
}

fn good(loaded: &Loaded) -> String {
    let mut text = String::new();
    for warning in &loaded.warnings {
        text = text + &Problem::line(warning, "warning") + "\n";
    }
    if !loaded.warnings.is_empty() {
        text.push('\n');
    }
    let warned = match loaded.warnings.len() {
        0 => String::new(),
        warnings => format!(", with {}", counted(warnings, "warning")),
    };
    text + &format!("{}: all is well{warned}\n\n", loaded.source) + &summary(&loaded.config)
}

/// What a configuration means, in a few lines for a person. Keys and passwords do not show.
pub fn summary(config: &Config) -> String {
    let Config { appliance, http, streams, outputs, orders } = config;
    let mut lines = vec![
        ("box".to_owned(), format!("{} at {}", appliance.name, appliance.site)),
        ("data".to_owned(), appliance.data_dir.display().to_string()),
        (
            "http".to_owned(),
            format!(
                "{}, {} ({} from one address), {} connections{}",
                http.listen,
                bound(http.max_viewers, "viewers"),
                bound(http.max_viewers_per_address, ""),
                http.max_connections,
                if http.trust_local { "" } else { ", a token on the box too" },
            ),
        ),
    ];
    lines.extend(streams.iter().map(|stream| (format!("stream {}", stream.name), stream_line(stream))));
    for output in outputs {
        let line = format!("carries stream {} to {}", output.stream, destination_line(&output.primary));
        lines.push((format!("output {}", output.name), line));
        for (index, standby) in output.standby.iter().enumerate() {
            lines.push((format!("  standby {}", index + 1), destination_line(standby)));
        }
        lines.push(("  how".to_owned(), how_line(output)));
    }
    if outputs.is_empty() {
        lines.push(("output".to_owned(), "none: nothing leaves for a cloud".to_owned()));
    }
    lines.push(("orders".to_owned(), orders_line(orders)));
    if orders.enabled {
        lines.push(("  cloud".to_owned(), cloud_line(orders)));
    }
    let width = lines.iter().map(|(head, _)| head.len()).max().unwrap_or(0);
    lines.iter().fold(String::new(), |mut text, (head, line)| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {head:width$}  {line}");
        text
    })
}

fn stream_line(stream: &Stream) -> String {
    let pattern = stream.video == VideoSource::Pattern;
    let video = match &stream.video {
        VideoSource::Pattern => "test pattern".to_owned(),
        VideoSource::File(clip) => format!("clip {}", clip.display()),
        VideoSource::V4l2(device) => format!("camera {}", device.display()),
    };
    let audio = match &stream.audio {
        AudioSource::Tone => "tone",
        AudioSource::None => "no sound",
        AudioSource::FromVideo if pattern => "tone",
        AudioSource::FromVideo => "its own sound",
    };
    let size = stream.size.map(|size| size.to_string());
    let size = size.unwrap_or_else(|| if pattern { "1280x720" } else { "the source's size" }.to_owned());
    let fps = stream.fps.map(|fps| format!("{fps} fps"));
    let fps = fps.unwrap_or_else(|| if pattern { "30 fps" } else { "its rate" }.to_owned());
    let bitrate = stream.bitrate.map(|bitrate| bitrate.to_string());
    let bitrate = bitrate.unwrap_or_else(|| "bitrate by size and rate".to_owned());
    let encoder = match &stream.encoder {
        EncoderChoice::Auto => "auto",
        EncoderChoice::Copy => return format!("{video} with {audio}, passed through untouched"),
        EncoderChoice::Named(name) => name,
    };
    let gop = Period(stream.gop);
    format!("{video} with {audio}, {size}, {fps}, {bitrate}, keyframe every {gop}, encoder {encoder}")
}

/// Where to and by which way; what lets one publish does not show.
fn destination_line(destination: &Destination) -> String {
    let hidden = match &destination.url.path {
        PushPath::Rtmp { .. } | PushPath::Srt { stream_id: Some(_) } => " (key not shown)",
        PushPath::Srt { stream_id: None } => "",
    };
    let trust = match (&destination.certificate_sha256, &destination.ca_file) {
        (Some(_), _) => Some("known by its certificate".to_owned()),
        (None, Some(ca_file)) => Some(format!("vouched for by {}", ca_file.display())),
        (None, None) => None,
    };
    let parts = [
        Some(format!("{}{hidden}", destination.url)),
        destination.interface.as_ref().map(|interface| format!("by {interface}")),
        destination.source_address.map(|source| format!("from {source}")),
        trust,
        destination.passphrase.as_ref().map(|_| "encrypted by passphrase".to_owned()),
        destination.latency.map(|latency| format!("latency {}", Period(latency))),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn how_line(output: &Output) -> String {
    let failback = Period(output.failback);
    let lines = match output.mode {
        _ if output.standby.is_empty() => "no standby".to_owned(),
        OutputMode::Mirror => {
            format!("mirror: all {} receive everything at once", output.standby.len() + 1)
        }
        OutputMode::Warm => {
            format!("warm: standbys wait connected; back to the primary once it is well for {failback}")
        }
        OutputMode::Cold => {
            format!(
                "cold: standbys are dialled when needed; back to the primary once it is well for {failback}"
            )
        }
    };
    let bitrate = match (output.adaptive, output.bitrate_min, output.bitrate_max) {
        (false, ..) => "the bitrate stays whatever the line carries".to_owned(),
        (true, None, None) => "the bitrate follows the line".to_owned(),
        (true, Some(least), None) => format!("the bitrate follows the line, down to {least}"),
        (true, None, Some(most)) => format!("the bitrate follows the line, up to {most}"),
        (true, Some(least), Some(most)) => format!("the bitrate follows the line, from {least} to {most}"),
    };
    format!("{lines}; {bitrate}")
}

fn orders_line(orders: &Orders) -> String {
    if !orders.enabled {
        return "not taken".to_owned();
    }
    let low = match orders.low_stock {
        0 => "no stock counts as low".to_owned(),
        least => format!("stock is low at {least}"),
    };
    format!(
        "taken, {} a second from one address, {} of a product for one buyer; held for {}, {low}",
        bound(orders.rate_per_address, ""),
        bound(orders.buyer_limit, ""),
        Period(orders.hold),
    )
}

/// Where orders go, and what the far end knows the box by; none of it shows.
fn cloud_line(orders: &Orders) -> String {
    let Some(cloud) = &orders.cloud else {
        return "none: orders stay on this box until they are exported".to_owned();
    };
    let parts = [
        Some(format!("{} (path not shown)", cloud.url)),
        cloud.token.as_ref().map(|_| "by token".to_owned()),
        cloud.secret.as_ref().map(|_| "signed".to_owned()),
        cloud.ca_file.as_ref().map(|ca_file| format!("vouched for by {}", ca_file.display())),
        Some(format!("at most {} at once", counted(orders.batch as usize, "order"))),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn bound(most: u32, what: &str) -> String {
    let text = if most == 0 { format!("any number of {what}") } else { format!("at most {most} {what}") };
    text.trim_end().trim_end_matches(" of").to_owned()
}

fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}
