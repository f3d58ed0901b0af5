//! Finds the file, reads it, and answers with a [`Config`] or with everything that is wrong.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::net::if_::if_nameindex;

use super::document::{self, Table};
use super::environment;
use super::problems::{Notes, Origin, Problem, Problems, Wrong};
use super::read::{self, Around};
use super::schema::Config;

/// Where the installed box has its configuration.
const INSTALLED: &str = "/etc/footlight/footlight.toml";

/// A configuration of 64 streams and 64 outputs with comments has some 50 KiB.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Others on this machine may read it.
pub(super) const OTHERS_READ: u32 = 0o004;

/// Longest box name taken from the host's: one label of a host name (RFC 1035 §2.3.4).
const BOX_NAME_BYTES_MAX: usize = 63;

/// A box has a handful; a host of containers may have thousands, and then none is looked for.
const INTERFACES_MAX: usize = 256;

/// The box's name where the host has none that could be used.
const BOX_NAME_FALLBACK: &str = "footlight";

/// What may be read as a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accept {
    /// Only what can be read again, and at once, when SIGHUP asks for it.
    RegularFile,
    /// A pipe or a terminal as well: it is read once, by someone who waits for it.
    Stream,
}

/// A configuration that is right.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// What to run.
    pub config: Config,
    /// What is strange in it, for the log and for `footlight check`.
    pub warnings: Vec<Problem>,
    /// Where it came from.
    pub source: Source,
}

/// Where the configuration came from. Prints as a sentence for the first line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `--config FILE`
    Asked(PathBuf),
    /// `$FOOTLIGHT_CONFIG`
    Variable(PathBuf),
    /// The installed box's own: `/etc/footlight/footlight.toml`.
    Installed(PathBuf),
    /// No file: the built-in defaults.
    Defaults,
}

impl Source {
    /// Which file is read: `asked`, else `$FOOTLIGHT_CONFIG`, else the installed one if it is there.
    pub fn find(asked: Option<&Path>, env: &[(String, String)]) -> Source {
        if let Some(path) = asked {
            return Source::Asked(path.to_owned());
        }
        if let Some(path) = variable(env, "FOOTLIGHT_CONFIG") {
            return Source::Variable(PathBuf::from(path));
        }
        match std::fs::metadata(INSTALLED) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Source::Defaults,
            // One that is there and cannot be reached is an error, not a reason to run the test pattern.
            _ => Source::Installed(PathBuf::from(INSTALLED)),
        }
    }

    /// The file, if there is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Source::Asked(path) | Source::Variable(path) | Source::Installed(path) => Some(path),
            Source::Defaults => None,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Asked(path) | Source::Installed(path) => write!(f, "{}", path.display()),
            Source::Variable(path) => write!(f, "{} (named by $FOOTLIGHT_CONFIG)", path.display()),
            Source::Defaults => {
                write!(f, "the built-in defaults (no --config, no $FOOTLIGHT_CONFIG, no {INSTALLED})")
            }
        }
    }
}

/// Loads the configuration: the file that [`Source::find`] finds, with the variables of `env` laid over it.
/// It must be a regular file: a pipe would hold a reload up, and gives its text only once.
///
/// # Errors
/// Everything that is wrong, at once. Then nothing of it may be used.
pub fn load(path: Option<&Path>, env: &[(String, String)]) -> Result<Loaded, Problems> {
    load_from(path, env, Accept::RegularFile)
}

/// As [`load`], from whatever `accept` allows.
pub(super) fn load_from(
    path: Option<&Path>,
    env: &[(String, String)],
    accept: Accept,
) -> Result<Loaded, Problems> {
    let source = Source::find(path, env);
    let (text, readable_by_all) = match source.path() {
        None => (String::new(), false),
        Some(path) => {
            read_text(path, accept).map_err(|error| Problems { errors: vec![error], warnings: Vec::new() })?
        }
    };
    let file = source.path().map(|path| path.display().to_string()).unwrap_or_default();
    let folder = source.path().and_then(Path::parent).unwrap_or(Path::new(""));
    let defaults = Config::defaults(&box_name(), data_dir(env));
    let interfaces = interfaces();
    let around = Around { folder, readable_by_all, interfaces: interfaces.as_deref() };
    let (config, warnings) = understand(&text, &file, around, defaults, env)?;
    Ok(Loaded { config, warnings, source })
}

/// The part of [`load`] that knows no machine, save for the files that the text names.
pub(super) fn understand(
    text: &str,
    file: &str,
    around: Around<'_>,
    defaults: Config,
    env: &[(String, String)],
) -> Result<(Config, Vec<Problem>), Problems> {
    let mut syntax = Notes::new(file, text);
    let (mut root, broken_at) = document::parse(text, &mut syntax);
    let mut notes = Notes::new(file, text);
    if root.get(super::keys::STREAM.name).is_none() {
        name_default_stream(&mut root, &defaults);
    }
    environment::lay_over(&mut root, env, &mut notes);
    let config = read::config(root, around, defaults, broken_at.is_none(), &mut notes);
    if let Some(line) = broken_at {
        notes.forget_from_line(line);
    }
    let failed = syntax.has_errors() || notes.has_errors();
    let (mut errors, mut warnings) = syntax.finish();
    let (more_errors, more_warnings) = notes.finish();
    errors.extend(more_errors);
    warnings.extend(more_warnings);
    if failed {
        errors.sort_by_key(Problem::order);
        return Err(Problems { errors, warnings });
    }
    Ok((config, warnings))
}

/// Without any `[[stream]]` there is the default one, which variables can name too.
fn name_default_stream(root: &mut Table, defaults: &Config) {
    use document::{Given, Value};
    let text = |text: &str| Value { at: Origin::Default, given: Given::Text(text.to_owned()) };
    let tables = defaults.streams.iter().map(|stream| {
        let mut table = Table::empty();
        table.set("name", text(&stream.name));
        table.set("video", text("pattern"));
        Value { at: Origin::Default, given: Given::Table(table) }
    });
    let list = Value { at: Origin::Default, given: Given::List(tables.collect()) };
    root.set(super::keys::STREAM.name, list);
}

/// The file's text, bounded, and checked to be text at all; and whether everyone on this machine may read it.
fn read_text(path: &Path, accept: Accept) -> Result<(String, bool), Problem> {
    let file = path.display().to_string();
    let cannot = |error: io::Error| {
        let advice = match error.kind() {
            io::ErrorKind::NotFound => {
                "name a file that is there; footlight.toml in the source is an example"
            }
            io::ErrorKind::PermissionDenied => "let the user that footlight runs as read it",
            _ => "name a file that can be read",
        };
        Problem::of_file(&file, Wrong::new(format!("the configuration cannot be read ({error})"), advice))
    };
    // Looked at before it is opened: opening a pipe would wait for its writer for ever.
    let found = std::fs::metadata(path).map_err(cannot)?;
    if !found.is_file() && (found.is_dir() || accept == Accept::RegularFile) {
        let (what, advice) = if found.is_dir() {
            ("this is a folder", "name a file inside it")
        } else {
            (
                "this is no regular file, and could not be read again when SIGHUP asks for it",
                "write the configuration to a file and name that; only footlight check reads pipes",
            )
        };
        return Err(Problem::of_file(&file, Wrong::new(what, advice)));
    }
    let readable_by_all = found.is_file() && found.mode() & OTHERS_READ != 0;
    let mut bytes = Vec::new();
    let opened = File::open(path).map_err(cannot)?;
    opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let wrong =
            Wrong::new("the file is larger than 1 MiB", "this is not a configuration: name another file");
        return Err(Problem::of_file(&file, wrong));
    }
    Ok((text_of(bytes, &file)?, readable_by_all))
}

/// Bytes as text; what is not UTF-8 is shown by line, since an editor can be sent there.
pub(super) fn text_of(bytes: Vec<u8>, file: &str) -> Result<String, Problem> {
    let at = |text: &str, wrong: Wrong| {
        let mut notes = Notes::new(file, text);
        notes.error(&Origin::Bytes(text.len()..text.len()), "", wrong);
        notes.finish().0.remove(0)
    };
    let advice = "save it again as UTF-8 text";
    if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) {
        return Err(at("", Wrong::new("the file is UTF-16", advice)));
    }
    let mut text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let valid = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]);
            return Err(at(&valid, Wrong::new("the file is not UTF-8 here", advice)));
        }
    };
    if let Some(nul) = text.find('\0') {
        return Err(at(&text[..nul], Wrong::new("the file holds a NUL byte here", advice)));
    }
    // Windows' editors begin UTF-8 with a mark that would count as a column.
    if text.starts_with('\u{FEFF}') {
        text.remove(0);
    }
    Ok(text)
}

/// What systemd calls `StateDirectory=` (the first, if there are several), else a folder here.
fn data_dir(env: &[(String, String)]) -> PathBuf {
    let state = variable(env, "STATE_DIRECTORY").and_then(|list| list.split(':').next());
    PathBuf::from(state.filter(|path| !path.is_empty()).unwrap_or("footlight-data"))
}

/// The network interfaces that the box sees; none where the kernel does not tell, or tells too many. `/sys` would
/// tell those of the namespace that it was mounted in, which need not be ours.
fn interfaces() -> Option<Vec<String>> {
    let found = if_nameindex().ok()?;
    let names = found.iter().filter_map(|interface| interface.name().to_str().ok().map(str::to_owned));
    let mut names: Vec<_> = names.take(INTERFACES_MAX + 1).collect();
    names.sort();
    Some(names).filter(|names| names.len() <= INTERFACES_MAX)
}

fn variable<'a>(env: &'a [(String, String)], name: &str) -> Option<&'a str> {
    env.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
}

fn box_name() -> String {
    sanitised(&std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default())
}

/// A host name as a box's name: its first label, in letters, digits, `-` and `_`.
pub(super) fn sanitised(host: &str) -> String {
    let label = host.trim().split('.').next().unwrap_or("");
    let kept = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
    let name: String = label.chars().map(kept).take(BOX_NAME_BYTES_MAX).collect();
    match name.trim_matches('-') {
        "" => BOX_NAME_FALLBACK.to_owned(),
        name => name.to_owned(),
    }
}
