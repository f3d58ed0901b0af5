//! `footlight audit` and `footlight orders`: what is asked of the order store from the command line.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use crate::base::{clock, exit};
use crate::shop::export::{self, ExportError};
use crate::shop::store::{self, Recovery, Trouble, TroubleKind};
use crate::shop::times::rfc3339;

/// How often, and after what wait, a lock that is taken is tried again.
const LOCK_TRIES: u32 = 10;
const LOCK_STEP: Duration = Duration::from_millis(150);

/// How `footlight orders export` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For spreadsheets.
    Csv,
    /// For programs.
    Json,
}

/// Audits the store and prints what was found to `out`.
pub fn audit(data_dir: &Path, json: bool, out: &mut dyn Write, said: &mut dyn Write) -> u8 {
    let report = match store::audit(data_dir) {
        Ok(report) => report,
        Err(trouble) => return complain(said, &trouble),
    };
    let words = if json { format!("{:#}\n", report.to_json()) } else { report.to_string() };
    tell(out, &words);
    if report.is_proven() { exit::OK } else { exit::AUDIT }
}

/// Writes orders to a file, whole or not at all, or to `out`.
pub fn export(
    data_dir: &Path,
    format: Format,
    after: i64,
    file: Option<&Path>,
    out: &mut dyn Write,
    said: &mut dyn Write,
) -> u8 {
    let format = match format {
        Format::Csv => export::Format::Csv,
        Format::Json => export::Format::Json,
    };
    let done = match file {
        None => export::orders(data_dir, after, format, &mut BufWriter::new(out)),
        Some(file) => into_file(file, |draft| export::orders(data_dir, after, format, draft)),
    };
    match done {
        Ok(count) => {
            tell(said, &format!("{count} orders were written.\n"));
            exit::OK
        }
        Err(ExportError::Store(trouble)) => complain(said, &trouble),
        // Who only wanted to see the first of them (`| head`) has what was wanted.
        Err(ExportError::Out(cause)) if file.is_none() && cause.kind() == io::ErrorKind::BrokenPipe => {
            exit::OK
        }
        Err(trouble) => {
            tell(said, &format!("{trouble}\n"));
            exit::ENVIRONMENT
        }
    }
}

/// Has a file written that nobody else may read, under another name until it is whole and on the disk.
fn into_file(
    file: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<u64, ExportError>,
) -> Result<u64, ExportError> {
    let mut draft = file.as_os_str().to_owned();
    draft.push(format!(".{}.new", std::process::id()));
    let draft = PathBuf::from(draft);
    let mut options = OpenOptions::new();
    let made = options.write(true).create_new(true).mode(0o600).open(&draft)?;
    let mut buffered = BufWriter::new(made);
    let done = write(&mut buffered).and_then(|count| {
        let made = buffered.into_inner().map_err(io::IntoInnerError::into_error)?;
        made.sync_all()?;
        fs::rename(&draft, file)?;
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()?;
        Ok(count)
    });
    if done.is_err() {
        let _ = fs::remove_file(&draft);
    }
    done
}

/// Makes a sound store of a damaged one, and says what became of what was in it.
pub fn recover(data_dir: &Path, out: &mut dyn Write, said: &mut dyn Write) -> u8 {
    let seconds = clock::unix_millis() as i64 / 1_000;
    let stamp = rfc3339(seconds * 1_000).replace(['-', ':'], "");
    // A box that refused the store looks at it now and then, and holds its lock meanwhile.
    let mut tries = 0;
    let done = loop {
        match store::recover(data_dir, &stamp) {
            Err(trouble) if trouble.kind == TroubleKind::InUse && tries < LOCK_TRIES => {
                tries += 1;
                let (_kept, never) = sync_channel::<()>(0);
                let _ = never.recv_timeout(LOCK_STEP);
            }
            done => break done,
        }
    };
    match done {
        Ok(Recovery::Sound) => {
            tell(out, "The order store is not damaged; nothing was done.\n");
            exit::OK
        }
        Ok(Recovery::Finished { damaged }) => {
            let damaged = damaged.display();
            tell(out, &format!("An earlier recovery was finished; what was damaged is kept as {damaged}.\n"));
            exit::OK
        }
        Ok(Recovery::Made { damaged, told, report }) => {
            for line in &told {
                tell(out, &format!("{line}\n"));
            }
            let damaged = damaged.display();
            tell(out, &format!("What was damaged is kept as {damaged}; a running box takes orders again.\n"));
            tell(out, &format!("audit of the new store: {}\n", report.verdict()));
            if report.is_proven() { exit::OK } else { exit::AUDIT }
        }
        Err(trouble) => complain(said, &trouble),
    }
}

fn complain(said: &mut dyn Write, trouble: &Trouble) -> u8 {
    tell(said, &format!("{trouble}\n"));
    exit::ENVIRONMENT
}

/// Writes, and bears a reader that has gone away.
fn tell(to: &mut dyn Write, words: &str) {
    let _ = to.write_all(words.as_bytes());
}
