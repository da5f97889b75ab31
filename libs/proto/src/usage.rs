//! The sum of token counts, in one place: a field that is added to [`Usage`] does not compile until it is summed here.

use std::ops::AddAssign;

use crate::common::v1::Usage;

impl AddAssign<&Usage> for Usage {
    /// Adds the counts of another attempt. Whose word the sum is (`source`) stays for the caller to decide.
    fn add_assign(&mut self, more: &Usage) {
        let Usage {
            input_tokens,
            output_tokens,
            cached_input_tokens,
            cache_write_tokens,
            reasoning_tokens,
            audio_input_tokens,
            audio_output_tokens,
            source: _,
            unbilled_input_tokens,
            unbilled_output_tokens,
            cache_write_1h_tokens,
        } = more;
        self.input_tokens += input_tokens;
        self.output_tokens += output_tokens;
        self.cached_input_tokens += cached_input_tokens;
        self.cache_write_tokens += cache_write_tokens;
        self.reasoning_tokens += reasoning_tokens;
        self.audio_input_tokens += audio_input_tokens;
        self.audio_output_tokens += audio_output_tokens;
        self.unbilled_input_tokens += unbilled_input_tokens;
        self.unbilled_output_tokens += unbilled_output_tokens;
        self.cache_write_1h_tokens += cache_write_1h_tokens;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::v1::UsageSource;

    #[test]
    fn every_count_is_summed_and_the_source_is_kept() {
        let one = Usage {
            input_tokens: 1,
            output_tokens: 2,
            cached_input_tokens: 3,
            cache_write_tokens: 4,
            reasoning_tokens: 5,
            audio_input_tokens: 6,
            audio_output_tokens: 7,
            source: UsageSource::Reported.into(),
            unbilled_input_tokens: 9,
            unbilled_output_tokens: 10,
            cache_write_1h_tokens: 11,
        };
        let mut sum = Usage { source: UsageSource::Estimated.into(), ..Usage::default() };
        sum += &one;
        assert_eq!(Usage { source: one.source, ..sum }, one);
        assert_eq!(sum.source(), UsageSource::Estimated);
    }
}
