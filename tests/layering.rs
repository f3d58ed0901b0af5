//! Who may import whom, and what a pure core may not touch: read from the sources, told with file and line.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Each room with the rooms below it that it may name. A room that is not here may not exist.
const MAY_USE: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("media", &["base"]),
    ("config", &["base"]),
    ("capture", &["base", "media", "config"]),
    ("encode", &["base", "media", "config"]),
    ("hub", &["base", "media", "config"]),
    ("shop", &["base", "media", "config"]),
    // Simulated lines and servers; only in tests and with the feature `sim`.
    ("sim", &["base"]),
    // A reader of a channel, like the recorder to come. Its rehearsal plays in the simulated world.
    ("uplink", &["base", "media", "config", "hub", "sim"]),
    ("serve", &["base", "media", "config", "capture", "encode", "hub", "uplink", "shop"]),
    ("app", &["base", "media", "config", "capture", "encode", "hub", "uplink", "shop", "serve"]),
];

/// Cores that own no clock, socket, file or task. Beside these, every file with a line `//! Pure…` in its docs.
const PURE: &[&str] = &[
    "src/media/",
    "src/base/rate.rs",
    "src/hub/ring.rs",
    "src/uplink/failover/dialing.rs",
    "src/uplink/failover/line.rs",
    "src/uplink/failover/mod.rs",
    "src/uplink/failover/rhythm.rs",
    "src/uplink/failover/words.rs",
    "src/uplink/bitrate.rs",
    "src/uplink/bitrate/pace.rs",
    "src/uplink/inflight.rs",
    "src/capture/policy.rs",
    "src/config/diff.rs",
    "src/serve/auth/book.rs",
    "src/serve/flv/policy.rs",
];

/// What a pure core does not name outside of its tests.
const IMPURE: &[&str] = &[
    "tokio",
    "std::net",
    "std::fs",
    "std::env",
    "std::thread",
    "std::process",
    "Instant::now",
    "SystemTime",
    "base::clock",
    "clock::",
    "nix::",
    "libc::",
    "hyper",
    "ffmpeg_next",
];

/// A source without comments and strings' content: `(line number, text)`.
struct Source {
    path: PathBuf,
    lines: Vec<(usize, String)>,
    says_pure: bool,
}

#[test]
fn a_room_imports_only_the_rooms_below_it() {
    let rules: BTreeMap<_, _> = MAY_USE.iter().copied().collect();
    let mut broken = String::new();
    for source in sources() {
        let Some(room) = room_of(&source.path) else { continue };
        let Some(allowed) = rules.get(room.as_str()) else {
            let _ = writeln!(broken, "{}: the room `{room}` stands in no rule", source.path.display());
            continue;
        };
        for (line, used) in rooms_named(&source, &rules) {
            if used != room && !allowed.contains(&used.as_str()) {
                let _ = writeln!(broken, "{}:{line}: `{room}` must not know `{used}`", source.path.display());
            }
        }
    }
    assert!(
        broken.is_empty(),
        "rooms that import what is not below them (tests/layering.rs has the rule):\n{broken}"
    );
}

#[test]
fn a_pure_core_owns_no_clock_socket_file_or_task() {
    let mut broken = String::new();
    let sources = sources();
    for wanted in PURE {
        let found = sources.iter().any(|source| source.path.to_string_lossy().starts_with(wanted));
        assert!(found, "the pure core {wanted} is not there: was it renamed? (PURE in tests/layering.rs)");
    }
    for source in &sources {
        let path = source.path.to_string_lossy();
        if !source.says_pure && !PURE.iter().any(|pure| path.starts_with(pure)) {
            continue;
        }
        if path.ends_with("tests.rs") {
            continue;
        }
        let core = source.lines.iter().take_while(|(_, text)| !text.contains("#[cfg(test)]"));
        for (line, text) in core {
            for impure in IMPURE.iter().filter(|impure| names(text, impure)) {
                let _ = writeln!(broken, "{path}:{line}: a pure core names `{impure}`");
            }
        }
    }
    assert!(broken.is_empty(), "cores that are not pure:\n{broken}");
}

#[test]
fn the_reader_of_imports_sees_what_it_is_meant_to_see() {
    let rules: BTreeMap<_, _> = MAY_USE.iter().copied().collect();
    let text = "use crate::hub::Reader;\n// crate::uplink in a comment\nuse crate::{\n    base::ticks,\n    \
                serve::{Server, app},\n};\nfn f() { super::super::capture::go(\"crate::encode\") }\n";
    let source = Source { path: "src/hub/x.rs".into(), lines: code_lines(text), says_pure: false };
    let seen: Vec<_> = rooms_named(&source, &rules);
    let want = [(1, "hub"), (4, "base"), (5, "serve"), (7, "capture")];
    assert_eq!(seen, want.map(|(line, room)| (line, room.to_owned())));
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join("src")];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("src can be read") {
            let path = entry.expect("src can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("a source is UTF-8");
                let says_pure = text
                    .lines()
                    .take_while(|line| line.starts_with("//!"))
                    .any(|line| line.starts_with("//! Pure"));
                let path = path.strip_prefix(root).expect("it is below").to_path_buf();
                sources.push(Source { path, lines: code_lines(&text), says_pure });
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

/// `src/hub/ring.rs` is of the room `hub`; `src/lib.rs` and `src/main.rs` are of none.
fn room_of(path: &Path) -> Option<String> {
    let mut parts = path.components().skip(1).map(|part| part.as_os_str().to_string_lossy().into_owned());
    let (first, second) = (parts.next()?, parts.next());
    second.map(|_| first)
}

/// The lines without comments and without what stands between quotes.
fn code_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let mut code = String::new();
        let mut quoted = false;
        let mut characters = line.chars().peekable();
        while let Some(character) = characters.next() {
            match character {
                '\\' if quoted => drop(characters.next()),
                '"' => quoted = !quoted,
                '/' if !quoted && characters.peek() == Some(&'/') => break,
                _ if !quoted => code.push(character),
                _ => {}
            }
        }
        lines.push((number, code));
    }
    lines
}

/// The rooms that a source names, by `crate::room`, inside `crate::{…}`, or by climbing out with `super`.
fn rooms_named(source: &Source, rules: &BTreeMap<&str, &[&str]>) -> Vec<(usize, String)> {
    let mut seen = Vec::new();
    let mut depth_in_group: Option<usize> = None;
    for (number, text) in &source.lines {
        let mut rest = text.as_str();
        while !rest.is_empty() {
            if let Some(depth) = depth_in_group {
                // Inside `crate::{…}`: words at depth 1 are rooms.
                let word = identifier(rest);
                if !word.is_empty() {
                    let before = text[..text.len() - rest.len()].trim_end();
                    let starts_item = before.is_empty() || before.ends_with(['{', ',']);
                    if depth == 1 && starts_item && rules.contains_key(word) {
                        seen.push((*number, word.to_owned()));
                    }
                    rest = &rest[word.len()..];
                    continue;
                }
                let character = rest.chars().next().unwrap_or(' ');
                depth_in_group = match character {
                    '{' => Some(depth + 1),
                    '}' => Some(depth - 1).filter(|depth| *depth > 0),
                    _ => Some(depth),
                };
                rest = &rest[character.len_utf8()..];
                continue;
            }
            let crate_at = rest.find("crate::").map(|at| (at, "crate::"));
            let super_at = rest.find("super::").map(|at| (at, "super::"));
            let Some((at, found)) = [crate_at, super_at].into_iter().flatten().min() else { break };
            rest = &rest[at + found.len()..];
            if found == "crate::" && rest.starts_with('{') {
                depth_in_group = Some(1);
                rest = &rest[1..];
                continue;
            }
            let word = identifier(rest);
            // `super::hub` from inside a room's own folder may be a file called `hub`; two steps up leave the room.
            let climbs_out = found == "crate::" || text.contains("super::super::");
            if climbs_out && rules.contains_key(word) {
                seen.push((*number, word.to_owned()));
            }
        }
    }
    seen
}

fn identifier(text: &str) -> &str {
    let end =
        text.find(|character: char| !character.is_alphanumeric() && character != '_').unwrap_or(text.len());
    &text[..end]
}

/// Whether `text` holds `name` as whole words.
fn names(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + name.len()..].chars().next();
        let joins = |character: char| character.is_alphanumeric() || character == '_';
        !before.is_some_and(joins) && (name.ends_with(':') || !after.is_some_and(joins))
    })
}
