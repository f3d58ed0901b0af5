//! The database as it is found, and what is refused.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::shop::event::{Event, Kind};
use crate::shop::rules::Move;
use crate::shop::store::rows;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

#[test]
fn a_new_store_is_made_and_found_again() {
    let folder = folder();
    let store = Store::open(folder.path(), Before::Nothing).expect("it is made");
    assert_eq!(rows::last_seq(store.connection()), Ok(0));
    let mode: String =
        store.connection().pragma_query_value(None, "journal_mode", |row| row.get(0)).expect("a mode");
    let full: i64 =
        store.connection().pragma_query_value(None, "synchronous", |row| row.get(0)).expect("a mode");
    assert_eq!((mode.as_str(), full), ("wal", 2));
    drop(store);
    Store::open(folder.path(), Before::Nothing).expect("it is found");
    assert!(read_only(folder.path()).is_ok());
}

#[test]
fn a_store_that_was_moved_away_is_told_as_such_and_no_empty_one_takes_its_place() {
    let folder = folder();
    assert_eq!(read_only(folder.path()).expect_err("there is none").kind, TroubleKind::Gone);
    let store = Store::open(folder.path(), Before::Nothing).expect("it is made");
    assert!(store.is_in_place());
    fs::rename(folder.path().join(NAME), folder.path().join("elsewhere")).expect("moved");
    assert!(!store.is_in_place());
    drop(store);
    let trouble = Store::open(folder.path(), Before::Doubtful).expect_err("it is gone");
    assert_eq!(trouble.kind, TroubleKind::Gone, "{trouble}");
    assert!(trouble.to_string().contains("put it back"), "{trouble}");
    assert!(!folder.path().join(NAME).exists());
}

#[test]
fn two_footlights_do_not_share_a_store() {
    let folder = folder();
    let _first = Store::open(folder.path(), Before::Nothing).expect("it is made");
    let trouble = Store::open(folder.path(), Before::Nothing).expect_err("it is taken");
    assert_eq!(trouble.kind, TroubleKind::InUse);
}

#[test]
fn a_database_of_a_newer_version_is_left_alone_and_told() {
    let folder = folder();
    let store = Store::open(folder.path(), Before::Nothing).expect("it is made");
    store.connection().pragma_update(None, "user_version", 99).expect("set");
    drop(store);
    let before = fs::read(folder.path().join(NAME)).expect("a file");
    let trouble = Store::open(folder.path(), Before::Nothing).expect_err("it is newer");
    assert_eq!(trouble.kind, TroubleKind::Newer);
    assert!(trouble.to_string().contains("99") && trouble.to_string().contains("box.data_dir"), "{trouble}");
    assert_eq!(fs::read(folder.path().join(NAME)).expect("a file"), before);
}

#[test]
fn what_is_no_database_of_ours_is_left_alone() {
    let folder = folder();
    let path = folder.path().join(NAME);
    fs::write(&path, "my diary").expect("written");
    assert_eq!(Store::open(folder.path(), Before::Nothing).expect_err("a diary").kind, TroubleKind::Corrupt);
    assert_eq!(fs::read_to_string(&path).expect("a file"), "my diary");
    fs::remove_file(&path).expect("removed");
    rusqlite::Connection::open(&path)
        .and_then(|other| other.execute_batch("CREATE TABLE t (a)"))
        .expect("made");
    assert_eq!(
        Store::open(folder.path(), Before::Nothing).expect_err("another's").kind,
        TroubleKind::Foreign
    );
}

#[test]
fn a_damaged_page_is_found_at_the_start() {
    let folder = folder();
    drop(Store::open(folder.path(), Before::Nothing).expect("it is made"));
    let path = folder.path().join(NAME);
    let mut bytes = fs::read(&path).expect("a file");
    bytes[4_096..8_192].fill(0xa5);
    fs::write(&path, &bytes).expect("written");
    let trouble = Store::open(folder.path(), Before::Nothing).expect_err("it is damaged");
    assert_eq!(trouble.kind, TroubleKind::Corrupt, "{trouble}");
    assert_eq!(fs::read(&path).expect("a file"), bytes);
}

/// A database whose write-ahead log holds five transactions, as a power cut leaves it.
fn with_a_log() -> tempfile::TempDir {
    let (made, cut) = (folder(), folder());
    let mut store = Store::open(made.path(), Before::Nothing).expect("it is made");
    store.checkpoint(true).expect("the log is empty");
    for seq in 1..=5 {
        let writing = store.begin().expect("a change");
        let (at_ms, by) = (0, Move::default());
        writing
            .append(&Event { seq, at_ms, kind: Kind::Show, sku: None, of: None, by, data: None })
            .expect("appended");
        writing.commit().expect("committed");
    }
    for name in [NAME.to_owned(), format!("{NAME}-wal")] {
        fs::copy(made.path().join(&name), cut.path().join(&name)).expect("copied");
    }
    cut
}

fn log_of(folder: &tempfile::TempDir) -> std::path::PathBuf {
    folder.path().join(format!("{NAME}-wal"))
}

/// Bytes of a frame in the log.
const FRAME: usize = 24 + 4_096;

#[test]
fn a_log_that_a_power_cut_left_is_taken_over_also_with_a_torn_end() {
    let folder = with_a_log();
    let mut log = fs::read(log_of(&folder)).expect("a log");
    assert!(log.len() >= 32 + 5 * FRAME, "{}", log.len());
    let store = Store::open(folder.path(), Before::Nothing).expect("it opens");
    assert_eq!(rows::last_seq(store.connection()), Ok(5));
    let folder = with_a_log();
    let end = log.len() - 100;
    log[end..].fill(0);
    fs::write(log_of(&folder), &log).expect("written");
    let store = Store::open(folder.path(), Before::Nothing).expect("it opens");
    assert_eq!(rows::last_seq(store.connection()), Ok(4));
}

#[test]
fn a_log_that_is_damaged_in_its_middle_is_refused_and_left_as_it_is() {
    // In the second frame, and in the log's own header.
    for place in [32 + FRAME + 24 + 1_000, 18] {
        let folder = with_a_log();
        let mut log = fs::read(log_of(&folder)).expect("a log");
        log[place] ^= 0xff;
        fs::write(log_of(&folder), &log).expect("written");
        let file = fs::read(folder.path().join(NAME)).expect("a file");
        let trouble = Store::open(folder.path(), Before::Nothing).expect_err("it is damaged");
        assert_eq!(trouble.kind, TroubleKind::Corrupt, "{trouble}");
        assert!(trouble.to_string().contains("footlight orders recover"), "{trouble}");
        assert_eq!(fs::read(log_of(&folder)).expect("a log"), log);
        assert_eq!(fs::read(folder.path().join(NAME)).expect("a file"), file);
    }
}

#[test]
fn a_log_without_its_database_is_not_thrown_away() {
    for is_empty in [false, true] {
        let folder = with_a_log();
        let log = fs::read(log_of(&folder)).expect("a log");
        fs::remove_file(folder.path().join(NAME)).expect("removed");
        if is_empty {
            fs::write(folder.path().join(NAME), "").expect("written");
        }
        assert_eq!(
            Store::open(folder.path(), Before::Nothing).expect_err("its database is gone").kind,
            TroubleKind::Corrupt
        );
        assert_eq!(fs::read(log_of(&folder)).expect("a log"), log);
    }
}

#[test]
fn a_refused_database_keeps_its_log() {
    let made = folder();
    let store = Store::open(made.path(), Before::Nothing).expect("it is made");
    store.checkpoint(true).expect("the log is empty");
    store.connection().pragma_update(None, "user_version", 99).expect("set");
    let newer = folder();
    for name in [NAME.to_owned(), format!("{NAME}-wal")] {
        fs::copy(made.path().join(&name), newer.path().join(&name)).expect("copied");
    }
    let before =
        (fs::read(newer.path().join(NAME)).expect("a file"), fs::read(log_of(&newer)).expect("a log"));
    assert_eq!(Store::open(newer.path(), Before::Nothing).expect_err("it is newer").kind, TroubleKind::Newer);
    let after =
        (fs::read(newer.path().join(NAME)).expect("a file"), fs::read(log_of(&newer)).expect("a log"));
    assert!(before == after);
}

#[test]
fn what_is_no_file_in_its_place_is_told_and_left_alone() {
    let folder = folder();
    let path = folder.path().join(NAME);
    fs::create_dir(&path).expect("made");
    assert_eq!(Store::open(folder.path(), Before::Nothing).expect_err("a folder").kind, TroubleKind::Foreign);
    fs::remove_dir(&path).expect("removed");
    std::os::unix::fs::symlink("elsewhere.db", &path).expect("made");
    assert_eq!(Store::open(folder.path(), Before::Nothing).expect_err("a link").kind, TroubleKind::Foreign);
    assert!(!folder.path().join("elsewhere.db").exists());
}

#[test]
fn an_empty_file_is_a_new_store_that_only_its_owner_reads() {
    let folder = folder();
    fs::write(folder.path().join(NAME), "").expect("written");
    drop(Store::open(folder.path(), Before::Nothing).expect("it is made"));
    let other = self::folder();
    let _store = Store::open(other.path(), Before::Nothing).expect("it is made");
    for name in [NAME.to_owned(), format!("{NAME}-wal"), LOCK.to_owned()] {
        let mode = fs::metadata(other.path().join(&name)).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn a_log_that_is_damaged_in_its_middle_is_recovered_with_what_came_after_it() {
    for place in [32 + FRAME + 24 + 1_000, 18] {
        let folder = with_a_log();
        let mut log = fs::read(log_of(&folder)).expect("a log");
        log[place] ^= 0xff;
        fs::write(log_of(&folder), &log).expect("written");
        let Recovery::Made { damaged, told, report } =
            recover(folder.path(), "now").expect("it is recovered")
        else {
            panic!("it is damaged")
        };
        assert!(report.is_proven(), "{report}");
        assert!(told.iter().any(|line| line.contains("damaged frames")), "{told:?}");
        let mut kept = damaged.into_os_string();
        kept.push("-wal");
        assert_eq!(fs::read(kept).expect("it is kept"), log);
        let store = Store::open(folder.path(), Before::Nothing).expect("it opens");
        assert_eq!(rows::last_seq(store.connection()), Ok(5));
    }
}

#[test]
fn a_recovery_that_was_cut_off_is_finished_before_anything_else() {
    // Before the renaming, and between its two steps.
    for is_renamed in [false, true] {
        let folder = with_a_log();
        let sound = self::folder();
        drop(Store::open(sound.path(), Before::Nothing).expect("it is made"));
        let recovered = folder.path().join(format!("{NAME}.recovered"));
        fs::copy(sound.path().join(NAME), &recovered).expect("copied");
        if is_renamed {
            fs::rename(folder.path().join(NAME), folder.path().join("footlight.db.damaged-then"))
                .expect("renamed");
        }
        let log = fs::read(log_of(&folder)).expect("a log");
        let trouble = Store::open(folder.path(), Before::Nothing).expect_err("it is not in its place");
        assert_eq!(trouble.kind, TroubleKind::Corrupt, "{trouble}");
        assert_eq!(fs::read(log_of(&folder)).expect("it is left"), log);
        let done = recover(folder.path(), "then").expect("it is finished");
        assert!(matches!(done, Recovery::Finished { .. }), "{done:?}");
        let store = Store::open(folder.path(), Before::Nothing).expect("it opens");
        assert_eq!(rows::last_seq(store.connection()), Ok(0));
        let kept =
            fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("an entry").path());
        let kept: Vec<_> = kept.filter(|path| path.to_string_lossy().contains(".damaged-")).collect();
        assert!(kept.iter().any(|path| fs::read(path).expect("a file") == log), "{kept:?}");
    }
}

#[test]
fn a_sound_store_is_not_recovered() {
    let folder = with_a_log();
    assert!(matches!(recover(folder.path(), "now"), Ok(Recovery::Sound)));
    let store = Store::open(folder.path(), Before::Nothing).expect("it opens");
    assert_eq!(rows::last_seq(store.connection()), Ok(5));
    assert_eq!(recover(folder.path(), "now").expect_err("it is in use").kind, TroubleKind::InUse);
}

#[test]
fn every_page_that_is_damaged_costs_no_more_than_its_rows() {
    let folder = folder();
    let mut store = Store::open(folder.path(), Before::Nothing).expect("it is made");
    let writing = store.begin().expect("a change");
    for seq in 1..=3_000 {
        let data = Some(format!("{{\"n\":{seq}}}"));
        let (at_ms, by) = (0, Move::default());
        writing
            .append(&Event { seq, at_ms, kind: Kind::Show, sku: None, of: None, by, data })
            .expect("appended");
        writing.set(&format!("setting-{seq}"), "value").expect("set");
    }
    writing.commit().expect("committed");
    drop(store);
    let sound = fs::read(folder.path().join(NAME)).expect("a file");
    let pages = sound.len() / 4_096;
    for page in (1..pages).step_by(pages / 24) {
        let broken = self::folder();
        let mut bytes = sound.clone();
        bytes[page * 4_096..(page + 1) * 4_096].fill(0xa5);
        fs::write(broken.path().join(NAME), &bytes).expect("written");
        let done = recover(broken.path(), "now");
        let Ok(Recovery::Made { .. }) = done else { panic!("page {page}: {done:?}") };
        let store = Store::open(broken.path(), Before::Nothing).expect("it opens");
        let count = |table: &str| -> i64 {
            let question = format!("SELECT count(*) FROM {table}");
            store.connection().query_row(&question, [], |row| row.get(0)).expect("a count")
        };
        let saved = count("event") + count("setting");
        // A page has some 140 of them; an inner page is found by what lies around it only.
        let is_inner = matches!(sound[page * 4_096], 2 | 5);
        assert!(saved >= 6_000 - 400 || is_inner, "page {page}: {saved} of 6000");
    }
}
