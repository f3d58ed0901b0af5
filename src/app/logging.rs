//! Where the log goes and how it looks.

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing::warn;
use tracing_subscriber::EnvFilter;

/// What is logged unless something else is asked for: life events and whatever wants attention.
const DEFAULT: &str = "info";

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people and the journal.
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

/// Starts logging to standard error. `FOOTLIGHT_LOG` sets the level (`debug`) or levels by room
/// (`info,footlight::uplink=debug`); without it, and where it cannot be understood, [`DEFAULT`] holds.
pub fn start(format: Format) {
    let asked = std::env::var_os("FOOTLIGHT_LOG").unwrap_or_default();
    let (filter, complaint) = match filter(&asked.to_string_lossy()) {
        Ok(filter) => (filter, None),
        Err(complaint) => (EnvFilter::new(DEFAULT), Some(complaint)),
    };
    // A log that cannot be written (its reader is gone, the disk is full) must not stop the show: without this,
    // the subscriber complains to standard error, which is the very thing that broke.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .log_internal_errors(false);
    // The journal stamps lines itself.
    let under_journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let outcome = match format {
        Format::Json => builder.json().flatten_event(true).try_init(),
        Format::Text if under_journal => {
            builder.with_ansi(false).without_time().with_target(false).try_init()
        }
        Format::Text => builder.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init(),
    };
    // Only a second call can fail, and then the first one stands.
    drop(outcome);
    if let Some(complaint) = complaint {
        warn!("{complaint}");
    }
}

/// What `FOOTLIGHT_LOG` asks for, or what is wrong with it. A bare word must be a level: the subscriber would take
/// it for the name of a room, and a mistyped level would silence everything else.
fn filter(asked: &str) -> Result<EnvFilter, String> {
    let refused = |what: String| {
        format!(
            "FOOTLIGHT_LOG: {what}; logging at {DEFAULT}. Write off, error, warn, info, debug or trace, or levels \
             by room: info,footlight::uplink=debug"
        )
    };
    let asked = asked.trim();
    if asked.is_empty() {
        return Ok(EnvFilter::new(DEFAULT));
    }
    let bare = |piece: &&str| !piece.is_empty() && !piece.contains(['=', ':', '[', ']', '{', '}']);
    let mut words = asked.split(',').map(str::trim).filter(bare);
    if let Some(odd) = words.find(|word| word.parse::<LevelFilter>().is_err()) {
        return Err(refused(format!("{odd:?} is no level")));
    }
    EnvFilter::try_new(asked).map_err(|_| refused(format!("{asked:?} cannot be understood")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_that_is_mistyped_does_not_silence_the_log() {
        for (asked, want) in [
            ("", Ok("info")),
            ("debug", Ok("debug")),
            (" WARN ", Ok("warn")),
            ("off", Ok("off")),
            ("info,footlight::uplink=debug", Ok("footlight::uplink=debug,info")),
            ("footlight::uplink=debug", Ok("footlight::uplink=debug")),
            ("verbose", Err("\"verbose\" is no level")),
            ("info,verbose", Err("\"verbose\" is no level")),
            ("footlight", Err("\"footlight\" is no level")),
            ("footlight::uplink=verbose", Err("\"footlight::uplink=verbose\" cannot be understood")),
            ("[", Err("\"[\" cannot be understood")),
        ] {
            match (filter(asked), want) {
                (Ok(filter), Ok(want)) => assert_eq!(filter.to_string(), want, "{asked:?}"),
                (Err(said), Err(want)) => assert!(said.contains(want), "{asked:?}: {said}"),
                (got, _) => panic!("{asked:?} gave {got:?}"),
            }
        }
    }
}
