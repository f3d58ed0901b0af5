//! Money: minor units of an ISO 4217 currency, never a fraction.
//!
//! Pure.

use std::fmt;

/// More than anything in a shop costs; sums of as many orders as a box ever takes stay far inside `i64`.
pub const AMOUNT_MAX: i64 = 1_000_000_000_000;

/// The active codes of ISO 4217 that name money (no metals, no funds, no test codes).
const CODES: &str = "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD \
    CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD \
    HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD \
    MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR \
    RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS \
    UAH UGX USD UYU UZS VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG";

/// An ISO 4217 code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

/// An amount of a currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Money {
    /// Minor units (cents, fen), from 0 to [`AMOUNT_MAX`].
    pub amount: i64,
    /// What of.
    pub currency: Currency,
}

impl Currency {
    /// Takes a code as it is written: three capital letters, in use.
    pub fn parse(text: &str) -> Option<Currency> {
        let bytes: [u8; 3] = text.as_bytes().try_into().ok()?;
        let known = bytes.iter().all(u8::is_ascii_uppercase) && CODES.split(' ').any(|code| code == text);
        known.then_some(Currency(bytes))
    }

    /// The three letters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("???")
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Money {
    /// This, so many times; nothing if it is beyond [`AMOUNT_MAX`].
    pub fn times(self, quantity: u32) -> Option<Money> {
        let amount = self.amount.checked_mul(i64::from(quantity)).filter(|amount| *amount <= AMOUNT_MAX)?;
        Some(Money { amount, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_currency_is_a_code_that_is_in_use_in_capitals() {
        for code in ["CNY", "EUR", "USD", "JPY", "ZWG"] {
            assert_eq!(Currency::parse(code).expect(code).as_str(), code);
        }
        for code in ["", "cny", "RMB", "ABC", "EURO", "AED AFN", "D A", "ÄÖ"] {
            assert_eq!(Currency::parse(code), None, "{code}");
        }
    }

    #[test]
    fn a_total_that_no_shop_has_is_none_instead_of_wrapping() {
        let yuan = |amount| Money { amount, currency: Currency::parse("CNY").expect("in use") };
        assert_eq!(yuan(1_999).times(3), Some(yuan(5_997)));
        assert_eq!(yuan(AMOUNT_MAX).times(1), Some(yuan(AMOUNT_MAX)));
        assert_eq!(yuan(AMOUNT_MAX).times(2), None);
        assert_eq!(yuan(i64::MAX).times(u32::MAX), None);
    }
}
