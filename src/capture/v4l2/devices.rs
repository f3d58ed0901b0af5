//! The cameras that are plugged in, as a list for people and programs.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::device::{self, Device, Trouble};
use super::find;
use super::layout;
use super::modes::{Mode, Wish};

/// A camera that is plugged in.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CameraDevice {
    /// Its node: `/dev/video0`.
    pub path: PathBuf,
    /// Other names of the node, which stay the same when it is plugged in again.
    pub links: Vec<PathBuf>,
    /// What it calls itself.
    pub name: String,
    /// The kernel's driver.
    pub driver: String,
    /// Where it is plugged in.
    pub bus: String,
    /// Its driver speaks V4L2's multi-planar interface.
    pub multi_planar: bool,
    /// What it can do, as far as footlight can use it.
    pub modes: Vec<CameraMode>,
    /// Names of formats that footlight cannot use.
    pub other_formats: Vec<String>,
    /// Why it cannot be looked at, in words.
    pub trouble: Option<String>,
}

/// One format and size of a camera.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CameraMode {
    /// `YUYV`, `UYVY`, `NV12`, `YU12`, `BGR24`, `MJPEG`, `H.264` or `H.265`.
    pub format: &'static str,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Frames a second that it can be set to; empty where the driver does not tell.
    pub fps: Vec<f64>,
}

/// Looks at all cameras of this machine. Nodes that are no cameras (metadata, decoders) are left out.
pub fn devices() -> Vec<CameraDevice> {
    let links = links();
    device::nodes().into_iter().filter_map(|path| look_at(&path, &links)).collect()
}

/// The list for people.
pub fn table(devices: &[CameraDevice]) -> String {
    if devices.is_empty() {
        return "no cameras\n".to_owned();
    }
    let mut page = String::new();
    for device in devices {
        let _ =
            writeln!(page, "{}  {}  ({}, {})", device.path.display(), device.name, device.driver, device.bus);
        for link in &device.links {
            let _ = writeln!(page, "    {}", link.display());
        }
        if let Some(trouble) = &device.trouble {
            let _ = writeln!(page, "    {trouble}");
        }
        for mode in &device.modes {
            let rates: Vec<String> = mode.fps.iter().map(|fps| rate(*fps)).collect();
            let rates = if rates.is_empty() { "its own rate".to_owned() } else { rates.join(", ") };
            let size = format!("{}x{}", mode.width, mode.height);
            let _ = writeln!(page, "    {:<6} {size:<10} {rates}", mode.format);
        }
        if !device.other_formats.is_empty() {
            let _ = writeln!(page, "    cannot be used: {}", device.other_formats.join(", "));
        }
    }
    page
}

fn look_at(path: &Path, links: &[(PathBuf, PathBuf)]) -> Option<CameraDevice> {
    let mut camera = CameraDevice {
        path: path.to_owned(),
        links: links.iter().filter(|(_, node)| node == path).map(|(link, _)| link.clone()).collect(),
        name: sys_name(path),
        driver: "unknown".to_owned(),
        bus: "unknown".to_owned(),
        multi_planar: false,
        modes: Vec::new(),
        other_formats: Vec::new(),
        trouble: None,
    };
    let device = match Device::open(path) {
        Ok(device) => device,
        Err(Trouble::NoCamera | Trouble::Gone) => return None,
        Err(trouble) => {
            camera.trouble = Some(find::words(&trouble, path));
            return Some(camera);
        }
    };
    camera.modes =
        device.modes(&Wish { size: None, rate: None, passes_h264: true }).iter().map(mode).collect();
    camera.other_formats = device
        .fourccs()
        .into_iter()
        .filter(|fourcc| layout::known(*fourcc).is_none())
        .map(|fourcc| String::from_utf8_lossy(&fourcc.to_le_bytes()).trim().to_owned())
        .collect();
    camera.multi_planar = device.is_multi_planar();
    (camera.name, camera.driver, camera.bus) = (device.card, device.driver, device.bus);
    Some(camera)
}

fn mode(mode: &Mode) -> CameraMode {
    let mut fps: Vec<f64> =
        mode.rates.iter().map(|rate| (rate.per_second() * 100.0).round() / 100.0).collect();
    fps.sort_by(|a, b| b.total_cmp(a));
    CameraMode { format: mode.format.name(), width: mode.size.width, height: mode.size.height, fps }
}

/// The stable names that udev gives, and the nodes they lead to.
fn links() -> Vec<(PathBuf, PathBuf)> {
    ["/dev/v4l/by-id", "/dev/v4l/by-path"]
        .iter()
        .flat_map(std::fs::read_dir)
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.path(), entry.path().canonicalize().ok()?)))
        .collect()
}

/// The name that the kernel shows without opening the node.
fn sys_name(path: &Path) -> String {
    let Some(node) = path.file_name() else { return "unknown".to_owned() };
    let name = std::fs::read_to_string(Path::new("/sys/class/video4linux").join(node).join("name"));
    name.map_or("unknown".to_owned(), |name| name.trim().to_owned())
}

fn rate(fps: f64) -> String {
    if fps.fract() == 0.0 { format!("{fps:.0}") } else { format!("{fps:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_a_camera_with_its_names_and_modes() {
        let camera = CameraDevice {
            path: "/dev/video0".into(),
            links: vec!["/dev/v4l/by-id/usb-C920-video-index0".into()],
            name: "HD Pro Webcam C920".to_owned(),
            driver: "uvcvideo".to_owned(),
            bus: "usb-0000:00:14.0-1".to_owned(),
            multi_planar: false,
            modes: vec![
                CameraMode { format: "MJPEG", width: 1920, height: 1080, fps: vec![30.0, 29.97] },
                CameraMode { format: "YUYV", width: 640, height: 480, fps: vec![] },
            ],
            other_formats: vec!["GREY".to_owned()],
            trouble: None,
        };
        assert_eq!(
            table(std::slice::from_ref(&camera)),
            "/dev/video0  HD Pro Webcam C920  (uvcvideo, usb-0000:00:14.0-1)\n    \
             /dev/v4l/by-id/usb-C920-video-index0\n    MJPEG  1920x1080  30, 29.97\n    \
             YUYV   640x480    its own rate\n    cannot be used: GREY\n"
        );
        let json = serde_json::to_value(&camera).expect("serialises");
        assert_eq!(json["modes"][0]["fps"][1], 29.97);
        assert_eq!(table(&[]), "no cameras\n");
    }
}
