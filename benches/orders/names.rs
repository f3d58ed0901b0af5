//! What buyers and their requests are called: no two alike, and spread as random ones are.

/// The product that everybody wants.
pub const HOT: &str = "HOT-1";

/// Units of it that no run sells out.
pub const STOCK: i64 = 100_000_000;

/// Mixes all bits of a number (SplitMix64), one to one.
fn mixed(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

/// The idempotency key of a request: as long as a UUID without its dashes.
pub fn key(number: u64) -> String {
    format!("{:016x}{:016x}", mixed(number), mixed(!number))
}

/// The buyer who makes it.
pub fn buyer(number: u64) -> String {
    format!("buyer-{:010x}", mixed(number) >> 24)
}

/// How to reach that buyer.
pub fn contact(number: u64) -> String {
    format!("+86 138 {:08}", mixed(number) % 100_000_000)
}
