//! House-keeping over the repository's own files, told with file and line.

use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Folders that hold what was built or fetched.
const NOT_OURS: &[&str] = &["target", "node_modules", "dist", ".git", "footlight-data"];

/// Kinds of files that people write.
const WRITTEN: &[&str] =
    &["rs", "toml", "md", "ts", "css", "html", "sh", "mjs", "js", "json", "yml", "service"];

#[test]
fn every_relative_link_in_the_documents_leads_somewhere() {
    let mut broken = String::new();
    for path in written().into_iter().filter(|path| path.extension().is_some_and(|kind| kind == "md")) {
        let text = read(&path);
        let folder = path.parent().expect("a file stands in a folder");
        for (line, target) in links(&text) {
            let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let there = if file.is_empty() { path.clone() } else { folder.join(file) };
            if !there.exists() {
                let _ = writeln!(broken, "{}:{line}: {target} is not there", shown(&path));
            } else if !anchor.is_empty()
                && there.is_file()
                && !headings(&read(&there)).any(|name| name == anchor)
            {
                let _ = writeln!(broken, "{}:{line}: {target} has no such heading", shown(&path));
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere:\n{broken}");
}

#[test]
fn leftovers_are_issues_not_comments() {
    let words = [["TO", "DO"], ["FIX", "ME"], ["XX", "X"], ["HA", "CK"]].map(|halves| halves.concat());
    let mut found = String::new();
    for path in written() {
        for (line, text) in (1..).zip(read(&path).lines()) {
            let has = |word: &String| text.split(|c: char| !c.is_alphanumeric()).any(|part| part == word);
            if words.iter().any(has) {
                let _ = writeln!(found, "{}:{line}: {}", shown(&path), text.trim());
            }
        }
    }
    assert!(found.is_empty(), "leftovers:\n{found}");
}

#[test]
fn every_room_begins_with_its_map() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for entry in std::fs::read_dir(root.join("src")).expect("src can be read") {
        let folder = entry.expect("src can be read").path();
        if folder.is_dir() {
            let map = folder.join("mod.rs");
            assert!(read(&map).starts_with("//! "), "{} says what the room does", shown(&map));
        }
    }
}

#[test]
fn links_are_found_and_the_web_is_left_alone() {
    let text = "# The house\nSee [a](src/lib.rs), [b](https://example.org/x) and\n```\n[no](link)\n```\n[c](#the-house)";
    assert_eq!(links(text), [(2, "src/lib.rs".to_owned()), (6, "#the-house".to_owned())]);
    assert_eq!(headings("# The `house`, and more!\n").collect::<Vec<_>>(), ["the-house-and-more"]);
}

/// All files that people write, below the repository's root.
fn written() -> Vec<PathBuf> {
    let mut folders = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR"))];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the repository can be read") {
            let path = entry.expect("the repository can be read").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                folders.extend((!NOT_OURS.contains(&name.as_str())).then_some(path));
            } else if path.extension().is_some_and(|kind| WRITTEN.contains(&kind.to_string_lossy().as_ref()))
                && !name.contains("-lock")
            {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// Relative links outside of code blocks, with their lines.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut in_code = false;
    for (number, line) in (1..).zip(text.lines()) {
        in_code ^= line.trim_start().starts_with("```");
        let targets = line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
        for target in
            targets.filter(|target| !in_code && !target.contains("://") && !target.starts_with("mailto:"))
        {
            found.push((number, target.to_owned()));
        }
    }
    found
}

/// The anchors of a document's headings, as the usual viewers make them.
fn headings(text: &str) -> impl Iterator<Item = String> {
    text.lines().filter(|line| line.starts_with('#')).map(|line| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        title
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
            .collect::<String>()
            .replace(' ', "-")
    })
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn shown(path: &Path) -> String {
    path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap_or(path).display().to_string()
}
