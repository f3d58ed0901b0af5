//! Quantities as people write them: `"4Mbit/s"`, `"500ms"`, `"64MiB"`, `"1920x1080"`, `"30000/1001"`.
//!
//! A number without its unit is refused, never guessed: `750000` is a fine bitrate in bits and a ruinous one
//! in kilobits. Whatever is printed here reads back as the same value; arithmetic is exact, in integers.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::units::{BitrateBps, ByteSize, FrameRate, PictureSize};

/// A unit's name and how many of the smallest unit it is.
type Unit = (&'static str, u64);

/// Decimal, as the trade counts bits.
const BITRATE_UNITS: &[Unit] =
    &[("bit/s", 1), ("kbit/s", 1_000), ("Mbit/s", 1_000_000), ("Gbit/s", 1_000_000_000)];

/// Binary and decimal: both are in use and they are not the same.
const BYTE_UNITS: &[Unit] = &[
    ("B", 1),
    ("kB", 1_000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
];

/// In nanoseconds. `m` is a minute, as in systemd and Go.
const PERIOD_UNITS: &[Unit] = &[
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 3_600 * 1_000_000_000),
    ("d", 86_400 * 1_000_000_000),
];

/// Digits a number may have; more is a slip of the hand, and `u128` holds this many times any unit.
const DIGITS_MAX: usize = 18;

/// Television's rates are whole rates slowed by 1000/1001 (29.97 is 30000/1001).
const NTSC: u64 = 1001;

/// A length of time as text: `"500ms"`, `"2s"`, `"1m"`. At most some 584 years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period(pub Duration);

/// Why a text is not the quantity that was wanted. Reads on after the quoted text: `"750000" has no unit`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// No text at all.
    #[error("is empty")]
    Empty,
    /// A bare number.
    #[error("has no unit")]
    NoUnit,
    /// A unit that is not one of this quantity's.
    #[error("has the unit {unit:?}, which is not known here{}", meant(*.nearest))]
    UnknownUnit {
        /// As written, cut to a readable length.
        unit: String,
        /// What was probably meant.
        nearest: Option<&'static str>,
    },
    /// What stands before the unit is no number.
    #[error("does not begin with a number such as 4 or 2.5")]
    NotANumber,
    /// Below nought.
    #[error("is negative")]
    Negative,
    /// A fraction of the smallest unit.
    #[error("is finer than the smallest unit")]
    TooFine,
    /// More than can be counted.
    #[error("is too large")]
    TooLarge,
    /// Not `WIDTHxHEIGHT`.
    #[error("is not a width and a height with an x between them")]
    NotASize,
    /// Not a whole number, a decimal or a fraction.
    #[error("is not a whole number, a decimal or a fraction of frames a second")]
    NotARate,
    /// A size or a rate of nought.
    #[error("is nought")]
    Nought,
}

impl FromStr for BitrateBps {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<BitrateBps, QuantityError> {
        parse_scaled(text, BITRATE_UNITS).map(BitrateBps)
    }
}

impl fmt::Display for BitrateBps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Three decimals at most: 1.5Mbit/s reads better than 1500kbit/s.
        let largest = BITRATE_UNITS
            .iter()
            .rev()
            .find(|(_, unit)| self.0 >= *unit && self.0.is_multiple_of((unit / 1_000).max(1)));
        let (name, unit) = largest.copied().unwrap_or(BITRATE_UNITS[0]);
        let (whole, thousandths) = (self.0 / unit, self.0 % unit / (unit / 1_000).max(1));
        if thousandths == 0 {
            return write!(f, "{whole}{name}");
        }
        write!(f, "{whole}.{}{name}", format!("{thousandths:03}").trim_end_matches('0'))
    }
}

impl FromStr for ByteSize {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<ByteSize, QuantityError> {
        parse_scaled(text, BYTE_UNITS).map(ByteSize)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_whole(f, self.0, BYTE_UNITS, "B")
    }
}

impl FromStr for Period {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Period, QuantityError> {
        parse_scaled(text, PERIOD_UNITS).map(|nanos| Period(Duration::from_nanos(nanos)))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_whole(f, u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX), PERIOD_UNITS, "s")
    }
}

impl FromStr for PictureSize {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<PictureSize, QuantityError> {
        if text.trim().is_empty() {
            return Err(QuantityError::Empty);
        }
        let (width, height) = text.trim().split_once('x').ok_or(QuantityError::NotASize)?;
        let side = |text: &str| match parse_digits(text) {
            Some(0) => Err(QuantityError::Nought),
            Some(pixels) => u32::try_from(pixels).map_err(|_| QuantityError::TooLarge),
            None => Err(QuantityError::NotASize),
        };
        Ok(PictureSize { width: side(width)?, height: side(height)? })
    }
}

impl FromStr for FrameRate {
    type Err = QuantityError;

    /// Reads `30`, `12.5`, `29.97` (television's 30000/1001) or `30000/1001`; the fraction is reduced.
    fn from_str(text: &str) -> Result<FrameRate, QuantityError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(QuantityError::Empty);
        }
        if text.starts_with('-') {
            return Err(QuantityError::Negative);
        }
        if let Some((num, den)) = text.split_once('/') {
            let part = |text: &str| parse_digits(text.trim()).ok_or(QuantityError::NotARate);
            return reduced(part(num)?, part(den)?);
        }
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let places = u32::try_from(decimals.len()).map_err(|_| QuantityError::TooFine)?;
        if places > 6 {
            return Err(QuantityError::TooFine);
        }
        let whole = parse_digits(whole).ok_or(QuantityError::NotARate)?;
        let decimals = parse_digits(decimals).ok_or(QuantityError::NotARate)?;
        if whole > u64::from(u32::MAX) {
            return Err(QuantityError::TooLarge);
        }
        let scale = 10_u64.pow(places);
        let scaled = whole * scale + decimals;
        // 29.97, 59.94, 23.976: what the written digits round to is what was meant.
        let television = (whole + 1) * 1_000;
        if places >= 2 && (2 * television * scale + NTSC) / (2 * NTSC) == scaled {
            return reduced(television, NTSC);
        }
        reduced(scaled, scale)
    }
}

/// A fraction in its lowest terms.
fn reduced(num: u64, den: u64) -> Result<FrameRate, QuantityError> {
    if num == 0 || den == 0 {
        return Err(QuantityError::Nought);
    }
    let (mut divisor, mut rest) = (num, den);
    while rest != 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    let narrow = |part: u64| u32::try_from(part / divisor).map_err(|_| QuantityError::TooLarge);
    Ok(FrameRate { num: narrow(num)?, den: narrow(den)? })
}

/// A plain number in ASCII digits: no sign, no spaces, not too long.
fn parse_digits(text: &str) -> Option<u64> {
    let plain =
        !text.is_empty() && text.len() <= DIGITS_MAX && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

/// Reads a number and its unit into so many of the smallest unit, exactly.
fn parse_scaled(text: &str, units: &'static [Unit]) -> Result<u64, QuantityError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(QuantityError::Empty);
    }
    if text.starts_with(['-', '\u{2212}']) {
        return Err(QuantityError::Negative);
    }
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = (&text[..end], text[end..].trim_start());
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    if whole.len() > DIGITS_MAX {
        return Err(QuantityError::TooLarge);
    }
    if decimals.len() > DIGITS_MAX {
        return Err(QuantityError::TooFine);
    }
    let (Some(whole), Some(fraction)) = (parse_digits(whole), parse_digits(decimals)) else {
        return Err(QuantityError::NotANumber);
    };
    if unit.is_empty() {
        return Err(QuantityError::NoUnit);
    }
    let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        return Err(QuantityError::UnknownUnit { unit: readable(unit), nearest: nearest_unit(unit, units) });
    };
    let factor = u128::from(*factor);
    let scale = 10_u128.pow(decimals.len() as u32);
    let parts = u128::from(fraction) * factor;
    if parts % scale != 0 {
        return Err(QuantityError::TooFine);
    }
    u64::try_from(u128::from(whole) * factor + parts / scale).map_err(|_| QuantityError::TooLarge)
}

/// What was probably meant: the same letters in another case first (`KB`, `mbit/s`), then the common spellings.
fn nearest_unit(unit: &str, units: &'static [Unit]) -> Option<&'static str> {
    let plain = unit.to_ascii_lowercase();
    let spelled = match plain.as_str() {
        "bps" | "b/s" | "bit" | "bits" => "bit/s",
        "k" | "kb" | "kbps" | "kb/s" | "kbit" | "kbits" => "kbit/s",
        "mbps" | "mb/s" | "mbit" | "mbits" => "Mbit/s",
        "sec" | "secs" | "second" | "seconds" => "s",
        "min" | "mins" | "minute" | "minutes" => "m",
        "hour" | "hours" => "h",
        "day" | "days" => "d",
        "msec" | "millis" | "milliseconds" => "ms",
        "byte" | "bytes" => "B",
        other => other,
    };
    let named =
        |name: &str| units.iter().map(|(known, _)| *known).find(|known| known.eq_ignore_ascii_case(name));
    let prefixed = |name: &str| {
        units.iter().map(|(known, _)| *known).find(|known| {
            name.chars().next().zip(known.chars().next()).is_some_and(|(a, b)| a.eq_ignore_ascii_case(&b))
        })
    };
    named(&plain).or_else(|| named(spelled)).or_else(|| prefixed(&plain))
}

/// Prints in the unit that gives the smallest whole number, so that it reads back the same.
fn write_whole(f: &mut fmt::Formatter<'_>, value: u64, units: &[Unit], nought: &str) -> fmt::Result {
    if value == 0 {
        return write!(f, "0{nought}");
    }
    let fitting = units.iter().filter(|(_, unit)| value.is_multiple_of(*unit)).max_by_key(|(_, unit)| *unit);
    let (name, unit) = fitting.copied().unwrap_or((nought, 1));
    write!(f, "{}{name}", value / unit)
}

fn readable(text: &str) -> String {
    text.chars().take(24).collect()
}

fn meant(nearest: Option<&'static str>) -> String {
    nearest.map(|unit| format!(" (did you mean {unit}?)")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_bitrate_without_its_unit_is_refused_not_guessed() {
        for (text, want) in [
            ("750kbit/s", Ok(BitrateBps(750_000))),
            ("4Mbit/s", Ok(BitrateBps(4_000_000))),
            (" 4 Mbit/s ", Ok(BitrateBps(4_000_000))),
            ("2.5Mbit/s", Ok(BitrateBps(2_500_000))),
            ("1bit/s", Ok(BitrateBps(1))),
            ("750000", Err(QuantityError::NoUnit)),
            ("", Err(QuantityError::Empty)),
            ("-4Mbit/s", Err(QuantityError::Negative)),
            ("0.5bit/s", Err(QuantityError::TooFine)),
            ("fast", Err(QuantityError::NotANumber)),
            ("1.2.3Mbit/s", Err(QuantityError::NotANumber)),
            (".5Mbit/s", Err(QuantityError::NotANumber)),
            ("99999999999999999Gbit/s", Err(QuantityError::TooLarge)),
            ("999999999999999999999999bit/s", Err(QuantityError::TooLarge)),
        ] {
            assert_eq!(text.parse::<BitrateBps>(), want, "{text}");
        }
    }

    #[test]
    fn a_unit_that_is_nearly_right_is_named() {
        for (text, want) in
            [("4mbit/s", "Mbit/s"), ("4Mbps", "Mbit/s"), ("750K", "kbit/s"), ("4Gb", "Gbit/s")]
        {
            let error = text.parse::<BitrateBps>().expect_err(text);
            assert!(error.to_string().contains(&format!("did you mean {want}?")), "{text}: {error}");
        }
        assert!("64mib".parse::<ByteSize>().expect_err("case").to_string().contains("MiB"));
        assert!("2sec".parse::<Period>().expect_err("spelling").to_string().contains("did you mean s?"));
    }

    #[test]
    fn lengths_of_time_and_memory_say_what_they_are() {
        for (text, nanos) in
            [("2s", 2_000_000_000), ("500ms", 500_000_000), ("1m", 60_000_000_000), ("0s", 0)]
        {
            assert_eq!(text.parse(), Ok(Period(Duration::from_nanos(nanos))), "{text}");
        }
        for (text, bytes) in [("64MiB", 64 << 20), ("64MB", 64_000_000), ("1.5KiB", 1_536), ("0B", 0)] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
    }

    #[test]
    fn quantities_print_as_a_person_would_write_them() {
        assert_eq!(BitrateBps(1_500_000).to_string(), "1.5Mbit/s");
        assert_eq!(BitrateBps(750_000).to_string(), "750kbit/s");
        assert_eq!(BitrateBps(1_234_567).to_string(), "1234.567kbit/s");
        assert_eq!(ByteSize(64_000_000).to_string(), "64MB");
        assert_eq!(ByteSize(64 << 20).to_string(), "64MiB");
        assert_eq!(Period(Duration::from_secs(90)).to_string(), "90s");
        assert_eq!(Period(Duration::from_secs(120)).to_string(), "2m");
        assert_eq!(Period(Duration::ZERO).to_string(), "0s");
    }

    #[test]
    fn televisions_rates_are_exact_fractions() {
        for (text, num, den) in [
            ("30", 30, 1),
            ("29.97", 30_000, 1_001),
            ("23.976", 24_000, 1_001),
            ("23.98", 24_000, 1_001),
            ("59.94", 60_000, 1_001),
            ("30.0", 30, 1),
            ("12.5", 25, 2),
            ("30000/1001", 30_000, 1_001),
            ("60/2", 30, 1),
        ] {
            assert_eq!(text.parse(), Ok(FrameRate { num, den }), "{text}");
        }
        for (text, want) in [
            ("0", QuantityError::Nought),
            ("30/0", QuantityError::Nought),
            ("-30", QuantityError::Negative),
            ("thirty", QuantityError::NotARate),
            ("1e3", QuantityError::NotARate),
            ("nan", QuantityError::NotARate),
            ("99999999999", QuantityError::TooLarge),
        ] {
            assert_eq!(text.parse::<FrameRate>(), Err(want), "{text}");
        }
    }

    #[test]
    fn a_picture_size_is_two_numbers_with_an_x() {
        assert_eq!("1920x1080".parse(), Ok(PictureSize { width: 1920, height: 1080 }));
        for (text, want) in [
            ("1920", QuantityError::NotASize),
            ("1920*1080", QuantityError::NotASize),
            ("x1080", QuantityError::NotASize),
            ("1920x1080x3", QuantityError::NotASize),
            ("0x1080", QuantityError::Nought),
            ("99999999999x2", QuantityError::TooLarge),
        ] {
            assert_eq!(text.parse::<PictureSize>(), Err(want), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back_as_the_same_value(value: u64, width in 1_u32.., height in 1_u32.., num in 1_u64..1 << 32, den in 1_u64..1 << 32) {
            // Up to 18 digits are read; more bits or bytes than that are no setting of anything.
            let value = value % 1_000_000_000_000_000_000;
            prop_assert_eq!(BitrateBps(value).to_string().parse(), Ok(BitrateBps(value)));
            prop_assert_eq!(ByteSize(value).to_string().parse(), Ok(ByteSize(value)));
            let period = Period(Duration::from_nanos(value));
            prop_assert_eq!(period.to_string().parse(), Ok(period));
            let size = PictureSize { width, height };
            prop_assert_eq!(size.to_string().parse(), Ok(size));
            let rate = reduced(num, den).expect("both are in range");
            prop_assert_eq!(rate.to_string().parse(), Ok(rate));
        }

        #[test]
        fn no_text_makes_a_quantity_panic(text in "\\PC{0,40}|[-0-9./xkMGibsm ]{0,30}") {
            let _ = text.parse::<BitrateBps>();
            let _ = text.parse::<ByteSize>();
            let _ = text.parse::<Period>();
            let _ = text.parse::<PictureSize>();
            let _ = text.parse::<FrameRate>();
        }
    }
}
