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

/// Every table, in the order of the reference file.
pub(super) const TABLES: &[Table] = &[BOX, HTTP, STREAM, OUTPUT];

impl Table {
    /// How its header is written.
    pub(super) fn header(&self) -> String {
        if self.many { format!("[[{}]]", self.name) } else { format!("[{}]", self.name) }
    }

    /// Where its keys stand, in words.
    pub(super) fn place(&self) -> String {
        if self.name == DESTINATION.name { "a destination".to_owned() } else { self.header() }
    }
}
