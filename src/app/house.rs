//! The rooms, joined: three lists, one to start, one to reload, one to stop.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::base::clock;
use crate::base::metrics::Exposition;
use crate::base::queue;
use crate::capture::{Camera, Cameras};
use crate::config::schema::{Config, Output, Stream};
use crate::config::{self, Change, Effect};
use crate::encode::{Encoder, Encoders};
use crate::hub::{Channel, Hub, Limits, Publisher};
use crate::serve::auth::Tokens;
use crate::serve::{Describe, Parts, ServeError, Server};
use crate::shop::outbox::Outbox;
use crate::shop::{Orders, Running};
use crate::uplink::Outputs;

use super::{addresses, descriptors};

/// A stream counts as moving while its last picture is no older than this: longer than the slowest camera's
/// frame, shorter than a person's patience.
const MOVING_WITHIN: Duration = Duration::from_secs(3);

/// How long a camera and a codec may take to come back before they are left behind.
const GIVE_BACK_WITHIN: Duration = Duration::from_secs(3);

/// How long the order store may take to close. What was answered is on the disk whether it closes or not.
const STORE_CLOSES_WITHIN: Duration = Duration::from_millis(500);

/// Why the box cannot start here; a sentence with what to do.
#[derive(Debug)]
pub(super) struct Unusable(String);

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A stream's source and encoder at work. The encoder ends when the camera's end of the queue is gone, so the
/// camera stands first.
struct Working {
    camera: Camera,
    encoder: Encoder,
}

/// One configured stream, whether it works or not. Its channel is open as long as this stands: viewers and outputs
/// stay while the source and the encoder are started again.
struct Slot {
    publisher: Arc<Publisher>,
    /// At work, or why not.
    work: Result<Working, String>,
}

type Streams = Arc<Mutex<BTreeMap<String, Slot>>>;

/// The running box.
pub(super) struct House {
    config: Config,
    hub: Hub,
    encoders: Encoders,
    cameras: Cameras,
    outputs: Outputs,
    orders: Orders,
    /// What writes them; nothing where they are switched off.
    writing: Option<Running>,
    /// What sends them to the cloud.
    outbox: Outbox,
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
        descriptors::make_room(config.http.max_connections);
        let hub = Hub::new();
        let streams = Streams::default();
        let outputs = steering(&streams);
        let (orders, writing) = start_orders(&config)?;
        let outbox = Outbox::new(orders.clone(), &config.appliance.name, &config.appliance.site);
        outbox.start(&config.orders);
        // The streams are there before the first request can ask for them.
        for stream in &config.streams {
            lock(&streams).insert(stream.name.clone(), closed_slot(&hub, stream));
        }
        let probing = tokio::task::spawn_blocking(Encoders::probe);
        let tokens = Tokens::open(&config.appliance.data_dir);
        let parts = Parts {
            order_rate: config.orders.rate_per_address,
            ..parts(&hub, &streams, &outputs, &orders, &outbox, tokens)
        };
        let server = Server::start(&config.http, parts).map_err(|trouble| cannot_listen(&trouble))?;
        let encoders =
            probing.await.map_err(|cause| Unusable(format!("trying the encoders broke: {cause}")))?;
        let cameras = Cameras::new();
        let house =
            House { config, hub, encoders, cameras, outputs, orders, writing, outbox, streams, server };
        house.config.streams.iter().for_each(|stream| house.start_stream(stream));
        house.config.outputs.iter().for_each(|output| house.start_output(output));
        house.tell_addresses();
        Ok(house)
    }

    /// Takes over what of `new` can change while running and says what could not. May be dropped half-way, by a stop.
    pub(super) async fn reload(&mut self, mut new: Config) {
        let mut changes = config::diff(&self.config, &new);
        if changes.is_empty() {
            info!("configuration read again: nothing changed");
            return;
        }
        self.keep_streams_that_could_not_start(&mut new, &mut changes);
        // What only a new process can take over stays as it is in force, so that the next reload compares with that.
        new.http.listen = self.config.http.listen;
        new.appliance.data_dir.clone_from(&self.config.appliance.data_dir);
        new.orders.enabled = self.config.orders.enabled;
        new.orders.queue = self.config.orders.queue;
        let mut streams = BTreeSet::new();
        let mut outputs = BTreeSet::new();
        let mut sending_changed = false;
        for Change { key, effect } in changes {
            match effect {
                Effect::Live => info!(%key, "changed"),
                Effect::RestartStream(name) => {
                    info!(%key, "changed: the stream starts again");
                    streams.insert(name);
                }
                Effect::RestartOutput(name) => {
                    info!(%key, "changed: the output starts again");
                    outputs.insert(name);
                }
                Effect::RestartOutbox => {
                    info!(%key, "changed: the sending of orders starts again");
                    sending_changed = true;
                }
                Effect::RestartProcess => {
                    warn!(%key, "changed, but it takes effect only when footlight is started again");
                }
            }
        }
        if new.http.max_connections != self.config.http.max_connections {
            descriptors::make_room(new.http.max_connections);
        }
        self.config = new;
        self.server.reconfigure(&self.config.http);
        self.orders.reconfigure(&self.config.orders);
        if sending_changed {
            self.outbox.stop().await;
            self.outbox.start(&self.config.orders);
        }
        self.server.set_order_rate(self.config.orders.rate_per_address);
        self.carry_bitrates();
        // Side by side: each may have a far end to say goodbye to, or a driver that takes its time.
        let mut farewells = JoinSet::new();
        for name in outputs.clone() {
            let leaving = self.outputs.clone();
            farewells.spawn(async move { leaving.stop(&name).await });
        }
        let gone: Vec<Slot> = streams.iter().filter_map(|name| self.take_out(name)).collect();
        tokio::join!(give_back(gone, GIVE_BACK_WITHIN), farewells.join_all());
        for stream in self.config.streams.iter().filter(|stream| streams.contains(&stream.name)) {
            self.start_stream(stream);
        }
        for output in self.config.outputs.iter().filter(|output| outputs.contains(&output.name)) {
            self.start_output(output);
        }
    }

    /// Whether the server is gone: a box that nobody can reach is better started anew.
    pub(super) fn is_broken(&self) -> bool {
        self.server.has_ended()
    }

    /// Starts again what ended without being told to.
    pub(super) async fn look_after(&mut self) {
        let ended: Vec<String> = lock(&self.streams)
            .iter()
            .filter(|(_, slot)| slot.work.as_ref().is_ok_and(|working| working.encoder.has_ended()))
            .map(|(name, _)| name.clone())
            .collect();
        for name in ended {
            error!(stream = %name, "the encoder ended by a bug of ours; the stream starts again");
            let gone = self.take_out(&name).into_iter().collect();
            give_back(gone, GIVE_BACK_WITHIN).await;
            if let Some(stream) = self.config.streams.iter().find(|stream| stream.name == name) {
                self.start_stream(stream);
            }
        }
    }

    /// Ends every room within the bound: the far ends and the viewers hear goodbye while the cameras and codecs are
    /// given back.
    pub(super) async fn stop(self, within: Duration) {
        // The channels stay open until all have said goodbye: their end would look like a fault to them.
        let mut streams = std::mem::take(&mut *lock(&self.streams));
        let working = streams.values_mut().map(|slot| Slot {
            publisher: slot.publisher.clone(),
            work: std::mem::replace(&mut slot.work, Err("stopped".to_owned())),
        });
        let working = working.collect();
        let farewell = async {
            let said = async { tokio::join!(self.outputs.shutdown(), self.server.shutdown(within)) };
            if tokio::time::timeout(within, said).await.is_err() {
                warn!("a far end did not answer the goodbye in time");
            }
        };
        tokio::join!(farewell, give_back(working, within));
        self.outbox.stop().await;
        // Last, so that who was let in still hears an answer.
        if let Some(writing) = self.writing {
            writing.stop(STORE_CLOSES_WITHIN).await;
        }
    }

    /// A named encoder that does not work here is told before the stream that runs is stopped for it.
    fn keep_streams_that_could_not_start(&self, new: &mut Config, changes: &mut Vec<Change>) {
        for old in &self.config.streams {
            let Some(stream) = new.streams.iter_mut().find(|stream| stream.name == old.name) else {
                continue;
            };
            if stream.encoder != old.encoder
                && let Err(cause) = self.encoders.check(&stream.encoder)
            {
                error!(stream = %old.name, "{cause}; the stream goes on as it was");
                stream.clone_from(old);
                changes.retain(|change| change.effect != Effect::RestartStream(old.name.clone()));
            }
        }
    }

    fn start_stream(&self, stream: &Stream) {
        let mut slot = closed_slot(&self.hub, stream);
        let publisher = slot.publisher.clone();
        let (outlet, inlet) = queue::bounded();
        let started = self
            .encoders
            .start(stream, inlet, move |media| publisher.publish(media))
            .and_then(|encoder| Ok(Working { camera: self.cameras.start(stream, outlet)?, encoder }));
        slot.work = started.map_err(|cause| {
            error!(stream = %stream.name, "the stream does not start: {cause}");
            cause.to_string()
        });
        let replaced = lock(&self.streams).insert(stream.name.clone(), slot);
        drop(replaced);
        // It begins with what is configured; its lines may be known to carry less.
        self.outputs.configure_encoder(&stream.name, stream.bitrate);
    }

    /// Takes the work out of a stream's slot; the slot itself goes too if the stream is configured no more.
    fn take_out(&self, name: &str) -> Option<Slot> {
        let mut streams = lock(&self.streams);
        if !self.config.streams.iter().any(|stream| stream.name == name) {
            return streams.remove(name);
        }
        let slot = streams.get_mut(name)?;
        let work = std::mem::replace(&mut slot.work, Err("starting again".to_owned()));
        Some(Slot { publisher: slot.publisher.clone(), work })
    }

    fn start_output(&self, output: &Output) {
        match self.hub.channel(&output.stream) {
            Some(channel) => self.outputs.start(output, channel),
            None => {
                error!(output = %output.name, stream = %output.stream, "the stream of this output does not run");
            }
        }
    }

    fn carry_bitrates(&self) {
        for stream in self.config.streams.iter().filter(|stream| stream.bitrate.is_some()) {
            self.outputs.configure_encoder(&stream.name, stream.bitrate);
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

/// The outputs, whose lines have a say about the bitrates of the encoders that feed them.
fn steering(streams: &Streams) -> Outputs {
    let streams = streams.clone();
    Outputs::steering(move |stream, bitrate| {
        if let Some(Slot { work: Ok(working), .. }) = lock(&streams).get(stream) {
            working.encoder.set_bitrate(bitrate);
        }
    })
}

/// The order cache, and what writes it. A store that cannot be used does not keep the box from streaming.
fn start_orders(config: &Config) -> Result<(Orders, Option<Running>), Unusable> {
    if !config.orders.enabled {
        return Ok((Orders::off(), None));
    }
    let (orders, writing) = Orders::start(&config.appliance.data_dir, &config.orders)
        .map_err(|cause| Unusable(format!("the system gives no thread for orders: {cause}")))?;
    Ok((orders, Some(writing)))
}

/// A stream that has its channel and nothing else yet. A channel that is open already is taken over.
fn closed_slot(hub: &Hub, stream: &Stream) -> Slot {
    let cache_bytes = usize::try_from(stream.gop_cache.0).unwrap_or(usize::MAX);
    let limits = Limits { cache_bytes, ..Limits::default() };
    Slot { publisher: Arc::new(hub.open(&stream.name, limits)), work: Err("starting".to_owned()) }
}

/// Stops sources and encoders, all at once, and waits for them no longer than `within`.
async fn give_back(slots: Vec<Slot>, within: Duration) {
    for slot in &slots {
        if let Ok(working) = &slot.work {
            working.camera.begin_stop();
        }
    }
    let mut leaving = JoinSet::new();
    for slot in slots {
        leaving.spawn_blocking(move || drop(slot));
    }
    let all = async { while leaving.join_next().await.is_some() {} };
    if tokio::time::timeout(within, all).await.is_err() {
        warn!("a camera or a codec did not come back in time and is left behind");
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

/// What the server shows of the other rooms.
fn parts(
    hub: &Hub,
    streams: &Streams,
    outputs: &Outputs,
    orders: &Orders,
    outbox: &Outbox,
    tokens: Tokens,
) -> Parts {
    let describe_hub = hub.clone();
    let describe_streams = streams.clone();
    let describe_outputs = outputs.clone();
    let describe_orders = orders.clone();
    let describe_outbox = outbox.clone();
    let describe: Vec<Describe> = vec![
        Box::new(describe_process),
        Box::new(move |page| describe_hub.describe_metrics(page)),
        Box::new(move |page| {
            for working in lock(&describe_streams).values().filter_map(|slot| slot.work.as_ref().ok()) {
                working.camera.describe_metrics(page);
                working.encoder.describe_metrics(page);
            }
        }),
        Box::new(move |page| describe_outputs.describe_metrics(page)),
        Box::new(move |page| describe_orders.describe_metrics(page)),
        Box::new(move |page| describe_outbox.describe_metrics(page)),
    ];
    let (ready_hub, ready_streams, ready_orders) = (hub.clone(), streams.clone(), orders.clone());
    Parts {
        hub: hub.clone(),
        outputs: outputs.clone(),
        tokens,
        orders: orders.clone(),
        outbox: outbox.clone(),
        order_rate: 0,
        describe,
        ready: Box::new(move || ready(&ready_hub, &ready_streams, &ready_orders)),
    }
}

/// Ready means that every stream moves: its picture, or its sound where it has no picture; and that orders, where they
/// are switched on, can be written.
fn ready(hub: &Hub, streams: &Streams, orders: &Orders) -> Result<(), Vec<String>> {
    let now = clock::now();
    let mut reasons = Vec::new();
    for (name, slot) in lock(streams).iter() {
        let channel = hub.channel(name);
        let has_picture = |channel: &Channel| channel.layout().is_none_or(|layout| layout.video.is_some());
        let last = channel.as_ref().and_then(|channel| {
            let stats = channel.stats();
            if has_picture(channel) { stats.last_video_at } else { stats.last_audio_at }
        });
        match &slot.work {
            Err(trouble) => reasons.push(format!("stream {name}: {trouble}")),
            Ok(working) if last.is_none_or(|at| now.saturating_duration_since(at) > MOVING_WITHIN) => {
                reasons.push(format!("stream {name}: {}", working.camera.status().words));
            }
            Ok(_) => {}
        }
    }
    if let Some(trouble) = orders.trouble() {
        reasons.push(format!("orders: {}", trouble.public()));
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

fn lock(streams: &Streams) -> MutexGuard<'_, BTreeMap<String, Slot>> {
    streams.lock().unwrap_or_else(PoisonError::into_inner)
}
