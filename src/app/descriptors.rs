//! How many files and sockets the system lets footlight have open at once.
//!
//! Every connection takes one. Systems give a process 1,024 to begin with (the soft limit) and let it ask for more
//! (up to the hard one), so that is asked for; a hard limit that is too low is told of in words before the
//! first buyer is turned away by it.

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::{debug, warn};

/// What is open beside connections: eight lines of each of 64 outputs, and as much again for cameras, codecs, the
/// database, and clients that are being refused.
const BESIDE_CONNECTIONS: u64 = 1_024;

/// What to do about a soft and a hard limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Plan {
    /// What the soft limit is to become, if it must grow.
    raise_to: Option<u64>,
    /// Connections that the hard limit leaves room for, if those are fewer than wanted.
    room_for: Option<u64>,
}

/// Makes room for `connections`, as far as the system allows, and warns where that is too little. What others set
/// higher stays as it is.
pub(super) fn make_room(connections: u32) {
    let (soft, hard) = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok(limits) => limits,
        Err(cause) => return debug!(%cause, "the system does not tell how many files may be open"),
    };
    let plan = plan(soft, hard, connections);
    let raised = plan.raise_to.map_or(Ok(()), |soft| setrlimit(Resource::RLIMIT_NOFILE, soft, hard));
    tell(connections, hard, plan, raised);
}

fn plan(soft: u64, hard: u64, connections: u32) -> Plan {
    let wanted = u64::from(connections) + BESIDE_CONNECTIONS;
    let reachable = wanted.min(hard);
    Plan {
        raise_to: (soft < reachable).then_some(reachable),
        room_for: (hard < wanted).then_some(hard.saturating_sub(BESIDE_CONNECTIONS)),
    }
}

fn tell(connections: u32, hard: u64, plan: Plan, raised: Result<(), Errno>) {
    if let Err(cause) = raised {
        warn!(
            %cause,
            "the system does not let footlight have more files open, so fewer connections than \
             http.max_connections ({connections}) may find a place"
        );
    } else if let Some(room_for) = plan.room_for {
        warn!(
            "the system lets footlight have {hard} files open: safe room for {room_for} connections, not for \
             http.max_connections ({connections}); raise the limit (LimitNOFILE= in a systemd unit, ulimit -Hn in a \
             shell, --ulimit nofile= for a container), or lower http.max_connections"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_as_far_as_it_is_needed_and_the_system_allows() {
        for (soft, hard, connections, raise_to, room_for) in [
            (1_024, 524_288, 10_000, Some(11_024), None),
            (1_024, u64::MAX, 60_000, Some(61_024), None),
            (20_000, 524_288, 10_000, None, None),
            (u64::MAX, u64::MAX, 60_000, None, None),
            (1_024, 4_096, 10_000, Some(4_096), Some(3_072)),
            (4_096, 4_096, 10_000, None, Some(3_072)),
            (64, 64, 10_000, None, Some(0)),
            (1_024, 11_024, 10_000, Some(11_024), None),
        ] {
            let want = Plan { raise_to, room_for };
            assert_eq!(plan(soft, hard, connections), want, "{soft} {hard} {connections}");
        }
    }
}
