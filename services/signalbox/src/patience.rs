//! Work that takes a while: somebody at a terminal sees that it goes on, and for how long.

use std::{fmt::Write, time::Duration};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

/// What takes less is not talked about.
const LONG: Duration = Duration::from_secs(2);

/// Something is being done. Once that takes longer than two seconds, a terminal says so until this is dropped. A thread of its own
/// draws, so the work may block.
pub(crate) struct Patience(ProgressBar);

impl Patience {
    /// Begins; `what` is said as `measuring the guard`.
    pub(crate) fn begin(what: &'static str) -> Self {
        // Hidden by itself where standard error is no terminal.
        let bar = ProgressBar::new_spinner();
        let told = move |state: &ProgressState, to: &mut dyn Write| {
            let _told = to.write_str(&words(what, state.elapsed()));
        };
        if let Ok(style) = ProgressStyle::with_template("{told}") {
            bar.set_style(style.with_key("told", told));
            bar.enable_steady_tick(Duration::from_millis(250));
        }
        Self(bar)
    }
}

impl Drop for Patience {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn words(what: &str, elapsed: Duration) -> String {
    if elapsed < LONG { String::new() } else { format!("{what}: {} s", elapsed.as_secs()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quick_is_not_talked_about() {
        assert_eq!(words("measuring", Duration::from_millis(1_999)), "");
        assert_eq!(words("measuring", Duration::from_millis(61_500)), "measuring: 61 s");
    }
}
