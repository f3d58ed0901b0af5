//! What leaves the box by the same way out, whatever output it belongs to: two clouds share one wire.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::units::BitrateBps;
use crate::config::schema::Destination;

/// A way out: the interface and the address that a destination is configured to leave by. Where neither is, the
/// system's own way, which is taken for one and the same.
type Way = (Option<String>, Option<IpAddr>);

/// What one line puts on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Flow {
    /// What it is asked to carry.
    pub(super) needed: BitrateBps,
    /// What arrives of it.
    pub(super) acked: BitrateBps,
}

#[derive(Debug, Default)]
struct Ways {
    flows: BTreeMap<(Way, u64), Flow>,
    lines: u64,
}

/// All ways out of the box. As many entries as lines carry.
#[derive(Debug, Clone, Default)]
pub(super) struct Exits(Arc<Mutex<Ways>>);

/// One line's place in its way out; given back when dropped.
#[derive(Debug)]
pub(super) struct Exit {
    all: Exits,
    place: (Way, u64),
}

impl Exits {
    /// A place for a line to this destination.
    pub(super) fn join(&self, destination: &Destination) -> Exit {
        let mut ways = self.lock();
        ways.lines += 1;
        let way = (destination.interface.clone(), destination.source_address);
        Exit { all: self.clone(), place: (way, ways.lines) }
    }

    fn lock(&self) -> MutexGuard<'_, Ways> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Exit {
    /// The line carries this now, or nothing; what all others by the same way carry.
    pub(super) fn carries(&self, flow: Option<Flow>) -> Flow {
        let mut ways = self.all.lock();
        match flow {
            Some(flow) => ways.flows.insert(self.place.clone(), flow),
            None => ways.flows.remove(&self.place),
        };
        let (way, number) = &self.place;
        let others = ways.flows.iter().filter(|((other, line), _)| other == way && line != number);
        others.fold(Flow::default(), |sum, (_, flow)| Flow {
            needed: BitrateBps(sum.needed.0.saturating_add(flow.needed.0)),
            acked: BitrateBps(sum.acked.0.saturating_add(flow.acked.0)),
        })
    }
}

impl Drop for Exit {
    fn drop(&mut self) {
        self.all.lock().flows.remove(&self.place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(needed: u64, acked: u64) -> Flow {
        Flow { needed: BitrateBps(needed), acked: BitrateBps(acked) }
    }

    #[test]
    fn only_what_leaves_by_the_same_way_counts_and_only_while_it_is_carried() {
        let wire: Destination = "rtmp://a.example/live/key".parse().expect("a URL");
        let radio = Destination { interface: Some("wwan0".into()), ..wire.clone() };
        let exits = Exits::default();
        let (one, two, other) = (exits.join(&wire), exits.join(&wire), exits.join(&radio));
        assert_eq!(one.carries(Some(flow(4, 3))), flow(0, 0));
        assert_eq!(other.carries(Some(flow(9, 9))), flow(0, 0));
        assert_eq!(two.carries(Some(flow(2, 1))), flow(4, 3));
        assert_eq!(one.carries(None), flow(2, 1));
        assert_eq!(two.carries(Some(flow(2, 1))), flow(0, 0));
        drop(two);
        assert_eq!(one.carries(None), flow(0, 0));
    }
}
