//! Prometheus text exposition, so that each room can describe its own figures.

use std::collections::BTreeMap;
use std::fmt::Write;

struct Family {
    help: &'static str,
    kind: &'static str,
    samples: Vec<(String, f64)>,
}

/// A page of metrics in the making. Names follow the convention: `footlight_` first, base units, counters end
/// in `_total`; labels never name a viewer.
#[derive(Default)]
pub struct Exposition {
    families: BTreeMap<&'static str, Family>,
}

impl Exposition {
    /// A value that goes up and down.
    pub fn gauge(&mut self, name: &'static str, help: &'static str, labels: &[(&str, &str)], value: f64) {
        self.add(name, help, "gauge", labels, value);
    }

    /// A value that only grows while the process lives.
    pub fn counter(&mut self, name: &'static str, help: &'static str, labels: &[(&str, &str)], value: u64) {
        debug_assert!(name.ends_with("_total"), "{name}");
        self.add(name, help, "counter", labels, value as f64);
    }

    fn add(
        &mut self,
        name: &'static str,
        help: &'static str,
        kind: &'static str,
        labels: &[(&str, &str)],
        value: f64,
    ) {
        debug_assert!(name.starts_with("footlight_"), "{name}");
        let mut text = String::new();
        for (key, value) in labels {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(text, "{}{key}=\"{value}\"", if text.is_empty() { "" } else { "," });
        }
        let family = self.families.entry(name).or_insert(Family { help, kind, samples: Vec::new() });
        family.samples.push((text, value));
    }

    /// The page (text format 0.0.4).
    pub fn render(&self) -> String {
        let mut page = String::new();
        for (name, family) in &self.families {
            let _ = writeln!(page, "# HELP {name} {}\n# TYPE {name} {}", family.help, family.kind);
            for (labels, value) in &family.samples {
                let _ = match labels.as_str() {
                    "" => writeln!(page, "{name} {value}"),
                    labels => writeln!(page, "{name}{{{labels}}} {value}"),
                };
            }
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_groups_samples_under_one_help_line_and_escapes_labels() {
        let mut page = Exposition::default();
        page.gauge("footlight_viewers", "Viewers now.", &[("stream", "a\"b")], 3.0);
        page.gauge("footlight_viewers", "Viewers now.", &[("stream", "c")], 0.0);
        page.counter("footlight_requests_total", "Requests.", &[], 7);
        assert_eq!(
            page.render(),
            "# HELP footlight_requests_total Requests.\n# TYPE footlight_requests_total counter\n\
             footlight_requests_total 7\n# HELP footlight_viewers Viewers now.\n# TYPE footlight_viewers gauge\n\
             footlight_viewers{stream=\"a\\\"b\"} 3\nfootlight_viewers{stream=\"c\"} 0\n"
        );
    }
}
