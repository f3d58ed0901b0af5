//! Who is measured.

use std::time::Duration;

use crate::floor;
use crate::shared::child::Child;
use crate::shared::server;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Floor,
    Footlight,
    Merged,
}

const NAMES: [(Kind, &str); 3] =
    [(Kind::Floor, "floor"), (Kind::Footlight, "footlight"), (Kind::Merged, "merged")];

impl Kind {
    /// Starts one.
    pub fn start(self) -> Child {
        Child::start(&[NAMES.iter().find(|(known, _)| *known == self).unwrap().1])
    }

    /// Is the one of that name.
    pub fn be(name: &str) {
        match NAMES.iter().find(|(_, known)| *known == name).unwrap().0 {
            Kind::Floor => floor::run(),
            Kind::Footlight => server::run(Duration::ZERO, None),
            Kind::Merged => server::run(Duration::from_millis(100), None),
        }
    }
}
