//! The database as it is found, and what is refused.

use std::fs;

use super::*;
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
