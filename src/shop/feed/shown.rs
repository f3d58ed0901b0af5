//! What is shown now: the newest show, and the newest cue in it. Who joins late, or was told to read the lists, would
//! not hear of them again.

use rusqlite::Connection;

use crate::shop::event::{Event, Kind};
use crate::shop::product::Sku;
use crate::shop::store::{Writing, rows};

use super::{event_json, write_event};

/// The settings that say where in the log they stand: looking for them through all of it would take long.
const PLACES: [(Kind, &str); 2] = [(Kind::Show, "shown_show"), (Kind::Cue, "shown_cue")];

/// What is shown.
#[derive(Debug, Clone, Default)]
pub(in crate::shop) struct Shown {
    show: Option<Event>,
    cue: Option<Event>,
}

impl Shown {
    /// Notes in the same transaction where such an event stands.
    pub(in crate::shop) fn keep(writing: &Writing<'_>, kind: Kind, seq: i64) -> rusqlite::Result<()> {
        match PLACES.iter().find(|(known, _)| *known == kind) {
            Some((_, name)) => writing.set(name, &seq.to_string()),
            None => Ok(()),
        }
    }

    /// As it stands on the disk.
    pub(in crate::shop) fn load(from: &Connection) -> rusqlite::Result<Shown> {
        let mut found = Vec::new();
        for (kind, name) in PLACES {
            let place = rows::setting(from, name)?.and_then(|value| value.parse::<i64>().ok());
            let Some(place) = place else { continue };
            let event = rows::events_after(from, place.saturating_sub(1), 1)?.pop();
            found.extend(event.filter(|event| event.seq == place && event.kind == kind));
        }
        found.sort_by_key(|event| event.seq);
        let mut shown = Shown::default();
        for event in &found {
            shown.take(event);
        }
        Ok(shown)
    }

    /// Takes what happened. A show begins with nothing shown.
    pub(in crate::shop) fn take(&mut self, event: &Event) {
        match event.kind {
            Kind::Show => *self = Shown { show: Some(event.clone()), cue: None },
            Kind::Cue => self.cue = Some(event.clone()),
            _ => {}
        }
    }

    /// It as server-sent events, as far as it stands in the log up to `upto`: what comes later comes with the news. A
    /// cue of a product that was taken out is none. They have no id: a page's place is beyond them.
    pub(in crate::shop) fn render(&self, upto: i64, is_listed: impl Fn(&Sku) -> bool) -> String {
        let cue = self.cue.as_ref().filter(|cue| cue.sku.as_ref().is_none_or(is_listed));
        let mut told = String::new();
        for event in [self.show.as_ref(), cue].into_iter().flatten().filter(|event| event.seq <= upto) {
            write_event(&mut told, event.kind.as_str(), None, &event_json(event));
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::event;
    use super::*;

    fn names(shown: &Shown, upto: i64) -> Vec<String> {
        let told = shown.render(upto, |_| true);
        told.lines().filter_map(|line| line.strip_prefix("event: ")).map(str::to_owned).collect()
    }

    #[test]
    fn the_newest_cue_of_the_show_is_told_and_nothing_that_comes_with_the_news() {
        let mut shown = Shown::default();
        assert!(names(&shown, 100).is_empty());
        shown.take(&event(3, Kind::Cue));
        shown.take(&event(5, Kind::Show));
        assert_eq!(names(&shown, 100), ["show"], "a show begins with nothing shown");
        shown.take(&event(7, Kind::Cue));
        shown.take(&event(8, Kind::Order));
        shown.take(&event(9, Kind::Cue));
        assert_eq!(names(&shown, 9), ["show", "cue"]);
        assert_eq!(names(&shown, 8), ["show"]);
        let told = shown.render(9, |_| true);
        assert!(told.contains(r#""seq":9"#) && !told.contains("id: "), "{told}");
        assert!(!shown.render(9, |_| false).contains("event: cue"), "the product is gone");
    }
}
