//! From what the configuration names to a node in `/dev`, and from trouble to words.

use std::path::{Path, PathBuf};

use super::device::{self, Device, Trouble};

/// The node of the camera that `named` means: a path (links of `/dev/v4l/by-id` and `by-path` too), or a camera's name
/// or bus as `footlight devices` prints it.
///
/// # Errors
/// Words for the studio.
pub(super) fn resolve(named: &Path) -> Result<PathBuf, String> {
    if named.is_absolute() {
        // The link leads elsewhere after each plugging; messages name the node behind it.
        return std::fs::canonicalize(named)
            .map_err(|_| format!("camera is unplugged, waiting for {}", named.display()));
    }
    let wanted = named.to_string_lossy();
    let cameras: Vec<(PathBuf, Device)> = device::nodes()
        .into_iter()
        .filter_map(|path| Device::open(&path).ok().map(|device| (path, device)))
        .collect();
    let is_meant = |device: &Device| device.card == wanted || device.bus == wanted;
    let starts = |device: &Device| device.card.to_lowercase().starts_with(&wanted.to_lowercase());
    let found = cameras.iter().find(|(_, device)| is_meant(device));
    if let Some((path, _)) = found.or_else(|| cameras.iter().find(|(_, device)| starts(device))) {
        return Ok(path.clone());
    }
    let here: Vec<&str> = cameras.iter().map(|(_, device)| device.card.as_str()).collect();
    let here = if here.is_empty() { "none".to_owned() } else { here.join(", ") };
    Err(format!("no camera named {wanted:?} is plugged in, waiting for it (cameras here: {here})"))
}

/// What tells one presence of the named camera from the next.
pub(in crate::capture) fn fingerprint(named: &Path) -> Option<u64> {
    use std::hash::{DefaultHasher, Hash, Hasher};

    use super::super::source::file_fingerprint;

    if named.is_absolute() {
        return file_fingerprint(named);
    }
    // By name: any change among the nodes is worth a look.
    let nodes = device::nodes();
    let mut hasher = DefaultHasher::new();
    for node in &nodes {
        (node, file_fingerprint(node)).hash(&mut hasher);
    }
    (!nodes.is_empty()).then(|| hasher.finish())
}

/// What is wrong with the camera at `node`, and what to do.
pub(super) fn words(trouble: &Trouble, node: &Path) -> String {
    let shown = node.display();
    match trouble {
        Trouble::Gone => format!("camera is unplugged, waiting for {shown}"),
        Trouble::Busy => match users(node).as_slice() {
            [] => format!("the camera {shown} is in use by another program, waiting until it is free"),
            users => {
                let users = users.join(", ");
                format!("the camera {shown} is in use by {users}; close it there, or wait until it is free")
            }
        },
        Trouble::Denied => format!(
            "this user may not open the camera {shown}; add it to the group video: usermod -aG video USER, and start \
             footlight again"
        ),
        Trouble::NoCamera => {
            format!("{shown} is no camera that can stream; `footlight devices` lists those that are")
        }
        Trouble::NoBandwidth => format!(
            "the USB bus has no room for the camera {shown} in this mode; choose a smaller size or rate, or plug it \
             into another port"
        ),
        Trouble::Other(doing, errno) => format!("the camera {shown} failed while {doing}: {}", errno.desc()),
    }
}

/// Who has `node` open, as `obs (process 4711)`. Programs of other users stay hidden unless we are root.
fn users(node: &Path) -> Vec<String> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let ours = std::process::id();
    processes
        .flatten()
        .filter_map(|process| {
            let id: u32 = process.file_name().to_str()?.parse().ok()?;
            let mut files = std::fs::read_dir(process.path().join("fd")).ok()?.flatten();
            files.find(|file| std::fs::read_link(file.path()).is_ok_and(|target| target == node))?;
            if id == ours {
                return Some("another stream of this box".to_owned());
            }
            let name = std::fs::read_to_string(process.path().join("comm")).ok()?;
            Some(format!("{} (process {id})", name.trim()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use nix::errno::Errno;

    use super::*;

    #[test]
    fn whoever_has_the_camera_open_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let node = folder.path().join("video0");
        let open = File::create(&node).expect("creates");
        let told = words(&Trouble::Busy, &node.canonicalize().expect("exists"));
        assert!(told.contains("in use by another stream of this box"), "{told}");
        drop(open);
        let told = words(&Trouble::Busy, &node);
        assert!(told.contains("in use by another program"), "{told}");
    }

    #[test]
    fn an_absent_camera_is_waited_for_by_its_own_name() {
        let told = resolve(Path::new("/dev/v4l/by-id/usb-none")).expect_err("is not there");
        assert_eq!(told, "camera is unplugged, waiting for /dev/v4l/by-id/usb-none");
        let told = resolve(Path::new("No Such Camera")).expect_err("is not there");
        assert!(told.contains("\"No Such Camera\""), "{told}");
    }

    #[test]
    fn each_trouble_says_what_to_do() {
        let node = Path::new("/dev/video0");
        for (errno, want) in [
            (Errno::ENODEV, "unplugged"),
            (Errno::EACCES, "group video"),
            (Errno::ENOSPC, "USB bus"),
            (Errno::EIO, "failed while starting it"),
        ] {
            let told = words(&Trouble::of("starting it", errno), node);
            assert!(told.contains(want) && told.contains("/dev/video0"), "{told}");
        }
    }

    #[test]
    fn a_file_or_a_terminal_is_no_camera() {
        for path in ["/dev/null", "/proc/self/status"] {
            let trouble = Device::open(Path::new(path)).err().expect("is no camera");
            assert!(!matches!(trouble, Trouble::Gone | Trouble::Busy), "{path}: {trouble:?}");
        }
    }
}
