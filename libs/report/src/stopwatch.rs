//! CPU time of the calling thread, which other work on the machine does not change as it does wall time.

use std::time::Instant;

/// Where Linux tells a thread's time on a processor, in nanoseconds, as its first word (`Documentation/scheduler/sched-stats.rst`).
const SCHEDSTAT: &str = "/proc/thread-self/schedstat";

/// Measures work that one thread does: CPU time where the system tells it, else wall time. It is told to the scheduler's tick, some
/// milliseconds, so time many rounds at once.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch {
    began: Instant,
    on_cpu: Option<u64>,
}

impl Stopwatch {
    /// Starts.
    #[must_use]
    pub fn start() -> Self {
        Self { began: Instant::now(), on_cpu: on_cpu() }
    }

    /// Microseconds since the start. Must be asked on the thread that started it.
    #[must_use]
    pub fn micros(&self) -> f64 {
        match (self.on_cpu, on_cpu()) {
            (Some(then), Some(now)) => now.saturating_sub(then) as f64 / 1e3,
            _ => self.began.elapsed().as_secs_f64() * 1e6,
        }
    }
}

fn on_cpu() -> Option<u64> {
    std::fs::read_to_string(SCHEDSTAT).ok()?.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_work_counts() {
        let watch = Stopwatch::start();
        let mut sum = 0_u64;
        while watch.micros() < 2_000.0 {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(sum > 0 && watch.micros() >= 2_000.0);
    }
}
