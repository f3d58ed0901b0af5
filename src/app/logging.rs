//! Where the log goes and how it looks.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people and the journal.
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

/// Starts logging to standard error. `FOOTLIGHT_LOG` sets the level (`debug`) or levels by room
/// (`info,footlight::uplink=debug`); without it, life events and whatever wants attention are shown.
pub fn start(format: Format) {
    let filter = EnvFilter::try_from_env("FOOTLIGHT_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
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
}
