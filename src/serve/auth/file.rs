//! `tokens.json` in the data folder: read whole, replaced whole, by one process at a time.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ring::rand::{SecureRandom, SystemRandom};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::base::secret::Secret;

use super::book::{Book, BookError, Digest, Record, Role, TOKEN_BYTES, hex, is_name, token_of};

const FILE: &str = "tokens.json";
/// What the file is written to before it takes its place.
const DRAFT: &str = "tokens.json.new";
/// Held by who changes the file. It stays: a lock on a file that others may delete holds nobody.
const LOCK: &str = "tokens.lock";

/// Bytes of the file, at most: a thousand tokens with the longest names have less than half of it.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Random bytes in an id.
const ID_BYTES: usize = 4;

/// Why tokens cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The folder is not there and cannot be made.
    #[error("the data folder {} cannot be used: {cause}; name another one in box.data_dir", path.display())]
    Folder {
        /// `box.data_dir`
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// The file, or the lock beside it, cannot be read or written.
    #[error("{}: {cause}; footlight needs the right to read and write there", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// What stands in the file cannot be used. It is left as it is.
    #[error(
        "{} cannot be used: {cause}; it is left as it is: put it right, or move it away and make new tokens",
        path.display()
    )]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: BookError,
    },
    /// There is no room for one more.
    #[error("{0}")]
    Full(BookError),
    /// There is no token with this id.
    #[error("there is no token with the id {0:?}; footlight token list shows those there are")]
    NoSuch(String),
    /// A name that cannot stand in a list.
    #[error("a name has at most 64 characters, and no line ends or other control characters")]
    Name,
    /// The system has no random numbers.
    #[error("the system gives no random numbers")]
    NoRandom,
}

/// A token that was just made.
#[derive(Debug)]
pub struct Made {
    /// The token; it is kept nowhere else.
    pub token: Secret,
    /// What is known of it.
    pub record: Record,
    /// Where that is kept.
    pub file: PathBuf,
}

/// Makes a token. It is on disk before this returns.
///
/// # Errors
/// [`TokenError`]; there is no new token then.
pub fn make(data_dir: &Path, role: Role, name: &str, now: SystemTime) -> Result<Made, TokenError> {
    if !is_name(name) {
        return Err(TokenError::Name);
    }
    let token = token_of(&random::<TOKEN_BYTES>()?);
    let sha256 = Digest::of(token.reveal()).expect("a token looks like one");
    let created = OffsetDateTime::from(now).replace_nanosecond(0).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let created_at = created.format(&Rfc3339).expect("this century can be written by RFC 3339");
    let record = change(data_dir, |book| {
        let id = loop {
            let id = hex(&random::<ID_BYTES>()?);
            if !book.has(&id) {
                break id;
            }
        };
        let record = Record { id, role, name: name.to_owned(), created_at: created_at.clone(), sha256 };
        book.add(record.clone()).map_err(TokenError::Full)?;
        Ok(record)
    })?;
    Ok(Made { token, record, file: data_dir.join(FILE) })
}

/// All tokens there are, oldest first.
///
/// # Errors
/// [`TokenError::File`], [`TokenError::Broken`].
pub fn list(data_dir: &Path) -> Result<Vec<Record>, TokenError> {
    Ok(read(data_dir)?.1.records().to_vec())
}

/// Strikes a token out. That is on disk before this returns; a running box knows it within a second.
///
/// # Errors
/// [`TokenError`]; the token is what it was then.
pub fn revoke(data_dir: &Path, id: &str) -> Result<Record, TokenError> {
    change(data_dir, |book| book.remove(id).ok_or_else(|| TokenError::NoSuch(id.to_owned())))
}

/// By this a file is known to be the one that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stamp {
    /// There is no file: no tokens.
    Missing,
    Read {
        inode: u64,
        bytes: u64,
        modified: (i64, i64),
    },
    /// It could not be looked at; whatever is there next is another one.
    Unknown,
}

/// Reads the file if it is another one than `known`.
pub(super) fn read_if_changed(data_dir: &Path, known: &Stamp) -> Option<(Stamp, Result<Book, TokenError>)> {
    let now = match std::fs::metadata(data_dir.join(FILE)) {
        Ok(found) => stamp(&found),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Stamp::Missing,
        Err(_) => Stamp::Unknown,
    };
    if now == *known && now != Stamp::Unknown {
        return None;
    }
    Some(match read(data_dir) {
        Ok((stamp, book)) => (stamp, Ok(book)),
        // What was read and is wrong stays wrong until it is changed; what could not be read is tried again.
        Err(trouble @ TokenError::Broken { .. }) => (now, Err(trouble)),
        Err(trouble) => (Stamp::Unknown, Err(trouble)),
    })
}

fn read(data_dir: &Path) -> Result<(Stamp, Book), TokenError> {
    let path = data_dir.join(FILE);
    let failed = |cause| TokenError::File { path: path.clone(), cause };
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok((Stamp::Missing, Book::default()));
        }
        Err(cause) => return Err(failed(cause)),
    };
    let stamp = stamp(&file.metadata().map_err(failed)?);
    let mut text = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(failed)?;
    let parsed = match String::from_utf8(text) {
        Ok(text) if text.len() as u64 > FILE_BYTES_MAX => {
            Err(BookError::Garbled(format!("it is longer than {FILE_BYTES_MAX} bytes")))
        }
        Ok(text) => text.parse(),
        Err(cause) => Err(BookError::Garbled(cause.utf8_error().to_string())),
    };
    parsed.map(|book| (stamp, book)).map_err(|cause| TokenError::Broken { path, cause })
}

fn stamp(found: &Metadata) -> Stamp {
    Stamp::Read { inode: found.ino(), bytes: found.size(), modified: (found.mtime(), found.mtime_nsec()) }
}

/// Reads, changes and replaces the file while nobody else does.
fn change<T>(
    data_dir: &Path,
    change: impl FnOnce(&mut Book) -> Result<T, TokenError>,
) -> Result<T, TokenError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(data_dir)
        .map_err(|cause| TokenError::Folder { path: data_dir.to_owned(), cause })?;
    let _held = lock(data_dir)?;
    let (_, mut book) = read(data_dir)?;
    let done = change(&mut book)?;
    replace(data_dir, &book.written())
        .map_err(|cause| TokenError::File { path: data_dir.join(FILE), cause })?;
    Ok(done)
}

/// Waits until nobody else changes the file. Given back when dropped, and by the kernel if we are killed.
fn lock(data_dir: &Path) -> Result<File, TokenError> {
    let path = data_dir.join(LOCK);
    let made = private().create_new(true).open(&path).and_then(|made| {
        give_to_owner(data_dir, &made)?;
        Ok(made)
    });
    let opened = match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => private().open(&path),
        made => made,
    };
    let locked = opened.and_then(|file| file.lock().map(|()| file));
    locked.map_err(|cause| TokenError::File { path, cause })
}

/// Puts `text` in the file's place: at any moment, a power cut included, the old or the new one is there, whole.
fn replace(data_dir: &Path, text: &str) -> io::Result<()> {
    let draft = data_dir.join(DRAFT);
    // One may be left of a process that was killed; whoever holds the lock owns it.
    match std::fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = private().create_new(true).open(&draft)?;
    let written = give_to_owner(data_dir, &file)
        .and_then(|()| file.write_all(text.as_bytes()))
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&draft, data_dir.join(FILE)));
    if written.is_err() {
        // A full disk is not made fuller.
        let _ = std::fs::remove_file(&draft);
    }
    written?;
    File::open(data_dir)?.sync_all()
}

/// Opened for us alone, and never by way of a link that somebody with a right to the folder has put there.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC);
    options
}

/// A token that root makes must be read by the box, which runs as the folder's owner.
fn give_to_owner(data_dir: &Path, file: &File) -> io::Result<()> {
    let (folder, ours) = (std::fs::metadata(data_dir)?, file.metadata()?);
    if (folder.uid(), folder.gid()) == (ours.uid(), ours.gid()) {
        return Ok(());
    }
    match fchown(file, Some(folder.uid()), Some(folder.gid())) {
        // We are neither root nor the owner: the file is ours, as everything else is that we make there.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        given => given,
    }
}

fn random<const BYTES: usize>() -> Result<[u8; BYTES], TokenError> {
    let mut bytes = [0; BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| TokenError::NoRandom)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::base::clock;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn make_one(folder: &Path) -> Made {
        make(folder, Role::Admin, "a laptop", clock::wall()).unwrap()
    }

    #[test]
    fn what_was_made_is_listed_and_what_was_revoked_is_not() {
        let folder = folder();
        let data_dir = folder.path().join("deep/down");
        assert_eq!(list(&data_dir).unwrap(), [], "no folder, no tokens");
        let (first, second) = (make_one(&data_dir), make_one(&data_dir));
        assert_ne!(first.token, second.token);
        assert_eq!(list(&data_dir).unwrap(), [first.record.clone(), second.record.clone()]);
        assert_eq!(revoke(&data_dir, &first.record.id).unwrap(), first.record);
        assert!(matches!(revoke(&data_dir, &first.record.id), Err(TokenError::NoSuch(_))));
        assert_eq!(list(&data_dir).unwrap(), [second.record]);
    }

    #[test]
    fn the_file_is_the_boxs_own_and_no_draft_is_left() {
        let folder = folder();
        std::fs::write(folder.path().join(DRAFT), "left by one that was killed").unwrap();
        let made = make_one(folder.path());
        let mode = std::fs::metadata(&made.file).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        let mut names: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, [FILE, LOCK]);
    }

    #[test]
    fn a_lock_that_is_a_link_is_not_followed() {
        let folder = folder();
        let elsewhere = folder.path().join("elsewhere");
        std::os::unix::fs::symlink(&elsewhere, folder.path().join(LOCK)).unwrap();
        assert!(matches!(make(folder.path(), Role::Viewer, "", clock::wall()), Err(TokenError::File { .. })));
        assert!(!elsewhere.exists());
    }

    #[test]
    fn a_broken_file_is_told_of_and_never_written_over() {
        let folder = folder();
        let path = folder.path().join(FILE);
        for content in ["{".as_bytes(), b"\xff\xfe", &vec![b' '; (FILE_BYTES_MAX + 1) as usize]] {
            std::fs::write(&path, content).unwrap();
            for trouble in [
                make(folder.path(), Role::Admin, "", clock::wall()).map(drop).unwrap_err(),
                list(folder.path()).map(drop).unwrap_err(),
                revoke(folder.path(), "x").map(drop).unwrap_err(),
            ] {
                assert!(matches!(trouble, TokenError::Broken { .. }), "{trouble}");
                assert!(trouble.to_string().contains("tokens.json"), "{trouble}");
            }
            assert_eq!(std::fs::read(&path).unwrap(), content);
        }
    }

    #[test]
    fn a_changed_file_is_seen_and_an_unchanged_one_is_not_read() {
        let folder = folder();
        let (stamp, _) = read_if_changed(folder.path(), &Stamp::Unknown).unwrap();
        assert_eq!(stamp, Stamp::Missing);
        assert!(read_if_changed(folder.path(), &stamp).is_none());
        make_one(folder.path());
        let (stamp, book) = read_if_changed(folder.path(), &stamp).unwrap();
        assert_eq!(book.unwrap().records().len(), 1);
        assert!(read_if_changed(folder.path(), &stamp).is_none());
        std::fs::write(folder.path().join(FILE), "?").unwrap();
        let (stamp, book) = read_if_changed(folder.path(), &stamp).unwrap();
        assert!(book.is_err());
        assert!(read_if_changed(folder.path(), &stamp).is_none(), "it is told of once");
        std::fs::remove_file(folder.path().join(FILE)).unwrap();
        std::fs::create_dir(folder.path().join(FILE)).unwrap();
        let (stamp, book) = read_if_changed(folder.path(), &stamp).unwrap();
        assert!((&stamp, book.is_err()) == (&Stamp::Unknown, true));
        assert!(read_if_changed(folder.path(), &stamp).is_some(), "it is tried again");
    }

    #[test]
    fn a_name_that_would_break_a_list_is_refused() {
        let folder = folder();
        for name in ["two\nlines", "\u{1b}[2J", &"x".repeat(65)] {
            assert!(matches!(make(folder.path(), Role::Admin, name, clock::wall()), Err(TokenError::Name)));
        }
        assert!(make(folder.path(), Role::Admin, &"直".repeat(64), clock::wall()).is_ok());
    }
}
