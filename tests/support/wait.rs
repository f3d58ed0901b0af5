//! Awaiting events with a deadline.

use std::time::Duration;

use footlight::base::clock;

/// How often a condition that cannot wake us is looked at.
const STEP: Duration = Duration::from_millis(10);

/// Polls until `happened` is true; panics with `what` when it is not within `deadline`.
#[track_caller]
pub fn until(deadline: Duration, what: &str, mut happened: impl FnMut() -> bool) {
    for_some(deadline, what, || happened().then_some(()));
}

/// Polls until `look` finds something; panics with `what` when it does not within `deadline`.
#[track_caller]
pub fn for_some<T>(deadline: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = clock::now() + deadline;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(clock::now() < end, "not within {deadline:?}: {what}");
        pause(STEP);
    }
}

/// One polling step. Nothing may count on its length.
#[expect(clippy::disallowed_methods, reason = "the polling step between two looks at a condition")]
pub fn pause(step: Duration) {
    std::thread::sleep(step);
}
