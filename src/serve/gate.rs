//! Who may come in: viewers, and pages that follow the events, are counted for the box and for each address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many viewers there may be; 0 is no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) box_max: u32,
    pub(super) address_max: u32,
}

/// Which bound was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    Box,
    Address,
}

#[derive(Debug, Default)]
struct Inside {
    viewers: u32,
    /// Only addresses with viewers.
    by_address: HashMap<IpAddr, u32>,
}

/// The gate.
#[derive(Debug, Clone, Default)]
pub(super) struct Gate(Arc<Mutex<Inside>>);

/// A viewer's place, given back when dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    gate: Gate,
    address: IpAddr,
}

impl Gate {
    /// Takes a place for a viewer from `address`.
    ///
    /// # Errors
    /// When the box or the address has its number. The box is told first: who is turned away by it cannot help it.
    pub(super) fn enter(&self, address: IpAddr, places: Places) -> Result<Ticket, Full> {
        // One person on an IPv4 line is one address, however the socket spells it.
        let address = address.to_canonical();
        let mut inside = self.inside();
        let here = inside.by_address.get(&address).copied().unwrap_or(0);
        if places.box_max != 0 && inside.viewers >= places.box_max {
            return Err(Full::Box);
        }
        if places.address_max != 0 && here >= places.address_max {
            return Err(Full::Address);
        }
        inside.viewers += 1;
        inside.by_address.insert(address, here + 1);
        Ok(Ticket { gate: self.clone(), address })
    }

    /// Viewers inside.
    pub(super) fn viewers(&self) -> u32 {
        self.inside().viewers
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut inside = self.gate.inside();
        inside.viewers -= 1;
        match inside.by_address.get_mut(&self.address) {
            Some(here) if *here > 1 => *here -= 1,
            _ => {
                inside.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_for_the_box_and_for_each_address_and_come_back() {
        let gate = Gate::default();
        let places = Places { box_max: 3, address_max: 2 };
        let [one, two]: [IpAddr; 2] = [[10, 0, 0, 1].into(), [10, 0, 0, 2].into()];
        let mapped: IpAddr = "::ffff:10.0.0.1".parse().expect("an address");
        let first = gate.enter(one, places).expect("a place");
        let _second = gate.enter(mapped, places).expect("a place");
        assert_eq!(gate.enter(one, places).err(), Some(Full::Address));
        let _third = gate.enter(two, places).expect("a place");
        assert_eq!(gate.enter(two, places).err(), Some(Full::Box));
        drop(first);
        assert_eq!(gate.viewers(), 2);
        assert!(gate.enter(one, places).is_ok());
        assert!(gate.enter(one, Places { box_max: 0, address_max: 0 }).is_ok());
    }
}
