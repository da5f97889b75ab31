//! The `grpc-timeout` header: at most eight digits and a unit.
//!
//! Format: <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use crate::metadata::GRPC_TIMEOUT;

const MOST: u128 = 99_999_999;

/// Reads the time a caller allows. A malformed value counts as none, as other implementations have it.
pub(crate) fn read(headers: &HeaderMap) -> Option<Duration> {
    parse(headers.get(GRPC_TIMEOUT)?.as_bytes())
}

/// Writes the time that is left.
pub(crate) fn write(headers: &mut HeaderMap, left: Duration) {
    let mut text = [0; 9];
    let length = format(left, &mut text);
    if let Ok(value) = HeaderValue::from_bytes(&text[..length]) {
        headers.insert(GRPC_TIMEOUT, value);
    }
}

fn parse(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    let mut number = 0u64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        number = number * 10 + u64::from(digit - b'0');
    }
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// Formats in the finest unit that fits, rounding down: the callee never believes it has longer than the caller waits.
fn format(left: Duration, text: &mut [u8; 9]) -> usize {
    let (mut number, unit) = if left.as_micros() <= MOST {
        (left.as_micros(), b'u')
    } else if left.as_millis() <= MOST {
        (left.as_millis(), b'm')
    } else {
        (u128::from(left.as_secs()).min(MOST), b'S')
    };
    let mut digits = [0; 8];
    let mut from = digits.len();
    loop {
        from -= 1;
        digits[from] = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    let length = digits.len() - from;
    text[..length].copy_from_slice(&digits[from..]);
    text[length] = unit;
    length + 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(left: Duration) -> String {
        let mut text = [0; 9];
        let length = format(left, &mut text);
        String::from_utf8(text[..length].to_vec()).unwrap()
    }

    #[test]
    fn formats_in_the_finest_unit_that_fits() {
        assert_eq!(text(Duration::ZERO), "0u");
        assert_eq!(text(Duration::from_millis(250)), "250000u");
        assert_eq!(text(Duration::from_secs(600)), "600000m");
        assert_eq!(text(Duration::MAX), "99999999S");
    }

    #[test]
    fn reads_every_unit_and_refuses_the_malformed() {
        assert_eq!(parse(b"2H"), Some(Duration::from_secs(7200)));
        assert_eq!(parse(b"3M"), Some(Duration::from_secs(180)));
        assert_eq!(parse(b"4S"), Some(Duration::from_secs(4)));
        assert_eq!(parse(b"5n"), Some(Duration::from_nanos(5)));
        for bad in [&b""[..], b"m", b"1", b"1x", b"-1S", b"123456789S", b"1 S"] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_never_longer(micros in 0u64..400_000_000_000_000) {
            let left = Duration::from_micros(micros);
            let back = parse(text(left).as_bytes()).unwrap();
            prop_assert!(back <= left);
            prop_assert!(left - back < Duration::from_secs(1) || back.as_secs() == 99_999_999);
        }

        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            let _read = parse(&bytes);
        }
    }
}
