//! Nano-dollars for people.

/// Nano-dollars per dollar.
const DOLLAR: i64 = 1_000_000_000;

/// Writes an amount in dollars with as many digits as it needs, at least two: `$0.00`, `$0.000123`, `$12.50`.
pub(crate) fn dollars(nanousd: i64) -> String {
    let sign = if nanousd < 0 { "-" } else { "" };
    let amount = nanousd.unsigned_abs();
    let dollar = DOLLAR.unsigned_abs();
    let digits = format!("{:09}", amount % dollar);
    let digits = digits.trim_end_matches('0');
    format!("{sign}${}.{digits:0<2}", amount / dollar)
}

#[cfg(test)]
mod tests {
    #[test]
    fn writes_every_digit_that_counts() {
        for (nanousd, text) in [
            (0, "$0.00"),
            (123_000, "$0.000123"),
            (12_500_000_000, "$12.50"),
            (1, "$0.000000001"),
            (-10_000_000, "-$0.01"),
        ] {
            assert_eq!(super::dollars(nanousd), text);
        }
    }
}
