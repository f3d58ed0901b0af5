//! `footlight devices`: what is plugged in, and what really encodes.

use std::fmt::Write;

use serde::Serialize;

use crate::capture::{self, CameraDevice};
use crate::encode::{Encoders, Verdict};

/// Cameras with their modes and encoders with their verdicts.
#[derive(Debug, Serialize)]
pub struct Devices {
    cameras: Vec<CameraDevice>,
    /// Best first.
    encoders: Vec<Verdict>,
}

impl Devices {
    /// Looks at every camera and tries every encoder; takes about a second where a driver hangs.
    pub fn look() -> Devices {
        Devices { cameras: capture::devices(), encoders: Encoders::probe().verdicts() }
    }

    /// For programs.
    pub fn json(&self) -> String {
        // Plain data of ours: it has no map with keys that JSON lacks, and nothing that can fail.
        let mut text =
            serde_json::to_string_pretty(self).unwrap_or_else(|cause| format!("{{\"error\":\"{cause}\"}}"));
        text.push('\n');
        text
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut page =
            format!("Cameras\n{}\nEncoders, best first\n", indented(&capture::table(&self.cameras)));
        for Verdict { name, codec, hardware, result } in &self.encoders {
            let kind = if *hardware { "hardware" } else { "software" };
            let verdict = match result {
                Ok(()) => "works",
                Err(reason) => reason,
            };
            let _ = writeln!(page, "  {name:<14} {codec}, {kind}: {verdict}");
        }
        page
    }
}

fn indented(text: &str) -> String {
    text.lines().fold(String::new(), |page, line| page + "  " + line + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_names_every_encoder_with_a_verdict_for_people_and_for_programs() {
        let devices = Devices::look();
        let text = devices.text();
        let json: serde_json::Value = serde_json::from_str(&devices.json()).expect("JSON");
        let encoders = json["encoders"].as_array().expect("a list");
        assert!(
            encoders.iter().any(|encoder| encoder["name"] == "libx264" && encoder["works"] == true),
            "{json}"
        );
        for encoder in encoders {
            assert!(text.contains(encoder["name"].as_str().expect("a name")), "{text}");
            assert!(encoder["works"] == true || encoder["reason"].is_string(), "{encoder}");
        }
        assert!(json["cameras"].is_array());
    }
}
