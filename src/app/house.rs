//! The rooms, joined: three lists, one to start, one to reload, one to stop.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::{error, info, warn};

use crate::base::clock;
use crate::base::metrics::Exposition;
use crate::base::queue;
use crate::capture::{Camera, Cameras};
use crate::config::schema::{Config, Output, Stream};
use crate::config::{self, Effect};
use crate::encode::{Encoder, Encoders};
use crate::hub::{Hub, Limits};
use crate::serve::{Describe, Parts, ServeError, Server};
use crate::uplink::Outputs;

use super::addresses;

/// A stream counts as moving while its last packet is no older than this: longer than the slowest camera's
/// frame, shorter than a person's patience.
const MOVING_WITHIN: Duration = Duration::from_secs(3);

/// Why the box cannot start here; a sentence with what to do.
#[derive(Debug)]
pub(super) struct Unusable(String);

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One stream at work. The encoder ends when the camera's end of the queue is gone, so the camera stands first.
struct Running {
    camera: Camera,
    encoder: Encoder,
}

type Streams = Arc<Mutex<BTreeMap<String, Running>>>;

/// The running box.
pub(super) struct House {
    config: Config,
    hub: Hub,
    encoders: Encoders,
    cameras: Cameras,
    outputs: Outputs,
    streams: Streams,
    server: Server,
}

impl House {
    /// Starts every room.
    ///
    /// # Errors
    /// When the machine does not give what the configuration asks for: nothing is left running then.
    pub(super) async fn start(config: Config) -> Result<House, Unusable> {
        prepare_data_dir(&config)?;
        let hub = Hub::new();
        let streams = Streams::default();
        let outputs = Outputs::new();
        let probing = tokio::task::spawn_blocking(Encoders::probe);
        let server = Server::start(&config.http, parts(&hub, &streams, &outputs))
            .map_err(|trouble| cannot_listen(&trouble))?;
        let encoders =
            probing.await.map_err(|cause| Unusable(format!("trying the encoders broke: {cause}")))?;
        let mut house = House { hub, encoders, cameras: Cameras::new(), outputs, streams, server, config };
        for stream in house.config.streams.clone() {
            house.start_stream(&stream);
        }
        for output in house.config.outputs.clone() {
            house.start_output(&output);
        }
        house.tell_addresses();
        Ok(house)
    }

    /// Takes over what of `new` can change while running and says what could not.
    pub(super) async fn reload(&mut self, new: Config) {
        let changes = config::diff(&self.config, &new);
        if changes.is_empty() {
            info!("configuration read again: nothing changed");
            return;
        }
        let mut restart_streams = Vec::new();
        let mut restart_outputs = Vec::new();
        for change in &changes {
            match &change.effect {
                Effect::Live => info!(key = %change.key, "changed"),
                Effect::RestartStream(name) => {
                    info!(key = %change.key, "changed: the stream starts again");
                    restart_streams.push(name.clone());
                }
                Effect::RestartOutput(name) => {
                    info!(key = %change.key, "changed: the output starts again");
                    restart_outputs.push(name.clone());
                }
                Effect::RestartProcess => {
                    warn!(key = %change.key, "changed, but it takes effect only when footlight is started again");
                }
            }
        }
        self.config = new;
        self.server.reconfigure(&self.config.http);
        self.carry_bitrates();
        restart_streams.sort();
        restart_streams.dedup();
        for name in &restart_streams {
            self.restart_stream(name).await;
        }
        restart_outputs.sort();
        restart_outputs.dedup();
        for name in &restart_outputs {
            self.outputs.stop(name).await;
            if let Some(output) = self.config.outputs.iter().find(|output| output.name == *name).cloned() {
                self.start_output(&output);
            }
        }
    }

    /// Ends every room: the far ends and the viewers hear goodbye, then the cameras and codecs are given back.
    pub(super) async fn stop(self, within: Duration) {
        let farewell = async { tokio::join!(self.outputs.shutdown(), self.server.shutdown(within)) };
        if tokio::time::timeout(within, farewell).await.is_err() {
            warn!("a far end did not answer the goodbye in time");
        }
        let streams = std::mem::take(&mut *lock(&self.streams));
        for running in streams.values() {
            running.camera.begin_stop();
        }
        let give_back = tokio::task::spawn_blocking(move || drop(streams));
        if tokio::time::timeout(within, give_back).await.is_err() {
            warn!("a camera or codec did not come back in time and is left behind");
        }
    }

    fn start_stream(&mut self, stream: &Stream) {
        let publisher = self.hub.open(&stream.name, limits(stream));
        let (outlet, inlet) = queue::bounded();
        let started = self
            .encoders
            .start(stream, inlet, move |media| publisher.publish(media))
            .and_then(|encoder| Ok(Running { camera: self.cameras.start(stream, outlet)?, encoder }));
        match started {
            Ok(running) => drop(lock(&self.streams).insert(stream.name.clone(), running)),
            Err(cause) => {
                error!(stream = %stream.name, %cause, "the system gives no threads for this stream");
            }
        }
    }

    fn start_output(&self, output: &Output) {
        match self.hub.channel(&output.stream) {
            Some(channel) => self.outputs.start(output, channel),
            None => {
                error!(output = %output.name, stream = %output.stream, "the stream of this output does not run");
            }
        }
    }

    /// Stops the stream `name` and starts it as the configuration has it now, if it still does. Its viewers and
    /// its outputs stay where it is only restarted.
    async fn restart_stream(&mut self, name: &str) {
        let wanted = self.config.streams.iter().find(|stream| stream.name == name).cloned();
        let running = lock(&self.streams).remove(name);
        // The channel stays open over the change: the next publisher takes it over before this one goes.
        let kept = wanted.as_ref().map(|stream| self.hub.open(name, limits(stream)));
        if let Some(running) = running {
            running.camera.begin_stop();
            // A camera can be opened once: the old source must be gone before the new one comes.
            let gone = tokio::task::spawn_blocking(move || drop(running));
            if gone.await.is_err() {
                error!(stream = name, "the old source broke while it stopped");
            }
        }
        if let Some(stream) = wanted {
            self.start_stream(&stream);
        }
        drop(kept);
    }

    fn carry_bitrates(&self) {
        let streams = lock(&self.streams);
        for stream in &self.config.streams {
            if let (Some(running), Some(bitrate)) = (streams.get(&stream.name), stream.bitrate) {
                running.encoder.set_bitrate(bitrate);
            }
        }
    }

    fn tell_addresses(&self) {
        for host in addresses::hosts(self.server.local_addr()) {
            for stream in &self.config.streams {
                info!("watch {name}: http://{host}/watch/{name}", name = stream.name);
            }
        }
    }
}

/// Makes the data folder and finds out whether it can be written, while there is still somebody to tell.
fn prepare_data_dir(config: &Config) -> Result<(), Unusable> {
    let folder = &config.appliance.data_dir;
    let trial = folder.join(".writable");
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&trial, b""))
        .and_then(|()| std::fs::remove_file(&trial))
        .map_err(|cause| {
            Unusable(format!(
                "the data folder {} cannot be used: {cause}; give footlight the right to write there, or name \
                 another folder in box.data_dir",
                folder.display()
            ))
        })
}

fn cannot_listen(trouble: &ServeError) -> Unusable {
    let ServeError::Listen { cause, .. } = trouble;
    let advice = match cause.kind() {
        io::ErrorKind::AddrInUse => {
            "another program listens there: stop it, or set another port in http.listen"
        }
        io::ErrorKind::AddrNotAvailable => {
            "this machine does not have that address: set http.listen to one that it has, or to 0.0.0.0"
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need a right of their own: set a port from 1024 on in http.listen"
        }
        _ => "set another address in http.listen",
    };
    Unusable(format!("{trouble}: {cause}; {advice}"))
}

fn limits(stream: &Stream) -> Limits {
    Limits { cache_bytes: usize::try_from(stream.gop_cache.0).unwrap_or(usize::MAX), ..Limits::default() }
}

/// What the server shows of the other rooms.
fn parts(hub: &Hub, streams: &Streams, outputs: &Outputs) -> Parts {
    let describe_hub = hub.clone();
    let describe_streams = streams.clone();
    let describe_outputs = outputs.clone();
    let describe: Vec<Describe> = vec![
        Box::new(describe_process),
        Box::new(move |page| describe_hub.describe_metrics(page)),
        Box::new(move |page| {
            for running in lock(&describe_streams).values() {
                running.camera.describe_metrics(page);
                running.encoder.describe_metrics(page);
            }
        }),
        Box::new(move |page| describe_outputs.describe_metrics(page)),
    ];
    let (ready_hub, ready_streams) = (hub.clone(), streams.clone());
    Parts { hub: hub.clone(), describe, ready: Box::new(move || ready(&ready_hub, &ready_streams)) }
}

/// Ready means that every stream moves.
fn ready(hub: &Hub, streams: &Streams) -> Result<(), Vec<String>> {
    let now = clock::now();
    let mut reasons = Vec::new();
    for (name, running) in lock(streams).iter() {
        let stats = hub.channel(name).map(|channel| channel.stats());
        let last = stats.and_then(|stats| stats.last_video_at.max(stats.last_audio_at));
        if last.is_none_or(|at| now.saturating_duration_since(at) > MOVING_WITHIN) {
            reasons.push(format!("stream {name}: {}", running.camera.status().words));
        }
    }
    if reasons.is_empty() { Ok(()) } else { Err(reasons) }
}

fn describe_process(page: &mut Exposition) {
    page.gauge(
        "footlight_build_info",
        "Always 1; the label tells the version.",
        &[("version", env!("CARGO_PKG_VERSION"))],
        1.0,
    );
}

fn lock(streams: &Streams) -> MutexGuard<'_, BTreeMap<String, Running>> {
    streams.lock().unwrap_or_else(PoisonError::into_inner)
}
