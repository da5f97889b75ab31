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

/// Reads dollars: `100`, `$0.5`.
///
/// # Errors
/// Another form, more than nine decimals, or too much.
pub(crate) fn nanousd(text: &str) -> Result<i64, String> {
    let wrong = || format!("`{text}` is no amount in dollars; write it as 100 or 0.5");
    let (whole, part) =
        text.trim_start_matches('$').split_once('.').unwrap_or((text.trim_start_matches('$'), ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || part.len() > 9 || !digits(whole) || !digits(part) {
        return Err(wrong());
    }
    let whole: i64 = whole.parse().map_err(|_| wrong())?;
    let part: i64 = format!("{part:0<9}").parse().map_err(|_| wrong())?;
    whole.checked_mul(DOLLAR).and_then(|whole| whole.checked_add(part)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    #[test]
    fn reads_dollars_exactly() {
        for (text, nanousd) in
            [("100", 100_000_000_000), ("$0.5", 500_000_000), ("0.000000001", 1), ("7.", 7_000_000_000)]
        {
            assert_eq!(super::nanousd(text), Ok(nanousd));
        }
        for wrong in ["", "-1", "1e3", "0.0000000001", "ten", ".5", "99999999999"] {
            assert!(super::nanousd(wrong).is_err(), "{wrong}");
        }
    }

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
