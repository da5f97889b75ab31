//! Money held for a request, or standing by for times when metering is away.

use std::sync::Arc;

use crate::{budget::Amount, limit::Bucket, subject::Subject};

/// Parts of a nano-dollar in which the price of one token is kept.
const PICO_PER_NANO: i128 = 1_000;

/// What a request may cost at most, at the dearest target that it may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quote {
    /// Input tokens as counted.
    pub(crate) input_tokens: i64,
    /// Output tokens at most.
    pub(crate) output_tokens: i64,
    /// The cost without any output.
    pub(crate) fixed_nanousd: i64,
    /// The cost of one output token, in pico-dollars, rounded up.
    pub(crate) output_picousd: i64,
}

impl Quote {
    /// The cost up to a number of output tokens, rounded up.
    pub(crate) fn amount(&self, output_tokens: i64) -> Amount {
        Amount {
            nanousd: self.fixed_nanousd.saturating_add(cost(output_tokens, self.output_picousd)),
            tokens: self.input_tokens.saturating_add(output_tokens),
        }
    }

    /// The most output tokens that so much money pays for; `None` when not even the input is paid for.
    pub(crate) fn affordable(&self, nanousd: i64) -> Option<i64> {
        let left = nanousd.checked_sub(self.fixed_nanousd).filter(|left| *left >= 0)?;
        if self.output_picousd == 0 {
            return Some(i64::MAX);
        }
        let tokens = i128::from(left) * PICO_PER_NANO / i128::from(self.output_picousd);
        Some(i64::try_from(tokens).unwrap_or(i64::MAX))
    }
}

/// The cost of tokens at a price in pico-dollars each, rounded up to nano-dollars.
pub(crate) fn cost(tokens: i64, picousd: i64) -> i64 {
    let pico = i128::from(tokens) * i128::from(picousd);
    i64::try_from((pico + PICO_PER_NANO - 1).div_euclid(PICO_PER_NANO)).unwrap_or(i64::MAX)
}

/// What a reservation is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// One request; the reservation's id is the request's.
    Request,
    /// An allowance of this gateway replica.
    Standing(Arc<str>),
}

/// Money held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reservation {
    pub(crate) id: Arc<str>,
    pub(crate) purpose: Purpose,
    pub(crate) subject: Arc<Subject>,
    /// When it was made.
    pub(crate) made_unix_ms: i64,
    /// What is held and not spent yet.
    pub(crate) held: Amount,
    pub(crate) input_tokens: i64,
    /// Output tokens granted; 0 where nothing limits them.
    pub(crate) granted_output_tokens: i64,
    /// Up to where the grant may be extended, where it is only a first slice; else 0.
    pub(crate) most_output_tokens: i64,
    /// The price of further output.
    pub(crate) output_picousd: i64,
    /// The budgets in which it is held.
    pub(crate) budgets: Vec<i64>,
    /// The buckets of rate limits that it went through.
    pub(crate) buckets: Vec<Bucket>,
    /// The last extension granted.
    pub(crate) extension: u32,
    /// When it returns by itself.
    pub(crate) expires_unix_ms: i64,
}

impl Reservation {
    /// Whether it stands for times when metering is away.
    pub(crate) fn is_standing(&self) -> bool {
        matches!(self.purpose, Purpose::Standing(_))
    }

    /// What callers are told of it.
    pub(crate) fn told(&self) -> Told {
        Told {
            id: Arc::clone(&self.id),
            amount_nanousd: self.held.nanousd,
            granted_output_tokens: self.granted_output_tokens,
            most_output_tokens: self.most_output_tokens,
            output_picousd: self.output_picousd,
            expires_unix_ms: self.expires_unix_ms,
        }
    }
}

/// What callers are told of a reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) id: Arc<str>,
    pub(crate) amount_nanousd: i64,
    pub(crate) granted_output_tokens: i64,
    /// Up to where the grant may be extended; 0 where it is all.
    pub(crate) most_output_tokens: i64,
    pub(crate) output_picousd: i64,
    pub(crate) expires_unix_ms: i64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_affordable_is_afforded_and_not_a_token_more(
            fixed in 0i64..1_000_000, pico in 1i64..100_000_000, money in 0i64..10_000_000_000
        ) {
            let quote = Quote { input_tokens: 7, output_tokens: 1, fixed_nanousd: fixed, output_picousd: pico };
            match quote.affordable(money) {
                None => prop_assert!(fixed > money),
                Some(tokens) => {
                    prop_assert!(quote.amount(tokens).nanousd <= money);
                    prop_assert!(quote.amount(tokens + 1).nanousd > money);
                }
            }
        }
    }
}
