//! Opens the database, or says why not. Nothing that is there is ever changed by a failed try.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use rusqlite::{Connection, OpenFlags};

use super::schema::{self, APPLICATION_ID, VERSION};
use super::trouble::{Trouble, TroubleKind};
use super::write::Writing;

/// The database's file in the data folder.
pub const NAME: &str = "footlight.db";

/// Who holds this file's lock may write the database.
pub const LOCK: &str = "footlight.db.lock";

/// The longest that a writer waits for somebody else's look at the database to end.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// Pages of memory for the database, in KiB: the indexes of some hundred thousand orders.
const CACHE_KIB: i64 = 16 << 10;

/// A database up to this size is checked whole at the start; a larger one but for its indexes, which takes a tenth
/// of the time.
const CHECKED_WHOLE_BYTES: u64 = 64 << 20;

/// A write-ahead log that grew beyond this is cut back when it is written anew.
const LOG_KEPT_BYTES: i64 = 512 << 10;

/// Begins every file of SQLite.
const MAGIC: &[u8] = b"SQLite format 3\0";

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
        look_at(&path)?;
        let is_new = fs::metadata(&path).map_or(true, |file| file.len() == 0);
        if is_new && before != Before::Nothing {
            let cause =
                "it was moved or deleted while in use: put it back, or start footlight again for a new one";
            return Err(Trouble::new(TroubleKind::Failing, &path, cause));
        }
        let of = |error: rusqlite::Error| Trouble::of(&path, &error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_EXRESCODE;
        let mut connection = Connection::open_with_flags(&path, flags).map_err(of)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(of)?;
        let version = version(&connection, &path)?;
        if !is_new && before != Before::Sound {
            check(&connection, &path)?;
        }
        settle(&connection).map_err(of)?;
        if version < VERSION {
            schema::migrate(&mut connection, version).map_err(of)?;
        }
        if is_new {
            // The file's name is as durable as its content only once the folder is.
            sync_folder(folder)
                .map_err(|cause| Trouble::new(TroubleKind::Failing, &path, cause.to_string()))?;
        }
        let identity = identity(&path);
        Ok(Store { connection, path, identity, _lock: lock })
    }

    /// Where it is.
    pub(in crate::shop) fn path(&self) -> &Path {
        &self.path
    }

    /// Begins a change; what is not committed is as if it had never been.
    pub(in crate::shop) fn begin(&mut self) -> rusqlite::Result<Writing<'_>> {
        Writing::begin(&self.connection)
    }

    /// Looks at it outside of any change.
    pub(in crate::shop) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Bytes of the write-ahead log.
    pub(in crate::shop) fn log_bytes(&self) -> u64 {
        let mut path = self.path.clone().into_os_string();
        path.push("-wal");
        fs::metadata(path).map_or(0, |file| file.len())
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
            TroubleKind::Failing,
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
    match version(&connection, &path)? {
        VERSION => Ok(connection),
        older => {
            let cause =
                format!("it is of version {older} and this program works with {VERSION}: run footlight once");
            Err(Trouble::new(TroubleKind::Failing, &path, cause))
        }
    }
}

fn lock(folder: &Path) -> Result<Flock<File>, Trouble> {
    let path = folder.join(LOCK);
    let failing = |cause: std::io::Error| match cause.raw_os_error() {
        Some(libc::EROFS | libc::EACCES | libc::EPERM) => {
            Trouble::new(TroubleKind::ReadOnly, &path, cause.to_string())
        }
        Some(libc::ENOSPC | libc::EDQUOT) => Trouble::new(TroubleKind::Full, &path, cause.to_string()),
        _ => Trouble::new(TroubleKind::Failing, &path, cause.to_string()),
    };
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(failing)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        nix::Error::EWOULDBLOCK => Trouble::new(TroubleKind::InUse, &path, "it is locked"),
        other => Trouble::new(TroubleKind::Failing, &path, other.to_string()),
    })
}

/// Looks whether a file that is there is a database at all, before SQLite may touch it.
fn look_at(path: &Path) -> Result<(), Trouble> {
    let mut head = Vec::new();
    match File::open(path) {
        Ok(file) => {
            let read = file.take(MAGIC.len() as u64).read_to_end(&mut head);
            read.map_err(|cause| Trouble::new(TroubleKind::Failing, path, cause.to_string()))?;
        }
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(cause) => return Err(Trouble::new(TroubleKind::ReadOnly, path, cause.to_string())),
    }
    if head.is_empty() || head == MAGIC {
        Ok(())
    } else {
        Err(Trouble::new(TroubleKind::Corrupt, path, "it does not begin as a database does"))
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
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

fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()?;
    match folder.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}
