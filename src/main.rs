//! The command line: reads it, and hands over to the library.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use footlight::base::exit;
use footlight::{
    app::{self, devices::Devices, logging},
    config,
    serve::auth::Role,
};

/// What every exit code means, at the end of `--help`.
const EXIT_CODES: &str = "Exit codes: 0 all went well; 1 it failed while running; 2 the configuration or the \
                          command line is wrong; 3 the machine does not give what is asked for (the address \
                          is taken, the data folder cannot be written or read); 4 an audit found something that is not as \
                          it must be; 130 and 143 a second \
                          signal cut the stop short.";

/// A streaming appliance for live commerce: captures, encodes, serves the LAN and pushes to the cloud.
#[derive(Debug, Parser)]
#[command(name = "footlight", version, after_help = EXIT_CODES)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the box until it is told to stop.
    Run {
        /// The configuration [default: $FOOTLIGHT_CONFIG, else /etc/footlight/footlight.toml, else none]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// How the log on standard error is written; $FOOTLIGHT_LOG sets its level (debug, footlight::uplink=debug)
        #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
        log_format: logging::Format,
    },
    /// Lists the cameras with their modes, and every encoder with a verdict: it was tried, and works or why not.
    Devices {
        /// For programs.
        #[arg(long)]
        json: bool,
        /// Taken as everywhere; cameras and encoders are the same whatever it says.
        #[arg(long, value_name = "FILE", hide = true)]
        config: Option<PathBuf>,
    },
    /// Tells everything that is wrong with a configuration, or what it would run.
    Check {
        /// The configuration; may be a pipe, such as /dev/stdin [default: as for run]
        #[arg(value_name = "FILE", conflicts_with = "config")]
        file: Option<PathBuf>,
        /// The same as FILE.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Makes, lists and revokes the tokens by which other machines may change something.
    Token {
        #[command(subcommand)]
        verb: TokenVerb,
    },
    /// Proves from the log that no unit was sold twice and no order is lost; may run beside the box.
    ///
    /// Replays everything that happened and holds every product, order, reservation and key against it. Prints a
    /// table of the SKUs, a line for each thing that is not as it must be, and a verdict. Writes nothing. Exit codes:
    /// 0 it is proven; 2 the configuration is wrong; 3 the store cannot be read (missing, damaged, of a newer
    /// version); 4 something is not as it must be.
    Audit {
        /// The configuration, which names the data folder [default: as for run]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Writes orders to a file, and recovers a damaged order store.
    Orders {
        #[command(subcommand)]
        verb: OrdersVerb,
    },
}

#[derive(Debug, Subcommand)]
enum OrdersVerb {
    /// Writes the orders, with buyers and how to reach them; may run beside the box.
    Export {
        /// The configuration, which names the data folder [default: as for run]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// CSV for spreadsheets, which run nothing that buyers wrote; JSON for programs.
        #[arg(long, value_name = "FORMAT", value_enum, default_value = "csv")]
        format: app::orders::Format,
        /// Only orders with higher numbers: what came since the last time.
        #[arg(long, value_name = "NUMBER", default_value_t = 0)]
        after: i64,
        /// Where to, whole or not at all, readable by you alone [default: standard output]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Makes a sound order store of a damaged one; stop the box first, or it must have refused the store.
    ///
    /// Copies every row that can still be read into a new database, counts anew what does not agree with the log,
    /// audits the result and puts it into place. The damaged files stay beside it as footlight.db.damaged-...;
    /// nothing is ever deleted. Exit codes: 0 it is recovered and proven, or was not damaged; 3 it cannot be
    /// recovered, or a footlight works with it; 4 it is recovered, and a person must look at what is printed.
    Recover {
        /// The configuration, which names the data folder [default: as for run]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
enum TokenVerb {
    /// Makes a token and prints it, this once; a running box knows it at once.
    New {
        /// What its bearer may do: viewer reads, anchor runs the show, admin sets up the box.
        #[arg(long, value_name = "ROLE", value_enum)]
        role: Role,
        /// What you call it, to know it again in the list: whose it is, or where it is used.
        #[arg(long, value_name = "TEXT", default_value = "")]
        name: String,
        /// The configuration, which names the data folder [default: as for run]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Lists the tokens: id, role, when it was made, name.
    List {
        /// The configuration, which names the data folder [default: as for run]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Revokes a token; a running box knows it within a second.
    Revoke {
        /// As `footlight token list` shows it.
        #[arg(value_name = "ID")]
        id: String,
        /// The configuration, which names the data folder [default: as for run]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let CommandLine { command } = CommandLine::parse();
    ExitCode::from(match command {
        Command::Run { config, log_format } => run(config.as_deref(), log_format),
        Command::Devices { json, .. } => devices(json),
        Command::Check { file, config } => check(file.or(config).as_deref()),
        Command::Token { verb } => token(&verb),
        Command::Audit { config, json } => audit(config.as_deref(), json),
        Command::Orders { verb } => orders(&verb),
    })
}

fn run(path: Option<&std::path::Path>, log_format: logging::Format) -> u8 {
    let environment = environment();
    let reread = || config::load(path, &environment);
    match reread() {
        Ok(loaded) => {
            logging::start(log_format);
            app::run(loaded, &reread)
        }
        Err(problems) => {
            say(&mut std::io::stderr(), &format!("{problems}\n"));
            exit::CONFIGURATION
        }
    }
}

fn devices(json: bool) -> u8 {
    let devices = Devices::look();
    say(&mut std::io::stdout(), &if json { devices.json() } else { devices.text() });
    exit::OK
}

fn check(path: Option<&std::path::Path>) -> u8 {
    let (report, right) = config::check_report(path, &environment());
    if right {
        say(&mut std::io::stdout(), &report);
        exit::OK
    } else {
        say(&mut std::io::stderr(), &report);
        exit::CONFIGURATION
    }
}

fn token(verb: &TokenVerb) -> u8 {
    let (TokenVerb::New { config, .. } | TokenVerb::List { config } | TokenVerb::Revoke { config, .. }) =
        verb;
    let (out, said) = (&mut std::io::stdout(), &mut std::io::stderr());
    let Some(data_dir) = data_dir(config.as_deref()) else { return exit::CONFIGURATION };
    match verb {
        TokenVerb::New { role, name, .. } => app::tokens::make(&data_dir, *role, name, out, said),
        TokenVerb::List { .. } => app::tokens::list(&data_dir, out, said),
        TokenVerb::Revoke { id, .. } => app::tokens::revoke(&data_dir, id, said),
    }
}

fn audit(config: Option<&std::path::Path>, json: bool) -> u8 {
    let Some(data_dir) = data_dir(config) else { return exit::CONFIGURATION };
    app::orders::audit(&data_dir, json, &mut std::io::stdout(), &mut std::io::stderr())
}

fn orders(verb: &OrdersVerb) -> u8 {
    let (OrdersVerb::Export { config, .. } | OrdersVerb::Recover { config }) = verb;
    let Some(data_dir) = data_dir(config.as_deref()) else { return exit::CONFIGURATION };
    let (out, said) = (&mut std::io::stdout(), &mut std::io::stderr());
    match verb {
        OrdersVerb::Export { format, after, out: file, .. } => {
            app::orders::export(&data_dir, *format, *after, file.as_deref(), out, said)
        }
        OrdersVerb::Recover { .. } => app::orders::recover(&data_dir, out, said),
    }
}

/// The data folder that a configuration names; what is wrong with it is told.
fn data_dir(config: Option<&std::path::Path>) -> Option<PathBuf> {
    match config::load(config, &environment()) {
        Ok(loaded) => Some(loaded.config.appliance.data_dir),
        Err(problems) => {
            say(&mut std::io::stderr(), &format!("{problems}\n"));
            None
        }
    }
}

/// The environment, as data. What is not UTF-8 in it is shown as such by whoever reads it.
fn environment() -> Vec<(String, String)> {
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect()
}

/// Writes, and bears a reader that has gone away (`footlight check | head`).
fn say(to: &mut dyn Write, text: &str) {
    let _ = to.write_all(text.as_bytes());
}
