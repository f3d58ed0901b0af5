//! Puts the web build (`web-ui/dist`, made by `make web`) into the binary: writes a table of its files for
//! `src/serve/pages.rs`. Without it a release build fails; a debug build goes on and says so on its pages, so that
//! Rust can be worked on without Node.

use std::collections::hash_map::DefaultHasher;
use std::fmt::Write;
use std::fs;
use std::hash::Hasher;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

fn main() {
    let root =
        PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where the package is"));
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo says where to write"));
    let dist = root.join("web-ui/dist");
    let mut files = Vec::new();
    if dist.join("watch.html").is_file() {
        println!("cargo::rerun-if-changed=web-ui/dist");
        collect(&dist, &mut files);
    } else if std::env::var("PROFILE").as_deref() == Ok("release") {
        println!("cargo::error=the web pages are not built: run `make web` first, then build again");
        std::process::exit(1);
    } else {
        // Looked at again as soon as something is built there. The folder is made, because cargo runs this again at
        // every build while a watched path is missing; if that fails, so it does.
        // Dated back: made after this run began, it would pass for a change.
        if fs::create_dir(&dist).is_ok() {
            let _ = fs::File::open(&dist).and_then(|folder| folder.set_modified(SystemTime::UNIX_EPOCH));
        }
        println!("cargo::rerun-if-changed=web-ui/dist");
        println!("cargo::rerun-if-changed=web-ui/package.json");
        println!("cargo::warning=built without the web pages: run `make web` for them");
    }
    files.sort();
    let mut table = String::from("static FILES: &[File] = &[\n");
    for file in files {
        let path = file.strip_prefix(&dist).expect("it was found there").to_string_lossy().replace('\\', "/");
        let bytes = fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let mut hasher = DefaultHasher::new();
        hasher.write(&bytes);
        let etag = format!("\"{:016x}\"", hasher.finish());
        let content_type = content_type(&path);
        let file = file.display().to_string();
        writeln!(
            table,
            "    File {{ path: {path:?}, content_type: {content_type:?}, etag: {etag:?}, bytes: include_bytes!({file:?}) }},"
        )
        .expect("a string takes all");
    }
    table.push_str("];\n");
    fs::write(out.join("pages.rs"), table).expect("cargo's own folder can be written");
}

/// All files below `folder`; hidden ones are the build's own notes.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("a folder that was just opened").path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if path.is_dir() {
            collect(&path, files);
        } else if !hidden {
            files.push(path);
        }
    }
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("json" | "map") => "application/json",
        Some("webmanifest") => "application/manifest+json",
        Some("woff2") => "font/woff2",
        Some("wasm") => "application/wasm",
        _ => "application/octet-stream",
    }
}
