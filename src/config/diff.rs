//! What a new configuration changes, key by key, and what each change costs.
//!
//! Pure. `app` applies the live changes, restarts what must restart, and tells a person what it could not do
//! without restarting the process.

use std::fmt;

use super::schema::{Appliance, Config, Http, Orders, Output, Stream};

/// What it takes for a changed key to come into force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Nothing is interrupted.
    Live,
    /// This stream's camera and encoder start anew; its viewers stay and its timeline goes on. Also for a
    /// stream that is new or gone.
    RestartStream(String),
    /// This output connects anew. Also for one that is new or gone.
    RestartOutput(String),
    /// The sending of orders to the cloud begins anew; orders are taken all the while.
    RestartOutbox,
    /// The process must be restarted; until then the old value holds.
    RestartProcess,
}

/// One key that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its path, as `http.listen`, `stream.main.bitrate`; a stream or output that is new or gone is
    /// `stream.main`, `output.cloud`.
    pub key: String,
    /// What it takes.
    pub effect: Effect,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.effect {
            Effect::Live => write!(f, "{}: in force at once", self.key),
            Effect::RestartStream(name) => write!(f, "{}: restarts stream {name}", self.key),
            Effect::RestartOutput(name) => write!(f, "{}: reconnects output {name}", self.key),
            Effect::RestartOutbox => write!(f, "{}: restarts the sending of orders", self.key),
            Effect::RestartProcess => write!(f, "{}: needs a restart of footlight", self.key),
        }
    }
}

/// Everything that differs, in the order of the file. The order of streams and outputs means nothing.
pub fn diff(old: &Config, new: &Config) -> Vec<Change> {
    // Taken apart by name, so that a key added to the schema does not compile until it has its line here.
    let Config { appliance, http, streams, outputs, orders } = new;
    let mut changes = Changes(Vec::new());
    changes.appliance(&old.appliance, appliance);
    changes.http(&old.http, http);
    for gone in old.streams.iter().filter(|old| !streams.iter().any(|new| new.name == old.name)) {
        changes.push(format!("stream.{}", gone.name), Effect::RestartStream(gone.name.clone()));
    }
    for stream in streams {
        match old.streams.iter().find(|old| old.name == stream.name) {
            Some(old) => changes.stream(old, stream),
            None => {
                changes.push(format!("stream.{}", stream.name), Effect::RestartStream(stream.name.clone()));
            }
        }
    }
    for gone in old.outputs.iter().filter(|old| !outputs.iter().any(|new| new.name == old.name)) {
        changes.push(format!("output.{}", gone.name), Effect::RestartOutput(gone.name.clone()));
    }
    for output in outputs {
        match old.outputs.iter().find(|old| old.name == output.name) {
            Some(old) => changes.output(old, output),
            None => {
                changes.push(format!("output.{}", output.name), Effect::RestartOutput(output.name.clone()));
            }
        }
    }
    changes.orders(&old.orders, orders);
    changes.0
}

struct Changes(Vec<Change>);

impl Changes {
    fn push(&mut self, key: String, effect: Effect) {
        self.0.push(Change { key, effect });
    }

    fn key(&mut self, table: &str, key: &str, differs: bool, effect: &Effect) {
        if differs {
            self.push(format!("{table}.{key}"), effect.clone());
        }
    }

    fn appliance(&mut self, old: &Appliance, new: &Appliance) {
        let Appliance { name, site, data_dir } = new;
        self.key("box", "name", old.name != *name, &Effect::Live);
        self.key("box", "site", old.site != *site, &Effect::Live);
        self.key("box", "data_dir", old.data_dir != *data_dir, &Effect::RestartProcess);
    }

    fn http(&mut self, old: &Http, new: &Http) {
        let Http {
            listen,
            max_viewers,
            max_viewers_per_address,
            max_connections,
            merge,
            viewer_lag,
            viewer_stall,
            trust_local,
        } = new;
        let live = &Effect::Live;
        let per_address = old.max_viewers_per_address != *max_viewers_per_address;
        self.key("http", "listen", old.listen != *listen, &Effect::RestartProcess);
        self.key("http", "max_viewers", old.max_viewers != *max_viewers, live);
        self.key("http", "max_viewers_per_address", per_address, live);
        self.key("http", "max_connections", old.max_connections != *max_connections, live);
        self.key("http", "merge", old.merge != *merge, live);
        self.key("http", "viewer_lag", old.viewer_lag != *viewer_lag, live);
        self.key("http", "viewer_stall", old.viewer_stall != *viewer_stall, live);
        self.key("http", "trust_local", old.trust_local != *trust_local, live);
    }

    fn stream(&mut self, old: &Stream, new: &Stream) {
        let Stream { name, video, audio, size, fps, bitrate, audio_bitrate, gop, encoder, gop_cache } = new;
        let table = format!("stream.{name}");
        let restart = &Effect::RestartStream(name.clone());
        // A running encoder takes another bitrate. From none or to none is another matter: that decides
        // whether a source's H.264 is passed through, and what is chosen from size and rate.
        let bitrate_effect = if old.bitrate.is_some() && bitrate.is_some() { &Effect::Live } else { restart };
        self.key(&table, "video", old.video != *video, restart);
        self.key(&table, "audio", old.audio != *audio, restart);
        self.key(&table, "size", old.size != *size, restart);
        self.key(&table, "fps", old.fps != *fps, restart);
        self.key(&table, "bitrate", old.bitrate != *bitrate, bitrate_effect);
        self.key(&table, "audio_bitrate", old.audio_bitrate != *audio_bitrate, restart);
        self.key(&table, "gop", old.gop != *gop, restart);
        self.key(&table, "encoder", old.encoder != *encoder, restart);
        self.key(&table, "gop_cache", old.gop_cache != *gop_cache, restart);
    }

    fn output(&mut self, old: &Output, new: &Output) {
        let Output { name, stream, mode, primary, standby, failback, adaptive, bitrate_min, bitrate_max } =
            new;
        let table = format!("output.{name}");
        let restart = &Effect::RestartOutput(name.clone());
        self.key(&table, "stream", old.stream != *stream, restart);
        self.key(&table, "mode", old.mode != *mode, restart);
        self.key(&table, "primary", old.primary != *primary, restart);
        self.key(&table, "standby", old.standby != *standby, restart);
        self.key(&table, "failback", old.failback != *failback, restart);
        self.key(&table, "adaptive", old.adaptive != *adaptive, restart);
        self.key(&table, "bitrate_min", old.bitrate_min != *bitrate_min, restart);
        self.key(&table, "bitrate_max", old.bitrate_max != *bitrate_max, restart);
    }

    fn orders(&mut self, old: &Orders, new: &Orders) {
        let Orders { enabled, rate_per_address, queue, hold, buyer_limit, low_stock, cloud, batch } = new;
        let live = &Effect::Live;
        let per_address = old.rate_per_address != *rate_per_address;
        self.key("orders", "enabled", old.enabled != *enabled, &Effect::RestartProcess);
        self.key("orders", "rate_per_address", per_address, live);
        self.key("orders", "queue", old.queue != *queue, &Effect::RestartProcess);
        self.key("orders", "hold", old.hold != *hold, live);
        self.key("orders", "buyer_limit", old.buyer_limit != *buyer_limit, live);
        self.key("orders", "low_stock", old.low_stock != *low_stock, live);
        self.key("orders", "cloud", old.cloud != *cloud, &Effect::RestartOutbox);
        self.key("orders", "batch", old.batch != *batch, &Effect::RestartOutbox);
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;
    use crate::base::secret::Secret;
    use crate::base::units::{BitrateBps, ByteSize, FrameRate, PictureSize};
    use crate::config::keys::TABLES;
    use crate::config::schema::{
        AudioSource, Destination, EncoderChoice, OutputMode, PushUrl, ShopCloud, VideoSource,
    };

    fn sample() -> Config {
        let mut config = Config::defaults("box", PathBuf::from("data"));
        let primary = Destination::new(PushUrl::rtmp("a", 1935, "live", "key"));
        config.streams[0].bitrate = Some(BitrateBps(1_000_000));
        config.outputs.push(Output::new("cloud", "main", primary));
        config
    }

    /// Changes one key, and says what that must cost; `None` for a name, which is no change but another thing.
    fn change(config: &mut Config, key: &str) -> Option<Effect> {
        let main = Effect::RestartStream("main".into());
        let cloud = Effect::RestartOutput("cloud".into());
        let (http, orders) = (&mut config.http, &mut config.orders);
        let stream = &mut config.streams[0];
        match key {
            "box.name" => config.appliance.name.push('x'),
            "box.site" => config.appliance.site.push('x'),
            "box.data_dir" => {
                config.appliance.data_dir.push("x");
                return Some(Effect::RestartProcess);
            }
            "http.listen" => {
                http.listen.set_port(1);
                return Some(Effect::RestartProcess);
            }
            "http.max_viewers" => http.max_viewers += 1,
            "http.max_viewers_per_address" => http.max_viewers_per_address += 1,
            "http.max_connections" => http.max_connections += 1,
            "http.merge" => http.merge += Duration::from_millis(1),
            "http.viewer_lag" => http.viewer_lag += Duration::from_millis(1),
            "http.viewer_stall" => http.viewer_stall += Duration::from_millis(1),
            "http.trust_local" => http.trust_local = !http.trust_local,
            "stream.bitrate" => stream.bitrate = Some(BitrateBps(2_000_000)),
            "stream.video" => {
                stream.video = VideoSource::File("clip.mp4".into());
                return Some(main);
            }
            "stream.audio" => {
                stream.audio = AudioSource::None;
                return Some(main);
            }
            "stream.size" => {
                stream.size = Some(PictureSize { width: 640, height: 360 });
                return Some(main);
            }
            "stream.fps" => {
                stream.fps = Some(FrameRate::whole(25));
                return Some(main);
            }
            "stream.audio_bitrate" => {
                stream.audio_bitrate = BitrateBps(64_000);
                return Some(main);
            }
            "stream.gop" => {
                stream.gop *= 2;
                return Some(main);
            }
            "stream.encoder" => {
                stream.encoder = EncoderChoice::Named("libx264".into());
                return Some(main);
            }
            "stream.gop_cache" => {
                stream.gop_cache = ByteSize(1 << 20);
                return Some(main);
            }
            "output.stream" => {
                config.outputs[0].stream.push('x');
                return Some(cloud);
            }
            "output.primary" => {
                config.outputs[0].primary.url = PushUrl::rtmp("a", 1935, "live", "other");
                return Some(cloud);
            }
            "output.mode" => {
                config.outputs[0].mode = OutputMode::Cold;
                return Some(cloud);
            }
            "output.standby" => {
                let standby = config.outputs[0].primary.clone();
                config.outputs[0].standby.push(Destination { interface: Some("wwan0".into()), ..standby });
                return Some(cloud);
            }
            "output.failback" => {
                config.outputs[0].failback *= 2;
                return Some(cloud);
            }
            "output.adaptive" => {
                config.outputs[0].adaptive = false;
                return Some(cloud);
            }
            "output.bitrate_min" => {
                config.outputs[0].bitrate_min = Some(BitrateBps(300_000));
                return Some(cloud);
            }
            "output.bitrate_max" => {
                config.outputs[0].bitrate_max = Some(BitrateBps(900_000));
                return Some(cloud);
            }
            "orders.enabled" => {
                orders.enabled = false;
                return Some(Effect::RestartProcess);
            }
            "orders.queue" => {
                orders.queue += 1;
                return Some(Effect::RestartProcess);
            }
            "orders.rate_per_address" => orders.rate_per_address += 1,
            "orders.hold" => orders.hold *= 2,
            "orders.buyer_limit" => orders.buyer_limit += 1,
            "orders.low_stock" => orders.low_stock += 1,
            "orders.cloud" => {
                let url = "https://shop.example/".parse().expect("a URL");
                orders.cloud = Some(ShopCloud { token: Some(Secret::new("x")), ..ShopCloud::new(url) });
                return Some(Effect::RestartOutbox);
            }
            "orders.batch" => {
                orders.batch += 1;
                return Some(Effect::RestartOutbox);
            }
            "stream.name" | "output.name" => return None,
            other => panic!("{other} is not in this walk: add what changing it costs"),
        }
        Some(Effect::Live)
    }

    #[test]
    fn changing_one_key_reports_that_key_and_nothing_else() {
        for table in TABLES {
            for key in table.keys {
                let old = sample();
                let mut new = old.clone();
                let Some(effect) = change(&mut new, &format!("{}.{key}", table.name)) else { continue };
                let path = match table.name {
                    "stream" => format!("stream.main.{key}"),
                    "output" => format!("output.cloud.{key}"),
                    name => format!("{name}.{key}"),
                };
                assert_eq!(diff(&old, &new), [Change { key: path, effect }], "{}.{key}", table.name);
            }
        }
        assert_eq!(diff(&sample(), &sample()), []);
    }

    #[test]
    fn a_renamed_stream_is_one_gone_and_one_new() {
        let old = sample();
        let mut new = old.clone();
        new.streams[0].name = "cam".into();
        let keys: Vec<_> = diff(&old, &new).into_iter().map(|change| (change.key, change.effect)).collect();
        assert_eq!(
            keys,
            [
                ("stream.main".to_owned(), Effect::RestartStream("main".into())),
                ("stream.cam".to_owned(), Effect::RestartStream("cam".into()))
            ]
        );
    }

    #[test]
    fn a_bitrate_that_was_chosen_for_the_stream_cannot_be_changed_live() {
        let mut old = sample();
        old.streams[0].bitrate = None;
        let changes = diff(&old, &sample());
        assert_eq!(changes[0].effect, Effect::RestartStream("main".into()));
    }

    #[test]
    fn the_order_of_streams_means_nothing() {
        let mut old = sample();
        old.streams.push(Stream::new("second", VideoSource::Pattern));
        let mut new = old.clone();
        new.streams.reverse();
        assert_eq!(diff(&old, &new), []);
    }
}
