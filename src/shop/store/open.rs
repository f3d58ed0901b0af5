//! Opens the database, or says why not. Nothing that is there is ever changed by a failed try.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::log;
use super::schema::{self, APPLICATION_ID, VERSION};
use super::trouble::{Trouble, TroubleKind};
use super::write::Writing;

/// The database's file in the data folder.
pub const NAME: &str = "footlight.db";

/// Who holds this file's lock may write the database.
pub const LOCK: &str = "footlight.db.lock";

/// A database that a recovery made and that is not in its place yet.
pub(super) const RECOVERED: &str = "footlight.db.recovered";

/// The longest that a writer waits for somebody else's look at the database to end.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// Pages of memory for the database, in KiB: the indexes of some hundred thousand orders.
const CACHE_KIB: i64 = 16 << 10;

/// A database up to this size is checked whole at the start; a larger one but for its indexes, which takes a tenth
/// of the time.
const CHECKED_WHOLE_BYTES: u64 = 64 << 20;

/// A write-ahead log that grew beyond this is cut back when it is written anew.
const LOG_KEPT_BYTES: i64 = 32 << 20;

/// Bytes of a page: SQLite's own choice, and what file systems write at once.
const PAGE_BYTES: u64 = 4_096;

/// Begins every file of SQLite.
pub(super) const MAGIC: &[u8] = b"SQLite format 3\0";

/// What was known of the database before it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::shop) enum Before {
    /// Nothing: it may have to be made.
    Nothing,
    /// This process worked with it, and something was wrong with it.
    Doubtful,
    /// This process worked with it, and it was the disk that had no room or could not be written.
    Sound,
}

/// The database, open for writing, and the only one who does.
#[derive(Debug)]
pub(in crate::shop) struct Store {
    connection: Connection,
    path: PathBuf,
    /// Device and inode.
    identity: Option<(u64, u64)>,
    _lock: Flock<File>,
}

impl Store {
    /// Opens the database in `folder`, makes or migrates it if need be, and checks it. One that was there is not made
    /// anew: an empty shop in its place would look as if all were well.
    ///
    /// # Errors
    /// Why it cannot be used; it is left as it was.
    pub(in crate::shop) fn open(folder: &Path, before: Before) -> Result<Store, Trouble> {
        let path = folder.join(NAME);
        let lock = lock(folder)?;
        if folder.join(RECOVERED).exists() {
            return Err(Trouble::new(TroubleKind::Corrupt, &path, "a recovery of it was not finished"));
        }
        look_at(&path)?;
        let is_new = fs::metadata(&path).map_or(true, |file| file.len() == 0);
        if is_new && before != Before::Nothing {
            return Err(Trouble::new(TroubleKind::Gone, &path, "it was moved or deleted while in use"));
        }
        look_at_log(&path, is_new, before)?;
        if is_new {
            make(&path)?;
        }
        let of = |error: rusqlite::Error| Trouble::of(&path, &error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_EXRESCODE;
        let mut connection = Connection::open_with_flags(&path, flags).map_err(of)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(of)?;
        // Who closes a database last carries its log over. A file that is refused stays as it is.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(of)?;
        let version = version(&connection, &path)?;
        if !is_new && before != Before::Sound {
            check(&connection, &path)?;
        }
        settle(&connection).map_err(of)?;
        if version < VERSION {
            schema::migrate(&mut connection, version).map_err(of)?;
            // The file's name is as durable as its content only once the folder is.
            sync_folder(folder)
                .map_err(|cause| Trouble::new(TroubleKind::Failing, &path, cause.to_string()))?;
        }
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map_err(of)?;
        let identity = identity(&path);
        Ok(Store { connection, path, identity, _lock: lock })
    }

    /// Where it is.
    pub(in crate::shop) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the kernel has made the disk read-only, as it does when the disk fails. Writing over what the log's file
    /// has already, and syncing it, then succeeds all the same (ext4's `fsync` has nothing to say there), and nothing of
    /// it is on the disk.
    pub(in crate::shop) fn is_read_only(&self) -> bool {
        is_read_only_disk(self.path.parent().unwrap_or(&self.path))
    }

    /// Begins a change; what is not committed is as if it had never been.
    pub(in crate::shop) fn begin(&mut self) -> rusqlite::Result<Writing<'_>> {
        Writing::begin(&self.connection)
    }

    /// Looks at it outside of any change.
    pub(in crate::shop) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Bytes in the write-ahead log that are to be carried over. (The file tells nothing: it keeps its length when it
    /// is written anew from its beginning.)
    pub(in crate::shop) fn log_bytes(&self) -> rusqlite::Result<u64> {
        let mut asked = self.connection.prepare_cached("PRAGMA wal_checkpoint(NOOP)")?;
        let pages = asked.query_row([], |row| Ok(row.get::<_, i64>(1)? - row.get::<_, i64>(2)?))?;
        Ok(pages.max(0).unsigned_abs() * PAGE_BYTES)
    }

    /// Carries the write-ahead log over into the database, as far as readers let it; `whole` also cuts the log, to
    /// give room back. False where a reader stood in the way.
    pub(in crate::shop) fn checkpoint(&self, whole: bool) -> rusqlite::Result<bool> {
        let how = if whole { "PRAGMA wal_checkpoint(TRUNCATE)" } else { "PRAGMA wal_checkpoint(PASSIVE)" };
        self.connection.query_row(how, [], |row| row.get(0).map(|busy: i64| busy == 0))
    }

    /// Whether the file that is written is still the one of that name: what is written to one that was moved or
    /// deleted is written to nowhere.
    pub(in crate::shop) fn is_in_place(&self) -> bool {
        identity(&self.path).is_some_and(|found| Some(found) == self.identity)
    }
}

/// A connection that only looks on. It sees what is committed, as of each of its statements.
///
/// # Errors
/// When there is no database, or it is not of this version.
pub fn read_only(folder: &Path) -> Result<Connection, Trouble> {
    let path = folder.join(NAME);
    if !path.is_file() {
        return Err(Trouble::new(
            TroubleKind::Gone,
            &path,
            "there is no such file: no order was taken here yet",
        ));
    }
    // Nothing but SQLite may open the file while this process works with it: closing any descriptor of a file gives all
    // of the process's POSIX locks on it back, the writer's among them.
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let of = |error: rusqlite::Error| Trouble::of(&path, &error);
    let connection = Connection::open_with_flags(&path, flags).map_err(of)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(of)?;
    of_this_version(connection, &path)
}

fn of_this_version(connection: Connection, path: &Path) -> Result<Connection, Trouble> {
    match version(&connection, path)? {
        VERSION => Ok(connection),
        older => {
            let cause =
                format!("it is of version {older} and this program works with {VERSION}: run footlight once");
            Err(Trouble::new(TroubleKind::Failing, path, cause))
        }
    }
}

/// The same for programs that look once: also on a disk that cannot be written, where SQLite cannot make the index
/// that readers and the writer share. Nobody writes there either.
///
/// # Errors
/// As for [`read_only`].
pub fn look_only(folder: &Path) -> Result<Connection, Trouble> {
    let refused = match read_only(folder) {
        Err(trouble) if matches!(trouble.kind, TroubleKind::ReadOnly | TroubleKind::Failing) => trouble,
        done => return done,
    };
    let path = folder.join(NAME);
    let has_log = fs::metadata(beside(&path, "-wal")).is_ok_and(|log| log.len() > 0);
    if !is_read_only_disk(folder) || has_log || !path.is_file() {
        return Err(refused);
    }
    let escape = |byte: &u8| match byte {
        b'/' | b'.' | b'-' | b'_' => char::from(*byte).to_string(),
        byte if byte.is_ascii_alphanumeric() => char::from(*byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    let whole = fs::canonicalize(&path).unwrap_or(path.clone());
    let bytes = std::os::unix::ffi::OsStrExt::as_bytes(whole.as_os_str());
    let uri = format!("file:{}?immutable=1", bytes.iter().map(escape).collect::<String>());
    let of = |error: rusqlite::Error| Trouble::of(&path, &error);
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let connection = Connection::open_with_flags(uri, flags).map_err(of)?;
    of_this_version(connection, &path)
}

fn is_read_only_disk(folder: &Path) -> bool {
    use nix::sys::statvfs::{FsFlags, statvfs};
    statvfs(folder).is_ok_and(|disk| disk.flags().contains(FsFlags::ST_RDONLY))
}

/// `footlight.db-wal` and what else SQLite keeps beside a database.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// What the system's refusal means.
pub(super) fn refused(path: &Path, cause: &std::io::Error) -> Trouble {
    let kind = match cause.raw_os_error() {
        Some(libc::EROFS | libc::EACCES | libc::EPERM) => TroubleKind::ReadOnly,
        Some(libc::ENOSPC | libc::EDQUOT) => TroubleKind::Full,
        _ => TroubleKind::Failing,
    };
    Trouble::new(kind, path, cause.to_string())
}

/// Whether the database at `path` is whole, itself and its log. Nothing is changed.
pub(super) fn is_sound(path: &Path) -> Result<(), Trouble> {
    look_at(path)?;
    let is_new = fs::metadata(path).map_or(true, |file| file.len() == 0);
    look_at_log(path, is_new, Before::Nothing)?;
    if is_new {
        return Ok(());
    }
    let of = |error: rusqlite::Error| Trouble::of(path, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let connection = Connection::open_with_flags(path, flags).map_err(of)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(of)?;
    version(&connection, path)?;
    check(&connection, path)
}

/// Takes the lock of the only one who may write.
pub(super) fn lock(folder: &Path) -> Result<Flock<File>, Trouble> {
    let path = folder.join(LOCK);
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600);
    let file = options.open(&path).map_err(|cause| refused(&path, &cause))?;
    give_to_owner(&file, folder);
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        nix::Error::EWOULDBLOCK => Trouble::new(TroubleKind::InUse, &path, "it is locked"),
        other => Trouble::new(TroubleKind::Failing, &path, other.to_string()),
    })
}

/// What root makes belongs to who owns the folder: the user that the box runs as.
pub(super) fn give_to_owner(file: &File, folder: &Path) {
    let (Ok(folder), Ok(ours)) = (fs::metadata(folder), file.metadata()) else { return };
    if (folder.uid(), folder.gid()) != (ours.uid(), ours.gid()) {
        // Who is not root may not: then it is ours, as everything else is that we make there.
        let _ = fchown(file, Some(folder.uid()), Some(folder.gid()));
    }
}

/// Makes the file: how buyers can be reached is nobody's business but the box's.
pub(super) fn make(path: &Path) -> Result<(), Trouble> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600);
    let file = options.open(path).map_err(|cause| refused(path, &cause))?;
    give_to_owner(&file, path.parent().unwrap_or(path));
    Ok(())
}

/// Looks whether a file that is there is a database at all, before SQLite may touch it.
fn look_at(path: &Path) -> Result<(), Trouble> {
    let foreign = |what: &str| Err(Trouble::new(TroubleKind::Foreign, path, what));
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => return foreign("it is a folder"),
        // Whoever follows it could be a second writer under another lock.
        Ok(found) if found.is_symlink() => return foreign("it is a link: name the folder that it leads to"),
        Ok(found) if !found.is_file() => return foreign("it is no file"),
        Ok(_) => {}
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(()),
        Err(cause) => return Err(refused(path, &cause)),
    }
    let mut head = Vec::new();
    let file = File::open(path).map_err(|cause| refused(path, &cause))?;
    file.take(MAGIC.len() as u64).read_to_end(&mut head).map_err(|cause| refused(path, &cause))?;
    if head.is_empty() || head == MAGIC {
        Ok(())
    } else {
        Err(Trouble::new(TroubleKind::Corrupt, path, "it does not begin as a database does"))
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// Looks whether the write-ahead log is whole. SQLite takes a damaged one for one that ends there, and forgets what
/// comes after: orders that were answered with yes.
///
/// What this process wrote is not looked at: what a failed transaction leaves behind is no damage, and looks like it.
fn look_at_log(path: &Path, is_new: bool, before: Before) -> Result<(), Trouble> {
    let log = beside(path, "-wal");
    let file = match File::open(&log) {
        Ok(file) => file,
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(()),
        Err(cause) => return Err(refused(&log, &cause)),
    };
    let bytes = file.metadata().map_or(0, |file| file.len());
    if is_new && bytes > 0 {
        // SQLite would delete it.
        let cause = "its write-ahead log is there, and itself is not, or is empty";
        return Err(Trouble::new(TroubleKind::Corrupt, path, cause));
    }
    if before != Before::Nothing {
        return Ok(());
    }
    match log::damaged(file) {
        Ok(None) => Ok(()),
        Ok(Some(frame)) => {
            let cause = format!("frame {frame} is damaged, and transactions come after it");
            Err(Trouble::new(TroubleKind::Corrupt, &log, cause))
        }
        Err(cause) => Err(refused(&log, &cause)),
    }
}

/// The schema's version: 0 for a new database.
fn version(connection: &Connection, path: &Path) -> Result<i64, Trouble> {
    let of = |error: rusqlite::Error| Trouble::of(path, &error);
    let application: i32 =
        connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(of)?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(of)?;
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(of)?;
    match (application, version) {
        (0, 0) if tables == 0 => Ok(0),
        (APPLICATION_ID, 1..=VERSION) => Ok(version),
        (APPLICATION_ID, newer) if newer > VERSION => {
            let cause = format!("it is of version {newer}, and this program knows up to {VERSION}");
            Err(Trouble::new(TroubleKind::Newer, path, cause))
        }
        _ => Err(Trouble::new(TroubleKind::Foreign, path, "another program's database lies there")),
    }
}

/// Asks SQLite whether the file is sound.
fn check(connection: &Connection, path: &Path) -> Result<(), Trouble> {
    let bytes = fs::metadata(path).map_or(0, |file| file.len());
    let question =
        if bytes <= CHECKED_WHOLE_BYTES { "PRAGMA integrity_check(3)" } else { "PRAGMA quick_check(3)" };
    let of = |error: rusqlite::Error| Trouble::of(path, &error);
    let mut asked = connection.prepare(question).map_err(of)?;
    let answers = asked.query_map([], |row| row.get::<_, String>(0)).map_err(of)?;
    let answers: Vec<String> = answers.collect::<rusqlite::Result<_>>().map_err(of)?;
    if answers == ["ok"] {
        return Ok(());
    }
    let cause = answers.join("; ").chars().take(300).collect::<String>().replace('\n', " ");
    Err(Trouble::new(TroubleKind::Corrupt, path, cause))
}

/// What every writing connection keeps to.
fn settle(connection: &Connection) -> rusqlite::Result<()> {
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(rusqlite::Error::ToSqlConversionFailure(
            "SQLite refuses to keep a write-ahead log".into(),
        ));
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // The writer carries the log over when nobody waits, or when it is long.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "journal_size_limit", LOG_KEPT_BYTES)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

pub(super) fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()?;
    match folder.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}
