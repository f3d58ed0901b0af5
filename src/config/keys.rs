//! The list of keys: what may stand in `footlight.toml` and in the environment.
//!
//! The reader takes keys by these names, the environment is matched against them, the reference file must
//! document them and `diff` must know them; tests hold all four to this one list.

/// A table of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Table {
    /// Its name in the file, and in capitals in the environment.
    pub(super) name: &'static str,
    /// `[[name]]`, one for each thing, told apart by its key `name`.
    pub(super) many: bool,
    /// What may stand in it.
    pub(super) keys: &'static [&'static str],
}

/// The most streams, and the most outputs, that one box is asked for; each costs threads and memory.
pub(super) const THINGS_MAX: usize = 64;

pub(super) const BOX: Table = Table { name: "box", many: false, keys: &["name", "site", "data_dir"] };

pub(super) const HTTP: Table = Table {
    name: "http",
    many: false,
    keys: &[
        "listen",
        "max_viewers",
        "max_viewers_per_address",
        "max_connections",
        "merge",
        "viewer_lag",
        "viewer_stall",
        "trust_local",
    ],
};

pub(super) const STREAM: Table = Table {
    name: "stream",
    many: true,
    keys: &[
        "name",
        "video",
        "audio",
        "size",
        "fps",
        "bitrate",
        "audio_bitrate",
        "gop",
        "encoder",
        "gop_cache",
    ],
};

pub(super) const OUTPUT: Table = Table {
    name: "output",
    many: true,
    keys: &[
        "name",
        "stream",
        "primary",
        "standby",
        "mode",
        "failback",
        "adaptive",
        "bitrate_min",
        "bitrate_max",
    ],
};

/// A destination that is a table: `primary`, or an entry of `standby`. It stands inside [`OUTPUT`], so it is
/// none of [`TABLES`].
pub(super) const DESTINATION: Table = Table {
    name: "destination",
    many: false,
    keys: &[
        "url",
        "url_file",
        "interface",
        "source_address",
        "ca_file",
        "certificate_sha256",
        "latency",
        "passphrase",
        "passphrase_file",
    ],
};

pub(super) const ORDERS: Table = Table {
    name: "orders",
    many: false,
    keys: &["enabled", "rate_per_address", "queue", "hold", "buyer_limit", "low_stock", "cloud", "batch"],
};

/// The commerce system that orders are sent to. It stands inside [`ORDERS`].
pub(super) const CLOUD: Table = Table {
    name: "cloud",
    many: false,
    keys: &["url", "url_file", "token", "token_file", "secret", "secret_file", "ca_file"],
};

/// Every table, in the order of the reference file.
pub(super) const TABLES: &[Table] = &[BOX, HTTP, STREAM, OUTPUT, ORDERS];

/// Tables that stand inside others, and the key that holds each.
const INNER: &[(Table, &str, Table)] =
    &[(OUTPUT, "primary", DESTINATION), (OUTPUT, "standby", DESTINATION), (ORDERS, "cloud", CLOUD)];

impl Table {
    /// How its header is written.
    pub(super) fn header(&self) -> String {
        if self.many { format!("[[{}]]", self.name) } else { format!("[{}]", self.name) }
    }

    /// Where its keys stand, in words.
    pub(super) fn place(&self) -> String {
        match self.name {
            name if name == DESTINATION.name => "a destination".to_owned(),
            name if name == CLOUD.name => "the cloud of [orders]".to_owned(),
            _ => self.header(),
        }
    }

    /// The table that may be written at `key`, where a value may be one.
    pub(super) fn inner(&self, key: &str) -> Option<Table> {
        INNER.iter().find(|(outer, at, _)| outer == self && *at == key).map(|(.., inner)| *inner)
    }

    /// Where `key` belongs, if that is a table inside this one, or else inside another: the key that holds the
    /// table, and the table.
    pub(super) fn home_inside(&self, key: &str) -> Option<(&'static str, Table)> {
        let mut homes = INNER.iter().filter(|(.., inner)| inner.keys.contains(&key));
        let own = homes.clone().find(|(outer, ..)| outer == self);
        own.or_else(|| homes.next()).map(|(_, at, inner)| (*at, *inner))
    }
}
