//! What `footlight` tells the shell, systemd and fleet tools when it ends.
//!
//! These numbers are a promise: units restart on 1, wait for a person on 2, and say so on 3.

/// It did what it was asked to do.
pub const OK: u8 = 0;
/// It failed while running: starting it again may help.
pub const FAILURE: u8 = 1;
/// The configuration or the command line is wrong: a person must change it, starting again will not help.
pub const CONFIGURATION: u8 = 2;
/// The machine does not give what the configuration asks for: the address is taken, the data folder cannot
/// be written, what is kept there cannot be read.
pub const ENVIRONMENT: u8 = 3;
/// An audit found something that is not as it must be: a person must look at it.
pub const AUDIT: u8 = 4;

/// A second signal cut the stop short: what the shell shows for a process that the signal killed.
pub const fn by_signal(signal: i32) -> i32 {
    128 + signal
}
