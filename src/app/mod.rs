//! Starts, reloads and stops the box. The only room that knows all others; it decides nothing about media.
//!
//! ```text
//!   start:  hub ─ encoders ─ server ─ streams (encoder, then camera) ─ outputs
//!   reload: read again ─ compare ─ live changes, restarted streams, restarted outputs ─ say what must wait
//!   stop:   outputs and viewers (they say goodbye) ─ cameras ─ encoders
//! ```

mod addresses;
mod descriptors;
pub mod devices;
mod house;
pub mod logging;
pub mod orders;
mod signals;
pub mod tokens;

use std::time::Duration;

use tokio::runtime::Builder;
use tokio::time::MissedTickBehavior;
use tracing::{error, info, warn};

use crate::base::{clock, exit};
use crate::config::{Loaded, Problems};

use house::House;
use signals::{Asked, Signals};

/// What a clean stop may take: the far ends must hear goodbye, and a service manager waits no longer gladly.
const STOP_WITHIN: Duration = Duration::from_millis(2_600);

/// Two signals closer than this are one request.
const SAME_REQUEST_WITHIN: Duration = Duration::from_millis(50);

/// How often the house is looked over for what ended without being told to.
const LOOK_AFTER_EVERY: Duration = Duration::from_secs(1);

/// Reads the configuration again, from where it was read at start.
pub type Reread<'a> = dyn Fn() -> Result<Loaded, Problems> + 'a;

/// `footlight run`: runs until it is told to stop; answers with the exit code.
pub fn run(loaded: Loaded, reread: &Reread<'_>) -> u8 {
    let runtime = match Builder::new_multi_thread().enable_all().thread_name("net").build() {
        Ok(runtime) => runtime,
        Err(cause) => {
            error!(%cause, "the system gives no threads for the network");
            return exit::ENVIRONMENT;
        }
    };
    let code = runtime.block_on(live(loaded, reread));
    // A name being looked up or a file being read must not hold the process up.
    runtime.shutdown_timeout(Duration::from_millis(100));
    code
}

async fn live(loaded: Loaded, reread: &Reread<'_>) -> u8 {
    let mut signals = match Signals::take() {
        Ok(signals) => signals,
        Err(cause) => {
            error!(%cause, "the system gives no signal handlers");
            return exit::ENVIRONMENT;
        }
    };
    info!(version = env!("CARGO_PKG_VERSION"), configuration = %loaded.source, "footlight starts");
    tell_warnings(&loaded);
    let mut house = match House::start(loaded.config).await {
        Ok(house) => house,
        Err(trouble) => {
            error!("{trouble}");
            return exit::ENVIRONMENT;
        }
    };
    let mut look_after = tokio::time::interval(LOOK_AFTER_EVERY);
    look_after.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let asked = tokio::select! {
            asked = signals.next() => asked,
            _ = look_after.tick() => {
                if house.is_broken() {
                    error!("the HTTP server ended by a bug of ours; stopping, so that a service manager starts anew");
                    house.stop(STOP_WITHIN).await;
                    return exit::FAILURE;
                }
                house.look_after().await;
                continue;
            }
        };
        if asked == Asked::Reload {
            // A stop is heard also while a reload waits for a far end or a driver.
            tokio::select! {
                () = reload(&mut house, reread) => continue,
                _ = next_stop(&mut signals) => {}
            }
        }
        break;
    }
    info!("stopping; a second signal stops at once");
    tokio::select! {
        () = house.stop(STOP_WITHIN) => {
            info!("stopped");
            exit::OK
        }
        number = second_stop(&mut signals) => {
            warn!("stopped at once, as asked");
            // Threads may be inside a driver: nothing is waited for any more.
            std::process::exit(exit::by_signal(number));
        }
    }
}

/// A second request to stop. What follows the first within an instant is the same request: `timeout` and some
/// service managers signal a process and then its group.
async fn second_stop(signals: &mut Signals) -> i32 {
    let first = clock::now();
    loop {
        let signal = next_stop(signals).await;
        if clock::now().duration_since(first) > SAME_REQUEST_WITHIN {
            return signal;
        }
    }
}

async fn next_stop(signals: &mut Signals) -> i32 {
    loop {
        if let Asked::Stop { signal } = signals.next().await {
            return signal;
        }
    }
}

async fn reload(house: &mut House, reread: &Reread<'_>) {
    match reread() {
        Ok(loaded) => {
            tell_warnings(&loaded);
            house.reload(loaded.config).await;
        }
        Err(problems) => error!("the running configuration stays, the new one is wrong:\n{problems}"),
    }
}

fn tell_warnings(loaded: &Loaded) {
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
}
