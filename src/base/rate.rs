//! How much each address may ask for in a time: a token bucket for each, in a table of bounded size.
//!
//! Pure: the time is handed in. A bucket is kept as one instant, the one at which it will be full again; it is full
//! from then on, so that what need not be known about an address need not be kept. That is the "generic cell rate
//! algorithm" of ITU-T I.371, which counts like a bucket of tokens and never has to refill one.

use core::net::{IpAddr, Ipv6Addr};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Addresses in the table, at most: some 2 MB. A studio has hundreds; who has more of them is not a studio.
const ADDRESSES_MAX: usize = 16_384;

/// How many buckets a newcomer looks at for one that need not be kept: spread over the table, since those who run dry
/// together came together and lie side by side.
const LOOKS: usize = 8;

/// What may be saved up by who asks for nothing: this much time's worth.
const SAVED_UP: u32 = 2;

/// Bounds how much each address asks for. IPv4 addresses count one by one, and IPv6 addresses that lead nowhere but to
/// this network: there one /64 holds everybody in the studio. Others count by /64, which is what one line gets.
///
/// At the bound of the table a newcomer takes the place of the fullest of eight others, whose owners lose least by
/// it: a bucket that is full is as good as none. Who has run dry is forgotten only where all eight have.
#[derive(Debug)]
pub struct Rate {
    /// `None`: no bound.
    limit: Option<Limit>,
    addresses_max: usize,
    /// Where in `buckets` each address has its own.
    places: HashMap<IpAddr, usize>,
    buckets: Vec<Bucket>,
    /// The bucket that the next newcomer looks at first; goes round.
    hand: usize,
}

#[derive(Debug, Clone, Copy)]
struct Limit {
    /// One token comes in this time.
    every: Duration,
    /// An empty bucket is full after this time.
    depth: Duration,
}

#[derive(Debug)]
struct Bucket {
    of: IpAddr,
    full_at: Instant,
}

impl Rate {
    /// `rate` a second, and two seconds' worth at once; 0: no bound.
    pub fn per_second(rate: u32) -> Rate {
        Rate { limit: limit_per_second(rate), ..Rate::one_in(Duration::ZERO, 1) }
    }

    /// One `every` so often, and `burst` (no less than one) at once.
    pub fn one_in(every: Duration, burst: u32) -> Rate {
        Rate {
            limit: Some(Limit { every, depth: every.saturating_mul(burst.max(1)) }),
            addresses_max: ADDRESSES_MAX,
            places: HashMap::new(),
            buckets: Vec::new(),
            hand: 0,
        }
    }

    /// Another rate from here on, as [`Rate::per_second`] takes it. What addresses have used up counts on.
    pub fn set_per_second(&mut self, rate: u32) {
        self.limit = limit_per_second(rate);
    }

    /// Takes one token for `address`. `now` never runs backwards.
    ///
    /// # Errors
    /// The time after which there is one again; nothing was taken then.
    pub fn take(&mut self, now: Instant, address: IpAddr) -> Result<(), Duration> {
        let Some(limit) = self.limit else { return Ok(()) };
        let of = network(address);
        match self.places.get(&of) {
            Some(&place) => {
                let bucket = &mut self.buckets[place];
                bucket.full_at = limit.after_one(now, bucket.full_at)?;
            }
            None => self.admit(now, Bucket { of, full_at: limit.after_one(now, now)? }),
        }
        Ok(())
    }

    /// Whether [`Rate::take`] would be refused now; takes nothing.
    ///
    /// # Errors
    /// As [`Rate::take`].
    pub fn look(&self, now: Instant, address: IpAddr) -> Result<(), Duration> {
        let (Some(limit), Some(&place)) = (self.limit, self.places.get(&network(address))) else {
            return Ok(());
        };
        limit.after_one(now, self.buckets[place].full_at).map(drop)
    }

    /// Finds a place for a newcomer: a full bucket's if one is looked at, a new one while there is room, else that of
    /// the fullest that is looked at.
    fn admit(&mut self, now: Instant, newcomer: Bucket) {
        let count = self.buckets.len();
        let apart = (count / LOOKS).max(1);
        let at_hand = (0..LOOKS.min(count)).map(|step| (self.hand + step * apart) % count);
        let fullest = at_hand.min_by_key(|&place| self.buckets[place].full_at);
        let place = match fullest {
            Some(place) if count >= self.addresses_max || self.buckets[place].full_at <= now => place,
            _ => {
                self.places.insert(newcomer.of, count);
                self.buckets.push(newcomer);
                return;
            }
        };
        self.hand = (self.hand + 1) % count;
        self.places.remove(&self.buckets[place].of);
        self.places.insert(newcomer.of, place);
        self.buckets[place] = newcomer;
    }
}

impl Limit {
    /// When a bucket is full again after one more token was taken from it.
    fn after_one(self, now: Instant, full_at: Instant) -> Result<Instant, Duration> {
        let full_at = full_at.max(now) + self.every;
        match full_at.saturating_duration_since(now).saturating_sub(self.depth) {
            Duration::ZERO => Ok(full_at),
            wait => Err(wait),
        }
    }
}

fn limit_per_second(rate: u32) -> Option<Limit> {
    let every = Duration::from_secs(1).checked_div(rate)?;
    Some(Limit { every, depth: every * rate.saturating_mul(SAVED_UP) })
}

/// Whose bucket it is: an IPv4 address, however the socket spells it, an IPv6 address of this network alone (unique
/// local, RFC 4193; link-local), or the /64 of another.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if address.is_unique_local() || address.is_unicast_link_local() => {
            IpAddr::V6(address)
        }
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::base::clock;

    const MS: Duration = Duration::from_millis(1);

    fn address(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    /// How many of `tries` at one moment are let through.
    fn passing(rate: &mut Rate, now: Instant, address: IpAddr, tries: usize) -> usize {
        (0..tries).filter(|_| rate.take(now, address).is_ok()).count()
    }

    fn check_invariants(rate: &Rate) {
        assert!(rate.buckets.len() <= rate.addresses_max);
        assert_eq!(rate.places.len(), rate.buckets.len());
        for (of, &place) in &rate.places {
            assert_eq!(rate.buckets[place].of, *of);
        }
    }

    #[test]
    fn two_seconds_worth_pass_at_once_and_then_what_the_rate_gives() {
        let (mut rate, start) = (Rate::per_second(20), clock::now());
        assert_eq!(passing(&mut rate, start, address(1), 100), 40);
        assert_eq!(rate.take(start, address(1)), Err(50 * MS));
        assert_eq!(rate.look(start, address(1)), Err(50 * MS));
        assert_eq!(rate.look(start + 50 * MS, address(1)), Ok(()), "looking takes nothing");
        assert_eq!(passing(&mut rate, start + 50 * MS, address(1), 9), 1);
        assert_eq!(passing(&mut rate, start + 1_050 * MS, address(1), 99), 20);
        assert_eq!(passing(&mut rate, start + 60_000 * MS, address(1), 99), 40, "no more is saved up");
        assert_eq!(passing(&mut rate, start, address(2), 99), 40, "others have their own");
    }

    #[test]
    fn zero_is_no_bound_and_keeps_nothing() {
        let (mut rate, now) = (Rate::per_second(0), clock::now());
        assert_eq!(passing(&mut rate, now, address(1), 10_000), 10_000);
        assert!(rate.buckets.is_empty());
        rate.set_per_second(1);
        assert_eq!(passing(&mut rate, now, address(1), 10), 2);
        rate.set_per_second(0);
        assert_eq!(passing(&mut rate, now, address(1), 10), 10);
    }

    #[test]
    fn one_line_is_one_address_however_it_is_spelt() {
        let (mut rate, now) = (Rate::one_in(1_000 * MS, 1), clock::now());
        for (first, second, same) in [
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.2", "::ffff:10.0.0.2", true),
            ("10.0.0.3", "10.0.0.4", false),
            ("2001:db8::1", "2001:db8::ffff:2", true),
            ("2001:db8:0:1::1", "2001:db8:0:2::1", false),
            ("fd00::1", "fd00::2", false),
            ("fe80::1", "fe80::2", false),
            ("fe80::3", "fe80::3", true),
        ] {
            assert_eq!(rate.take(now, first.parse().unwrap()), Ok(()), "{first}");
            assert_eq!(rate.take(now, second.parse().unwrap()).is_err(), same, "{first} {second}");
        }
    }

    #[test]
    fn any_rate_can_be_asked_for() {
        let now = clock::now();
        for rate in [1, 3, 7, 1_000_000, u32::MAX / 2, u32::MAX] {
            let mut bound = Rate::per_second(rate);
            assert_eq!(bound.take(now, address(1)), Ok(()), "{rate}");
        }
        assert_eq!(passing(&mut Rate::one_in(1_000 * MS, 0), now, address(1), 9), 1);
    }

    #[test]
    fn a_flood_of_addresses_neither_grows_the_table_nor_frees_who_has_run_dry() {
        let (mut rate, start) = (Rate::per_second(10), clock::now());
        rate.addresses_max = 1_000;
        for dry in 0..20 {
            assert_eq!(passing(&mut rate, start, address(dry), 99), 20);
        }
        for flood in 0..50_000 {
            assert_eq!(rate.take(start, address(1 << 20 | flood)), Ok(()), "a newcomer is let in");
        }
        check_invariants(&rate);
        assert_eq!(rate.buckets.len(), 1_000);
        for dry in 0..20 {
            assert!(rate.take(start, address(dry)).is_err(), "{dry} was forgotten");
        }
    }

    #[test]
    fn who_comes_now_and_then_costs_no_room() {
        let (mut rate, start) = (Rate::per_second(10), clock::now());
        for number in 0..100_000 {
            assert_eq!(rate.take(start + number * 10 * MS, address(number)), Ok(()));
        }
        check_invariants(&rate);
        assert!(rate.buckets.len() < 50, "{}", rate.buckets.len());
    }

    proptest! {
        /// In every span of time an address gets its burst and what the rate gave meanwhile, no more; and it is let in
        /// again exactly when it was told.
        #[test]
        fn nobody_gets_more_than_the_rate_gives(
            per_second in 1u32..50,
            addresses_max in 1usize..40,
            asks in vec((0u64..300, 0u32..30), 1..400),
        ) {
            let (mut rate, mut now) = (Rate::per_second(per_second), clock::now());
            rate.addresses_max = addresses_max;
            let mut got: HashMap<u32, Vec<Instant>> = HashMap::new();
            let mut seen = HashSet::new();
            for (millis, who) in asks {
                now += Duration::from_millis(millis);
                seen.insert(who);
                let told = rate.look(now, address(who));
                let taken = rate.take(now, address(who));
                prop_assert_eq!(told, taken);
                match taken {
                    Ok(()) => got.entry(who).or_default().push(now),
                    Err(wait) => {
                        let too_early = wait.saturating_sub(Duration::from_nanos(1));
                        prop_assert!(rate.look(now + too_early, address(who)).is_err());
                        prop_assert!(rate.look(now + wait, address(who)).is_ok());
                    }
                }
                check_invariants(&rate);
            }
            // Where nobody had to be forgotten, the bound holds for everybody.
            if seen.len() <= addresses_max {
                for times in got.values() {
                    for (first, from) in times.iter().enumerate() {
                        for (count, to) in (1u32..).zip(&times[first..]) {
                            let given = to.duration_since(*from).as_secs_f64() * f64::from(per_second);
                            prop_assert!(f64::from(count) <= f64::from(2 * per_second) + given + 1e-3);
                        }
                    }
                }
            }
        }
    }
}
