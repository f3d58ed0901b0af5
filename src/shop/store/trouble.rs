//! Why the store cannot be used, in words that say what to do.

use std::fmt;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::{FsFlags, statvfs};
use rusqlite::ErrorCode;

use super::open::Store;

/// What kind of trouble it is: what a person would do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TroubleKind {
    /// A newer footlight wrote the database.
    Newer,
    /// The file is somebody else's.
    Foreign,
    /// The file is damaged.
    Corrupt,
    /// Another footlight works with it.
    InUse,
    /// The disk is full.
    Full,
    /// The disk, or the file, cannot be written.
    ReadOnly,
    /// There is no such file, or no longer.
    Gone,
    /// The disk fails, or refuses in another way.
    Failing,
    /// Something that the rules should have kept out: nothing of it was written.
    Ours,
    /// It is being opened.
    Opening,
}

/// Why the store cannot be used now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What kind.
    pub kind: TroubleKind,
    /// The database.
    pub path: PathBuf,
    /// What the system or SQLite says.
    pub cause: String,
}

impl Trouble {
    pub(super) fn new(kind: TroubleKind, path: &Path, cause: impl Into<String>) -> Trouble {
        Trouble { kind, path: path.to_owned(), cause: cause.into() }
    }

    /// What SQLite's error means here.
    pub(in crate::shop) fn of(path: &Path, error: &rusqlite::Error) -> Trouble {
        use ErrorCode::{CannotOpen, DatabaseBusy, DatabaseCorrupt, DatabaseLocked, DiskFull, NotADatabase};
        let kind = match error.sqlite_error_code() {
            Some(DiskFull) => TroubleKind::Full,
            Some(DatabaseCorrupt | NotADatabase) => TroubleKind::Corrupt,
            Some(DatabaseBusy | DatabaseLocked) => TroubleKind::InUse,
            Some(ErrorCode::ReadOnly) => TroubleKind::ReadOnly,
            Some(ErrorCode::SystemIoFailure | CannotOpen | ErrorCode::PermissionDenied) => by_disk(path),
            Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch) | None => TroubleKind::Ours,
            _ => TroubleKind::Failing,
        };
        Trouble::new(kind, path, error.to_string())
    }

    /// What an error of an open store means.
    pub(in crate::shop) fn of_store(store: &Store, error: &rusqlite::Error) -> Trouble {
        Trouble::of(store.path(), error)
    }

    /// In a word, for metrics and answers.
    pub fn name(&self) -> &'static str {
        match self.kind {
            TroubleKind::Newer => "newer-version",
            TroubleKind::Foreign => "foreign-file",
            TroubleKind::Corrupt => "corrupt",
            TroubleKind::InUse => "in-use",
            TroubleKind::Full => "disk-full",
            TroubleKind::ReadOnly => "read-only",
            TroubleKind::Gone => "file-gone",
            TroubleKind::Failing => "disk-failing",
            TroubleKind::Ours => "bug",
            TroubleKind::Opening => "opening",
        }
    }

    /// What buyers and pages may know: no paths.
    pub fn public(&self) -> &'static str {
        match self.kind {
            TroubleKind::Newer => "the order store was written by a newer version",
            TroubleKind::Foreign => "the order store's place is taken by another file",
            TroubleKind::Corrupt => "the order store is damaged",
            TroubleKind::InUse => "another program works with the order store",
            TroubleKind::Full => "the disk is full",
            TroubleKind::ReadOnly => "the disk cannot be written",
            TroubleKind::Gone => "the order store's file is not there",
            TroubleKind::Failing => "the disk fails",
            TroubleKind::Ours => "the order store met a bug of ours",
            TroubleKind::Opening => "the order store is being opened",
        }
    }

    fn advice(&self) -> String {
        let path = self.path.display();
        match self.kind {
            TroubleKind::Newer => {
                "start the newer footlight again, or give this one another box.data_dir".to_owned()
            }
            TroubleKind::Foreign => format!("move {path} away, or name another folder in box.data_dir"),
            TroubleKind::Corrupt => {
                "nothing was changed; `footlight orders recover` makes a new store of all that \
                                     can be read and keeps the damaged file beside it"
                    .to_owned()
            }
            TroubleKind::InUse => {
                "only one footlight may run on a data folder: stop the other one".to_owned()
            }
            TroubleKind::Full => format!("free some space where {path} lies; orders are then taken again"),
            TroubleKind::ReadOnly => {
                format!("make {path} and its disk writable for footlight; orders are then taken again")
            }
            TroubleKind::Ours => "please report it with this line".to_owned(),
            TroubleKind::Opening => "it takes a moment".to_owned(),
            TroubleKind::Gone => {
                "put it back; where it is gone for good, `footlight run` makes a new and empty one when it \
                                  is started again"
                    .to_owned()
            }
            TroubleKind::Failing => "look at the kernel's log, and replace the disk if it is worn".to_owned(),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}: {}); {}", self.public(), self.path.display(), self.cause, self.advice())
    }
}

/// An error of input and output says little: the disk itself knows whether it can be written, and has room.
fn by_disk(path: &Path) -> TroubleKind {
    match statvfs(path.parent().unwrap_or(path)) {
        Ok(disk) if disk.flags().contains(FsFlags::ST_RDONLY) => TroubleKind::ReadOnly,
        Ok(disk) if disk.blocks_available() == 0 => TroubleKind::Full,
        _ => TroubleKind::Failing,
    }
}
